use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::drops::ReceiveDrops;
use crate::error::CaptureError;
use crate::memory::{Host, Network};
use crate::seam::{Datagram, Granted, Interrupt, Membership, Transmit, Wait};

const PORT: u16 = 14_002;
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 7);

/// A backend whose captures end on request.
struct Mortal {
    host: Host,
    opens: Arc<AtomicBool>,
    is_dead: Arc<AtomicBool>,
}

struct MortalReceiver(Box<dyn Receiver>, Arc<AtomicBool>);

fn stopped() -> CaptureError {
    CaptureError("the driver was stopped".into())
}

impl Transport for Mortal {
    fn backend(&self) -> Backend {
        Backend::Npcap
    }

    fn receiver(&self, port: u16) -> Result<Box<dyn Receiver>, OpenError> {
        if !self.opens.load(Ordering::Relaxed) {
            return Err(OpenError::Capture(stopped()));
        }
        Ok(Box::new(MortalReceiver(self.host.receiver(port)?, self.is_dead.clone())))
    }

    fn sender(&self) -> Result<Arc<dyn Sender>, OpenError> {
        if !self.opens.load(Ordering::Relaxed) {
            return Err(OpenError::Capture(stopped()));
        }
        self.host.sender()
    }
}

impl Receiver for MortalReceiver {
    fn recv(&mut self, wait: Wait, sink: &mut dyn FnMut(Datagram<'_>)) -> Result<(), ReceiveError> {
        if self.1.load(Ordering::Relaxed) {
            return Err(ReceiveError::NoCapture { interface: "eth0".into(), source: stopped() });
        }
        self.0.recv(wait, sink)
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.0.interrupter()
    }

    fn membership(&self) -> Arc<dyn Membership> {
        self.0.membership()
    }

    fn drops(&self) -> ReceiveDrops {
        ReceiveDrops { buffer_full: 3, ..ReceiveDrops::default() }
    }

    fn granted(&self) -> Granted {
        Granted { backend: Backend::Npcap, ..self.0.granted() }
    }
}

struct Stage {
    selected: Selected,
    other: Host,
    opens: Arc<AtomicBool>,
    is_dead: Arc<AtomicBool>,
}

fn stage() -> Stage {
    let network = Network::new(1);
    let (host, other) = (network.host(), network.host());
    let (opens, is_dead) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let mortal = Arc::new(Mortal { host: host.clone(), opens: opens.clone(), is_dead: is_dead.clone() });
    let fixed = Selected::fixed(mortal, SelectionReason::Requested);
    Stage { selected: Selected { fallback: Some(Arc::new(host)), ..fixed }, other, opens, is_dead }
}

/// Receives what is there.
fn received(receiver: &mut dyn Receiver) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let result =
        receiver.recv(Wait::sleep(Duration::ZERO), &mut |datagram| all.push(datagram.bytes.to_vec()));
    result.unwrap();
    all
}

#[test]
fn an_ended_capture_is_replaced_without_losing_the_groups() {
    let Stage { selected, other, is_dead, .. } = stage();
    let mut receiver = selected.receiver(PORT).unwrap();
    let membership = receiver.membership();
    membership.join(GROUP).unwrap();
    let sender = other.sender().unwrap();
    let send = |bytes: &[u8]| {
        let destination = SocketAddrV4::new(GROUP, PORT);
        sender.send(&[Transmit { destination, parts: [bytes, &[], &[]] }]).unwrap();
    };
    send(b"before");
    assert_eq!(received(&mut *receiver), [b"before"]);
    assert_eq!(receiver.granted().backend, Backend::Npcap);
    assert!(selected.fallbacks().is_empty());

    is_dead.store(true, Ordering::Relaxed);
    assert!(received(&mut *receiver).is_empty());
    assert_eq!(receiver.granted().backend, Backend::Memory);
    let fallbacks = selected.fallbacks();
    let [Fallback { port: Some(PORT), backend: Backend::Memory, reason }] = &fallbacks[..] else {
        panic!("{fallbacks:?}");
    };
    assert!(matches!(reason, FallbackReason::CaptureEnded(_)), "{reason}");
    assert!(reason.to_string().contains("the driver was stopped"), "{reason}");
    send(b"after");
    assert_eq!(received(&mut *receiver), [b"after"]);
    membership.leave(GROUP).unwrap();
    send(b"not any more");
    assert!(received(&mut *receiver).is_empty());
    assert_eq!(receiver.drops().buffer_full, 3, "earlier counts still count");
    drop(receiver);
    assert!(selected.fallbacks().is_empty(), "it is not open any more");
}

