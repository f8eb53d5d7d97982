//! The receiver: captures, whose frames are decoded and filtered as a socket would.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::captures::Captures;
use super::tap::{Source, Waiter};
use crate::backend::Backend;
use crate::config::{Config, Mode};
use crate::drops::ReceiveDrops;
use crate::error::{OpenError, ReceiveError};
use crate::frame::{Decoder, each_datagram};
use crate::membership::{Follower, Groups};
use crate::raw::recent::Recent;
use crate::raw::wanted::Wanted;
use crate::seam::{self, Datagram, Granted, Interrupt, Membership, Wait};

/// How often losses are read from the kernel and incomplete packets expire.
const TIDY_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Receiver {
    receive_buffer_len: usize,
    captures: Arc<Captures>,
    decoder: Decoder,
    recent: Recent,
    drops: ReceiveDrops,
    start: Instant,
    tidied: Instant,
    /// Scratch space.
    sources: Vec<Source>,
    _follower: Arc<Follower>,
}

impl Receiver {
    pub(super) fn open(
        config: &Config,
        loopback: bool,
        port: u16,
        follower: &Arc<Follower>,
    ) -> Result<Self, OpenError> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
            .map_err(OpenError::socket("socket"))?;
        let groups = Groups::new(Arc::new(UdpSocket::from(socket)), config.mode, follower.refusals());
        let waiter = Arc::new(Waiter::new().map_err(OpenError::socket("pipe"))?);
        let wanted = Wanted { port, groups: BTreeSet::new(), mode: config.mode, loopback: config.loopback };
        let captures = Arc::new(Captures::new(config, loopback, groups, wanted, waiter));
        let failure = captures.update(&follower.look());
        if let Some(source) = failure.filter(|_| !captures.is_useful(config.mode == Mode::Local)) {
            return Err(OpenError::Capture(source));
        }
        follower.add(&captures);
        let start = Instant::now();
        Ok(Self {
            receive_buffer_len: config.receive_buffer_len,
            captures,
            decoder: Decoder::new(&[port], config.ip_reassembly),
            recent: Recent::new(),
            drops: ReceiveDrops::default(),
            start,
            tidied: start,
            sources: Vec::new(),
            _follower: follower.clone(),
        })
    }

    /// Passes on the datagrams of one batch of frames. Returns whether there were frames.
    fn read(&mut self, sink: &mut dyn FnMut(Datagram<'_>)) -> Result<bool, ReceiveError> {
        let Self { captures, decoder, recent, drops, start, .. } = self;
        let received = Instant::now();
        let now = received.duration_since(*start);
        captures.read(&mut |frame, wanted, are_several| {
            let interface = frame.interface;
            let udp = match decoder.decode(now, frame.link, frame.bytes, frame.original_len) {
                Ok(Some(udp)) => udp,
                Ok(None) => return,
                Err(reason) => return drops.frames.count(reason),
            };
            if !wanted.accepts(interface, &udp, drops) {
                return;
            }
            if are_several && recent.seen_elsewhere(now, interface.index, &udp) {
                drops.seen_twice += 1;
                return;
            }
            each_datagram(udp.payload, |bytes| {
                sink(Datagram {
                    bytes,
                    memory: None,
                    segment_len: bytes.len(),
                    source: udp.source,
                    is_after_loss: false,
                    received,
                });
            });
        })
    }

    fn tidy(&mut self) {
        if self.tidied.elapsed() >= TIDY_EVERY {
            self.tidied = Instant::now();
            self.decoder.expire(self.start.elapsed());
            self.drops.buffer_full = self.captures.lost();
        }
    }
}

impl seam::Receiver for Receiver {
    fn recv(&mut self, wait: Wait, sink: &mut dyn FnMut(Datagram<'_>)) -> Result<(), ReceiveError> {
        let waiter = self.captures.waiter.clone();
        if waiter.is_interrupted() {
            return Ok(());
        }
        self.tidy();
        if !self.read(sink)? && !wait.timeout.is_zero() {
            self.sources.clear();
            self.captures.sources(&mut self.sources);
            waiter.wait(&mut self.sources, wait.timeout);
            if !waiter.is_interrupted() {
                self.read(sink)?;
            }
        }
        Ok(())
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.captures.waiter.clone()
    }

    fn membership(&self) -> Arc<dyn Membership> {
        self.captures.clone()
    }

    fn drops(&self) -> ReceiveDrops {
        let mut drops = self.drops.clone();
        drops.frames.add(self.decoder.drops());
        drops
    }

    fn granted(&self) -> Granted {
        Granted {
            backend: Backend::Npcap,
            receive_buffer_len: self.receive_buffer_len,
            joins_segments: false,
        }
    }
}
