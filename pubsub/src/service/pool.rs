//! Threads that run code of the program: methods of servers, and callbacks of clients.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::lock;
use crate::outage::Outage;

/// So many methods and callbacks run at once. More wait.
const MAX_THREADS: usize = 64;
/// So many methods do: others decide how many there are and how long they take, and are to delay no callback.
const MAX_METHODS: usize = MAX_THREADS - 8;
/// A thread ends after this time without work.
const KEEP_THREAD: Duration = Duration::from_secs(10);

/// Something to run.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Whose job it is: [`Pool::cancel`] takes it back. That of a method has one, and a callback has none.
pub(super) type Owner = Option<usize>;

/// Starts a thread when there is work and no thread is idle. Threads end when they have nothing to do for some time, and
/// when the pool is dropped: those that run code of the program end after it.
pub(super) struct Pool {
    shared: Arc<Shared>,
    start: Box<Start>,
}

/// What has the system start a thread.
type Start = dyn Fn(Job) -> std::io::Result<()> + Send + Sync;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    callbacks: VecDeque<Job>,
    /// Each with its owner.
    methods: VecDeque<(usize, Job)>,
    /// How many methods run.
    running: usize,
    threads: usize,
    idle: usize,
    /// The system refuses threads.
    refusal: Outage,
    /// It has refused one for what waits.
    is_short: bool,
    is_stopping: bool,
}

impl Default for Pool {
    fn default() -> Self {
        Self::with(|job| thread::Builder::new().name("ferrocal-call".into()).spawn(job).map(drop))
    }
}

impl Pool {
    /// A pool with something else than the system to start threads.
    pub(super) fn with(start: impl Fn(Job) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        Self { shared: Arc::default(), start: Box::new(start) }
    }

    /// Runs a job. Once the pool is to end, nothing with an owner runs.
    pub(super) fn run(&self, owner: Owner, job: Job) {
        let mut state = lock(&self.shared.state);
        match owner {
            // To drop it runs code of the program.
            Some(_) if state.is_stopping => return drop(state),
            Some(owner) => state.methods.push_back((owner, job)),
            None => state.callbacks.push_back(job),
        }
        drop(state);
        self.take_up();
    }

    /// Has a thread take up what waits.
    pub(super) fn take_up(&self) {
        let mut state = lock(&self.shared.state);
        if state.ready() <= state.idle || state.threads >= MAX_THREADS {
            state.is_short = false;
            drop(state);
            self.shared.work.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = self.shared.clone();
        let started = (self.start)(Box::new(move || shared.work()));
        let mut state = lock(&self.shared.state);
        state.is_short = started.is_err();
        let Err(error) = started else {
            state.refusal.worked();
            return;
        };
        state.threads -= 1;
        let (is_first, is_stopping) = (state.refusal.failed(), state.is_stopping);
        drop(state);
        if is_first {
            log::warn!("methods and callbacks of services wait: no thread could be started: {error}");
        }
        if is_stopping {
            self.run_without_threads();
        }
    }

    /// Whether something waits for a thread that the system has refused: [`take_up`](Self::take_up) tries again.
    pub(super) fn is_short(&self) -> bool {
        lock(&self.shared.state).is_short
    }

    /// Drops a job that has not begun. Returns whether there was one.
    pub(super) fn cancel(&self, owner: usize) -> bool {
        let job = {
            let methods = &mut lock(&self.shared.state).methods;
            let at = methods.iter().position(|(one, _)| *one == owner);
            at.and_then(|at| methods.remove(at))
        };
        job.is_some()
    }

    /// Has the threads end. What waits is dropped if it has an owner, and runs otherwise: on this thread if there is no
    /// other one.
    pub(super) fn stop(&self) {
        let waiting = {
            let mut state = lock(&self.shared.state);
            state.is_stopping = true;
            std::mem::take(&mut state.methods)
        };
        self.shared.work.notify_all();
        drop(waiting);
        self.run_without_threads();
    }

    /// Runs callbacks that wait, if no thread will.
    fn run_without_threads(&self) {
        let next = || {
            let mut state = lock(&self.shared.state);
            if state.threads > 0 { None } else { state.callbacks.pop_front() }
        };
        while let Some(job) = next() {
            run(job);
        }
    }
}

impl State {
    /// How many jobs wait for nothing but a thread.
    fn ready(&self) -> usize {
        self.callbacks.len() + self.methods.len().min(MAX_METHODS - self.running)
    }

