//! Where a test takes place: on loopback, or on two hosts joined by a veth.

use std::net::Ipv4Addr;

use crate::netns::{FIRST_ADDRESS, Host, SECOND_ADDRESS, SecondHost};

/// The message lengths that every direction is tested with: empty, small, around one Ethernet frame, the largest
/// datagram, and messages of several and of many datagrams.
pub const LENS: [usize; 6] = [0, 20, 1472, 65_507, 200_000, 5_000_000];

/// eCAL's communication modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One host: broadcast on loopback.
    Local,
    /// Several hosts: multicast.
    Network,
}

impl Mode {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Local, Self::Network];

    /// Its name in `ecal.yaml` and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Network => "network",
        }
    }
}

impl From<Mode> for ferrocal::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Local => Self::Local,
            Mode::Network => Self::Network,
        }
    }
}

/// The hosts of one test; what is not needed any more is taken down when dropped.
#[derive(Debug)]
pub struct World {
    mode: Mode,
    second: Option<SecondHost>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.here().losses());
            if self.second.is_some() {
                eprintln!("{}", self.there().losses());
            }
        }
    }
}

impl World {
    /// Makes what `mode` needs: nothing for local mode, a second host for network mode.
    ///
    /// # Panics
    /// When the second host cannot be made.
    #[track_caller]
    pub fn new(mode: Mode) -> Self {
        let second = match mode {
            Mode::Local => None,
            Mode::Network => Some(SecondHost::new().unwrap_or_else(|error| panic!("{error}"))),
        };
        Self { mode, second }
    }

    /// The second host and the link to it.
    ///
    /// # Panics
    /// In local mode, which has none.
    #[track_caller]
    pub fn second(&self) -> &SecondHost {
        self.second.as_ref().expect("network mode has a second host")
    }

    /// The mode.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The host that the test itself runs on.
    pub const fn here(&self) -> Host {
        Host::first()
    }

    /// The host of the other side: the second one, or the same in local mode.
    pub fn there(&self) -> Host {
        self.second.as_ref().map_or(Host::first(), SecondHost::host)
    }

    /// The address of this host's interface to the other one; none in local mode.
    pub fn interface(&self) -> Option<Ipv4Addr> {
        self.second.as_ref().map(|_| FIRST_ADDRESS)
    }

    /// The address of the other host's interface to this one; none in local mode.
    pub fn interface_there(&self) -> Option<Ipv4Addr> {
        self.second.as_ref().map(|_| SECOND_ADDRESS)
    }
}
