//! Turns `POST /v1/completions` into prompts, and their generations into an answer.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use myriad_engine::TokenScore;
use myriad_token::{AnswerRules, FimTokens, Specials, Tokenizer};

use super::prompt::{check_length, compiled};
use crate::answers::choices::Choices;
use crate::answers::stream::{self, DONE, Pieces, data};
use crate::answers::waiting::{self, Tongue};
use crate::app::{App, fingerprint, unix_seconds};
use crate::catalogue::Lease;
use crate::errors::ApiError;
use crate::layers::ticket::Ticket;
use crate::layers::upload::{Held, Upload};
use crate::random;
use crate::runtime::{GenerateRequest, OutputToken, Runtime, TextEvent};
use crate::wire::completions::{Completion, CompletionChoice, CompletionRequest};
use crate::wire::generation::finish_reason;
use crate::wire::logprobs::CompletionLogprobs;
use crate::wire::prompts::Prompt;
use crate::wire::usage::Usage;

/// The parameter that errors about the prompt name.
const PARAM: &str = "prompt";

/// The handler: everything that can be wrong is known before the answer begins.
pub async fn create(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    ticket: Ticket,
) -> Result<Response, ApiError> {
    waiting::request(app, upload, ticket, |_| Tongue::openai(), answer).await
}

async fn answer(
    app: Arc<App>,
    lease: Lease,
    body: Held,
    ticket: Ticket,
) -> Result<Response, ApiError> {
    let model = lease.clone();
    let (request, prompts, rules) = app.blocking(move |_| prepare(&model, &body)).await?;
    let generation = &request.generation;
    let mut requests = Vec::with_capacity(prompts.len() * request.best_of);
    for prompt in &prompts {
        // Choices are numbered prompt by prompt: a prompt answers the same in any company.
        requests.extend((0..request.best_of).map(|index| GenerateRequest {
            prompt: prompt.ids.clone(),
            max_tokens: Some(request.max_tokens),
            prompt_logprobs: request.prompt_logprobs(),
            rules: rules.clone(),
            ..generation.request_of(index)
        }));
    }
    let choices = Choices::start(&lease, requests, request.best_of, PARAM, &ticket).await?;
    let writer = Writer::new(&lease, &request, prompts);
    if generation.stream {
        return Ok(stream::respond(app, choices, writer));
    }
    Ok(Json(writer.whole(choices).await?).into_response())
}

/// A prompt in ids, and as it is shown before its answer.
struct Encoded {
    ids: Vec<u32>,
    text: String,
    /// Whether the first id is the model's own beginning, which the client did not write.
    begun: bool,
}

fn prepare(
    runtime: &Runtime,
    body: &[u8],
) -> Result<(CompletionRequest, Vec<Encoded>, AnswerRules), ApiError> {
    let tokenizer = runtime.tokenizer();
    let mut request = CompletionRequest::parse(body, tokenizer.vocab_size())?;
    let prompts = std::mem::take(&mut request.prompts);
    let fim = request.suffix.as_deref().map(|suffix| Fim::new(runtime, suffix)).transpose()?;
    let mut encoded = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let prompt = match &fim {
            Some(fim) => fim.encode(tokenizer, prompt),
            None => Encoded::new(tokenizer, prompt),
        };
        // Before it is copied for each choice: a prompt may be a thousand times too long.
        check_length(runtime, prompt.ids.len(), Some(request.max_tokens), PARAM)?;
        encoded.push(prompt);
    }
    let grammar = compiled(runtime, &request.response_format)?;
    let rules = AnswerRules { grammar, budget: None };
    Ok((request, encoded, rules))
}

impl Encoded {
    fn new(tokenizer: &Tokenizer, prompt: Prompt) -> Encoded {
        match prompt {
            Prompt::Text(text) => {
                let ids = tokenizer.encode_prompt(&text, Specials::Parse);
                Encoded { begun: is_begun(tokenizer, &text, &ids), ids, text }
            }
            Prompt::Tokens(ids) => {
                let bytes = tokenizer.decode(&ids, true);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                Encoded { ids, text, begun: false }
            }
        }
    }
}

/// What stands behind a gap, with the tokens that ask for its content.
struct Fim {
    tokens: FimTokens,
    suffix: Vec<u32>,
}

impl Fim {
    fn new(runtime: &Runtime, suffix: &str) -> Result<Fim, ApiError> {
        let tokenizer = runtime.tokenizer();
        let Some(tokens) = tokenizer.fim() else {
            let name = runtime.name();
            let message = format!(
                "The model '{name}' has no tokens to fill in the middle of a text: 'suffix' cannot \
                 be honoured."
            );
            return Err(ApiError::unsupported("suffix", message));
        };
        Ok(Fim { tokens, suffix: tokenizer.encode(suffix, Specials::AsText) })
    }

    /// Of the texts around a gap nothing steers the model: code may well speak of control tokens.
    fn encode(&self, tokenizer: &Tokenizer, prompt: Prompt) -> Encoded {
        let prefix = match prompt {
            Prompt::Text(text) => tokenizer.encode(&text, Specials::AsText),
            Prompt::Tokens(ids) => ids,
        };
        let ids = tokenizer.encode_fim(self.tokens, &prefix, &self.suffix);
        // Never shown: nothing of such a prompt stands right before its answer.
        Encoded { ids, text: String::new(), begun: false }
    }
}

