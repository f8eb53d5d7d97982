//! What the crate of messages beside this file cannot show, because it compiles.

use std::fs;
use std::path::PathBuf;

use ferrocal_build::{Config, Error};

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn messages_of_other_crates_are_not_generated() {
    let out = folder("extern");
    let mut config = Config::new();
    config.out_dir(&out).extern_path(".robots.base", "::robots_base");
    config.compile(&["tests/messages/proto/robots/pose.proto"], &["tests/messages/proto"]).unwrap();
    let code = fs::read_to_string(out.join("robots.rs")).unwrap();
    assert!(code.contains("ProtobufMessage for Pose") && code.contains("::robots_base::Header"), "{code}");
    assert!(!out.join("robots.base.rs").exists());
}

#[test]
fn options_of_prost_are_applied() {
    let out = folder("options");
    let mut config = Config::new();
    config.out_dir(&out).prost().btree_map(["."]);
    config.compile(&["tests/messages/proto/robots/pose.proto"], &["tests/messages/proto"]).unwrap();
    let code = fs::read_to_string(out.join("robots.rs")).unwrap();
    assert!(code.contains("BTreeMap") && !code.contains("HashMap"), "{code}");
}

#[test]
fn faults_name_their_file_and_line() {
    let out = folder("faults");
    fs::write(out.join("broken.proto"), "syntax = \"proto3\";\nmessage Broken { Missing field = 1; }")
        .unwrap();
    let compile = |proto: &str| Config::new().out_dir(&out).compile(&[out.join(proto)], &[&out]).unwrap_err();
    let error = format!("{:?}", compile("broken.proto"));
    assert!(error.contains("broken.proto:2:") && error.contains("Missing"), "{error}");
    let error = compile("absent.proto");
    assert!(matches!(error, Error::Proto(_)) && error.to_string().contains("absent.proto"), "{error}");
}
