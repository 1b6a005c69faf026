//! Turns one loop over tasks into work on all threads: spins briefly between loops, then parks.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a worker looks for the next loop before it sleeps. Loops of one forward pass follow
/// each other within a few microseconds; sampling between two passes takes some tens. Longer
/// spinning would burn an idle server's processor, shorter would pay a wake-up (~50 µs) per loop.
const SPIN: Duration = Duration::from_micros(200);

type Body<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// A loop that is being run: valid while `Shared::open` is true or `Shared::active` above zero.
#[derive(Clone, Copy)]
struct Job {
    body: Body<'static>,
    tasks: usize,
}

struct Shared {
    job: UnsafeCell<Option<Job>>,
    /// Counts the loops; a change calls the workers.
    epoch: AtomicU64,
    /// Whether workers may enter the current job.
    open: AtomicBool,
    /// Workers inside (or just looking whether they may enter).
    active: Alone<AtomicUsize>,
    /// The tasks that are left.
    left: TasksLeft,
    /// Workers asleep, or about to be.
    parked: AtomicUsize,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A value on cache lines of its own (two: they are fetched in pairs), so that who writes it stops
/// nobody who reads what lies beside it.
#[repr(align(128))]
struct Alone<T>(T);

/// Which tasks of a loop are left: each worker has a share of neighbours, so that it works on the
/// same weights in each pass, and goes through them in the order in which they lie; who has
/// done its share helps the next.
struct TasksLeft {
    /// The next task of each worker's share.
    next: Box<[Alone<AtomicUsize>]>,
}

impl TasksLeft {
    fn new(workers: usize) -> TasksLeft {
        TasksLeft { next: (0..workers).map(|_| Alone(AtomicUsize::new(0))).collect() }
    }

    /// Where a worker's share of so many tasks begins, and that of the one before ends.
    fn begin(&self, worker: usize, tasks: usize) -> usize {
        worker * tasks / self.next.len()
    }

    /// Shares out `tasks` tasks. Nobody may take any meanwhile.
    fn share_out(&self, tasks: usize) {
        for (worker, next) in self.next.iter().enumerate() {
            next.0.store(self.begin(worker, tasks), SeqCst);
        }
    }

    /// Calls `body` for tasks until none is left.
    fn take(&self, body: Body<'_>, tasks: usize, worker: usize) {
        let workers = self.next.len();
        for share in (worker..workers).chain(0..worker) {
            let (next, end) = (&self.next[share].0, self.begin(share + 1, tasks));
            // Looking first leaves the line where it is, with all who look.
            while next.load(SeqCst) < end {
                let task = next.fetch_add(1, SeqCst);
                if task < end {
                    body(task, worker);
                }
            }
        }
    }

    /// Leaves none of so many.
    fn drop_all(&self, tasks: usize) {
        self.next.iter().for_each(|next| next.0.store(tasks, SeqCst));
    }
}

// SAFETY: `job` is written only by the thread inside `ThreadPool::run` (which holds the `running`
// lock) while `open` is false and no worker is inside; workers read it only after they counted
// themselves into `active` and then saw `open` true. All these accesses are sequentially
// consistent.
unsafe impl Sync for Shared {}
// SAFETY: a `Job` holds a shared reference to a `Sync` closure.
unsafe impl Send for Shared {}

/// Threads that run loops together with the caller.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    handles: Vec<Thread>,
    running: Mutex<()>,
}

