//! Checks of interfaces, routes and filters.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use ferrocal::Mode;

use crate::doctor::facts::{Facts, Interface};
use crate::doctor::finding::{Finding, Sure};
use crate::doctor::firewall::Datagram;
use crate::doctor::quoted;

/// The longest packet that every IPv4 link has to carry is much shorter (RFC 791), but no usual network goes below this
/// (RFC 8200 asks as much of those that carry IPv6).
const LEAST_MTU: u32 = 1280;
/// With eCAL's usual mask, topics have 16 groups, and the group base is one more.
const USUAL_MEMBERSHIPS: usize = 17;
/// A packet has 65535 bytes at most; this holds some of them, with what the kernel needs for each fragment.
const LEAST_FRAGMENT_BYTES: u64 = 1 << 20;
/// The default of Linux.
const USUAL_FRAGMENT_BYTES: u64 = 4 << 20;

fn is_local(facts: &Facts) -> bool {
    facts.settings.mode == Mode::Local
}

fn only_in_network_mode(check: &'static str) -> Vec<Finding> {
    vec![Finding::not_checked(check, "Local mode needs none of this: `--mode network` looks at it.")]
}

pub(super) fn interface(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "interface";
    let interfaces = &facts.machine.interfaces;
    if is_local(facts) {
        let loopback = interfaces.iter().find(|one| one.is_loopback);
        // Windows has loopback without an interface.
        return match loopback {
            Some(one) if !one.is_up => vec![
                Finding::failed(
                    CHECK,
                    &one.name,
                    "Local mode sends by the loopback interface, which is down.",
                )
                .mend(format!("ip link set {} up", quoted(&one.name))),
            ],
            _ => vec![Finding::ok(CHECK, "loopback", "Local mode sends by the loopback interface.")],
        };
    }
    let named = &facts.settings.interfaces;
    if named.is_empty() {
        let in_use = facts.machine.in_use(&facts.settings);
        if let Some(one) = in_use.iter().find(|one| one.is_usable() && !one.is_loopback) {
            return vec![Finding::ok(CHECK, &one.name, describe(one))];
        }
        // The route is what is wrong if there is another interface to use.
        if let Some(one) = interfaces.iter().find(|one| one.is_usable() && !one.is_loopback) {
            return match in_use.iter().find(|one| !one.is_loopback) {
                Some(used) => vec![trouble(used)],
                None => vec![Finding::ok(CHECK, &one.name, describe(one))],
            };
        }
        return vec![match facts.machine.candidate() {
            Some(one) => trouble(one),
            None => Finding::failed(CHECK, "", "This computer has no network interface but loopback.")
                .mend("ip link show"),
        }];
    }
    let trouble_of = |selector| {
        let mut matching: Vec<_> = interfaces.iter().filter(|one| one.is_named(selector)).collect();
        matching.sort_by_key(|one| !one.is_usable());
        let text = selector.to_string();
        match matching.first() {
            Some(one) if one.is_usable() => Finding::ok(CHECK, text, describe(one)),
            Some(one) => trouble(one),
            None => {
                let names: Vec<_> = interfaces.iter().map(describe).collect();
                let meaning = format!(
                    "The settings name an interface that is not there. There are: {}",
                    names.join(" ")
                );
                Finding::failed(CHECK, text, meaning).mend("ferrocal.interfaces: []")
            }
        }
    };
    named.iter().map(trouble_of).collect()
}

fn describe(one: &Interface) -> String {
    let name = one.friendly_name.as_ref().unwrap_or(&one.name);
    let addresses: Vec<_> = one.addresses.iter().map(|(address, len)| format!("{address}/{len}")).collect();
    let addresses = if addresses.is_empty() { "no IPv4 address".to_owned() } else { addresses.join(", ") };
    let state = match (one.is_up, one.has_carrier) {
        (false, _) => "down",
        (true, false) => "without a carrier",
        (true, true) => "up",
    };
    format!("{name} ({addresses}) is {state}; MTU {}.", one.mtu)
}

