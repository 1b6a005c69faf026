//! Turns a level and a number of threads into the means that every parallel kernel is given.

use crate::level::Kernels;
use crate::pool::ThreadPool;

/// What a forward pass computes with.
pub struct Compute {
    /// The level that runs.
    pub kernels: &'static Kernels,
    /// The threads that run it.
    pub pool: ThreadPool,
}

impl Compute {
    /// `threads` threads (at least one) at the level of `kernels`.
    pub fn new(kernels: &'static Kernels, threads: usize) -> Compute {
        Compute { kernels, pool: ThreadPool::new(threads) }
    }
}
