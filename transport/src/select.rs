//! Picks the backend, tells why, and falls back.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use thiserror::Error;

use crate::{
    Backend, BlockingReceive, Config, Datagram, FileTransport, Membership, MembershipError, NpcapTransport,
    OpenError, RawFrames, ReceiveDrops, ReceiveError, ReceiveHalf, SendHalf, SocketTransport, Transport,
    Unavailable,
};

/// Which backend is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Selection {
    /// Raw frames on Windows if Npcap is there, as they spare it the firewall's work; else sockets.
    #[default]
    Auto,
    /// UDP sockets.
    Socket,
    /// Raw frames through Npcap or libpcap, or an error when they cannot be had.
    Npcap,
    /// Replay of a capture file (pcap or pcapng), at the pace it was captured. Nothing is sent.
    File(PathBuf),
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selection::Auto => f.write_str("auto"),
            Selection::Socket => f.write_str("socket"),
            Selection::Npcap => f.write_str("npcap"),
            Selection::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// A text names no backend.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is none of auto, socket, npcap, file:PATH")]
pub struct ParseSelectionError(String);

impl FromStr for Selection {
    type Err = ParseSelectionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Selection::Auto),
            "socket" => Ok(Selection::Socket),
            "npcap" => Ok(Selection::Npcap),
            _ => match text.strip_prefix("file:") {
                Some(path) if !path.is_empty() => Ok(Selection::File(path.into())),
                _ => Err(ParseSelectionError(text.into())),
            },
        }
    }
}

/// Why a backend was chosen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SelectionReason {
    /// It was asked for.
    Requested,
    /// Auto, on a system whose sockets have no need to be bypassed.
    SocketsSuffice,
    /// Auto, and raw frames can be had.
    RawFrames(RawFrames),
    /// Raw frames would have been better, but cannot be had.
    NoRawFrames(Arc<Unavailable>),
    /// Raw frames were chosen, but could not be opened.
    OpenFailed(Arc<OpenError>),
    /// Raw frames were chosen, but ended.
    CaptureEnded(Arc<ReceiveError>),
    /// The program handed in a transport of its own.
    Provided,
}

impl fmt::Display for SelectionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SelectionReason::Requested => f.write_str("asked for"),
            SelectionReason::SocketsSuffice => f.write_str("auto: sockets serve well on this system"),
            SelectionReason::RawFrames(found) => write!(f, "auto: {found}"),
            SelectionReason::NoRawFrames(why) => write!(f, "auto, without raw frames: {}", Chain(&**why)),
            SelectionReason::OpenFailed(why) => write!(f, "auto, fallen back: {}", Chain(&**why)),
            SelectionReason::CaptureEnded(why) => write!(f, "auto, fallen back: {}", Chain(&**why)),
            SelectionReason::Provided => f.write_str("handed in by the program"),
        }
    }
}

/// An error with its causes, on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |source| write!(f, ": {}", Chain(source)))
    }
}

/// Why no backend could be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SelectError {
    /// Raw frames were asked for, and cannot be had.
    #[error("transport: npcap was asked for, but raw frames cannot be had")]
    NoRawFrames(#[source] Unavailable),
}

/// Picks the backend that `selection` asks for.
///
/// # Errors
/// [`Selection::Npcap`] is strict: it fails when raw frames cannot be had.
pub fn select(selection: &Selection, config: Config) -> Result<Selected, SelectError> {
    let sockets = |config| Arc::new(SocketTransport::new(config)) as Arc<dyn Transport>;
    Ok(match selection {
        Selection::Socket => Selected::fixed(sockets(config), SelectionReason::Requested),
        Selection::File(path) => {
            Selected::fixed(Arc::new(FileTransport::new(path.clone())), SelectionReason::Requested)
        }
        Selection::Npcap => {
            let raw = NpcapTransport::new(config).map_err(SelectError::NoRawFrames)?;
            Selected::fixed(Arc::new(raw), SelectionReason::Requested)
        }
        Selection::Auto if !(cfg!(windows) || config.prefer_raw_frames) => {
            Selected::fixed(sockets(config), SelectionReason::SocketsSuffice)
        }
        Selection::Auto => match NpcapTransport::new(config.clone()) {
            Ok(raw) => {
                let reason = SelectionReason::RawFrames(raw.raw_frames().clone());
                Selected { fallback: Some(sockets(config)), ..Selected::fixed(Arc::new(raw), reason) }
            }
            Err(why) => Selected::fixed(sockets(config), SelectionReason::NoRawFrames(Arc::new(why))),
        },
    })
}

/// The backend that was selected, and, where it may fall back, the one that takes its place.
pub struct Selected {
    current: Arc<Mutex<Current>>,
    fallback: Option<Arc<dyn Transport>>,
}

#[derive(Clone)]
struct Current {
    transport: Arc<dyn Transport>,
    reason: SelectionReason,
}

impl Selected {
    /// A backend that is not replaced.
    pub fn fixed(transport: Arc<dyn Transport>, reason: SelectionReason) -> Self {
        Self { current: Arc::new(Mutex::new(Current { transport, reason })), fallback: None }
    }

