//! What processes announce to each other: themselves, their publishers and their subscribers.

use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU16;

use bytes::Bytes;
use prost::Message as _;

use crate::sample::put_name;
use crate::wire::{Fields, put_len_prefix};
use crate::{DropReason, EntityId, Text, pb, split_name};

mod convert;
mod service;

pub use service::{MethodInfo, ServiceInfo};

/// The sample name of registrations in the eCAL wire format.
const REGISTRATION_NAME: &[u8] = b"reg_sample";

/// The longest name taken from a registration in bytes: of hosts, processes and types.
///
/// Paths count as names. This and the other limits are this crate's own; eCAL has none.
pub const MAX_NAME_LEN: usize = 4 * 1024;

/// The longest topic name taken from a registration in bytes: what the name of a sample has room for.
pub const MAX_TOPIC_NAME_LEN: usize = u16::MAX as usize - 1;

/// The longest free text taken from a registration or a log message in bytes. Of a longer command line, the start is taken.
pub const MAX_TEXT_LEN: usize = 64 * 1024;

/// The largest number of transport layers taken from a registration; eCAL has three or four.
pub const MAX_LAYERS: usize = 16;

/// The largest number of memory files taken from a registration; eCAL has one for each buffer of a publisher.
pub const MAX_MEMORY_FILES: usize = 64;

/// The largest number of methods taken from the registration of a service.
pub const MAX_METHODS: usize = 256;

/// The longest registration message that is decoded in bytes. Nearly all of a long one is the descriptor of its type.
pub const MAX_REGISTRATION_LEN: usize = 64 * 1024 * 1024;

/// One registration message.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// Whether it comes or goes.
    pub action: Action,
    /// What comes or goes.
    pub announcement: Announcement,
}

/// Whether something is announced or withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is there; repeated at every refresh.
    Register,
    /// It is gone.
    Unregister,
}

/// What a registration is about.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Announcement {
    /// A process.
    Process(ProcessInfo),
    /// A publisher.
    Publisher(TopicInfo),
    /// A subscriber.
    Subscriber(TopicInfo),
    /// A server of a service.
    Server(ServiceInfo),
    /// A client of a service.
    Client(ServiceInfo),
}

impl Announcement {
    /// The name of the host that it is on.
    pub const fn host_name(&self) -> &Text {
        match self {
            Self::Process(info) => &info.host_name,
            Self::Publisher(info) | Self::Subscriber(info) => &info.host_name,
            Self::Server(info) | Self::Client(info) => &info.host_name,
        }
    }
}

/// The type of a topic's payload. In its texts, U+FFFD stands for bytes that are not UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataType {
    /// The type's name, such as the full name of a protobuf message; empty when not told.
    pub name: String,
    /// How the payload is encoded, such as `proto` or `base`; empty when not told.
    pub encoding: String,
    /// What describes the type, for `proto` a serialized `FileDescriptorSet`; may be empty.
    pub descriptor: Bytes,
}

/// A publisher or a subscriber of a topic.
///
/// The default is empty, with zeros everywhere, as protobuf has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicInfo {
    /// The name of its host.
    pub host_name: Text,
    /// Where shared memory reaches; the host name unless configured.
    pub shm_transport_domain: Text,
    /// Its process's id on the host.
    pub process_id: i32,
    /// The path of its process's executable.
    pub process_name: Text,
    /// The name its process gave itself.
    pub unit_name: Text,
    /// Its id.
    pub topic_id: EntityId,
    /// The topic's name.
    pub topic_name: Text,
    /// The type of the payload.
    pub data_type: DataType,
    /// The layers it can use.
    pub layers: Vec<Layer>,
    /// How often it was registered; eCAL 5.x leaves it at 0.
    pub registration_clock: i32,
    /// The length of the latest payload in bytes.
    pub topic_size: i32,
    /// The number of its peers on the same host.
    pub connections_local: i32,
    /// The number of its peers on other hosts.
    pub connections_external: i32,
    /// The number of messages it knows to be lost.
    pub message_drops: i32,
    /// The id the user gave the latest message.
    pub data_id: i64,
    /// The number of messages it sent or received.
    pub data_clock: i64,
    /// The rate of messages in millihertz.
    pub data_frequency_mhz: i32,
    /// From publishers to this subscriber, if it says so; eCAL does since 6.1.
    pub latency: Option<LatencyInfo>,
}