/// Whether more of the ids are the model's beginning than the client wrote.
fn is_begun(tokenizer: &Tokenizer, text: &str, ids: &[u32]) -> bool {
    let Some(bos) = tokenizer.bos() else { return false };
    let mark = tokenizer.decode(&[bos], true);
    let mut rest = text.as_bytes();
    let mut written = 0;
    while !mark.is_empty() && rest.starts_with(&mark) {
        rest = &rest[mark.len()..];
        written += 1;
    }
    ids.iter().take_while(|&&id| id == bos).count() > written
}

/// Writes one answer, whole or in pieces.
struct Writer {
    id: String,
    created: u64,
    model: String,
    tokenizer: Arc<Tokenizer>,
    prompts: Vec<Encoded>,
    /// Answers that are made for each prompt, and those of them that are shown.
    per_prompt: usize,
    shown: usize,
    echo: bool,
    logprobs: bool,
    token_ids: bool,
    include_usage: bool,
    choices: Vec<Progress>,
}

/// How far a choice is.
#[derive(Default)]
struct Progress {
    /// Whether its first piece was written.
    begun: bool,
    /// Scores of the prompt's tokens, until they are written.
    prompt: CompletionLogprobs,
    /// Characters of text so far, by the tokens seen.
    offset: usize,
    /// Sum and number of the answer's log-probabilities, where there are any.
    logprob: f64,
    scored: u32,
}

impl Progress {
    fn score(&mut self, score: &TokenScore) {
        self.logprob += f64::from(score.logprob);
        self.scored += 1;
    }

    /// By which the best are chosen, as OpenAI has it: the mean log-probability of a token.
    fn mean(&self) -> f64 {
        if self.scored == 0 { f64::NEG_INFINITY } else { self.logprob / f64::from(self.scored) }
    }
}

impl Writer {
    fn new(runtime: &Runtime, request: &CompletionRequest, prompts: Vec<Encoded>) -> Writer {
        let generation = &request.generation;
        let count = prompts.len() * request.best_of;
        Writer {
            id: random::identifier("cmpl-"),
            created: unix_seconds(),
            model: runtime.name().to_owned(),
            tokenizer: Arc::clone(runtime.tokenizer()),
            prompts,
            per_prompt: request.best_of,
            shown: generation.n,
            echo: request.echo,
            logprobs: request.logprobs.is_some(),
            token_ids: generation.return_token_ids,
            include_usage: generation.include_usage,
            choices: (0..count).map(|_| Progress::default()).collect(),
        }
    }

    /// What an event adds to its choice: the prompt comes before the first text, or the end.
    fn parts(&mut self, index: usize, event: TextEvent) -> Vec<CompletionChoice> {
        let mut parts = Vec::new();
        match event {
            // Texts are not parsed.
            TextEvent::Started { .. }
            | TextEvent::Part { .. }
            | TextEvent::Computed { .. }
            | TextEvent::Failed => {}
            TextEvent::Prompt { score, .. } => self.prompt_score(index, &score),
            TextEvent::Text { text, tokens } => {
                let scores = tokens.iter().filter_map(|token| token.score.as_ref());
                scores.for_each(|score| self.choices[index].score(score));
                parts.extend(self.beginning(index));
                parts.extend(self.text(index, text, &tokens));
            }
            TextEvent::Finished { finish, hidden, end_score, .. } => {
                parts.extend(self.beginning(index));
                end_score.iter().for_each(|score| self.choices[index].score(score));
                // Each token generated has its entry, the end token too, as OpenAI has it: those
                // who score texts count on the number of entries.
                let logprobs = end_score.filter(|_| self.logprobs).map(|score| {
                    let mut logprobs = CompletionLogprobs::default();
                    logprobs.push(&self.tokenizer, &score, self.choices[index].offset);
                    logprobs
                });
                parts.push(CompletionChoice {
                    logprobs,
                    finish_reason: Some(finish_reason(&finish)),
                    token_ids: self.token_ids.then_some(hidden),
                    ..CompletionChoice::empty(index)
                });
            }
        }
        parts
    }

    fn text(
        &mut self,
        index: usize,
        text: String,
        tokens: &[OutputToken],
    ) -> Option<CompletionChoice> {
        let said = !tokens.is_empty() && (self.logprobs || self.token_ids);
        if text.is_empty() && !said {
            return None;
        }
        let logprobs = self.logprobs.then(|| {
            let mut logprobs = CompletionLogprobs::default();
            for token in tokens {
                if let Some(score) = &token.score {
                    logprobs.push(&self.tokenizer, score, self.choices[index].offset);
                }
                // Control tokens show nothing in an answer.
                if !self.tokenizer.is_control(token.id) {
                    self.choices[index].offset += characters(&self.tokenizer, token.id);
                }
            }
            logprobs
        });
        let token_ids = self.token_ids.then(|| tokens.iter().map(|token| token.id).collect());
        Some(CompletionChoice { text, logprobs, token_ids, ..CompletionChoice::empty(index) })
    }

