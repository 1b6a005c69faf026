//! Turns names of models into engines: those that the server was started with, and others, which
//! are loaded when they are asked for and unloaded when their memory is needed.
//!
//! In reading order: this file finds who is meant and hands out a [`Lease`], which keeps a model
//! loaded while a request runs; [`shelf`] holds what state each model is in and decides what is
//! loaded and unloaded next; [`worker`] is the one thread that does both; [`loader`] is what it
//! asks of whoever knows files. [`pulls`] gets models from elsewhere.

mod lease;
mod loader;
mod pulls;
mod shelf;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use lease::{Asked, Coming, Lease};
pub use loader::{Description, Download, Loader};
pub use pulls::{Pull, PullState, Pulls};
pub use shelf::{Listed, State};

use crate::errors::ApiError;
use crate::runtime::Runtime;
use shelf::{Entry, Shelf};

/// Time between two looks at which files there are: each reads their headers.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A model that is loaded before the server is, and stays.
pub struct Served {
    /// Its engine.
    pub runtime: Arc<Runtime>,
    /// What it is.
    pub about: Description,
}

impl From<Arc<Runtime>> for Served {
    fn from(runtime: Arc<Runtime>) -> Served {
        Served { about: Description::from(&*runtime), runtime }
    }
}

/// The models of a server.
pub struct Models {
    /// The one that answers where none is named; where it is an encoder, it makes vectors alone.
    pub main: Served,
    /// Another that makes vectors.
    pub embedder: Option<Served>,
    /// Those that can be loaded besides.
    pub others: Option<Others>,
}

/// Models that can be loaded besides those that the server was started with.
pub struct Others {
    /// Whoever loads them.
    pub loader: Arc<dyn Loader>,
    /// Bytes of memory that all models may take together, those among them that stay.
    pub memory_bytes: u64,
    /// Whether a request that names one loads it; else an operator does.
    pub on_request: bool,
}

impl From<Arc<Runtime>> for Models {
    fn from(main: Arc<Runtime>) -> Models {
        Models { main: main.into(), embedder: None, others: None }
    }
}

/// What a model is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To answer.
    Answers,
    /// To make vectors, which every model can.
    Vectors,
    /// For its vocabulary.
    Tokens,
}

/// All models of a server.
pub struct Catalogue {
    shared: Arc<Shared>,
    /// When the files were looked at last.
    looked: Mutex<Option<Instant>>,
    /// What comes from elsewhere.
    pub pulls: Pulls,
}

/// What the worker, the leases and the handlers share.
pub(super) struct Shared {
    shelf: Mutex<Shelf>,
    /// Rung when the worker may have something to do.
    bell: Condvar,
    others: Option<Others>,
}

impl Shared {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease has ended.
    fn returned(&self, id: u64) {
        self.shelf().returned(id);
        self.bell.notify_all();
    }
}

impl Catalogue {
    /// A catalogue of these models.
    pub fn new(models: Models) -> Catalogue {
        let Models { main, embedder, others } = models;
        let budget = others.as_ref().map_or(u64::MAX, |others| others.memory_bytes);
        let mut shelf = Shelf::new(budget);
        shelf.add(Entry::pinned(main, false));
        if let Some(embedder) = embedder {
            shelf.add(Entry::pinned(embedder, true));
        }
        let loads = others.is_some();
        let shared = Shared { shelf: Mutex::new(shelf), bell: Condvar::new(), others };
        let shared = Arc::new(shared);
        if loads {
            worker::start(&shared);
        }
        Catalogue { shared, looked: Mutex::default(), pulls: Pulls::default() }
    }

    /// Whoever loads models that are not there from the start.
    pub fn loader(&self) -> Option<&Arc<dyn Loader>> {
        self.shared.others.as_ref().map(|others| &others.loader)
    }

    /// Whether requests load models.
    pub fn loads_on_request(&self) -> bool {
        self.shared.others.as_ref().is_some_and(|others| others.on_request)
    }

    /// Looks which files there are, unless somebody has just done so; blocks.
    pub fn look(&self) {
        let Some(loader) = self.loader() else { return };
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|time| time.elapsed() < LOOK_EVERY) {
            return;
        }
        let found = loader.list();
        self.shared.shelf().offer(found);
        *looked = Some(Instant::now());
    }

    /// Makes the next look a real one: files have changed.
    pub fn forget_look(&self) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether a model of this name is known.
    pub fn has(&self, name: &str) -> bool {
        self.shared.shelf().find(name).is_some()
    }

    /// Asks for a model; without a name for the one that is there for this.
    ///
    /// # Errors
    /// [`ApiError`]: it cannot do this, cannot be loaded, or too many wait for models. None where
    /// nobody knows the name.
    pub fn ask(&self, name: Option<&str>, purpose: Purpose) -> Result<Option<Asked>, ApiError> {
        let mut shelf = self.shared.shelf();
        let Some(id) = shelf.meant(name, purpose) else { return Ok(None) };
        let asked = shelf.ask(&self.shared, id, purpose, self.loads_on_request());
        drop(shelf);
        self.shared.bell.notify_all();
        asked.map(Some)
    }

    /// Has a model loaded, for nobody in particular.
    ///
    /// # Errors
    /// 404 where there is none of this name, or it cannot fit.
    pub fn load(&self, name: &str) -> Result<Listed, ApiError> {
        self.change(name, Shelf::wish)
    }

    /// Has a model unloaded, when the requests that use it have ended.
    ///
    /// # Errors
    /// 404 where there is none of this name, 409 where it stays.
    pub fn unload(&self, name: &str) -> Result<Listed, ApiError> {
        self.change(name, Shelf::dismiss)
    }

    fn change(
        &self,
        name: &str,
        change: fn(&mut Shelf, u64) -> Result<(), ApiError>,
    ) -> Result<Listed, ApiError> {
        let mut shelf = self.shared.shelf();
        let none = || ApiError::unknown_model(name, &shelf.names());
        let id = shelf.find(name).ok_or_else(none)?;
        change(&mut shelf, id)?;
        self.shared.bell.notify_all();
        shelf.listed(id).ok_or_else(ApiError::internal)
    }

    /// All models with their states: those that stay, then the others by name.
    pub fn list(&self) -> Vec<Listed> {
        self.shared.shelf().list()
    }

    /// The model of this name with its state.
    pub fn show(&self, name: &str) -> Option<Listed> {
        let shelf = self.shared.shelf();
        shelf.find(name).and_then(|id| shelf.listed(id))
    }

    /// The engine of a model, if it is loaded. To look at: nothing keeps it loaded.
    pub fn loaded(&self, name: Option<&str>) -> Option<Arc<Runtime>> {
        let shelf = self.shared.shelf();
        let id = shelf.meant(name, Purpose::Tokens)?;
        shelf.runtime(id)
    }

    /// The engines of all models that are loaded. To look at.
    pub fn runtimes(&self) -> Vec<Arc<Runtime>> {
        self.shared.shelf().runtimes()
    }

    /// Bytes of memory that models may take together, and those that they take; the first is
    /// `u64::MAX` where nothing is loaded besides.
    pub fn memory(&self) -> (u64, u64) {
        self.shared.shelf().memory()
    }
}

impl Drop for Catalogue {
    fn drop(&mut self) {
        self.shared.shelf().close();
        self.shared.bell.notify_all();
    }
}
