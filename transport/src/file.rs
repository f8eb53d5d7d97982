//! Replays a capture file.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::frame::{Decoder, LinkType, SavedFrame, Savefile, each_datagram};
use crate::{
    Backend, Datagram, IpReassemblyLimits, MAX_DATAGRAM_LEN, Membership, MembershipError, OpenError,
    ReceiveDrops, ReceiveError, ReceiveHalf, SendError, SendHalf, SendLimits, Transmit, Transport,
};

/// Replays a capture file (pcap or pcapng) at the pace it was captured; needs no capture library.
///
/// What was sent to any group is received. What is sent goes nowhere.
#[derive(Debug)]
pub struct FileTransport {
    path: PathBuf,
}

impl FileTransport {
    /// A transport that replays this file; nothing is opened yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Transport for FileTransport {
    fn backend(&self) -> Backend {
        Backend::File
    }

    fn open(&self, ports: &[u16]) -> Result<Box<dyn ReceiveHalf>, OpenError> {
        Ok(Box::new(Replay {
            file: Savefile::open(&self.path).map_err(OpenError::File)?,
            decoder: Decoder::new(ports, IpReassemblyLimits::default()),
            next: None,
            bytes: Vec::new(),
            began: None,
            due: Box::pin(tokio::time::sleep(Duration::ZERO)),
            drops: ReceiveDrops::default(),
            groups: Arc::default(),
        }))
    }

    fn sender(&self) -> Result<Arc<dyn SendHalf>, OpenError> {
        Ok(Arc::new(Nowhere))
    }
}

struct Replay {
    file: Savefile,
    decoder: Decoder,
    /// The next frame, if one was read.
    next: Option<Waiting>,
    /// Its bytes.
    bytes: Vec<u8>,
    /// When the replay began, and the time of the first frame in the file.
    began: Option<(Instant, Duration)>,
    due: Pin<Box<Sleep>>,
    drops: ReceiveDrops,
    groups: Arc<Groups>,
}

struct Waiting {
    dlt: i32,
    original_len: usize,
    time: Duration,
}

impl ReceiveHalf for Replay {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Datagram<'_>),
    ) -> Poll<Result<(), ReceiveError>> {
        loop {
            let frame = match self.next.take() {
                Some(frame) => frame,
                None => match self.file.next_frame() {
                    Ok(Some(SavedFrame { dlt, bytes, original_len, time })) => {
                        self.bytes.clear();
                        self.bytes.extend_from_slice(bytes);
                        let (began, first) = *self.began.get_or_insert((Instant::now(), time));
                        // A damaged file may claim any time; such a frame does not wait.
                        let due = began.checked_add(time.saturating_sub(first)).unwrap_or(began);
                        self.due.as_mut().reset(due.into());
                        Waiting { dlt, original_len, time }
                    }
                    Ok(None) => return Poll::Ready(Err(ReceiveError::EndOfFile(None))),
                    Err(error) => return Poll::Ready(Err(ReceiveError::EndOfFile(Some(error)))),
                },
            };
            if self.due.as_mut().poll(cx).is_pending() {
                self.next = Some(frame);
                return Poll::Pending;
            }
            let Some(link) = LinkType::from_dlt(frame.dlt) else { continue };
            match self.decoder.decode(frame.time, link, &self.bytes, frame.original_len) {
                Ok(Some(udp)) => {
                    each_datagram(udp.payload, |bytes| {
                        sink(Datagram {
                            bytes,
                            memory: None,
                            segment_len: bytes.len(),
                            is_after_loss: false,
                            source: udp.source,
                            destination: udp.destination,
                            received: Instant::now(),
                        });
                    });
                    return Poll::Ready(Ok(()));
                }
                Ok(None) => {}
                Err(reason) => self.drops.frames.count(reason),
            }
        }
    }

    fn membership(&self) -> Arc<dyn Membership> {
        self.groups.clone()
    }

    fn drops(&self) -> ReceiveDrops {
        self.drops.clone()
    }

    fn receive_buffer_len(&self) -> usize {
        0
    }
}

#[derive(Default)]
struct Groups(Mutex<HashSet<Ipv4Addr>>);

impl Membership for Groups {
    fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        let new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(group);
        if new { Ok(()) } else { Err(MembershipError::AlreadyJoined(group)) }
    }

    fn leave(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&group);
        if known { Ok(()) } else { Err(MembershipError::NotJoined(group)) }
    }
}

/// Where what is sent during a replay goes.
struct Nowhere;

impl SendHalf for Nowhere {
    fn limits(&self) -> SendLimits {
        SendLimits { max_datagram_len: MAX_DATAGRAM_LEN, segment_len: None, receive_buffer_len: None }
    }

    fn send(&self, _: &[Transmit<'_>]) -> Result<(), SendError> {
        Ok(())
    }
}