    fn prompt_score(&mut self, index: usize, score: &TokenScore) {
        self.first_token(index);
        let progress = &mut self.choices[index];
        progress.prompt.push(&self.tokenizer, score, progress.offset);
        progress.offset += characters(&self.tokenizer, score.token);
    }

    /// The prompt's first token: nothing stands before it, so it has no score.
    fn first_token(&mut self, index: usize) {
        let (prompt, progress) = (&self.prompts[index / self.per_prompt], &mut self.choices[index]);
        if let Some(first) = prompt.ids.first().filter(|_| progress.prompt.is_empty()) {
            progress.prompt.push_first(&self.tokenizer, *first, 0);
            let shown = !prompt.begun;
            progress.offset = if shown { characters(&self.tokenizer, *first) } else { 0 };
        }
    }

    /// A choice's first piece, where there is something before its answer.
    fn beginning(&mut self, index: usize) -> Option<CompletionChoice> {
        if self.choices[index].begun {
            return None;
        }
        self.choices[index].begun = true;
        if self.echo && self.logprobs {
            self.first_token(index);
        }
        let prompt = &self.prompts[index / self.per_prompt];
        let progress = &mut self.choices[index];
        let mut part = CompletionChoice::empty(index);
        if self.token_ids {
            part.prompt_token_ids = Some(prompt.ids.clone());
            part.token_ids = Some(Vec::new());
        }
        if self.echo {
            part.text = prompt.text.clone();
            part.logprobs = self.logprobs.then(|| std::mem::take(&mut progress.prompt));
            progress.offset = prompt.text.chars().count();
        }
        (self.echo || self.token_ids).then_some(part)
    }

    fn completion(&self, choices: Vec<CompletionChoice>, usage: Option<Usage>) -> Completion {
        Completion {
            id: self.id.clone(),
            object: "text_completion",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: fingerprint(),
            choices,
            usage: self.include_usage.then_some(usage),
        }
    }

    async fn whole(mut self, mut choices: Choices) -> Result<Completion, ApiError> {
        let begun = |index| CompletionChoice {
            logprobs: self.logprobs.then(CompletionLogprobs::default),
            token_ids: self.token_ids.then(Vec::new),
            ..CompletionChoice::empty(index)
        };
        let mut whole: Vec<_> = (0..choices.count()).map(begun).collect();
        while let Some((index, event)) = choices.next().await {
            if matches!(event, TextEvent::Failed) {
                return Err(choices.failure());
            }
            for part in self.parts(index, event) {
                add(&mut whole[index], part);
            }
        }
        let best = self.best(whole);
        Ok(Completion { usage: Some(Some(choices.usage())), ..self.completion(best, None) })
    }

    /// Of each prompt's answers the likeliest, the best first, where more were made than are shown.
    fn best(&self, mut choices: Vec<CompletionChoice>) -> Vec<CompletionChoice> {
        if self.per_prompt > self.shown {
            let mean = |choice: &CompletionChoice| self.choices[choice.index].mean();
            for own in choices.chunks_mut(self.per_prompt) {
                own.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
            }
            let mut place = 0..;
            choices.retain(|_| {
                place.next().is_some_and(|at: usize| at % self.per_prompt < self.shown)
            });
            for (index, choice) in choices.iter_mut().enumerate() {
                choice.index = index;
            }
        }
        choices
    }
}

/// A whole answer is the sum of its pieces, so that both ways say the same.
fn add(choice: &mut CompletionChoice, part: CompletionChoice) {
    choice.text.push_str(&part.text);
    if let (Some(all), Some(new)) = (&mut choice.logprobs, part.logprobs) {
        all.extend(new);
    }
    if let (Some(all), Some(new)) = (&mut choice.token_ids, part.token_ids) {
        all.extend(new);
    }
    if part.prompt_token_ids.is_some() {
        choice.prompt_token_ids = part.prompt_token_ids;
    }
    if part.finish_reason.is_some() {
        choice.finish_reason = part.finish_reason;
    }
}

/// Characters that begin in a token: of a character cut in two, its first part counts.
fn characters(tokenizer: &Tokenizer, token: u32) -> usize {
    let begins = |byte: &&u8| **byte & 0xc0 != 0x80;
    tokenizer.token_bytes(token).unwrap_or_default().iter().filter(begins).count()
}

impl Pieces for Writer {
    fn opening(&mut self, _choices: usize) -> Vec<Bytes> {
        Vec::new()
    }

    fn pieces(&mut self, index: usize, event: TextEvent) -> Vec<Bytes> {
        let parts = self.parts(index, event);
        parts.into_iter().map(|part| data(&self.completion(vec![part], None))).collect()
    }

    fn closing(&mut self, usage: Usage) -> Vec<Bytes> {
        let usage = self.include_usage.then(|| data(&self.completion(Vec::new(), Some(usage))));
        usage.into_iter().chain([Bytes::from_static(DONE)]).collect()
    }
}
