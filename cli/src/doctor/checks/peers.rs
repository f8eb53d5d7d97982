//! Checks of what others registered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use ferrocal::{LayerKind, TopicInfo};

use super::settings::name_of;
use crate::doctor::facts::{Entity, Facts, Process, Wire};
use crate::doctor::finding::{Finding, Sure};

/// A connection counts at the second registration of a peer, and registrations come once a second.
const PATIENCE: Duration = Duration::from_millis(3500);
/// Clocks that are synchronized by the network differ by less, in microseconds.
const MAX_CLOCK_DIFFERENCE_US: i64 = 500_000;
/// A message that arrives so much before it was sent, in microseconds, was sent by a clock that is ahead.
const MAX_NEGATIVE_LATENCY_US: f64 = 2_000.0;

fn topic_of(info: &TopicInfo) -> String {
    info.topic_name.to_str_lossy().into_owned()
}

fn host_of(info: &TopicInfo) -> String {
    info.host_name.to_str_lossy().into_owned()
}

/// A publisher or subscriber, for people.
fn entity(wire: &Wire, info: &TopicInfo) -> String {
    match wire.process_of(info) {
        Some(process) => name_of(process),
        None => format!("process {} on {}", info.process_id, host_of(info)),
    }
}

fn has_layer(info: &TopicInfo, kind: LayerKind) -> bool {
    info.layers.iter().any(|layer| layer.enabled && layer.kind == kind)
}

fn layers_of(info: &TopicInfo) -> String {
    let name = |kind| match kind {
        LayerKind::UdpMulticast => "udp".to_owned(),
        LayerKind::SharedMemory => "shm".to_owned(),
        LayerKind::Tcp => "tcp".to_owned(),
        other => format!("{other:?}"),
    };
    let names: Vec<_> = info.layers.iter().filter(|one| one.enabled).map(|one| name(one.kind)).collect();
    if names.is_empty() { "no layer".to_owned() } else { names.join(", ") }
}

/// Whether a message of one can reach the other by shared memory.
fn share_memory(one: &TopicInfo, other: &TopicInfo) -> bool {
    one.host_name == other.host_name
        && has_layer(one, LayerKind::SharedMemory)
        && has_layer(other, LayerKind::SharedMemory)
}

fn is_ferrocal(wire: &Wire, info: &TopicInfo) -> bool {
    wire.process_of(info).is_some_and(Process::is_ferrocal)
}

/// Publishers and subscribers of the same topic.
fn pairs(wire: &Wire) -> impl Iterator<Item = (&Entity, &Entity)> {
    wire.subscribers.iter().flat_map(|subscriber| {
        let is_its = |publisher: &&Entity| publisher.info.topic_name == subscriber.info.topic_name;
        wire.publishers.iter().filter(is_its).map(move |publisher| (publisher, subscriber))
    })
}

pub(super) fn host_name(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "host_name";
    let mut sources: BTreeMap<&str, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    for process in &facts.wire.processes {
        sources.entry(&process.host).or_default().extend(&process.sources);
    }
    let own = facts.machine.host_name.as_str();
    let mut findings = Vec::new();
    for (host, sources) in sources {
        let (ours, others): (Vec<_>, Vec<_>) =
            sources.iter().partition(|&&source| facts.machine.is_own(source));
        let shown = |addresses: &[&Ipv4Addr]| {
            addresses.iter().map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
        };
        let effect = "eCAL knows programs by the names of their hosts: it takes those of one host for local to the other, \
                      sends them nothing over the network, and mixes up their processes.";
        if !ours.is_empty() && !others.is_empty() {
            let meaning = format!(
                "A host at {} has the name of programs of this computer. {effect} Programs have to be started anew \
                                   after a change.",
                shown(&others)
            );
            findings.push(
                Finding::failed(CHECK, host, meaning).sure(Sure::Likely).mend("hostname \"$(hostname)-2\""),
            );
        } else if ours.is_empty() && others.len() > 1 {
            let meaning = format!(
                "Programs of that name register from {}: several hosts have it, or one host has several \
                                   interfaces. If these are several hosts: {effect}",
                shown(&others)
            );
            findings.push(Finding::warning(CHECK, host, meaning).sure(Sure::Possible));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, own, "No two hosts that were seen have the same name."));
    }
    findings
}

