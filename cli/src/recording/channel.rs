//! A publisher in a recording, and how MCAP describes it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrocal::DataType;

/// Keys of a channel's metadata.
mod key {
    pub(super) const ENCODING: &str = "ecal.encoding";
    pub(super) const TYPE: &str = "ecal.type";
    pub(super) const HOST: &str = "ecal.host";
    pub(super) const PROCESS: &str = "ecal.process";
    pub(super) const PROCESS_ID: &str = "ecal.process_id";
    pub(super) const UNIT: &str = "ecal.unit";
    pub(super) const TOPIC_ID: &str = "ecal.topic_id";
}

/// The schema encoding of descriptors that MCAP has no name for and whose publishers name no encoding.
const UNNAMED: &str = "ecal";

/// A publisher in a recording.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Channel {
    pub(crate) topic: String,
    pub(crate) data_type: DataType,
    /// The name of its host; empty if not known, as all that follows.
    pub(crate) host: String,
    pub(crate) process: String,
    pub(crate) process_id: Option<i32>,
    pub(crate) unit: String,
    pub(crate) topic_id: Option<u64>,
}

/// The times and the clock of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stamps {
    /// When it was received, in nanoseconds since the Unix epoch.
    pub(crate) log_ns: u64,
    /// When it was sent, in nanoseconds since the Unix epoch.
    pub(crate) publish_ns: u64,
    /// The publisher's count of its messages. MCAP keeps the low 32 bits.
    pub(crate) clock: i64,
}

impl Channel {
    /// The name, encoding and data of MCAP's schema. `None` without one.
    pub(super) fn schema(&self) -> Option<(&str, &str, &[u8])> {
        let DataType { name, encoding, descriptor } = &self.data_type;
        let encoding = match &**encoding {
            "proto" => "protobuf",
            "json" => "jsonschema",
            "flatb" => "flatbuffer",
            "" => UNNAMED,
            other => other,
        };
        (!descriptor.is_empty()).then_some((name, encoding, descriptor))
    }

    /// MCAP's encoding of the messages.
    pub(super) fn message_encoding(&self) -> &str {
        match &*self.data_type.encoding {
            "proto" => "protobuf",
            "flatb" => "flatbuffer",
            "mpack" => "msgpack",
            other => other,
        }
    }

    pub(super) fn metadata(&self) -> BTreeMap<String, String> {
        let number = |number: Option<String>| number.unwrap_or_default();
        let DataType { name, encoding, .. } = &self.data_type;
        let entries = [
            (key::ENCODING, encoding.clone(), true),
            (key::TYPE, name.clone(), true),
            (key::HOST, self.host.clone(), false),
            (key::PROCESS, self.process.clone(), false),
            (key::PROCESS_ID, number(self.process_id.map(|id| id.to_string())), false),
            (key::UNIT, self.unit.clone(), false),
            (key::TOPIC_ID, number(self.topic_id.map(|id| id.to_string())), false),
        ];
        let is_told = |(_, value, always): &(_, String, bool)| *always || !value.is_empty();
        entries.into_iter().filter(is_told).map(|(key, value, _)| (key.to_owned(), value)).collect()
    }

    /// Reads a channel of any MCAP file, of other programs too.
    pub(super) fn of_mcap(channel: &mcap::Channel<'_>) -> Self {
        let text = |key: &str| channel.metadata.get(key).cloned();
        let schema = channel.schema.as_deref();
        let encoding = text(key::ENCODING).unwrap_or_else(|| {
            match &*channel.message_encoding {
                "protobuf" => "proto",
                "flatbuffer" => "flatb",
                "msgpack" => "mpack",
                other => other,
            }
            .to_owned()
        });
        let data_type = DataType {
            name: text(key::TYPE).or_else(|| Some(schema?.name.clone())).unwrap_or_default(),
            encoding,
            descriptor: schema.map(|schema| schema.data.to_vec()).unwrap_or_default().into(),
        };
        Self {
            topic: channel.topic.clone(),
            data_type,
            host: text(key::HOST).unwrap_or_default(),
            process: text(key::PROCESS).unwrap_or_default(),
            process_id: text(key::PROCESS_ID).and_then(|id| id.parse().ok()),
            unit: text(key::UNIT).unwrap_or_default(),
            topic_id: text(key::TOPIC_ID).and_then(|id| id.parse().ok()),
        }
    }

    /// What of a type name and an encoding people read: `demo.Point (proto)`.
    pub(crate) fn type_text(&self) -> Cow<'_, str> {
        let DataType { name, encoding, .. } = &self.data_type;
        match (&**name, &**encoding) {
            ("", "") => "-".into(),
            ("", encoding) => format!("({encoding})").into(),
            (name, "") => name.into(),
            (name, encoding) => format!("{name} ({encoding})").into(),
        }
    }
}

/// Nanoseconds since the Unix epoch; 0 before.
pub(crate) fn nanos(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn through_mcap(channel: &Channel) -> Channel {
        let schema = channel.schema().map(|(name, encoding, data)| {
            let (name, encoding, data) = (name.to_owned(), encoding.to_owned(), data.to_vec().into());
            Arc::new(mcap::Schema { id: 1, name, encoding, data })
        });
        Channel::of_mcap(&mcap::Channel {
            id: 1,
            topic: channel.topic.clone(),
            schema,
            message_encoding: channel.message_encoding().to_owned(),
            metadata: channel.metadata(),
        })
    }

    #[test]
    fn a_channel_comes_back_as_it_was() {
        for (name, encoding, descriptor) in [
            ("demo.Point", "proto", &b"descriptor"[..]),
            ("demo.Point", "proto", b""),
            ("string", "utf-8", b""),
            ("State", "json", b"{}"),
            ("", "", b""),
            ("", "", b"what"),
            ("Image", "flatb", b"schema"),
            ("Image", "other", b"schema"),
        ] {
            let channel = Channel {
                topic: "a topic".into(),
                data_type: DataType {
                    name: name.into(),
                    encoding: encoding.into(),
                    descriptor: descriptor.into(),
                },
                host: "host".into(),
                process_id: Some(-1),
                unit: "unit".into(),
                topic_id: Some(u64::MAX),
                ..Channel::default()
            };
            assert_eq!(through_mcap(&channel), channel);
        }
        assert_eq!(through_mcap(&Channel::default()), Channel::default());
    }

    #[test]
    fn channels_of_other_programs_are_understood() {
        let schema = mcap::Schema {
            id: 1,
            name: "demo.Point".into(),
            encoding: "protobuf".into(),
            data: b"set".as_slice().into(),
        };
        let channel = mcap::Channel {
            id: 7,
            topic: "point".into(),
            schema: Some(Arc::new(schema)),
            message_encoding: "protobuf".into(),
            metadata: BTreeMap::from([("ecal.process_id".into(), "none".into())]),
        };
        let expected = DataType {
            name: "demo.Point".into(),
            encoding: "proto".into(),
            descriptor: b"set".as_slice().into(),
        };
        let expected = Channel { topic: "point".into(), data_type: expected, ..Channel::default() };
        assert_eq!(Channel::of_mcap(&channel), expected);
    }
}
