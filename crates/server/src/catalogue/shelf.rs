//! Turns wishes for models into the state of each, and into what is loaded and unloaded next.
//!
//! Nothing here blocks or computes: the rules are one data structure behind one lock. A model that
//! does not fit makes room for itself by the one that was used longest ago: that one takes no new
//! requests, ends those that it has, and is dropped. Requests for it wait, and have it loaded
//! again. Loads are done in the order of their wishes, and whoever waits for a model holds it from
//! the moment on in which it is there, so that models which alternate serve all who ask.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::lease::{Asked, Coming, Lease};
use super::{Description, Purpose, Served, Shared};
use crate::app::unix_seconds;
use crate::errors::ApiError;
use crate::limits::{LOAD_TIME_MAX, LOAD_WAITERS_MAX};
use crate::runtime::Runtime;

/// What a model is doing, as others see it.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// It lies on the disk.
    Cold,
    /// It is being loaded, so far, from 0 to 1, or waits for its turn.
    Loading(f32),
    /// It takes requests.
    Ready,
    /// It ends its last requests.
    Unloading,
    /// It could not be loaded; the next request tries again.
    Failed(String),
}

/// A model with its state.
#[derive(Clone)]
pub struct Listed {
    /// What it is.
    pub about: Description,
    /// All names under which requests reach it.
    pub names: Vec<String>,
    /// What it is doing.
    pub state: State,
    /// Whether it stays loaded.
    pub pinned: bool,
    /// Whether it makes vectors and answers nothing.
    pub embeds: bool,
    /// When a request asked for it last, in seconds since 1970.
    pub used_at: Option<u64>,
    /// Its engine, while it takes requests.
    pub runtime: Option<Arc<Runtime>>,
}

/// A model.
pub struct Entry {
    id: u64,
    about: Description,
    names: Vec<String>,
    pinned: bool,
    embeds: bool,
    stage: Stage,
    /// Leases on it.
    leases: usize,
    waiters: Vec<oneshot::Sender<Result<Lease, ApiError>>>,
    /// Whether an operator wants it, besides those who wait.
    wished: bool,
    /// Counts up with each use; the smallest was used longest ago.
    used: u64,
    used_at: Option<u64>,
}

enum Stage {
    Cold,
    Failed(String),
    /// It waits for its turn, or is loaded: then its memory counts.
    Loading {
        progress: Arc<AtomicU32>,
        begun: bool,
    },
    Ready(Arc<Runtime>),
    /// As [`Stage::Ready`] for those who hold it, and for nobody else.
    Draining(Arc<Runtime>),
    /// The worker drops it.
    Dropping,
}

impl Entry {
    /// One that is loaded and stays. `embeds`: it is there for vectors alone.
    pub fn pinned(served: Served, embeds: bool) -> Entry {
        let names = served.runtime.names().to_vec();
        let embeds = embeds || served.runtime.is_encoder();
        Entry {
            pinned: true,
            embeds,
            stage: Stage::Ready(served.runtime),
            ..Entry::cold(served.about, names)
        }
    }

    fn cold(about: Description, names: Vec<String>) -> Entry {
        Entry {
            id: 0,
            embeds: about.embeds,
            about,
            names,
            pinned: false,
            stage: Stage::Cold,
            leases: 0,
            waiters: Vec::new(),
            wished: false,
            used: 0,
            used_at: None,
        }
    }

    /// Bytes that count towards the budget.
    fn held_bytes(&self) -> u64 {
        match self.stage {
            Stage::Cold | Stage::Failed(_) | Stage::Loading { begun: false, .. } => 0,
            _ => self.about.memory_bytes,
        }
    }

    fn is_wanted(&self) -> bool {
        self.wished || self.waiters.iter().any(|waiter| !waiter.is_closed())
    }

    fn listed(&self) -> Listed {
        let (state, runtime) = match &self.stage {
            Stage::Cold => (State::Cold, None),
            Stage::Failed(why) => (State::Failed(why.clone()), None),
            Stage::Loading { progress, .. } => {
                (State::Loading(f32::from_bits(progress.load(Ordering::Relaxed))), None)
            }
            Stage::Ready(runtime) => (State::Ready, Some(runtime)),
            Stage::Draining(runtime) => (State::Unloading, Some(runtime)),
            Stage::Dropping => (State::Unloading, None),
        };
        Listed {
            about: self.about.clone(),
            names: self.names.clone(),
            state,
            pinned: self.pinned,
            embeds: self.embeds,
            used_at: self.used_at,
            runtime: runtime.cloned(),
        }
    }
}

