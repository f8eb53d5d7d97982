//! Receives registrations, and refreshes this node's own between them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ferrocal_proto::{Limits, MAX_REGISTRATION_LEN, Registration};
use ferrocal_transport::{Interrupt, Receiver, Wait};

use super::Registry;
use super::host_board::{HostBoard, Look};
use super::outcome::{Changed, keep_once};
use crate::lock;
use crate::source::{Flow, Ready, Source};
use crate::wire::{Failures, Intake};
use crate::{AllowConfig, Config};

/// So many bytes may wait at a receiver that has no buffer in the kernel, or a small one.
const MIN_WAITING: usize = 1 << 20;
/// What a datagram takes in the kernel's buffer beyond its bytes, at least: 768 bytes for an empty one on Linux 6.18.
const OVERHEAD: usize = 512;
/// What has changed is announced so often at most, as others decide how often it does.
const ANSWER_EVERY: Duration = Duration::from_millis(20);

/// Reads the port of registrations, one batch a call.
pub(crate) struct RegistrationReceiver {
    registry: Arc<Registry>,
    receiver: Box<dyn Receiver>,
    intake: Intake,
    allow: AllowConfig,
    failures: Failures,
    next_refresh: Instant,
    /// What is to be announced, and when.
    changed: Changed,
    next_answer: Instant,
    /// Whether nothing can be received any more.
    has_ended: bool,
}

impl RegistrationReceiver {
    pub(crate) fn new(registry: Arc<Registry>, receiver: Box<dyn Receiver>, config: &Config) -> Self {
        let limits = Limits { max_message_len: MAX_REGISTRATION_LEN, ..config.limits.reassembly };
        let intake = Intake::new(config.allow.clone(), limits);
        intake.report(&registry.report, &*receiver);
        Self {
            registry,
            receiver,
            intake,
            allow: config.allow.clone(),
            failures: Failures::default(),
            next_refresh: Instant::now(),
            changed: Changed::new(),
            next_answer: Instant::now(),
            has_ended: false,
        }
    }

    /// Reads one batch: how many bytes it had, and how to go on.
    fn read(&mut self, timeout: Duration) -> (usize, Flow) {
        let Self { registry, receiver, intake, allow, failures, changed, .. } = self;
        let mut bytes = 0;
        let result = receiver.recv(Wait::sleep(timeout), &mut |datagram| {
            bytes += datagram.bytes.len() + OVERHEAD;
            let (now, source) = (datagram.received, datagram.source);
            let refused = intake.each_message(datagram, |message| {
                let registration = Registration::decode(message.as_slice())?;
                allow.check_host(registration.announcement.host_name())?;
                changed.extend(registry.registered(now, source, registration)?);
                Ok(())
            });
            if let Some(reason) = refused {
                registry.report_refused(source, reason);
            }
        });
        keep_once(changed);
        let now = Instant::now();
        if !changed.is_empty() && now >= self.next_answer && now < self.next_refresh {
            registry.answer(std::mem::take(changed));
            self.next_answer = now + ANSWER_EVERY;
        }
        intake.expire(now);
        intake.report(&registry.report, &**receiver);
        (bytes, failures.after(result))
    }
}

impl Source for RegistrationReceiver {
    /// Waits until the next refresh is due at most, and refreshes when it is.
    fn receive(&mut self, _: &mut Ready) -> Flow {
        let now = Instant::now();
        let left = self.next_refresh.saturating_duration_since(now);
        if !left.is_zero() {
            let left = if self.changed.is_empty() {
                left
            } else {
                left.min(self.next_answer.saturating_duration_since(now))
            };
            if self.has_ended {
                return Flow::Pause(left);
            }
            return match self.read(left).1 {
                Flow::Pause(time) => Flow::Pause(time.min(left)),
                Flow::End => {
                    // This node's own registrations go on.
                    self.has_ended = true;
                    Flow::Continue
                }
                Flow::Continue => Flow::Continue,
            };
        }
        // A peer must not expire while its registration waits in the socket. No more than the socket holds can be
        // waiting; what comes meanwhile does not keep this from ending.
        let waiting = self.receiver.granted().receive_buffer_len.max(MIN_WAITING);
        let mut read = 0;
        while !self.has_ended && read < waiting {
            match self.read(Duration::ZERO) {
                (bytes, Flow::Continue) if bytes > 0 => read += bytes,
                _ => break,
            }
        }
        let now = Instant::now();
        self.registry.refresh(now);
        // After a late refresh, the next one is not early.
        self.next_refresh = now + self.registry.refresh;
        Flow::Continue
    }
}

/// How often registrations in shared memory are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What was posted before this node opened, and not repeated since, is of somebody who is gone.
const LOOK_BACK: Duration = Duration::from_secs(3);

/// Reads registrations through shared memory.
pub(crate) struct BoardReceiver {
    registry: Arc<Registry>,
    board: Arc<HostBoard>,
    look: Look,
    allow: AllowConfig,
    stop: Arc<Stop>,
    next_refresh: Instant,
}

impl BoardReceiver {
    /// With what ends its waiting.
    pub(crate) fn new(
        registry: Arc<Registry>,
        board: Arc<HostBoard>,
        config: &Config,
    ) -> (Self, Arc<dyn Interrupt>) {
        let stop = Arc::new(Stop::default());
        let look = Look::since(LOOK_BACK);
        let allow = config.allow.clone();
        (Self { registry, board, look, allow, stop: stop.clone(), next_refresh: Instant::now() }, stop)
    }

    fn read(&mut self) {
        let Self { registry, board, look, allow, .. } = self;
        let source = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let mut changed = Changed::new();
        let result = board.look(look, |registration| {
            let registered = registration.and_then(|registration| {
                allow.check_host(registration.announcement.host_name())?;
                // A look may wait for locks that others hold.
                registry.registered(Instant::now(), source, registration)
            });
            match registered {
                Ok(entities) => changed.extend(entities),
                Err(reason) => lock(&registry.report).protocol.count(reason),
            }
        });
        if let Err(error) = result {
            log::debug!("registrations in shared memory cannot be read at present: {error}");
        }
        keep_once(&mut changed);
        registry.answer(changed);
    }
}

impl Source for BoardReceiver {
    fn receive(&mut self, _: &mut Ready) -> Flow {
        let left = self.next_refresh.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            self.stop.wait(left.min(LOOK_EVERY));
        }
        // Before anything expires.
        self.read();
        let now = Instant::now();
        if now >= self.next_refresh {
            self.registry.refresh(now);
            self.next_refresh = now + self.registry.refresh;
        }
        Flow::Continue
    }
}

#[derive(Default)]
struct Stop {
    is_set: Mutex<bool>,
    set: Condvar,
}

impl Stop {
    fn wait(&self, timeout: Duration) {
        let is_set = lock(&self.is_set);
        let waited = self.set.wait_timeout_while(is_set, timeout, |is_set| !*is_set);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Interrupt for Stop {
    fn interrupt(&self) {
        *lock(&self.is_set) = true;
        self.set.notify_all();
    }
}
