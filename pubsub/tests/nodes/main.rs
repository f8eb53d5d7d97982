//! Nodes on an in-memory network that has the faults a test chooses.

mod callbacks;
mod crew;
#[cfg(feature = "dynamic")]
mod dynamic;
mod events;
mod failure;
#[allow(dead_code, reason = "the test of forks needs more of it")]
mod faulty;
mod forge;
mod handles;
mod logged;
mod receiving;
mod registration;
mod sending;
mod time;
mod user_code;
mod wait;

use std::sync::Arc;

use ferrocal::transport::memory::Network;
use ferrocal::{Config, Mode, Node};

/// What all nodes here are opened with, unless a test says otherwise.
fn config() -> Config {
    Config::default().mode(Mode::Network)
}

/// A node on a host of its own.
fn node(network: &Network) -> Node {
    Node::with_transport("node", config(), Arc::new(network.host())).unwrap()
}
