//! Chooses the backend, reports why, and falls back.

mod fall_back;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::backend::Backend;
use crate::config::Config;
use crate::error::{Chain, OpenError, ReceiveError};
#[cfg(feature = "raw")]
use crate::raw::NpcapTransport;
use crate::raw::{RawFrames, Unavailable};
#[cfg(feature = "replay")]
use crate::replay::FileTransport;
use crate::seam::{Receiver, Sender, Transport};
use crate::socket::SocketTransport;
use fall_back::Fallbacks;

/// Which backend is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Selection {
    /// Raw frames on Windows if Npcap is available, because they spare it the firewall's work; otherwise sockets.
    #[default]
    Auto,
    /// [`Backend::Socket`].
    Socket,
    /// [`Backend::Npcap`], or an error if raw frames are not available.
    Npcap,
    /// [`Backend::File`]: replays a capture file (pcap or pcapng, or either in gzip) at the pace at which it was captured;
    /// pauses of more than 10 s are shortened to 10 s. Sends nothing. The path may be that of a pipe, and `-` is standard
    /// input. Written `file:PATH`.
    File(PathBuf),
    /// Like `File`, but as fast as the receivers take it. Messages that a subscriber's queue has no room for are dropped, so
    /// prefer a callback. Written `file-fast:PATH`.
    FileFast(PathBuf),
}

const AUTO: &str = "auto";
const FILE_FAST: &str = "file-fast";

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selection::Auto => f.write_str(AUTO),
            Selection::Socket => Backend::Socket.fmt(f),
            Selection::Npcap => Backend::Npcap.fmt(f),
            Selection::File(path) => write!(f, "{}:{}", Backend::File, path.display()),
            Selection::FileFast(path) => write!(f, "{FILE_FAST}:{}", path.display()),
        }
    }
}

/// A text selects no backend.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseSelectionError {
    /// No backend is written like this.
    #[error("`{0}` is none of {AUTO}, {all}, {FILE_FAST}:PATH", all = Backend::selections())]
    Unknown(String),
    /// The program was built without this backend.
    #[error("`{text}` needs the cargo feature `{feature}`, without which this program was built")]
    NotBuilt {
        /// The text.
        text: String,
        /// The missing feature.
        feature: &'static str,
    },
}

impl FromStr for Selection {
    type Err = ParseSelectionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == AUTO {
            return Ok(Selection::Auto);
        }
        let unknown = || ParseSelectionError::Unknown(text.into());
        let fast = text.strip_prefix(FILE_FAST).map(|path| format!("{}{path}", Backend::File));
        let (row, path) = Backend::selected_by(fast.as_deref().unwrap_or(text)).ok_or_else(unknown)?;
        if let Some(feature) = row.missing_feature {
            return Err(ParseSelectionError::NotBuilt { text: text.into(), feature });
        }
        match (row.backend, path) {
            (Backend::Socket, None) => Ok(Selection::Socket),
            (Backend::Npcap, None) => Ok(Selection::Npcap),
            (Backend::File, Some(path)) if fast.is_some() => Ok(Selection::FileFast(path.into())),
            (Backend::File, Some(path)) => Ok(Selection::File(path.into())),
            _ => Err(unknown()),
        }
    }
}

/// Why a backend was chosen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SelectionReason {
    /// It was requested.
    Requested,
    /// Auto, on a system whose sockets have no need to be bypassed.
    SocketsSuffice,
    /// Auto, and raw frames are available.
    RawFrames(RawFrames),
    /// Raw frames would have been better, but are not available.
    NoRawFrames(Arc<Unavailable>),
    /// The program brought a transport of its own.
    Provided,
}

impl fmt::Display for SelectionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SelectionReason::Requested => f.write_str("requested"),
            SelectionReason::SocketsSuffice => f.write_str("auto: sockets serve well on this system"),
            SelectionReason::RawFrames(found) => write!(f, "auto: {found}"),
            SelectionReason::NoRawFrames(why) => write!(f, "auto, without raw frames: {}", Chain(&**why)),
            SelectionReason::Provided => f.write_str("provided by the program"),
        }
    }
}

/// A receiver or a sender that does not use the selected backend, but the one that takes its place.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Fallback {
    /// The receiver's port. `None` for a sender.
    pub port: Option<u16>,
    /// The backend that it uses.
    pub backend: Backend,
    /// Why.
    pub reason: FallbackReason,
}

/// Why a receiver or a sender uses another backend than the selected one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum FallbackReason {
    /// The selected backend could not open it.
    OpenFailed(Arc<OpenError>),
    /// The selected backend ended while it was in use.
    CaptureEnded(Arc<ReceiveError>),
}

impl fmt::Display for FallbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FallbackReason::OpenFailed(why) => Chain(&**why).fmt(f),
            FallbackReason::CaptureEnded(why) => Chain(&**why).fmt(f),
        }
    }
}

