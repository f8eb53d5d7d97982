//! The checks: each a function from what was observed to findings.

mod machine;
mod network;
mod peers;
mod settings;

use super::facts::Facts;
use super::finding::{Finding, Status};

/// A check.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    /// What it looks at, for people.
    pub(crate) about: &'static str,
    /// Whether others may be the cause of what it finds.
    is_symptom: bool,
    run: fn(&Facts) -> Vec<Finding>,
}

const fn cause(name: &'static str, about: &'static str, run: fn(&Facts) -> Vec<Finding>) -> Check {
    Check { name, about, is_symptom: false, run }
}

const fn symptom(name: &'static str, about: &'static str, run: fn(&Facts) -> Vec<Finding>) -> Check {
    Check { name, about, is_symptom: true, run }
}

/// All checks. The names are a promise to scripts.
pub(crate) const CHECKS: &[Check] = &[
    cause("interface", "interfaces that are up, have an address and a carrier", network::interface),
    cause("multicast", "interfaces that may carry multicast", network::multicast),
    cause("mtu", "the longest packets of the interfaces", network::mtu),
    cause("route", "the route that multicast takes", network::route),
    cause("membership", "multicast groups that are joined, and how many may be", network::membership),
    cause("rp_filter", "packets dropped because no route leads back", network::reverse_path),
    cause("fragments", "room for packets that come in fragments", network::fragments),
    cause("firewall", "rules that drop what eCAL sends", network::firewall),
    cause("port", "ports that another program holds", machine::port),
    cause("buffer", "the receive buffer that the system grants", machine::buffer),
    cause("ipv6", "IPv6, which eCAL's services need", machine::ipv6),
    cause("container", "containers, and how they are connected", machine::container),
    cause("shared_memory", "files in shared memory that nobody uses", machine::shared_memory),
    cause("raw_frames", "Npcap or libpcap", machine::raw_frames),
    cause("host_name", "hosts of the same name", peers::host_name),
    cause("process_id", "processes of the same id on hosts of the same name", peers::process_id),
    cause("mode", "local mode beside network mode", settings::mode),
    cause("ports", "programs that use other ports", settings::ports),
    cause("groups", "masks and hash versions of multicast groups", settings::groups),
    cause(
        "registration",
        "programs of eCAL that do not register as the settings say",
        settings::registration,
    ),
    cause("reader_layer", "subscribers that do not read by UDP", peers::reader_layer),
    cause("writer_layer", "publishers that do not send by UDP", peers::writer_layer),
    cause("type", "topics with several data types", peers::data_type),
    cause("clock", "clocks that differ between hosts", peers::clock),
    symptom("one_way", "publishers that do not know of their subscribers", peers::one_way),
    symptom("unusable", "datagrams of which nothing can be used", peers::unusable),
    symptom("self_test", "messages sent and received by each backend and interface", machine::self_test),
];

/// Runs all checks. What follows from the finding of another check is a note.
pub(crate) fn run(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for check in CHECKS.iter().filter(|check| !check.is_symptom) {
        findings.extend((check.run)(facts));
    }
    let causes: Vec<_> =
        findings.iter().filter(|one| one.status == Status::Failed).map(|one| one.check).collect();
    for check in CHECKS.iter().filter(|check| check.is_symptom) {
        findings.extend((check.run)(facts).into_iter().map(|finding| follows_from(finding, &causes)));
    }
    findings
}

fn follows_from(finding: Finding, causes: &[&str]) -> Finding {
    /// What can keep datagrams from arriving.
    const OF_THE_NETWORK: &[&str] = &[
        "interface",
        "multicast",
        "route",
        "membership",
        "rp_filter",
        "fragments",
        "firewall",
        "port",
        "host_name",
        "mode",
        "ports",
        "groups",
        "process_id",
    ];
    let causes: Vec<_> = causes.iter().filter(|cause| OF_THE_NETWORK.contains(cause)).copied().collect();
    if !finding.is_trouble() || causes.is_empty() {
        return finding;
    }
    let meaning = format!("{} This may follow from: {}.", finding.meaning, causes.join(", "));
    Finding { status: Status::Note, meaning, mend: String::new(), ..finding }
}

#[cfg(test)]
mod tests;
