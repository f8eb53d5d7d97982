//! Captures through Npcap on Windows and libpcap elsewhere, bound when the program runs.

mod capture;
mod captures;
mod filter;
mod receive;
mod send;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod tap;

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::detect::{Detection, RawFrames, Unavailable, detect};
use crate::backend::Backend;
use crate::config::{Config, Mode, SendPath};
use crate::error::OpenError;
use crate::membership::{Choice, Follower, Interface};
use crate::seam::{Receiver, Sender, Transport};
use crate::socket::SocketTransport;

pub(super) use capture::probe;

/// Receives raw frames. Sends through a socket or as raw frames ([`Config::send`]).
#[derive(Debug)]
pub struct NpcapTransport {
    config: Config,
    socket: SocketTransport,
    found: RawFrames,
    follower: Arc<Follower>,
}

impl NpcapTransport {
    /// Makes a transport with these settings. Opens nothing yet.
    ///
    /// # Errors
    /// If raw frames are not available (see [`detect()`]), or not on loopback, which local mode needs.
    pub fn new(config: Config) -> Result<Self, Unavailable> {
        match detect() {
            Detection::Present(found) if config.mode == Mode::Local && !found.loopback => {
                Err(Unavailable::NoLoopback)
            }
            Detection::Present(found) => {
                let follower = Arc::new(Follower::new(&config));
                let socket = SocketTransport::with_follower(config.clone(), follower.clone());
                Ok(Self { socket, config, found, follower })
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

    fn receiver(&self, port: u16) -> Result<Box<dyn Receiver>, OpenError> {
        Ok(Box::new(receive::Receiver::open(&self.config, self.found.loopback, port, &self.follower)?))
    }

    fn sender(&self) -> Result<Arc<dyn Sender>, OpenError> {
        match (self.config.send, self.config.mode) {
            // No system delivers to its sockets what is injected into the loopback interface.
            (SendPath::Socket, _) | (_, Mode::Local) => self.socket.sender(),
            (SendPath::Raw, Mode::Network) => {
                Ok(send::Sender::open(&self.config, &self.socket, &self.follower)?)
            }
        }
    }
}

/// Returns the name by which the capture library knows an interface.
fn device_name(interface: &Interface) -> String {
    if !cfg!(windows) {
        interface.name.clone()
    } else if interface.loopback {
        WINDOWS_LOOPBACK.to_owned()
    } else {
        format!(r"\Device\NPF_{}", interface.name)
    }
}

/// Npcap's name for loopback; Windows has no adapter for it (Npcap Users' Guide).
const WINDOWS_LOOPBACK: &str = r"\Device\NPF_Loopback";

/// Returns the interfaces to capture on: all, or the configured ones and loopback. In local mode only loopback.
fn to_capture(mode: Mode, loopback: bool, choice: &Choice) -> Vec<Interface> {
    let mut chosen: Vec<_> = choice
        .interfaces
        .iter()
        .filter(|&interface| match mode {
            _ if interface.loopback => loopback,
            Mode::Local => false,
            Mode::Network => choice.includes(interface),
        })
        .cloned()
        .collect();
    if cfg!(windows) && loopback && !choice.interfaces.iter().any(|interface| interface.loopback) {
        chosen.push(Interface {
            index: 1,
            name: String::new(),
            friendly_name: None,
            addresses: vec![Ipv4Addr::LOCALHOST],
            mac: [0; 6],
            mtu: usize::from(u16::MAX),
            loopback: true,
            has_carrier: true,
        });
    }
    chosen
}
