//! Turns a runtime and a configuration into what every handler shares.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use myriad_store::Change;
use tokio::sync::{Semaphore, watch};

use crate::answers::recent::Recent;
use crate::chats::runs::Runs;
use crate::errors::ApiError;
use crate::limits::LARGE_BODIES_MAX;
use crate::oidc::Oidc;
use crate::people::People;
use crate::runtime::Runtime;
use crate::serve::ServerConfig;
use crate::storage::Storage;

/// The models of a server.
pub struct Models {
    /// The one that answers; where it is an encoder, the only one.
    pub main: Arc<Runtime>,
    /// Another that makes vectors.
    pub embedder: Option<Arc<Runtime>>,
}

impl From<Arc<Runtime>> for Models {
    fn from(main: Arc<Runtime>) -> Models {
        Models { main, embedder: None }
    }
}

/// Models of other servers that an error lists.
const SERVED_SHOWN_MAX: usize = 50;

/// What every handler and layer shares.
pub struct App {
    /// The model that answers.
    pub runtime: Arc<Runtime>,
    /// Another that makes vectors.
    pub embedder: Option<Arc<Runtime>>,
    pub config: ServerConfig,
    /// Places for large bodies.
    pub large_bodies: Arc<Semaphore>,
    /// Told when something is to be done for a batch.
    pub batches: watch::Sender<()>,
    /// Responses that go on, or ended a short while ago.
    pub recent: Arc<Recent>,
    /// Answers of the chat in the browser.
    pub runs: Runs,
    /// Passwords and logins.
    pub people: People,
    /// When the server was made, in seconds since 1970.
    pub created: u64,
}

impl App {
    pub fn new(models: Models, config: ServerConfig) -> App {
        let large_bodies = Arc::new(Semaphore::new(LARGE_BODIES_MAX));
        let batches = watch::Sender::new(());
        let Models { main: runtime, embedder } = models;
        let (recent, created) = (Arc::default(), unix_seconds());
        let (runs, people) = (Runs::default(), People::default());
        App { runtime, embedder, config, large_bodies, batches, recent, runs, people, created }
    }

    /// Whether requests must show a key or a session. A database that fails says so where these
    /// are looked up.
    pub async fn locked(&self) -> bool {
        let stored = match &self.config.storage {
            Some(storage) => storage.locked().await.unwrap_or(true),
            None => false,
        };
        stored || !self.config.api_keys.is_empty()
    }

    /// All models.
    pub fn runtimes(&self) -> impl Iterator<Item = &Arc<Runtime>> {
        std::iter::once(&self.runtime).chain(&self.embedder)
    }

    /// The model of that name; without one the model that answers.
    pub fn serving(&self, model: Option<&str>) -> Result<&Arc<Runtime>, ApiError> {
        let Some(model) = model else { return Ok(&self.runtime) };
        let is_it = |runtime: &&Arc<Runtime>| runtime.names().iter().any(|name| name == model);
        if let Some(runtime) = self.runtimes().find(is_it) {
            return Ok(runtime);
        }
        if let Some(target) = self.config.upstreams.find(model)? {
            return Err(ApiError::chats_only(model, &target.place.about.name));
        }
        let own = self.runtimes().flat_map(|runtime| runtime.names()).cloned();
        let others = self.config.upstreams.models().into_iter().map(|(id, _)| id);
        let names: Vec<String> = own.chain(others.take(SERVED_SHOWN_MAX)).collect();
        Err(ApiError::unknown_model(model, &names))
    }

    /// Whether a model of this name is this server's own.
    pub fn has(&self, model: &str) -> bool {
        self.runtimes().any(|runtime| runtime.names().iter().any(|name| name == model))
    }

    /// The model that a request names must be the one that answers, and one that can.
    pub fn check_model(&self, model: Option<&str>) -> Result<(), ApiError> {
        let runtime = self.serving(model)?;
        match !Arc::ptr_eq(runtime, &self.runtime) || runtime.is_encoder() {
            true => Err(ApiError::embeds_only(model.unwrap_or(runtime.name()))),
            false => Ok(()),
        }
    }

