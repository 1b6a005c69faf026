//! Turns the calls that a model asked for into their results: permission, work, and what the model
//! is told.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::chunk::{Asked, Said};
use super::permissions::Question;
use crate::app::App;
use crate::random;
use crate::tools::{Offered, Toolbox};
use crate::wire::app_calls::{AppCall, CallState};
use crate::wire::app_chats::is_id;

/// What a model is told of a call that nobody permitted.
const REFUSED: &str = "The user did not permit this call.";

/// Where calls are made.
#[derive(Clone)]
pub struct Place {
    pub app: Arc<App>,
    /// The conversation's row.
    pub chat: String,
    /// The message's row.
    pub message: String,
}

/// Calls as they are kept: none has begun. `taken` are the ids of earlier ones.
pub fn begun(
    asked: &[Asked],
    toolbox: &Toolbox,
    round: u32,
    at: u32,
    mut taken: HashSet<String>,
) -> Vec<AppCall> {
    let call = |asked: &Asked| {
        let tool = toolbox.find(&asked.name);
        // What other servers call it stays, as some look at it, if it can stand in a path.
        let own = Some(&asked.id).filter(|id| is_id(id) && !taken.contains(*id));
        let id = own.cloned().unwrap_or_else(|| random::identifier("call_"));
        taken.insert(id.clone());
        AppCall {
            id,
            round,
            at,
            name: asked.name.clone(),
            server: tool.map(|tool| tool.server.clone()).unwrap_or_default(),
            tool: tool.map_or(asked.name.as_str(), |tool| tool.own_name()).to_owned(),
            arguments: asked.arguments.clone(),
            state: CallState::Running,
            result: None,
        }
    };
    asked.iter().map(call).collect()
}

/// Makes a call; each change of it is told. Dropping the future ends it, and tells its server.
pub async fn make(
    place: Place,
    tool: Option<Arc<Offered>>,
    mut call: AppCall,
    told: UnboundedSender<AppCall>,
) {
    let (state, result) = match (tool, arguments(&call.arguments)) {
        (None, _) => (CallState::Failed, "There is no tool of this name.".to_owned()),
        (_, None) => {
            (CallState::Failed, "The arguments are no JSON object, which they must be.".to_owned())
        }
        (Some(tool), Some(arguments)) => {
            if is_permitted(&place, &tool, &mut call, &told).await {
                let called = tool.call(&arguments).await;
                let state = if called.failed { CallState::Failed } else { CallState::Done };
                (state, called.text)
            } else {
                (CallState::Refused, REFUSED.to_owned())
            }
        }
    };
    (call.state, call.result) = (state, Some(result));
    // The answer that it is for may have ended.
    let _ = told.send(call);
}

async fn is_permitted(
    place: &Place,
    tool: &Offered,
    call: &mut AppCall,
    told: &UnboundedSender<AppCall>,
) -> bool {
    let permissions = &place.app.runs.permissions;
    if !tool.ask || permissions.is_granted(&place.chat, tool.name()) {
        return true;
    }
    call.state = CallState::Waiting;
    let question =
        Question { chat: &place.chat, message: &place.message, call: &call.id, tool: tool.name() };
    let mut asked = permissions.ask(question);
    let _ = told.send(call.clone());
    let permitted = asked.is_permitted().await;
    if permitted {
        call.state = CallState::Running;
        let _ = told.send(call.clone());
    }
    permitted
}

/// A model without arguments may write none.
fn arguments(text: &str) -> Option<Map<String, Value>> {
    match text.trim() {
        "" => Some(Map::new()),
        text => serde_json::from_str(text).ok(),
    }
}

/// What a round adds to the conversation: what the model said, its calls, and their results.
pub fn turns(said: &Said, calls: &[AppCall]) -> Vec<Value> {
    let asked = |call: &AppCall| {
        let arguments = if arguments(&call.arguments).is_some() && !call.arguments.is_empty() {
            call.arguments.as_str()
        } else {
            // Templates and other servers read JSON there.
            "{}"
        };
        let function = json!({ "name": call.name, "arguments": arguments });
        json!({ "id": call.id, "type": "function", "function": function })
    };
    let asked: Vec<Value> = calls.iter().map(asked).collect();
    let mut turn = json!({ "role": "assistant", "content": said.content, "tool_calls": asked });
    if !said.reasoning.is_empty() {
        turn["reasoning_content"] = said.reasoning.clone().into();
    }
    let results = calls.iter().map(|call| {
        let result = call.result.as_deref().unwrap_or_default();
        json!({ "role": "tool", "tool_call_id": call.id, "content": result })
    });
    std::iter::once(turn).chain(results).collect()
}