/// Why the requested backend cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SelectError {
    /// Raw frames were requested and are not available.
    #[error("transport: npcap was requested, but raw frames are not available")]
    NoRawFrames(#[source] Unavailable),
    /// This program was built without the backend.
    #[error(
        "transport: {backend} was requested, but this program was built without the cargo feature `{feature}`"
    )]
    NotBuilt {
        /// The backend.
        backend: Backend,
        /// The missing feature.
        feature: &'static str,
    },
}

/// Chooses the backend that `selection` requests.
///
/// # Errors
/// [`Selection::Npcap`] and [`Selection::File`] are strict: without the backend they fail.
pub fn select(selection: &Selection, config: Config) -> Result<Selected, SelectError> {
    let sockets = |config| Arc::new(SocketTransport::new(config)) as Arc<dyn Transport>;
    Ok(match selection {
        Selection::Socket => Selected::fixed(sockets(config), SelectionReason::Requested),
        Selection::File(path) => Selected::fixed(replay(path, false)?, SelectionReason::Requested),
        Selection::FileFast(path) => Selected::fixed(replay(path, true)?, SelectionReason::Requested),
        Selection::Npcap => {
            let (raw, _) = raw(config).map_err(SelectError::NoRawFrames)?;
            Selected::fixed(raw, SelectionReason::Requested)
        }
        Selection::Auto if !(cfg!(windows) || config.prefer_raw_frames) => {
            Selected::fixed(sockets(config), SelectionReason::SocketsSuffice)
        }
        Selection::Auto => match raw(config.clone()) {
            Ok((raw, found)) => {
                let selected = Selected::fixed(raw, SelectionReason::RawFrames(found));
                Selected { fallback: Some(sockets(config)), ..selected }
            }
            Err(why) => Selected::fixed(sockets(config), SelectionReason::NoRawFrames(Arc::new(why))),
        },
    })
}

#[cfg(feature = "raw")]
fn raw(config: Config) -> Result<(Arc<dyn Transport>, RawFrames), Unavailable> {
    let raw = NpcapTransport::new(config)?;
    let found = raw.raw_frames().clone();
    Ok((Arc::new(raw), found))
}

#[cfg(not(feature = "raw"))]
fn raw(_: Config) -> Result<(Arc<dyn Transport>, RawFrames), Unavailable> {
    Err(Unavailable::NotBuilt)
}

#[cfg(feature = "replay")]
#[expect(clippy::unnecessary_wraps, reason = "it fails without the feature")]
fn replay(path: &std::path::Path, is_fast: bool) -> Result<Arc<dyn Transport>, SelectError> {
    let open = if is_fast { FileTransport::fast } else { FileTransport::new };
    Ok(Arc::new(open(path.into())))
}

#[cfg(not(feature = "replay"))]
fn replay(_: &std::path::Path, _: bool) -> Result<Arc<dyn Transport>, SelectError> {
    Err(SelectError::NotBuilt { backend: Backend::File, feature: "replay" })
}

/// The selected backend, and, if it may fall back, the one that takes its place.
///
/// Each receiver and sender falls back by itself. The others are not affected.
pub struct Selected {
    transport: Arc<dyn Transport>,
    reason: SelectionReason,
    fallback: Option<Arc<dyn Transport>>,
    fallbacks: Arc<Fallbacks>,
}

impl Selected {
    /// Makes a selection without a fallback.
    pub fn fixed(transport: Arc<dyn Transport>, reason: SelectionReason) -> Self {
        Self { transport, reason, fallback: None, fallbacks: Arc::default() }
    }

    /// Why the backend was chosen.
    pub fn reason(&self) -> SelectionReason {
        self.reason.clone()
    }

    /// The receivers and senders that use another backend, in the order in which they fell back. Empty if all of them use
    /// [`backend`](Transport::backend).
    pub fn fallbacks(&self) -> Vec<Fallback> {
        self.fallbacks.list()
    }
}

impl Transport for Selected {
    fn backend(&self) -> Backend {
        self.transport.backend()
    }

    fn receiver(&self, port: u16) -> Result<Box<dyn Receiver>, OpenError> {
        let Some(fallback) = &self.fallback else { return self.transport.receiver(port) };
        match self.transport.receiver(port) {
            Ok(receiver) => Ok(fall_back::replaceable(receiver, port, fallback, &self.fallbacks)),
            Err(error) => {
                let receiver = fallback.receiver(port)?;
                let reason = FallbackReason::OpenFailed(Arc::new(error));
                Ok(fall_back::replaced(receiver, port, reason, &self.fallbacks))
            }
        }
    }

    fn sender(&self) -> Result<Arc<dyn Sender>, OpenError> {
        let Some(fallback) = &self.fallback else { return self.transport.sender() };
        self.transport.sender().or_else(|error| {
            let sender = fallback.sender()?;
            let reason = FallbackReason::OpenFailed(Arc::new(error));
            Ok(fall_back::replaced_sender(sender, fallback.backend(), reason, &self.fallbacks))
        })
    }
}

#[cfg(test)]
mod tests;
