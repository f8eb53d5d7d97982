//! eCAL's request to a process that it ends, by an event that the processes of a host share.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use ferrocal_shm::{NamedEvent, lives};
use thiserror::Error as ThisError;

use crate::lock;
use crate::per_process::PerProcess;
use crate::wakers::{Ticket, Wakers};

/// How often the event is looked at. To sleep in it would need another thread in case that somebody dies while he sets it.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long others may hold the event's lock.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether somebody asked this process to end, as `ecal_stop`, eCAL Sys and `ferrocal stop` do. Made by
/// [`Node::shutdown_requested`](crate::Node::shutdown_requested).
///
/// It is a flag, can be waited for, and is a future:
///
/// ```no_run
/// # fn work() {}
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = ferrocal::Node::new("my_robot")?;
/// let shutdown = node.shutdown_requested()?;
/// while !shutdown.is_requested() {
///     work();
/// }
/// # Ok(())
/// # }
/// ```
///
/// The request is to the process, not to a node: all that were made in a process hear of it. Nothing ends by itself.
pub struct ShutdownRequest {
    listener: Arc<Listener>,
    ticket: Option<Ticket>,
}

/// Why a process cannot be asked to end, or not hear of that.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum ShutdownError {
    /// This system has no such events here: they need 64-bit Linux with glibc, or 64-bit Windows.
    #[error("requests to end a process need 64-bit Linux with glibc, or 64-bit Windows")]
    Unavailable,
    /// No process of this id on this host waits for a request, or there is none. One of eCAL waits from its first call of
    /// `eCAL::Ok()` on.
    #[error("process {0} does not take requests to end")]
    NotListening(u32),
    /// The event cannot be opened or set.
    #[error("the event of process {process_id} cannot be used")]
    Event {
        /// The process.
        process_id: u32,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The thread that waits for the request could not be started.
    #[error("a thread that waits for the request could not be started")]
    Thread(#[source] std::io::Error),
}

/// The one of this process, as long as somebody is interested. The event is the process's own, and who waits for it takes
/// it back, so that there can be no more than one.
static LISTENER: PerProcess<Mutex<Weak<Listener>>> = PerProcess::new();

struct Listener {
    shared: Arc<Shared>,
    /// A forked child has an event of its own, and no thread.
    process: u32,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_requested: bool,
    is_stopping: bool,
    tasks: Wakers,
}

fn event_name(process_id: u32) -> String {
    ferrocal_shm::event_name(&format!("ecal_shutdown_process_{process_id}"))
}

/// Asks a process of this host to end, as `ecal_stop` does. Programs of eCAL see that `eCAL::Ok()` is `false`, and those of
/// ferrocal a [`ShutdownRequest`], if they look at it.
///
/// # Errors
/// When there is no such process, or it does not take requests, or this system has none. On Windows, the event of a process
/// ends with it. On Linux, a process that was killed leaves its event behind, so `/proc` is asked whether the process is there;
/// where that does not show all processes, a request to one that was killed succeeds. The id is that of the caller's PID
/// namespace.
pub fn request_shutdown(process_id: u32) -> Result<(), ShutdownError> {
    if !ferrocal_shm::is_available() {
        return Err(ShutdownError::Unavailable);
    }
    if lives(process_id) == Some(false) {
        // A request that nobody takes would be for the next process of this id.
        return Err(ShutdownError::NotListening(process_id));
    }
    let event = match NamedEvent::open_existing(&event_name(process_id)) {
        Err(error) if error.is_absent() => return Err(ShutdownError::NotListening(process_id)),
        opened => opened.map_err(|source| failed(process_id, source))?,
    };
    event.set(PATIENCE).map_err(|source| failed(process_id, source))
}

fn failed(process_id: u32, source: impl Error + Send + Sync + 'static) -> ShutdownError {
    ShutdownError::Event { process_id, source: Box::new(source) }
}

impl ShutdownRequest {
    pub(crate) fn open() -> Result<Self, ShutdownError> {
        if !ferrocal_shm::is_available() {
            return Err(ShutdownError::Unavailable);
        }
        let mut known = lock(LISTENER.get());
        let listener = match known.upgrade() {
            Some(listener) => listener,
            None => {
                let listener = Arc::new(Listener::start(std::process::id())?);
                *known = Arc::downgrade(&listener);
                listener
            }
        };
        Ok(Self { listener, ticket: None })
    }

    /// Whether somebody asked.
    pub fn is_requested(&self) -> bool {
        lock(&self.listener.shared.state).is_requested
    }

    /// Waits until somebody asks, for `timeout` at most. Returns whether somebody did.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let Shared { state, changed } = &*self.listener.shared;
        let waited = changed.wait_timeout_while(lock(state), timeout, |state| !state.is_requested);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_requested
    }
}

impl Future for ShutdownRequest {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { listener, ticket } = self.get_mut();
        let mut state = lock(&listener.shared.state);
        if state.is_requested {
            return Poll::Ready(());
        }
        let replaced = state.tasks.add(ticket, cx.waker());
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Clone for ShutdownRequest {
    fn clone(&self) -> Self {
        // Each is awaited by a task of its own.
        Self { listener: self.listener.clone(), ticket: None }
    }
}

impl std::fmt::Debug for ShutdownRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShutdownRequest").finish_non_exhaustive()
    }
}

impl Listener {
    fn start(process: u32) -> Result<Self, ShutdownError> {
        let event = NamedEvent::open(&event_name(process)).map_err(|source| failed(process, source))?;
        // A process that had this id may have left a request behind.
        let _ = event.poll(Duration::ZERO);
        let shared = Arc::<Shared>::default();
        let thread = {
            let shared = shared.clone();
            move || shared.watch(&event)
        };
        thread::Builder::new()
            .name("ferrocal-shutdown".into())
            .spawn(thread)
            .map_err(ShutdownError::Thread)?;
        Ok(Self { shared, process })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            return;
        }
        // Under the lock of the list, so that no other one opens the file meanwhile.
        let known = lock(LISTENER.get());
        if known.strong_count() == 0 {
            ferrocal_shm::unlink(&event_name(self.process));
        }
        drop(known);
        lock(&self.shared.state).is_stopping = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn watch(&self, event: &NamedEvent) {
        loop {
            // What is damaged stays so, and is looked at again all the same.
            if event.poll(Duration::ZERO).unwrap_or(false) {
                break;
            }
            let state = lock(&self.state);
            let until = Instant::now() + INTERVAL;
            let is_waiting = |state: &mut State| !state.is_stopping && Instant::now() < until;
            let (state, _) = self
                .changed
                .wait_timeout_while(state, INTERVAL, is_waiting)
                .unwrap_or_else(PoisonError::into_inner);
            if state.is_stopping {
                return;
            }
        }
        // eCAL in the same process may wait for it, too.
        let _ = event.set(Duration::ZERO);
        let tasks = {
            let mut state = lock(&self.state);
            state.is_requested = true;
            state.tasks.take()
        };
        self.changed.notify_all();
        tasks.for_each(Waker::wake);
    }
}
