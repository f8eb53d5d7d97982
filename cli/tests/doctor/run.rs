//! Running doctor, and what it says.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use ferrocal::{Config, Node, Publisher, Subscriber};
use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::world::{Mode, World};
use serde_json::Value;

/// The command, with arguments that spaces separate.
pub(crate) fn cli(host: Host, arguments: &str) -> Command {
    crate::common::command(host, &arguments.split_whitespace().collect::<Vec<_>>())
}

/// Changes the network of the first host, as `ip` does.
#[track_caller]
pub(crate) fn ip(arguments: &str) {
    Host::first().ip(arguments).unwrap_or_else(|error| panic!("{error}"));
}

/// Runs a line of a shell on the first host.
#[track_caller]
pub(crate) fn sh(line: &str) {
    let status = Command::new("sh").args(["-c", line]).status().expect("a shell runs");
    assert!(status.success(), "`{line}` failed: {status}");
}

/// Runs a line of a shell on a host, whether it succeeds or not.
pub(crate) fn sh_on(host: Host, line: &str) {
    let _ = host.command("sh").args(["-c", line]).status();
}

/// A node on each host: a subscriber on this one, and a publisher of its topic on the other.
pub(crate) struct Nodes {
    _nodes: [Node; 2],
    publisher: Publisher<str>,
    subscriber: Subscriber<str>,
}

impl Nodes {
    #[track_caller]
    pub(crate) fn open(world: &World) -> Self {
        let config = Config::default().mode(world.mode().into());
        let here = world.here().run(|| Node::with_config("here", config)).expect("a node opens");
        let there = ours::node(world, world.there(), "there");
        let subscriber = here.subscriber("hello").expect("a good topic");
        let publisher = there.publisher("hello").expect("a good topic");
        Self { _nodes: [here, there], publisher, subscriber }
    }

    #[track_caller]
    pub(crate) fn expect_matched(&self) {
        const HANG: Duration = Duration::from_secs(60);
        assert!(self.publisher.wait_for_subscriber(HANG) && self.subscriber.wait_for_publisher(HANG));
    }
}

/// What doctor said.
#[derive(Debug)]
pub(crate) struct Doctor {
    pub(crate) code: Option<i32>,
    pub(crate) findings: Vec<Value>,
    said: String,
}

impl Doctor {
    /// Runs it on the first host, in the mode of the world.
    #[track_caller]
    pub(crate) fn run(world: &World, arguments: &str) -> Self {
        Self::run_in(world.mode(), arguments)
    }

    /// Runs it on the first host.
    #[track_caller]
    pub(crate) fn run_in(mode: Mode, arguments: &str) -> Self {
        let arguments = format!("doctor --mode {} --json {arguments}", mode.name());
        let output = cli(Host::first(), &arguments).output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let findings =
            text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), findings, said }
    }

    fn troubles(&self) -> Vec<&Value> {
        let is_trouble = |finding: &&Value| finding["status"] == "failed" || finding["status"] == "warning";
        self.findings.iter().filter(is_trouble).collect()
    }

    #[track_caller]
    pub(crate) fn expect_healthy(&self) {
        let troubles = self.troubles();
        assert!(troubles.is_empty(), "{troubles:#?}\n{}", self.said);
        assert_eq!(self.code, Some(0), "{self:#?}");
        let keys = ["check", "status", "subject", "meaning", "sure", "mend"];
        for finding in &self.findings {
            let object = finding.as_object().expect("an object");
            assert_eq!(object.keys().map(String::as_str).collect::<BTreeSet<_>>(), keys.into());
        }
    }

    /// Expects that this check found something, and no other did. Returns what it found first.
    #[track_caller]
    pub(crate) fn expect_only(&self, check: &str) -> Value {
        let troubles = self.troubles();
        let checks: BTreeSet<_> = troubles.iter().filter_map(|finding| finding["check"].as_str()).collect();
        assert_eq!(checks, BTreeSet::from([check]), "{troubles:#?}\n{}", self.said);
        let has_failed = troubles.iter().any(|finding| finding["status"] == "failed");
        assert_eq!(self.code, Some(if has_failed { 3 } else { 0 }), "{troubles:#?}");
        troubles[0].clone()
    }
}
