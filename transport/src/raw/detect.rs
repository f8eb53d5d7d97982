//! Whether raw frames are available on this machine.

use std::fmt;

#[cfg(feature = "raw")]
use ferrocal_pcap_lazy as pcap_lazy;
use thiserror::Error;

use crate::error::CaptureError;

/// Whether raw frames are available on this machine, and if not, why.
#[derive(Debug)]
#[non_exhaustive]
pub enum Detection {
    /// They are.
    Present(RawFrames),
    /// Nothing is installed that could provide them.
    Absent(Unavailable),
    /// Something is installed, but cannot be used.
    Unusable(Unavailable),
}

/// What provides raw frames.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawFrames {
    /// The library's description of itself, with its version.
    pub version: String,
    /// Which library it is.
    pub provider: Provider,
    /// Whether loopback traffic can be seen, which local mode needs.
    pub loopback: bool,
    /// Whether only administrators may use it. Always `false` on Unix, where each program is checked instead.
    pub admin_only: bool,
}

/// Which library provides raw frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provider {
    /// libpcap on Linux, macOS and other Unix systems.
    Libpcap,
    /// Npcap in its own folder.
    Npcap,
    /// Npcap installed in WinPcap-compatible mode.
    NpcapWinPcapCompatible,
}

/// Why raw frames are not available, and what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// This program was built without the cargo feature `raw`.
    #[error("this program was built without the cargo feature `raw`")]
    NotBuilt,
    /// The library is not installed, or cannot be used.
    #[cfg(feature = "raw")]
    #[error(transparent)]
    Library(&'static pcap_lazy::LoadError),
    /// A library with the right name is there, but it is not Npcap (WinPcap, say, which sees no loopback traffic).
    #[error("wpcap.dll is there, but the registry knows no Npcap; install it from https://npcap.com")]
    NotNpcap,
    /// The library does not let this program capture.
    #[error("this program may not capture frames; {}", PERMISSION)]
    NotPermitted(#[source] CaptureError),
    /// The library is there, but its driver does not answer.
    #[error("no interface can be captured on; {}", DRIVER)]
    NoDevices(#[source] CaptureError),
    /// Local mode needs loopback traffic, which this installation does not capture.
    #[error(
        "loopback traffic cannot be captured; reinstall Npcap with loopback support, or use network mode"
    )]
    NoLoopback,
}

#[cfg(feature = "raw")]
impl From<pcap_lazy::pcap::Error> for CaptureError {
    fn from(error: pcap_lazy::pcap::Error) -> Self {
        Self(error.to_string().into())
    }
}

#[cfg(windows)]
mod words {
    pub(super) const PERMISSION: &str = "run it as administrator, or reinstall Npcap without \
                                         `Restrict Npcap driver's access to Administrators only`";
    pub(super) const DRIVER: &str = "start Npcap's driver as administrator: sc start npcap";
}
#[cfg(not(windows))]
mod words {
    pub(super) const PERMISSION: &str = if cfg!(target_os = "linux") {
        "run it as root, or grant the capability: sudo setcap cap_net_raw,cap_net_admin=eip PATH_OF_THE_PROGRAM"
    } else {
        "run it as root, or grant access to /dev/bpf*"
    };
    pub(super) const DRIVER: &str = "see the cause";
}
use words::{DRIVER, PERMISSION};

/// Finds out whether raw frames are available in this program: it was built without them.
#[cfg(not(feature = "raw"))]
pub fn detect() -> Detection {
    Detection::Absent(Unavailable::NotBuilt)
}

/// Finds out whether raw frames are available: through Npcap on Windows, through libpcap elsewhere.
#[cfg(feature = "raw")]
pub fn detect() -> Detection {
    let library = match pcap_lazy::load() {
        Ok(library) => library,
        Err(error @ pcap_lazy::LoadError::Absent { .. }) => {
            return Detection::Absent(Unavailable::Library(error));
        }
        Err(error) => return Detection::Unusable(Unavailable::Library(error)),
    };
    let found = match system::describe(library) {
        Ok(found) => found,
        Err(why) => return Detection::Unusable(why),
    };
    match super::pcap::probe() {
        Ok(()) => Detection::Present(found),
        Err(why) => Detection::Unusable(why),
    }
}

#[cfg(all(feature = "raw", not(windows)))]
mod system {
    use super::{Provider, RawFrames, Unavailable, pcap_lazy};

    pub(super) fn describe(library: &pcap_lazy::Library) -> Result<RawFrames, Unavailable> {
        let version = library.version().to_owned();
        Ok(RawFrames { version, provider: Provider::Libpcap, loopback: true, admin_only: false })
    }
}

#[cfg(all(feature = "raw", windows))]
mod system {
    use super::{Provider, RawFrames, Unavailable, pcap_lazy};

    /// Where Npcap's installer writes down how it was installed (Npcap Users' Guide).
    const PARAMETERS: &str = r"SYSTEM\CurrentControlSet\Services\npcap\Parameters";

    pub(super) fn describe(library: &pcap_lazy::Library) -> Result<RawFrames, Unavailable> {
        let parameters =
            windows_registry::LOCAL_MACHINE.open(PARAMETERS).map_err(|_| Unavailable::NotNpcap)?;
        let flag = |name: &str| parameters.get_u32(name).is_ok_and(|value| value != 0);
        let provider = match library.location() {
            pcap_lazy::Location::Npcap => Provider::Npcap,
            _ => Provider::NpcapWinPcapCompatible,
        };
        Ok(RawFrames {
            version: library.version().to_owned(),
            provider,
            loopback: flag("LoopbackSupport"),
            admin_only: flag("AdminOnly"),
        })
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Provider::Libpcap => "libpcap",
            Provider::Npcap => "Npcap",
            Provider::NpcapWinPcapCompatible => "Npcap in WinPcap-compatible mode",
        })
    }
}

impl fmt::Display for RawFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.provider, self.version)?;
        f.write_str(if self.loopback { ", with loopback" } else { ", without loopback" })?;
        f.write_str(if self.admin_only { ", for administrators only" } else { "" })
    }
}

impl fmt::Display for Detection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Detection::Present(frames) => write!(f, "{frames}"),
            Detection::Absent(why) | Detection::Unusable(why) => write!(f, "{why}"),
        }
    }
}
