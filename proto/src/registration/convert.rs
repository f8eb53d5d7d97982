//! Between the generated messages and the crate's own types.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::num::NonZeroU16;

use super::service::{client_from_wire, client_to_wire, server_from_wire, server_to_wire};
use super::{
    Action, Announcement, DataType, LatencyInfo, Layer, LayerKind, LayerParameters, MAX_NAME_LEN,
    MAX_TEXT_LEN, MAX_TOPIC_NAME_LEN, ProcessInfo, ProcessState, Registration, Severity, TimeSyncState,
    TopicInfo, capped,
};
use crate::pb::{ECmdType, EProcessSeverity, ETimeSyncState, ETransportLayerType};
use crate::text::readable;
use crate::{DropReason, EntityId, Text, pb};

pub(super) fn registration_from_wire(sample: pb::Sample) -> Result<Registration, DropReason> {
    use Action::{Register, Unregister};
    let cmd_type = ECmdType::try_from(sample.cmd_type).map_err(|_| DropReason::UnexpectedSample)?;
    let process = || process_from_wire(sample.process.ok_or(DropReason::BadSample)?);
    let topic = || topic_from_wire(sample.topic.ok_or(DropReason::BadSample)?);
    let server = || server_from_wire(sample.service.ok_or(DropReason::BadSample)?);
    let client = || client_from_wire(sample.client.ok_or(DropReason::BadSample)?);
    let (action, announcement) = match cmd_type {
        ECmdType::BctRegProcess => (Register, Announcement::Process(process()?)),
        ECmdType::BctUnregProcess => (Unregister, Announcement::Process(process()?)),
        ECmdType::BctRegPublisher => (Register, Announcement::Publisher(topic()?)),
        ECmdType::BctUnregPublisher => (Unregister, Announcement::Publisher(topic()?)),
        ECmdType::BctRegSubscriber => (Register, Announcement::Subscriber(topic()?)),
        ECmdType::BctUnregSubscriber => (Unregister, Announcement::Subscriber(topic()?)),
        ECmdType::BctRegService => (Register, Announcement::Server(server()?)),
        ECmdType::BctUnregService => (Unregister, Announcement::Server(server()?)),
        ECmdType::BctRegClient => (Register, Announcement::Client(client()?)),
        ECmdType::BctUnregClient => (Unregister, Announcement::Client(client()?)),
        ECmdType::BctNone | ECmdType::BctSetSample => return Err(DropReason::UnexpectedSample),
    };
    Ok(Registration { action, announcement })
}

pub(super) fn registration_to_wire(registration: &Registration) -> pb::Sample {
    let command = |register: ECmdType, unregister: ECmdType| match registration.action {
        Action::Register => register.into(),
        Action::Unregister => unregister.into(),
    };
    match &registration.announcement {
        Announcement::Process(process) => pb::Sample {
            cmd_type: command(ECmdType::BctRegProcess, ECmdType::BctUnregProcess),
            process: Some(process_to_wire(process)),
            ..pb::Sample::default()
        },
        Announcement::Publisher(topic) => pb::Sample {
            cmd_type: command(ECmdType::BctRegPublisher, ECmdType::BctUnregPublisher),
            topic: Some(topic_to_wire(topic)),
            ..pb::Sample::default()
        },
        Announcement::Subscriber(topic) => pb::Sample {
            cmd_type: command(ECmdType::BctRegSubscriber, ECmdType::BctUnregSubscriber),
            topic: Some(topic_to_wire(topic)),
            ..pb::Sample::default()
        },
        Announcement::Server(server) => pb::Sample {
            cmd_type: command(ECmdType::BctRegService, ECmdType::BctUnregService),
            service: Some(server_to_wire(server)),
            ..pb::Sample::default()
        },
        Announcement::Client(client) => pb::Sample {
            cmd_type: command(ECmdType::BctRegClient, ECmdType::BctUnregClient),
            client: Some(client_to_wire(client)),
            ..pb::Sample::default()
        },
    }
}

pub(super) fn name(text: Vec<u8>) -> Result<Text, DropReason> {
    capped(text, MAX_NAME_LEN)
}

fn topic_from_wire(topic: pb::Topic) -> Result<TopicInfo, DropReason> {
    Ok(TopicInfo {
        host_name: name(topic.host_name)?,
        shm_transport_domain: name(topic.shm_transport_domain)?,
        process_id: topic.process_id,
        process_name: name(topic.process_name)?,
        unit_name: name(topic.unit_name)?,
        topic_id: EntityId::from_wire(&topic.topic_id),
        topic_name: capped(topic.topic_name, MAX_TOPIC_NAME_LEN)?,
        data_type: data_type_from_wire(
            topic.datatype_information.unwrap_or_default(),
            topic.ttype,
            topic.tdesc,
        )?,
        layers: topic.transport_layer.into_iter().map(layer_from_wire).collect::<Result<_, _>>()?,
        registration_clock: topic.registration_clock,
        topic_size: topic.topic_size,
        connections_local: topic.connections_local,
        connections_external: topic.connections_external,
        message_drops: topic.message_drops,
        data_id: topic.data_id,
        data_clock: topic.data_clock,
        data_frequency_mhz: topic.data_frequency,
        latency: topic.data_latency_us.and_then(latency_from_wire),
    })
}

