//! Checks of whether programs have the same settings, as far as the network shows it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ferrocal::{HashVersion, LayerKind, Mode};
use ferrocal_proto::topic_group;

use crate::doctor::facts::{Facts, Process, Program, StrayKind};
use crate::doctor::finding::{Finding, Sure};

/// A process of others, for people.
pub(super) fn name_of(process: &Process) -> String {
    format!("{} (process {} on {})", process.unit, process.pid, process.host)
}

fn in_its_file(process: &Process) -> String {
    if process.config_file.is_empty() {
        "Its settings are not from a file.".to_owned()
    } else {
        format!("Its settings are in {}.", process.config_file)
    }
}

pub(super) fn mode(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "mode";
    let is_local = |process: &Process| process.sources.iter().any(Ipv4Addr::is_loopback);
    let own = facts.settings.mode;
    let differs = |process: &&Process| is_local(process) != (own == Mode::Local);
    let others: Vec<_> = facts.wire.processes.iter().filter(differs).collect();
    let mut findings: Vec<_> = others
        .iter()
        .map(|process| {
            let (theirs, effect) = match own {
                Mode::Network => ("local", "no other host sees it"),
                Mode::Local => ("network", "programs in local mode get nothing from it"),
            };
            let meaning = format!(
                "It is in {theirs} mode, and the settings of this computer say otherwise: {effect}. {}",
                in_its_file(process)
            );
            let mend = match own {
                Mode::Network => "communication_mode: network",
                Mode::Local => "communication_mode: local",
            };
            Finding::failed(CHECK, name_of(process), meaning).sure(Sure::Likely).mend(mend)
        })
        .collect();
    if findings.is_empty() {
        findings.push(match own {
            Mode::Network => Finding::ok(CHECK, "network", "All programs that were seen are in network mode."),
            Mode::Local => {
                let meaning = "The settings say local mode: messages stay on this computer. For several hosts, set \
                               `communication_mode: network` on all of them.";
                Finding::note(CHECK, "local", meaning).mend("communication_mode: network")
            }
        });
    }
    findings
}

pub(super) fn ports(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "ports";
    let frames = match &facts.frames {
        Ok(frames) => frames,
        Err(why) => {
            return vec![Finding::not_checked(CHECK, format!("Only raw frames show other ports. {why}"))];
        }
    };
    let settings = &facts.settings;
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for stray in &frames.strays {
        let key = if settings.mode == Mode::Local {
            "registration.local.udp.port"
        } else {
            "registration.network.udp.port"
        };
        let (what, own, key) = match &stray.kind {
            StrayKind::Registration => ("registers", settings.registration_port, key),
            StrayKind::Logging => ("logs", settings.logging_port, "logging.provider.udp_config.port"),
            StrayKind::Payload(_) => ("sends payload", settings.payload_port, "transport_layer.udp.port"),
        };
        let sender = match &stray.sender {
            Some((host, pid)) if *pid != 0 => format!("process {pid} on {host} ({})", stray.source),
            Some((host, _)) => format!("{host} ({})", stray.source),
            None => stray.source.to_string(),
        };
        if stray.port == own || !seen.insert((sender.clone(), stray.port)) {
            continue;
        }
        let meaning = format!(
            "It {what} on UDP port {}, and programs with the settings of this computer on port {own}: they do not see each \
             other.",
            stray.port
        );
        findings.push(Finding::failed(CHECK, sender, meaning).mend(format!("{key}: {own}")));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "", "All datagrams of eCAL went to the usual ports."));
    }
    findings
}

/// The settings of groups that are usual, beside one's own.
const USUAL: [(HashVersion, Ipv4Addr, &str); 3] = [
    (HashVersion::V2, Ipv4Addr::new(255, 255, 255, 240), "v2"),
    (HashVersion::V1, Ipv4Addr::new(0, 0, 0, 15), "v1"),
    (HashVersion::V1, Ipv4Addr::new(255, 255, 255, 240), "v1"),
];

