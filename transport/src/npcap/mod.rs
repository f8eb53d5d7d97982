//! Raw frames: what the network card sees, taken and given below the system's sockets.
//!
//! Through Npcap on Windows and libpcap elsewhere, bound when the program runs.

mod capture;
mod detect;
mod filter;
mod receive;
mod recent;
mod send;

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::interfaces::{self, Interface};
use crate::{Backend, Config, Mode, OpenError, ReceiveHalf, SendHalf, SendPath, SocketTransport, Transport};

pub use detect::{CaptureError, Detection, Provider, RawFrames, Unavailable, detect};

/// Receives raw frames, and sends through a socket or as raw frames ([`Config::send`]).
#[derive(Debug)]
pub struct NpcapTransport {
    config: Config,
    socket: SocketTransport,
    found: RawFrames,
}

impl NpcapTransport {
    /// A transport with these settings; nothing is opened yet.
    ///
    /// # Errors
    /// When raw frames cannot be had as [`detect()`] says, or not on loopback, which local mode needs.
    pub fn new(config: Config) -> Result<Self, Unavailable> {
        match detect() {
            Detection::Present(found) if config.mode == Mode::Local && !found.loopback => {
                Err(Unavailable::NoLoopback)
            }
            Detection::Present(found) => {
                Ok(Self { socket: SocketTransport::new(config.clone()), config, found })
            }
            Detection::Absent(why) | Detection::Unusable(why) => Err(why),
        }
    }

    /// What provides the raw frames.
    pub fn raw_frames(&self) -> &RawFrames {
        &self.found
    }
}

impl Transport for NpcapTransport {
    fn backend(&self) -> Backend {
        Backend::Npcap
    }

    fn open(&self, ports: &[u16]) -> Result<Box<dyn ReceiveHalf>, OpenError> {
        Ok(Box::new(receive::Receiver::open(&self.config, self.found.loopback, ports)?))
    }

    fn sender(&self) -> Result<Arc<dyn SendHalf>, OpenError> {
        match (self.config.send, self.config.mode) {
            // What is injected into the loopback interface, no system delivers to its sockets.
            (SendPath::Socket, _) | (_, Mode::Local) => self.socket.sender(),
            (SendPath::Raw, Mode::Network) => Ok(Arc::new(send::Sender::open(&self.config, &self.socket)?)),
        }
    }
}

/// The name by which the capture library knows an interface.
fn device_name(interface: &Interface) -> String {
    if !cfg!(windows) {
        interface.name.clone()
    } else if interface.loopback {
        WINDOWS_LOOPBACK.to_owned()
    } else {
        format!(r"\Device\NPF_{}", interface.name)
    }
}

/// What Npcap calls loopback; Windows has no adapter for it (Npcap Users' Guide).
const WINDOWS_LOOPBACK: &str = r"\Device\NPF_Loopback";

/// The interfaces to capture on, as far as they are there: all, or those that are configured and loopback; in local
/// mode only loopback.
fn to_capture(config: &Config, loopback: bool) -> Vec<Interface> {
    let configured = interfaces::configured(config);
    let mut all = interfaces::list();
    if cfg!(windows) && !all.iter().any(|interface| interface.loopback) {
        all.push(Interface {
            index: 1,
            name: String::new(),
            addresses: vec![Ipv4Addr::LOCALHOST],
            mac: [0; 6],
            mtu: usize::from(u16::MAX),
            loopback: true,
        });
    }
    all.retain(|interface| match (&configured, config.mode) {
        _ if interface.loopback => loopback,
        (_, Mode::Local) => false,
        (Some(configured), Mode::Network) => configured.contains(interface),
        (None, Mode::Network) => true,
    });
    all
}
