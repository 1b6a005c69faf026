//! Turns models and a configuration into what every handler shares.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use myriad_store::Change;
use myriad_token::Specials;
use tokio::sync::{Semaphore, watch};

use crate::answers::recent::Recent;
use crate::attached::Extractions;
use crate::catalogue::{Asked, Catalogue, Lease, Models, Purpose};
use crate::chats::runs::Runs;
use crate::errors::ApiError;
use crate::layers::upload::{Held, Upload};
use crate::ledger::Ledger;
use crate::limits::LARGE_BODIES_MAX;
use crate::oidc::Oidc;
use crate::people::People;
use crate::runtime::Runtime;
use crate::serve::ServerConfig;
use crate::storage::Storage;
use crate::wire::named::Named;

/// Models that an error lists.
const SERVED_SHOWN_MAX: usize = 50;

/// What every handler and layer shares.
pub struct App {
    /// All models.
    pub catalogue: Catalogue,
    /// The one that the server was started with: it counts what belongs to no model.
    pub runtime: Arc<Runtime>,
    pub config: ServerConfig,
    /// Places for large bodies.
    pub large_bodies: Arc<Semaphore>,
    /// Told when something is to be done for a batch.
    pub batches: watch::Sender<()>,
    /// Responses that go on, or ended a short while ago.
    pub recent: Arc<Recent>,
    /// Answers of the chat in the browser.
    pub runs: Runs,
    /// Places for files whose text is read.
    pub extractions: Extractions,
    /// Passwords and logins.
    pub people: People,
    /// What was used and is not written yet.
    pub ledger: Arc<Ledger>,
    /// When the server was made, in seconds since 1970.
    pub created: u64,
}

impl App {
    pub fn new(models: Models, config: ServerConfig) -> App {
        App {
            runtime: Arc::clone(&models.main.runtime),
            catalogue: Catalogue::new(models),
            config,
            large_bodies: Arc::new(Semaphore::new(LARGE_BODIES_MAX)),
            batches: watch::Sender::new(()),
            recent: Arc::default(),
            runs: Runs::default(),
            extractions: Extractions::default(),
            people: People::default(),
            ledger: Arc::default(),
            created: unix_seconds(),
        }
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

    /// Asks for a model by its name, or without one for the one that is there for this.
    ///
    /// # Errors
    /// 404 where nobody knows it; 400 where it cannot do this or is not loaded by requests; 429
    /// where too many wait.
    pub async fn ask(
        self: &Arc<App>,
        model: Option<&str>,
        purpose: Purpose,
    ) -> Result<Asked, ApiError> {
        if let Some(asked) = self.catalogue.ask(model, purpose)? {
            return Ok(asked);
        }
        let name = model.unwrap_or_default();
        // Its file may have come since somebody looked.
        self.look().await?;
        match self.catalogue.ask(model, purpose)? {
            Some(asked) => Ok(asked),
            None => Err(self.unknown(name)?),
        }
    }

    /// As [`App::ask`], and waits for the model.
    ///
    /// # Errors
    /// As [`App::ask`]; 500 where it cannot be loaded, 503 where that takes too long.
    pub async fn lease(
        self: &Arc<App>,
        model: Option<&str>,
        purpose: Purpose,
    ) -> Result<Lease, ApiError> {
        self.ask(model, purpose).await?.lease().await
    }

    /// A body, and the model that it names.
    ///
    /// # Errors
    /// As [`App::lease`], and where the body cannot be had.
    pub async fn body_and_lease(
        self: &Arc<App>,
        upload: &Upload,
        purpose: Purpose,
    ) -> Result<(Held, Lease), ApiError> {
        let body = upload.read(&self.large_bodies).await?;
        let (body, named) = self.named(body).await?;
        let lease = self.lease(named.model.as_deref(), purpose).await?;
        Ok((body, lease))
    }

    /// What a body names.
    pub async fn named(self: &Arc<App>, body: Held) -> Result<(Held, Named), ApiError> {
        let read = move |_: &App| {
            let named = Named::of(&body);
            Ok((body, named))
        };
        self.blocking(read).await
    }

    /// Looks which models there are.
    ///
    /// # Errors
    /// 500 where that breaks.
    pub async fn look(self: &Arc<App>) -> Result<(), ApiError> {
        let look = |app: &App| {
            app.catalogue.look();
            Ok(())
        };
        match self.catalogue.loader() {
            Some(_) => self.blocking(look).await,
            None => Ok(()),
        }
    }

    /// Why this server does not have a model.
    ///
    /// # Errors
    /// 400 where several other servers have it.
    pub fn unknown(&self, model: &str) -> Result<ApiError, ApiError> {
        if let Some(target) = self.config.upstreams.find(model)? {
            return Ok(ApiError::chats_only(model, &target.place.about.name));
        }
        let own = self.catalogue.list().into_iter().flat_map(|listed| listed.names);
        let others = self.config.upstreams.models().into_iter().map(|(id, _)| id);
        let names: Vec<String> = own.chain(others).take(SERVED_SHOWN_MAX).collect();
        Ok(ApiError::unknown_model(model, &names))
    }

    /// Whether a model of this name is this server's own.
    pub fn has(&self, model: &str) -> bool {
        self.catalogue.has(model)
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

    /// Tokens of a text, as the model that the server was started with counts.
    pub fn tokens_of(&self, text: &str) -> usize {
        self.runtime.tokenizer().encode(text, Specials::AsText).len()
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

    /// Whether the models that stay take requests; the others are loaded anew where they broke.
    pub fn healthy(&self) -> bool {
        let models = self.catalogue.list();
        let mut pinned = models.iter().filter(|listed| listed.pinned);
        pinned.all(|listed| listed.runtime.as_ref().is_some_and(|runtime| runtime.healthy()))
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
