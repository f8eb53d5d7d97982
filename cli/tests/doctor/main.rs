//! `ferrocal doctor` on networks that are broken on purpose: a list of situations.
//!
//! Doctor runs on the first of two hosts. It has to name what is wrong, and nothing else. Its advice is followed, and then it
//! has to find nothing.

#[expect(dead_code, reason = "other tests need more of it")]
#[path = "../common/mod.rs"]
mod common;
mod peers;
mod run;

use std::process::{Command, ExitCode};

use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::wait;
use ferrocal_integration_tests::world::{Mode, World};

use run::{Doctor, Nodes, ip, sh};

/// Something that happens to a network.
type Event = fn(&World);

/// What is wrong with a network, the check that names it, and how its advice is followed.
struct Situation {
    name: &'static str,
    event: Event,
    check: &'static str,
    advice: Advice,
}

#[derive(Clone, Copy)]
enum Advice {
    /// The command is run as it is printed.
    Command,
    /// The command has a word to be replaced, as a person would.
    With(&'static str, &'static str),
    /// What is wrong is not on this host, and the advice says so.
    Elsewhere(Event),
}

const fn situation(name: &'static str, event: Event, check: &'static str, advice: Advice) -> Situation {
    Situation { name, event, check, advice }
}

const NETWORKS: [Situation; 19] = [
    situation("interface_down", |_| ip("link set veth-a down"), "interface", Advice::Command),
    situation(
        "no_address",
        |_| ip("addr flush dev veth-a"),
        "interface",
        Advice::With("ADDRESS/PREFIX", "10.11.12.1/24"),
    ),
    situation(
        "no_carrier",
        |world| {
            world.there().ip("link set veth-b down").unwrap();
            // The kernel shows it up to a second later.
            wait::until("veth-a is seen without a carrier", || {
                let shown = Command::new("ip").args(["-oneline", "link", "show", "veth-a"]).output();
                !String::from_utf8_lossy(&shown.expect("ip runs").stdout).contains("state UP")
            });
        },
        "interface",
        Advice::Elsewhere(|world| {
            world.there().ip("link set veth-b up").unwrap();
            world.there().ip("route add 239.0.0.0/8 dev veth-b").unwrap();
        }),
    ),
    situation("multicast_off", |_| ip("link set veth-a multicast off"), "multicast", Advice::Command),
    situation("short_packets", |_| ip("link set veth-a mtu 576"), "mtu", Advice::Command),
    situation("no_route", |_| ip("route del 239.0.0.0/8 dev veth-a"), "route", Advice::Command),
    situation("unreachable", |_| route("unreachable 239.0.0.0/8"), "route", Advice::Command),
    situation("prohibited", |_| route("prohibit 239.0.0.0/8"), "route", Advice::Command),
    situation("black_hole", |_| route("blackhole 239.0.0.0/8"), "route", Advice::Command),
    situation("route_to_loopback", |_| route("239.0.0.0/8 dev lo"), "route", Advice::Command),
    situation(
        "few_memberships",
        |_| sh("sysctl -q -w net.ipv4.igmp_max_memberships=0"),
        "membership",
        Advice::Command,
    ),
    situation("strict_rp_filter", |_| unrouted_source("1"), "rp_filter", Advice::Command),
    situation("loose_rp_filter", |_| unrouted_source("2"), "rp_filter", Advice::Command),
    situation(
        "no_fragments",
        |_| sh("sysctl -q -w net.ipv4.ipfrag_low_thresh=0 net.ipv4.ipfrag_high_thresh=0"),
        "fragments",
        Advice::Command,
    ),
    situation(
        "firewall_input",
        |_| nft("input", "accept", "udp dport 14000-14002 drop"),
        "firewall",
        Advice::Command,
    ),
    situation(
        "firewall_policy",
        |_| nft("input", "drop", "ct state established accept"),
        "firewall",
        Advice::Command,
    ),
    situation(
        "firewall_output",
        |_| nft("output", "accept", "ip daddr 239.0.0.0/8 reject"),
        "firewall",
        Advice::Command,
    ),
    situation("no_ipv6", |_| sh("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1"), "ipv6", Advice::Command),
    situation(
        "firewall_of_the_other",
        |world| {
            let rules = "nft add table inet t && nft add chain inet t c '{ type filter hook input priority 0; policy drop; }'";
            run::sh_on(world.there(), rules);
        },
        "one_way",
        Advice::Elsewhere(|world| run::sh_on(world.there(), "nft flush ruleset")),
    ),
];

