//! Turns a request's body into another server's answer, with further tries where they are of use.

use axum::http::{HeaderValue, Method, Request, header};
use bytes::Bytes;
use serde_json::Value;

use super::Place;
use super::config::Kind;
use super::failure::Failure;
use crate::outbound::{Answer, Outbound};
use crate::random;

/// How often a request is sent at most.
const TRIES_MAX: u32 = 3;

/// Bytes of a list of models.
const LIST_BYTES_MAX: usize = 4 << 20;

/// Models of one server, and bytes of a name.
const MODELS_MAX: usize = 2000;
const MODEL_BYTES_MAX: usize = 256;

/// The version of Anthropic's API that is spoken.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// Sends a body, again where the server is busy or not there; only ever before an answer began.
///
/// # Errors
/// The last try's failure. An answer has a status that says yes.
pub async fn send(
    outbound: &Outbound,
    place: &Place,
    path: &str,
    body: &Bytes,
) -> Result<Answer, Failure> {
    let mut tries = 0;
    loop {
        let request = request(place, Method::POST, path, body.clone())?;
        let failure = match outbound.send(request, place.about.patience).await {
            Ok(answer) if answer.status.is_success() => return Ok(answer),
            Ok(answer) => Failure::of(answer, place.about.key.as_ref()).await,
            Err(error) => Failure::from(error),
        };
        tries += 1;
        match failure.wait(tries, random::number()) {
            Some(wait) if tries < TRIES_MAX => tokio::time::sleep(wait).await,
            _ => return Err(failure),
        }
    }
}

/// The names of all models that a server says it has.
///
/// # Errors
/// [`Failure`].
pub async fn models(outbound: &Outbound, place: &Place) -> Result<Vec<String>, Failure> {
    let path = match place.about.kind {
        Kind::OpenAi => "/models",
        Kind::Anthropic => "/models?limit=1000",
    };
    let request = request(place, Method::GET, path, Bytes::new())?;
    let answer = outbound.send(request, place.about.patience).await?;
    if !answer.status.is_success() {
        return Err(Failure::of(answer, place.about.key.as_ref()).await);
    }
    let list = json(answer, LIST_BYTES_MAX).await?;
    let data = list["data"].as_array().ok_or_else(|| no("no list of models"))?;
    let names = data.iter().filter_map(|model| model["id"].as_str());
    let right = |name: &&str| {
        (1..=MODEL_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
    };
    Ok(names.filter(right).take(MODELS_MAX).map(str::to_owned).collect())
}

/// The JSON of an answer.
///
/// # Errors
/// [`Failure`] where it is none.
pub async fn json(answer: Answer, bytes_max: usize) -> Result<Value, Failure> {
    let kind = answer.content_type();
    if kind != "application/json" {
        let kind: String = kind.chars().take(64).collect();
        return Err(no(&format!("'{kind}' instead of JSON")));
    }
    let body = answer.whole(bytes_max).await?;
    serde_json::from_slice(&body).map_err(|_| no("it is no JSON"))
}

pub fn no(what: &str) -> Failure {
    Failure::Unreadable(what.to_owned())
}

/// Nothing of a client's request goes out but what its body says.
fn request(
    place: &Place,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Request<Bytes>, Failure> {
    let about = &place.about;
    let target = about.address.join(path).map_err(|error| no(&error.to_string()))?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target;
    let headers = request.headers_mut();
    let agent = concat!("myriad/", env!("CARGO_PKG_VERSION"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let accepted = HeaderValue::from_static("application/json, text/event-stream");
    headers.insert(header::ACCEPT, accepted);
    let key = about.key.as_ref();
    match about.kind {
        Kind::OpenAi => {
            if let Some(key) = key.and_then(|key| key.header("Bearer ")) {
                headers.insert(header::AUTHORIZATION, key);
            }
        }
        Kind::Anthropic => {
            headers.insert("anthropic-version", ANTHROPIC_VERSION);
            if let Some(key) = key.and_then(|key| key.header("")) {
                headers.insert("x-api-key", key);
            }
        }
    }
    Ok(request)
}
