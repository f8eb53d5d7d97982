//! Payload: from datagrams to the subscribers of this node.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvError, SyncSender, sync_channel};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrocal_proto::{EntityId, Message, PayloadSample, SampleHead};
use ferrocal_transport::{Datagram, Membership, ReceiveHalf};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::NodeError;
use crate::inbox::{Arrived, Taken};
use crate::intake::{Failing, Intake};
use crate::node::Shared;
use crate::topics::Reader;
use crate::worker::Stop;

/// How often incomplete messages are looked through for expired ones.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// A request to open the receive half, and where to answer.
type Open = SyncSender<Result<Arc<dyn Membership>, NodeError>>;

/// Has the receive half opened. A node that only publishes has none, as it would get all that it sends itself.
pub(crate) struct FirstSubscriber(mpsc::UnboundedSender<Open>);

impl FirstSubscriber {
    pub(crate) fn open(&self) -> Result<Arc<dyn Membership>, NodeError> {
        let (answer, answered) = sync_channel(1);
        let ended = |_| NodeError::Thread(io::Error::other("the thread that receives has ended"));
        self.0.send(answer).map_err(|_| ended(RecvError))?;
        answered.recv().map_err(ended)?
    }
}

/// Where requests to open the receive half arrive.
pub(crate) type Waiting = mpsc::UnboundedReceiver<Open>;

pub(crate) fn wait() -> Result<(Waiting, FirstSubscriber), NodeError> {
    let (first_subscriber, waiting) = mpsc::unbounded_channel();
    Ok((waiting, FirstSubscriber(first_subscriber)))
}

/// Receives payload, from when that is wanted until it is stopped.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut open: impl FnMut() -> Result<(Box<dyn ReceiveHalf>, Arc<dyn Membership>), NodeError>,
    mut waiting: Waiting,
    mut stop: Stop,
) {
    let mut half = loop {
        let answer = tokio::select! {
            _ = &mut stop => return,
            Some(answer) = waiting.recv() => answer,
        };
        // Who asked does wait for the answer.
        match open() {
            Ok((half, membership)) => {
                let _ = answer.send(Ok(membership));
                break half;
            }
            Err(error) => drop(answer.send(Err(error))),
        }
    };
    if shared.replaying {
        // A file does not wait: without this, its start would be over before its first topic has a subscriber.
        tokio::select! {
            _ = &mut stop => return,
            () = shared.topics.first_reader.notified() => {}
        }
    }
    let mut intake = Intake::new(shared.config.limits.reassembly, shared.start);
    let mut dispatch = Dispatch::default();
    let busy_poll = shared.config.receive_thread.busy_poll;
    let mut busy = BusyPoll { span: busy_poll, idle_since: None };
    let mut failing = Failing::default();
    let mut expire = tokio::time::interval(EXPIRE_EVERY);
    expire.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut expired = Instant::now();
    loop {
        let mut latest = None;
        let mut sink = |datagram: Datagram<'_>| {
            latest = Some(datagram.received);
            dispatch.receive(&shared, &mut intake, datagram);
        };
        let result = if let Some(half) = half.blocking() {
            if stop.is_told(|| half.interrupter()) {
                break;
            }
            let result = half.recv(busy_poll, EXPIRE_EVERY, &mut sink);
            let now = latest.unwrap_or_else(Instant::now);
            if now - expired >= EXPIRE_EVERY {
                intake.expire(now);
                expired = now;
            }
            result
        } else {
            tokio::select! {
                () = &mut stop => break,
                _ = expire.tick() => {
                    intake.expire(Instant::now());
                    intake.report(&shared.drops.payload, &*half);
                    continue;
                }
                result = poll_fn(|cx| busy.after(half.poll_recv(cx, &mut sink), cx)) => result,
            }
        };
        dispatch.deliver(&shared);
        if !failing.after_batch(result).await {
            shared.topics.end();
            // Nothing follows: only the end of the node is left to wait for.
            stop.await;
            break;
        }
        intake.report(&shared.drops.payload, &*half);
    }
}

/// Has a poll repeated that brought nothing, until that was so for the busy-polling time.
struct BusyPoll {
    span: Duration,
    idle_since: Option<Instant>,
}

impl BusyPoll {
    fn after<T>(&mut self, polled: Poll<T>, cx: &Context<'_>) -> Poll<T> {
        if !self.span.is_zero() {
            if polled.is_ready() {
                self.idle_since = None;
            } else if self.idle_since.get_or_insert_with(Instant::now).elapsed() < self.span {
                cx.waker().wake_by_ref();
            }
        }
        polled
    }
}

