//! Turns a question into the results of a SearXNG: titles, addresses and a few words of each.
//!
//! Nothing of a result is opened: a model that could fetch any address would have a way out.

use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::config::Search;
use super::content::Called;
use super::failure::Failure;
use super::tool::Tool;
use crate::limits::{
    SEARCH_QUERY_CHARS_MAX, SEARCH_RESULTS_MAX, SEARCH_SNIPPET_CHARS_MAX, SEARCH_TITLE_CHARS_MAX,
    SEARCH_URL_BYTES_MAX, TOOL_ANSWER_BYTES_MAX,
};
use crate::outbound::{Outbound, Patience};

/// What models call.
pub const NAME: &str = "web_search";

/// The tool that models are offered.
pub fn tool() -> Tool {
    let says = "Searches the web. Gives titles, addresses and short excerpts of pages; it cannot \
                open them.";
    let schema = json!({
        "type": "object",
        "properties": {
            "query": {
                "type": "string",
                "minLength": 1,
                "maxLength": SEARCH_QUERY_CHARS_MAX,
                "description": "What to search for: a few words, as for any search engine.",
            },
        },
        "required": ["query"],
        "additionalProperties": false,
    });
    Tool {
        name: NAME.to_owned(),
        own: NAME.to_owned(),
        title: None,
        description: says.to_owned(),
        schema,
        mirrored: Vec::new(),
        held: false,
        unavailable: None,
    }
}

/// Searches.
pub async fn call(outbound: &Outbound, about: &Search, arguments: &Map<String, Value>) -> Called {
    let query = arguments.get("query").and_then(Value::as_str).map(str::trim);
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return Called::failed("'query' is missing. Right would be a few words.".to_owned());
    };
    if query.chars().count() > SEARCH_QUERY_CHARS_MAX {
        let right = format!("Right would be at most {SEARCH_QUERY_CHARS_MAX} characters.");
        return Called::failed(format!("'query' is too long. {right}"));
    }
    match tokio::time::timeout(about.time_max, asked(outbound, about, query)).await {
        Ok(Ok(answer)) => Called::good(listed(&answer)),
        Ok(Err(failure)) => Called::failed(told(&failure)),
        Err(_) => Called::failed(told(&Failure::Slow(about.time_max))),
    }
}

/// What went wrong, in words: its operator may have to switch something on.
fn told(failure: &Failure) -> String {
    match failure {
        Failure::Refused(_) => {
            "The search engine refuses JSON. Its operator adds 'json' to 'search.formats' in \
             SearXNG's settings.yml."
                .to_owned()
        }
        failure => format!("The search engine {failure}."),
    }
}

async fn asked(outbound: &Outbound, about: &Search, query: &str) -> Result<Value, Failure> {
    let path = format!("/search?q={}&format=json", escaped(query));
    let target = about.address.join(&path);
    let target = target.map_err(|error| Failure::Unreadable(error.to_string()))?;
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = target;
    let headers = request.headers_mut();
    let agent = concat!("myriad/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    // Whoever asks ends the wait in time.
    let patience = Patience { first_byte: 2 * about.time_max, idle: 2 * about.time_max };
    let answer = outbound.send(request, patience).await?;
    match answer.status {
        status if status.is_success() => {}
        status @ StatusCode::FORBIDDEN => return Err(Failure::Refused(status)),
        status => return Err(Failure::Status(status, String::new())),
    }
    let body = answer.whole(TOOL_ANSWER_BYTES_MAX).await?;
    let answer: Value = serde_json::from_slice(&body)
        .map_err(|_| Failure::Unreadable("it is no JSON".to_owned()))?;
    match answer["results"].is_array() {
        true => Ok(answer),
        false => Err(Failure::Unreadable("it has no results".to_owned())),
    }
}

/// Results as lines of text.
fn listed(answer: &Value) -> String {
    let results = answer["results"].as_array();
    let results = results.into_iter().flatten().filter_map(one).take(SEARCH_RESULTS_MAX);
    let lines: Vec<String> =
        results.enumerate().map(|(at, result)| format!("{}. {result}", at + 1)).collect();
    match lines.is_empty() {
        true => "Nothing was found.".to_owned(),
        false => lines.join("\n\n"),
    }
}

fn one(result: &Value) -> Option<String> {
    let url = result["url"].as_str()?;
    let right = (url.starts_with("https://") || url.starts_with("http://"))
        && url.len() <= SEARCH_URL_BYTES_MAX
        && !url.contains(char::is_whitespace);
    let line = |field: &str, chars_max: usize| -> String {
        let words = result[field].as_str().unwrap_or_default().split_whitespace();
        words.collect::<Vec<_>>().join(" ").chars().take(chars_max).collect()
    };
    let title = line("title", SEARCH_TITLE_CHARS_MAX);
    let snippet = line("content", SEARCH_SNIPPET_CHARS_MAX);
    right.then(|| format!("{title}\n{url}\n{snippet}").trim().to_owned())
}

/// A text as part of a query.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_bounded_lines() {
        let result =
            |url: &str| json!({ "title": "A\n title", "url": url, "content": "x ".repeat(900) });
        let good = result("https://example.com/a");
        let mut results = vec![
            result("javascript:alert(1)"),
            result("https://example.com/a b"),
            result(&format!("https://example.com/{}", "x".repeat(SEARCH_URL_BYTES_MAX))),
            json!({ "title": "no address" }),
        ];
        results.extend(vec![good; 20]);
        let text = listed(&json!({ "results": results }));
        assert!(text.starts_with("1. A title\nhttps://example.com/a\nx x x"), "{text}");
        assert_eq!(text.matches("https://").count(), SEARCH_RESULTS_MAX);
        assert!(!text.contains("javascript"));
        assert_eq!(listed(&json!({ "results": [] })), "Nothing was found.");
        assert_eq!(escaped("a b&q=é"), "a%20b%26q%3D%C3%A9");
    }
}