impl ThreadPool {
    /// A pool of `threads` threads in all (at least one: the caller itself).
    pub fn new(threads: usize) -> ThreadPool {
        let shared = Arc::new(Shared {
            job: UnsafeCell::new(None),
            epoch: AtomicU64::new(0),
            open: AtomicBool::new(false),
            active: Alone(AtomicUsize::new(0)),
            left: TasksLeft::new(threads.max(1)),
            parked: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let workers: Vec<_> = (1..threads.max(1))
            .filter_map(|worker| {
                let shared = Arc::clone(&shared);
                // Fewer threads than asked for is slower, never wrong.
                std::thread::Builder::new()
                    .name(format!("myriad-{worker}"))
                    .spawn(move || work(&shared, worker))
                    .ok()
            })
            .collect();
        let handles = workers.iter().map(|worker| worker.thread().clone()).collect();
        ThreadPool { shared, workers, handles, running: Mutex::new(()) }
    }

    /// Threads that take part in a loop, the caller among them.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `body(task, worker)` once for every task below `tasks`, on all threads, and returns
    /// when all are done. `worker` is below [`Self::threads`] and differs between calls that
    /// overlap. A panic in a task is raised again here, after all threads left; the pool stays
    /// usable.
    pub fn run(&self, tasks: usize, body: Body<'_>) {
        if tasks == 0 {
            return;
        }
        if tasks == 1 || self.workers.is_empty() {
            (0..tasks).for_each(|task| body(task, 0));
            return;
        }
        // A pool that panicked stays usable: the lock guards no data.
        let _running = self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let shared = &*self.shared;
        // SAFETY: the lifetime is stretched only until `close` below returns, which waits until no
        // worker holds the job any more; a panic of the caller's own tasks is caught before.
        let body = unsafe { std::mem::transmute::<Body<'_>, Body<'static>>(body) };
        // SAFETY: see `Sync for Shared`: closed, and no worker is inside.
        unsafe { *shared.job.get() = Some(Job { body, tasks }) };
        shared.left.share_out(tasks);
        shared.open.store(true, SeqCst);
        shared.epoch.fetch_add(1, SeqCst);
        if shared.parked.load(SeqCst) > 0 {
            self.handles.iter().for_each(Thread::unpark);
        }
        let own = catch_unwind(AssertUnwindSafe(|| shared.left.take(body, tasks, 0)));
        shared.close();
        let theirs = shared.panic.lock().ok().and_then(|mut panic| panic.take());
        if let Some(payload) = own.err().or(theirs) {
            resume_unwind(payload);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.shared.epoch.fetch_add(1, SeqCst);
        self.handles.iter().for_each(Thread::unpark);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Lets no more workers in and waits for those inside. Workers that still sleep miss the loop,
    /// which costs nothing: the caller has taken all its tasks.
    fn close(&self) {
        self.open.store(false, SeqCst);
        let mut rounds = 0u32;
        while self.active.0.load(SeqCst) > 0 {
            pause(&mut rounds);
        }
    }
}

/// Waits a little; gives the core away after a while, for machines with fewer cores than threads.
fn pause(rounds: &mut u32) {
    *rounds += 1;
    if rounds.is_multiple_of(4096) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

fn work(shared: &Shared, worker: usize) {
    let mut seen = 0;
    loop {
        seen = wait_for_epoch(shared, seen);
        if shared.stop.load(SeqCst) {
            return;
        }
        shared.active.0.fetch_add(1, SeqCst);
        if shared.open.load(SeqCst) {
            // SAFETY: counted into `active` and `open` is true: see `Sync for Shared`.
            let job = unsafe { *shared.job.get() };
            if let Some(Job { body, tasks }) = job {
                let done = catch_unwind(AssertUnwindSafe(|| shared.left.take(body, tasks, worker)));
                if let Err(payload) = done {
                    // The remaining tasks are dropped: the caller raises the panic.
                    shared.left.drop_all(tasks);
                    if let Ok(mut panic) = shared.panic.lock() {
                        *panic = Some(payload);
                    }
                }
            }
        }
        shared.active.0.fetch_sub(1, SeqCst);
    }
}

fn wait_for_epoch(shared: &Shared, seen: u64) -> u64 {
    let start = Instant::now();
    let mut rounds = 0u32;
    loop {
        let epoch = shared.epoch.load(SeqCst);
        if epoch != seen {
            return epoch;
        }
        pause(&mut rounds);
        if rounds.is_multiple_of(256) && start.elapsed() > SPIN {
            break;
        }
    }
    shared.parked.fetch_add(1, SeqCst);
    let epoch = loop {
        let epoch = shared.epoch.load(SeqCst);
        if epoch != seen {
            break epoch;
        }
        std::thread::park();
    };
    shared.parked.fetch_sub(1, SeqCst);
    epoch
}

/// A pointer that tasks of one loop write through, each to places of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shares<T>(*mut T, usize);

// SAFETY: the users of `Shares` write disjoint places from different threads (see each use).
unsafe impl<T: Send> Sync for Shares<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shares<T> {}

impl<T> Shares<T> {
    /// Shares the places of `slice` among tasks.
    pub(crate) fn new(slice: &mut [T]) -> Shares<T> {
        Shares(slice.as_mut_ptr(), slice.len())
    }

    /// `length` places from `start` on.
    ///
    /// # Safety
    ///
    /// No other thread uses these places meanwhile.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice(&self, start: usize, length: usize) -> &mut [T] {
        assert!(start.checked_add(length).is_some_and(|end| end <= self.1), "outside the slice");
        // SAFETY: inside the slice by the line above; not aliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        let pool = ThreadPool::new(3);
        for tasks in [0, 1, 2, 3, 7, 100, 1000] {
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            for round in 1..=20 {
                pool.run(tasks, &|task, worker| {
                    assert!(worker < 3);
                    counts[task].fetch_add(1, SeqCst);
                });
                assert!(counts.iter().all(|count| count.load(SeqCst) == round));
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = ThreadPool::new(2);
        for bad in [0, 5, 99] {
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(100, &|task, _| assert!(task != bad, "task {bad} fails"));
            }));
            assert!(result.is_err());
            let sum = AtomicUsize::new(0);
            pool.run(100, &|task, _| {
                sum.fetch_add(task, SeqCst);
            });
            assert_eq!(sum.load(SeqCst), 4950);
        }
    }

    #[test]
    fn loops_after_a_rest_work_too() {
        let pool = ThreadPool::new(2);
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(3));
            let sum = AtomicUsize::new(0);
            pool.run(10, &|task, _| {
                sum.fetch_add(task, SeqCst);
            });
            assert_eq!(sum.load(SeqCst), 45);
        }
    }
}