/// What the worker does next.
pub enum Job {
    /// Drop an engine, then tell [`Shelf::dropped`].
    Drop(u64, Arc<Runtime>),
    /// Load a model, then tell [`Shelf::loaded`].
    Load { id: u64, name: String, progress: Arc<AtomicU32> },
    /// End.
    Stop,
}

/// What a model that is to be loaded finds.
enum Room {
    Enough,
    /// What is being unloaded will be enough.
    Soon,
    /// This one has to go first.
    After(u64),
    /// Never: these bytes are all that others leave to it.
    Never(u64),
}

/// All models.
pub struct Shelf {
    entries: Vec<Entry>,
    budget: u64,
    /// Models that are to be loaded, in order.
    queue: VecDeque<u64>,
    /// Engines that nobody uses any more.
    gone: Vec<(u64, Arc<Runtime>)>,
    /// Ids and uses are counted from 1.
    last_id: u64,
    uses: u64,
    closed: bool,
}

impl Shelf {
    pub fn new(budget: u64) -> Shelf {
        Shelf {
            entries: Vec::new(),
            budget,
            queue: VecDeque::new(),
            gone: Vec::new(),
            last_id: 0,
            uses: 0,
            closed: false,
        }
    }

    pub fn add(&mut self, mut entry: Entry) {
        self.last_id += 1;
        entry.id = self.last_id;
        self.entries.push(entry);
    }

    /// Takes over what could be loaded now. A model that is used stays, even where its file is
    /// gone.
    pub fn offer(&mut self, found: Vec<Description>) {
        let idle = |entry: &Entry| matches!(entry.stage, Stage::Cold | Stage::Failed(_));
        self.entries.retain(|entry| {
            entry.pinned || !idle(entry) || found.iter().any(|one| one.name == entry.about.name)
        });
        for about in found {
            let known = |entry: &&mut Entry| entry.names.contains(&about.name);
            match self.entries.iter_mut().find(known) {
                // What is in memory is what it was when it was loaded.
                Some(entry) if idle(entry) => {
                    entry.embeds = about.embeds;
                    entry.about = about;
                }
                Some(_) => {}
                None => {
                    let names = vec![about.name.clone()];
                    self.add(Entry::cold(about, names));
                }
            }
        }
        self.entries.sort_by(|a, b| {
            b.pinned.cmp(&a.pinned).then_with(|| match a.pinned {
                true => a.id.cmp(&b.id),
                false => a.about.name.cmp(&b.about.name),
            })
        });
    }

    pub fn find(&self, name: &str) -> Option<u64> {
        let is_it = |entry: &&Entry| entry.names.iter().any(|known| known == name);
        self.entries.iter().find(is_it).map(|entry| entry.id)
    }

