//! Turns what an answer may look like, of which this room knows nothing, into tokens that may come.
//!
//! A mask depends on the answer's own tokens alone. Where a core is free, it is worked out beside
//! the forward pass whose logits it is for, and costs no time; else on all threads before it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use myriad_kernels::ThreadPool;

/// What answers may look like: shared by all sequences that are held to it.
pub trait Grammar: fmt::Debug + Send + Sync {
    /// The place before the first token of an answer.
    fn start(&self) -> Box<dyn Constraint>;
}

/// A place in one answer. What it says must depend on the accepted tokens alone.
pub trait Constraint: Send + Sync {
    /// Sets the bit of each token that may come next: token `t` is bit `t % 32` of word `t / 32`.
    /// All of `allowed`, which covers the model's vocabulary, is zero before. End tokens may come
    /// wherever the answer may end, whatever the mask says; elsewhere one that the mask allows is a
    /// token like any other.
    ///
    /// # Errors
    /// [`ConstraintError`], after which the answer ends.
    fn mask(&mut self, allowed: &mut [u32]) -> Result<(), ConstraintError>;

    /// Goes on by a token that the mask allowed.
    ///
    /// # Errors
    /// [`ConstraintError`], after which the answer ends.
    fn accept(&mut self, token: u32) -> Result<(), ConstraintError>;

    /// Whether the answer may end here.
    fn may_end(&mut self) -> bool;

    /// Whether the answer must end here: nothing may follow. Only where it may end.
    fn must_end(&mut self) -> bool;

    /// Whether the next token is chosen as if there were no constraint: it may be any, and any end
    /// token ends the answer. The mask is not asked for then.
    fn is_free(&mut self) -> bool {
        false
    }
}

/// Why an answer cannot go on although it is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConstraintError {
    /// Working it out takes more time or memory than is allowed.
    #[error("the grammar takes more work at this place than is allowed")]
    TooComplex,
    /// No token of the vocabulary goes on.
    #[error("no token of the vocabulary goes on at this place")]
    DeadEnd,
    /// The constraint itself is at fault.
    #[error("the grammar's state is broken")]
    Broken,
}

/// A sequence's constraint with the mask for its next token.
pub(crate) struct Guide {
    grammar: Arc<dyn Grammar>,
    /// Begun with the first mask.
    constraint: Option<Box<dyn Constraint>>,
    /// [vocab / 32]
    allowed: Vec<u32>,
    may_end: bool,
    is_free: bool,
    /// What came of the mask for the next token; `None` before it is worked out.
    ready: Option<Result<(), ConstraintError>>,
}

/// How an answer goes on after a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Onward {
    Open,
    /// It is complete, and nothing may follow.
    Complete,
    Failed(ConstraintError),
}

impl Guide {
    pub(crate) fn new(grammar: Arc<dyn Grammar>, vocab: usize) -> Guide {
        let allowed = vec![0; vocab.div_ceil(32)];
        Guide { grammar, constraint: None, allowed, may_end: false, is_free: false, ready: None }
    }

    /// Works out the mask for the next token, if that is not done.
    fn prepare(&mut self) {
        if self.ready.is_some() {
            return;
        }
        let constraint = self.constraint.get_or_insert_with(|| self.grammar.start());
        self.is_free = constraint.is_free();
        if self.is_free {
            self.ready = Some(Ok(()));
            return;
        }
        self.allowed.fill(0);
        self.ready = Some(constraint.mask(&mut self.allowed));
        self.may_end = constraint.may_end();
    }

