//! Turns `POST /v1/chat/completions` into a rendered prompt, and its generations into an answer.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use myriad_store::Change;
use myriad_token::{AnswerEvent, Tokenizer};

use super::prompt::{PARAM, Prompt, check_length, encode};
use super::stored_chats;
use crate::answers::choices::Choices;
use crate::answers::stream::{self, DONE, Pieces, data};
use crate::answers::waiting::{self, Tongue};
use crate::app::{App, fingerprint, unix_seconds};
use crate::catalogue::{Lease, Purpose};
use crate::errors::ApiError;
use crate::layers::ticket::Ticket;
use crate::layers::upload::{Held, Upload};
use crate::random;
use crate::runtime::{Finish, GenerateRequest, OutputToken, Runtime, TextEvent};
use crate::storage::Owner;
use crate::upstreams::{self, Asked};
use crate::wire::chat::{
    AnswerMessage, ChatChoice, ChatChunk, ChatCompletion, ChatRequest, ChunkChoice, Delta,
    FunctionCall, Reasoning, ToolCall, ToolCallDelta,
};
use crate::wire::generation::finish_reason;
use crate::wire::logprobs::ChatLogprobs;
use crate::wire::named::Named;
use crate::wire::stored_chats::StoredChat;
use crate::wire::usage::Usage;

/// There is one tier, whichever was asked for.
const SERVICE_TIER: &str = "default";

/// The handler: everything that can be wrong is known before the answer begins.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    ticket: Ticket,
) -> Result<Response, ApiError> {
    let body = upload.read(&app.large_bodies).await?;
    let work = move |app: &App| match Asked::of(app, &body)? {
        Some(asked) => Ok(Errand::Elsewhere(asked)),
        None => Ok(Errand::Here(Named::of(&body), body)),
    };
    let (named, body) = match app.blocking(work).await? {
        Errand::Here(named, body) => (named, body),
        Errand::Elsewhere(asked) => return upstreams::answer(&app, asked, &ticket.meter).await,
    };
    let asked = app.ask(named.model.as_deref(), Purpose::Answers).await?;
    let tongue = named.stream.unwrap_or(false).then(Tongue::openai);
    let work = {
        let app = Arc::clone(&app);
        move |lease| answer(app, lease, body, ticket)
    };
    waiting::answer(&app, asked, tongue, work).await
}

/// Who answers.
enum Errand {
    Here(Named, Held),
    Elsewhere(Asked),
}

async fn answer(
    app: Arc<App>,
    lease: Lease,
    body: Held,
    ticket: Ticket,
) -> Result<Response, ApiError> {
    let model = lease.clone();
    let (request, prompt) = app.blocking(move |app| prepare(app, &model, &body)).await?;
    let generation = &request.generation;
    let requests = (0..generation.n).map(|index| GenerateRequest {
        prompt: prompt.ids.clone(),
        max_tokens: request.max_tokens,
        parsing: prompt.parsing.clone(),
        rules: prompt.rules.clone(),
        ..generation.request_of(index)
    });
    let choices = Choices::start(&lease, requests.collect(), generation.n, PARAM, &ticket).await?;
    let mut writer = Writer::new(&lease, &request, prompt.ids);
    writer.stored =
        request.stored.map(|chat| Stored { chat, owner: ticket.owner, choices: Vec::new() });
    if generation.stream {
        return Ok(stream::respond(app, choices, writer));
    }
    Ok(Json(writer.whole(&app, choices).await?).into_response())
}

fn prepare(app: &App, runtime: &Runtime, body: &[u8]) -> Result<(ChatRequest, Prompt), ApiError> {
    let request = ChatRequest::parse(body, runtime.tokenizer().vocab_size())?;
    if request.stored.is_some() {
        app.storage("store")?;
    }
    let mut prompt = encode(runtime, &request.chat)?;
    // Before it is copied for each choice: a prompt may be a thousand times too long.
    check_length(runtime, prompt.ids.len(), request.max_tokens, PARAM)?;
    // Last: nothing else takes so long.
    prompt.hold(runtime, &request.chat, &request.response_format)?;
    Ok((request, prompt))
}

/// Writes one answer, whole or in pieces.
struct Writer {
    id: String,
    created: u64,
    model: String,
    tokenizer: Arc<Tokenizer>,
    logprobs: bool,
    token_ids: bool,
    include_usage: bool,
    /// Whether calls are `function_call`.
    legacy: bool,
    /// Where ids are asked for, until they are written.
    prompt_token_ids: Option<Vec<u32>>,
    /// Where the chat is to be kept.
    stored: Option<Stored>,
}

