//! Turns servers of tools that an operator configured into calls that a model may ask for.
//!
//! In reading order: [`config`] reads which servers there are, this file knows which tools they
//! have, [`toolbox`] holds those that one answer may call; [`mcp`] speaks with the servers,
//! [`search`] with a search engine. What comes back is a [`content`], what goes wrong a
//! [`failure`]; both are text, and nothing else is ever made of them.

mod config;
mod content;
mod failure;
mod mcp;
mod search;
mod tool;
mod toolbox;

pub use config::ToolsError;
pub(crate) use toolbox::{Offered, Toolbox};

use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;
use myriad_token::{AnswerGrammar, AnswerTool, CallGrammar, GrammarError, Opening};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::app::App;
use crate::errors::ApiError;
use crate::limits::{TOOL_LIST_AGAIN, TOOL_LIST_TIME};
use crate::outbound::Outbound;
use config::{Config, Search};
use mcp::{Link, Session};
use tool::Tool;

/// All servers of tools.
#[derive(Debug, Default)]
pub struct Tools {
    servers: Vec<Arc<Place>>,
    search: Option<Arc<Search>>,
    outbound: Outbound,
}

/// A server, and what is known of its tools.
#[derive(Debug)]
struct Place {
    link: Arc<Link>,
    /// One asks, all others wait for what it finds.
    known: Mutex<Option<Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    until: Instant,
    tools: Result<Arc<Vec<Arc<Tool>>>, String>,
}

/// A server of tools as the chat shows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ToolServer {
    /// Its name; that of the search is empty.
    pub name: String,
    /// Whether a person is asked before each call.
    pub ask: bool,
    /// Why its tools are not known.
    pub failure: Option<String>,
    /// What it has.
    pub tools: Vec<ToolCard>,
}

/// A tool as the chat shows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ToolCard {
    /// What a request calls it.
    pub name: String,
    /// What its server calls it.
    pub own: String,
    /// What people call it.
    pub title: Option<String>,
    /// What it is for.
    pub description: String,
    /// Why it cannot be called.
    pub unavailable: Option<String>,
}

impl Tools {
    /// Those that a file describes.
    ///
    /// # Errors
    /// [`ToolsError`] naming the entry and the field that is wrong.
    pub fn read(path: &Path) -> Result<Tools, ToolsError> {
        let Config { servers, search } = config::read(path)?;
        let outbound = Outbound::default();
        let place = |about| {
            let link = Arc::new(Link::new(about, outbound.clone()));
            Arc::new(Place { link, known: Mutex::new(None) })
        };
        let servers = servers.into_iter().map(place).collect();
        Ok(Tools { servers, search: search.map(Arc::new), outbound })
    }

    /// Names with addresses, for the operator.
    pub fn places(&self) -> impl Iterator<Item = (&str, String)> {
        let servers = self.servers.iter();
        let servers = servers.map(|place| (&*place.link.about.name, place.address()));
        servers.chain(self.search.iter().map(|search| (search::NAME, search.address.to_string())))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.search.is_none()
    }

    /// What there is, as the chat shows it.
    pub(crate) async fn listed(&self, app: &Arc<App>) -> Vec<ToolServer> {
        let card = |tool: &Tool| ToolCard {
            name: tool.name.clone(),
            own: tool.own.clone(),
            title: tool.title.clone(),
            description: tool.description.clone(),
            unavailable: tool.unavailable.clone(),
        };
        let of_search = self.search.iter().map(|search| {
            let tools = vec![card(&search::tool())];
            ToolServer { name: String::new(), ask: search.ask, failure: None, tools }
        });
        let servers = join_all(self.servers.iter().map(|place| async move {
            let (name, ask) = (place.link.about.name.clone(), place.link.about.ask);
            let (tools, failure) = match place.tools(app).await {
                Ok(tools) => (tools.iter().map(|tool| card(tool)).collect(), None),
                Err(failure) => (Vec::new(), Some(failure)),
            };
            ToolServer { name, ask, failure, tools }
        }));
        of_search.chain(servers.await).collect()
    }
}

impl Place {
    fn address(&self) -> String {
        self.link.about.address.to_string()
    }

    /// The tools that may be offered, asked for where nobody knows them or they have changed.
    async fn tools(&self, app: &Arc<App>) -> Result<Arc<Vec<Arc<Tool>>>, String> {
        let mut known = self.known.lock().await;
        let changed = self.link.take_changed();
        let fresh = known.as_ref().filter(|known| !changed && Instant::now() < known.until);
        if let Some(fresh) = fresh {
            return fresh.tools.clone();
        }
        let tools = self.asked(app).await;
        let time = if tools.is_ok() { TOOL_LIST_TIME } else { TOOL_LIST_AGAIN };
        *known = Some(Known { until: Instant::now() + time, tools: tools.clone() });
        tools
    }

    async fn asked(&self, app: &Arc<App>) -> Result<Arc<Vec<Arc<Tool>>>, String> {
        let about = &self.link.about;
        let listed = Session::new(&self.link).list().await.map_err(|failure| {
            tracing::warn!(server = about.name, outcome = failure.outcome(), "no list of tools");
            failure.told(&about.name)
        })?;
        let mut tools: Vec<Tool> = Vec::new();
        for tool in listed.iter().filter_map(|said| Tool::read(&about.name, said)) {
            let allowed = about.tools.as_ref().is_none_or(|names| names.contains(&tool.own));
            if allowed && !tools.iter().any(|other| other.name == tool.name) {
                tools.push(tool);
            }
        }
        let judged = app.blocking(move |app| {
            tools.iter_mut().for_each(|tool| judge(app, tool));
            Ok(tools)
        });
        let tools = judged.await.map_err(|error: ApiError| error.message)?;
        for tool in tools.iter().filter(|tool| tool.unavailable.is_some()) {
            tracing::warn!(server = about.name, tool = tool.name, "a tool cannot be offered");
        }
        Ok(Arc::new(tools.into_iter().map(Arc::new).collect()))
    }
}

/// Finds out whether the model's calls can be held to a tool's schema; one that no grammar can be
/// made of makes its own tool unusable, and not the answers of all.
fn judge(app: &App, tool: &mut Tool) {
    if tool.unavailable.is_some() {
        return;
    }
    let parameters = Some(tool.schema.clone());
    let calls = CallGrammar {
        tools: vec![AnswerTool { name: tool.name.clone(), parameters }],
        parallel: true,
        must: false,
    };
    let format = app.runtime.manners().format;
    let source = AnswerGrammar { format, opening: Opening::Text, calls: Some(calls), text: None };
    match app.runtime.grammars().compile(source) {
        Ok(_) => tool.held = true,
        // The model, or a moment without room: the schema is not at fault.
        Err(GrammarError::Unsupported(_) | GrammarError::Busy) => {}
        Err(GrammarError::Tool { error, .. }) => tool.unavailable = Some(error.to_string()),
        Err(error) => tool.unavailable = Some(error.to_string()),
    }
}