    /// Why the backend is in use.
    pub fn reason(&self) -> SelectionReason {
        lock(&self.current).reason.clone()
    }

    fn transport(&self) -> Arc<dyn Transport> {
        lock(&self.current).transport.clone()
    }

    /// Tries the current backend, and the fallback if that fails.
    fn or_fall_back<T>(&self, open: impl Fn(&dyn Transport) -> Result<T, OpenError>) -> Result<T, OpenError> {
        match (open(&*self.transport()), &self.fallback) {
            (Err(error), Some(fallback)) => {
                let opened = open(&**fallback)?;
                replace(&self.current, fallback, SelectionReason::OpenFailed(Arc::new(error)));
                Ok(opened)
            }
            (result, _) => result,
        }
    }
}

/// Puts `fallback` in the place of the current backend, if that was not done before.
fn replace(current: &Mutex<Current>, fallback: &Arc<dyn Transport>, reason: SelectionReason) {
    let mut current = lock(current);
    if !Arc::ptr_eq(&current.transport, fallback) {
        log::warn!("using the {} backend from now on ({reason})", fallback.backend());
        *current = Current { transport: fallback.clone(), reason };
    }
}

impl Transport for Selected {
    fn backend(&self) -> Backend {
        self.transport().backend()
    }

    fn open(&self, ports: &[u16]) -> Result<Box<dyn ReceiveHalf>, OpenError> {
        let half = self.or_fall_back(|transport| transport.open(ports))?;
        let Some(fallback) = self.fallback.clone().filter(|fallback| fallback.backend() != self.backend())
        else {
            return Ok(half);
        };
        let groups =
            Arc::new(Groups(Mutex::new(Joined { membership: half.membership(), groups: Vec::new() })));
        Ok(Box::new(Replaceable {
            half,
            groups,
            ports: ports.into(),
            current: self.current.clone(),
            fallback: Some(fallback),
            drops_before: ReceiveDrops::default(),
        }))
    }

    fn sender(&self) -> Result<Arc<dyn SendHalf>, OpenError> {
        self.or_fall_back(|transport| transport.sender())
    }
}

/// A receive half that goes over to the fallback when its captures have ended.
struct Replaceable {
    half: Box<dyn ReceiveHalf>,
    groups: Arc<Groups>,
    ports: Box<[u16]>,
    current: Arc<Mutex<Current>>,
    fallback: Option<Arc<dyn Transport>>,
    drops_before: ReceiveDrops,
}

impl ReceiveHalf for Replaceable {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Datagram<'_>),
    ) -> Poll<Result<(), ReceiveError>> {
        match self.half.poll_recv(cx, sink) {
            Poll::Ready(Err(error @ ReceiveError::NoCapture { .. })) => {
                let Some(fallback) = self.fallback.clone() else { return Poll::Ready(Err(error)) };
                let half = match fallback.open(&self.ports) {
                    Ok(half) => half,
                    Err(why) => {
                        log::warn!("no fallback: {}", Chain(&why));
                        return Poll::Ready(Err(error));
                    }
                };
                self.fallback = None;
                self.groups.go_over_to(half.membership());
                self.drops_before = self.drops();
                self.half = half;
                replace(&self.current, &fallback, SelectionReason::CaptureEnded(Arc::new(error)));
                self.half.poll_recv(cx, sink)
            }
            result => result,
        }
    }

    fn blocking(&mut self) -> Option<&mut dyn BlockingReceive> {
        if self.fallback.is_some() { None } else { self.half.blocking() }
    }

    fn membership(&self) -> Arc<dyn Membership> {
        self.groups.clone()
    }

    fn drops(&self) -> ReceiveDrops {
        let mut drops = self.drops_before.clone();
        drops.add(&self.half.drops());
        drops
    }

    fn receive_buffer_len(&self) -> usize {
        self.half.receive_buffer_len()
    }
}

/// The groups of a half that may be replaced.
struct Groups(Mutex<Joined>);

struct Joined {
    membership: Arc<dyn Membership>,
    groups: Vec<Ipv4Addr>,
}

impl Groups {
    fn go_over_to(&self, membership: Arc<dyn Membership>) {
        let mut joined = lock(&self.0);
        for &group in &joined.groups {
            if let Err(error) = membership.join(group) {
                log::warn!("{error}");
            }
        }
        joined.membership = membership;
    }
}