fn main() -> ExitCode {
    let mut tests = vec![
        Test::new("healthy_pair", &[], healthy_pair),
        Test::new("healthy_local", &[], healthy_local),
        Test::new("every_situation_is_apart", &[], every_situation_is_apart),
    ];
    for Situation { name, event, check, advice } in NETWORKS {
        let needs: &[Need] = if check == "rp_filter" { &[Need::RawFrames] } else { &[] };
        tests.push(Test::new(format!("network::{name}"), needs, move || broken(event, check, advice)));
    }
    tests.extend(peers::tests());
    suite::main(tests)
}

fn every_situation_is_apart() {
    let mut names: Vec<_> = NETWORKS.iter().map(|situation| situation.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), NETWORKS.len());
}

/// Puts another route in place of the one that multicast has.
fn route(route: &str) {
    ip("route del 239.0.0.0/8 dev veth-a");
    ip(&format!("route add {route}"));
}

/// Has the other host send from an address that no route of this one leads back to.
fn unrouted_source(filter: &str) {
    ip("addr flush dev veth-a");
    ip("addr add 192.168.7.1/24 dev veth-a");
    ip("route add 239.0.0.0/8 dev veth-a");
    sh(&format!("sysctl -q -w net.ipv4.conf.veth-a.rp_filter={filter}"));
}

fn nft(hook: &str, policy: &str, rule: &str) {
    sh(&format!(
        "nft add table inet t && nft add chain inet t c '{{ type filter hook {hook} priority 0; policy {policy}; }}' && \
         nft add rule inet t c {rule}"
    ));
}

/// Undoes what a situation leaves behind on the first host, beside the link.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        run::sh_on(
            Host::first(),
            "nft flush ruleset; sysctl -q -w net.ipv4.igmp_max_memberships=20 \
             net.ipv4.ipfrag_high_thresh=4194304 net.ipv4.ipfrag_low_thresh=3145728 net.ipv6.conf.all.disable_ipv6=0 \
             net.ipv4.conf.all.rp_filter=0; for kind in unreachable prohibit blackhole; do ip route del $kind \
             239.0.0.0/8 2>/dev/null; done; ip route del 239.0.0.0/8 dev lo 2>/dev/null; hostname host-a",
        );
    }
}

fn healthy_pair() {
    let world = World::new(Mode::Network);
    let nodes = Nodes::open(&world);
    nodes.expect_matched();
    Doctor::run(&world, "").expect_healthy();
}

fn healthy_local() {
    let world = World::new(Mode::Local);
    Doctor::run(&world, "").expect_healthy();
}

fn broken(event: Event, check: &str, advice: Advice) {
    let world = World::new(Mode::Network);
    let _restored = Restored;
    event(&world);
    let nodes = Nodes::open(&world);
    // Two refreshes are enough, but for what programs say of each other: that counts after 3.5 s. They may be late.
    let watch = if check == "one_way" { "--duration 10" } else { "--duration 2" };
    let finding = Doctor::run(&world, watch).expect_only(check);
    drop(nodes);
    let mend = finding["mend"].as_str().expect("advice");
    match advice {
        Advice::Command => sh(mend),
        Advice::With(word, replacement) => {
            assert!(mend.contains(word), "{finding}");
            sh(&mend.replace(word, replacement));
            // Addresses take their routes along when they go.
            ip("route replace 239.0.0.0/8 dev veth-a");
        }
        Advice::Elsewhere(event) => event(&world),
    }
    if ["interface"].contains(&check) {
        // A link takes its routes along when it goes down.
        ip("route replace 239.0.0.0/8 dev veth-a");
    }
    let nodes = Nodes::open(&world);
    nodes.expect_matched();
    Doctor::run(&world, watch).expect_healthy();
}