pub(super) fn process_id(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "process_id";
    let mut findings = Vec::new();
    let processes = &facts.wire.processes;
    for (index, one) in processes.iter().enumerate() {
        let clashes = |other: &&Process| {
            (&one.host, one.pid) == (&other.host, other.pid)
                // A process may have several nodes. What comes from two addresses is a clash of hosts.
                && (&one.name, &one.command_line) != (&other.name, &other.command_line)
                && !one.sources.is_disjoint(&other.sources)
        };
        if let Some(other) = processes[..index].iter().find(clashes) {
            let meaning = format!(
                "{} ({}) and {} ({}) have the same process id and the same host name, as happens with containers. eCAL takes \
                 them for one process: of their topics, some are not seen, or vanish with the other process.",
                one.unit, one.name, other.unit, other.name
            );
            let subject = format!("process {} on {}", one.pid, one.host);
            findings.push(
                Finding::failed(CHECK, subject, meaning)
                    .sure(Sure::Likely)
                    .mend("docker run --network host --ipc host --pid host IMAGE"),
            );
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "", "No two processes that were seen have the same id."));
    }
    findings
}

pub(super) fn reader_layer(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "reader_layer";
    let wire = &facts.wire;
    let mut findings = Vec::new();
    let mut notes = Vec::new();
    for subscriber in wire.subscribers.iter().filter(|one| !has_layer(&one.info, LayerKind::UdpMulticast)) {
        let info = &subscriber.info;
        let (topic, who) = (topic_of(info), entity(wire, info));
        let subject = format!("topic `{topic}`, {who}");
        let reads = layers_of(info);
        let unreached = pairs(wire).find(|(publisher, one)| {
            std::ptr::eq(*one, subscriber)
                && !share_memory(&publisher.info, info)
                && (is_ferrocal(wire, &publisher.info) || publisher.info.host_name != info.host_name)
        });
        if let Some((publisher, _)) = unreached {
            let meaning = format!(
                "This subscriber reads by {reads} only. {} cannot reach it by that.",
                entity(wire, &publisher.info)
            );
            findings.push(Finding::failed(CHECK, subject, meaning).mend("subscriber.layer.udp.enable: true"));
        } else {
            let meaning = format!(
                "This subscriber reads by {reads} only: publishers of ferrocal and of other hosts cannot \
                                   reach it."
            );
            notes.push(Finding::note(CHECK, subject, meaning).mend("subscriber.layer.udp.enable: true"));
        }
    }
    if findings.is_empty() && notes.is_empty() {
        notes.push(Finding::ok(CHECK, "", "All subscribers that were seen read by UDP."));
    }
    findings.extend(notes);
    findings
}

pub(super) fn writer_layer(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "writer_layer";
    let wire = &facts.wire;
    let mut findings: Vec<Finding> = Vec::new();
    for (publisher, subscriber) in pairs(wire) {
        let (info, wanted) = (&publisher.info, &subscriber.info);
        let is_enough = publisher.watched.min(subscriber.watched) >= PATIENCE;
        // An empty list shows that it knows no subscriber yet, or has no layer that one of them wants.
        let knows_it = info.connections_local + info.connections_external > 0 || !info.layers.is_empty();
        if !is_enough
            || has_layer(info, LayerKind::UdpMulticast)
            || !has_layer(wanted, LayerKind::UdpMulticast)
            || share_memory(info, wanted)
            || !knows_it
        {
            continue;
        }
        let subject = format!("topic `{}`, {}", topic_of(info), entity(wire, info));
        if findings.iter().any(|finding| finding.subject == subject) {
            continue;
        }
        let meaning = format!(
            "This publisher sends by {} only, and {} reads by {}: nothing arrives there.",
            layers_of(info),
            entity(wire, wanted),
            layers_of(wanted)
        );
        let mend = "publisher.layer.udp.enable: true, publisher.priority_local: [\"shm\", \"udp\"], \
                    publisher.priority_network: [\"udp\"]";
        findings.push(Finding::failed(CHECK, subject, meaning).sure(Sure::Likely).mend(mend));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            "",
            "No publisher that was seen lacks UDP for a subscriber of its topic.",
        ));
    }
    findings
}

pub(super) fn data_type(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "type";
    let wire = &facts.wire;
    let mut types: BTreeMap<String, BTreeMap<(&str, &str), Vec<&TopicInfo>>> = BTreeMap::new();
    for entity in wire.publishers.iter().chain(&wire.subscribers) {
        let info = &entity.info;
        let of_topic = types.entry(topic_of(info)).or_default();
        if !info.data_type.name.is_empty() {
            of_topic.entry((&info.data_type.name, &info.data_type.encoding)).or_default().push(info);
        }
    }
    let mut findings = Vec::new();
    for (topic, types) in types {
        if types.len() > 1 {
            let by = |(&(name, encoding), infos): (&(&str, &str), &Vec<&TopicInfo>)| {
                let who: BTreeSet<_> = infos.iter().map(|info| entity(wire, info)).collect();
                let who: Vec<_> = who.into_iter().take(3).collect();
                format!("`{encoding}:{name}` by {}", who.join(", "))
            };
            let meaning = format!(
                "The topic has several data types: {}. eCAL connects them all the same; who expects another type cannot read \
                 what comes.",
                types.iter().map(by).collect::<Vec<_>>().join("; ")
            );
            findings.push(Finding::failed(CHECK, format!("topic `{topic}`"), meaning));
        } else {
            let descriptors: BTreeSet<_> = types
                .values()
                .flatten()
                .map(|info| &info.data_type.descriptor)
                .filter(|descriptor| !descriptor.is_empty())
                .collect();
            if descriptors.len() > 1 {
                let meaning = "The data types have one name and different descriptions: programs were built with different versions \
                               of it. Fields that both know are read.";
                findings.push(Finding::note(CHECK, format!("topic `{topic}`"), meaning));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "", "No topic that was seen has two data types."));
    }
    findings
}

