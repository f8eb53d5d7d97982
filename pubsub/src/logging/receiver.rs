//! Receives the log lines of all programs.

use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ferrocal_proto::{DropCounts, Limits, LogMessage, MAX_LOG_MESSAGE_LEN};
use ferrocal_transport::{ReceiveDrops, Receiver, Selected, Transport, Wait};

use crate::delivery::Crew;
use crate::feed::{Feed, FeedSender};
use crate::source::{Flow, Ready, Source};
use crate::stats::{add, get};
use crate::wire::{EXPIRE_EVERY, Failures, Intake, Report};
use crate::{AllowConfig, Config, LogsError, Mode, ReceiveThreadConfig, RecvError, RecvTimeoutError, lock};

/// Receives the log lines of all programs that send them by UDP, this one included. Made by
/// [`Node::logs`](crate::Node::logs).
///
/// Lines wait in a queue that keeps the newest ones; [`LogConfig`](crate::LogConfig) bounds it. They are taken from it
/// by [`recv`](Self::recv) and its kin, by [`recv_async`](Self::recv_async), or as a [`Stream`](futures_core::Stream).
/// Threads can share it: each line goes to one of them.
///
/// It has a socket and a thread of its own, until it is dropped. It does not keep its node open.
pub struct LogReceiver {
    lines: Feed<LogMessage>,
    /// The end that they come in by.
    feed: Arc<FeedSender<LogMessage>>,
    counters: Arc<Counters>,
    /// `None` only while it is dropped.
    crew: Option<Crew>,
    /// The process that opened it. A forked child has no thread of it.
    process: u32,
}

/// What a [`LogReceiver`] got so far.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LogReceiverStats {
    /// Lines received, including those that were dropped from the queue later.
    pub received: u64,
    /// Lines dropped from the queue, because the program took them too slowly.
    pub queue_full: u64,
    /// Lines of other hosts, which are ignored in local mode, as eCAL does.
    pub other_hosts: u64,
    /// Datagrams and messages that could not be used.
    pub drops: DropCounts,
    /// Datagrams that were lost or refused before they could be looked at.
    pub receive_drops: ReceiveDrops,
}

#[derive(Default)]
struct Counters {
    received: AtomicU64,
    other_hosts: AtomicU64,
    report: Mutex<Report>,
}

impl LogReceiver {
    pub(crate) fn open(config: &Config, transport: &Selected, host_name: String) -> Result<Self, LogsError> {
        let receiver = transport.receiver(config.logging.receiver_port)?;
        receiver.membership().join(config.destination().group)?;
        let (feed, lines) = Feed::with_bounds(config.logging.queue_len, config.logging.queue_bytes);
        let feed = Arc::new(feed);
        let counters = Arc::<Counters>::default();
        let on_failure = {
            let feed = feed.clone();
            Box::new(move || feed.end(RecvError::NodeFailed))
        };
        let crew = Crew::start(ReceiveThreadConfig::default(), on_failure).map_err(LogsError::Thread)?;
        let interrupt = receiver.interrupter();
        let limits = Limits { max_message_len: MAX_LOG_MESSAGE_LEN, ..config.limits.reassembly };
        let source = LogSource {
            receiver,
            intake: Intake::new(config.allow.clone(), limits),
            allow: config.allow.clone(),
            failures: Failures::default(),
            only_host: (config.mode == Mode::Local).then_some(host_name),
            feed: feed.clone(),
            counters: counters.clone(),
        };
        crew.open(Box::new(move || Some((Box::new(source) as Box<dyn Source>, interrupt))));
        Ok(Self { lines, feed, counters, crew: Some(crew), process: std::process::id() })
    }

    /// Waits for the next line.
    ///
    /// # Errors
    /// When no line will come any more: the receiver was [closed](Self::close), a [replay](crate::Selection::File) is
    /// over, or the thread that receives has failed.
    pub fn recv(&self) -> Result<LogMessage, RecvError> {
        self.lines.recv()
    }

    /// Waits for the next line for `timeout` at most.
    ///
    /// # Errors
    /// When none arrived in time, or none will come any more, as [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<LogMessage, RecvTimeoutError> {
        self.lines.recv_timeout(timeout)
    }

    /// The next line, if one is there. Does not wait.
    pub fn try_recv(&self) -> Option<LogMessage> {
        self.lines.try_recv()
    }

    /// Waits for the next line without blocking. Needs no particular runtime.
    ///
    /// If the future is dropped, no line is lost.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_async(&self) -> Result<LogMessage, RecvError> {
        self.lines.recv_async().await
    }

    /// Ends the reception, from any thread. Waiting calls return. What waits in the queue can still be taken.
    pub fn close(&self) {
        // In a forked child, a thread that does not exist there may hold the queue's lock.
        if !self.is_forked() {
            self.feed.end(RecvError::Closed);
        }
    }

    /// What the receiver got so far.
    pub fn stats(&self) -> LogReceiverStats {
        let Report { protocol, transport, .. } = lock(&self.counters.report).clone();
        LogReceiverStats {
            received: get(&self.counters.received),
            queue_full: self.lines.dropped(),
            other_hosts: get(&self.counters.other_hosts),
            drops: protocol,
            receive_drops: transport,
        }
    }

    fn is_forked(&self) -> bool {
        std::process::id() != self.process
    }
}

impl futures_core::Stream for LogReceiver {
    type Item = LogMessage;

    /// The next line. The stream ends when no line will come any more.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LogMessage>> {
        Pin::new(&mut self.get_mut().lines).poll_next(cx)
    }
}

impl Drop for LogReceiver {
    fn drop(&mut self) {
        if self.is_forked()
            && let Some(crew) = self.crew.take()
        {
            crew.abandon();
        }
    }
}

impl std::fmt::Debug for LogReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReceiver").finish_non_exhaustive()
    }
}

/// What a line takes in memory, in bytes.
fn memory(message: &LogMessage) -> usize {
    let LogMessage { host_name, process_name, unit_name, content, .. } = message;
    let texts = [host_name, process_name, unit_name, content];
    size_of::<LogMessage>() + texts.into_iter().map(String::capacity).sum::<usize>()
}

/// Reads the port of log lines, one batch a call.
struct LogSource {
    receiver: Box<dyn Receiver>,
    intake: Intake,
    allow: AllowConfig,
    failures: Failures,
    /// The host whose lines are wanted, if not those of all.
    only_host: Option<String>,
    feed: Arc<FeedSender<LogMessage>>,
    counters: Arc<Counters>,
}

impl Source for LogSource {
    fn receive(&mut self, _: &mut Ready) -> Flow {
        let Self { receiver, intake, allow, failures, only_host, feed, counters } = self;
        let result = receiver.recv(Wait::sleep(EXPIRE_EVERY), &mut |datagram| {
            intake.each_message(datagram, |message| {
                let message = LogMessage::decode(message.as_slice())?;
                allow.check_host(message.host_name.as_bytes())?;
                if only_host.as_ref().is_some_and(|host| *host != message.host_name) {
                    add(&counters.other_hosts, 1);
                } else {
                    add(&counters.received, 1);
                    let bytes = memory(&message);
                    feed.send(message, bytes);
                }
                Ok(())
            });
        });
        intake.expire(Instant::now());
        intake.report(&counters.report, &**receiver);
        let flow = failures.after(result);
        if flow == Flow::End {
            feed.end(RecvError::ReplayOver);
        }
        flow
    }
}
