use std::vec;

use super::*;

/// Shared memory with files.
fn with_files(memory_file_list: Vec<Vec<u8>>) -> Vec<pb::TransportLayer> {
    let layer_par_shm = Some(pb::LayerParShm { memory_file_list });
    let par_layer = Some(pb::ConnectionPar { layer_par_shm, ..Default::default() });
    vec![pb::TransportLayer { par_layer, ..Default::default() }]
}

fn topic() -> TopicInfo {
    TopicInfo {
        host_name: "host".into(),
        shm_transport_domain: "domain".into(),
        process_id: 1,
        process_name: "process".into(),
        unit_name: "unit".into(),
        topic_id: EntityId::new(2, 3, 4),
        topic_name: "topic".into(),
        data_type: DataType {
            name: "demo.Point".into(),
            encoding: "proto".into(),
            descriptor: Bytes::from_static(b"\x00\xff"),
        },
        layers: [LayerKind::UdpMulticast, LayerKind::SharedMemory, LayerKind::Tcp, LayerKind::Other(42)]
            .map(|kind| Layer {
                kind,
                version: 2,
                enabled: kind == LayerKind::Tcp,
                active: true,
                parameters: match kind {
                    LayerKind::SharedMemory => LayerParameters {
                        memory_files: vec!["ecal_1".into(), "ecal_2".into()],
                        ..LayerParameters::default()
                    },
                    LayerKind::Tcp => {
                        LayerParameters { tcp_port: NonZeroU16::new(65_535), ..LayerParameters::default() }
                    }
                    _ => LayerParameters::default(),
                },
            })
            .into(),
        registration_clock: 5,
        topic_size: 6,
        connections_local: 7,
        connections_external: 8,
        message_drops: 9,
        data_id: -10,
        data_clock: 11,
        data_frequency_mhz: 12,
        latency: Some(LatencyInfo {
            count: 13,
            latest_us: -14.0,
            min_us: -15.5,
            max_us: 16.0,
            mean_us: 17.0,
            sum_of_squares_us2: 18.0,
        }),
    }
}

fn process() -> ProcessInfo {
    ProcessInfo {
        host_name: "host".into(),
        shm_transport_domain: "domain".into(),
        process_id: 1,
        process_name: "process".into(),
        unit_name: "unit".into(),
        process_parameter: "parameter".into(),
        registration_clock: 2,
        state: ProcessState { severity: Severity::Failed, severity_level: 3, info: "info".into() },
        component_init_state: 4,
        component_init_info: "component".into(),
        runtime_version: "v6.1.1".into(),
        time_sync_state: TimeSyncState::Replay,
        time_sync_module_name: "module".into(),
        config_file_path: "path".into(),
    }
}

fn service() -> ServiceInfo {
    let data_type = |name: &str| DataType { name: name.into(), ..topic().data_type };
    ServiceInfo {
        host_name: "host".into(),
        process_id: 1,
        process_name: "process".into(),
        unit_name: "unit".into(),
        service_id: EntityId::new(2, 3, 4),
        service_name: "service".into(),
        methods: vec![MethodInfo {
            name: "method".into(),
            request: data_type("Request"),
            response: data_type("Response"),
            call_count: 5,
        }],
        version: 6,
        tcp_port_v0: 7,
        tcp_port_v1: 8,
        registration_clock: 9,
    }
}

/// Encodes a sample of the generated types as a whole message.
fn message(sample: &pb::Sample) -> Vec<u8> {
    [&[1, 0, 0], &sample.encode_to_vec()[..]].concat()
}

fn publisher(topic: pb::Topic) -> pb::Sample {
    let cmd_type = pb::ECmdType::BctRegPublisher.into();
    pb::Sample { cmd_type, topic: Some(topic), ..Default::default() }
}

/// Decodes a captured message.
fn decode(message: &[u8]) -> (Action, Announcement) {
    let Registration { action, announcement } = Registration::decode(message).unwrap();
    (action, announcement)
}

#[test]
fn latencies_that_are_not_finite_are_none() {
    for (count, min) in [(0, 1.0), (1, f64::INFINITY), (1, f64::NAN)] {
        let statistics = pb::Statistics { count, min, ..pb::Statistics::default() };
        let topic = pb::Topic { data_latency_us: Some(statistics), ..pb::Topic::default() };
        let registration = Registration::decode(&message(&publisher(topic))).unwrap();
        let Announcement::Publisher(info) = registration.announcement else { panic!("a publisher") };
        assert_eq!(info.latency, None);
    }
}

