//! Turns questions of the chat into answers on their way that every device of their owner follows.
//!
//! An answer belongs to the server: the page that asked may close. [`Runs`] is what handlers see;
//! one task works on all answers and ends with the server.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::Response;
use myriad_store::{Change, Document, Kind, StoreError};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::ServiceExt;

use super::answer::Answer;
use super::permissions::Permissions;
use super::rows;
use crate::answers::recent::Recent;
use crate::answers::run::Run;
use crate::app::App;
use crate::attached::prompt::Named;
use crate::errors::ApiError;
use crate::limits::{APP_KEEP_EVERY, APP_RUNS_MAX};
use crate::routes;
use crate::routes::documents::body;
use crate::storage::{Owner, Storage};
use crate::wire::app_chats::{AppMessage, Failure, STREAMING, Status};

/// Writes that another server may miss before its answers count as broken off.
const MISSED_WRITES: u32 = 4;

/// Answers of the chat that are on their way, or ended a short while ago.
pub struct Runs {
    /// Calls of tools that need somebody's.
    pub permissions: Permissions,
    recent: Arc<Recent>,
    jobs: mpsc::UnboundedSender<Job>,
    /// Until the task that works takes it.
    waiting: Mutex<Option<mpsc::UnboundedReceiver<Job>>>,
}

/// What is needed to make an answer.
pub struct Job {
    pub run: Arc<Run>,
    /// The conversation's id.
    pub chat: String,
    /// The row of the message that the answer fills.
    pub document: Document,
    pub message: AppMessage,
    /// The body of a request for a chat completion.
    pub request: Map<String, Value>,
    /// The tools that the model may call.
    pub tools: Vec<String>,
    /// Files that its messages name.
    pub files: Named,
}

impl Default for Runs {
    fn default() -> Runs {
        // Each owner has few at a time.
        let (jobs, waiting) = mpsc::unbounded_channel();
        let (permissions, recent) = (Permissions::default(), Arc::default());
        Runs { permissions, recent, jobs, waiting: Mutex::new(Some(waiting)) }
    }
}

impl Runs {
    /// The answer into a message, whether it goes on or has ended.
    pub fn find(&self, owner: &Owner, row: &str) -> Option<Arc<Run>> {
        self.recent.find(owner, row)
    }

    /// Whether an answer into a message is on its way.
    pub fn is_running(&self, owner: &Owner, row: &str) -> bool {
        self.find(owner, row).is_some_and(|run| run.ended().is_none())
    }

    /// Begins an answer; one that is on its way already is returned in its place.
    ///
    /// # Errors
    /// 429 where the owner has too many on their way, 503 where no task works on them.
    pub fn begin(&self, job: Job) -> Result<Arc<Run>, ApiError> {
        let run = Arc::clone(&job.run);
        let Some(kept) = self.recent.begin(&run, APP_RUNS_MAX) else {
            let message = format!(
                "{APP_RUNS_MAX} answers are on their way already. Wait for one, or stop it."
            );
            return Err(ApiError::busy("too_many_answers", message));
        };
        if Arc::ptr_eq(&kept, &run) && self.jobs.send(job).is_err() {
            self.recent.remove(&run.id);
            return Err(ApiError::unavailable());
        }
        Ok(kept)
    }

    /// Stops all answers whose rows' names begin so.
    pub fn stop_all(&self, prefix: &str) {
        self.recent.cancel_all(prefix);
    }

    /// Counts an answer that has ended.
    pub(super) fn settle(&self, run: &Run) {
        self.recent.settle(run);
    }
}

/// What answers are made with.
pub(super) struct Maker {
    pub app: Arc<App>,
    pub storage: Arc<Storage>,
    /// The server's own routes, for requests of a known owner.
    routes: Router,
}

impl Maker {
    /// Asks the server itself, as this owner.
    pub async fn ask(&self, owner: &Owner, body: &Map<String, Value>) -> Response {
        // Values of JSON have no maps with odd keys: they serialise.
        let mut request = Request::new(Body::from(serde_json::to_vec(body).unwrap_or_default()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/v1/chat/completions");
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        request.extensions_mut().insert(owner.clone());
        let response: Result<Response, Infallible> = self.routes.clone().oneshot(request).await;
        let Ok(response) = response;
        response
    }
}

/// Makes all answers until it is dropped; those that are on their way then are found by the next
/// start.
pub async fn run(app: Arc<App>, storage: Arc<Storage>) {
    let waiting = app.runs.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut waiting) = waiting else { return };
    let routes = routes::inside(Arc::clone(&app));
    let maker = Arc::new(Maker { app, storage, routes });
    let mut tasks = JoinSet::new();
    tasks.spawn(recover(Arc::clone(&maker)));
    loop {
        tokio::select! {
            Some(job) = waiting.recv() => {
                let maker = Arc::clone(&maker);
                tasks.spawn(async move { Answer::new(maker, job).make().await });
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Marks answers that a server which is gone has left, after [`left`] found them.
async fn recover(maker: Arc<Maker>) {
    match left(&maker).await {
        Ok(0) => {}
        Ok(answers) => tracing::info!(answers, "answers had broken off with an earlier server"),
        Err(error) => tracing::error!(%error, "looking for answers that broke off"),
    }
}

/// Where several servers share a database, an answer that still changes is another's.
async fn left(maker: &Maker) -> Result<usize, StoreError> {
    let store = &maker.storage.store;
    let found = store.in_state(Kind::AppMessage, STREAMING).await?;
    if store.is_shared() {
        sleep(APP_KEEP_EVERY * MISSED_WRITES).await;
    }
    let mut marked = 0;
    for document in found {
        let Ok(mut message) = body::<AppMessage>(&document) else { continue };
        if maker.app.runs.is_running(&Owner::from(&document), &document.id) {
            continue;
        }
        message.status = Status::Failed;
        message.stop_calls();
        message.failure = Some(Failure {
            kind: "server".to_owned(),
            message: "The server was stopped while it answered.".to_owned(),
            code: Some("interrupted".to_owned()),
        });
        let document = rows::message_with(document, &message);
        let change = Change::new().update(document.clone());
        match store.commit(rows::indexed(change, &document, &message)).await {
            Ok(()) => marked += 1,
            // It has changed since.
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(marked)
}
