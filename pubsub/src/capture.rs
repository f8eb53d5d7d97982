//! What a capture file holds.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrocal_proto::{
    Action, Announcement, DataType, DropReason, EntityId, Limits, MAX_REGISTRATION_LEN, Message,
    PayloadSample, Registration,
};
use ferrocal_transport::{Chain, Datagram, FileTransport, OpenError};

use crate::registry::Watch;
use crate::wire::Intake;
use crate::{AllowConfig, Config, Snapshot};

/// The most topics that are listed.
const MAX_TOPICS: usize = 65_536;

/// A topic of a capture file. Made by [`captured_topics`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CapturedTopic {
    /// The name. What is not UTF-8 in it is shown as U+FFFD.
    pub name: String,
    /// The data type, as its last publisher or subscriber in the file registered it. `None` if the file holds no
    /// registration of it.
    pub data_type: Option<DataType>,
    /// How many messages of it are in the file as a whole. 0 if it was only registered.
    pub messages: u64,
}

/// Lists the topics of a capture file, in the order of their names: 65536 at most, in
/// [`max_registry_bytes`](crate::LimitsConfig::max_registry_bytes). Of those beyond it, first the data type is left out.
///
/// `path` and what can be read are as in [`Selection::File`](crate::Selection::File). The ports and limits are those of
/// `config`. Reads the whole file, as fast as that goes. What was skipped, and why, is logged.
///
/// # Errors
/// When the file cannot be opened or is no capture. If it is damaged, or ends within a frame, the topics that come before are
/// listed, and a warning is logged.
pub fn captured_topics(path: &Path, config: &Config) -> Result<Vec<CapturedTopic>, OpenError> {
    topics(path, config, false)
}

/// As [`captured_topics`], but logs nothing, for a file of which a replay or another of these functions logs it.
///
/// # Errors
/// As [`captured_topics`].
pub fn captured_topics_quietly(path: &Path, config: &Config) -> Result<Vec<CapturedTopic>, OpenError> {
    topics(path, config, true)
}

fn topics(path: &Path, config: &Config, is_quiet: bool) -> Result<Vec<CapturedTopic>, OpenError> {
    let limits = config.limits.reassembly;
    let mut registrations =
        Intake::new(AllowConfig::default(), Limits { max_message_len: MAX_REGISTRATION_LEN, ..limits });
    let mut payload = Intake::new(AllowConfig::default(), limits);
    let mut topics = Topics { left: config.limits.max_registry_bytes, ..Topics::default() };
    each_datagram(path, is_quiet, &mut |port, datagram| {
        if port == config.registration_port() {
            registrations.each_message(datagram, |message| topics.register(&message));
            registrations.expire(Instant::now());
        } else if port == config.udp.port {
            payload.each_message(datagram, |message| topics.count(&message));
            payload.expire(Instant::now());
        }
    })?;
    Ok(topics.all.into_values().collect())
}

/// A message of a capture file. Passed on by [`captured_messages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CapturedMessage<'a> {
    /// The topic's name, which need not be UTF-8.
    pub topic: &'a [u8],
    /// The publisher's id.
    pub publisher_id: EntityId,
    /// The name of the publisher's host, which need not be UTF-8.
    pub host_name: &'a [u8],
    /// The publisher's count of its messages, from 1.
    pub clock: i64,
    /// When it was published, by the clock of the publisher's system.
    pub send_time: SystemTime,
    /// When its last frame was captured. `None` if the file does not say.
    pub captured: Option<SystemTime>,
    /// What was published.
    pub payload: &'a [u8],
}