    /// Sets in `allowed` the bits of the tokens that may come next, and says how many those are;
    /// the end tokens are among them where the answer may end and they are not `held_back`. `None`:
    /// any token, as without a constraint.
    ///
    /// # Errors
    /// How the answer ends where there is none.
    pub(crate) fn allowed(
        &self,
        end_tokens: &[u32],
        held_back: bool,
        allowed: &mut Vec<u32>,
    ) -> Result<Option<usize>, Onward> {
        match self.ready {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(Onward::Failed(error)),
            // Whoever chooses has prepared.
            None => return Err(Onward::Failed(ConstraintError::Broken)),
        }
        if self.is_free {
            return Ok(None);
        }
        allowed.clear();
        allowed.extend_from_slice(&self.allowed);
        let ends = end_tokens.iter().filter(|_| self.may_end && !held_back);
        ends.for_each(|token| allowed[*token as usize / 32] |= 1 << (token % 32));
        let count: u32 = allowed.iter().map(|word| word.count_ones()).sum();
        match count {
            0 if self.may_end => Err(Onward::Complete),
            0 => Err(Onward::Failed(ConstraintError::DeadEnd)),
            _ => Ok(Some(count as usize)),
        }
    }

    /// Whether the answer may end before the next token.
    pub(crate) fn may_end(&self) -> bool {
        self.is_free || self.may_end
    }

    /// Whether the next token is chosen as without a constraint.
    pub(crate) fn is_free(&self) -> bool {
        self.is_free
    }

    /// Goes on by a token of the answer.
    pub(crate) fn accept(&mut self, token: u32) -> Onward {
        self.ready = None;
        // A token was chosen, so there was a mask.
        let Some(constraint) = &mut self.constraint else {
            return Onward::Failed(ConstraintError::Broken);
        };
        match constraint.accept(token) {
            Err(error) => Onward::Failed(error),
            Ok(()) if constraint.must_end() => Onward::Complete,
            Ok(()) => {
                self.is_free = constraint.is_free();
                // No thread need be woken for that.
                self.ready = self.is_free.then_some(Ok(()));
                Onward::Open
            }
        }
    }
}

/// A sequence's guide, by the sequence's index.
pub(crate) type Guided = (usize, Box<Guide>);

/// Where masks are worked out.
pub(crate) struct Masks {
    /// A thread of their own; `None` where every core computes the forward pass already: a thread
    /// would take its time from those, and the switches besides.
    helper: Option<Helper>,
}

struct Helper {
    /// The guides go to it and come back by these.
    to: mpsc::Sender<Vec<Guided>>,
    back: mpsc::Receiver<Vec<Guided>>,
}

impl Masks {
    /// Masks beside forward passes on `threads` threads.
    pub(crate) fn new(threads: usize) -> Masks {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Where the system gives no thread, they are worked out before.
        Masks { helper: if threads < cores { Helper::start().ok() } else { None } }
    }

    /// Runs `work` while the masks are worked out, or after they are.
    pub(crate) fn prepare_during<T>(
        &self,
        pool: &ThreadPool,
        guides: Vec<Guided>,
        work: impl FnOnce() -> T,
    ) -> (T, Vec<Guided>) {
        if guides.iter().all(|(_, guide)| guide.ready.is_some()) {
            return (work(), guides);
        }
        let Some(helper) = &self.helper else {
            let guides: Vec<Mutex<Guided>> = guides.into_iter().map(Mutex::new).collect();
            pool.run(guides.len(), &|task, _| lock(&guides[task]).1.prepare());
            let ready = guides.into_iter().map(|guide| match guide.into_inner() {
                Ok(guide) => guide,
                Err(poisoned) => poisoned.into_inner(),
            });
            return (work(), ready.collect());
        };
        // The thread ends when the engine does, or by a panic within a mask, which is the engine's.
        helper.to.send(guides).expect("the thread of masks");
        let result = work();
        (result, helper.back.recv().expect("the thread of masks"))
    }
}

impl Helper {
    fn start() -> std::io::Result<Helper> {
        let (to, taken) = mpsc::channel::<Vec<Guided>>();
        let (done, back) = mpsc::channel();
        let body = move || {
            while let Ok(mut guides) = taken.recv() {
                guides.iter_mut().for_each(|(_, guide)| guide.prepare());
                if done.send(guides).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("masks".into()).spawn(body)?;
        Ok(Helper { to, back })
    }
}

fn lock(guide: &Mutex<Guided>) -> MutexGuard<'_, Guided> {
    guide.lock().unwrap_or_else(PoisonError::into_inner)
}
