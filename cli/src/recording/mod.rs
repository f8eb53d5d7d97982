//! Recordings: MCAP, which is written and read; eCAL's measurements and capture files, which are read; and capture files
//! made of recordings.

mod ahead;
mod behind;
mod capture;
mod channel;
mod chunks;
mod convert;
mod disk;
mod frames;
mod intake;
mod keys;
mod kind;
mod lengths;
mod measurement;
mod numbers;
mod parts;
mod pattern;
mod position;
mod queue;
mod read;
mod size;
mod status;
mod stretch;
mod time;
#[cfg(target_os = "linux")]
mod uncached;
mod write;
mod writing;

pub(crate) use ahead::{Ahead, Peek, ReadAhead};
pub(crate) use capture::Capture;
pub(crate) use channel::{Channel, Stamps, nanos};
pub(crate) use convert::{Conversion, convert};
pub(crate) use disk::Disk;
pub(crate) use intake::{Intake, OTHERS, Raw, RecordedTopic};
pub(crate) use keys::{KeyCode, Keys};
pub(crate) use kind::Kind;
pub(crate) use measurement::Measurement;
pub(crate) use parts::{Limits, Outcome, Part, Parts};
pub(crate) use pattern::{Patterns, TopicArgs};
pub(crate) use position::{Lateness, Position};
pub(crate) use queue::Queue;
pub(crate) use read::{Range, Recording};
pub(crate) use size::{human, size};
pub(crate) use status::StatusLine;
pub(crate) use time::{Place, clock, for_file_name, place, utc};
pub(crate) use write::{Compression, Writer};
pub(crate) use writing::{Progress, Sink};

/// Names of the metadata records that a recording has.
pub(crate) mod metadata {
    /// What recorded, where and with which options.
    pub(crate) const ABOUT: &str = "ferrocal";
    /// What was lost until then. The last one counts.
    pub(crate) const LOSSES: &str = "ferrocal.losses";
}
