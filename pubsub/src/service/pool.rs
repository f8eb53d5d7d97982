//! Threads that run code of the program: methods of servers, and callbacks of clients.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::lock;

/// So many methods and callbacks run at once. More wait.
const MAX_THREADS: usize = 64;
/// A thread ends after this time without work.
const KEEP_THREAD: Duration = Duration::from_secs(10);

/// Something to run.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Whose job it is: [`Pool::cancel`] takes it back.
pub(super) type Owner = Option<usize>;

/// Starts a thread when there is work and no thread is idle. Threads end when they have nothing to do for some time, and
/// when the pool is dropped: those that run code of the program end after it.
#[derive(Default)]
pub(super) struct Pool(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<(Owner, Job)>,
    threads: usize,
    idle: usize,
    is_stopping: bool,
}

impl Pool {
    /// Runs a job. If there is no thread, and the system refuses one, it is dropped if it has an owner, and waits for the
    /// next thread otherwise, or for the end of the pool. Once the pool is to end, nothing with an owner runs.
    pub(super) fn run(&self, owner: Owner, job: Job) {
        let mut state = lock(&self.0.state);
        if state.is_stopping && owner.is_some() {
            // To drop it runs code of the program.
            return drop(state);
        }
        state.jobs.push_back((owner, job));
        if state.jobs.len() <= state.idle || state.threads >= MAX_THREADS {
            drop(state);
            self.0.work.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = self.0.clone();
        let started = thread::Builder::new().name("ferrocal-call".into()).spawn(move || shared.work());
        if let Err(error) = started {
            let lost = {
                let mut state = lock(&self.0.state);
                state.threads -= 1;
                if state.threads > 0 {
                    return;
                }
                state.take_owned()
            };
            log::error!("no thread could be started to run a method or callback of a service: {error}");
            drop(lost);
        }
    }

    /// Drops a job that has not begun. Returns whether there was one.
    pub(super) fn cancel(&self, owner: usize) -> bool {
        let job = {
            let mut state = lock(&self.0.state);
            let at = state.jobs.iter().position(|(one, _)| *one == Some(owner));
            at.and_then(|at| state.jobs.remove(at))
        };
        job.is_some()
    }

    /// Has the threads end. What waits is dropped if it has an owner, and runs otherwise: on this thread if there is no
    /// other one.
    pub(super) fn stop(&self) {
        let waiting = {
            let mut state = lock(&self.0.state);
            state.is_stopping = true;
            state.take_owned()
        };
        self.0.work.notify_all();
        drop(waiting);
        let next = || lock(&self.0.state).next_without_thread();
        while let Some(job) = next() {
            run(job);
        }
    }
}

impl State {
    /// Takes out what has an owner.
    fn take_owned(&mut self) -> VecDeque<(Owner, Job)> {
        let (owned, others) =
            std::mem::take(&mut self.jobs).into_iter().partition(|(owner, _)| owner.is_some());
        self.jobs = others;
        owned
    }

    /// What waits first, if no thread will run it.
    fn next_without_thread(&mut self) -> Option<Job> {
        if self.threads > 0 { None } else { self.jobs.pop_front().map(|(_, job)| job) }
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
            if let Some((_, job)) = state.jobs.pop_front() {
                drop(state);
                run(job);
                state = lock(&self.state);
                continue;
            }
            if state.is_stopping {
                break;
            }
            state.idle += 1;
            let (woken, waited) = self
                .work
                .wait_timeout_while(state, KEEP_THREAD, |state| state.jobs.is_empty() && !state.is_stopping)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
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

    /// Keeps all threads of a pool, until what it returns is dropped.
    fn keep_all_threads(pool: &Pool) -> mpsc::Sender<()> {
        let (let_go, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        let (began, begun) = mpsc::channel();
        for _ in 0..MAX_THREADS {
            let (released, began) = (released.clone(), began.clone());
            pool.run(
                Some(1),
                Box::new(move || {
                    began.send(()).unwrap();
                    let _ = lock(&released).recv();
                }),
            );
        }
        begun.iter().take(MAX_THREADS).for_each(drop);
        let_go
    }

    #[test]
    fn at_the_end_methods_that_wait_are_dropped_and_callbacks_run() {
        let pool = Pool::default();
        let let_go = keep_all_threads(&pool);
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
        let pool = Pool::default();
        let (done, all) = mpsc::channel();
        let job = move || done.send(thread::current().id()).unwrap();
        lock(&pool.0.state).jobs.push_back((None, Box::new(job)));
        drop(pool);
        assert_eq!(all.into_iter().collect::<Vec<_>>(), [thread::current().id()]);
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
        let let_go = keep_all_threads(&pool);
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