#[test]
fn round_trips() {
    for action in [Action::Register, Action::Unregister] {
        for announcement in [
            Announcement::Process(process()),
            Announcement::Process(ProcessInfo::default()),
            Announcement::Publisher(topic()),
            Announcement::Subscriber(topic()),
            Announcement::Server(service()),
            Announcement::Client(ServiceInfo { tcp_port_v0: 0, tcp_port_v1: 0, ..service() }),
        ] {
            let registration = Registration { action, announcement };
            let message = registration.encode();
            assert!(message.starts_with(b"\x0b\x00reg_sample\x00"));
            assert_eq!(Registration::decode(&message), Ok(registration));
        }
    }
}

#[test]
fn commands() {
    for (cmd_type, expected) in [
        (0, DropReason::UnexpectedSample),
        (1, DropReason::UnexpectedSample),
        (2, DropReason::BadSample),
        (6, DropReason::BadSample),
        (12, DropReason::BadSample),
        (16, DropReason::BadSample),
        (17, DropReason::UnexpectedSample),
    ] {
        let sample = pb::Sample { cmd_type, ..Default::default() };
        let decoded = Registration::decode(&message(&sample));
        assert_eq!(decoded, Err(expected), "command {cmd_type}");
    }
}

#[test]
fn limits_hold_to_the_byte() {
    type Set = fn(&mut pb::Topic, usize);
    let fields: [(Set, usize); 9] = [
        (|topic, len| topic.host_name = vec![b'x'; len], MAX_NAME_LEN),
        (|topic, len| topic.shm_transport_domain = vec![b'x'; len], MAX_NAME_LEN),
        (|topic, len| topic.process_name = vec![b'x'; len], MAX_NAME_LEN),
        (|topic, len| topic.unit_name = vec![b'x'; len], MAX_NAME_LEN),
        (|topic, len| topic.topic_name = vec![b'x'; len], MAX_TOPIC_NAME_LEN),
        (|topic, len| topic.ttype = vec![b'x'; len], MAX_NAME_LEN),
        (|topic, len| topic.transport_layer = vec![pb::TransportLayer::default(); len], MAX_LAYERS),
        (|topic, len| topic.transport_layer = with_files(vec![b"x".to_vec(); len]), MAX_MEMORY_FILES),
        (|topic, len| topic.transport_layer = with_files(vec![vec![b'x'; len]]), MAX_NAME_LEN),
    ];
    for (set, max_len) in fields {
        let with_len = |len| {
            let mut topic = pb::Topic::default();
            set(&mut topic, len);
            Registration::decode(&message(&publisher(topic))).map(|_| ())
        };
        assert_eq!(with_len(max_len), Ok(()));
        assert_eq!(with_len(max_len + 1), Err(DropReason::TooLong));
    }
}

#[test]
fn a_process_with_a_long_command_line_is_taken_without_its_end() {
    let process = pb::Process { process_parameter: vec![b'x'; 10 * MAX_TEXT_LEN], ..Default::default() };
    let cmd_type = pb::ECmdType::BctRegProcess.into();
    let sample = pb::Sample { cmd_type, process: Some(process), ..Default::default() };
    let (_, Announcement::Process(process)) = decode(&message(&sample)) else { panic!() };
    let bytes = process.process_parameter.into_bytes();
    assert_eq!(bytes.len(), MAX_TEXT_LEN);
    assert!(bytes.capacity() < 2 * MAX_TEXT_LEN, "nor does it take memory: {}", bytes.capacity());
}

#[test]
fn methods_are_counted_before_they_are_decoded() {
    let with_methods = |count| {
        let service = pb::Service { methods: vec![pb::Method::default(); count], ..Default::default() };
        let cmd_type = pb::ECmdType::BctRegService.into();
        let sample = pb::Sample { cmd_type, service: Some(service), ..Default::default() };
        Registration::decode(&message(&sample)).map(|_| ())
    };
    assert_eq!(with_methods(MAX_METHODS), Ok(()));
    assert_eq!(with_methods(MAX_METHODS + 1), Err(DropReason::TooLong));
}

