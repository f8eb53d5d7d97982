//! The systems that are measured, one a file.

pub(crate) mod bare;
pub(crate) mod ecal;
pub(crate) mod ferrocal;

use std::any::Any;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;

use crate::role::Setup;
use crate::tally::Tally;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// A system, with its way of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// Ours.
    Ferrocal,
    /// The real eCAL, by its Python binding.
    Ecal,
    /// Sockets: datagrams of 1472 bytes, many in one call each way, by segmentation offload.
    BareGso,
    /// Sockets: datagrams of 65507 bytes, many in one call each way.
    BareLarge,
    /// As `BareLarge`, but readers spin instead of sleeping.
    BareSpin,
}

/// Sends messages: one way of a system to do so.
pub(crate) trait Outlet {
    /// How many messages one call sends.
    fn batch_len(&self) -> usize {
        1
    }

    /// Sends up to `batch_len` messages; tells how many were accepted.
    fn send(&mut self, messages: &[Vec<u8>]) -> usize;
}

/// How long a [`Line`] waits for a message.
pub(crate) const PATIENCE: Duration = Duration::from_millis(200);

/// Sends and awaits one message at a time.
pub(crate) trait Line: Send {
    fn send(&mut self, message: &[u8]) -> Outcome<()>;
    /// The next message, handed to `look`; `false` after [`PATIENCE`] without one.
    fn receive(&mut self, look: &mut dyn FnMut(&[u8])) -> Outcome<bool>;
    /// Sends the next message back; nothing after [`PATIENCE`] without one.
    fn echo(&mut self) -> Outcome<()>;
}

impl Peer {
    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().expect("no peer is hidden").get_name().to_owned()
    }

    /// The way to publish on all topics of `setup`.
    pub(crate) fn outlet(self, setup: &Setup) -> Outcome<Box<dyn Outlet>> {
        Ok(match self {
            Self::Ferrocal => Box::new(ferrocal::Single::new(setup)?),
            Self::BareGso | Self::BareLarge | Self::BareSpin => Box::new(bare::Sender::new(setup)?),
            Self::Ecal => return Err("the real eCAL is a script".into()),
        })
    }

    /// Subscribes to all topics of `setup`, for as long as the result lives; a tally a subscriber.
    pub(crate) fn subscribe(self, setup: &Setup, tallies: &[Arc<Tally>]) -> Outcome<Box<dyn Any>> {
        Ok(match self {
            Self::Ferrocal => Box::new(ferrocal::subscribe(setup, tallies)?),
            Self::BareGso | Self::BareLarge | Self::BareSpin => Box::new(bare::subscribe(setup, tallies)?),
            Self::Ecal => return Err("the real eCAL is a script".into()),
        })
    }

    /// Publishes on the topic `out` and receives on `into`.
    pub(crate) fn line(self, setup: &Setup, out: &str, into: &str) -> Outcome<Box<dyn Line>> {
        Ok(match self {
            Self::Ferrocal => Box::new(ferrocal::Line::new(setup, out, into)?),
            Self::BareGso | Self::BareLarge | Self::BareSpin => Box::new(bare::Line::new(setup, out < into)?),
            Self::Ecal => return Err("the real eCAL is a script".into()),
        })
    }
}
