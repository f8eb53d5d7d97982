//! The threads that run a source and the callbacks of its messages.
//!
//! One thread, the leader, receives and itself calls the callbacks of what came: nobody needs to be woken. When a
//! callback takes long, another thread, the watcher, takes the lead and goes on receiving. From then on that callback
//! counts as slow: threads of the pool run it, until it is quick again. So a slow callback delays other topics once, by
//! up to two [`TICK`]s, and a node has few threads, however many subscriptions it has.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};

use ferrocal_transport::Interrupt;

use crate::outage::Outage;
use crate::source::{Flow, Ready, Source, Task};
use crate::thread::apply_here;
use crate::{ReceiveThreadConfig, lock};

/// How often the watcher looks at the leader.
const TICK: Duration = Duration::from_millis(1);
/// After so many ticks without a callback, the watcher sleeps until there is one.
const IDLE_TICKS: u32 = 100;
/// A thread of the pool ends after this time without work.
const KEEP_THREAD: Duration = Duration::from_secs(10);
/// So many of them wait for work at most. Each callback that takes long makes one thread more, and on a machine that is too
/// busy nearly all do.
const MAX_IDLE: usize = 4;

/// The threads of one source. Dropping it stops them and waits for their end, except for the one that drops it.
pub(crate) struct Crew {
    shared: Arc<Shared>,
    /// What opens the source, until one of them did.
    opening: Option<mpsc::Sender<Open>>,
}

/// Opens a source, on the thread that will run it. `None` if that failed: another one may be tried.
pub(crate) type Open = Box<dyn FnOnce() -> Option<(Box<dyn Source>, Arc<dyn Interrupt>)> + Send>;

struct Shared {
    /// `None` until it is open.
    source: Mutex<Option<Box<dyn Source>>>,
    interrupt: OnceLock<Arc<dyn Interrupt>>,
    settings: ReceiveThreadConfig,
    /// Called when the thread that receives has failed.
    on_failure: Box<dyn Fn() + Send + Sync>,
    /// Odd while the leader is in a callback. Whoever changes an odd number to the next even one has the lead.
    turn: AtomicU64,
    /// Callbacks that the leader has still to run.
    pending: Mutex<VecDeque<Arc<dyn Task>>>,
    /// Whether the watcher is looking, rather than asleep.
    is_watched: AtomicBool,
    /// Set with `state` locked, so that nobody misses it who is about to wait.
    is_stopping: AtomicBool,
    state: Mutex<State>,
    /// Notified when the watcher is to look, when the crew is to stop, and at the end of a pause.
    watch: Condvar,
    /// Notified when there is work for the pool.
    work: Condvar,
}

#[derive(Default)]
struct State {
    has_watcher: bool,
    threads: Vec<JoinHandle<()>>,
    /// Slow callbacks that are to be run.
    jobs: VecDeque<Arc<dyn Task>>,
    /// Threads of the pool that wait for work.
    idle: usize,
    /// The system refuses threads.
    outage: Outage,
}

