//! How the command ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use ferrocal_integration_tests::ecal::DataType;
use ferrocal_integration_tests::wait;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

use crate::common::{Ended, command};
use crate::{PATIENCE, Side, expect_unmatched};

pub(crate) fn what_is_unknown_is_not_found(side: Side) {
    let _publisher = side.publisher("known", 20, &DataType::default());
    side.run(&["info", "unknown"]).failed(4, "topic `unknown` was not found on this computer");
    side.run(&["list", "unknown"])
        .failed(4, "no publisher or subscriber of a topic like `unknown` was found");
    side.run(&["list", "--subs"]).failed(4, "no subscriber was found");
    for verb in ["echo", "hz", "bw", "delay"] {
        side.run(&[verb, "unknown", "--timeout", "1"])
            .failed(4, "no message came on topic `unknown`; no publisher of it was found on this computer");
    }
    // Long enough for a late registration.
    side.run(&["echo", "known", "--timeout", "5"])
        .failed(4, "no message came on topic `known`; it has a publisher");
    side.run(&["pub", "unknown", "text", "--once", "--timeout", "1"])
        .failed(4, "topic `unknown` has 0 subscribers, not 1");
    side.run(&["logs", "--duration", "0.5", "--pattern", "never"]).failed(4, "no such line came in time");
    side.run(&["echo", "known", "--duration", "0.5"]).failed(4, "no message came");
    side.run(&["echo"]).failed(2, "required");
    side.run(&["echo", "known", "--filter", "a = 1"]).failed(2, "--filter");
}

pub(crate) fn ctrl_c_ends_with_or_without_a_result(side: Side) {
    let mut publisher = side.publisher("topic", 20, &DataType::default());
    for verb in ["echo", "hz"] {
        let waiting = side.start(&[verb, "topic"]);
        publisher.expect_matched("topic", 1);
        waiting.interrupt();
        assert_eq!(Ended::of(waiting).code, Some(130), "{verb}");
        expect_unmatched(&mut publisher.process, "topic");
    }
    for verb in ["echo", "hz"] {
        let mut showing = side.start(&[verb, "topic", "--json", "--duration", PATIENCE]);
        publisher.expect_matched("topic", 1);
        publisher.send(3, 1000.0);
        showing.expect("a message", |row| row["topic"] == "topic");
        showing.terminate();
        Ended::of(showing).text(0);
        expect_unmatched(&mut publisher.process, "topic");
    }
}

pub(crate) fn what_pub_reads_has_a_bound_and_an_end(side: Side) {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let path = |name: &str| folder.path().join(name).to_str().expect("a path in UTF-8").to_owned();
    let [settings, file, pipe] = ["ecal.yaml", "file", "pipe"].map(path);
    fs::write(&settings, "ferrocal: { limits: { reassembly: { max_message_len: 1000 } } }\n")
        .expect("it can be written");
    let publish = |arguments: &[&str]| {
        let common = ["pub", "topic", "--once", "--timeout", "0.1", "--config", &settings];
        side.run(&[&common, arguments].concat())
    };
    fs::write(&file, [b'z'; 1000]).expect("it can be written");
    publish(&["--file", &file]).failed(4, "has 0 subscribers");
    fs::write(&file, [b'z'; 1001]).expect("it can be written");
    publish(&["--file", &file]).failed(1, "has more than 1000 bytes");
    publish(&["{}", "--type", "a.B", "--descriptor", &file]).failed(1, "has more than 1000 bytes");

    mknodat(CWD, &*pipe, FileType::Fifo, Mode::RWXU, 0).expect("a pipe can be made");
    let waiting = side.start(&["pub", "topic", "--file", &pipe]);
    let _writer = wait::until_some("it opens the pipe", || {
        open(&*pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok()
    });
    waiting.interrupt();
    Ended::of(waiting).text(130);
}

pub(crate) fn a_closed_output_is_a_quiet_end(side: Side) {
    let mut publisher = side.publisher("topic", 20, &DataType::default());
    let mut child = command(side.0.here(), &["echo", "topic"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    publisher.expect_matched("topic", 1);
    publisher.begin_sending(0, 100.0);
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    drop(out);
    let mut err = String::new();
    let _ = child.stderr.take().expect("it is piped").read_to_string(&mut err);
    let status = child.wait().expect("it ends");
    assert_eq!((status.code(), err.as_str()), (Some(0), ""), "after {line}");
}
