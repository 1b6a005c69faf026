//! Turns `POST /v1/responses` into a generation that is followed, waited for, or left alone.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use myriad_store::{Change, Document, Kind};
use serde_json::{Value, json};

use super::past::{self, Before};
use super::prompt::{self, Prompt, check_length};
use super::{conversations, kept_responses};
use crate::answers::choices::Choices;
use crate::answers::response::Writer;
use crate::answers::run::{End, Leash, Run, follow};
use crate::answers::waiting::{self, Tongue};
use crate::app::{App, unix_seconds};
use crate::catalogue::{Lease, Purpose};
use crate::errors::ApiError;
use crate::layers::ticket::Ticket;
use crate::layers::upload::{Held, Upload};
use crate::random;
use crate::runtime::{GenerateRequest, Runtime, TextEvent};
use crate::storage::{Owner, position};
use crate::wire::chat::Chat;
use crate::wire::responses::dialogue::{check_results, messages, shortened};
use crate::wire::responses::items::Item;
use crate::wire::responses::object::{Kept, ResponseObject, Status};
use crate::wire::responses::{Keep, Past, ResponsesRequest};

/// The parameter that errors about the prompt name.
pub const PARAM: &str = "input";

/// What reads a body, for a vocabulary of so many tokens.
type Parse = fn(&[u8], usize) -> Result<ResponsesRequest, ApiError>;

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
    let parse = ResponsesRequest::parse;
    let (request, before, input) = read(&app, &lease, body, &ticket.owner, parse).await?;
    if request.keep == Keep::Stored {
        app.storage("store")?;
    }
    let model = lease.clone();
    let (request, before, input, prompt) = app
        .blocking(move |_| {
            let prompt = prepare(&model, &request, &before.items, &input, false)?;
            Ok((request, before, input, prompt))
        })
        .await?;
    let generate = GenerateRequest {
        prompt: prompt.ids,
        max_tokens: request.max_tokens,
        parsing: prompt.parsing,
        rules: prompt.rules,
        ..request.generation.request_of(0)
    };
    let choices = Choices::start(&lease, vec![generate], 1, PARAM, &ticket).await?;
    let background = request.background;
    let streams = request.generation.stream;
    let response = begun(&lease, &request);
    let run = Run::new(&response.id, ticket.owner, streams || background);
    let tokenizer = Arc::clone(lease.tokenizer());
    let logprobs = request.generation.sampling.logprobs.is_some();
    let writer = Writer::new(response, tokenizer, logprobs, request.summary);
    run.show(json!(writer.response()));
    run.push(writer.opening());
    if request.keep != Keep::Nowhere {
        app.recent.add(&run);
    }
    let ending = Ending { keep: request.keep, past: request.past, before, input };
    let work = Work { app: Arc::clone(&app), run: Arc::clone(&run), writer, ending };
    tokio::spawn(work.drive(choices));
    // A client that goes away ends what runs for it alone.
    let leash = (!background).then(|| Leash(Arc::clone(&run)));
    if streams {
        return Ok(follow(run, 0, app.config.keep_alive, leash));
    }
    if !background && let End::Failed(error, _) = run.wait().await {
        return Err(error);
    }
    Ok(Json(run.response()).into_response())
}

/// The handler that counts the tokens of a prompt.
pub async fn count(
    State(app): State<Arc<App>>,
    Extension(upload): Extension<Upload>,
    Extension(owner): Extension<Owner>,
) -> Result<Json<Value>, ApiError> {
    let parse = ResponsesRequest::parse;
    let (body, lease) = app.body_and_lease(&upload, Purpose::Answers).await?;
    let (request, before, input) = read(&app, &lease, body, &owner, parse).await?;
    let prompt =
        app.blocking(move |_| prepare(&lease, &request, &before.items, &input, true)).await?;
    Ok(Json(json!({ "object": "response.input_tokens", "input_tokens": prompt.ids.len() })))
}

/// Reads the body of a request to a model, and the items that it means.
pub async fn read(
    app: &Arc<App>,
    lease: &Lease,
    body: Held,
    owner: &Owner,
    parse: Parse,
) -> Result<(ResponsesRequest, Before, Vec<Item>), ApiError> {
    let vocab = lease.tokenizer().vocab_size();
    let mut request = app.blocking(move |_| parse(&body, vocab)).await?;
    let before = past::load(app, owner, &request).await?;
    let sent = std::mem::take(&mut request.input);
    let mut input = past::resolve(app, owner, sent, &before.items).await?;
    if matches!(request.past, Past::Conversation(_)) {
        // They become the conversation's own.
        input = input.into_iter().map(Item::renamed).collect();
    }
    Ok((request, before, input))
}

/// The prompt; where tokens are only counted it may be too long.
fn prepare(
    runtime: &Runtime,
    request: &ResponsesRequest,
    before: &[Item],
    input: &[Item],
    counts: bool,
) -> Result<Prompt, ApiError> {
    let items = [before, input].concat();
    check_results(&items)?;
    let messages = messages(request.instructions.as_deref(), &items);
    if messages.is_empty() {
        return Err(ApiError::invalid(PARAM, "'input' is empty. Right would be an item at least."));
    }
    let chat = Chat {
        messages,
        add_generation_prompt: true,
        continue_final_message: false,
        template_kwargs: request.template_kwargs.clone(),
        tools: request.tools.clone(),
        thinking: request.thinking.clone(),
    };
    if counts {
        return encode(runtime, &chat);
    }
    let mut prompt = written(runtime, &chat, request.max_tokens, request.truncates)?;
    prompt.hold(runtime, &chat, &request.format)?;
    Ok(prompt)
}

