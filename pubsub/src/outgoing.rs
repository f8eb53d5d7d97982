//! From messages to datagrams that are sent.

use std::net::SocketAddrV4;

use ferrocal_proto::{Datagram, Fragments, HEADER_LEN, MAX_DATAGRAM_LEN};
use ferrocal_transport::{SendError, SendHalf, SendLimits, Transmit};

use crate::node::Shared;
use crate::pacing::{Pacer, Receivers, Spread};

/// A header and a byte: what a transport of the program's own can send at the least.
const MIN_DATAGRAM_LEN: usize = HEADER_LEN + 1;

/// Datagrams handed to the transport in one call.
const SEND_BATCH: usize = 64;

/// A single datagram up to this length is short, and not spread over time: the shorter it is, the more of sending it is
/// the system call, which tells nothing of receiving.
const SHORT_LEN: usize = MAX_DATAGRAM_LEN / 2;

/// Bytes sent at once when there is a limit on how fast that may be.
const PACED_BYTES: usize = 64 * 1024;

/// How a message is sent.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) sender: &'a dyn SendHalf,
    /// In datagrams so short that they are sent in runs, where the transport can do that.
    pub(crate) runs: bool,
    /// To receivers of which some take datagrams one by one.
    pub(crate) one_by_one: bool,
    /// The publisher's limit.
    pub(crate) pacer: Option<&'a Pacer>,
}

impl Shared {
    /// Sends a message, in as many datagrams as it takes. The message is the two parts behind each other.
    pub(crate) fn send(
        &self,
        destination: SocketAddrV4,
        message: [&[u8]; 2],
        way: Way<'_>,
    ) -> Result<(), SendError> {
        let mut datagrams = self.cut(message, way);
        if is_short(&datagrams, message)
            && let Some(Datagram { header, parts: [first, second] }) = datagrams.next()
        {
            return self.hand_over(&[Transmit { destination, parts: [&header, first, second] }], way, None);
        }
        self.send_long(destination, message, datagrams, way)
    }

    // Not a part of its caller: there, every short message would pay for the room on the stack that this one takes.
    #[inline(never)]
    fn send_long(
        &self,
        destination: SocketAddrV4,
        message: [&[u8]; 2],
        mut datagrams: Fragments<'_>,
        way: Way<'_>,
    ) -> Result<(), SendError> {
        let unlimited = self.pacer.is_none() && way.pacer.is_none();
        // Whole runs: the end of a batch cuts one off.
        let run_len = (MAX_DATAGRAM_LEN / Self::max_datagram_len(way)).clamp(1, SEND_BATCH);
        let batch_len = SEND_BATCH / run_len * run_len;
        let bursts = self.bursts.as_ref().filter(|_| unlimited);
        let receivers = match (way.one_by_one, run_len) {
            (true, _) => Receivers::OneByOne,
            (false, 1) => Receivers::Many,
            (false, _) => Receivers::Runs,
        };
        let spread = bursts.and_then(|bursts| bursts.begin(len(message), receivers));
        while datagrams.len() > 0 {
            let mut headers = [[0; HEADER_LEN]; SEND_BATCH];
            let mut bodies: [[&[u8]; 2]; SEND_BATCH] = [[&[]; 2]; SEND_BATCH];
            let mut count = 0;
            for ((header, body), datagram) in
                headers.iter_mut().zip(&mut bodies).take(batch_len).zip(&mut datagrams)
            {
                (*header, *body) = (datagram.header, datagram.parts);
                count += 1;
            }
            let batch: [Transmit<'_>; SEND_BATCH] = std::array::from_fn(|index| Transmit {
                destination,
                parts: [&headers[index], bodies[index][0], bodies[index][1]],
            });
            self.hand_over(&batch[..count], way, spread.as_ref())?;
        }
        Ok(())
    }

    /// Cuts a message into datagrams.
    pub(crate) fn cut<'m>(&self, message: [&'m [u8]; 2], way: Way<'_>) -> Fragments<'m> {
        let Ok(datagrams) = Fragments::new(fastrand::i32(..), message, Self::max_datagram_len(way)) else {
            unreachable!("callers bound the length of messages")
        };
        datagrams
    }

    fn max_datagram_len(way: Way<'_>) -> usize {
        let SendLimits { max_datagram_len, segment_len, .. } = way.sender.limits();
        segment_len.filter(|_| way.runs).unwrap_or(max_datagram_len).clamp(MIN_DATAGRAM_LEN, MAX_DATAGRAM_LEN)
    }

    fn hand_over(
        &self,
        mut batch: &[Transmit<'_>],
        way: Way<'_>,
        spread: Option<&Spread<'_>>,
    ) -> Result<(), SendError> {
        let pacers = [self.pacer.as_ref(), way.pacer];
        if pacers.iter().all(Option::is_none) && spread.is_none() {
            return way.sender.send(batch);
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
            let send = || way.sender.send(now);
            spread.map_or_else(send, |spread| spread.send(len, send))?;
        }
        Ok(())
    }
}

/// Whether a message is a single datagram and short.
pub(crate) fn is_short(datagrams: &Fragments<'_>, message: [&[u8]; 2]) -> bool {
    datagrams.len() == 1 && len(message) <= SHORT_LEN
}

fn len(message: [&[u8]; 2]) -> usize {
    message.iter().map(|part| part.len()).sum()
}

/// Datagrams that are to be sent together, each of them a message.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// They stand behind each other.
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    /// So that few small messages do not wait for many large ones.
    const FULL_BYTES: usize = 64 * 1024;

    pub(crate) fn is_full(&self) -> bool {
        self.ends.len() == SEND_BATCH || self.bytes.len() >= Self::FULL_BYTES
    }

    pub(crate) fn push(&mut self, datagram: &Datagram<'_>) {
        self.bytes.extend_from_slice(&datagram.header);
        for part in datagram.parts {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len());
    }

    /// Sends what is in it and empties it.
    pub(crate) fn send(
        &mut self,
        shared: &Shared,
        destination: SocketAddrV4,
        way: Way<'_>,
    ) -> Result<(), SendError> {
        let mut batch = [Transmit { destination, parts: [&[]; 3] }; SEND_BATCH];
        let mut start = 0;
        for (transmit, &end) in batch.iter_mut().zip(&self.ends) {
            transmit.parts[0] = &self.bytes[start..end];
            start = end;
        }
        let result = shared.hand_over(&batch[..self.ends.len()], way, None);
        self.bytes.clear();
        self.ends.clear();
        result
    }
}