fn topic_to_wire(topic: &TopicInfo) -> pb::Topic {
    pb::Topic {
        registration_clock: topic.registration_clock,
        host_name: topic.host_name.to_vec(),
        process_id: topic.process_id,
        process_name: topic.process_name.to_vec(),
        unit_name: topic.unit_name.to_vec(),
        topic_id: topic.topic_id.to_string().into(),
        topic_name: topic.topic_name.to_vec(),
        transport_layer: topic.layers.iter().map(layer_to_wire).collect::<Vec<_>>(),
        topic_size: topic.topic_size,
        connections_local: topic.connections_local,
        connections_external: topic.connections_external,
        message_drops: topic.message_drops,
        data_id: topic.data_id,
        data_clock: topic.data_clock,
        data_frequency: topic.data_frequency_mhz,
        data_latency_us: topic.latency.map(latency_to_wire),
        shm_transport_domain: topic.shm_transport_domain.to_vec(),
        datatype_information: Some(data_type_to_wire(&topic.data_type)),
        ..pb::Topic::default()
    }
}

/// Before the first message, eCAL sends infinity.
fn latency_from_wire(latency: pb::Statistics) -> Option<LatencyInfo> {
    let pb::Statistics { count, latest, min, max, mean, variance } = latency;
    let is_known = count > 0 && [latest, min, max, mean, variance].into_iter().all(f64::is_finite);
    is_known.then_some(LatencyInfo {
        count,
        latest_us: latest,
        min_us: min,
        max_us: max,
        mean_us: mean,
        sum_of_squares_us2: variance,
    })
}

fn latency_to_wire(latency: LatencyInfo) -> pb::Statistics {
    pb::Statistics {
        count: latency.count,
        latest: latency.latest_us,
        min: latency.min_us,
        max: latency.max_us,
        mean: latency.mean_us,
        variance: latency.sum_of_squares_us2,
    }
}

fn data_type_from_wire(
    told: pb::DataTypeInformation,
    ttype: Vec<u8>,
    tdesc: bytes::Bytes,
) -> Result<DataType, DropReason> {
    if told != pb::DataTypeInformation::default() {
        return told_type(told);
    }
    let ttype = readable(ttype, MAX_NAME_LEN)?;
    let (encoding, name) = ttype.split_once(':').unwrap_or(("", &ttype));
    Ok(DataType { name: name.into(), encoding: encoding.into(), descriptor: tdesc })
}

pub(super) fn told_type(told: pb::DataTypeInformation) -> Result<DataType, DropReason> {
    let pb::DataTypeInformation { name, encoding, descriptor_information: descriptor } = told;
    Ok(DataType {
        name: readable(name, MAX_NAME_LEN)?,
        encoding: readable(encoding, MAX_NAME_LEN)?,
        descriptor,
    })
}

pub(super) fn data_type_to_wire(data_type: &DataType) -> pb::DataTypeInformation {
    pb::DataTypeInformation {
        name: data_type.name.clone().into(),
        encoding: data_type.encoding.clone().into(),
        descriptor_information: data_type.descriptor.clone(),
    }
}

