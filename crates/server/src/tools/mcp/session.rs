//! Turns what is wanted of a server of tools into the requests of its protocol's era.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::super::content::Called;
use super::super::failure::Failure;
use super::super::tool::Tool;
use super::exchange::{Answered, Link, Sent, name_header};
use super::{Era, LEGACY, MODERN, message, mirror};
use crate::limits::{TOOL_LIST_PAGES_MAX, TOOL_LIST_TIME_MAX, TOOLS_MAX};

/// The error of a server that speaks other versions.
const UNSUPPORTED_VERSION: i64 = -32022;

/// Errors that only servers of the modern era have.
const MODERN_ERRORS: std::ops::RangeInclusive<i64> = -32099..=-32020;

/// What is said between one user of a server and the server. Each answer of a model has its own, so
/// that nothing which a server remembers of one conversation reaches another.
#[derive(Debug)]
pub struct Session {
    link: Arc<Link>,
    /// None: nothing was said yet.
    era: Mutex<Option<Era>>,
    last_id: AtomicU64,
}

impl Session {
    pub fn new(link: &Arc<Link>) -> Arc<Session> {
        let link = Arc::clone(link);
        Arc::new(Session { link, era: Mutex::new(None), last_id: AtomicU64::new(0) })
    }

    /// The tools that the server has, as it describes them.
    pub async fn list(&self) -> Result<Vec<Value>, Failure> {
        match timeout(TOOL_LIST_TIME_MAX, self.pages()).await {
            Ok(listed) => listed,
            Err(_) => Err(Failure::Slow(TOOL_LIST_TIME_MAX)),
        }
    }

    /// Calls a tool. Where this future is dropped before its end, the server is told so.
    pub async fn call(
        self: &Arc<Self>,
        tool: &Tool,
        arguments: &Map<String, Value>,
    ) -> Result<Value, Failure> {
        let time = self.link.about.time_max;
        match timeout(time, self.called(tool, arguments)).await {
            Ok(called) => called,
            Err(_) => Err(Failure::Slow(time)),
        }
    }

    /// A result without the operator's secrets.
    pub fn hidden(&self, called: Called) -> Called {
        Called { text: self.link.hidden(&called.text), ..called }
    }

    async fn pages(&self) -> Result<Vec<Value>, Failure> {
        let mut tools = Vec::new();
        let mut params = Map::new();
        for _ in 0..TOOL_LIST_PAGES_MAX {
            let mut page = self.ask("tools/list", params.clone()).await?;
            let Value::Array(listed) = page["tools"].take() else {
                return Err(Failure::Unreadable("a list without tools".to_owned()));
            };
            tools.extend(listed);
            if tools.len() > TOOLS_MAX {
                let what = format!("more than {TOOLS_MAX} tools");
                return Err(Failure::Unreadable(what));
            }
            let cursor = page["nextCursor"].take();
            if !cursor.is_string() {
                return Ok(tools);
            }
            params.insert("cursor".to_owned(), cursor);
        }
        Err(Failure::Unreadable(format!("more than {TOOL_LIST_PAGES_MAX} pages of tools")))
    }

    /// A request in a session that is opened where there is none, and anew where it is over.
    async fn ask(&self, method: &str, params: Map<String, Value>) -> Result<Value, Failure> {
        let era = self.open(None).await?;
        match self.asked(&era, method, params.clone()).await {
            Err(Failure::Expired) => {
                let era = self.open(Some(&era)).await?;
                self.asked(&era, method, params).await
            }
            answered => answered,
        }
    }

    async fn asked(
        &self,
        era: &Era,
        method: &str,
        params: Map<String, Value>,
    ) -> Result<Value, Failure> {
        let id = self.id();
        let body = message::request(id, method, with_meta(era, params));
        let sent = Sent { method, id: Some(id), body, headers: Vec::new() };
        self.answered(self.link.ask(Some(era), sent).await)
    }

    async fn called(
        self: &Arc<Self>,
        tool: &Tool,
        arguments: &Map<String, Value>,
    ) -> Result<Value, Failure> {
        let era = self.open(None).await?;
        match self.call_once(&era, tool, arguments).await {
            // What is refused for its session was not begun.
            Err(Failure::Expired) => {
                let era = self.open(Some(&era)).await?;
                self.call_once(&era, tool, arguments).await
            }
            called => called,
        }
    }

    async fn call_once(
        self: &Arc<Self>,
        era: &Era,
        tool: &Tool,
        arguments: &Map<String, Value>,
    ) -> Result<Value, Failure> {
        const METHOD: &str = "tools/call";
        let id = self.id();
        let mut params = Map::new();
        params.insert("name".to_owned(), tool.own.clone().into());
        params.insert("arguments".to_owned(), Value::Object(arguments.clone()));
        let mut headers = Vec::new();
        if *era == Era::Modern {
            headers.extend(name_header(&tool.own));
            headers.extend(mirror::headers(&tool.mirrored, arguments));
        }
        let body = message::request(id, METHOD, with_meta(era, params));
        let sent = Sent { method: METHOD, id: Some(id), body, headers };
        let mut on_its_way = OnItsWay { session: Arc::clone(self), era: era.clone(), id: Some(id) };
        let answered = self.link.ask(Some(era), sent).await;
        on_its_way.id = None;
        let result = self.answered(answered)?;
        match result.get("resultType").and_then(Value::as_str) {
            None | Some("complete") => Ok(result),
            Some("input_required") => Err(Failure::InputRequired),
            Some(other) => {
                let other = message::words(other);
                Err(Failure::Unreadable(format!("a result of the type '{other}'")))
            }
        }
    }

