//! Checks of this computer, its interfaces aside.

use crate::doctor::facts::{Facts, Outcome, SelfTest};
use crate::doctor::finding::{Finding, Sure};

/// eCAL's default for a receive buffer.
const USUAL_BUFFER_LEN: usize = 5 * 1024 * 1024;

pub(super) fn port(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "port";
    let of = |one: &crate::doctor::facts::PortUse| {
        let subject = format!("{} ({})", one.port, one.role);
        let Some(failure) = &one.failure else {
            return Finding::ok(CHECK, subject, "The port can be opened, and shared.");
        };
        let holders: Vec<_> =
            one.holders.iter().map(|holder| format!("{} (process {})", holder.name, holder.pid)).collect();
        let by = if holders.is_empty() { "another program".to_owned() } else { holders.join(", ") };
        let meaning = format!(
            "UDP port {} cannot be opened: {by} holds it, and does not share it. {failure}",
            one.port
        );
        let ids: Vec<_> = one.holders.iter().map(|holder| holder.pid.to_string()).collect();
        let mend = if ids.is_empty() {
            format!("ss -ulpn sport = :{}", one.port)
        } else {
            format!("kill {}", ids.join(" "))
        };
        let sure = if ids.is_empty() { Sure::Likely } else { Sure::Certain };
        Finding::failed(CHECK, subject, meaning).sure(sure).mend(mend)
    };
    facts.machine.ports.iter().map(of).collect()
}

pub(super) fn buffer(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "buffer";
    const SUBJECT: &str = "receive buffer";
    let wanted = facts.settings.receive_buffer_len;
    match facts.machine.granted_buffer_len {
        Err(ref why) => vec![Finding::not_checked(CHECK, why)],
        Ok(granted) if granted >= wanted => {
            vec![Finding::ok(
                CHECK,
                SUBJECT,
                format!("The system grants the {wanted} bytes that are wanted."),
            )]
        }
        Ok(granted) => {
            let meaning = format!(
                "The system grants {granted} of the {wanted} bytes that are wanted. What comes while a program does not run \
                 for a moment gets lost sooner."
            );
            let mend = if cfg!(target_os = "linux") {
                format!("sysctl -w net.core.rmem_max={wanted}")
            } else {
                String::new()
            };
            let finding = if granted < USUAL_BUFFER_LEN.min(wanted) {
                Finding::warning(CHECK, SUBJECT, meaning).sure(Sure::Likely)
            } else {
                Finding::note(CHECK, SUBJECT, meaning)
            };
            vec![finding.mend(mend)]
        }
    }
}

pub(super) fn ipv6(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "ipv6";
    match &facts.machine.has_ipv6 {
        Err(why) => vec![Finding::not_checked(CHECK, why)],
        Ok(true) => vec![Finding::ok(CHECK, "", "IPv6 is on.")],
        Ok(false) => {
            let meaning = "IPv6 is off. Topics do not need it, but servers of eCAL 5.13 and 6.0 cannot open their ports without \
                           it: calls of services fail.";
            let mend = "sysctl -w net.ipv6.conf.all.disable_ipv6=0";
            vec![Finding::warning(CHECK, "net.ipv6.conf.all.disable_ipv6", meaning).mend(mend)]
        }
    }
}

pub(super) fn container(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "container";
    let kind = match &facts.machine.container {
        Err(why) => return vec![Finding::not_checked(CHECK, why)],
        Ok(None) => return vec![Finding::ok(CHECK, "", "This is no container, as far as can be seen.")],
        Ok(Some(kind)) => kind,
    };
    // The addresses that Docker gives by default.
    let is_bridged =
        |address: std::net::Ipv4Addr| address.octets()[0] == 172 && (17..32).contains(&address.octets()[1]);
    let in_use = facts.machine.in_use(&facts.settings);
    let bridged = in_use.iter().find(|one| one.addresses.iter().any(|&(address, _)| is_bridged(address)));
    match bridged {
        Some(one) if facts.settings.mode == ferrocal::Mode::Network => {
            let meaning = "This is a container with an address of Docker's own network. Multicast does not leave that network: \
                           other hosts are not seen, and do not see it. Start the container in the network of its host.";
            vec![
                Finding::warning(CHECK, format!("{kind}, {}", one.name), meaning)
                    .sure(Sure::Likely)
                    .mend("docker run --network host --ipc host --pid host IMAGE"),
            ]
        }
        _ => {
            let meaning = "This is a container. eCAL programs of several containers with one host name need one numbering of \
                           processes (`--pid host`), and shared memory needs `--ipc host`.";
            vec![Finding::note(CHECK, kind, meaning)]
        }
    }
}