#[test]
fn the_methods_of_ecal_5_have_their_types_in_fields_of_their_own() {
    let method =
        pb::Method { req_type: "Request".into(), resp_desc: Bytes::from_static(b"d"), ..Default::default() };
    let client = pb::Client { methods: vec![method], ..Default::default() };
    let cmd_type = pb::ECmdType::BctRegClient.into();
    let sample = pb::Sample { cmd_type, client: Some(client), ..Default::default() };
    let (_, Announcement::Client(client)) = decode(&message(&sample)) else { panic!() };
    assert_eq!(client.methods[0].request.name, "Request");
    assert_eq!(client.methods[0].response.descriptor, b"d"[..]);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes there")]
fn a_long_message_is_not_decoded() {
    let mut message = message(&publisher(pb::Topic::default()));
    // An unknown field fills it up to the limit.
    let field_len = MAX_REGISTRATION_LEN - message.len() - 6;
    crate::wire::put_len_prefix(&mut message, 99, field_len);
    message.resize(MAX_REGISTRATION_LEN, 0);
    assert!(Registration::decode(&message).is_ok());
    message.push(0);
    assert_eq!(Registration::decode(&message), Err(DropReason::TooLong));
}

#[test]
fn text_that_is_not_utf_8_keeps_its_bytes() {
    for set in [
        (|topic, text| topic.host_name = text) as fn(&mut TopicInfo, Text),
        |topic, text| topic.shm_transport_domain = text,
        |topic, text| topic.process_name = text,
        |topic, text| topic.unit_name = text,
        |topic, text| topic.topic_name = text,
    ] {
        let mut topic = topic();
        set(&mut topic, b"/home/f\xfcr/pub"[..].into());
        let registration =
            Registration { action: Action::Register, announcement: Announcement::Publisher(topic) };
        assert_eq!(Registration::decode(&registration.encode()), Ok(registration));
    }
}

#[test]
fn a_type_that_is_not_utf_8_is_readable() {
    let name_of = |name: &[u8], in_ecal_5: bool| {
        let told = pb::DataTypeInformation { name: name.into(), ..Default::default() };
        let topic = if in_ecal_5 {
            pb::Topic { ttype: name.into(), ..Default::default() }
        } else {
            pb::Topic { datatype_information: Some(told), ..Default::default() }
        };
        match Registration::decode(&message(&publisher(topic)))?.announcement {
            Announcement::Publisher(info) => Ok(info.data_type.name),
            other => panic!("{other:?}"),
        }
    };
    for in_ecal_5 in [false, true] {
        assert_eq!(name_of(b"f\xfcr", in_ecal_5).as_deref(), Ok("f\u{fffd}r"));
        assert_eq!(name_of(&[0xff; MAX_NAME_LEN], in_ecal_5), Err(DropReason::TooLong));
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes there")]
fn the_descriptor_may_fill_the_message() {
    let mut topic = topic();
    topic.data_type.descriptor = vec![7; 9 << 20].into();
    let registration =
        Registration { action: Action::Register, announcement: Announcement::Publisher(topic) };
    assert_eq!(Registration::decode(&registration.encode()), Ok(registration));
}

#[test]
fn layers_below_version_2_are_enabled() {
    for (version, enabled, expected) in
        [(0, false, true), (1, false, true), (2, false, false), (2, true, true)]
    {
        let layer = pb::TransportLayer { r#type: 1, version, active: false, enabled, par_layer: None };
        let topic = pb::Topic { transport_layer: vec![layer], ..Default::default() };
        let (_, Announcement::Publisher(topic)) = decode(&message(&publisher(topic))) else { panic!() };
        let kind = LayerKind::UdpMulticast;
        assert_eq!(
            topic.layers,
            [Layer {
                kind,
                version,
                enabled: expected,
                active: false,
                parameters: LayerParameters::default()
            }]
        );
    }
}

#[test]
fn the_type_of_ecal_5() {
    for (ttype, encoding, name) in
        [("proto:demo.Point", "proto", "demo.Point"), ("demo.Point", "", "demo.Point"), ("a:b:c", "a", "b:c")]
    {
        let tdesc = Bytes::from_static(b"descriptor");
        let mut topic = pb::Topic { ttype: ttype.into(), tdesc: tdesc.clone(), ..Default::default() };
        let told = DataType { name: name.into(), encoding: encoding.into(), descriptor: tdesc };
        let (_, Announcement::Publisher(info)) = decode(&message(&publisher(topic.clone()))) else {
            panic!()
        };
        assert_eq!(info.data_type, told);

        let new = pb::DataTypeInformation { name: "new".into(), ..Default::default() };
        topic.datatype_information = Some(new);
        let (_, Announcement::Publisher(info)) = decode(&message(&publisher(topic))) else { panic!() };
        assert_eq!(info.data_type, DataType { name: "new".into(), ..DataType::default() });
    }
}

#[test]
fn ecal_6_1() {
    let (action, announcement) = decode(include_bytes!("../../tests/data/ecal-6.1.1-subscriber.bin"));
    assert_eq!(action, Action::Register);
    let layer = |kind, enabled| Layer {
        kind,
        version: 2,
        enabled,
        active: false,
        parameters: LayerParameters::default(),
    };
    let subscriber = TopicInfo {
        host_name: "hb".into(),
        shm_transport_domain: "hb".into(),
        process_id: 20906,
        process_name: "/opt/python/bin/python3.11".into(),
        unit_name: "real_ecal_sub".into(),
        topic_id: EntityId::from_wire("22986818493087744"),
        topic_name: "hello".into(),
        layers: vec![
            layer(LayerKind::UdpMulticast, true),
            layer(LayerKind::SharedMemory, false),
            layer(LayerKind::Tcp, false),
        ],
        ..TopicInfo::default()
    };
    assert_eq!(announcement, Announcement::Subscriber(subscriber));

    let (_, announcement) = decode(include_bytes!("../../tests/data/ecal-6.1.1-publisher.bin"));
    let Announcement::Publisher(publisher) = announcement else { panic!() };
    assert_eq!(publisher.layers, [layer(LayerKind::UdpMulticast, true)]);
    assert_eq!(publisher.connections_external, 1);
    let data_type = DataType {
        name: "demo.Point".into(),
        encoding: "proto".into(),
        descriptor: Bytes::from_static(b"\n\x05demo."),
    };
    assert_eq!(publisher.data_type, data_type);

    let (_, announcement) = decode(include_bytes!("../../tests/data/ecal-6.1.1-process.bin"));
    let Announcement::Process(process) = announcement else { panic!() };
    assert_eq!(process.runtime_version, "v6.1.1");
    assert_eq!(process.state.severity_level, 1);
    assert_eq!(process.component_init_info, "pub|sub|log|time");
    assert_eq!(process.config_file_path, "/opt/peer/cfg-net/ecal.yaml");
}

#[test]
fn ecal_5_13() {
    let (_, announcement) = decode(include_bytes!("../../tests/data/ecal-5.13.4-publisher.bin"));
    let Announcement::Publisher(publisher) = announcement else { panic!() };
    assert_eq!(publisher.topic_name, "hello");
    assert_eq!(publisher.topic_id.get(), 3_334_618_399_782);
    let memory_files = |kind| match kind {
        LayerKind::SharedMemory => vec!["ecal_196aa0fc".into()],
        _ => vec![],
    };
    let layer = |kind| Layer {
        kind,
        version: 1,
        enabled: true,
        active: false,
        parameters: LayerParameters { tcp_port: None, memory_files: memory_files(kind) },
    };
    let kinds = [LayerKind::UdpMulticast, LayerKind::SharedMemory, LayerKind::Tcp, LayerKind::Other(42)];
    assert_eq!(publisher.layers, kinds.map(layer));

    let (_, announcement) = decode(include_bytes!("../../tests/data/ecal-5.13.4-process.bin"));
    let Announcement::Process(process) = announcement else { panic!() };
    assert_eq!(process.process_parameter, "/opt/peer/build/pub513 hello 10 20 0.05");
    assert_eq!(process.time_sync_state, TimeSyncState::Realtime);

    let message = include_bytes!("../../tests/data/ecal-5.13.4-unreg-publisher.bin");
    let (action, Announcement::Publisher(gone)) = decode(message) else { panic!() };
    assert_eq!(action, Action::Unregister);
    assert_eq!(gone.topic_id, publisher.topic_id);
}

#[test]
fn lists_are_read_up_to_their_first_damage() {
    let registrations = [1, 2].map(|process_id| Registration {
        action: Action::Register,
        announcement: Announcement::Process(ProcessInfo { process_id, ..ProcessInfo::default() }),
    });
    let mut list = Vec::new();
    registrations[0].encode_into_list(&mut list);
    // A field that nobody knows.
    list.extend_from_slice(&[0x12, 1, 0]);
    registrations[1].encode_into_list(&mut list);
    let read: Result<Vec<_>, _> = Registration::decode_list(&list).collect();
    assert_eq!(read.unwrap(), registrations);
    list.pop();
    let read: Vec<_> = Registration::decode_list(&list).collect();
    assert_eq!(read, [Ok(registrations[0].clone()), Err(DropReason::BadSample)]);
}
