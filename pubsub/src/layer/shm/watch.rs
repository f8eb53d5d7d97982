//! The memory files that this process reads, each with a thread. All nodes of the process share them.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrocal_proto::{DropReason, MemoryMessage};
use ferrocal_shm::{LockError, MemoryFile, NamedEvent, NamedLock, OpenError, is_absent, unlink};

use super::EVENT_TIMEOUT;
use super::inlet::{ShmInlet, Sinks};
use super::naming::{acknowledge_name, event_name, lock_name};
use super::reading::{Content, Taken};
use crate::layer::{Incoming, Origin};
use crate::lock;
use crate::payload::BorrowedPayload;
use crate::per_process::PerProcess;
use crate::source::Ready;

/// How long one wait for an event takes, as in eCAL.
const WAIT: Duration = Duration::from_millis(500);
/// How often the file is looked at if its event cannot be waited for.
const LOOK: Duration = Duration::from_millis(10);

/// The files that are read or were read, by their names. A forked child has none of its parent's threads.
static WATCHED: PerProcess<Mutex<HashMap<String, Known>>> = PerProcess::new();

/// Of files that are not read any more: their threads may still wait.
static LEFT: PerProcess<Mutex<Vec<Weak<Signals>>>> = PerProcess::new();

struct Known {
    watch: Weak<FileWatch>,
    /// The clock of the newest message that was read, or 0. It outlives the watch, which may leave the event set: what lies
    /// in the file is no news then for the next one.
    newest: Arc<AtomicU64>,
}

/// A memory file with a thread that reads it, until this is dropped.
pub(super) struct FileWatch {
    name: String,
    process_id: u32,
    signals: Arc<Signals>,
    newest: Arc<AtomicU64>,
    targets: Mutex<Vec<Target>>,
    /// Whether some of them have joined since the latest message.
    has_joined: AtomicBool,
}

/// What the thread of a file and others share.
struct Signals {
    lock: Arc<NamedLock>,
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
    /// The longest message that it takes.
    max_message_len: usize,
    /// Since when its topic is read.
    since: Instant,
    /// Whether it has joined a file that was read already, and no message came since.
    is_new: bool,
}

