//! One reading of a capture file, for all its receivers.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{process, thread};

use bytes::Bytes;

use super::reader::{Read, Reader};
use super::summary::{Counts, Summary};
use crate::error::SavefileError;
use crate::frame::{FrameDrops, is_standard_input};
use crate::sync::{Signal, lock};

/// How much is read ahead in bytes: for all receivers together, and as much again to ports without a receiver.
const HELD_LEN: usize = 32 * 1024 * 1024;
/// How long a receiver may be late at least, without missing what was sent to its port, if that is more than is held.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many frames without a time wait for one that has one.
const MAX_UNTIMED: usize = 256;
/// Datagrams passed on in one batch.
const BATCH_LEN: usize = 64;

/// A replay: a thread reads the file ahead, within bounds, and receivers take from it what is due.
///
/// The file is read once, so that it may be a pipe. A thread reads it, because nothing ends the wait for a pipe.
#[derive(Debug)]
pub(super) struct Player {
    path: PathBuf,
    is_fast: bool,
    state: Mutex<State>,
    /// Notified when there is room for more, and when a receiver comes or goes.
    changed: Condvar,
    process: u32,
}

#[derive(Debug, Default)]
struct State {
    mailboxes: Vec<Mailbox>,
    /// The length of what is in mailboxes.
    claimed_len: usize,
    /// Datagrams to ports that have no receiver yet.
    unclaimed: VecDeque<Packet>,
    unclaimed_len: usize,
    /// When something was there to be played, and a receiver to take it.
    began: Option<Instant>,
    is_received: bool,
    has_packets: bool,
    /// Set when nothing more is read; the error is taken by the first receiver that gets there.
    end: Option<Option<SavefileError>>,
    /// Set when the last receiver is gone.
    is_stopped: bool,
    is_summed_up: bool,
    counts: Counts,
    last_id: u64,
}

/// What waits for a receiver.
#[derive(Debug)]
struct Mailbox {
    id: u64,
    port: u16,
    queue: VecDeque<Packet>,
    signal: Arc<Signal>,
}

/// A datagram that was read.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    at: Duration,
    port: u16,
    pub(super) source: SocketAddrV4,
    pub(super) bytes: Bytes,
}

impl Packet {
    /// What it takes in memory, in bytes.
    fn held_len(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }
}

/// What a receiver is to do.
pub(super) enum Next {
    /// Pass on what was taken.
    Pass,
    /// Wait until then, or until it is notified.
    Wait(Option<Instant>),
    /// Nothing follows.
    End(Option<SavefileError>),
}

impl Player {
    /// Begins to read a file. A pipe is opened by the thread that reads, since it may have to wait.
    pub(super) fn start(path: &Path, is_fast: bool) -> Result<Arc<Self>, SavefileError> {
        let error = |source| SavefileError::Open { path: path.to_owned(), source };
        let is_stream = || path.metadata().map(|kind| !kind.is_file() && !kind.is_dir());
        let is_stream = is_standard_input(path) || is_stream().map_err(error)?;
        let reader = if is_stream { None } else { Some(Reader::open(path)?) };
        let player = Arc::new(Self {
            path: path.to_owned(),
            is_fast,
            state: Mutex::default(),
            changed: Condvar::new(),
            process: process::id(),
        });
        let reading = player.clone();
        let read = move || {
            let reader = reader.map_or_else(|| Reader::open(&reading.path), Ok);
            let result = reader.and_then(|reader| reading.read(reader));
            reading.end(result.err());
        };
        thread::Builder::new().name("ferrocal-replay".into()).spawn(read).map_err(error)?;
        Ok(player)
    }

    /// Adds a receiver of a port. `None` if all receivers that there were have gone.
    pub(super) fn open(&self, port: u16) -> Option<(u64, Arc<Signal>)> {
        let mut state = lock(&self.state);
        if state.is_stopped {
            return None;
        }
        state.last_id += 1;
        let (id, signal) = (state.last_id, Arc::<Signal>::default());
        let held = std::mem::take(&mut state.unclaimed);
        let (queue, others): (VecDeque<_>, _) = held.into_iter().partition(|packet| packet.port == port);
        let len = queue.iter().map(Packet::held_len).sum::<usize>();
        state.unclaimed = others;
        state.unclaimed_len -= len;
        state.claimed_len += len;
        state.mailboxes.push(Mailbox { id, port, queue, signal: signal.clone() });
        self.changed.notify_all();
        Some((id, signal))
    }

    /// Removes a receiver.
    pub(super) fn close(&self, id: u64) {
        if process::id() != self.process {
            // A thread may have held the lock when this process was forked.
            return;
        }
        let summary = {
            let mut state = lock(&self.state);
            let Some(index) = state.mailboxes.iter().position(|mailbox| mailbox.id == id) else { return };
            let mailbox = state.mailboxes.remove(index);
            state.claimed_len -= mailbox.queue.iter().map(Packet::held_len).sum::<usize>();
            state.counts.unplayed += mailbox.queue.len() as u64;
            state.is_stopped = state.mailboxes.is_empty();
            self.changed.notify_all();
            if state.is_stopped { state.sum_up(&self.path) } else { None }
        };
        summary.inspect(Summary::log);
    }

