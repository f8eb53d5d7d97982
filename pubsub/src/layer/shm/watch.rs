//! The memory files that this process reads, each with a thread. All nodes of the process share them.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrocal_proto::{DropReason, MemoryMessage};
use ferrocal_shm::{LockError, MemoryFile, NamedEvent, NamedLock, OpenError, unlink};

use super::inlet::ShmInlet;
use super::naming::{acknowledge_name, event_name, lock_name};
use super::reading::{Content, Taken};
use crate::layer::{Incoming, Origin};
use crate::lock;
use crate::source::Ready;

/// How long one wait for an event takes, as in eCAL.
const WAIT: Duration = Duration::from_millis(500);
/// How often the file is looked at if its event cannot be waited for.
const LOOK: Duration = Duration::from_millis(10);
/// Setting an event takes a few instructions.
const EVENT_TIMEOUT: Duration = Duration::from_millis(5);

/// The files that are read, by the process and their names. A forked child has none of its parent's threads.
static WATCHED: Mutex<Option<Watched>> = Mutex::new(None);

type Watched = HashMap<(u32, String), Weak<FileWatch>>;

/// A memory file with a thread that reads it, until this is dropped.
pub(super) struct FileWatch {
    name: String,
    process_id: u32,
    signals: Arc<Signals>,
    targets: Mutex<Vec<Target>>,
    /// Whether some of them have joined since the latest message.
    has_joined: AtomicBool,
}

/// What the thread of a file and others share.
struct Signals {
    event: NamedEvent,
    acknowledged: NamedEvent,
    is_stopping: AtomicBool,
    has_ended: AtomicBool,
}

/// Whom messages are passed to.
struct Target {
    inlet: Weak<ShmInlet>,
    topic: Arc<str>,
    origin: Arc<Origin>,
    /// Since when its topic is read.
    since: Instant,
    /// Whether it has joined a file that was read already, and no message came since.
    is_new: bool,
}

/// Why a file is not read.
#[derive(Debug)]
pub(super) enum WatchError {
    Open(OpenError),
    Thread(io::Error),
}

impl FileWatch {
    /// Has the messages of a file passed to a topic of an inlet.
    pub(super) fn join(
        name: &str,
        inlet: &Arc<ShmInlet>,
        topic: &Arc<str>,
        origin: &Arc<Origin>,
        since: Instant,
    ) -> Result<Arc<Self>, WatchError> {
        let inlet = Arc::downgrade(inlet);
        let mut target = Target { inlet, topic: topic.clone(), origin: origin.clone(), since, is_new: false };
        let key = (std::process::id(), name.to_owned());
        let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = watched.get_or_insert_default();
        watched.retain(|_, watch| watch.strong_count() > 0);
        if let Some(watch) = watched.get(&key).and_then(Weak::upgrade)
            && !watch.has_ended()
        {
            target.is_new = true;
            lock(&watch.targets).push(target);
            watch.has_joined.store(true, Ordering::Release);
            // The thread looks whether there is something for it. If this fails the next message comes.
            let _ = watch.signals.event.set(EVENT_TIMEOUT);
            return Ok(watch);
        }
        let watch = Self::start(name, target)?;
        watched.insert(key, Arc::downgrade(&watch));
        Ok(watch)
    }

