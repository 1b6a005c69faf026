//! Turns `POST /v1/responses/compact` into a shorter dialogue: what was told the model, as it was,
//! and the model's own summary of everything.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use myriad_token::Message;
use serde::Serialize;
use utoipa::ToSchema;

use super::prompt::Prompt;
use super::responses::{PARAM, read, written};
use crate::answers::choices::Choices;
use crate::app::{App, unix_seconds};
use crate::catalogue::Purpose;
use crate::errors::ApiError;
use crate::layers::ticket::Ticket;
use crate::layers::upload::Upload;
use crate::limits::SUMMARY_TOKENS_MAX;
use crate::random;
use crate::runtime::{GenerateRequest, Runtime, TextEvent};
use crate::wire::chat::Chat;
use crate::wire::responses::ResponsesRequest;
use crate::wire::responses::compaction::Summary;
use crate::wire::responses::dialogue::{check_results, messages};
use crate::wire::responses::items::Item;
use crate::wire::responses::object::ResponseUsage;
use crate::wire::thinking::Thinking;

/// What the model is asked behind the dialogue.
const QUESTION: &str = "Summarise this conversation so that somebody who has not read it can go on \
    with it. Keep what was asked for, what was found out and decided, names, numbers, results of \
    tools, and what is still to be done. Write the summary alone.";

/// A shorter dialogue.
#[derive(Debug, Serialize, ToSchema)]
pub struct Compaction {
    id: String,
    object: &'static str,
    created_at: u64,
    /// What takes the place of the dialogue in the next request.
    #[schema(value_type = Vec<Object>)]
    output: Vec<Item>,
    #[schema(value_type = Object)]
    usage: ResponseUsage,
}

/// The handler.
pub async fn create(
    State(app): State<Arc<App>>,
    ticket: Ticket,
    Extension(upload): Extension<Upload>,
) -> Result<Json<Compaction>, ApiError> {
    let parse = ResponsesRequest::parse_compaction;
    let (body, lease) = app.body_and_lease(&upload, Purpose::Answers).await?;
    let (request, before, input) = read(&app, &lease, body, &ticket.owner, parse).await?;
    let items = [before.items, input].concat();
    let model = lease.clone();
    let (request, items, prompt) = app
        .blocking(move |_| {
            let prompt = prompt(&model, &request, &items)?;
            Ok((request, items, prompt))
        })
        .await?;
    let mut generate = GenerateRequest {
        prompt: prompt.ids,
        max_tokens: Some(room(&lease)),
        parsing: prompt.parsing,
        rules: prompt.rules,
        ..request.generation.request_of(0)
    };
    generate.sampling.temperature = 0.0;
    let choices = Choices::start(&lease, vec![generate], 1, PARAM, &ticket).await?;
    let (summary, usage) = whole(choices).await?;
    let told = |item: &Item| matches!(item, Item::Message { role, .. } if role != "assistant");
    let mut output: Vec<Item> = items.into_iter().filter(told).collect();
    let id = random::identifier("cmp_");
    output.push(Item::Compaction { id, encrypted_content: Summary(summary) });
    Ok(Json(Compaction {
        id: random::identifier("resp_"),
        object: "response.compaction",
        created_at: unix_seconds(),
        output,
        usage,
    }))
}

/// Tokens that a summary may have.
fn room(runtime: &Runtime) -> usize {
    SUMMARY_TOKENS_MAX.min(runtime.context_max() / 4)
}

async fn whole(mut choices: Choices) -> Result<(String, ResponseUsage), ApiError> {
    let mut summary = String::new();
    while let Some((_, event)) = choices.next().await {
        match event {
            TextEvent::Failed => return Err(choices.failure()),
            TextEvent::Text { text, .. } => summary.push_str(&text),
            _ => {}
        }
    }
    Ok((summary.trim().to_owned(), choices.usage().into()))
}

fn prompt(
    runtime: &Runtime,
    request: &ResponsesRequest,
    items: &[Item],
) -> Result<Prompt, ApiError> {
    if items.is_empty() {
        return Err(ApiError::invalid(PARAM, "'input' is empty. Right would be an item at least."));
    }
    check_results(items)?;
    let mut messages = messages(request.instructions.as_deref(), items);
    messages.push(Message { role: "user".into(), content: QUESTION.into(), ..Message::default() });
    let chat = Chat {
        messages,
        add_generation_prompt: true,
        continue_final_message: false,
        template_kwargs: request.template_kwargs.clone(),
        tools: request.tools.clone(),
        // Where it can be switched off; elsewhere it is cut off.
        thinking: Thinking { effort: Some("none".into()), hints: true, ..Thinking::default() },
    };
    // What does not fit is what compaction is for.
    let mut prompt = written(runtime, &chat, Some(room(runtime)), true)?;
    prompt.hold(runtime, &chat, &request.format)?;
    Ok(prompt)
}