    /// The model of this name; without one the first that was made for this.
    pub fn meant(&self, name: Option<&str>, purpose: Purpose) -> Option<u64> {
        match name {
            Some(name) => self.find(name),
            None => {
                let made_for = |entry: &&Entry| entry.pinned && entry.embeds;
                let vectors = (purpose == Purpose::Vectors)
                    .then(|| self.entries.iter().find(made_for))
                    .flatten();
                vectors.or(self.entries.first()).map(|entry| entry.id)
            }
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.entries.iter().flat_map(|entry| entry.names.iter().cloned()).collect()
    }

    /// Gives a lease, or a place among those who wait.
    pub fn ask(
        &mut self,
        shared: &Arc<Shared>,
        id: u64,
        purpose: Purpose,
        loads: bool,
    ) -> Result<Asked, ApiError> {
        let waiting = self.entries.iter().map(|entry| entry.waiters.len()).sum::<usize>();
        self.uses += 1;
        let (uses, budget) = (self.uses, self.most_for(id));
        let Some(entry) = self.entry(id) else { return Err(ApiError::internal()) };
        if purpose == Purpose::Answers && entry.embeds {
            return Err(ApiError::embeds_only(&entry.names[0]));
        }
        (entry.used, entry.used_at) = (uses, Some(unix_seconds()));
        // One whose engine has broken down too often is loaded anew.
        let broken = matches!(&entry.stage, Stage::Ready(runtime) if !runtime.healthy());
        if broken && !entry.pinned {
            self.unload(id);
        }
        let Some(entry) = self.entry(id) else { return Err(ApiError::internal()) };
        if let Stage::Ready(runtime) = &entry.stage {
            let lease = Lease::counted(shared, id, runtime);
            entry.leases += 1;
            return Ok(Asked::Ready(lease));
        }
        let comes = matches!(entry.stage, Stage::Loading { .. });
        if !comes && !loads {
            return Err(ApiError::not_loaded(&entry.names[0]));
        }
        if entry.about.memory_bytes > budget {
            return Err(ApiError::model_too_large(
                &entry.names[0],
                entry.about.memory_bytes,
                budget,
            ));
        }
        if waiting >= LOAD_WAITERS_MAX {
            let message = format!("{waiting} requests wait for models already.");
            return Err(ApiError::busy("models_busy", message));
        }
        let (sender, receiver) = oneshot::channel();
        entry.waiters.push(sender);
        let name = entry.names[0].clone();
        if matches!(entry.stage, Stage::Cold | Stage::Failed(_)) {
            self.enqueue(id);
        }
        Ok(Asked::Coming(Coming { name, receiver, until: Instant::now() + LOAD_TIME_MAX }))
    }

    /// An operator wants it loaded.
    pub fn wish(&mut self, id: u64) -> Result<(), ApiError> {
        let budget = self.most_for(id);
        let Some(entry) = self.entry(id) else { return Err(ApiError::internal()) };
        let needed = entry.about.memory_bytes;
        match entry.stage {
            Stage::Ready(_) => Ok(()),
            _ if needed > budget => Err(ApiError::model_too_large(&entry.names[0], needed, budget)),
            Stage::Cold | Stage::Failed(_) => {
                entry.wished = true;
                self.enqueue(id);
                Ok(())
            }
            Stage::Loading { .. } | Stage::Draining(_) | Stage::Dropping => {
                entry.wished = true;
                Ok(())
            }
        }
    }

    /// An operator wants it unloaded.
    pub fn dismiss(&mut self, id: u64) -> Result<(), ApiError> {
        let Some(entry) = self.entry(id) else { return Err(ApiError::internal()) };
        if entry.pinned {
            let message = format!(
                "'{}' is what the server was started with: it stays loaded.",
                entry.names[0]
            );
            return Err(ApiError::conflict("model_pinned", message));
        }
        entry.wished = false;
        match entry.stage {
            Stage::Loading { begun: true, .. } => {
                let message = format!("'{}' is being loaded.", entry.names[0]);
                return Err(ApiError::conflict("model_loading", message));
            }
            Stage::Loading { begun: false, .. } => {
                let error = ApiError::not_loaded(&entry.names[0]);
                self.failed(id, error, Stage::Cold);
                self.queue.retain(|other| *other != id);
            }
            _ => self.unload(id),
        }
        Ok(())
    }

    fn enqueue(&mut self, id: u64) {
        if let Some(entry) = self.entry(id) {
            let progress = Arc::new(AtomicU32::new(0f32.to_bits()));
            entry.stage = Stage::Loading { progress, begun: false };
            self.queue.push_back(id);
        }
    }

    /// Takes no new requests, and goes when the last one has ended.
    fn unload(&mut self, id: u64) {
        let Some(entry) = self.entry(id) else { return };
        if let Stage::Ready(runtime) = &entry.stage {
            entry.stage = Stage::Draining(Arc::clone(runtime));
        }
        self.let_go(id);
    }

    /// A lease has ended.
    pub fn returned(&mut self, id: u64) {
        self.uses += 1;
        let uses = self.uses;
        if let Some(entry) = self.entry(id) {
            entry.leases -= 1;
            entry.used = uses;
            self.let_go(id);
        }
    }

    fn let_go(&mut self, id: u64) {
        let Some(entry) = self.entry(id) else { return };
        if entry.leases > 0 {
            return;
        }
        if let Stage::Draining(runtime) = &entry.stage {
            let runtime = Arc::clone(runtime);
            entry.stage = Stage::Dropping;
            self.gone.push((id, runtime));
        }
    }

    /// What the worker does next; none: it waits.
    pub fn next(&mut self) -> Option<Job> {
        if self.closed {
            return Some(Job::Stop);
        }
        loop {
            if let Some((id, runtime)) = self.gone.pop() {
                return Some(Job::Drop(id, runtime));
            }
            let id = *self.queue.front()?;
            let room = self.room(id);
            let Some(entry) = self.entry(id) else {
                self.queue.pop_front();
                continue;
            };
            match room {
                _ if !entry.is_wanted() => {
                    entry.waiters.clear();
                    entry.stage = Stage::Cold;
                    self.queue.pop_front();
                }
                Room::Never(most) => {
                    let (name, needed) = (entry.names[0].clone(), entry.about.memory_bytes);
                    let error = ApiError::model_too_large(&name, needed, most);
                    let why = error.message.clone();
                    self.failed(id, error, Stage::Failed(why));
                    self.queue.pop_front();
                }
                Room::Enough => {
                    let progress = Arc::new(AtomicU32::new(0f32.to_bits()));
                    let job = Job::Load {
                        id,
                        name: entry.about.name.clone(),
                        progress: Arc::clone(&progress),
                    };
                    entry.stage = Stage::Loading { progress, begun: true };
                    self.queue.pop_front();
                    return Some(job);
                }
                Room::After(victim) => self.unload(victim),
                Room::Soon => return None,
            }
        }
    }

    /// Bytes that those who stay leave to a model.
    fn most_for(&self, id: u64) -> u64 {
        let others = self.entries.iter().filter(|entry| entry.pinned && entry.id != id);
        self.budget.saturating_sub(others.map(|entry| entry.about.memory_bytes).sum())
    }

    fn room(&self, id: u64) -> Room {
        let needed = |entry: &&Entry| entry.id == id;
        let needed = self.entries.iter().find(needed).map_or(0, |entry| entry.about.memory_bytes);
        let most = self.most_for(id);
        if needed > most {
            return Room::Never(most);
        }
        let free = self.budget.saturating_sub(self.memory().1);
        if needed <= free {
            return Room::Enough;
        }
        let leaving = |entry: &&Entry| matches!(entry.stage, Stage::Draining(_) | Stage::Dropping);
        let leaving: u64 = self.entries.iter().filter(leaving).map(Entry::held_bytes).sum();
        if needed <= free.saturating_add(leaving) {
            return Room::Soon;
        }
        let ready = |entry: &&Entry| !entry.pinned && matches!(entry.stage, Stage::Ready(_));
        let victim = self.entries.iter().filter(ready).min_by_key(|it| (it.leases > 0, it.used));
        victim.map_or(Room::Soon, |entry| Room::After(entry.id))
    }

    /// An engine's memory is free again.
    pub fn dropped(&mut self, id: u64) {
        let Some(entry) = self.entry(id) else { return };
        entry.stage = Stage::Cold;
        if entry.is_wanted() {
            self.enqueue(id);
        }
    }

    /// A model is there, or is not: everyone who waits is told. Returns leases of those who are
    /// gone, to be dropped without the lock, which their end takes.
    pub fn loaded(
        &mut self,
        shared: &Arc<Shared>,
        id: u64,
        result: Result<Arc<Runtime>, String>,
    ) -> Vec<Lease> {
        let Some(entry) = self.entry(id) else { return Vec::new() };
        let runtime = match result {
            Ok(runtime) => runtime,
            Err(why) => {
                let error = ApiError::load_failed(&entry.names[0]);
                self.failed(id, error, Stage::Failed(why));
                return Vec::new();
            }
        };
        entry.wished = false;
        entry.about.context = Some(runtime.context_max());
        let waiters = std::mem::take(&mut entry.waiters);
        entry.leases += waiters.len();
        entry.stage = Stage::Ready(Arc::clone(&runtime));
        let send = |waiter: oneshot::Sender<_>| {
            waiter.send(Ok(Lease::counted(shared, id, &runtime))).err()?.ok()
        };
        waiters.into_iter().filter_map(send).collect()
    }

    fn failed(&mut self, id: u64, error: ApiError, stage: Stage) {
        let Some(entry) = self.entry(id) else { return };
        entry.stage = stage;
        entry.wished = false;
        for waiter in entry.waiters.drain(..) {
            // Who is gone needs no answer.
            let _ = waiter.send(Err(error.clone()));
        }
    }

    fn entry(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    pub fn listed(&self, id: u64) -> Option<Listed> {
        self.entries.iter().find(|entry| entry.id == id).map(Entry::listed)
    }

    pub fn list(&self) -> Vec<Listed> {
        self.entries.iter().map(Entry::listed).collect()
    }

    pub fn runtime(&self, id: u64) -> Option<Arc<Runtime>> {
        self.listed(id)?.runtime
    }

    pub fn runtimes(&self) -> Vec<Arc<Runtime>> {
        self.entries.iter().filter_map(|entry| entry.listed().runtime).collect()
    }

    /// The budget, and what counts towards it.
    pub fn memory(&self) -> (u64, u64) {
        (self.budget, self.entries.iter().map(Entry::held_bytes).sum())
    }

    /// Nothing is loaded any more.
    pub fn close(&mut self) {
        self.closed = true;
        for entry in &mut self.entries {
            entry.waiters.clear();
        }
    }
}
