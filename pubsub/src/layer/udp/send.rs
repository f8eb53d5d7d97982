//! Sends datagrams at the rate that receivers and limits allow.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::{io, iter};

use ferrocal_proto::{HEADER_LEN, Header, Kind, MAX_DATAGRAM_LEN, PayloadSample};
use ferrocal_transport::{ReceiveQueues, SendError, SendLimits, Sender, Transmit};

use super::pacing::Pacer;
use super::window::Window;
use crate::Config;
use crate::layer::{News, Written};
use crate::outage::Outage;
use crate::wire::{MIN_DATAGRAM_LEN, SEND_BATCH, cut, send_batches};

/// A single datagram up to this length is short, and not paced: the shorter it is, the more of sending it is the system
/// call, which says nothing about receiving.
const SHORT_LEN: usize = MAX_DATAGRAM_LEN / 2;

/// Bytes sent at once when there is a limit on how fast that may be.
const PACED_BYTES: usize = 64 * 1024;

/// What all writers of a node send through.
pub(super) struct Outbound {
    sender: Arc<dyn Sender>,
    /// How full the receive buffers of this host are, if the system shows that.
    queues: Option<Mutex<ReceiveQueues>>,
    /// The node's limit.
    pacer: Option<Pacer>,
    /// Writers that cannot send at present: when there are some already, one more is no news.
    failing: AtomicUsize,
}

/// How a message is sent.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) destination: SocketAddrV4,
    /// In bytes. It may be so short that the system cuts datagrams from one long buffer, if it can.
    pub(super) max_datagram_len: usize,
    /// The publisher's limit.
    pub(super) pacer: Option<&'a Pacer>,
}

impl Outbound {
    pub(super) fn new(sender: Arc<dyn Sender>, config: &Config) -> Self {
        Self {
            queues: ReceiveQueues::new().ok().map(Mutex::new),
            sender,
            pacer: config.max_bytes_per_second.map(Pacer::new),
            failing: AtomicUsize::new(0),
        }
    }

    /// The longest datagram of a message in bytes, if it is sent in such short ones as the system cuts or not.
    pub(super) fn max_datagram_len(&self, segments: bool) -> usize {
        let SendLimits { max_datagram_len, segment_len, .. } = self.sender.limits();
        let len = segment_len.filter(|_| segments).unwrap_or(max_datagram_len);
        len.clamp(MIN_DATAGRAM_LEN, MAX_DATAGRAM_LEN)
    }

    /// The receive buffer in bytes that this system grants; `None` if nothing can overflow.
    pub(super) fn receive_buffer_len(&self) -> Option<usize> {
        self.sender.limits().receive_buffer_len
    }