fn layer_from_wire(layer: pb::TransportLayer) -> Result<Layer, DropReason> {
    let kind = match ETransportLayerType::try_from(layer.r#type) {
        Ok(ETransportLayerType::TlEcalUdpMc) => LayerKind::UdpMulticast,
        Ok(ETransportLayerType::TlEcalShm) => LayerKind::SharedMemory,
        Ok(ETransportLayerType::TlEcalTcp) => LayerKind::Tcp,
        Ok(ETransportLayerType::TlNone | ETransportLayerType::TlAll) | Err(_) => {
            LayerKind::Other(layer.r#type)
        }
    };
    let parameters = layer.par_layer.unwrap_or_default();
    let memory_files = parameters.layer_par_shm.unwrap_or_default().memory_file_list;
    let port = parameters.layer_par_tcp.unwrap_or_default().port;
    Ok(Layer {
        kind,
        version: layer.version,
        enabled: layer.enabled || layer.version < 2,
        active: layer.active,
        parameters: LayerParameters {
            tcp_port: u16::try_from(port).ok().and_then(NonZeroU16::new),
            memory_files: memory_files.into_iter().map(name).collect::<Result<_, _>>()?,
        },
    })
}

fn layer_to_wire(layer: &Layer) -> pb::TransportLayer {
    let LayerParameters { tcp_port, memory_files } = &layer.parameters;
    let has_files = !memory_files.is_empty();
    let parameters = pb::ConnectionPar {
        layer_par_shm: has_files.then(|| pb::LayerParShm {
            memory_file_list: memory_files.iter().map(|name| name.to_vec()).collect(),
        }),
        layer_par_tcp: tcp_port.map(|port| pb::LayerParTcp { port: port.get().into() }),
    };
    pb::TransportLayer {
        r#type: match layer.kind {
            LayerKind::UdpMulticast => ETransportLayerType::TlEcalUdpMc.into(),
            LayerKind::SharedMemory => ETransportLayerType::TlEcalShm.into(),
            LayerKind::Tcp => ETransportLayerType::TlEcalTcp.into(),
            LayerKind::Other(other) => other,
        },
        version: layer.version,
        active: layer.active,
        par_layer: (has_files || tcp_port.is_some()).then_some(parameters),
        enabled: layer.enabled,
    }
}

fn process_from_wire(mut process: pb::Process) -> Result<ProcessInfo, DropReason> {
    let text = |text| capped(text, MAX_TEXT_LEN);
    // A command line may hold a whole message. It is for people, and who has a long one is a process all the same.
    process.process_parameter.truncate(MAX_TEXT_LEN);
    process.process_parameter.shrink_to_fit();
    let time_sync_state = match process.time_sync_state() {
        ETimeSyncState::TsyncNone => TimeSyncState::None,
        ETimeSyncState::TsyncRealtime => TimeSyncState::Realtime,
        ETimeSyncState::TsyncReplay => TimeSyncState::Replay,
    };
    let state = process.state.unwrap_or_default();
    let severity = match state.severity() {
        EProcessSeverity::ProcSevUnknown => Severity::Unknown,
        EProcessSeverity::ProcSevHealthy => Severity::Healthy,
        EProcessSeverity::ProcSevWarning => Severity::Warning,
        EProcessSeverity::ProcSevCritical => Severity::Critical,
        EProcessSeverity::ProcSevFailed => Severity::Failed,
    };
    Ok(ProcessInfo {
        host_name: name(process.host_name)?,
        shm_transport_domain: name(process.shm_transport_domain)?,
        process_id: process.process_id,
        process_name: name(process.process_name)?,
        unit_name: name(process.unit_name)?,
        process_parameter: process.process_parameter.into(),
        registration_clock: process.registration_clock,
        state: ProcessState { severity, severity_level: state.severity_level, info: text(state.info)? },
        component_init_state: process.component_init_state,
        component_init_info: text(process.component_init_info)?,
        runtime_version: name(process.ecal_runtime_version)?,
        time_sync_state,
        time_sync_module_name: name(process.time_sync_module_name)?,
        config_file_path: name(process.config_file_path)?,
    })
}

fn process_to_wire(process: &ProcessInfo) -> pb::Process {
    let severity = match process.state.severity {
        Severity::Unknown => EProcessSeverity::ProcSevUnknown,
        Severity::Healthy => EProcessSeverity::ProcSevHealthy,
        Severity::Warning => EProcessSeverity::ProcSevWarning,
        Severity::Critical => EProcessSeverity::ProcSevCritical,
        Severity::Failed => EProcessSeverity::ProcSevFailed,
    };
    let time_sync_state = match process.time_sync_state {
        TimeSyncState::None => ETimeSyncState::TsyncNone,
        TimeSyncState::Realtime => ETimeSyncState::TsyncRealtime,
        TimeSyncState::Replay => ETimeSyncState::TsyncReplay,
    };
    pb::Process {
        registration_clock: process.registration_clock,
        host_name: process.host_name.to_vec(),
        process_id: process.process_id,
        process_name: process.process_name.to_vec(),
        unit_name: process.unit_name.to_vec(),
        process_parameter: process.process_parameter.to_vec(),
        state: Some(pb::ProcessState {
            severity: severity.into(),
            info: process.state.info.to_vec(),
            severity_level: process.state.severity_level,
        }),
        time_sync_state: time_sync_state.into(),
        time_sync_module_name: process.time_sync_module_name.to_vec(),
        component_init_state: process.component_init_state,
        component_init_info: process.component_init_info.to_vec(),
        ecal_runtime_version: process.runtime_version.to_vec(),
        shm_transport_domain: process.shm_transport_domain.to_vec(),
        config_file_path: process.config_file_path.to_vec(),
    }
}