    /// Takes out the next job. Returns whether it is a method, too.
    fn next(&mut self) -> Option<(Job, bool)> {
        if let Some(job) = self.callbacks.pop_front() {
            return Some((job, false));
        }
        if self.running == MAX_METHODS {
            return None;
        }
        let (_, job) = self.methods.pop_front()?;
        self.running += 1;
        Some((job, true))
    }
}

/// Runs a job. If values of the program panic when they are dropped, this thread goes on.
fn run(job: Job) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        log::error!("a value of a method or callback of a service panicked when it was dropped");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            if let Some((job, is_method)) = state.next() {
                drop(state);
                run(job);
                state = lock(&self.state);
                state.running -= usize::from(is_method);
                continue;
            }
            if state.is_stopping {
                break;
            }
            state.idle += 1;
            let (woken, waited) = self
                .work
                .wait_timeout_while(state, KEEP_THREAD, |state| state.ready() == 0 && !state.is_stopping)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.ready() == 0 {
                break;
            }
        }
        state.threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, mpsc};

    use super::*;

    #[test]
    fn jobs_run_at_the_same_time_and_all_of_them() {
        let pool = Pool::default();
        let together = Arc::new(Barrier::new(8));
        let (done, all) = mpsc::channel();
        for _ in 0..8 * 3 {
            let (together, done) = (together.clone(), done.clone());
            pool.run(
                None,
                Box::new(move || {
                    together.wait();
                    let _ = done.send(());
                }),
            );
        }
        drop(done);
        assert_eq!(all.into_iter().count(), 24);
    }

    /// For what must happen.
    const HANG: Duration = Duration::from_secs(60);

    /// Keeps all threads of a pool that run methods, until what it returns is dropped.
    fn keep_all_methods(pool: &Pool) -> mpsc::Sender<()> {
        let (let_go, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        let (began, begun) = mpsc::channel();
        for _ in 0..MAX_METHODS {
            let (released, began) = (released.clone(), began.clone());
            pool.run(
                Some(1),
                Box::new(move || {
                    began.send(()).unwrap();
                    let _ = lock(&released).recv();
                }),
            );
        }
        begun.iter().take(MAX_METHODS).for_each(drop);
        let_go
    }

    #[test]
    fn at_the_end_methods_that_wait_are_dropped_and_callbacks_run() {
        let pool = Pool::default();
        let let_go = keep_all_methods(&pool);
        let (done, all) = mpsc::channel();
        let run = |owner: Owner, number: u32| {
            let done = done.clone();
            pool.run(owner, Box::new(move || done.send(number).unwrap()));
        };
        run(None, 1);
        run(Some(2), 2);
        pool.stop();
        run(Some(2), 3);
        run(None, 4);
        drop((done, pool));
        drop(let_go);
        let mut ran: Vec<_> = all.into_iter().collect();
        ran.sort_unstable();
        assert_eq!(ran, [1, 4]);
    }

    #[test]
    fn what_no_thread_could_be_started_for_runs_at_the_end() {
        let pool = Pool::with(|_| Err(std::io::ErrorKind::WouldBlock.into()));
        let (done, all) = mpsc::channel();
        let job = move || done.send(thread::current().id()).unwrap();
        pool.run(None, Box::new(job));
        assert!(pool.is_short());
        drop(pool);
        assert_eq!(all.into_iter().collect::<Vec<_>>(), [thread::current().id()]);
    }

    #[test]
    fn methods_delay_no_callback() {
        let pool = Pool::default();
        let let_go = keep_all_methods(&pool);
        let (done, all) = mpsc::channel();
        for owner in [Some(2); 2 * MAX_THREADS].into_iter().chain([None]) {
            let done = done.clone();
            pool.run(owner, Box::new(move || done.send(owner).unwrap()));
        }
        drop(done);
        assert_eq!(all.recv_timeout(HANG), Ok(None));
        drop(let_go);
        assert_eq!(all.into_iter().count(), 2 * MAX_THREADS);
    }

    #[test]
    fn what_panics_takes_no_thread_away() {
        let pool = Pool::default();
        for _ in 0..MAX_THREADS {
            pool.run(None, Box::new(|| panic!("as the test wants it")));
        }
        let (done, all) = mpsc::channel();
        pool.run(None, Box::new(move || done.send(()).unwrap()));
        assert_eq!(all.recv_timeout(Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn what_has_not_begun_is_taken_back() {
        let pool = Pool::default();
        let let_go = keep_all_methods(&pool);
        let (done, all) = mpsc::channel();
        for owner in [2, 3] {
            let done = done.clone();
            pool.run(Some(owner), Box::new(move || done.send(owner).unwrap()));
        }
        drop(done);
        assert_eq!([1, 2, 2].map(|owner| pool.cancel(owner)), [false, true, false]);
        drop(let_go);
        assert_eq!(all.into_iter().collect::<Vec<_>>(), [3]);
    }
}
