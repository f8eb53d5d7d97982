//! Servers and clients of services: a row for each method.

use ferrocal::{MethodInfo, ServiceInfo};

use super::{Field, lossy, text};
use crate::monitor::data::Data;
use crate::monitor::look::Look;
use crate::monitor::sheet::{Cell, Column, Entity, Key, Row};

pub(super) const COLUMNS: &[Column] = &[
    Column::left("service", 14, 0),
    Column::left("", 6, 1),
    Column::left("method", 12, 2),
    Column::right("calls", 7, 4),
    Column::left("unit", 10, 3),
    Column::left("host", 8, 5),
    Column::right("pid", 7, 7),
    Column::right("port", 6, 6),
    Column::left("request", 12, 8),
    Column::left("response", 12, 9),
];

pub(super) fn rows(data: &Data, look: Look) -> Vec<Row> {
    let row = |(kind, info, number): (&'static str, &ServiceInfo, usize)| {
        // A service without methods has a row, too.
        let none = MethodInfo::default();
        let method = info.methods.get(number).unwrap_or(&none);
        let cells = vec![
            Cell::text(text(look, &info.service_name)),
            Cell::text(kind),
            Cell::text(text(look, &method.name)),
            Cell::count(method.call_count),
            Cell::text(text(look, &info.unit_name)),
            Cell::text(text(look, &info.host_name)),
            Cell::count(info.process_id.into()),
            Cell::count(port(info)),
            Cell::text(look.text(&method.request.name)),
            Cell::text(look.text(&method.response.name)),
        ];
        Row { key: Key::Service(entity(kind, info), number), cells }
    };
    methods(data).map(row).collect()
}

pub(super) fn fields(data: &Data, key: &Key) -> Vec<Field> {
    let Key::Service(wanted, number) = key else { return Vec::new() };
    let found = methods(data).find(|&(kind, info, one)| one == *number && entity(kind, info) == *wanted);
    let Some((kind, info, _)) = found else { return Vec::new() };
    let mut fields = vec![
        ("service", lossy(&info.service_name)),
        ("is a", kind.to_owned()),
        ("unit", lossy(&info.unit_name)),
        ("host", lossy(&info.host_name)),
        ("pid", info.process_id.to_string()),
        ("process", lossy(&info.process_name)),
        ("id", info.service_id.to_string()),
        ("port", format!("{} (protocol 0: {})", info.tcp_port_v1, info.tcp_port_v0)),
    ];
    fields.extend(info.methods.iter().map(|method| {
        let MethodInfo { name, request, response, call_count } = method;
        ("method", format!("{name}({}) -> {}, called {call_count} times", request.name, response.name))
    }));
    fields
}

fn methods(data: &Data) -> impl Iterator<Item = (&'static str, &ServiceInfo, usize)> {
    let servers = data.registered.servers.iter().map(|info| ("server", &**info));
    let clients = data.registered.clients.iter().map(|info| ("client", &**info));
    servers
        .chain(clients)
        .flat_map(|(kind, info)| (0..info.methods.len().max(1)).map(move |number| (kind, info, number)))
}

fn entity(kind: &'static str, info: &ServiceInfo) -> Entity {
    Entity { kind, host: info.host_name.clone(), pid: info.process_id, id: info.service_id.get() }
}

/// The port of the newest protocol that the server has.
fn port(info: &ServiceInfo) -> i64 {
    if info.tcp_port_v1 != 0 { info.tcp_port_v1 } else { info.tcp_port_v0 }.into()
}
