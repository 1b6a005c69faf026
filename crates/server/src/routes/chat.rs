//! Turns `POST /v1/chat/completions` into a rendered prompt, and its generations into an answer.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use myriad_token::{Grammar, RenderOptions, TemplateError, Tokenizer};

use crate::answers::choices::Choices;
use crate::answers::stream::{self, Pieces};
use crate::app::{App, fingerprint, unix_seconds};
use crate::errors::ApiError;
use crate::layers::journal::RequestId;
use crate::layers::upload::Upload;
use crate::random;
use crate::runtime::{GenerateRequest, TextEvent};
use crate::wire::chat::{
    AnswerMessage, Chat, ChatChoice, ChatChunk, ChatCompletion, ChatRequest, ChunkChoice, Delta,
};
use crate::wire::generation::finish_reason;
use crate::wire::logprobs::ChatLogprobs;
use crate::wire::usage::Usage;

/// The parameter that errors about the prompt name.
const PARAM: &str = "messages";

/// The handler: everything that can be wrong is known before the answer begins.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    Extension(id): Extension<RequestId>,
) -> Result<Response, ApiError> {
    let body = upload.read(&app.large_bodies).await?;
    let (request, prompt, grammar) = app.blocking(move |app| prepare(app, &body)).await?;
    let generation = &request.generation;
    let requests = (0..generation.n).map(|index| GenerateRequest {
        prompt: prompt.clone(),
        max_tokens: request.max_tokens,
        grammar: grammar.clone(),
        ..generation.request_of(index)
    });
    let choices = Choices::start(&app.runtime, requests.collect(), generation.n, PARAM, id).await?;
    let writer = Writer::new(&app, &request, prompt);
    if generation.stream {
        return Ok(stream::respond(app, choices, writer));
    }
    Ok(Json(writer.whole(&app, choices).await?).into_response())
}

fn prepare(app: &App, body: &[u8]) -> Result<(ChatRequest, Vec<u32>, Option<Grammar>), ApiError> {
    let request = ChatRequest::parse(body, app.runtime.tokenizer().vocab_size())?;
    app.check_model(request.model.as_deref())?;
    let prompt = encode(app, &request.chat)?;
    // Before it is copied for each choice: a prompt may be a thousand times too long.
    app.check_length(prompt.len(), request.max_tokens, PARAM)?;
    // Last: nothing else takes so long.
    let grammar = request.response_format.grammar(app.runtime.grammars())?;
    Ok((request, prompt, grammar))
}

/// The chat as the model's template writes it, in ids.
pub fn encode(app: &App, chat: &Chat) -> Result<Vec<u32>, ApiError> {
    let Some(template) = app.runtime.template() else {
        let name = app.runtime.name();
        let message = format!(
            "The model '{name}' has no chat template: it continues texts. Use /v1/completions."
        );
        return Err(ApiError::unsupported(PARAM, message));
    };
    let options = RenderOptions {
        add_generation_prompt: chat.add_generation_prompt,
        now_unix_seconds: i64::try_from(unix_seconds()).unwrap_or(i64::MAX),
        continue_final_message: chat.continue_final_message,
        extra: chat.template_kwargs.clone(),
    };
    template.encode(app.runtime.tokenizer(), &chat.messages, &options).map_err(|error| {
        let param = match error {
            TemplateError::TwoContinuations | TemplateError::CannotContinue => {
                "continue_final_message"
            }
            _ => PARAM,
        };
        // What a template says may quote the chat: not at any length.
        let message: String = error.to_string().chars().take(500).collect();
        ApiError::invalid(param, message)
    })
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
    /// Where ids are asked for, until they are written.
    prompt_token_ids: Option<Vec<u32>>,
}

impl Writer {
    fn new(app: &App, request: &ChatRequest, prompt: Vec<u32>) -> Writer {
        let generation = &request.generation;
        Writer {
            id: random::identifier("chatcmpl-"),
            created: unix_seconds(),
            model: app.runtime.name().to_owned(),
            tokenizer: Arc::clone(app.runtime.tokenizer()),
            logprobs: request.logprobs.is_some(),
            token_ids: generation.return_token_ids,
            include_usage: generation.include_usage,
            prompt_token_ids: generation.return_token_ids.then_some(prompt),
        }
    }