    /// Takes what is due for a receiver into `batch`.
    pub(super) fn take(&self, id: u64, now: Instant, batch: &mut Vec<Packet>) -> Next {
        let mut summary = None;
        let next = {
            let mut guard = lock(&self.state);
            let state = &mut *guard;
            state.is_received = true;
            state.begin(now);
            self.changed.notify_all();
            let began = state.began.unwrap_or(now);
            let mailbox = state.mailboxes.iter_mut().find(|mailbox| mailbox.id == id);
            let mailbox = mailbox.expect("a receiver has a mailbox until it is closed");
            while batch.len() < BATCH_LEN
                && let Some(packet) = mailbox.queue.front()
                && (self.is_fast || due(began, packet.at) <= now)
            {
                state.claimed_len -= packet.held_len();
                batch.extend(mailbox.queue.pop_front());
            }
            match mailbox.queue.front() {
                _ if !batch.is_empty() => {
                    state.counts.played += batch.len() as u64;
                    Next::Pass
                }
                Some(packet) => Next::Wait(Some(due(began, packet.at))),
                None if state.end.is_none() => Next::Wait(None),
                None => {
                    // What waits for another receiver may yet be played.
                    let is_complete = state.unclaimed.is_empty() || state.mailboxes.len() > 1;
                    if is_complete && state.mailboxes.iter().all(|mailbox| mailbox.queue.is_empty()) {
                        summary = state.sum_up(&self.path);
                    }
                    Next::End(state.end.as_mut().and_then(Option::take))
                }
            }
        };
        summary.inspect(Summary::log);
        next
    }

    /// What was dropped. Counted for the first receiver, as the file is read once for all.
    pub(super) fn drops(&self, id: u64) -> FrameDrops {
        let state = lock(&self.state);
        let is_first = state.mailboxes.first().is_some_and(|mailbox| mailbox.id == id);
        if is_first { state.counts.drops() } else { FrameDrops::default() }
    }

    /// Reads the file to its end, or until nobody receives any more.
    fn read(&self, mut reader: Reader) -> Result<(), SavefileError> {
        let mut untimed = Vec::new();
        loop {
            let result = reader.read(|Read { port, source, bytes, .. }| {
                untimed.push(Packet {
                    at: Duration::ZERO,
                    port,
                    source,
                    bytes: Bytes::copy_from_slice(bytes),
                });
            });
            let is_last = !matches!(result, Ok(Some(_)));
            if let Ok(Some(frame)) = result {
                reader.count(frame, &mut lock(&self.state).counts);
            }
            if is_last || reader.has_time() || untimed.len() > MAX_UNTIMED {
                let is_received = self.push_all(&mut untimed, reader.latest());
                if is_last || !is_received {
                    return result.map(drop);
                }
            }
        }
    }

    /// Has receivers take packets at this time. Returns whether there are any receivers left.
    fn push_all(&self, packets: &mut Vec<Packet>, at: Duration) -> bool {
        packets.drain(..).all(|packet| self.push(Packet { at, ..packet })) && !lock(&self.state).is_stopped
    }

    fn push(&self, packet: Packet) -> bool {
        let mut guard = lock(&self.state);
        loop {
            let state = &mut *guard;
            if state.is_stopped {
                return false;
            }
            let len = packet.held_len();
            let is_claimed = state.mailboxes.iter().any(|mailbox| mailbox.port == packet.port);
            let held_len = if is_claimed { state.claimed_len } else { state.unclaimed_len };
            if held_len + len <= HELD_LEN {
                state.put(packet, len);
                return true;
            }
            // What nobody receives gives way when this is due.
            let deadline = match state.began {
                Some(began) if !is_claimed => {
                    let due = if self.is_fast { began } else { due(began, packet.at) };
                    Some(due.max(began + PATIENCE).saturating_duration_since(Instant::now()))
                }
                _ => None,
            };
            guard = match deadline {
                None => self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => {
                    state.drop_oldest();
                    guard
                }
                Some(left) => {
                    self.changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn end(&self, error: Option<SavefileError>) {
        let mut state = lock(&self.state);
        state.end = Some(error);
        state.mailboxes.iter().for_each(|mailbox| mailbox.signal.notify());
    }
}

impl State {
    /// Begins to play when there is something, and somebody to receive it.
    fn begin(&mut self, now: Instant) {
        if self.is_received && self.has_packets {
            self.began.get_or_insert(now);
        }
    }

    /// Puts a packet into the mailboxes of its port, or aside if there is none.
    fn put(&mut self, packet: Packet, len: usize) {
        if !std::mem::replace(&mut self.has_packets, true) {
            self.begin(Instant::now());
        }
        let mut is_claimed = false;
        for mailbox in self.mailboxes.iter_mut().filter(|mailbox| mailbox.port == packet.port) {
            if mailbox.queue.is_empty() {
                mailbox.signal.notify();
            }
            mailbox.queue.push_back(packet.clone());
            self.claimed_len += len;
            is_claimed = true;
        }
        if !is_claimed {
            self.unclaimed.push_back(packet);
            self.unclaimed_len += len;
        }
    }

    /// Drops what nobody received, the oldest.
    fn drop_oldest(&mut self) {
        if let Some(packet) = self.unclaimed.pop_front() {
            self.unclaimed_len -= packet.held_len();
            self.counts.unheard += 1;
        }
    }

    /// What is to be logged at the end, once.
    fn sum_up(&mut self, path: &Path) -> Option<Summary> {
        if std::mem::replace(&mut self.is_summed_up, true) {
            return None;
        }
        let mut counts = self.counts.clone();
        counts.unheard += self.unclaimed.len() as u64;
        Some(Summary { path: path.to_owned(), counts, is_over: self.end.is_some() })
    }
}

/// When a packet is due.
fn due(began: Instant, at: Duration) -> Instant {
    // A damaged file may claim any time. Such a packet does not wait.
    began.checked_add(at).unwrap_or(began)
}
