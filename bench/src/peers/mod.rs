//! The systems that are measured, one a file.

pub(crate) mod bare;
pub(crate) mod ecal;
pub(crate) mod ferrocal;
#[cfg(feature = "iceoryx2")]
mod iceoryx2;
#[cfg(feature = "peers")]
mod lcm;
#[cfg(feature = "peers")]
mod zenoh;

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
    /// Ours, as the README shows it.
    Ferrocal,
    /// As `Ferrocal`; round trips go through callbacks.
    FerrocalCallback,
    /// Ours, with callbacks on the thread that receives.
    FerrocalInline,
    /// As `FerrocalInline`, and the receiving thread looks for datagrams a while before it sleeps.
    FerrocalSpin,
    /// As `FerrocalInline`, and messages are sent in batches.
    FerrocalBatch,
    /// As `FerrocalInline`, through shared memory, where the subscriber acknowledges each message.
    FerrocalShm,
    /// As `FerrocalShm`, without acknowledging, as by default: the subscriber gets the newest message.
    FerrocalShmNewest,
    /// As `FerrocalShm`, and messages are read where they are.
    FerrocalShmInPlace,
    /// The real eCAL, by its C++ library.
    Ecal,
    /// As `Ecal`, through shared memory, where the subscriber acknowledges each message.
    EcalShm,
    /// As `EcalShm`, without acknowledging, as by default: the subscriber gets the newest message.
    EcalShmNewest,
    /// As `EcalShm`, and messages are read where they are.
    EcalShmInPlace,
    /// Sockets: datagrams of 1472 bytes, many in one call each way, by segmentation offload.
    BareGso,
    /// Sockets: datagrams of 65507 bytes, many in one call each way.
    BareLarge,
    /// As `BareLarge`, but the sender is not connected in local mode, either.
    BareSendto,
    /// As `BareLarge`, but readers spin instead of sleeping.
    BareSpin,
    /// Sockets: many messages in one call, by segmentation offload.
    BareBatch,
    /// iceoryx2; messages are copied out.
    Iceoryx2,
    /// As `Iceoryx2`, and messages are read where they are.
    Iceoryx2InPlace,
    /// LCM, by its C library.
    Lcm,
    /// zenoh, over TCP.
    Zenoh,
}

#[cfg(not(all(feature = "iceoryx2", feature = "peers")))]
const LEFT_OUT: &str = "built without the feature `peers`";

/// Sends messages: one way of a system to do so.
pub(crate) trait Outlet {
    /// How many messages one call sends.
    fn batch_len(&self) -> usize {
        1
    }

    /// Sends up to `batch_len` messages; tells how many were accepted.
    fn send(&mut self, messages: &[Vec<u8>]) -> usize;
}

/// Short messages in one call, where a candidate sends several.
pub(crate) const BATCH_LEN: usize = 32;

/// How long a [`Line`] waits for a message.
pub(crate) const PATIENCE: Duration = Duration::from_millis(200);

/// Sends and awaits one message at a time.
pub(crate) trait Line: Send {
    fn send(&mut self, message: &[u8]) -> Outcome<()>;
    /// The next message, handed to `look`; `false` after [`PATIENCE`] without one.
    fn receive(&mut self, look: &mut dyn FnMut(&[u8])) -> Outcome<bool>;
    /// Sends messages until a time and has each answered before the next, all on the thread that receives, where
    /// the system has that: the times that this took, and how many answers did not come.
    fn ping_inline(&mut self, _len: usize, _end_ns: u64) -> Outcome<Option<(Vec<u64>, u64)>> {
        Ok(None)
    }
    /// Sends the next message back; nothing after [`PATIENCE`] without one.
    fn echo(&mut self) -> Outcome<()>;
}

impl Peer {
    /// Whether this program was built with it.
    pub(crate) const fn is_built(self) -> bool {
        let is_iceoryx2 = matches!(self, Self::Iceoryx2 | Self::Iceoryx2InPlace);
        let is_peer = matches!(self, Self::Lcm | Self::Zenoh);
        (cfg!(feature = "iceoryx2") || !is_iceoryx2) && (cfg!(feature = "peers") || !is_peer)
    }

    /// Whether it sends many messages in one call.
    pub(crate) const fn is_batch(self) -> bool {
        matches!(self, Self::FerrocalBatch | Self::BareBatch)
    }

    /// Whether it is ferrocal.
    pub(crate) const fn is_ours(self) -> bool {
        matches!(
            self,
            Self::Ferrocal
                | Self::FerrocalCallback
                | Self::FerrocalInline
                | Self::FerrocalSpin
                | Self::FerrocalBatch
                | Self::FerrocalShm
                | Self::FerrocalShmNewest
                | Self::FerrocalShmInPlace
        )
    }

    /// Whether it is the real eCAL.
    pub(crate) const fn is_ecal(self) -> bool {
        matches!(self, Self::Ecal | Self::EcalShm | Self::EcalShmNewest | Self::EcalShmInPlace)
    }

    /// Whether it gives up messages for newer ones, and so loses some at any rate.
    pub(crate) const fn is_lossy(self) -> bool {
        matches!(self, Self::FerrocalShmNewest | Self::EcalShmNewest)
    }

    /// Whether it is the floor that the others stand on.
    pub(crate) const fn is_bare(self) -> bool {
        matches!(self, Self::BareGso | Self::BareLarge | Self::BareSendto | Self::BareSpin | Self::BareBatch)
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().expect("no peer is hidden").get_name().to_owned()
    }

