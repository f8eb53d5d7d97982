//! What the tests stand on: network namespaces as hosts, the real eCAL as peer, captured traffic.
//!
//! The tests that need all this use a harness of their own ([`suite`]), because the standard one cannot skip a test
//! at run time. What a machine cannot run says why and counts as ignored; with `FERROCAL_REQUIRE_ALL=1` it fails.
//!
//! Only Linux has namespaces: for any other system this crate is empty.
#![cfg(target_os = "linux")]

pub mod bridge;
pub mod conformance;
pub mod counting;
pub mod descriptors;
pub mod ecal;
pub mod example;
pub mod forge;
pub mod logged;
pub mod memory_group;
pub mod netns;
pub mod ours;
pub mod pair;
pub mod pcapfile;
pub mod process;
pub mod protowire;
pub mod ramp;
pub mod snapshots;
pub mod suite;
pub mod tmux;
pub mod totals;
pub mod usage;
pub mod victim;
pub mod wait;
pub mod wine;
pub mod wiretap;
pub mod without_ipv6;
pub mod world;
