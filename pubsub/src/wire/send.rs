//! From messages to datagrams.

use std::net::SocketAddrV4;
use std::sync::Arc;

use ferrocal_proto::{Fragments, HEADER_LEN, MAX_DATAGRAM_LEN};
use ferrocal_transport::{OpenError, SendError, SendLimits, Sender, Transmit, Transport};

use crate::Config;

/// A header and a byte: what a transport of the program's own can send at least.
pub(crate) const MIN_DATAGRAM_LEN: usize = HEADER_LEN + 1;

/// Datagrams passed to the transport in one call.
pub(crate) const SEND_BATCH: usize = 64;

/// Opens a sender that states the configured length of datagrams, if that is shorter than what the transport can send.
pub(crate) fn open_sender(transport: &dyn Transport, config: &Config) -> Result<Arc<dyn Sender>, OpenError> {
    let sender = transport.sender()?;
    let max_datagram_len = config.udp.max_datagram_len;
    if max_datagram_len >= sender.limits().max_datagram_len {
        return Ok(sender);
    }
    Ok(Arc::new(Shortened { sender, max_datagram_len }))
}

struct Shortened {
    sender: Arc<dyn Sender>,
    max_datagram_len: usize,
}

impl Sender for Shortened {
    fn limits(&self) -> SendLimits {
        let limits = self.sender.limits();
        SendLimits {
            max_datagram_len: self.max_datagram_len,
            segment_len: limits.segment_len.map(|len| len.min(self.max_datagram_len)),
            ..limits
        }
    }

    fn send(&self, batch: &[Transmit<'_>]) -> Result<(), SendError> {
        self.sender.send(batch)
    }
}

/// Cuts a message of two parts into datagrams of `max_len` bytes at most.
pub(crate) fn cut(message: [&[u8]; 2], max_len: usize) -> Fragments<'_> {
    let max_len = max_len.clamp(MIN_DATAGRAM_LEN, MAX_DATAGRAM_LEN);
    let Ok(datagrams) = Fragments::new(fastrand::i32(..), message, max_len) else {
        unreachable!("callers bound the length of messages")
    };
    datagrams
}

/// Sends a message at once.
pub(crate) fn send_message(
    sender: &dyn Sender,
    destination: SocketAddrV4,
    message: &[u8],
) -> Result<(), SendError> {
    let mut datagrams = cut([message, &[]], sender.limits().max_datagram_len);
    send_batches(&mut datagrams, destination, SEND_BATCH, |batch| sender.send(batch))
}

/// Passes datagrams to `send`, in batches of `batch_len` at most.
// Not inlined: there, every short message would pay for the stack that this takes.
#[inline(never)]
pub(crate) fn send_batches(
    datagrams: &mut Fragments<'_>,
    destination: SocketAddrV4,
    batch_len: usize,
    mut send: impl FnMut(&[Transmit<'_>]) -> Result<(), SendError>,
) -> Result<(), SendError> {
    while datagrams.len() > 0 {
        let mut headers = [[0; HEADER_LEN]; SEND_BATCH];
        let mut bodies: [[&[u8]; 2]; SEND_BATCH] = [[&[]; 2]; SEND_BATCH];
        let mut count = 0;
        for ((header, body), datagram) in
            headers.iter_mut().zip(&mut bodies).take(batch_len).zip(&mut *datagrams)
        {
            (*header, *body) = (datagram.header, datagram.parts);
            count += 1;
        }
        let batch: [Transmit<'_>; SEND_BATCH] = std::array::from_fn(|index| Transmit {
            destination,
            parts: [&headers[index], bodies[index][0], bodies[index][1]],
        });
        send(&batch[..count])?;
    }
    Ok(())
}
