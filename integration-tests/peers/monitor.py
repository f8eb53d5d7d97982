"""Prints what eCAL's monitoring sees, for each line read from standard input.

  snapshot    all that Python gets from it
  latencies   of subscribers, which only the serialized form has
"""

import argparse
import sys

import common
import serialized


def process(row):
    """One process as plain values."""
    return {
        "host": row.host_name,
        "pid": row.process_id,
        "name": row.process_name,
        "unit": row.unit_name,
        "parameter": row.process_parameter,
        "runtime_version": row.ecal_runtime_version,
        "state": int(row.state_severity),
        "state_level": int(row.state_severity_level),
        "state_info": row.state_info,
        "component_state": row.component_init_state,
        "component_info": row.component_init_info,
        "time_sync_state": row.time_sync_state,
        "time_sync_module": row.time_sync_module_name,
        "config_file": row.config_file_path,
        "shm_transport_domain": row.shm_transport_domain,
        "registration_clock": row.registration_clock,
    }


def topic(row):
    """One publisher or subscriber as plain values."""
    information = row.datatype_information
    descriptor = information.descriptor
    if isinstance(descriptor, str):
        descriptor = descriptor.encode("utf-8", "surrogateescape")
    return {
        "host": row.host_name,
        "pid": row.process_id,
        "process_name": row.process_name,
        "unit": row.unit_name,
        "topic": row.topic_name,
        "topic_id": str(row.topic_id),
        "direction": row.direction,
        "type_name": information.name,
        "encoding": information.encoding,
        "descriptor": bytes(descriptor).hex(),
        "layers": [str(layer.type).rpartition(".")[2] for layer in row.transport_layer if layer.active],
        "connections_local": row.connections_local,
        "connections_external": row.connections_external,
        "data_clock": row.data_clock,
        "data_frequency_mhz": row.data_frequency,
        "topic_size": row.topic_size,
        "message_drops": row.message_drops,
        "shm_transport_domain": row.shm_transport_domain,
        "registration_clock": row.registration_clock,
    }


def service(row):
    """One server or client of a service as plain values."""
    return {
        "host": row.host_name,
        "pid": row.process_id,
        "process_name": row.process_name,
        "unit": row.unit_name,
        "service": row.service_name,
        "service_id": str(row.service_id),
        "methods": [
            {
                "name": method.method_name,
                "request": method.request_datatype_information.name,
                "response": method.response_datatype_information.name,
                "calls": method.call_count,
            }
            for method in row.methods
        ],
    }


def main():
    """Runs the monitor."""
    parser = argparse.ArgumentParser()
    common.add_system(parser, "ecal_monitor")
    args = parser.parse_args()

    ecal = common.initialize(args)
    common.emit("ready")
    is_old = ecal.get_version_string().startswith("v6.0.")
    for line in sys.stdin:
        if line.strip() == "latencies":
            common.emit("latencies", rows=serialized.latencies(ecal.monitoring.get_serialized_monitoring()))
            continue
        if is_old:
            # Its `get_monitoring` sometimes breaks the heap.
            common.emit("snapshot", **serialized.rows(ecal.monitoring.get_serialized_monitoring(ecal.monitoring.All)))
            continue
        seen = ecal.monitoring.get_monitoring()
        common.emit(
            "snapshot",
            processes=[process(row) for row in seen.processes],
            publishers=[topic(row) for row in seen.publishers],
            subscribers=[topic(row) for row in seen.subscribers],
            servers=[service(row) for row in seen.servers],
            clients=[service(row) for row in seen.clients],
        )
    common.leave()


main()
