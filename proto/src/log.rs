//! The log lines that eCAL processes send.

use alloc::string::String;
use alloc::vec::Vec;

use prost::Message as _;

use crate::registration::{MAX_NAME_LEN, MAX_TEXT_LEN};
use crate::sample::put_name;
use crate::text::readable;
use crate::{DropReason, pb, split_name};

/// The sample name of log messages in the eCAL wire format.
const LOG_NAME: &[u8] = b"_log_message_";

/// The longest log message that is decoded in bytes: what its texts have room for, and some more for fields that are
/// unknown here.
const MAX_LOG_MESSAGE_LEN: usize = 2 * MAX_TEXT_LEN;

/// A line of a process's log. In its texts, U+FFFD stands for bytes that are not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMessage {
    /// When it was written, in microseconds since the Unix epoch.
    pub time_us: i64,
    /// The name of the process's host.
    pub host_name: String,
    /// The process's id on its host.
    pub process_id: i32,
    /// The path of the process's executable.
    pub process_name: String,
    /// The name the process gave itself.
    pub unit_name: String,
    /// How grave it is.
    pub level: LogLevel,
    /// The text.
    pub content: String,
}

/// How grave a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogLevel {
    /// For information.
    Info,
    /// Something may be wrong.
    Warning,
    /// Something went wrong.
    Error,
    /// Something went wrong for good.
    Fatal,
    /// For developers, the coarsest.
    Debug1,
    /// For developers.
    Debug2,
    /// For developers.
    Debug3,
    /// For developers, the finest.
    Debug4,
    /// A number without a meaning here.
    Other(i32),
}

impl LogLevel {
    fn from_wire(level: i32) -> Self {
        match level {
            1 => Self::Info,
            2 => Self::Warning,
            4 => Self::Error,
            8 => Self::Fatal,
            16 => Self::Debug1,
            32 => Self::Debug2,
            64 => Self::Debug3,
            128 => Self::Debug4,
            other => Self::Other(other),
        }
    }

    fn to_wire(self) -> i32 {
        match self {
            Self::Info => 1,
            Self::Warning => 2,
            Self::Error => 4,
            Self::Fatal => 8,
            Self::Debug1 => 16,
            Self::Debug2 => 32,
            Self::Debug3 => 64,
            Self::Debug4 => 128,
            Self::Other(other) => other,
        }
    }
}

impl LogMessage {
    /// Decodes a whole message, sample name included.
    ///
    /// # Errors
    ///
    /// [`DropReason::Truncated`] or [`DropReason::BadSample`] when the message is damaged,
    /// [`DropReason::UnexpectedSample`] when it has another sample name, [`DropReason::TooLong`]
    /// when a text is longer than [`MAX_NAME_LEN`], the content than [`MAX_TEXT_LEN`], or the message than 128 KiB.
    pub fn decode(message: &[u8]) -> Result<Self, DropReason> {
        let (name, log) = split_name(message)?;
        if name != LOG_NAME {
            return Err(DropReason::UnexpectedSample);
        }
        if message.len() > MAX_LOG_MESSAGE_LEN {
            return Err(DropReason::TooLong);
        }
        let log = pb::LogMessage::decode(log).map_err(|_| DropReason::BadSample)?;
        Ok(Self {
            time_us: log.time,
            host_name: readable(log.host_name, MAX_NAME_LEN)?,
            process_id: log.process_id,
            process_name: readable(log.process_name, MAX_NAME_LEN)?,
            unit_name: readable(log.unit_name, MAX_NAME_LEN)?,
            level: LogLevel::from_wire(log.level),
            content: readable(log.content, MAX_TEXT_LEN)?,
        })
    }

    /// Encodes a whole message, sample name included.
    pub fn encode(&self) -> Vec<u8> {
        let log = pb::LogMessage {
            time: self.time_us,
            host_name: self.host_name.clone().into(),
            process_id: self.process_id,
            process_name: self.process_name.clone().into(),
            unit_name: self.unit_name.clone().into(),
            level: self.level.to_wire(),
            content: self.content.clone().into(),
        };
        let mut message = Vec::new();
        put_name(&mut message, LOG_NAME);
        message.extend_from_slice(&log.encode_to_vec());
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ecal_6_1() {
        let message = include_bytes!("../tests/data/ecal-6.1.1-log.bin");
        let mut log = LogMessage::decode(message).unwrap();
        assert!(log.content.starts_with("Could not load eCAL time sync module"));
        log.content.clear();
        let expected = LogMessage {
            time_us: 1_795_175_717_858_591,
            host_name: "hb".into(),
            process_id: 20906,
            process_name: "/opt/python/bin/python3.11".into(),
            unit_name: "real_ecal_sub".into(),
            level: LogLevel::Error,
            content: String::new(),
        };
        assert_eq!(log, expected);
    }

    #[test]
    fn round_trips() {
        for level in [1, 2, 4, 8, 16, 32, 64, 128, 3] {
            let log = LogMessage {
                time_us: -1,
                host_name: "host".into(),
                process_id: 1,
                process_name: "process".into(),
                unit_name: "unit".into(),
                level: LogLevel::from_wire(level),
                content: "content".into(),
            };
            assert_eq!(log.level.to_wire(), level);
            assert_eq!(LogMessage::decode(&log.encode()), Ok(log));
        }
    }

    #[test]
    fn drops() {
        let decode = |name: &[u8], log: &[u8]| {
            let mut message = Vec::new();
            put_name(&mut message, name);
            message.extend_from_slice(log);
            LogMessage::decode(&message).map(|_| ())
        };
        assert_eq!(decode(LOG_NAME, &[]), Ok(()));
        assert_eq!(decode(b"hello", &[]), Err(DropReason::UnexpectedSample));
        assert_eq!(decode(LOG_NAME, &[0x12, 1, 0xff]), Ok(()), "not UTF-8");
        let long = pb::LogMessage { content: std::vec![b'x'; MAX_TEXT_LEN + 1], ..Default::default() };
        assert_eq!(decode(LOG_NAME, &long.encode_to_vec()), Err(DropReason::TooLong));
    }
}
