//! Turns a model that is loaded into a hold on it, which keeps it loaded while a request runs.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Shared;
use crate::errors::ApiError;
use crate::runtime::Runtime;

/// A loaded model; it stays loaded until the last copy of this is dropped.
#[derive(Clone)]
pub struct Lease(Arc<Held>);

struct Held {
    runtime: Arc<Runtime>,
    // Fields are dropped in this order: whoever counts the hold finds that the model is not used.
    _hold: Hold,
}

struct Hold {
    shared: Arc<Shared>,
    id: u64,
}

impl Lease {
    /// The catalogue has counted it already.
    pub(super) fn counted(shared: &Arc<Shared>, id: u64, runtime: &Arc<Runtime>) -> Lease {
        let _hold = Hold { shared: Arc::clone(shared), id };
        Lease(Arc::new(Held { runtime: Arc::clone(runtime), _hold }))
    }
}

impl Deref for Lease {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        &self.0.runtime
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.returned(self.id);
    }
}

/// A model that a request has asked for.
pub enum Asked {
    /// It is there.
    Ready(Lease),
    /// It is being loaded, or waits for that.
    Coming(Coming),
}

impl Asked {
    /// Waits for the model.
    ///
    /// # Errors
    /// As [`Coming::wait`].
    pub async fn lease(self) -> Result<Lease, ApiError> {
        match self {
            Asked::Ready(lease) => Ok(lease),
            Asked::Coming(mut coming) => loop {
                if let Some(lease) = coming.wait(Duration::MAX).await? {
                    return Ok(lease);
                }
            },
        }
    }
}

/// A place among those who wait for a model. Dropping it gives the place up.
pub struct Coming {
    pub(super) name: String,
    pub(super) receiver: oneshot::Receiver<Result<Lease, ApiError>>,
    pub(super) until: Instant,
}

impl Coming {
    /// Waits for so long; none where the model is still not there.
    ///
    /// # Errors
    /// Why it cannot be loaded; 503 where it takes longer than anyone waits.
    pub async fn wait(&mut self, time: Duration) -> Result<Option<Lease>, ApiError> {
        let soon = Instant::now().checked_add(time).unwrap_or(self.until).min(self.until);
        match timeout_at(soon, &mut self.receiver).await {
            Ok(Ok(result)) => result.map(Some),
            // The catalogue is gone: the server stops.
            Ok(Err(_)) => Err(ApiError::unavailable()),
            Err(_) if soon < self.until => Ok(None),
            Err(_) => Err(ApiError::still_loading(&self.name)),
        }
    }
}