/// What is wrong with an interface that cannot send and receive.
fn trouble(one: &Interface) -> Finding {
    const CHECK: &str = "interface";
    let name = quoted(&one.name);
    if !one.is_up {
        return Finding::failed(
            CHECK,
            &one.name,
            "The interface is down: nothing leaves this computer by it.",
        )
        .mend(format!("ip link set {name} up"));
    }
    if one.addresses.is_empty() {
        let meaning = "The interface has no IPv4 address. Without one, nothing can be sent by it. Give it a free address of \
                       the network of the other hosts.";
        return Finding::failed(CHECK, &one.name, meaning)
            .mend(format!("ip address add ADDRESS/PREFIX dev {name}"));
    }
    let meaning = "The interface has no carrier: its cable is not plugged in, or what it is connected to is off or down. \
                   What is sent by it is lost.";
    Finding::failed(CHECK, &one.name, meaning).mend(format!("ip link show {name}"))
}

pub(super) fn multicast(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "multicast";
    if is_local(facts) {
        return only_in_network_mode(CHECK);
    }
    let in_use = facts.machine.in_use(&facts.settings);
    let of = |one: &&Interface| {
        if one.has_multicast || one.is_loopback {
            return Finding::ok(CHECK, &one.name, "The interface carries multicast.");
        }
        let meaning = "The interface is set not to carry multicast, by which eCAL registers and sends.";
        Finding::failed(CHECK, &one.name, meaning)
            .mend(format!("ip link set {} multicast on", quoted(&one.name)))
    };
    in_use.iter().map(of).collect()
}

pub(super) fn mtu(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "mtu";
    if is_local(facts) {
        return only_in_network_mode(CHECK);
    }
    let of = |one: &&Interface| {
        if one.mtu >= LEAST_MTU {
            let meaning = format!(
                "Packets have up to {} bytes. It has to be the same on all hosts of a network: `ferrocal doctor --call` \
                 finds out.",
                one.mtu
            );
            return Finding::ok(CHECK, &one.name, meaning);
        }
        let meaning = format!(
            "Packets have no more than {} bytes: each datagram of eCAL becomes many fragments, and is lost with any of them.",
            one.mtu
        );
        Finding::warning(CHECK, &one.name, meaning)
            .sure(Sure::Likely)
            .mend(format!("ip link set {} mtu 1500", quoted(&one.name)))
    };
    facts.machine.in_use(&facts.settings).iter().map(of).collect()
}

pub(super) fn route(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "route";
    if is_local(facts) {
        return only_in_network_mode(CHECK);
    }
    let (group, machine) = (facts.settings.group, &facts.machine);
    let subject = group.to_string();
    if !facts.settings.interfaces.is_empty() {
        return vec![Finding::ok(
            CHECK,
            subject,
            "The settings name the interface, whatever the routes say.",
        )];
    }
    let usable = machine.interfaces.iter().find(|one| one.is_usable() && !one.is_loopback);
    let Some(to) = usable.and_then(|_| machine.candidate()) else {
        return vec![Finding::not_checked(CHECK, "There is no interface that a route could lead to.")];
    };
    let entry = machine.route.entry.as_ref().ok().and_then(Option::as_ref);
    // A route that does the harm is replaced, unless it is that of more than multicast.
    let network = match entry {
        Some((_, destination, len)) if *len >= 4 => format!("{destination}/{len}"),
        _ => usual_network(group),
    };
    let mend = format!("ip route replace {network} dev {}", quoted(&to.name));
    match machine.route.source {
        Err(ErrorKind::NetworkUnreachable) if !matches!(entry, Some((None, ..))) => {
            let meaning = "No route leads to eCAL's multicast group: nothing can be sent to other hosts. Programs that are set to \
                           an interface of their own do not need it.";
            vec![Finding::failed(CHECK, subject, meaning).mend(mend)]
        }
        Err(_) => {
            let meaning = "The route to eCAL's multicast group refuses what is sent (unreachable, prohibit or blackhole).";
            vec![Finding::failed(CHECK, subject, meaning).mend(mend)]
        }
        Ok(source) => {
            let in_use = machine.in_use(&facts.settings);
            match in_use.first() {
                Some(one) if one.is_loopback => {
                    let meaning = "The route to eCAL's multicast group leads to loopback: nothing leaves this computer. Guides \
                                   for a single computer recommend such a route.";
                    vec![Finding::failed(CHECK, subject, meaning).mend(mend)]
                }
                Some(one) => {
                    let others = machine
                        .interfaces
                        .iter()
                        .filter(|other| other.is_usable() && !other.is_loopback && other.name != one.name);
                    let others: Vec<_> = others.map(|other| other.name.as_str()).collect();
                    if others.is_empty() {
                        let meaning = format!("Multicast leaves by {} ({source}).", one.name);
                        return vec![Finding::ok(CHECK, subject, meaning)];
                    }
                    let meaning = format!(
                        "Multicast leaves by {} ({source}) only, and not by {}. If the other hosts are there, name that interface \
                         in `ferrocal.interfaces`, or set the route.",
                        one.name,
                        others.join(", ")
                    );
                    vec![Finding::note(CHECK, subject, meaning).sure(Sure::Possible)]
                }
                None => vec![Finding::ok(CHECK, subject, format!("Multicast leaves from {source}."))],
            }
        }
    }
}

