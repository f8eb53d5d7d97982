//! Replays a capture file.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ferrocal_proto::MAX_DATAGRAM_LEN;

use crate::backend::Backend;
use crate::drops::ReceiveDrops;
use crate::error::{MembershipError, OpenError, ReceiveError, SendError};
use crate::frame::{Decoder, IpReassemblyLimits, LinkType, SavedFrame, Savefile, each_datagram};
use crate::seam::{
    Datagram, Granted, Interrupt, Membership, Receiver, SendLimits, Sender, Transmit, Transport, Wait,
};
use crate::sync::{Signal, lock};

/// Replays a capture file (pcap or pcapng) at the pace it was captured. Needs no capture library.
///
/// Receives what was sent to any group. Discards what is sent.
#[derive(Debug)]
pub struct FileTransport {
    path: PathBuf,
}

impl FileTransport {
    /// Makes a transport that replays this file. Opens nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Transport for FileTransport {
    fn backend(&self) -> Backend {
        Backend::File
    }

    fn receiver(&self, port: u16) -> Result<Box<dyn Receiver>, OpenError> {
        Ok(Box::new(Replay {
            file: Savefile::open(&self.path).map_err(OpenError::File)?,
            decoder: Decoder::new(&[port], IpReassemblyLimits::default()),
            next: None,
            bytes: Vec::new(),
            began: None,
            signal: Arc::default(),
            drops: ReceiveDrops::default(),
            groups: Arc::default(),
        }))
    }

    fn sender(&self) -> Result<Arc<dyn Sender>, OpenError> {
        Ok(Arc::new(Discard))
    }
}

struct Replay {
    file: Savefile,
    decoder: Decoder,
    /// The next frame, if one was read.
    next: Option<Upcoming>,
    /// Its bytes.
    bytes: Vec<u8>,
    /// When the replay began, and the time of the first frame in the file.
    began: Option<(Instant, Duration)>,
    signal: Arc<Signal>,
    drops: ReceiveDrops,
    groups: Arc<Groups>,
}

struct Upcoming {
    dlt: i32,
    original_len: usize,
    time: Duration,
    due: Instant,
}

impl Replay {
    /// Reads the next frame.
    fn read(&mut self) -> Result<Upcoming, ReceiveError> {
        match self.file.next_frame() {
            Ok(Some(SavedFrame { dlt, bytes, original_len, time })) => {
                let time = time.unwrap_or_default();
                self.bytes.clear();
                self.bytes.extend_from_slice(bytes);
                let (began, first) = *self.began.get_or_insert((Instant::now(), time));
                // A damaged file may claim any time. Such a frame does not wait.
                let due = began.checked_add(time.saturating_sub(first)).unwrap_or(began);
                Ok(Upcoming { dlt, original_len, time, due })
            }
            Ok(None) => Err(ReceiveError::EndOfFile(None)),
            Err(error) => Err(ReceiveError::EndOfFile(Some(error))),
        }
    }
}

impl Receiver for Replay {
    fn recv(&mut self, wait: Wait, sink: &mut dyn FnMut(Datagram<'_>)) -> Result<(), ReceiveError> {
        let deadline = Instant::now().checked_add(wait.timeout);
        loop {
            if self.signal.is_interrupted() {
                return Ok(());
            }
            let frame = match self.next.take() {
                Some(frame) => frame,
                None => self.read()?,
            };
            let now = Instant::now();
            if frame.due > now {
                let until = deadline.map_or(frame.due, |deadline| deadline.min(frame.due));
                let is_due = until == frame.due;
                self.next = Some(frame);
                self.signal.wait_until(Some(until));
                if !is_due {
                    return Ok(());
                }
                continue;
            }
            let Some(link) = LinkType::from_dlt(frame.dlt) else { continue };
            match self.decoder.decode(frame.time, link, &self.bytes, frame.original_len) {
                Ok(Some(udp)) => {
                    each_datagram(udp.payload, |bytes| {
                        sink(Datagram {
                            bytes,
                            memory: None,
                            segment_len: bytes.len(),
                            source: udp.source,
                            is_after_loss: false,
                            received: now,
                        });
                    });
                    return Ok(());
                }
                Ok(None) => {}
                Err(reason) => self.drops.frames.count(reason),
            }
            // Frames of other ports may be many.
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(());
            }
        }
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.signal.clone()
    }

    fn membership(&self) -> Arc<dyn Membership> {
        self.groups.clone()
    }

    fn drops(&self) -> ReceiveDrops {
        let mut drops = self.drops.clone();
        drops.frames.add(self.decoder.drops());
        drops
    }

    fn granted(&self) -> Granted {
        Granted { backend: Backend::File, receive_buffer_len: 0, joins_segments: false }
    }
}

#[derive(Default)]
struct Groups(Mutex<BTreeSet<Ipv4Addr>>);

impl Membership for Groups {
    fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        if lock(&self.0).insert(group) { Ok(()) } else { Err(MembershipError::AlreadyJoined(group)) }
    }

    fn leave(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        if lock(&self.0).remove(&group) { Ok(()) } else { Err(MembershipError::NotJoined(group)) }
    }
}

/// The sender of a replay, which discards everything.
struct Discard;

impl Sender for Discard {
    fn limits(&self) -> SendLimits {
        SendLimits { max_datagram_len: MAX_DATAGRAM_LEN, segment_len: None, receive_buffer_len: None }
    }

    fn send(&self, _: &[Transmit<'_>]) -> Result<(), SendError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::thread;

    use super::*;

    fn receiver() -> Box<dyn Receiver> {
        let file = "../integration-tests/captures/ecal-6.1.1-network-small.pcap";
        let transport = FileTransport::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
        transport.receiver(14_002).expect("the file can be read")
    }

    #[test]
    fn everything_in_the_file_is_received() {
        let (mut receiver, mut count) = (receiver(), 0);
        let end = loop {
            if let Err(error) = receiver.recv(Wait::sleep(Duration::MAX), &mut |_| count += 1) {
                break error;
            }
        };
        assert!(matches!(end, ReceiveError::EndOfFile(None)), "{end}");
        assert_eq!(count, 10);
    }

    #[test]
    fn a_timeout_returns() {
        let mut receiver = receiver();
        // The file holds more than this many frames, and each call reads one at least.
        let count = (0..5)
            .map(|_| {
                let mut count = 0;
                receiver.recv(Wait::sleep(Duration::ZERO), &mut |_| count += 1).expect("the file goes on");
                count
            })
            .sum::<usize>();
        assert!(count <= 5);
    }

    #[test]
    fn an_interrupt_ends_the_present_and_every_later_wait() {
        let mut receiver = receiver();
        let interrupter = receiver.interrupter();
        let receiving = thread::spawn(move || {
            let mut count = 0;
            while count < 1 {
                receiver.recv(Wait::sleep(Duration::MAX), &mut |_| count += 1).expect("the file goes on");
            }
            receiver
        });
        let mut receiver = receiving.join().expect("a datagram comes");
        interrupter.interrupt();
        for _ in 0..100 {
            let result = receiver.recv(Wait::sleep(Duration::MAX), &mut |_| panic!("it was interrupted"));
            result.expect("the end of the file is not reached");
        }
    }
}
