//! Turns the names of tools that a conversation has switched on into what its model may call.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::config::Search;
use super::content::Called;
use super::mcp::Session;
use super::tool::Tool;
use super::{judge, search};
use crate::app::App;
use crate::errors::ApiError;
use crate::outbound::Outbound;

/// The tools of one answer. Its sessions with their servers end with it.
#[derive(Default)]
pub struct Toolbox {
    offered: Vec<Arc<Offered>>,
}

/// A tool that a model may call.
pub struct Offered {
    tool: Arc<Tool>,
    /// The server's name; empty for the search.
    pub server: String,
    /// Whether a person is asked first.
    pub ask: bool,
    provider: Provider,
}

/// Who does the work.
enum Provider {
    Mcp(Arc<Session>),
    Search(Outbound, Arc<Search>),
}

impl Toolbox {
    /// Finds the tools of these names.
    ///
    /// # Errors
    /// 400 naming the first that is not there, with the reason.
    pub async fn open(app: &Arc<App>, names: &[String]) -> Result<Toolbox, ApiError> {
        let tools = &app.config.tools;
        let mut offered = Vec::with_capacity(names.len());
        let mut sessions: HashMap<String, Arc<Session>> = HashMap::new();
        for name in names {
            if let Some(search) = tools.search.as_ref().filter(|_| *name == search::NAME) {
                let mut tool = search::tool();
                tool = app
                    .blocking(move |app| {
                        judge(app, &mut tool);
                        Ok(tool)
                    })
                    .await?;
                let provider = Provider::Search(tools.outbound.clone(), Arc::clone(search));
                let (server, ask) = (String::new(), search.ask);
                offered.push(Offered { tool: Arc::new(tool), server, ask, provider });
                continue;
            }
            let server = name.split("__").next().unwrap_or_default();
            let place = tools.servers.iter().find(|place| place.link.about.name == server);
            let place = place.ok_or_else(|| gone(name, "No server has it."))?;
            let known = place.tools(app).await.map_err(|reason| gone(name, &reason))?;
            let tool = known.iter().find(|tool| tool.name == *name);
            let tool = tool.ok_or_else(|| gone(name, "Its server does not have it any more."))?;
            if let Some(reason) = &tool.unavailable {
                return Err(gone(name, &format!("It cannot be called: {reason}.")));
            }
            let session = sessions.entry(server.to_owned());
            let session = session.or_insert_with(|| Session::new(&place.link));
            offered.push(Offered {
                tool: Arc::clone(tool),
                server: server.to_owned(),
                ask: place.link.about.ask,
                provider: Provider::Mcp(Arc::clone(session)),
            });
        }
        Ok(Toolbox { offered: offered.into_iter().map(Arc::new).collect() })
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.offered.is_empty()
    }

    /// The tools as a request for a chat has them. Calls of the server's own models are `held` to
    /// their schemas; what other servers ask of a strict schema is their own affair.
    pub fn definitions(&self, held: bool) -> Value {
        let define = |offered: &Arc<Offered>| {
            let tool = &offered.tool;
            let mut function = json!({ "name": tool.name, "parameters": tool.schema });
            if !tool.description.is_empty() {
                function["description"] = tool.description.clone().into();
            }
            if held && tool.held {
                function["strict"] = true.into();
            }
            json!({ "type": "function", "function": function })
        };
        self.offered.iter().map(define).collect()
    }

    /// The tool that a model calls so.
    pub fn find(&self, name: &str) -> Option<&Arc<Offered>> {
        self.offered.iter().find(|offered| offered.tool.name == name)
    }
}

impl Offered {
    /// What its server calls it.
    pub fn own_name(&self) -> &str {
        &self.tool.own
    }

    /// What models call it.
    pub fn name(&self) -> &str {
        &self.tool.name
    }

    /// Calls it.
    pub async fn call(&self, arguments: &Map<String, Value>) -> Called {
        let called = match &self.provider {
            Provider::Search(outbound, about) => search::call(outbound, about, arguments).await,
            Provider::Mcp(session) => match session.call(&self.tool, arguments).await {
                Ok(result) => session.hidden(Called::of(&result)),
                Err(failure) => Called::failed(failure.told(&self.server)),
            },
        };
        let outcome = if called.failed { "failed" } else { "ok" };
        tracing::info!(tool = self.tool.name, outcome, "a tool was called");
        called
    }
}

fn gone(name: &str, reason: &str) -> ApiError {
    let shown: String = name.chars().take(64).collect();
    let message = format!("The tool '{shown}' is not there. {reason} Switch it off to go on.");
    ApiError { code: Some("tool_unavailable"), ..ApiError::invalid("app_tools", message) }
}
