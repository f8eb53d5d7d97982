//! Reads capture files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferrocal::{Config, DataType, EntityId, TopicInfo, captured_messages, captured_registrations_quietly};

use super::{Channel, Stamps, nanos};

/// A capture file that is read.
pub(crate) struct Capture {
    path: PathBuf,
    config: Config,
    publishers: Vec<Arc<TopicInfo>>,
}

/// A publisher, as its messages name it.
type Key = (Vec<u8>, Vec<u8>, EntityId);

impl Capture {
    /// Opens a file, and reads what registered in it.
    ///
    /// # Errors
    /// When it cannot be read, or is no capture.
    pub(crate) fn open(path: &Path, config: &Config) -> anyhow::Result<Self> {
        // `each` logs what was skipped, and reports what is damaged.
        let publishers = captured_registrations_quietly(path, config)?.publishers;
        let publishers = publishers.into_iter().map(|seen| seen.info).collect();
        Ok(Self { path: path.to_owned(), config: config.clone(), publishers })
    }

    /// Passes all messages to `each`, with a number for each publisher, in the order in which they were captured, until it
    /// returns `false`. What cannot be read is passed to `damage`.
    ///
    /// # Errors
    /// Those of `each`.
    pub(crate) fn each(
        &self,
        mut each: impl FnMut(usize, &Channel, Stamps, &[u8]) -> anyhow::Result<bool>,
        damage: impl FnOnce(String),
    ) -> anyhow::Result<()> {
        let mut channels = Vec::new();
        let mut numbers = HashMap::<Key, usize>::new();
        let mut last_ns = None;
        let mut result = Ok(true);
        let read = captured_messages(&self.path, &self.config, &mut |message| {
            if !matches!(result, Ok(true)) {
                return;
            }
            let key = (message.topic.to_owned(), message.host_name.to_owned(), message.publisher_id);
            let number = *numbers.entry(key).or_insert_with_key(|key| {
                channels.push(self.channel(key));
                channels.len() - 1
            });
            // Frames without a time were captured with the one before.
            let captured_ns = message.captured.map(nanos);
            last_ns = captured_ns.or(last_ns);
            let publish_ns = nanos(message.send_time);
            let log_ns = last_ns.unwrap_or(publish_ns);
            let stamps = Stamps { log_ns, publish_ns, clock: message.clock };
            result = each(number, &channels[number], stamps, message.payload);
        });
        if let Err(error) = read {
            damage(format!("{:#}", anyhow::Error::from(error)));
        }
        result.map(drop)
    }

    /// What is known of a publisher. Those of eCAL 5 name themselves in their messages otherwise than in their
    /// registrations.
    fn channel(&self, (topic, host, id): &Key) -> Channel {
        let of_topic = || self.publishers.iter().filter(|info| *info.topic_name == topic[..]);
        let itself =
            of_topic().find(|info| info.topic_id == *id && (host.is_empty() || *info.host_name == host[..]));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut channel =
            Channel { topic: text(topic), host: text(host), topic_id: Some(id.get()), ..Channel::default() };
        if let Some(info) = itself {
            channel.process = text(&info.process_name);
            channel.unit = text(&info.unit_name);
            channel.process_id = Some(info.process_id);
            channel.host = text(&info.host_name);
        }
        channel.data_type = itself
            .or_else(|| of_topic().next())
            .map_or_else(DataType::default, |info| info.data_type.clone());
        channel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_with_what_their_publishers_registered() {
        let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/captures");
        // The publisher of eCAL 5 had no type.
        for (version, type_name) in [("5.13.4", ""), ("6.1.1", "demo.Point")] {
            let file = captures.join(format!("ecal-{version}-network-small.pcap"));
            let capture = Capture::open(&file, &Config::default()).unwrap();
            let mut clocks = Vec::new();
            let each = |number: usize, channel: &Channel, stamps: Stamps, payload: &[u8]| {
                assert_eq!((number, &*channel.topic, payload.len()), (0, "hello", 20));
                assert_eq!(channel.data_type.name, type_name, "{version}");
                assert!(channel.process_id.is_some() && !channel.unit.is_empty(), "{version}: {channel:?}");
                assert!(stamps.log_ns >= stamps.publish_ns, "{stamps:?}");
                clocks.push(stamps.clock);
                Ok(true)
            };
            capture.each(each, |damage| panic!("{damage}")).unwrap();
            assert_eq!(clocks, (1..=10).collect::<Vec<_>>(), "{version}");
        }
    }
}
