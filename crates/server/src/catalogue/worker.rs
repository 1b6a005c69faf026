//! Turns the shelf's next job into a model loaded or dropped: one thread, one job at a time.
//!
//! Two loads at once would take twice the time each, and their memory could not be counted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::Shared;
use super::shelf::Job;
use crate::runtime::Runtime;

/// Starts the thread; it ends with the catalogue. Without a thread nothing is ever loaded, and
/// requests say so when their time is over.
pub fn start(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    let started = std::thread::Builder::new().name("models".into()).spawn(move || run(&shared));
    if let Err(error) = started {
        tracing::error!(%error, "no thread to load models");
    }
}

fn run(shared: &Arc<Shared>) {
    loop {
        match wait(shared) {
            Job::Stop => return,
            Job::Drop(id, runtime) => {
                let name = runtime.name().to_owned();
                // Its engine's thread is waited for, and its memory goes back.
                drop(runtime);
                shared.shelf().dropped(id);
                tracing::info!(model = name, "unloaded");
            }
            Job::Load { id, name, progress } => {
                let mut tell = |share: f32| progress.store(share.to_bits(), Ordering::Relaxed);
                let result = load(shared, &name, &mut tell);
                let unclaimed = shared.shelf().loaded(shared, id, result);
                drop(unclaimed);
            }
        }
    }
}

fn wait(shared: &Shared) -> Job {
    let mut shelf = shared.shelf();
    loop {
        if let Some(job) = shelf.next() {
            return job;
        }
        shelf = shared.bell.wait(shelf).unwrap_or_else(PoisonError::into_inner);
    }
}

fn load(
    shared: &Shared,
    name: &str,
    progress: &mut dyn FnMut(f32),
) -> Result<Arc<Runtime>, String> {
    let Some(others) = &shared.others else { return Err("nothing is loaded here".to_owned()) };
    let since = Instant::now();
    tracing::info!(model = name, "loading");
    let loaded = catch_unwind(AssertUnwindSafe(|| others.loader.load(name, progress)));
    let loaded = loaded.unwrap_or_else(|_| Err("loading it panicked".to_owned()));
    match &loaded {
        Ok(_) => {
            let milliseconds = since.elapsed().as_millis() as u64;
            tracing::info!(model = name, milliseconds, "loaded");
        }
        Err(error) => tracing::error!(model = name, error, "cannot be loaded"),
    }
    loaded
}