/// A chat that is kept when its answer is whole.
struct Stored {
    chat: StoredChat,
    owner: Owner,
    /// The answer so far, where it is streamed.
    choices: Vec<ChatChoice>,
}

impl Writer {
    fn new(runtime: &Runtime, request: &ChatRequest, prompt: Vec<u32>) -> Writer {
        let generation = &request.generation;
        Writer {
            id: random::identifier("chatcmpl-"),
            created: unix_seconds(),
            model: runtime.name().to_owned(),
            tokenizer: Arc::clone(runtime.tokenizer()),
            logprobs: request.logprobs.is_some(),
            token_ids: generation.return_token_ids,
            include_usage: generation.include_usage,
            legacy: request.chat.tools.legacy,
            prompt_token_ids: generation.return_token_ids.then_some(prompt),
            stored: None,
        }
    }

    /// What an event adds to its choice.
    fn piece(&self, index: usize, event: TextEvent) -> Option<ChunkChoice> {
        match event {
            TextEvent::Text { text, tokens } => {
                // Tokens of calls and reasoning have no log-probabilities, as with OpenAI.
                let scored = |token: &OutputToken| token.in_text && self.logprobs;
                let said = tokens.iter().any(|token| self.token_ids || scored(token));
                if text.is_empty() && !said {
                    return None;
                }
                let scores = tokens.iter().filter(|token| token.in_text);
                let scores = scores.filter_map(|token| token.score.as_ref());
                Some(ChunkChoice {
                    logprobs: self.logprobs.then(|| ChatLogprobs::new(&self.tokenizer, scores)),
                    token_ids: self.ids(&tokens),
                    ..ChunkChoice::of(index, Delta { content: Some(text), ..Delta::default() })
                })
            }
            TextEvent::Part { part, tokens } => {
                let delta = self.delta(part);
                let said = delta.is_some() || (self.token_ids && !tokens.is_empty());
                let piece = ChunkChoice::of(index, delta.unwrap_or_default());
                said.then(|| ChunkChoice { token_ids: self.ids(&tokens), ..piece })
            }
            TextEvent::Finished { finish, hidden, calls, .. } => Some(ChunkChoice {
                finish_reason: Some(self.finish_reason(&finish, calls)),
                token_ids: self.token_ids.then_some(hidden),
                ..ChunkChoice::of(index, Delta::default())
            }),
            TextEvent::Started { .. }
            | TextEvent::Prompt { .. }
            | TextEvent::Computed { .. }
            | TextEvent::Failed => None,
        }
    }

    fn ids(&self, tokens: &[OutputToken]) -> Option<Vec<u32>> {
        self.token_ids.then(|| tokens.iter().map(|token| token.id).collect())
    }

    fn finish_reason(&self, finish: &Finish, calls: usize) -> &'static str {
        match finish_reason(finish) {
            "stop" if calls > 0 && self.legacy => "function_call",
            "stop" if calls > 0 => "tool_calls",
            other => other,
        }
    }

    /// Reasoning, or a piece of a call: name and id first, then fragments of the arguments.
    fn delta(&self, part: AnswerEvent) -> Option<Delta> {
        let (index, name, arguments) = match part {
            AnswerEvent::Reasoning(text) => {
                return Some(Delta { reasoning: Reasoning::new(text), ..Delta::default() });
            }
            AnswerEvent::ToolCallStart { index, name } => (index, Some(name), String::new()),
            AnswerEvent::ToolCallArguments { index, json } => (index, None, json),
            _ => return None,
        };
        let begins = name.is_some();
        let function = FunctionCall { name, arguments };
        if self.legacy {
            // There is room for one.
            return (index == 0)
                .then(|| Delta { function_call: Some(function), ..Delta::default() });
        }
        let call = ToolCallDelta {
            index,
            id: begins.then(|| random::identifier("call_")),
            kind: begins.then_some("function"),
            function,
        };
        Some(Delta { tool_calls: vec![call], ..Delta::default() })
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<Usage>) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: fingerprint(),
            service_tier: SERVICE_TIER,
            choices,
            usage: self.include_usage.then_some(usage),
            prompt_token_ids: None,
        }
    }

    async fn whole(mut self, app: &App, mut choices: Choices) -> Result<ChatCompletion, ApiError> {
        let mut whole: Vec<_> = (0..choices.count()).map(|index| self.begun(index)).collect();
        while let Some((index, event)) = choices.next().await {
            if matches!(event, TextEvent::Failed) {
                return Err(choices.failure());
            }
            if let Some(piece) = self.piece(index, event) {
                add(&mut whole[index], piece);
            }
        }
        let ids = self.prompt_token_ids.take();
        let completion =
            ChatCompletion { prompt_token_ids: ids, ..self.completion(whole, choices.usage()) };
        if let Some(stored) = &self.stored {
            app.keep(stored_chats::change(&stored.owner, &completion, &stored.chat)).await?;
        }
        Ok(completion)
    }

    fn completion(&self, choices: Vec<ChatChoice>, usage: Usage) -> ChatCompletion {
        ChatCompletion {
            id: self.id.clone(),
            object: "chat.completion",
            created: self.created,
            model: self.model.clone(),
            choices,
            usage,
            system_fingerprint: fingerprint(),
            service_tier: SERVICE_TIER,
            prompt_token_ids: None,
        }
    }

    fn begun(&self, index: usize) -> ChatChoice {
        ChatChoice {
            index,
            message: AnswerMessage {
                role: "assistant",
                content: Some(String::new()),
                refusal: (),
                annotations: [],
                reasoning: Reasoning::default(),
                tool_calls: Vec::new(),
                function_call: None,
            },
            logprobs: self.logprobs.then(ChatLogprobs::default),
            finish_reason: "stop",
            token_ids: self.token_ids.then(Vec::new),
        }
    }
}