    /// Sends a batch of short datagrams.
    pub(super) fn send_short(&self, batch: &[Transmit<'_>], plan: Plan<'_>) -> Result<(), SendError> {
        self.send_paced(batch, plan, None)
    }

    /// Sends a message of two parts that is not short. `window` keeps it from overrunning its receivers, unless there is
    /// a limit that does.
    pub(super) fn send_long(
        &self,
        message: [&[u8]; 2],
        plan: Plan<'_>,
        window: Option<&mut Window>,
    ) -> Result<(), SendError> {
        let is_unlimited = self.pacer.is_none() && plan.pacer.is_none();
        // Whole segmented buffers: the end of a batch cuts one off.
        let segments = (MAX_DATAGRAM_LEN / plan.max_datagram_len).clamp(1, SEND_BATCH);
        let batch_len = SEND_BATCH / segments * segments;
        let mut window = window.filter(|_| is_unlimited);
        let len = message.iter().map(|part| part.len()).sum();
        let mut datagrams = cut(message, plan.max_datagram_len);
        send_batches(&mut datagrams, plan.destination, batch_len, |batch| {
            self.send_paced(batch, plan, window.as_deref_mut().map(|window| (window, len)))
        })
    }

    fn send_paced(
        &self,
        mut batch: &[Transmit<'_>],
        plan: Plan<'_>,
        mut window: Option<(&mut Window, usize)>,
    ) -> Result<(), SendError> {
        let pacers = [self.pacer.as_ref(), plan.pacer];
        if pacers.iter().all(Option::is_none) && window.is_none() {
            return self.sender.send(batch);
        }
        while !batch.is_empty() {
            let mut len = 0;
            let fits = |datagram: &&Transmit<'_>| {
                len += datagram.len();
                len <= PACED_BYTES
            };
            let now;
            (now, batch) = batch.split_at(batch.iter().take_while(fits).count().max(1));
            let len = now.iter().map(Transmit::len).sum();
            for pacer in pacers.into_iter().flatten() {
                pacer.wait(len);
            }
            if let Some((window, message_len)) = &mut window {
                window.wait(len, *message_len, self.queues.as_ref());
            }
            self.sender.send(now)?;
        }
        Ok(())
    }

    /// Takes the result of sending messages for what it means: that the network cannot be reached at present is no error.
    /// It is counted, and is news the first time. `outage` is the writer's.
    ///
    /// # Errors
    /// Any other error.
    pub(super) fn tolerate(
        &self,
        result: Result<(), SendError>,
        messages: u64,
        outage: &mut Outage,
        written: &mut Written,
    ) -> Result<(), SendError> {
        match result {
            Ok(()) => {
                if outage.worked() && self.leave_outage() {
                    written.news = Some(News::ReachableAgain);
                }
                Ok(())
            }
            Err(error) if is_network_trouble(&error.source) => {
                let sent = if messages > 1 { error.sent as u64 } else { 0 };
                written.not_sent += messages.saturating_sub(sent);
                if outage.failed() && self.failing.fetch_add(1, Ordering::Relaxed) == 0 {
                    written.news = Some(News::Unreachable(error));
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// One writer less cannot send. Returns whether it was the last.
    pub(super) fn leave_outage(&self) -> bool {
        self.failing.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

/// The header of a message of `len` bytes, if that is a single datagram and short.
pub(super) fn short_header(len: usize, plan: Plan<'_>) -> Option<[u8; HEADER_LEN]> {
    let is_short = len <= SHORT_LEN && HEADER_LEN + len <= plan.max_datagram_len;
    is_short.then(|| whole(len))
}

/// The header of a message of `len` bytes that is a single datagram.
fn whole(len: usize) -> [u8; HEADER_LEN] {
    Header { kind: Kind::Whole, id: -1, num: 1, len: len as u32 }.encode()
}

/// Whether the network is the reason: it cannot be reached at present, its routes or firewall prohibit it, or it has no
/// room. The system reports that in many ways. A datagram by itself can only be too long.
fn is_network_trouble(error: &io::Error) -> bool {
    /// `EMSGSIZE`, which has no kind of its own: of Linux, of the BSD family and of Windows.
    const TOO_LONG: [i32; 3] = [90, 40, 10_040];
    const TOO_LONG_HERE: i32 = TOO_LONG[if cfg!(windows) { 2 } else { !cfg!(target_os = "linux") as usize }];
    match error.raw_os_error() {
        Some(code) => code != TOO_LONG_HERE,
        None => matches!(
            error.kind(),
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkDown
        ),
    }
}

/// Datagrams that are to be sent together, each of them a message.
#[derive(Debug, Default)]
pub(super) struct ShortBatch {
    /// They are consecutive.
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl ShortBatch {
    /// So that a few small messages do not wait for many large ones.
    const FULL_BYTES: usize = 64 * 1024;

    pub(super) fn is_full(&self) -> bool {
        self.ends.len() == SEND_BATCH || self.bytes.len() >= Self::FULL_BYTES
    }

    /// Adds the message with that content. `head` is what is before it.
    pub(super) fn push(&mut self, head: &[u8], content: &PayloadSample<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEADER_LEN]);
        let message_start = self.bytes.len();
        self.bytes.extend_from_slice(head);
        content.encode_content(&mut self.bytes);
        self.bytes.extend_from_slice(content.payload);
        let header = whole(self.bytes.len() - message_start);
        self.bytes[start..message_start].copy_from_slice(&header);
        self.ends.push(self.bytes.len());
    }

    /// Sends what is in it and empties it.
    pub(super) fn flush(
        &mut self,
        outbound: &Outbound,
        plan: Plan<'_>,
        outage: &mut Outage,
        written: &mut Written,
    ) -> Result<(), SendError> {
        if self.ends.is_empty() {
            return Ok(());
        }
        let messages = self.ends.len() as u64;
        let result = self.send(outbound, plan);
        self.bytes.clear();
        self.ends.clear();
        outbound.tolerate(result, messages, outage, written)
    }

    // Not inlined: there, every single message would pay for the stack that this takes.
    #[inline(never)]
    fn send(&self, outbound: &Outbound, plan: Plan<'_>) -> Result<(), SendError> {
        let mut batch = [Transmit { destination: plan.destination, parts: [&[]; 3] }; SEND_BATCH];
        let starts = iter::once(&0).chain(&self.ends);
        for ((transmit, &start), &end) in batch.iter_mut().zip(starts).zip(&self.ends) {
            transmit.parts[0] = &self.bytes[start..end];
        }
        outbound.send_short(&batch[..self.ends.len()], plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn all_that_the_system_refuses_is_trouble_but_a_datagram_that_is_too_long() {
        for (code, is_trouble) in [
            (101, true), // ENETUNREACH
            (113, true), // EHOSTUNREACH
            (100, true), // ENETDOWN
            (105, true), // ENOBUFS
            (13, true),  // EACCES: a route that prohibits
            (1, true),   // EPERM: a firewall
            (22, true),  // EINVAL: a black hole, or an address that is gone
            (19, true),  // ENODEV: an interface that is gone
            (90, false), // EMSGSIZE
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(is_network_trouble(&error), is_trouble, "{error}");
        }
        assert!(is_network_trouble(&io::ErrorKind::NetworkDown.into()));
        assert!(
            !is_network_trouble(&io::ErrorKind::InvalidInput.into()),
            "a backend of ours found it too long"
        );
    }
}