pub(super) fn raw_frames(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "raw_frames";
    match &facts.machine.raw_frames {
        Ok(found) => vec![Finding::ok(CHECK, found, "Raw frames are available.")],
        Err(why) => {
            let meaning = format!("Raw frames are not available: {why}.");
            let finding = if facts.settings.wants_raw {
                Finding::failed(CHECK, "npcap", format!("{meaning} The settings ask for them."))
            } else if cfg!(windows) {
                let meaning =
                    format!("{meaning} On Windows they spare what the firewall costs for each datagram.");
                Finding::warning(CHECK, "npcap", meaning)
            } else {
                Finding::note(CHECK, "libpcap", format!("{meaning} Some checks need them; messages do not."))
            };
            vec![finding]
        }
    }
}

pub(super) fn shared_memory(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "shared_memory";
    /// More are not named.
    const MAX_NAMED: usize = 5;
    /// More are not removed at once.
    const MAX_REMOVED: usize = 100;
    let unused = match &facts.machine.unused_memory {
        Err(why) => return vec![Finding::not_checked(CHECK, why)],
        Ok(unused) => unused,
    };
    // Who registers a file may have another numbering of processes, and is not seen then.
    let unused: Vec<_> =
        unused.iter().filter(|name| !is_registered(facts, name)).map(String::as_str).collect();
    if unused.is_empty() {
        return vec![Finding::ok(CHECK, "", "Each file of eCAL's in shared memory is in use.")];
    }
    let mut named = unused[..unused.len().min(MAX_NAMED)].join(", ");
    if unused.len() > MAX_NAMED {
        named += ", ...";
    }
    let effect = match unused.iter().any(|name| name.starts_with("ecal_shutdown_process_")) {
        true => ", and a request to end that one holds is for the next process of that id",
        false => ", and nothing else",
    };
    let meaning = format!(
        "{} files in shared memory belong to nobody: {named}. Who made them was killed. They take memory{effect}.",
        unused.len()
    );
    let rest = if unused.len() > MAX_REMOVED {
        format!(" The command removes {MAX_REMOVED} of them.")
    } else {
        String::new()
    };
    let paths: Vec<_> = unused
        .iter()
        .take(MAX_REMOVED)
        .map(|name| crate::doctor::quoted(&format!("/dev/shm/{name}")))
        .collect();
    vec![Finding::note(CHECK, "/dev/shm", meaning + &rest).mend(format!("rm {}", paths.join(" ")))]
}

/// Whether a file is a memory file that a publisher registers, or a lock or an event of one.
fn is_registered(facts: &Facts, name: &str) -> bool {
    let layers = facts.wire.publishers.iter().flat_map(|publisher| &publisher.info.layers);
    layers.flat_map(|layer| &layer.parameters.memory_files).any(|file| {
        let rest = name.as_bytes().strip_prefix(file.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"_"))
    })
}

pub(super) fn self_test(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "self_test";
    if facts.tests.is_empty() {
        return vec![Finding::not_checked(CHECK, "Nothing was sent.")];
    }
    let of = |SelfTest { subject, is_in_use, outcome }: &SelfTest| match outcome {
        Outcome::Passed => Finding::ok(CHECK, subject, "What was sent came back."),
        Outcome::NotRun(why) => Finding { subject: subject.clone(), ..Finding::not_checked(CHECK, why) },
        Outcome::Failed(what) if !is_in_use => {
            let meaning = format!("Multicast does not go this way, and would not come back: {what}.");
            Finding::note(CHECK, subject, meaning).sure(Sure::Likely)
        }
        Outcome::Failed(what) => {
            let meaning = format!("This computer does not receive what it sends itself: {what}.");
            Finding::failed(CHECK, subject, meaning).sure(Sure::Likely)
        }
    };
    facts.tests.iter().map(of).collect()
}