/// Passes all messages of a capture file to `sink`, in the order in which they were captured. Blocks until the end of the
/// file.
///
/// `path`, `config` and what is logged are as in [`captured_topics`].
///
/// # Errors
/// When the file cannot be opened, is no capture, is damaged or ends within a frame. What comes before was passed on.
pub fn captured_messages(
    path: &Path,
    config: &Config,
    sink: &mut dyn FnMut(CapturedMessage<'_>),
) -> Result<(), OpenError> {
    let mut payload = Intake::new(AllowConfig::default(), config.limits.reassembly);
    let since_epoch = |time: Duration| UNIX_EPOCH.checked_add(time).unwrap_or(UNIX_EPOCH);
    let result = FileTransport::new(path.to_owned()).each_datagram(&mut |port, captured, datagram| {
        if port != config.udp.port {
            return;
        }
        payload.each_message(datagram, |message| {
            let sample = PayloadSample::decode(message.as_slice())?;
            sink(CapturedMessage {
                topic: sample.topic_name,
                publisher_id: EntityId::from_wire(sample.topic_id),
                host_name: sample.host_name,
                clock: sample.clock,
                send_time: since_epoch(Duration::from_micros(u64::try_from(sample.time_us).unwrap_or(0))),
                captured: captured.map(since_epoch),
                payload: sample.payload,
            });
            Ok(())
        });
        payload.expire(Instant::now());
    });
    result.map_err(OpenError::File)
}

/// All that registers in a capture file: each as it registered last, whether it unregistered later or not. It is bounded as
/// what a [`Monitor`](crate::Monitor) shows.
///
/// `path` and what can be read are as in [`Selection::File`](crate::Selection::File). The port and limits are those of
/// `config`. Reads the whole file, as fast as that goes. What was skipped, and why, is logged.
///
/// # Errors
/// As [`captured_topics`].
pub fn captured_registrations(path: &Path, config: &Config) -> Result<Snapshot, OpenError> {
    registrations(path, config, false)
}

/// As [`captured_registrations`], but logs nothing, for a file of which a replay or another of these functions logs it.
///
/// # Errors
/// As [`captured_topics`].
pub fn captured_registrations_quietly(path: &Path, config: &Config) -> Result<Snapshot, OpenError> {
    registrations(path, config, true)
}

fn registrations(path: &Path, config: &Config, is_quiet: bool) -> Result<Snapshot, OpenError> {
    let limits = config.limits.reassembly;
    let mut registrations =
        Intake::new(AllowConfig::default(), Limits { max_message_len: MAX_REGISTRATION_LEN, ..limits });
    let watch = Watch::new(config.limits.max_peers, config.limits.max_registry_bytes);
    watch.start();
    each_datagram(path, is_quiet, &mut |port, datagram| {
        if port == config.registration_port() {
            registrations.each_message(datagram, |message| {
                let Registration { action, announcement } = Registration::decode(message.as_slice())?;
                if action == Action::Register {
                    watch.registered(Instant::now(), action, &announcement);
                }
                Ok(())
            });
            registrations.expire(Instant::now());
        }
    })?;
    Ok(watch.snapshot())
}

/// Passes the datagrams of a file to `sink`. Only what nothing could be read of is an error.
fn each_datagram(
    path: &Path,
    is_quiet: bool,
    sink: &mut dyn FnMut(u16, Datagram<'_>),
) -> Result<(), OpenError> {
    let file = FileTransport::new(path.to_owned());
    let file = if is_quiet { file.quiet() } else { file };
    let mut is_read = false;
    let result = file.each_datagram(&mut |port, _, datagram| {
        is_read = true;
        sink(port, datagram);
    });
    match result {
        Err(error) if !is_read => return Err(OpenError::File(error)),
        Err(error) if !is_quiet => log::warn!("{}", Chain(&error)),
        Err(_) | Ok(()) => {}
    }
    Ok(())
}

#[derive(Default)]
struct Topics {
    all: BTreeMap<Vec<u8>, CapturedTopic>,
    /// The bytes that are left for more.
    left: usize,
}

impl Topics {
    /// The topic of this name, unless there are too many.
    fn get(&mut self, name: &[u8]) -> Option<&mut CapturedTopic> {
        // Twice, and what is not UTF-8 takes three bytes for one.
        let cost = size_of::<CapturedTopic>() + 4 * name.len();
        if !self.all.contains_key(name) && self.all.len() < MAX_TOPICS && cost <= self.left {
            self.left -= cost;
            let text = String::from_utf8_lossy(name).into_owned();
            self.all.insert(name.to_owned(), CapturedTopic { name: text, data_type: None, messages: 0 });
        }
        self.all.get_mut(name)
    }

    fn register(&mut self, message: &Message<'_>) -> Result<(), DropReason> {
        let registration = Registration::decode(message.as_slice())?;
        if let Announcement::Publisher(info) | Announcement::Subscriber(info) = registration.announcement {
            self.set_type(&info.topic_name, info.data_type);
        }
        Ok(())
    }

    fn set_type(&mut self, name: &[u8], data_type: DataType) {
        let cost = |data_type: &DataType| {
            data_type.name.len() + data_type.encoding.len() + data_type.descriptor.len()
        };
        if self.get(name).is_none() {
            return;
        }
        let left = self.left;
        let Some(topic) = self.all.get_mut(name) else { return };
        let free = left + topic.data_type.take().as_ref().map_or(0, cost);
        topic.data_type = Some(data_type).filter(|data_type| cost(data_type) <= free);
        self.left = free - topic.data_type.as_ref().map_or(0, cost);
    }

    fn count(&mut self, message: &Message<'_>) -> Result<(), DropReason> {
        let sample = PayloadSample::decode(message.as_slice())?;
        if let Some(topic) = self.get(sample.topic_name) {
            topic.messages += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_captures_topics_are_listed() {
        let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/captures");
        let topics =
            captured_topics(&captures.join("ecal-6.1.1-network-small.pcap"), &Config::default()).unwrap();
        let [hello] = &topics[..] else { panic!("{topics:?}") };
        assert_eq!((hello.name.as_str(), hello.messages), ("hello", 10));
        assert_eq!(hello.data_type.as_ref().unwrap().name, "demo.Point");

        let cut = captured_topics(&captures.join("wrapped/snapped-96.pcap"), &Config::default()).unwrap();
        assert_eq!(cut, []);
        let missing = captured_topics(Path::new("/nowhere/missing.pcap"), &Config::default());
        assert!(matches!(missing, Err(OpenError::File(_))));
    }

    #[test]
    fn all_messages_are_passed_on_with_the_times_of_their_frames() {
        let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/captures");
        let (mut clocks, mut times) = (Vec::new(), Vec::new());
        let mut sink = |message: CapturedMessage<'_>| {
            assert_eq!((message.topic, message.payload.len()), (&b"hello"[..], 20));
            clocks.push(message.clock);
            let delay = message.captured.unwrap().duration_since(message.send_time).unwrap();
            assert!(delay < Duration::from_secs(1), "{delay:?}");
            times.push(message.send_time);
        };
        let file = captures.join("ecal-6.1.1-network-small.pcap");
        captured_messages(&file, &Config::default(), &mut sink).unwrap();
        assert_eq!(clocks, (1..=10).collect::<Vec<_>>());
        assert!(times.is_sorted());
        let missing = captured_messages(Path::new("/nowhere/missing.pcap"), &Config::default(), &mut |_| {});
        assert!(matches!(missing, Err(OpenError::File(_))));
    }

    #[test]
    fn what_registers_in_a_capture_is_listed_as_it_registered_last() {
        let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/captures");
        let file = captures.join("ecal-6.1.1-network-small.pcap");
        let snapshot = captured_registrations(&file, &Config::default()).unwrap();
        let [publisher] = &snapshot.publishers[..] else { panic!("{snapshot:?}") };
        assert_eq!(publisher.info.topic_name, "hello");
        assert_eq!((publisher.info.data_clock, publisher.info.topic_size), (10, 20));
        assert_eq!((snapshot.processes.len(), snapshot.subscribers.len()), (2, 1));
        let missing = captured_registrations(Path::new("/nowhere/missing.pcap"), &Config::default());
        assert!(matches!(missing, Err(OpenError::File(_))));
    }

    #[test]
    fn topics_have_a_bound_in_number_and_bytes() {
        let mut topics = Topics { left: usize::MAX, ..Topics::default() };
        (0..MAX_TOPICS).for_each(|n| assert!(topics.get(n.to_string().as_bytes()).is_some()));
        assert!(topics.get(b"one more").is_none());
        assert!(topics.get(b"0").is_some());

        let mut topics = Topics { left: 1000, ..Topics::default() };
        let described = |len| DataType { descriptor: vec![0; len].into(), ..DataType::default() };
        topics.set_type(b"a", described(500));
        topics.set_type(b"a", described(600));
        assert_eq!(topics.all[&b"a"[..]].data_type, Some(described(600)), "the newest counts");
        topics.set_type(b"a", described(1000));
        assert_eq!(topics.all[&b"a"[..]].data_type, None);
        topics.set_type(b"a", described(600));
        assert!(topics.get(&[b'b'; 100]).is_none());
        assert!(topics.left < 1000);
    }
}