    fn start(name: &str, target: Target) -> Result<Arc<Self>, WatchError> {
        let process_id = std::process::id();
        // Nothing is made for a file that is not there.
        let file = MemoryFile::open(name).map_err(WatchError::Open)?;
        let opened = (|| {
            let lock = NamedLock::open(&lock_name(name))?;
            let event = NamedEvent::open(&event_name(name, process_id))?;
            Ok((lock, event, NamedEvent::open(&acknowledge_name(name, process_id))?))
        })();
        let (lock, event, acknowledged) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                remove_rests(name, process_id);
                return Err(WatchError::Open(error));
            }
        };
        let signals = Arc::new(Signals {
            event,
            acknowledged,
            is_stopping: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
        });
        let targets = Mutex::new(vec![target]);
        let watch = Arc::new(Self {
            name: name.to_owned(),
            process_id,
            signals: signals.clone(),
            targets,
            has_joined: AtomicBool::new(false),
        });
        let content = Content::new(name, file, lock);
        let weak = Arc::downgrade(&watch);
        thread::Builder::new()
            .name("ferrocal-shm".into())
            .spawn(move || read(&signals, &weak, content))
            .map_err(WatchError::Thread)?;
        Ok(watch)
    }

    /// Ends passing messages to an inlet.
    pub(super) fn leave(&self, inlet: &ShmInlet) {
        lock(&self.targets).retain(|target| !std::ptr::eq(target.inlet.as_ptr(), inlet));
    }

    /// Whether nothing will come of it any more, since it was damaged.
    pub(super) fn has_ended(&self) -> bool {
        self.signals.has_ended.load(Ordering::Relaxed)
    }

    /// Ends a wait that a dead publisher would make last for ever.
    pub(super) fn rescue(&self) {
        self.signals.event.rescue();
    }

    fn inlets(&self) -> Vec<Arc<ShmInlet>> {
        lock(&self.targets).iter().filter_map(|target| target.inlet.upgrade()).collect()
    }

    fn count(&self, reason: DropReason) {
        self.inlets().iter().for_each(|inlet| inlet.count(reason));
    }

    /// Passes a message on, and calls callbacks. One that was taken at `taken_before` goes to those who have joined later,
    /// and wanted it then already: another node of this process was faster to learn of the file.
    fn deliver(&self, taken: Taken, taken_before: Option<Instant>) {
        let MemoryMessage { clock, time_us, .. } = taken.message;
        let (payload, received) = (Bytes::from(taken.payload), Instant::now());
        let targets: Vec<_> = lock(&self.targets)
            .iter_mut()
            .filter_map(|target| {
                let is_new = std::mem::take(&mut target.is_new);
                let wants = taken_before.is_none_or(|time| is_new && target.since <= time);
                let inlet = target.inlet.upgrade().filter(|_| wants)?;
                Some((inlet, target.topic.clone(), target.origin.clone()))
            })
            .collect();
        for (inlet, topic, origin) in targets {
            let message = Incoming {
                payload: payload.clone(),
                clock: clock.cast_signed(),
                time_us,
                origin,
                received,
                received_ns: 0,
            };
            let mut ready = Ready::new();
            for sink in inlet.sinks(&topic).iter() {
                sink.push(&mut std::iter::once(message.clone()), &mut ready);
            }
            drop(message);
            inlet.run(&mut ready);
        }
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        self.signals.is_stopping.store(true, Ordering::Release);
        if self.process_id == std::process::id() {
            // The thread waits for it. It ends on its own if this fails.
            let _ = self.signals.event.set(EVENT_TIMEOUT);
            remove_rests(&self.name, self.process_id);
        }
    }
}

/// Removes what was made anew for a file that is gone meanwhile, with its lock and its events.
fn remove_rests(name: &str, process_id: u32) {
    if MemoryFile::open(name).is_err_and(|error| error.is_absent()) {
        unlink(&lock_name(name));
        unlink(&event_name(name, process_id));
        unlink(&acknowledge_name(name, process_id));
    }
}

/// What the thread of a file does. It has the watch only for the time of a message, so that it ends with the watch.
fn read(signals: &Signals, watch: &Weak<FileWatch>, mut content: Content) {
    // What came before this process opened the file for the publisher's sake has set the event.
    let mut is_due = false;
    while !signals.is_stopping.load(Ordering::Acquire) {
        if !is_due {
            match signals.event.wait(WAIT) {
                Ok(is_set) => is_due = is_set,
                Err(LockError::TimedOut) => {
                    // Somebody died with the event. The file is well as long as its lock is.
                    thread::sleep(LOOK);
                    is_due = true;
                }
                Err(_) => return end(signals, watch),
            }
            continue;
        }
        is_due = false;
        let Some(watch) = watch.upgrade() else { return };
        let max_len = watch.inlets().iter().map(|inlet| inlet.max_message_len).max().unwrap_or(0);
        match content.take(max_len) {
            Ok(None) if watch.has_joined.swap(false, Ordering::AcqRel) => {
                if let Some((taken, time)) = content.take_again(max_len) {
                    watch.deliver(taken, Some(time));
                }
            }
            Ok(None) => {}
            Ok(Some(taken)) => {
                let waits = taken.message.acknowledge_timeout_ms != 0;
                let delivered = catch_unwind(AssertUnwindSafe(|| watch.deliver(taken, None)));
                if delivered.is_err() {
                    log::error!(
                        "a thread that reads shared memory has failed; its publisher is not read any more"
                    );
                    signals.has_ended.store(true, Ordering::Relaxed);
                    return;
                }
                if waits {
                    // A publisher that cannot be told does not wait for ever.
                    let _ = signals.acknowledged.set(EVENT_TIMEOUT);
                }
            }
            Err(DropReason::MemoryFileLost) => return end(signals, &Arc::downgrade(&watch)),
            Err(reason) => watch.count(reason),
        }
    }
}

/// Gives a damaged file up.
fn end(signals: &Signals, watch: &Weak<FileWatch>) {
    signals.has_ended.store(true, Ordering::Relaxed);
    if let Some(watch) = watch.upgrade() {
        watch.count(DropReason::MemoryFileLost);
    }
}
