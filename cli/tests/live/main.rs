//! The verbs with the real eCAL as the other side.

mod calls;
#[path = "../common/mod.rs"]
mod common;
mod ends;
mod messages;
mod peers;
mod rates;

use std::process::ExitCode;

use common::{Ended, start};
use ferrocal_integration_tests::ecal::{self, DataType, Publisher};
use ferrocal_integration_tests::netns::FIRST_ADDRESS;
use ferrocal_integration_tests::process::Process;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{Mode, World};

const TEXT: DataType<'_> = DataType { name: "string", encoding: "utf-8", descriptor: &[] };
/// Ends what prints all the time, in seconds, so that a test that fails has an end.
const PATIENCE: &str = "90";

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for mode in Mode::ALL {
        let mut test = |name: &str, body: fn(Side)| {
            let body = move || body(Side(World::new(mode)));
            tests.push(Test::new(format!("{name}::{}", mode.name()), &[Need::Ecal], body));
        };
        test("list_and_info_show_the_peers", peers::list_and_info_show_the_peers);
        test("echo_shows_protobuf", messages::echo_shows_protobuf);
        test("pub_reaches_the_real_subscriber", messages::pub_reaches_the_real_subscriber);
        test("logs_come_and_go", peers::logs_come_and_go);
        test("rates_are_those_of_the_publisher", rates::rates_are_those_of_the_publisher);
    }
    let mut test = |name: &str, body: fn(Side)| {
        let body = move || body(Side(World::new(Mode::Local)));
        tests.push(Test::new(name, &[Need::Ecal], body));
    };
    test("services_are_listed_and_called", calls::services_are_listed_and_called);
    test("each_server_has_an_outcome", calls::each_server_has_an_outcome);
    test("nodes_shows_processes", peers::nodes_shows_processes);
    test("types_are_found_and_defined", peers::types_are_found_and_defined);
    test("echo_shows_text_and_bytes", messages::echo_shows_text_and_bytes);
    test("echo_selects_and_cuts", messages::echo_selects_and_cuts);
    test("echo_says_that_a_type_has_no_descriptor", messages::echo_says_that_a_type_has_no_descriptor);
    test("pub_makes_protobuf_of_json", messages::pub_makes_protobuf_of_json);
    test("what_the_tool_loses_is_told", rates::what_the_tool_loses_is_told);
    test("what_is_unknown_is_not_found", ends::what_is_unknown_is_not_found);
    test("ctrl_c_ends_with_or_without_a_result", ends::ctrl_c_ends_with_or_without_a_result);
    test("what_pub_reads_has_a_bound_and_an_end", ends::what_pub_reads_has_a_bound_and_an_end);
    test("a_closed_output_is_a_quiet_end", ends::a_closed_output_is_a_quiet_end);
    suite::main(tests)
}

/// Where a test takes place; the command runs here.
struct Side(World);

impl Side {
    pub(crate) fn arguments<'a>(&self, arguments: &[&'a str]) -> Vec<&'a str> {
        static INTERFACE: std::sync::LazyLock<String> =
            std::sync::LazyLock::new(|| FIRST_ADDRESS.to_string());
        let mut all = arguments.to_vec();
        if self.0.mode() == Mode::Network {
            all.extend(["--mode", "network", "--interface", INTERFACE.as_str()]);
        }
        all
    }

    #[track_caller]
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        start(self.0.here(), &self.arguments(arguments))
    }

    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::run(self.0.here(), &self.arguments(arguments))
    }

    #[track_caller]
    pub(crate) fn publisher(&self, topic: &str, len: usize, data_type: &DataType<'_>) -> Publisher {
        Publisher::start(self.0.there(), self.0.mode(), &[(topic, len)], data_type)
    }

    #[track_caller]
    pub(crate) fn protobuf(&self) -> Process {
        ecal::start_protobuf(self.0.there(), self.0.mode(), "robot", "command")
    }

    pub(crate) fn is_local(&self) -> bool {
        self.0.mode() == Mode::Local
    }
}

/// Waits for the event that leaves no peer on a topic.
#[track_caller]
fn expect_unmatched(process: &mut Process, topic: &str) {
    process.expect("that the peer is gone", |event| {
        event["event"] == "unmatched" && event["topic"] == topic && event["peers"] == 0
    });
}