    /// The result, after what it says of the server's era is noted.
    fn answered(&self, answered: Result<Answered, Failure>) -> Result<Value, Failure> {
        if matches!(&answered, Err(Failure::Version(_) | Failure::Status(..))) {
            // It may have been replaced by one of the other era.
            self.link.learn(None);
        }
        Ok(answered?.result)
    }

    fn id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How the server is spoken to; a session that is `over` is replaced, once for all who see it.
    async fn open(&self, over: Option<&Era>) -> Result<Era, Failure> {
        let mut era = self.era.lock().await;
        if let Some(era) = era.as_ref().filter(|era| over != Some(era)) {
            return Ok(era.clone());
        }
        let opened = match self.link.is_modern() {
            Some(true) => Era::Modern,
            Some(false) => self.initialize().await?,
            None => self.discover().await?,
        };
        self.link.learn(Some(opened == Era::Modern));
        *era = Some(opened.clone());
        Ok(opened)
    }

    /// Finds out in which era the server lives.
    async fn discover(&self) -> Result<Era, Failure> {
        let supported = match self.asked(&Era::Modern, "server/discover", Map::new()).await {
            Ok(result) => {
                let versions = result["supportedVersions"].as_array();
                let versions = versions.into_iter().flatten().filter_map(Value::as_str);
                versions.map(str::to_owned).collect()
            }
            Err(Failure::Told { code: UNSUPPORTED_VERSION, supported, .. }) => supported,
            // Only a server of the modern era says so.
            Err(failure @ Failure::Told { code, .. }) if MODERN_ERRORS.contains(&code) => {
                return Err(failure);
            }
            Err(Failure::Told { .. } | Failure::Unreadable(_)) => return self.initialize().await,
            Err(Failure::Status(status, _)) if is_odd(status) => return self.initialize().await,
            Err(failure) => return Err(failure),
        };
        let has = |version: &&str| supported.iter().any(|known| known == version);
        if has(&MODERN) {
            return Ok(Era::Modern);
        }
        match LEGACY.iter().any(has) {
            true => self.initialize().await,
            false => Err(Failure::Version(message::words(&supported.join(", ")))),
        }
    }

    async fn initialize(&self) -> Result<Era, Failure> {
        const METHOD: &str = "initialize";
        let id = self.id();
        let mut params = Map::new();
        params.insert("protocolVersion".to_owned(), LEGACY[0].into());
        params.insert("capabilities".to_owned(), json!({}));
        params.insert("clientInfo".to_owned(), message::client());
        let body = message::request(id, METHOD, params);
        let sent = Sent { method: METHOD, id: Some(id), body, headers: Vec::new() };
        let Answered { result, session } = self.link.ask(None, sent).await?;
        let offered = result["protocolVersion"].as_str().unwrap_or_default();
        let version = LEGACY.into_iter().find(|version| *version == offered);
        let version = version.ok_or_else(|| Failure::Version(message::words(offered)))?;
        let era = Era::Legacy { version, session };
        self.link.tell(&era, message::notice("notifications/initialized", json!({}))).await;
        Ok(era)
    }
}

/// What a request of this era says of itself.
fn with_meta(era: &Era, mut params: Map<String, Value>) -> Map<String, Value> {
    if *era == Era::Modern {
        params.insert("_meta".to_owned(), message::about_client());
    }
    params
}

/// Whether a status is how servers answer what they do not know.
fn is_odd(status: StatusCode) -> bool {
    status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS
}

impl Drop for Session {
    /// Ends the session on the server, if it has one and there is still time.
    fn drop(&mut self) {
        let Some(era) = self.era.get_mut().take() else { return };
        let link = Arc::clone(&self.link);
        if let (Era::Legacy { session: Some(_), .. }, Ok(handle)) =
            (&era, tokio::runtime::Handle::try_current())
        {
            handle.spawn(async move { link.end(&era).await });
        }
    }
}

/// A call that nobody may wait for any more.
struct OnItsWay {
    session: Arc<Session>,
    era: Era,
    /// None: it was answered.
    id: Option<u64>,
}

impl Drop for OnItsWay {
    /// In the legacy era a connection that ends says nothing; in the modern one it says all.
    fn drop(&mut self) {
        let (Some(id), Era::Legacy { .. }) = (self.id, &self.era) else { return };
        let (session, era) = (Arc::clone(&self.session), self.era.clone());
        let Ok(handle) = tokio::runtime::Handle::try_current() else { return };
        handle.spawn(async move {
            let params = json!({ "requestId": id, "reason": "Nobody waits for it any more." });
            session.link.tell(&era, message::notice("notifications/cancelled", params)).await;
        });
    }
}