/// A whole answer is the sum of its pieces, so that both ways say the same.
fn add(choice: &mut ChatChoice, piece: ChunkChoice) {
    let (message, delta) = (&mut choice.message, piece.delta);
    if let Some(text) = delta.content {
        message.content.get_or_insert_default().push_str(&text);
    }
    message.reasoning.extend(delta.reasoning);
    for call in delta.tool_calls {
        match call.id {
            Some(id) => {
                let function = call.function;
                message.tool_calls.push(ToolCall { id, kind: "function", function });
            }
            None => {
                let Some(known) = message.tool_calls.get_mut(call.index) else { continue };
                known.function.arguments.push_str(&call.function.arguments);
            }
        }
    }
    if let Some(call) = delta.function_call {
        let known = message.function_call.get_or_insert_default();
        known.name = known.name.take().or(call.name);
        known.arguments.push_str(&call.arguments);
    }
    if let (Some(all), Some(new)) = (&mut choice.logprobs, piece.logprobs) {
        all.extend(new);
    }
    if let (Some(all), Some(new)) = (&mut choice.token_ids, piece.token_ids) {
        all.extend(new);
    }
    if let Some(reason) = piece.finish_reason {
        choice.finish_reason = reason;
        let calls = !message.tool_calls.is_empty() || message.function_call.is_some();
        // Only calls: OpenAI has null for the text then.
        message.content = message.content.take().filter(|text| !calls || !text.is_empty());
    }
}

impl Pieces for Writer {
    /// The role of each choice, before the prompt is computed: the client sees that it is heard.
    fn opening(&mut self, choices: usize) -> Vec<Bytes> {
        let begun: Vec<_> = (0..choices).map(|index| self.begun(index)).collect();
        if let Some(stored) = &mut self.stored {
            stored.choices = begun;
        }
        let role = |index| {
            let (role, content) = (Some("assistant"), Some(String::new()));
            let delta = Delta { role, content, refusal: Some(()), ..Delta::default() };
            ChunkChoice::of(index, delta)
        };
        let mut chunks: Vec<_> =
            (0..choices).map(|index| self.chunk(vec![role(index)], None)).collect();
        if let Some(first) = chunks.first_mut() {
            first.prompt_token_ids = self.prompt_token_ids.take();
        }
        chunks.iter().map(data).collect()
    }

    fn pieces(&mut self, index: usize, event: TextEvent) -> Vec<Bytes> {
        let piece = self.piece(index, event);
        if let (Some(piece), Some(stored)) = (&piece, &mut self.stored)
            && let Some(choice) = stored.choices.get_mut(index)
        {
            add(choice, piece.clone());
        }
        piece.map(|piece| data(&self.chunk(vec![piece], None))).into_iter().collect()
    }

    fn kept(&mut self, usage: Usage) -> Option<Change> {
        let stored = self.stored.take()?;
        let completion = self.completion(stored.choices, usage);
        Some(stored_chats::change(&stored.owner, &completion, &stored.chat))
    }

    fn closing(&mut self, usage: Usage) -> Vec<Bytes> {
        let usage = self.include_usage.then(|| data(&self.chunk(Vec::new(), Some(usage))));
        usage.into_iter().chain([Bytes::from_static(DONE)]).collect()
    }
}