pub(super) fn groups(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "groups";
    if facts.settings.mode == Mode::Local {
        return vec![Finding::not_checked(CHECK, "Local mode has no groups.")];
    }
    let settings = &facts.settings;
    let own = own_setting(facts);
    let mend = own.clone();
    let mut findings = Vec::new();
    // Programs of ferrocal register it.
    for process in facts.wire.processes.iter().filter(|process| process.is_ferrocal()) {
        let suffix = process.version.split_once('+').map_or("", |(_, rest)| rest);
        let theirs = suffix.strip_suffix("gro").map_or(suffix, |rest| rest.trim_end_matches('+'));
        let expected = suffix_of(facts);
        if theirs != expected && (theirs.is_empty() || theirs.starts_with('V')) {
            let shown = if theirs.is_empty() { "the default" } else { theirs };
            let meaning = format!(
                "Its topics have other groups ({shown}) than the settings of this computer say ({own}): its messages reach the \
                 others by the base group only. {}",
                in_its_file(process)
            );
            findings.push(Finding::failed(CHECK, name_of(process), meaning).mend(&mend));
        }
    }
    for (topic, sender, group) in misplaced(facts) {
        let meaning = format!(
            "{sender} sends topic `{topic}` to {group}, where subscribers with the settings of this computer ({own}) do not \
             listen.{}",
            version_of(facts, &topic, group)
        );
        findings.push(Finding::failed(CHECK, format!("topic `{topic}`"), meaning).mend(&mend));
    }
    match &facts.machine.memberships {
        Err(why) => findings.push(Finding::not_checked(CHECK, why)),
        Ok(joined) => {
            let groups: BTreeSet<_> = joined.iter().map(|&(_, group)| group).collect();
            let reads_udp = |entity: &&crate::doctor::facts::Entity| {
                entity.info.layers.iter().any(|layer| layer.enabled && layer.kind == LayerKind::UdpMulticast)
            };
            // Without the base, that is another fault.
            let has_base = groups.contains(&settings.group);
            for entity in facts.wire.subscribers.iter().filter(reads_udp).filter(|_| has_base) {
                let host = entity.info.host_name.to_str_lossy();
                let process = facts.wire.process_of(&entity.info);
                let topic = entity.info.topic_name.to_str_lossy();
                let expected = topic_group(settings.hash_version, settings.group, settings.mask, &topic);
                if host != facts.machine.host_name.as_str()
                    || !facts.machine.is_own(entity.source)
                    || entity.source.is_loopback()
                    || process.is_none_or(Process::is_ferrocal)
                    || groups.contains(&expected)
                {
                    continue;
                }
                let process = process.map(name_of).unwrap_or_default();
                let found: Vec<_> = USUAL
                    .iter()
                    .map(|&(version, mask, _)| topic_group(version, settings.group, mask, &topic))
                    .filter(|group| groups.contains(group) && *group != settings.group)
                    .collect();
                let hint = found.first().map(|&group| version_of(facts, &topic, group)).unwrap_or_default();
                let meaning = format!(
                    "This subscriber did not join {expected}, the group of its topic by the settings of this computer ({own}): \
                     it has another mask or hash version, and gets nothing that is sent to the topic's group.{hint}"
                );
                let subject = format!("topic `{topic}`, {process}");
                findings.push(Finding::failed(CHECK, subject, meaning).sure(Sure::Likely).mend(&mend));
            }
        }
    }
    if findings.iter().all(|finding| !finding.is_trouble()) {
        findings.insert(
            0,
            Finding::ok(CHECK, "", format!("Nothing shows another mask or hash version than {own}.")),
        );
    }
    findings
}

/// This computer's mask and version, as `ecal.yaml` has them.
fn own_setting(facts: &Facts) -> String {
    let version = match facts.settings.hash_version {
        HashVersion::V1 => "v1",
        HashVersion::V2 => "v2",
    };
    format!(
        "transport_layer.udp.config_version: {version}, transport_layer.udp.mask: {}",
        facts.settings.mask
    )
}

/// How ferrocal's programs register it.
fn suffix_of(facts: &Facts) -> String {
    let settings = &facts.settings;
    let is_usual = settings.hash_version == HashVersion::V2
        && settings.mask == Ipv4Addr::new(255, 255, 255, 240)
        && settings.group == Ipv4Addr::new(239, 0, 0, 1);
    if is_usual {
        String::new()
    } else {
        format!("{:?}/{}/{}", settings.hash_version, settings.mask, settings.group)
    }
}