/// Takes what a batch brought to the subscribers, each of which is locked once for all of it.
#[derive(Default)]
struct Dispatch {
    /// The topics that messages came for, with their subscribers as of `version`.
    topics: Vec<Topic>,
    by_name: HashMap<Box<str>, usize>,
    version: u64,
    /// The topics that have messages waiting.
    touched: Vec<usize>,
    /// The head of the latest message, with its topic and publisher: many of one publisher often follow each other.
    head: SampleHead,
    latest: Option<(usize, EntityId)>,
}

/// Messages for which a topic keeps room from batch to batch.
const KEPT_LEN: usize = 1024;

struct Topic {
    readers: Arc<[Arc<Reader>]>,
    waiting: Vec<Arrived>,
}

impl Dispatch {
    fn receive(&mut self, shared: &Shared, intake: &mut Intake, datagram: Datagram<'_>) {
        if self.touched.is_empty() {
            self.forget_old_readers(shared);
        }
        intake.each_message(datagram, |message| {
            let bytes = message.as_slice();
            let known = self.latest.and_then(|latest| Some((latest, self.head.decode(bytes)?)));
            let ((index, publisher_id), sample) = match known {
                Some(known) => known,
                None => {
                    let sample = PayloadSample::decode(bytes)?;
                    let Some(index) = self.index(shared, sample.topic_name) else {
                        // Topics may share a group, so this is nobody's fault.
                        shared.unsubscribed.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    };
                    self.head.learn(bytes, &sample);
                    let latest = (index, EntityId::from_wire(sample.topic_id));
                    self.latest = Some(latest);
                    (latest, sample)
                }
            };
            let waiting = &mut self.topics[index].waiting;
            if waiting.is_empty() {
                self.touched.push(index);
            }
            waiting.push(Arrived {
                payload: payload(datagram, &message, sample.payload),
                clock: sample.clock,
                time_us: sample.time_us,
                publisher_id,
            });
            Ok(())
        });
    }

    fn index(&mut self, shared: &Shared, name: &str) -> Option<usize> {
        if let Some(&index) = self.by_name.get(name) {
            return Some(index);
        }
        let readers = shared.topics.readers(name)?;
        let index = self.topics.len();
        self.by_name.insert(name.into(), index);
        self.topics.push(Topic { readers, waiting: Vec::new() });
        Some(index)
    }

    fn deliver(&mut self, shared: &Shared) {
        for index in self.touched.drain(..) {
            self.topics[index].deliver();
        }
        self.forget_old_readers(shared);
    }

    fn forget_old_readers(&mut self, shared: &Shared) {
        let version = shared.topics.readers_version();
        if version != self.version {
            self.topics.clear();
            self.by_name.clear();
            self.latest = None;
            self.version = version;
        }
    }
}

impl Topic {
    fn deliver(&mut self) {
        let len = self.waiting.last().map_or(0, |message| message.payload.len());
        let len = i32::try_from(len).unwrap_or(i32::MAX);
        let Some((last, others)) = self.readers.split_last() else { return };
        for reader in others {
            reader.push(len, self.waiting.iter().cloned());
        }
        last.push(len, self.waiting.drain(..));
        // A batch may have been exceptionally long.
        self.waiting.shrink_to(KEPT_LEN);
    }
}

impl Reader {
    fn push(&self, last_len: i32, messages: impl Iterator<Item = Arrived>) {
        let Taken { count, lost } = self.inbox.push(messages);
        if count > 0 {
            self.entity.messages.fetch_add(count, Ordering::Relaxed);
            self.entity.lost.fetch_add(lost, Ordering::Relaxed);
            self.entity.last_len.store(last_len, Ordering::Relaxed);
        }
    }
}

/// The payload as bytes of its own, which share the memory of the message or datagram if they make up most of it.
fn payload(datagram: Datagram<'_>, message: &Message<'_>, payload: &[u8]) -> Bytes {
    match message {
        Message::Whole(_) => datagram.keep(payload),
        // A share keeps the whole message, which must not be much more than what the queue accounts for.
        Message::Assembled(bytes) if payload.len() < bytes.len() / 2 => Bytes::copy_from_slice(payload),
        Message::Assembled(bytes) => bytes.slice_ref(payload),
    }
}
