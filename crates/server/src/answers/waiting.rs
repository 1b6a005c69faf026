//! Turns a model that is still being loaded into a stream that shows life until the answer begins.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt, stream};

use super::stream::{EVENTS, KEEP_ALIVE, body_of, data};
use crate::app::App;
use crate::catalogue::{Asked, Coming, Lease, Purpose};
use crate::errors::ApiError;
use crate::layers::ticket::Ticket;
use crate::layers::upload::{Held, Upload};

/// A model that comes this soon is waited for in silence: what goes wrong by then has a status.
const SILENCE: Duration = Duration::from_secs(1);

/// How a dialect's stream says that it lives, and that it failed, before its answer begins.
pub struct Tongue {
    /// What the body is.
    pub content_type: &'static str,
    /// What means nothing to clients.
    pub alive: Box<dyn Fn() -> Bytes + Send>,
    /// The end of an answer that did not begin.
    pub failed: Box<dyn Fn(&ApiError) -> Bytes + Send>,
}

impl Tongue {
    /// OpenAI's.
    pub fn openai() -> Tongue {
        Tongue {
            content_type: EVENTS,
            alive: Box::new(|| Bytes::from_static(KEEP_ALIVE)),
            failed: Box::new(|error| data(&error.body())),
        }
    }
}

/// Reads a request and answers it with the model that it names, as [`answer`] does. `tongue`: how
/// its stream speaks, where it wants one.
///
/// # Errors
/// What is known before the answer begins.
pub async fn request<F, A>(
    app: Arc<App>,
    upload: Upload,
    ticket: Ticket,
    tongue: impl FnOnce(&Ticket) -> Tongue,
    work: F,
) -> Result<Response, ApiError>
where
    F: FnOnce(Arc<App>, Lease, Held, Ticket) -> A + Send + 'static,
    A: Future<Output = Result<Response, ApiError>> + Send + 'static,
{
    let body = upload.read(&app.large_bodies).await?;
    let (body, named) = app.named(body).await?;
    let asked = app.ask(named.model.as_deref(), Purpose::Answers).await?;
    let tongue = named.stream.unwrap_or(false).then(|| tongue(&ticket));
    let shared = Arc::clone(&app);
    answer(&app, asked, tongue, move |lease| work(shared, lease, body, ticket)).await
}

type Work = Box<dyn FnOnce(Lease) -> BoxFuture<'static, Result<Response, ApiError>> + Send>;

/// Answers with the model that was asked for, when it is there. `tongue`: the answer is a stream,
/// which begins while the model is being loaded, so that nobody in between takes it for dead.
///
/// # Errors
/// What is known before the answer begins.
pub async fn answer<F, A>(
    app: &App,
    asked: Asked,
    tongue: Option<Tongue>,
    work: F,
) -> Result<Response, ApiError>
where
    F: FnOnce(Lease) -> A + Send + 'static,
    A: Future<Output = Result<Response, ApiError>> + Send + 'static,
{
    let (mut coming, tongue) = match (asked, tongue) {
        (Asked::Coming(coming), Some(tongue)) => (coming, tongue),
        (asked, _) => return work(asked.lease().await?).await,
    };
    if let Some(lease) = coming.wait(SILENCE).await? {
        return work(lease).await;
    }
    let content_type = tongue.content_type;
    let work: Work = Box::new(move |lease| Box::pin(work(lease)));
    let stage = Stage::Waits(coming, work);
    let live = Live { tongue, keep_alive: app.config.keep_alive, stage };
    Ok(body_of(content_type, events(live)))
}

struct Live {
    tongue: Tongue,
    keep_alive: Duration,
    stage: Stage,
}

enum Stage {
    Waits(Coming, Work),
    Answers(Pin<Box<BodyDataStream>>),
    Over,
}

fn events(live: Live) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send {
    stream::unfold(live, |mut live| async move {
        let event = live.next().await?;
        Some((event, live))
    })
}

impl Live {
    async fn next(&mut self) -> Option<Result<Bytes, axum::Error>> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Waits(mut coming, work) => match coming.wait(self.keep_alive).await {
                    Ok(None) => {
                        self.stage = Stage::Waits(coming, work);
                        return Some(Ok((self.tongue.alive)()));
                    }
                    Ok(Some(lease)) => match work(lease).await {
                        Ok(response) => {
                            let body = response.into_body().into_data_stream();
                            self.stage = Stage::Answers(Box::pin(body));
                        }
                        Err(error) => return Some(Ok((self.tongue.failed)(&error))),
                    },
                    Err(error) => return Some(Ok((self.tongue.failed)(&error))),
                },
                Stage::Answers(mut body) => {
                    let event = body.next().await?;
                    self.stage = Stage::Answers(body);
                    return Some(event);
                }
                Stage::Over => return None,
            }
        }
    }
}
