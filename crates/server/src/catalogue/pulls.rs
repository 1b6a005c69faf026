//! Turns the name of a published model into a download that can be watched and cancelled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::loader::{Download, Loader};
use crate::errors::ApiError;

/// What a download is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum PullState {
    /// It comes.
    Running,
    /// It is there, under this name.
    Done(String),
    /// It was cancelled.
    Cancelled,
    /// It did not come.
    Failed(String),
}

/// A download, as far as it is.
#[derive(Clone, Debug)]
pub struct Pull {
    /// As it was asked for.
    pub source: String,
    /// The file that comes.
    pub file: Option<String>,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes of all of it, where they are told.
    pub total: Option<u64>,
    /// What it is doing.
    pub state: PullState,
}

/// The latest download: one at a time, as they share one line.
#[derive(Default)]
pub struct Pulls {
    latest: Mutex<Option<Arc<Running>>>,
}

/// A download on its way.
struct Running {
    pull: Mutex<Pull>,
    cancelled: AtomicBool,
}

impl Running {
    fn pull(&self) -> MutexGuard<'_, Pull> {
        self.pull.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Download for Running {
    fn at(&self, name: &str, bytes: u64, total: Option<u64>) {
        let mut pull = self.pull();
        if pull.file.as_deref() != Some(name) {
            pull.file = Some(name.to_owned());
        }
        (pull.bytes, pull.total) = (bytes, total);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

impl Pulls {
    /// The latest one.
    pub fn latest(&self) -> Option<Pull> {
        self.lock().as_ref().map(|running| running.pull().clone())
    }

    /// Begins one, on a thread of its own; `ended` is called at its end.
    ///
    /// # Errors
    /// 409 while another one is on its way.
    pub fn begin(
        &self,
        loader: Arc<dyn Loader>,
        source: &str,
        ended: impl FnOnce() + Send + 'static,
    ) -> Result<Pull, ApiError> {
        let mut latest = self.lock();
        if let Some(running) = &*latest
            && running.pull().state == PullState::Running
        {
            let message =
                format!("'{}' is on its way: one comes at a time.", running.pull().source);
            return Err(ApiError::conflict("pull_running", message));
        }
        let (source, state) = (source.to_owned(), PullState::Running);
        let pull = Pull { source: source.clone(), file: None, bytes: 0, total: None, state };
        let running =
            Arc::new(Running { pull: Mutex::new(pull.clone()), cancelled: AtomicBool::default() });
        *latest = Some(Arc::clone(&running));
        let begun = std::thread::Builder::new().name("pull".into()).spawn(move || {
            let result = loader.pull(&source, &*running);
            let state = match result {
                Ok(name) => PullState::Done(name),
                Err(_) if running.is_cancelled() => PullState::Cancelled,
                Err(why) => PullState::Failed(why),
            };
            tracing::info!(source, ?state, "pulled");
            ended();
            running.pull().state = state;
        });
        match begun {
            Ok(_) => Ok(pull),
            Err(error) => {
                tracing::error!(%error, "no thread to get a model");
                *latest = None;
                Err(ApiError::internal())
            }
        }
    }

    /// Gives the running one up; what came of it stays for the next try.
    pub fn cancel(&self) -> Option<Pull> {
        let latest = self.lock();
        let running = latest.as_ref()?;
        running.cancelled.store(true, Ordering::Relaxed);
        Some(running.pull().clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Running>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