/// The network of a group that advice names: that of organizations if it lies there (RFC 2365).
fn usual_network(group: Ipv4Addr) -> String {
    if group.octets()[0] == 239 { "239.0.0.0/8".to_owned() } else { "224.0.0.0/4".to_owned() }
}

pub(super) fn membership(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "membership";
    if is_local(facts) {
        return only_in_network_mode(CHECK);
    }
    let mut findings = Vec::new();
    match &facts.machine.max_memberships {
        Ok(max) if *max < USUAL_MEMBERSHIPS => {
            let meaning = format!(
                "A program may join {max} groups at most. Topics have 16 groups with eCAL's usual mask, and the group of \
                 registrations is one more: some topics do not arrive."
            );
            let mend = "sysctl -w net.ipv4.igmp_max_memberships=20";
            findings.push(Finding::failed(CHECK, "net.ipv4.igmp_max_memberships", meaning).mend(mend));
        }
        Ok(max) => {
            let meaning = format!("A program may join {max} groups.");
            findings.push(Finding::ok(CHECK, "net.ipv4.igmp_max_memberships", meaning));
        }
        Err(why) => findings.push(Finding::not_checked(CHECK, why)),
    }
    let group = facts.settings.group;
    match &facts.machine.memberships {
        Err(why) => findings.push(Finding::not_checked(CHECK, why)),
        Ok(joined) => {
            for one in
                facts.machine.in_use(&facts.settings).iter().filter(|one| one.is_usable() && !one.is_loopback)
            {
                let subject = format!("{group} on {}", one.name);
                if joined.contains(&(one.name.clone(), group)) {
                    findings.push(Finding::ok(CHECK, subject, "The group is joined."));
                } else if findings.iter().all(|finding| !finding.is_trouble()) {
                    let meaning = "This program could not join the group of registrations on this interface, so that others \
                                   cannot either.";
                    findings.push(
                        Finding::failed(CHECK, subject, meaning)
                            .sure(Sure::Likely)
                            .mend("sysctl -w net.ipv4.igmp_max_memberships=20"),
                    );
                }
            }
        }
    }
    findings
}