/// The prompt of a chat; where it `truncates`, without as many of the oldest messages as it takes.
pub fn written(
    runtime: &Runtime,
    chat: &Chat,
    max_tokens: Option<usize>,
    truncates: bool,
) -> Result<Prompt, ApiError> {
    let prompt = encode(runtime, chat)?;
    match check_length(runtime, prompt.ids.len(), max_tokens, PARAM) {
        Err(error) if truncates => fitted(runtime, chat, max_tokens).ok_or(error),
        fits => fits.map(|()| prompt),
    }
}

fn encode(runtime: &Runtime, chat: &Chat) -> Result<Prompt, ApiError> {
    prompt::encode(runtime, chat).map_err(|error| match error.param.as_deref() {
        Some(prompt::PARAM) => ApiError { param: Some(PARAM.to_owned()), ..error },
        _ => error,
    })
}

/// The prompt without as many of the oldest messages as it takes, found by halving.
fn fitted(runtime: &Runtime, chat: &Chat, max_tokens: Option<usize>) -> Option<Prompt> {
    let (mut fewest, mut most) = (1, chat.messages.len().saturating_sub(1));
    let mut best = None;
    while fewest <= most {
        let middle = fewest.midpoint(most);
        let messages = shortened(&chat.messages, middle);
        // A template may refuse what is left; fewer messages may please it.
        let prompt = encode(runtime, &Chat { messages, ..chat.clone() }).ok();
        let fits = prompt.filter(|it| runtime.check_length(it.ids.len(), max_tokens).is_ok());
        match fits {
            Some(prompt) => {
                best = Some(prompt);
                most = middle - 1;
            }
            None => fewest = middle + 1,
        }
    }
    best
}

/// The response before anything is computed.
fn begun(runtime: &Runtime, request: &ResponsesRequest) -> ResponseObject {
    ResponseObject {
        id: random::identifier("resp_"),
        object: "response".to_owned(),
        created_at: unix_seconds(),
        status: if request.background { Status::Queued } else { Status::InProgress },
        completed_at: None,
        error: None,
        incomplete_details: None,
        model: runtime.name().to_owned(),
        output: Vec::new(),
        usage: None,
        settings: request.settings.clone(),
    }
}

/// What is done with a response at its end.
struct Ending {
    keep: Keep,
    past: Past,
    before: Before,
    input: Vec<Item>,
}

/// A response on its way.
struct Work {
    app: Arc<App>,
    run: Arc<Run>,
    writer: Writer,
    ending: Ending,
}

impl Work {
    /// Makes the response; the last event comes when it is kept.
    async fn drive(mut self, mut choices: Choices) {
        // Nobody waits for ever for a task that broke.
        let _broken = self.run.ends_with_this();
        loop {
            let event = tokio::select! {
                event = choices.next() => event,
                () = self.run.cancelled() => {
                    drop(choices);
                    let last = self.writer.cancel();
                    return self.end(last, None).await;
                }
            };
            match event {
                Some((_, TextEvent::Failed)) => {
                    let error = choices.failure();
                    let last = self.writer.fail(&error);
                    return self.end(last, Some(error)).await;
                }
                Some((_, event)) => {
                    let before = self.writer.response().status;
                    self.run.push(self.writer.events(event));
                    if self.writer.response().status != before {
                        self.run.show(json!(self.writer.response()));
                    }
                }
                None => {
                    let last = self.writer.closing(choices.usage());
                    return self.end(last, None).await;
                }
            }
        }
    }

    async fn end(self, last: Vec<Value>, failed: Option<ApiError>) {
        let Work { app, run, writer, ending } = self;
        run.show(json!(writer.response()));
        let end = match ending.keep(&app, &run.owner, writer.response().clone()).await {
            Ok(body) => {
                run.push(last);
                match (failed, body) {
                    (Some(error), body) => End::Failed(error, body),
                    (None, Some(body)) => End::Here(body),
                    (None, None) => End::Gone,
                }
            }
            Err(error) => {
                run.push(vec![json!({
                    "type": "error", "code": error.code, "message": error.message,
                    "param": error.param,
                })]);
                End::Failed(error, None)
            }
        };
        run.end(end);
        app.recent.settle(&run);
    }
}

impl Ending {
    /// Writes down what is to stay; returns what is kept in memory instead.
    async fn keep(
        self,
        app: &App,
        owner: &Owner,
        response: ResponseObject,
    ) -> Result<Option<Arc<str>>, ApiError> {
        let whole = matches!(response.status, Status::Completed | Status::Incomplete);
        if let Past::Conversation(id) = &self.past
            && whole
        {
            let items = self.input.iter().chain(&response.output).cloned().collect();
            conversations::append(app, owner, id, items).await?;
        }
        if self.keep == Keep::Nowhere {
            return Ok(None);
        }
        let id = response.id.clone();
        let Before { earlier, base, .. } = self.before;
        let kept = Kept { response, input: self.input, earlier, base };
        let body = kept_responses::written(&kept)?;
        if self.keep == Keep::Recent {
            return Ok(Some(body.into()));
        }
        let document = Document::new(Kind::Response, owner.as_str(), id, position());
        app.keep(Change::new().insert(Document { body, ..document })).await?;
        Ok(None)
    }
}