/// From the send time of a subscriber's messages to their receive time, in microseconds, since it was created.
///
/// All numbers are finite. They are negative if the publisher's clock is ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencyInfo {
    /// How many messages were measured, 1 at least.
    pub count: u64,
    /// Of the latest message.
    pub latest_us: f64,
    /// The shortest.
    pub min_us: f64,
    /// The longest.
    pub max_us: f64,
    /// The mean.
    pub mean_us: f64,
    /// The sum of the squared deviations from the mean, in square microseconds.
    pub sum_of_squares_us2: f64,
}

/// A way for payload, as one publisher or subscriber has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layer {
    /// Which way.
    pub kind: LayerKind,
    /// The generation of the writer: 1 is eCAL 5.x, 2 is eCAL 6.x.
    pub version: i32,
    /// Whether it may be used; always so below version 2, which does not tell.
    pub enabled: bool,
    /// Whether payload goes this way at the moment.
    pub active: bool,
    /// Where a subscriber finds the payload, if this is a publisher's.
    pub parameters: LayerParameters,
}

/// Where a subscriber finds the payload of a publisher that sends by a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LayerParameters {
    /// The port that the publisher listens on, with TCP.
    pub tcp_port: Option<NonZeroU16>,
    /// The names of the publisher's memory files, with shared memory.
    pub memory_files: Vec<Text>,
}

/// Which way payload goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerKind {
    /// UDP, to a multicast group or the loopback broadcast address.
    UdpMulticast,
    /// Shared memory.
    SharedMemory,
    /// TCP.
    Tcp,
    /// A number without a meaning here.
    Other(i32),
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessInfo {
    /// The name of its host.
    pub host_name: Text,
    /// Where shared memory reaches; the host name unless configured.
    pub shm_transport_domain: Text,
    /// Its id on the host.
    pub process_id: i32,
    /// The path of its executable.
    pub process_name: Text,
    /// The name it gave itself.
    pub unit_name: Text,
    /// Its command line.
    pub process_parameter: Text,
    /// How often it was registered; eCAL 5.x leaves it at 0.
    pub registration_clock: i32,
    /// How it is.
    pub state: ProcessState,
    /// The components it has started, as eCAL's bit set.
    pub component_init_state: i32,
    /// The components it has started, for people.
    pub component_init_info: Text,
    /// The version of its eCAL.
    pub runtime_version: Text,
    /// Where its time comes from.
    pub time_sync_state: TimeSyncState,
    /// The module its time comes from.
    pub time_sync_module_name: Text,
    /// The path of its configuration file.
    pub config_file_path: Text,
}

/// How a process says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessState {
    /// How grave it is.
    pub severity: Severity,
    /// How grave it is within the severity, from 1 to 5; 0 when not told.
    pub severity_level: i32,
    /// What the process has to say.
    pub info: Text,
}

/// How grave a process's state is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Not told.
    #[default]
    Unknown,
    /// All is well.
    Healthy,
    /// Something may be wrong.
    Warning,
    /// Something is wrong.
    Critical,
    /// It does not work.
    Failed,
}

/// Where a process's time comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimeSyncState {
    /// From nowhere in particular, or not told.
    #[default]
    None,
    /// From the clock.
    Realtime,
    /// From a recording that is played back.
    Replay,
}

impl Registration {
    /// Decodes a whole message, sample name included.
    ///
    /// The sample name is not looked at, since eCAL 5.x puts others there. The type that eCAL 5.x
    /// tells in fields of its own is taken when the usual one is absent.
    ///
    /// # Errors
    ///
    /// [`DropReason::Truncated`] or [`DropReason::BadSample`] when the message is damaged,
    /// [`DropReason::UnexpectedSample`] when it is not a registration, [`DropReason::TooLong`] when
    /// the message is longer than [`MAX_REGISTRATION_LEN`] or a field than its limit.
    pub fn decode(message: &[u8]) -> Result<Self, DropReason> {
        if message.len() > MAX_REGISTRATION_LEN {
            return Err(DropReason::TooLong);
        }
        let (_, sample) = split_name(message)?;
        Self::decode_sample(sample)
    }