    /// What an event adds to its choice.
    fn piece(&self, index: usize, event: TextEvent) -> Option<ChunkChoice> {
        match event {
            TextEvent::Text { text, tokens } => {
                let said = !tokens.is_empty() && (self.logprobs || self.token_ids);
                if text.is_empty() && !said {
                    return None;
                }
                let scores = tokens.iter().filter_map(|token| token.score.as_ref());
                Some(ChunkChoice {
                    index,
                    delta: Delta { content: Some(text), ..Delta::default() },
                    logprobs: self.logprobs.then(|| ChatLogprobs::new(&self.tokenizer, scores)),
                    finish_reason: None,
                    token_ids: self.token_ids.then(|| tokens.iter().map(|it| it.id).collect()),
                })
            }
            TextEvent::Finished { finish, hidden, .. } => Some(ChunkChoice {
                index,
                delta: Delta::default(),
                logprobs: None,
                finish_reason: Some(finish_reason(&finish)),
                token_ids: self.token_ids.then_some(hidden),
            }),
            TextEvent::Started { .. } | TextEvent::Prompt { .. } | TextEvent::Failed => None,
        }
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<Usage>) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: fingerprint(),
            choices,
            usage: self.include_usage.then_some(usage),
            prompt_token_ids: None,
        }
    }

    async fn whole(self, app: &App, mut choices: Choices) -> Result<ChatCompletion, ApiError> {
        let mut whole: Vec<_> = (0..choices.count()).map(|index| self.begun(index)).collect();
        while let Some((index, event)) = choices.next().await {
            if matches!(event, TextEvent::Failed) {
                return Err(app.engine_failed());
            }
            if let Some(piece) = self.piece(index, event) {
                add(&mut whole[index], piece);
            }
        }
        Ok(ChatCompletion {
            id: self.id,
            object: "chat.completion",
            created: self.created,
            model: self.model,
            choices: whole,
            usage: choices.usage(),
            system_fingerprint: fingerprint(),
            prompt_token_ids: self.prompt_token_ids,
        })
    }

    fn begun(&self, index: usize) -> ChatChoice {
        let content = String::new();
        ChatChoice {
            index,
            message: AnswerMessage { role: "assistant", content, refusal: (), annotations: [] },
            logprobs: self.logprobs.then(ChatLogprobs::default),
            finish_reason: "stop",
            token_ids: self.token_ids.then(Vec::new),
        }
    }
}

/// A whole answer is the sum of its pieces, so that both ways say the same.
fn add(choice: &mut ChatChoice, piece: ChunkChoice) {
    choice.message.content.push_str(piece.delta.content.as_deref().unwrap_or_default());
    if let (Some(all), Some(new)) = (&mut choice.logprobs, piece.logprobs) {
        all.extend(new);
    }
    if let (Some(all), Some(new)) = (&mut choice.token_ids, piece.token_ids) {
        all.extend(new);
    }
    if let Some(reason) = piece.finish_reason {
        choice.finish_reason = reason;
    }
}

impl Pieces for Writer {
    type Piece = ChatChunk;

    /// The role of each choice, before the prompt is computed: the client sees that it is heard.
    fn opening(&mut self, choices: usize) -> Vec<ChatChunk> {
        let delta =
            || Delta { role: Some("assistant"), content: Some(String::new()), refusal: Some(()) };
        let role = |index| ChunkChoice {
            index,
            delta: delta(),
            logprobs: None,
            finish_reason: None,
            token_ids: None,
        };
        let mut chunks: Vec<_> =
            (0..choices).map(|index| self.chunk(vec![role(index)], None)).collect();
        if let Some(first) = chunks.first_mut() {
            first.prompt_token_ids = self.prompt_token_ids.take();
        }
        chunks
    }

    fn pieces(&mut self, index: usize, event: TextEvent) -> Vec<ChatChunk> {
        let piece = self.piece(index, event);
        piece.map(|piece| self.chunk(vec![piece], None)).into_iter().collect()
    }

    fn closing(&mut self, usage: Usage) -> Option<ChatChunk> {
        self.include_usage.then(|| self.chunk(Vec::new(), Some(usage)))
    }
}