impl Crew {
    /// Starts the thread that receives. It waits for a source to [open](Self::open): sockets belong to the network
    /// namespace of the thread that opens them, and this thread has that of whoever started it.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start(
        settings: ReceiveThreadConfig,
        on_failure: Box<dyn Fn() + Send + Sync>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            source: Mutex::new(None),
            interrupt: OnceLock::new(),
            settings,
            on_failure,
            turn: AtomicU64::new(0),
            pending: Mutex::default(),
            is_watched: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            state: Mutex::default(),
            watch: Condvar::new(),
            work: Condvar::new(),
        });
        let (opening, wanted) = mpsc::channel::<Open>();
        shared.spawn("ferrocal-receive", move |shared| {
            if let Some((source, interrupt)) = wanted.iter().find_map(|open| open()) {
                *lock(&shared.source) = Some(source);
                shared.set_interrupt(interrupt);
                shared.lead(0);
            }
        })?;
        Ok(Self { shared, opening: Some(opening) })
    }

    /// Has the thread that receives open its source. Does nothing if it has one.
    pub(crate) fn open(&self, open: Open) {
        if let Some(opening) = &self.opening {
            // The thread waits for it, unless it has a source.
            let _ = opening.send(open);
        }
    }

    /// Makes sure that somebody takes the lead when a callback takes long.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn watch(&self) -> io::Result<()> {
        self.shared.start_watcher()
    }

    /// Leaves the threads alone: they do not exist in a forked child.
    pub(crate) fn abandon(self) {
        mem::forget(self);
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let threads = {
            let mut state = lock(&self.shared.state);
            self.shared.is_stopping.store(true, Ordering::SeqCst);
            mem::take(&mut state.threads)
        };
        self.opening = None;
        if let Some(interrupt) = self.shared.interrupt.get() {
            interrupt.interrupt();
        }
        self.shared.watch.notify_all();
        self.shared.work.notify_all();
        for thread in threads {
            if thread.thread().id() != thread::current().id() {
                // The panic hook has reported a panic.
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    fn set_interrupt(&self, interrupt: Arc<dyn Interrupt>) {
        let interrupt = self.interrupt.get_or_init(|| interrupt);
        // Whoever stops the crew may have looked for it before.
        if self.is_stopping() {
            interrupt.interrupt();
        }
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    fn spawn(self: &Arc<Self>, name: &str, run: impl FnOnce(&Arc<Self>) + Send + 'static) -> io::Result<()> {
        let mut state = lock(&self.state);
        if self.is_stopping() {
            return Ok(());
        }
        let shared = self.clone();
        let thread = thread::Builder::new().name(name.into()).spawn(move || run(&shared))?;
        state.outage.worked();
        state.threads.retain(|thread| !thread.is_finished());
        state.threads.push(thread);
        Ok(())
    }

    /// Receives until the lead is lost, and works for the pool then.
    fn lead(self: &Arc<Self>, turn: u64) {
        apply_here(self.settings);
        let mut ready = Ready::new();
        match catch_unwind(AssertUnwindSafe(|| self.receive(turn, &mut ready))) {
            Ok(Lead::Lost) => self.work(),
            Ok(Lead::Over) => {}
            Err(_) => {
                log::error!("the thread that receives has failed; its subscribers get no more messages");
                // What came before is passed on.
                ready.iter().for_each(|task| task.run());
                (self.on_failure)();
            }
        }
    }

    fn receive(self: &Arc<Self>, mut turn: u64, ready: &mut Ready) -> Lead {
        loop {
            // What a leader before had no time for.
            while let Some(task) = lock(&self.pending).pop_front() {
                if !self.run(task, &mut turn) {
                    return Lead::Lost;
                }
            }
            let flow = {
                let mut source = lock(&self.source);
                if self.is_stopping() {
                    return Lead::Over;
                }
                match &mut *source {
                    Some(source) => source.receive(ready),
                    None => return Lead::Over,
                }
            };
            if ready.len() > 1 {
                lock(&self.pending).extend(ready.drain(..));
            } else if let Some(task) = ready.pop()
                && !self.run(task, &mut turn)
            {
                return Lead::Lost;
            }
            match flow {
                Flow::Continue => {}
                Flow::Pause(time) => self.pause(time),
                Flow::End if lock(&self.pending).is_empty() => return Lead::Over,
                Flow::End => {}
            }
        }
    }

    /// Runs a callback, or has it run by the pool. Returns whether this thread still has the lead.
    fn run(self: &Arc<Self>, task: Arc<dyn Task>, turn: &mut u64) -> bool {
        if task.is_inline() {
            task.run();
            return true;
        }
        if task.is_slow() {
            match self.submit(task) {
                None => return true,
                Some(refused) => return self.run_watched(&*refused, turn),
            }
        }
        self.run_watched(&*task, turn)
    }

    fn run_watched(&self, task: &dyn Task, turn: &mut u64) -> bool {
        self.turn.store(*turn + 1, Ordering::SeqCst);
        if !self.is_watched.load(Ordering::SeqCst) {
            self.wake_watcher();
        }
        let start = Instant::now();
        task.run();
        task.took(start.elapsed());
        let before = *turn + 1;
        *turn += 2;
        self.turn.compare_exchange(before, before + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn pause(&self, time: Duration) {
        let state = lock(&self.state);
        let waited = self.watch.wait_timeout_while(state, time, |_| !self.is_stopping());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Has the pool run a callback. Returns it if the system refuses a thread for it.
    fn submit(self: &Arc<Self>, task: Arc<dyn Task>) -> Option<Arc<dyn Task>> {
        let needs_thread = {
            let mut state = lock(&self.state);
            state.jobs.push_back(task);
            state.idle < state.jobs.len()
        };
        if !needs_thread {
            self.work.notify_one();
            return None;
        }
        let Err(error) = self.spawn("ferrocal-callback", |shared| shared.work()) else { return None };
        self.is_without_thread(&error);
        lock(&self.state).jobs.pop_back()
    }

    /// Reports that, unless it was reported before: others may be the reason, and how often it comes is theirs, too.
    fn is_without_thread(&self, error: &io::Error) {
        let is_news = lock(&self.state).outage.failed();
        if is_news {
            log::warn!("a thread for a slow callback could not be started: {error}; it delays other topics");
        }
    }

    /// Runs slow callbacks, until there were none for a while.
    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            if let Some(task) = state.jobs.pop_front() {
                drop(state);
                let start = Instant::now();
                task.run();
                task.took(start.elapsed());
                state = lock(&self.state);
                continue;
            }
            if self.is_stopping() || state.idle >= MAX_IDLE {
                return;
            }
            state.idle += 1;
            let (woken, timeout) =
                self.work.wait_timeout(state, KEEP_THREAD).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                return;
            }
        }
    }

    fn start_watcher(self: &Arc<Self>) -> io::Result<()> {
        if mem::replace(&mut lock(&self.state).has_watcher, true) {
            return Ok(());
        }
        self.spawn("ferrocal-watch", |shared| shared.watch()).inspect_err(|_| {
            lock(&self.state).has_watcher = false;
        })
    }

    fn wake_watcher(&self) {
        let state = lock(&self.state);
        if state.has_watcher && !self.is_watched.swap(true, Ordering::SeqCst) {
            self.watch.notify_all();
        }
    }

    /// Looks at the leader each tick, and takes the lead if it has been in the same callback since the tick before.
    fn watch(self: &Arc<Self>) {
        let mut last = self.turn.load(Ordering::SeqCst);
        let mut idle_ticks = 0;
        loop {
            {
                let state = lock(&self.state);
                let state = if self.is_watched.load(Ordering::SeqCst) {
                    self.watch.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0
                } else {
                    let asleep =
                        |_: &mut State| !self.is_stopping() && !self.is_watched.load(Ordering::SeqCst);
                    self.watch.wait_while(state, asleep).unwrap_or_else(PoisonError::into_inner)
                };
                drop(state);
                if self.is_stopping() {
                    return;
                }
            }
            let turn = self.turn.load(Ordering::SeqCst);
            idle_ticks = if turn == last { idle_ticks + 1 } else { 0 };
            if turn == last && turn % 2 == 1 {
                let taken = self.turn.compare_exchange(turn, turn + 1, Ordering::SeqCst, Ordering::SeqCst);
                if taken.is_ok() {
                    lock(&self.state).has_watcher = false;
                    if let Err(error) = self.start_watcher() {
                        self.is_without_thread(&error);
                    }
                    return self.lead(turn + 1);
                }
            }
            last = turn;
            if idle_ticks > IDLE_TICKS {
                idle_ticks = 0;
                self.is_watched.store(false, Ordering::SeqCst);
                // A callback that began just before that may not have seen it.
                if self.turn.load(Ordering::SeqCst) != turn {
                    self.is_watched.store(true, Ordering::SeqCst);
                }
            }
        }
    }
}

/// How a leader's work ended.
enum Lead {
    /// Another thread took it.
    Lost,
    /// Nothing will come any more, or the crew is to stop.
    Over,
}

#[cfg(test)]
mod tests;
