//! Replays a capture file.

mod player;
mod reader;
mod summary;
mod timeline;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ferrocal_proto::MAX_DATAGRAM_LEN;

use crate::backend::Backend;
use crate::drops::ReceiveDrops;
use crate::error::{MembershipError, OpenError, ReceiveError, SavefileError, SendError};
use crate::seam::{
    Datagram, Granted, Interrupt, Membership, Receiver, SendLimits, Sender, Transmit, Transport, Wait,
};
use crate::sync::{Signal, lock};
use player::{Next, Packet, Player};
use reader::{Read, Reader};
use summary::{Counts, Summary};

/// Replays a capture file (pcap or pcapng, or either in gzip). Needs no capture library.
///
/// Receives what was sent to any group, and discards what is sent. Reads frames of Ethernet, loopback, Linux's `any`,
/// raw IPv4, and Wi-Fi that is not encrypted, with radiotap or PPI in front of them.
///
/// # Pace
/// Each datagram is received when as much time has passed since the beginning as in the capture. Pauses of more than 10 s
/// are shortened to 10 s. A frame without a time is played with the one behind it.
///
/// # Receivers
/// All receivers share one replay. It begins when the first of them receives, and the file is opened and read once. A
/// receiver that is opened later first receives what has been played to its port before; at most 32 MiB are held for it.
/// When all of them are dropped, the next one begins a new replay.
///
/// # Pipes and files that grow
/// The path may be that of a pipe, and `-` is standard input. Then the program that writes sets the pace as well:
/// `tcpdump -U -w - udp | PROGRAM` shows what is captured at that moment. The replay of a file ends where the file ends when
/// it is read. `tail -c +1 -f FILE | PROGRAM` follows a file that is still being written.
///
/// # Log
/// At the end, or when the last receiver is dropped before it, one line at the level `info` says what was played, and what
/// was skipped and why; it is a warning if nothing was played. There is a warning for each link type that is not supported,
/// and one if frames were cut when they were captured.
#[derive(Debug)]
pub struct FileTransport {
    path: PathBuf,
    is_fast: bool,
    is_quiet: bool,
    player: Mutex<Option<Arc<Player>>>,
}

impl FileTransport {
    /// Makes a transport that replays this file at the pace at which it was captured. Opens nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, is_fast: false, is_quiet: false, player: Mutex::default() }
    }

    /// Makes a transport that replays this file as fast as its receivers take it. Opens nothing yet.
    pub fn fast(path: PathBuf) -> Self {
        Self { is_fast: true, ..Self::new(path) }
    }

    /// Has [`each_datagram`](Self::each_datagram) log nothing, for a file that is read more than once.
    #[must_use]
    pub fn quiet(self) -> Self {
        Self { is_quiet: true, ..self }
    }

    /// Passes all datagrams of the file to `sink`, with the ports that they were sent to and the times at which they were
    /// captured, since the Unix epoch (`None` if the file does not say), as fast as it takes them. Blocks until the end of
    /// the file.
    ///
    /// # Errors
    /// If the file cannot be read, or not further. What comes before was passed on.
    pub fn each_datagram(
        &self,
        sink: &mut dyn FnMut(u16, Option<Duration>, Datagram<'_>),
    ) -> Result<(), SavefileError> {
        let mut reader = Reader::open(&self.path)?;
        let mut counts = Counts::default();
        let result = loop {
            let frame = reader.read(|Read { port, source, captured, bytes }| {
                counts.played += 1;
                sink(port, captured, datagram(bytes, source, Instant::now()));
            });
            match frame {
                Ok(Some(frame)) => reader.count(frame, &mut counts),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if !self.is_quiet {
            Summary { path: self.path.clone(), counts, is_over: true }.log();
        }
        result
    }
}

impl Transport for FileTransport {
    fn backend(&self) -> Backend {
        Backend::File
    }

    fn receiver(&self, port: u16) -> Result<Box<dyn Receiver>, OpenError> {
        let mut current = lock(&self.player);
        let running = current.as_ref().and_then(|player| Some((player.clone(), player.open(port)?)));
        let (player, (id, signal)) = match running {
            Some(running) => running,
            None => {
                let player = Player::start(&self.path, self.is_fast).map_err(OpenError::File)?;
                let opened = player.open(port).expect("a replay does not stop before its first receiver");
                *current = Some(player.clone());
                (player, opened)
            }
        };
        Ok(Box::new(Replay { player, id, signal, batch: Vec::new(), groups: Arc::default() }))
    }

    fn sender(&self) -> Result<Arc<dyn Sender>, OpenError> {
        Ok(Arc::new(Discard))
    }
}

/// A receiver of a replay.
struct Replay {
    player: Arc<Player>,
    id: u64,
    signal: Arc<Signal>,
    batch: Vec<Packet>,
    groups: Arc<Groups>,
}

impl Receiver for Replay {
    fn recv(&mut self, wait: Wait, sink: &mut dyn FnMut(Datagram<'_>)) -> Result<(), ReceiveError> {
        let deadline = Instant::now().checked_add(wait.timeout);
        loop {
            if self.signal.is_interrupted() {
                return Ok(());
            }
            let now = Instant::now();
            match self.player.take(self.id, now, &mut self.batch) {
                Next::Pass => {
                    for Packet { source, bytes, .. } in self.batch.drain(..) {
                        sink(datagram(&bytes, source, now));
                    }
                    return Ok(());
                }
                Next::Wait(_) if deadline.is_some_and(|deadline| deadline <= now) => return Ok(()),
                Next::Wait(until) => {
                    self.signal.wait_until(deadline.into_iter().chain(until).min());
                }
                Next::End(error) => return Err(ReceiveError::EndOfFile(error)),
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
        ReceiveDrops { frames: self.player.drops(self.id), ..ReceiveDrops::default() }
    }

    fn granted(&self) -> Granted {
        Granted { backend: Backend::File, receive_buffer_len: 0, joins_segments: false }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.player.close(self.id);
    }
}

fn datagram(bytes: &[u8], source: SocketAddrV4, received: Instant) -> Datagram<'_> {
    Datagram { bytes, memory: None, segment_len: bytes.len(), source, is_after_loss: false, received }
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
mod tests;