impl Membership for Groups {
    fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        let mut joined = lock(&self.0);
        joined.membership.join(group)?;
        joined.groups.push(group);
        Ok(())
    }

    fn leave(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        let mut joined = lock(&self.0);
        joined.membership.leave(group)?;
        joined.groups.retain(|&one| one != group);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Waker;

    use super::*;
    use crate::memory::{Host, Network};
    use crate::{CaptureError, Transmit};

    const PORT: u16 = 14_002;
    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 7);

    /// A backend whose captures end when they are told to.
    struct Mortal {
        host: Host,
        opens: bool,
        dead: Arc<AtomicBool>,
    }

    struct MortalHalf(Box<dyn ReceiveHalf>, Arc<AtomicBool>);

    fn died() -> CaptureError {
        CaptureError("the driver was stopped".into())
    }

    impl Transport for Mortal {
        fn backend(&self) -> Backend {
            Backend::Npcap
        }

        fn open(&self, ports: &[u16]) -> Result<Box<dyn ReceiveHalf>, OpenError> {
            if !self.opens {
                return Err(OpenError::Capture(died()));
            }
            Ok(Box::new(MortalHalf(self.host.open(ports)?, self.dead.clone())))
        }

        fn sender(&self) -> Result<Arc<dyn SendHalf>, OpenError> {
            self.host.sender()
        }
    }

    impl ReceiveHalf for MortalHalf {
        fn poll_recv(
            &mut self,
            cx: &mut Context<'_>,
            sink: &mut dyn FnMut(Datagram<'_>),
        ) -> Poll<Result<(), ReceiveError>> {
            if self.1.load(Ordering::Relaxed) {
                let error = ReceiveError::NoCapture { interface: "eth0".into(), source: died() };
                return Poll::Ready(Err(error));
            }
            self.0.poll_recv(cx, sink)
        }

        fn membership(&self) -> Arc<dyn Membership> {
            self.0.membership()
        }

        fn drops(&self) -> ReceiveDrops {
            ReceiveDrops { buffer_full: 3, ..ReceiveDrops::default() }
        }

        fn receive_buffer_len(&self) -> usize {
            0
        }
    }

    fn selected(opens: bool) -> (Selected, Host, Arc<AtomicBool>) {
        let network = Network::new(1);
        let (host, other) = (network.host(), network.host());
        let dead = Arc::new(AtomicBool::new(false));
        let mortal = Arc::new(Mortal { host: host.clone(), opens, dead: dead.clone() });
        let fixed = Selected::fixed(mortal, SelectionReason::Requested);
        (Selected { fallback: Some(Arc::new(host)), ..fixed }, other, dead)
    }

    fn received(half: &mut dyn ReceiveHalf) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(result) =
            half.poll_recv(&mut cx, &mut |datagram| all.push(datagram.bytes.to_vec()))
        {
            result.unwrap();
        }
        all
    }

    #[test]
    fn an_ended_capture_is_replaced_without_losing_the_groups() {
        let (selected, other, dead) = selected(true);
        let mut half = selected.open(&[PORT]).unwrap();
        let membership = half.membership();
        membership.join(GROUP).unwrap();
        let sender = other.sender().unwrap();
        let send = |bytes: &[u8]| {
            let destination = std::net::SocketAddrV4::new(GROUP, PORT);
            sender.send(&[Transmit { destination, parts: [bytes, &[], &[]] }]).unwrap();
        };
        send(b"before");
        assert_eq!(received(&mut *half), [b"before"]);
        assert_eq!(selected.backend(), Backend::Npcap);

        dead.store(true, Ordering::Relaxed);
        assert!(received(&mut *half).is_empty());
        assert_eq!(selected.backend(), Backend::Memory);
        let reason = selected.reason();
        assert!(matches!(reason, SelectionReason::CaptureEnded(_)), "{reason}");
        assert!(reason.to_string().contains("the driver was stopped"), "{reason}");
        send(b"after");
        assert_eq!(received(&mut *half), [b"after"]);
        membership.leave(GROUP).unwrap();
        send(b"not any more");
        assert!(received(&mut *half).is_empty());
        assert_eq!(half.drops().buffer_full, 3, "what was counted before still counts");
        assert_eq!(selected.open(&[PORT]).map(|_| selected.backend()).unwrap(), Backend::Memory);
    }

    #[test]
    fn what_does_not_open_is_replaced_at_once() {
        let (selected, ..) = selected(false);
        selected.open(&[PORT]).unwrap();
        assert_eq!(selected.backend(), Backend::Memory);
        assert!(matches!(selected.reason(), SelectionReason::OpenFailed(_)));
    }

    #[test]
    fn without_a_fallback_the_error_is_told() {
        let (selected, _, dead) = selected(true);
        let strict = Selected { fallback: None, ..selected };
        let mut half = strict.open(&[PORT]).unwrap();
        dead.store(true, Ordering::Relaxed);
        let mut cx = Context::from_waker(Waker::noop());
        let polled = half.poll_recv(&mut cx, &mut |_| {});
        assert!(matches!(polled, Poll::Ready(Err(ReceiveError::NoCapture { .. }))));
        assert_eq!(strict.backend(), Backend::Npcap);
    }

    #[test]
    fn selections_are_written_as_they_are_read() {
        for text in ["auto", "socket", "npcap", "file:a.pcap"] {
            assert_eq!(text.parse::<Selection>().unwrap().to_string(), text);
        }
        for text in ["", "file:", "pigeon"] {
            text.parse::<Selection>().unwrap_err();
        }
    }
}