pub(super) fn clock(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "clock";
    const MEND: &str = "timedatectl set-ntp true";
    let own = &facts.machine.host_name;
    let mut findings: Vec<Finding> = Vec::new();
    for (host, difference_us) in &facts.wire.clock_differences {
        if difference_us.abs() > MAX_CLOCK_DIFFERENCE_US {
            let way = if *difference_us < 0 { "ahead of" } else { "behind" };
            let seconds = difference_us.unsigned_abs() as f64 / 1e6;
            let meaning = format!(
                "Its log lines show a clock that is {seconds:.1} s {way} this computer's. Send times, delays and recordings of \
                 several hosts cannot be compared."
            );
            let subject = if host == own { format!("{host}, another program") } else { host.clone() };
            findings.push(Finding::failed(CHECK, subject, meaning).sure(Sure::Likely).mend(MEND));
        }
    }
    for subscriber in &facts.wire.subscribers {
        let info = &subscriber.info;
        let Some(latency) = info.latency.filter(|latency| latency.min_us < -MAX_NEGATIVE_LATENCY_US) else {
            continue;
        };
        let publishers: BTreeSet<_> = facts
            .wire
            .publishers
            .iter()
            .filter(|one| one.info.topic_name == info.topic_name)
            .map(|one| host_of(&one.info))
            .collect();
        if findings
            .iter()
            .any(|finding| publishers.iter().any(|host| finding.subject.starts_with(host.as_str())))
        {
            continue;
        }
        let meaning = format!(
            "Messages arrive {:.3} s before they were sent, as {} measures: the clock of {} is ahead of that of {}.",
            -latency.min_us / 1e6,
            entity(&facts.wire, info),
            publishers.into_iter().collect::<Vec<_>>().join(" or "),
            host_of(info)
        );
        let subject = format!("topic `{}`", topic_of(info));
        findings.push(Finding::failed(CHECK, subject, meaning).sure(Sure::Likely).mend(MEND));
    }
    if findings.is_empty() {
        let meaning = "Nothing shows clocks that differ; `ferrocal doctor --call` measures it.";
        findings.push(Finding::ok(CHECK, "", meaning));
    }
    findings
}

pub(super) fn one_way(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "one_way";
    let wire = &facts.wire;
    let mut findings: Vec<Finding> = Vec::new();
    for (publisher, subscriber) in pairs(wire) {
        let (info, wanted) = (&publisher.info, &subscriber.info);
        let has_common = has_layer(wanted, LayerKind::UdpMulticast);
        let knows_none = (info.connections_local, info.connections_external) == (0, 0);
        let is_enough = publisher.watched.min(subscriber.watched) >= PATIENCE;
        if !has_common || !knows_none || !is_enough || info.host_name == wanted.host_name {
            continue;
        }
        let (from, to) = (host_of(wanted), host_of(info));
        let subject = format!("{from} to {to}");
        if findings.iter().any(|finding| finding.subject == subject) {
            continue;
        }
        let meaning = format!(
            "The publisher of topic `{}` on {to} does not know of its subscriber on {from}: what {from} sends does not arrive \
             there. Run `ferrocal doctor` on {to}, and look at its firewall and its settings.",
            topic_of(info)
        );
        findings.push(
            Finding::failed(CHECK, subject, meaning).sure(Sure::Likely).mend("ferrocal doctor --listen"),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            "",
            "All publishers that were seen know of the subscribers of their topics.",
        ));
    }
    findings
}

pub(super) fn unusable(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "unusable";
    let of = |(source, count): &(Ipv4Addr, u64)| {
        let meaning = format!(
            "{count} datagrams came from there to the port of registrations, and nothing in them can be used: they are of another \
             program, or damaged."
        );
        Finding::warning(CHECK, source.to_string(), meaning).sure(Sure::Possible)
    };
    if facts.wire.unusable.is_empty() {
        return vec![Finding::ok(CHECK, "", "All that came could be used.")];
    }
    facts.wire.unusable.iter().map(of).collect()
}