    /// The model of that name; without one the model that is there for vectors.
    pub fn embedding(&self, model: Option<&str>) -> Result<&Arc<Runtime>, ApiError> {
        match (model, &self.embedder) {
            (None, Some(embedder)) => Ok(embedder),
            _ => self.serving(model),
        }
    }

    /// What requests and answers may be kept in; `param` is what asked for it.
    ///
    /// # Errors
    /// 400 where the server keeps nothing.
    pub fn storage(&self, param: &str) -> Result<&Arc<Storage>, ApiError> {
        let storage = self.config.storage.as_ref().filter(|storage| storage.content);
        storage.ok_or_else(|| {
            let message = "This server keeps nothing of requests and answers (--no-store).";
            ApiError::unsupported(param, message)
        })
    }

    /// Where accounts and keys are.
    ///
    /// # Errors
    /// 400 where the server has no data folder.
    pub fn accounts(&self) -> Result<&Arc<Storage>, ApiError> {
        self.config.storage.as_ref().ok_or_else(|| {
            ApiError::bad_request("This server has no data folder, and so no accounts.")
        })
    }

    /// Who else may say who somebody is.
    ///
    /// # Errors
    /// 400 where nobody may.
    pub fn oidc(&self) -> Result<&Oidc, ApiError> {
        self.config.oidc.as_deref().ok_or_else(|| {
            ApiError::bad_request("This server has no sign-in by OpenID Connect (--oidc-issuer).")
        })
    }

    /// Whether passwords open anything.
    ///
    /// # Errors
    /// 403 where they do not.
    pub fn check_passwords(&self) -> Result<(), ApiError> {
        match self.config.oidc.as_ref().filter(|oidc| oidc.config.only) {
            Some(oidc) => Err(ApiError::not_allowed(format!(
                "Passwords open nothing here: sign in with {} (--oidc-only).",
                oidc.config.name
            ))),
            None => Ok(()),
        }
    }

    /// Writes down what a request asked to keep, where anything is kept.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn keep(&self, change: Change) -> Result<(), ApiError> {
        match &self.config.storage {
            Some(storage) => Ok(storage.store.commit(change).await?),
            None => Ok(()),
        }
    }

    /// A prompt, which came from `param`, must fit with what is asked for.
    pub fn check_length(
        &self,
        prompt: usize,
        max_tokens: Option<usize>,
        param: &str,
    ) -> Result<(), ApiError> {
        let fits = self.runtime.check_length(prompt, max_tokens);
        fits.map_err(|error| ApiError::from_generate(error, param))
    }

    /// Runs work that takes long for one core (reading large JSON, tokenising, rendering) where it
    /// holds up no other request.
    pub async fn blocking<T, F>(self: &Arc<App>, work: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&App) -> Result<T, ApiError> + Send + 'static,
    {
        let app = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&app)).await {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(panicked = error.is_panic(), "preparing a request failed");
                Err(ApiError::internal())
            }
        }
    }

    /// Whether every model takes requests.
    pub fn healthy(&self) -> bool {
        self.runtimes().all(|runtime| runtime.healthy())
    }

    /// Error of a request whose engine failed while it ran.
    pub fn engine_failed(&self) -> ApiError {
        if self.runtime.healthy() { ApiError::internal() } else { ApiError::unavailable() }
    }
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    // A clock before 1970 is wrong anyway.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Now, in RFC 3339's words.
pub fn timestamp() -> String {
    timestamp_of(unix_seconds())
}

/// Seconds since 1970 in RFC 3339's words, UTC: `2026-11-25T22:31:56Z`.
pub fn timestamp_of(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Counted from 0000-03-01, so that a leap day is the last of its year (Hinnant,
    // "chrono-compatible low-level date algorithms").
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// What answers are computed with: results depend on nothing else of the server.
pub fn fingerprint() -> String {
    concat!("myriad-", env!("CARGO_PKG_VERSION")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::timestamp_of;

    #[test]
    fn seconds_have_their_date() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_583_099, "2026-11-25T05:04:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp_of(seconds), text);
        }
    }
}