    fn decode_sample(sample: &[u8]) -> Result<Self, DropReason> {
        check_counts(sample)?;
        let sample = pb::Sample::decode(sample).map_err(|_| DropReason::BadSample)?;
        convert::registration_from_wire(sample)
    }

    /// Encodes a whole message, sample name included.
    pub fn encode(&self) -> Vec<u8> {
        let sample = convert::registration_to_wire(self);
        let mut message = Vec::new();
        put_name(&mut message, REGISTRATION_NAME);
        message.reserve(sample.encoded_len());
        message.extend_from_slice(&sample.encode_to_vec());
        message
    }

    /// Appends this registration to a list, as processes of one host share it in memory.
    pub fn encode_into_list(&self, list: &mut Vec<u8>) {
        let sample = convert::registration_to_wire(self).encode_to_vec();
        put_len_prefix(list, SAMPLE_OF_LIST, sample.len());
        list.extend_from_slice(&sample);
    }

    /// Decodes each registration of a list, and skips what it holds otherwise. Ends at the first damage.
    ///
    /// # Errors
    /// Of each as [`decode`](Self::decode).
    pub fn decode_list(list: &[u8]) -> impl Iterator<Item = Result<Self, DropReason>> + '_ {
        let mut fields = Some(Fields(list));
        core::iter::from_fn(move || {
            loop {
                match fields.as_mut()?.next() {
                    Ok(Some((SAMPLE_OF_LIST, value))) => {
                        return Some(value.bytes().and_then(Self::decode_sample));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(reason) => {
                        fields = None;
                        return Some(Err(reason));
                    }
                }
            }
        })
    }
}

/// The one field of a list of registrations.
const SAMPLE_OF_LIST: u32 = 1;

/// Checks how many layers, memory files and methods a sample has, before anything is allocated for them.
///
/// They are the only repeated fields. An empty one takes two bytes here, and much more once decoded.
fn check_counts(sample: &[u8]) -> Result<(), DropReason> {
    const TOPIC: u32 = 5;
    const LAYER: u32 = 12;
    const LAYER_PARAMETERS: u32 = 5;
    const SHM_PARAMETERS: u32 = 2;
    const MEMORY_FILE: u32 = 1;
    const SERVICE: u32 = 4;
    const SERVICE_METHOD: u32 = 8;
    const CLIENT: u32 = 7;
    const CLIENT_METHOD: u32 = 9;
    let (mut layers, mut memory_files, mut methods) = (0, 0, 0);
    let mut fields = Fields(sample);
    while let Some((number, value)) = fields.next()? {
        // Several of one kind count as one, as protobuf merges them.
        let (repeated, count) = match number {
            TOPIC => (LAYER, &mut layers),
            SERVICE => (SERVICE_METHOD, &mut methods),
            CLIENT => (CLIENT_METHOD, &mut methods),
            _ => continue,
        };
        let mut fields = Fields(value.bytes()?);
        while let Some((number, value)) = fields.next()? {
            *count += usize::from(number == repeated);
            if repeated == LAYER && number == LAYER {
                memory_files += count_at(value.bytes()?, &[LAYER_PARAMETERS, SHM_PARAMETERS, MEMORY_FILE])?;
            }
        }
    }
    if layers > MAX_LAYERS || memory_files > MAX_MEMORY_FILES || methods > MAX_METHODS {
        return Err(DropReason::TooLong);
    }
    Ok(())
}

/// How many fields lie at a path of field numbers.
fn count_at(message: &[u8], path: &[u32]) -> Result<usize, DropReason> {
    let Some((&first, rest)) = path.split_first() else { return Ok(1) };
    let (mut count, mut fields) = (0, Fields(message));
    while let Some((number, value)) = fields.next()? {
        if number == first {
            count += if rest.is_empty() { 1 } else { count_at(value.bytes()?, rest)? };
        }
    }
    Ok(count)
}

/// Passes a text on unless it is longer than the limit.
fn capped(text: Vec<u8>, max_len: usize) -> Result<Text, DropReason> {
    if text.len() > max_len {
        return Err(DropReason::TooLong);
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests;