#[test]
fn one_receiver_that_does_not_open_leaves_the_others_as_they_are() {
    let Stage { selected, opens, .. } = stage();
    let first = selected.receiver(PORT).unwrap();
    opens.store(false, Ordering::Relaxed);
    let second = selected.receiver(PORT + 1).unwrap();
    let _sender = selected.sender().unwrap();
    assert_eq!((first.granted().backend, second.granted().backend), (Backend::Npcap, Backend::Memory));
    assert_eq!(selected.backend(), Backend::Npcap);
    assert!(matches!(selected.reason(), SelectionReason::Requested));
    let fallbacks = selected.fallbacks();
    assert_eq!(fallbacks.iter().map(|fallback| fallback.port).collect::<Vec<_>>(), [Some(PORT + 1), None]);
    assert!(fallbacks.iter().all(|fallback| matches!(fallback.reason, FallbackReason::OpenFailed(_))));
}

#[test]
fn an_interrupt_outlasts_the_replacement() {
    let Stage { selected, is_dead, .. } = stage();
    let mut receiver = selected.receiver(PORT).unwrap();
    let interrupter = receiver.interrupter();
    is_dead.store(true, Ordering::Relaxed);
    interrupter.interrupt();
    assert!(received(&mut *receiver).is_empty(), "it is replaced");
    // Would hang otherwise.
    receiver.recv(Wait::sleep(Duration::MAX), &mut |_| {}).unwrap();
}

#[test]
fn without_a_fallback_the_error_is_returned() {
    let Stage { selected, is_dead, .. } = stage();
    let strict = Selected { fallback: None, ..selected };
    let mut receiver = strict.receiver(PORT).unwrap();
    is_dead.store(true, Ordering::Relaxed);
    let result = receiver.recv(Wait::sleep(Duration::ZERO), &mut |_| {});
    assert!(matches!(result, Err(ReceiveError::NoCapture { .. })));
}

#[test]
fn selections_are_written_as_they_are_read() {
    for (text, feature) in [
        ("auto", None),
        ("socket", None),
        ("npcap", Some("raw").filter(|_| !cfg!(feature = "raw"))),
        ("file:a.pcap", Some("replay").filter(|_| !cfg!(feature = "replay"))),
        ("file:c:\\a.pcap", Some("replay").filter(|_| !cfg!(feature = "replay"))),
        ("file:-", Some("replay").filter(|_| !cfg!(feature = "replay"))),
        ("file-fast:a.pcap", Some("replay").filter(|_| !cfg!(feature = "replay"))),
    ] {
        match (text.parse::<Selection>(), feature) {
            (Ok(selection), None) => assert_eq!(selection.to_string(), text),
            (Err(error @ ParseSelectionError::NotBuilt { .. }), Some(feature)) => {
                assert!(error.to_string().contains(&format!("`{feature}`")), "{error}");
            }
            (result, _) => panic!("{text}: {result:?}"),
        }
    }
    for text in ["", "file", "file:", "pigeon", "socket:", "npcap:x", "memory", "file-fast", "file-fast:"] {
        text.parse::<Selection>().unwrap_err();
    }
    let error = "pigeon".parse::<Selection>().unwrap_err();
    assert_eq!(error.to_string(), "`pigeon` is none of auto, socket, npcap, file:PATH, file-fast:PATH");
}