    /// The way to publish on all topics of `setup`.
    pub(crate) fn outlet(self, setup: &Setup) -> Outcome<Box<dyn Outlet>> {
        Ok(match self {
            Self::Ferrocal
            | Self::FerrocalCallback
            | Self::FerrocalInline
            | Self::FerrocalSpin
            | Self::FerrocalShm
            | Self::FerrocalShmNewest
            | Self::FerrocalShmInPlace => Box::new(ferrocal::Single::new(setup)?),
            Self::FerrocalBatch => Box::new(ferrocal::Batch::new(setup)?),
            #[cfg(feature = "iceoryx2")]
            Self::Iceoryx2 | Self::Iceoryx2InPlace => {
                Box::new(iceoryx2::Sender::new(&setup.topic_names()[0], setup.size)?)
            }
            #[cfg(feature = "peers")]
            Self::Lcm => Box::new(lcm::Sender::new(setup)?),
            #[cfg(feature = "peers")]
            Self::Zenoh => Box::new(zenoh::Sender::new(setup)?),
            #[cfg(not(feature = "peers"))]
            Self::Lcm | Self::Zenoh => return Err(LEFT_OUT.into()),
            #[cfg(not(feature = "iceoryx2"))]
            Self::Iceoryx2 | Self::Iceoryx2InPlace => return Err(LEFT_OUT.into()),
            Self::BareGso | Self::BareLarge | Self::BareSendto | Self::BareSpin | Self::BareBatch => {
                Box::new(bare::Sender::new(setup)?)
            }
            Self::Ecal | Self::EcalShm | Self::EcalShmNewest | Self::EcalShmInPlace => {
                return Err("the real eCAL is a script".into());
            }
        })
    }

    /// Subscribes to all topics of `setup`, for as long as the result lives; a tally a subscriber.
    pub(crate) fn subscribe(self, setup: &Setup, tallies: &[Arc<Tally>]) -> Outcome<Box<dyn Any>> {
        Ok(match self {
            Self::Ferrocal
            | Self::FerrocalCallback
            | Self::FerrocalInline
            | Self::FerrocalSpin
            | Self::FerrocalBatch
            | Self::FerrocalShm
            | Self::FerrocalShmNewest
            | Self::FerrocalShmInPlace => Box::new(ferrocal::subscribe(setup, tallies)?),
            #[cfg(feature = "iceoryx2")]
            Self::Iceoryx2 | Self::Iceoryx2InPlace => Box::new(iceoryx2::subscribe(setup, tallies)?),
            #[cfg(feature = "peers")]
            Self::Lcm => Box::new(lcm::subscribe(setup, tallies)?),
            #[cfg(feature = "peers")]
            Self::Zenoh => Box::new(zenoh::subscribe(setup, tallies)?),
            #[cfg(not(feature = "peers"))]
            Self::Lcm | Self::Zenoh => return Err(LEFT_OUT.into()),
            #[cfg(not(feature = "iceoryx2"))]
            Self::Iceoryx2 | Self::Iceoryx2InPlace => return Err(LEFT_OUT.into()),
            Self::BareGso | Self::BareLarge | Self::BareSendto | Self::BareSpin | Self::BareBatch => {
                Box::new(bare::subscribe(setup, tallies)?)
            }
            Self::Ecal | Self::EcalShm | Self::EcalShmNewest | Self::EcalShmInPlace => {
                return Err("the real eCAL is a script".into());
            }
        })
    }

    /// Publishes on the topic `out` and receives on `into`.
    pub(crate) fn line(self, setup: &Setup, out: &str, into: &str) -> Outcome<Box<dyn Line>> {
        Ok(match self {
            Self::Ferrocal => Box::new(ferrocal::Line::new(setup, out, into)?),
            Self::FerrocalCallback
            | Self::FerrocalInline
            | Self::FerrocalSpin
            | Self::FerrocalBatch
            | Self::FerrocalShm
            | Self::FerrocalShmNewest
            | Self::FerrocalShmInPlace => Box::new(ferrocal::InlineLine::new(setup, out, into)?),
            #[cfg(feature = "iceoryx2")]
            Self::Iceoryx2 | Self::Iceoryx2InPlace => Box::new(iceoryx2::Line::new(setup, out, into)?),
            #[cfg(feature = "peers")]
            Self::Lcm => Box::new(lcm::Line::new(setup, out, into)?),
            #[cfg(feature = "peers")]
            Self::Zenoh => Box::new(zenoh::Line::new(setup, out, into)?),
            #[cfg(not(feature = "peers"))]
            Self::Lcm | Self::Zenoh => return Err(LEFT_OUT.into()),
            #[cfg(not(feature = "iceoryx2"))]
            Self::Iceoryx2 | Self::Iceoryx2InPlace => return Err(LEFT_OUT.into()),
            Self::BareGso | Self::BareLarge | Self::BareSendto | Self::BareSpin | Self::BareBatch => {
                Box::new(bare::Line::new(setup, out < into)?)
            }
            Self::Ecal | Self::EcalShm | Self::EcalShmNewest | Self::EcalShmInPlace => {
                return Err("the real eCAL is a script".into());
            }
        })
    }

    /// Removes what its processes leave when they end.
    pub(crate) fn clean_up(self) -> Outcome<()> {
        match self {
            #[cfg(feature = "iceoryx2")]
            Self::Iceoryx2 | Self::Iceoryx2InPlace => iceoryx2::clean_up(),
            _ => Ok(()),
        }
    }
}