/// Somebody who gets a message, and the callbacks that are to be called for it.
struct Recipient {
    inlet: Arc<ShmInlet>,
    origin: Arc<Origin>,
    sinks: Sinks,
    ready: Ready,
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    #[error("{0}")]
    Open(#[source] OpenError),
    #[error("a thread could not be started: {0}")]
    Thread(#[source] io::Error),
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
        let mut target = Target {
            inlet: Arc::downgrade(inlet),
            topic: topic.clone(),
            origin: origin.clone(),
            max_message_len: inlet.max_message_len,
            since,
            is_new: false,
        };
        let mut watched = lock(WATCHED.get());
        if let Some(watch) = watched.get(name).and_then(|known| known.watch.upgrade())
            && !watch.has_ended()
        {
            target.is_new = true;
            lock(&watch.targets).push(target);
            watch.has_joined.store(true, Ordering::Release);
            // The thread looks whether there is something for it. If this fails the next message comes.
            let _ = watch.signals.event.set(EVENT_TIMEOUT);
            return Ok(watch);
        }
        let newest = watched.get(name).map(|known| known.newest.clone()).unwrap_or_default();
        let watch = Self::start(name, target, newest.clone())?;
        watched.insert(name.to_owned(), Known { watch: Arc::downgrade(&watch), newest });
        Ok(watch)
    }

    fn start(name: &str, target: Target, newest: Arc<AtomicU64>) -> Result<Arc<Self>, WatchError> {
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
        let lock = Arc::new(lock);
        let signals = Arc::new(Signals {
            lock: lock.clone(),
            event,
            acknowledged,
            is_stopping: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
        });
        let targets = Mutex::new(vec![target]);
        let content = Content::new(name, file, lock, newest.load(Ordering::SeqCst));
        let watch = Arc::new(Self {
            name: name.to_owned(),
            process_id,
            signals: signals.clone(),
            newest,
            targets,
            has_joined: AtomicBool::new(false),
        });
        let weak = Arc::downgrade(&watch);
        thread::Builder::new()
            .name("ferrocal-shm".into())
            .spawn(move || read(&signals, &weak, content))
            .map_err(WatchError::Thread)?;
        Ok(watch)
    }

    /// Ends passing messages to a publisher's readers. Others may have joined the file for somebody else.
    pub(super) fn leave(&self, origin: &Arc<Origin>) {
        lock(&self.targets).retain(|target| !Arc::ptr_eq(&target.origin, origin));
    }

    /// Whether nothing will come of it any more, since it was damaged.
    pub(super) fn has_ended(&self) -> bool {
        self.signals.has_ended.load(Ordering::Relaxed)
    }

    /// Ends a wait that a dead publisher would make last for ever. If the thread is lost, the file is given up.
    pub(super) fn rescue(&self) {
        self.signals.event.rescue();
        if self.signals.lock.keep_from_others_if_stuck()
            && !self.signals.has_ended.swap(true, Ordering::Relaxed)
        {
            self.count(DropReason::Locked);
        }
    }

    /// Does the same for the threads of files that are not read any more, and forgets those that are gone.
    pub(super) fn look_after_left() {
        lock(WATCHED.get()).retain(|name, known| known.watch.strong_count() > 0 || !is_absent(name));
        let left: Vec<_> = {
            let mut left = lock(LEFT.get());
            left.retain(|signals| signals.strong_count() > 0);
            left.iter().filter_map(Weak::upgrade).collect()
        };
        left.iter().for_each(|signals| signals.event.rescue());
    }

    fn count(&self, reason: DropReason) {
        let inlets: Vec<_> = lock(&self.targets).iter().map(|target| target.inlet.clone()).collect();
        inlets.iter().filter_map(Weak::upgrade).for_each(|inlet| inlet.count(reason));
    }

    /// Passes the newest message on, and calls callbacks. Returns whether its publisher waits for that. `recipients` is
    /// empty before and after it: its room is kept.
    fn pass_on(&self, content: &mut Content, recipients: &mut Vec<Recipient>) -> Result<bool, DropReason> {
        let max_len = lock(&self.targets).iter().map(|target| target.max_message_len).max().unwrap_or(0);
        let taken = content.take(max_len, &mut |message, payload| self.lend(message, payload, recipients));
        self.newest.store(content.clock(), Ordering::SeqCst);
        let waits = match taken {
            Ok(None) => {
                if self.has_joined.swap(false, Ordering::AcqRel)
                    && let Some((taken, first)) = content.take_again(max_len)
                {
                    self.find_recipients(Some(first), recipients);
                    push(taken, recipients);
                }
                Ok(false)
            }
            Ok(Some(taken)) => {
                let waits = taken.message.acknowledge_timeout_ms != 0;
                push(taken, recipients);
                Ok(waits)
            }
            Err(reason) => Err(reason),
        };
        for Recipient { inlet, mut ready, .. } in recipients.drain(..) {
            inlet.run(&mut ready);
        }
        waits
    }

    /// Finds those who get a message. One that was taken at `taken_before` goes to those who have joined later, and wanted
    /// it then already: another node of this process was faster to learn of the file.
    fn find_recipients(&self, taken_before: Option<Instant>, recipients: &mut Vec<Recipient>) {
        recipients.clear();
        recipients.extend(lock(&self.targets).iter_mut().filter_map(|target| {
            let is_new = std::mem::take(&mut target.is_new);
            let wants = taken_before.is_none_or(|time| is_new && target.since <= time);
            let inlet = target.inlet.upgrade().filter(|_| wants)?;
            let sinks = inlet.sinks(&target.topic);
            Some(Recipient { inlet, origin: target.origin.clone(), sinks, ready: Ready::new() })
        }));
    }

    /// Lends a message to all recipients, if its publisher permits that and none of them needs a copy: who waits for the copy
    /// does not wait for others' callbacks then.
    fn lend(
        &self,
        message: &MemoryMessage,
        payload: BorrowedPayload<'_>,
        recipients: &mut Vec<Recipient>,
    ) -> bool {
        self.find_recipients(None, recipients);
        let mut sinks = recipients.iter().flat_map(|recipient| recipient.sinks.iter());
        if !message.zero_copy || !sinks.all(|sink| sink.borrows()) {
            return false;
        }
        let received = Instant::now();
        for Recipient { origin, sinks, ready, .. } in recipients {
            for sink in sinks.iter() {
                sink.lend(incoming(message, payload, origin, received), ready);
            }
        }
        true
    }
}

/// Passes a copy to the queues of all recipients, if they have not seen the message in place.
fn push(taken: Taken, recipients: &mut Vec<Recipient>) {
    let Taken { message, payload: Some(payload) } = taken else { return };
    let (payload, received) = (Bytes::from(payload), Instant::now());
    for Recipient { origin, sinks, ready, .. } in recipients {
        for sink in sinks.iter() {
            let message = incoming(&message, payload.clone(), origin, received);
            sink.push(&mut std::iter::once(message), ready);
        }
    }
}

fn incoming<P>(message: &MemoryMessage, payload: P, origin: &Arc<Origin>, received: Instant) -> Incoming<P> {
    let (clock, time_us) = (message.clock.cast_signed(), message.time_us);
    Incoming { payload, clock, time_us, origin: origin.clone(), received, received_ns: 0 }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        self.signals.is_stopping.store(true, Ordering::Release);
        if self.process_id == std::process::id() {
            // The thread waits for it. If this fails, somebody has died with the event, and it has to be rescued.
            if self.signals.event.set(EVENT_TIMEOUT).is_err() {
                lock(LEFT.get()).push(Arc::downgrade(&self.signals));
            }
            remove_rests(&self.name, self.process_id);
        }
    }
}

/// Removes what was made anew for a file that is gone meanwhile, with its lock and its events.
fn remove_rests(name: &str, process_id: u32) {
    if is_absent(name) {
        unlink(&lock_name(name));
        unlink(&event_name(name, process_id));
        unlink(&acknowledge_name(name, process_id));
    }
}

/// What the thread of a file does. It has the watch only for the time of a message, so that it ends with the watch.
fn read(signals: &Signals, watch: &Weak<FileWatch>, mut content: Content) {
    let mut recipients = Vec::new();
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
        let passed = catch_unwind(AssertUnwindSafe(|| watch.pass_on(&mut content, &mut recipients)));
        match passed {
            Ok(Ok(true)) => {
                // A publisher that cannot be told does not wait for ever.
                let _ = signals.acknowledged.set(EVENT_TIMEOUT);
            }
            Ok(Ok(false)) => {}
            Ok(Err(DropReason::MemoryFileLost)) => return end(signals, &Arc::downgrade(&watch)),
            Ok(Err(reason)) => watch.count(reason),
            Err(_) => {
                log::error!(
                    "a thread that reads shared memory has failed; its publisher is not read any more"
                );
                signals.has_ended.store(true, Ordering::Relaxed);
                return;
            }
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