pub(super) fn reverse_path(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "rp_filter";
    if is_local(facts) {
        return only_in_network_mode(CHECK);
    }
    let path = match &facts.machine.reverse_path {
        Ok(path) => path,
        Err(why) => return vec![Finding::not_checked(CHECK, why)],
    };
    let in_use = facts.machine.in_use(&facts.settings);
    let filter_of =
        |name: &str| path.filters.iter().find(|(of, _)| of == name).map_or(0, |&(_, filter)| filter);
    // 2 asks for a route by any interface.
    let filtering: Vec<_> = in_use.iter().filter(|one| filter_of(&one.name) != 0).collect();
    if path.dropped == 0 || filtering.is_empty() {
        let meaning = "No packet was dropped because no route leads back to its sender.";
        return vec![Finding::ok(CHECK, "", meaning)];
    }
    let of = |one: &&&Interface| {
        let name = quoted(&one.name);
        let is_strict = filter_of(&one.name) == 1;
        let heard = facts.frames.as_ref().ok().map(|frames| {
            let here =
                frames.heard.iter().filter(|(on, _)| *on == one.name).map(|(_, from)| from.to_string());
            here.collect::<Vec<_>>()
        });
        let from = match heard {
            Some(from) if !from.is_empty() => format!(" Raw frames of eCAL came from {}.", from.join(", ")),
            _ => String::new(),
        };
        let meaning = format!(
            "{} packets were dropped within {:.0} s: they came by an interface by which the system would not answer \
             them (rp_filter {}). It does so without a word.{from}",
            path.dropped,
            facts.wire.watched.as_secs_f64(),
            if is_strict { "1, strict" } else { "2, loose" },
        );
        let mend = if is_strict && facts.machine.route.has_default {
            format!("sysctl -w net.ipv4.conf.{name}.rp_filter=2")
        } else {
            format!("sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{name}.rp_filter=0")
        };
        Finding::failed(CHECK, &one.name, meaning).sure(Sure::Likely).mend(mend)
    };
    filtering.iter().map(of).collect()
}

pub(super) fn fragments(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "fragments";
    const SUBJECT: &str = "net.ipv4.ipfrag_high_thresh";
    match facts.machine.max_fragment_bytes {
        Err(ref why) => vec![Finding::not_checked(CHECK, why)],
        Ok(bytes) if bytes < LEAST_FRAGMENT_BYTES => {
            let meaning = format!(
                "Packets in fragments have {bytes} bytes of room: datagrams longer than one packet of the network get lost, \
                 and eCAL's have up to 65507 bytes."
            );
            let mend = format!("sysctl -w {SUBJECT}={USUAL_FRAGMENT_BYTES}");
            vec![Finding::failed(CHECK, SUBJECT, meaning).mend(mend)]
        }
        Ok(bytes) => {
            vec![Finding::ok(CHECK, SUBJECT, format!("There is room for {bytes} bytes of fragments."))]
        }
    }
}

pub(super) fn firewall(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "firewall";
    let rulesets = match &facts.machine.firewall {
        Ok(rulesets) => rulesets,
        Err(why) => return vec![Finding::not_checked(CHECK, why)],
    };
    let settings = &facts.settings;
    let ports = [settings.registration_port, settings.payload_port, settings.logging_port];
    let range = ports.into_iter().min().unwrap_or(0)..=ports.into_iter().max().unwrap_or(u16::MAX);
    let (names, destination): (Vec<&str>, _) = if is_local(facts) {
        (vec!["lo"], Ipv4Addr::new(127, 255, 255, 255))
    } else {
        let in_use = facts.machine.in_use(settings);
        (in_use.iter().map(|one| one.name.as_str()).collect(), settings.group)
    };
    let mut findings: Vec<Finding> = Vec::new();
    for ruleset in rulesets {
        for (interface, is_outgoing, port) in names.iter().flat_map(|&name| {
            [false, true].into_iter().flat_map(move |way| ports.map(|port| (name, way, port)))
        }) {
            let Some(drop) = ruleset.drops(&Datagram { is_outgoing, interface, destination, port }) else {
                continue;
            };
            let subject = format!("{} {} ({})", drop.table, drop.chain, drop.hook);
            if findings.iter().any(|finding| finding.subject == subject) {
                continue;
            }
            let way = if is_outgoing { "What is sent to" } else { "What comes for" };
            let meaning =
                format!("{way} {destination}, UDP port {port}, is dropped by the firewall of this computer.");
            let finding = match drop.sure {
                Sure::Certain => Finding::failed(CHECK, subject, meaning),
                sure => {
                    Finding::warning(CHECK, subject, format!("{meaning} Some rules were not understood."))
                        .sure(sure)
                }
            };
            findings.push(finding.mend(ruleset.mend(&drop, &range)));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "", "No rule that could be read drops what eCAL sends."));
    }
    findings
}
