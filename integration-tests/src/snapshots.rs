//! What our monitor sees, in the words of eCAL's own: the rows of `peers/monitor.py`.

use ferrocal::{ProcessInfo, Seen, ServiceInfo, Snapshot, TopicInfo};
use ferrocal_proto::{LayerKind, TimeSyncState};
use serde_json::{Value, json};

/// What of an entity a monitor shows, apart from what each monitor counts by itself.
pub fn rows(snapshot: &Snapshot) -> Value {
    json!({
        "processes": snapshot.processes.iter().map(process).collect::<Vec<_>>(),
        "publishers": topics(&snapshot.publishers, "publisher"),
        "subscribers": topics(&snapshot.subscribers, "subscriber"),
        "servers": services(&snapshot.servers),
        "clients": services(&snapshot.clients),
    })
}

/// The rows that only one of both monitors has, as far as ours has the fields; or that both have none of a list.
pub fn differences(real: &Value, ours: &Snapshot) -> Vec<String> {
    let ours = rows(ours);
    let lists = ours.as_object().expect("lists by name");
    lists.iter().flat_map(|(name, ours)| differences_of(name, &real[name], ours)).collect()
}

fn differences_of(list: &str, real: &Value, ours: &Value) -> Vec<String> {
    let rows = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let ours = rows(ours);
    let Some(Value::Object(keys)) = ours.first() else { return vec![format!("we show no {list}")] };
    let cut = |row: &Value| Value::Object(keys.keys().map(|key| (key.clone(), row[key].clone())).collect());
    let real: Vec<_> = rows(real).iter().map(cut).collect();
    let only_real = real.iter().filter(|row| !ours.contains(row)).map(|row| format!("only there: {row}"));
    let only_ours = ours.iter().filter(|row| !real.contains(row)).map(|row| format!("only here: {row}"));
    let count =
        (real.len() != ours.len()).then(|| format!("{} {list} there, {} here", real.len(), ours.len()));
    only_real.chain(only_ours).chain(count).collect()
}

fn process(seen: &Seen<ProcessInfo>) -> Value {
    let info = &seen.info;
    json!({
        "host": info.host_name.to_str_lossy(),
        "pid": info.process_id,
        "name": info.process_name.to_str_lossy(),
        "unit": info.unit_name.to_str_lossy(),
        "parameter": info.process_parameter.to_str_lossy(),
        "runtime_version": info.runtime_version.to_str_lossy(),
        "state": info.state.severity as i32,
        "state_level": info.state.severity_level,
        "state_info": info.state.info.to_str_lossy(),
        "component_state": info.component_init_state,
        "component_info": info.component_init_info.to_str_lossy(),
        "time_sync_state": match info.time_sync_state {
            TimeSyncState::None => 0,
            TimeSyncState::Realtime => 1,
            TimeSyncState::Replay => 2,
        },
        "time_sync_module": info.time_sync_module_name.to_str_lossy(),
        "config_file": info.config_file_path.to_str_lossy(),
        "shm_transport_domain": info.shm_transport_domain.to_str_lossy(),
    })
}

fn topics(seen: &[Seen<TopicInfo>], direction: &str) -> Vec<Value> {
    let row = |seen: &Seen<TopicInfo>| {
        let info = &seen.info;
        let descriptor: String = info.data_type.descriptor.iter().map(|byte| format!("{byte:02x}")).collect();
        let active = info.layers.iter().filter(|layer| layer.active);
        let layers: Vec<_> = active
            .map(|layer| match layer.kind {
                LayerKind::UdpMulticast => "UDP_MC".to_owned(),
                LayerKind::SharedMemory => "SHM".to_owned(),
                LayerKind::Tcp => "TCP".to_owned(),
                LayerKind::Other(kind) => kind.to_string(),
            })
            .collect();
        json!({
            "host": info.host_name.to_str_lossy(),
            "pid": info.process_id,
            "process_name": info.process_name.to_str_lossy(),
            "unit": info.unit_name.to_str_lossy(),
            "topic": info.topic_name.to_str_lossy(),
            "topic_id": info.topic_id.to_string(),
            "direction": direction,
            "type_name": info.data_type.name,
            "encoding": info.data_type.encoding,
            "descriptor": descriptor,
            "layers": layers,
            "connections_local": info.connections_local,
            "connections_external": info.connections_external,
            "data_clock": info.data_clock,
            "data_frequency_mhz": info.data_frequency_mhz,
            "topic_size": info.topic_size,
            "message_drops": info.message_drops,
            "shm_transport_domain": info.shm_transport_domain.to_str_lossy(),
        })
    };
    seen.iter().map(row).collect()
}

fn services(seen: &[Seen<ServiceInfo>]) -> Vec<Value> {
    let row = |seen: &Seen<ServiceInfo>| {
        let info = &seen.info;
        let methods: Vec<_> = info
            .methods
            .iter()
            .map(|method| {
                json!({
                    "name": method.name.to_str_lossy(),
                    "request": method.request.name,
                    "response": method.response.name,
                    "calls": method.call_count,
                })
            })
            .collect();
        json!({
            "host": info.host_name.to_str_lossy(),
            "pid": info.process_id,
            "process_name": info.process_name.to_str_lossy(),
            "unit": info.unit_name.to_str_lossy(),
            "service": info.service_name.to_str_lossy(),
            "service_id": info.service_id.to_string(),
            "methods": methods,
        })
    };
    seen.iter().map(row).collect()
}
