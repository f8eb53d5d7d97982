//! Services and their clients, as they are registered.

use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::Bytes;

use super::convert::{data_type_to_wire, name, told_type};
use super::{DataType, MAX_NAME_LEN};
use crate::text::readable;
use crate::{DropReason, EntityId, Text, pb};

/// A server or a client of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceInfo {
    /// The name of its host.
    pub host_name: Text,
    /// Its process's id on the host.
    pub process_id: i32,
    /// The path of its process's executable.
    pub process_name: Text,
    /// The name its process gave itself.
    pub unit_name: Text,
    /// Its id.
    pub service_id: EntityId,
    /// The service's name.
    pub service_name: Text,
    /// The methods that the server offers, or that the client knows.
    pub methods: Vec<MethodInfo>,
    /// The version of the protocol.
    pub version: u32,
    /// The port of a server's old protocol; 0 for clients.
    pub tcp_port_v0: u32,
    /// The port of a server's protocol; 0 for clients.
    pub tcp_port_v1: u32,
    /// How often it was registered; eCAL leaves it at 0.
    pub registration_clock: i32,
}

/// A method of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MethodInfo {
    /// Its name.
    pub name: Text,
    /// The type of what is asked.
    pub request: DataType,
    /// The type of what is answered.
    pub response: DataType,
    /// How often it was called.
    pub call_count: i64,
}

pub(super) fn server_from_wire(service: pb::Service) -> Result<ServiceInfo, DropReason> {
    Ok(ServiceInfo {
        host_name: name(service.host_name)?,
        process_id: service.process_id,
        process_name: name(service.process_name)?,
        unit_name: name(service.unit_name)?,
        service_id: EntityId::from_wire(&service.service_id),
        service_name: name(service.service_name)?,
        methods: methods_from_wire(service.methods)?,
        version: service.version,
        tcp_port_v0: service.tcp_port_v0,
        tcp_port_v1: service.tcp_port_v1,
        registration_clock: service.registration_clock,
    })
}

pub(super) fn client_from_wire(client: pb::Client) -> Result<ServiceInfo, DropReason> {
    Ok(ServiceInfo {
        host_name: name(client.host_name)?,
        process_id: client.process_id,
        process_name: name(client.process_name)?,
        unit_name: name(client.unit_name)?,
        service_id: EntityId::from_wire(&client.service_id),
        service_name: name(client.service_name)?,
        methods: methods_from_wire(client.methods)?,
        version: client.version,
        tcp_port_v0: 0,
        tcp_port_v1: 0,
        registration_clock: client.registration_clock,
    })
}

pub(super) fn server_to_wire(service: &ServiceInfo) -> pb::Service {
    pb::Service {
        registration_clock: service.registration_clock,
        host_name: service.host_name.to_vec(),
        process_name: service.process_name.to_vec(),
        unit_name: service.unit_name.to_vec(),
        process_id: service.process_id,
        service_name: service.service_name.to_vec(),
        tcp_port_v0: service.tcp_port_v0,
        methods: service.methods.iter().map(method_to_wire).collect(),
        service_id: service.service_id.to_string().into(),
        version: service.version,
        tcp_port_v1: service.tcp_port_v1,
    }
}

pub(super) fn client_to_wire(client: &ServiceInfo) -> pb::Client {
    pb::Client {
        registration_clock: client.registration_clock,
        host_name: client.host_name.to_vec(),
        process_name: client.process_name.to_vec(),
        unit_name: client.unit_name.to_vec(),
        process_id: client.process_id,
        service_name: client.service_name.to_vec(),
        service_id: client.service_id.to_string().into(),
        version: client.version,
        methods: client.methods.iter().map(method_to_wire).collect(),
    }
}

fn methods_from_wire(methods: Vec<pb::Method>) -> Result<Vec<MethodInfo>, DropReason> {
    methods.into_iter().map(method_from_wire).collect()
}

fn method_from_wire(method: pb::Method) -> Result<MethodInfo, DropReason> {
    Ok(MethodInfo {
        name: name(method.method_name)?,
        request: type_from_wire(method.request_datatype_information, method.req_type, method.req_desc)?,
        response: type_from_wire(method.response_datatype_information, method.resp_type, method.resp_desc)?,
        call_count: method.call_count,
    })
}

/// What eCAL 5 has in fields of its own is taken if the usual one is absent.
fn type_from_wire(
    told: Option<pb::DataTypeInformation>,
    old_name: Vec<u8>,
    old_descriptor: Bytes,
) -> Result<DataType, DropReason> {
    match told {
        Some(told) => told_type(told),
        None => Ok(DataType {
            name: readable(old_name, MAX_NAME_LEN)?,
            descriptor: old_descriptor,
            ..DataType::default()
        }),
    }
}

fn method_to_wire(method: &MethodInfo) -> pb::Method {
    pb::Method {
        method_name: method.name.to_vec(),
        call_count: method.call_count,
        request_datatype_information: Some(data_type_to_wire(&method.request)),
        response_datatype_information: Some(data_type_to_wire(&method.response)),
        ..pb::Method::default()
    }
}