/// Payload that went to a group that is neither the topic's nor the base.
fn misplaced(facts: &Facts) -> Vec<(String, String, Ipv4Addr)> {
    let settings = &facts.settings;
    let strays = facts.frames.as_ref().map(|frames| frames.strays.as_slice()).unwrap_or_default();
    let of = |stray: &crate::doctor::facts::Stray| {
        let StrayKind::Payload(topic) = &stray.kind else { return None };
        let expected = topic_group(settings.hash_version, settings.group, settings.mask, topic);
        let is_misplaced = stray.port == settings.payload_port
            && stray.destination.is_multicast()
            && ![expected, settings.group].contains(&stray.destination);
        let host = stray.sender.as_ref().map_or_else(|| stray.source.to_string(), |(host, _)| host.clone());
        is_misplaced.then(|| (topic.clone(), host, stray.destination))
    };
    let found: BTreeSet<_> = strays.iter().filter_map(of).collect();
    found.into_iter().collect()
}

/// Which usual settings give a topic this group.
fn version_of(facts: &Facts, topic: &str, group: Ipv4Addr) -> String {
    let settings = &facts.settings;
    let gives = |&&(version, mask, _): &&(HashVersion, Ipv4Addr, &str)| {
        topic_group(version, settings.group, mask, topic) == group
            && (version, mask) != (settings.hash_version, settings.mask)
    };
    match USUAL.iter().find(gives) {
        Some((_, mask, version)) => format!(" That group follows from {version} with the mask {mask}."),
        None => String::new(),
    }
}

const REGISTRATION: &str = "registration";

pub(super) fn registration(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = REGISTRATION;
    let programs = match &facts.machine.ecal_processes {
        Ok(programs) => programs,
        Err(why) => return vec![Finding::not_checked(CHECK, why)],
    };
    let own = &facts.machine.host_name;
    let strays = facts.frames.as_ref().map(|frames| frames.strays.as_slice()).unwrap_or_default();
    let is_seen = |pid: u32| {
        let is_it = |host: &str, id: i32| host == own && u32::try_from(id) == Ok(pid);
        facts.wire.processes.iter().any(|process| is_it(&process.host, process.pid))
            || strays.iter().filter_map(|stray| stray.sender.as_ref()).any(|(host, id)| is_it(host, *id))
    };
    let by_memory = match &facts.wire.memory {
        Some(Err(why)) => return vec![Finding::not_checked(CHECK, why)],
        Some(Ok(processes)) => Some(processes),
        None => None,
    };
    if let Some(processes) = by_memory {
        return by_shared_memory(facts, programs, processes, is_seen);
    }
    let silent: Vec<_> = programs.iter().filter(|program| !is_seen(program.pid)).collect();
    if silent.is_empty() {
        return vec![Finding::ok(
            CHECK,
            "",
            "All programs of this computer that have loaded eCAL register by UDP.",
        )];
    }
    let of = |program: &&Program| {
        let meaning = "This program has loaded eCAL, and no registration of it came: it registers by shared memory only or by \
                       other ports, or has not started eCAL. Programs that register by UDP, as these settings say, do not see it.";
        Finding::warning(CHECK, format!("{} (process {})", program.name, program.pid), meaning)
            .sure(Sure::Possible)
            .mend("registration.local.transport_type: udp")
    };
    silent.iter().map(of).collect()
}

/// Where the settings say that programs register by shared memory.
fn by_shared_memory(
    facts: &Facts,
    programs: &[Program],
    processes: &BTreeSet<(String, i32)>,
    is_heard: impl Fn(u32) -> bool,
) -> Vec<Finding> {
    let own = &facts.machine.host_name;
    let is_seen = |pid: u32| processes.iter().any(|(host, id)| host == own && u32::try_from(*id) == Ok(pid));
    let silent: Vec<_> = programs.iter().filter(|program| !is_seen(program.pid)).collect();
    if silent.is_empty() {
        let meaning = "All programs of this computer that have loaded eCAL register by shared memory, as these settings say.";
        return vec![Finding::ok(REGISTRATION, "", meaning)];
    }
    let of = |program: &&Program| {
        let subject = format!("{} (process {})", program.name, program.pid);
        let (meaning, sure) = if is_heard(program.pid) {
            let meaning = "This program registers by UDP, and these settings say by shared memory: programs that have them do \
                           not see it. All of a computer must have the same.";
            (meaning, Sure::Likely)
        } else {
            let meaning = "This program has loaded eCAL, and no registration of it came by shared memory, as these settings \
                           say: it registers by UDP with other ports or in another memory file, or has not started eCAL. \
                           Programs that have these settings do not see it.";
            (meaning, Sure::Possible)
        };
        Finding::warning(REGISTRATION, subject, meaning)
            .sure(sure)
            .mend("registration.local.transport_type: udp")
    };
    silent.iter().map(of).collect()
}
