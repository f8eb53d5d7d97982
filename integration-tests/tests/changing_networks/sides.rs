//! The robot and the node that it talks with.

use ferrocal::{Config, Node, Publisher, Subscriber, UdpConfig};
use ferrocal_integration_tests::netns::{Host, SECOND_ADDRESS};
use ferrocal_integration_tests::wait;
use ferrocal_integration_tests::world::World;

/// Changes the network of the first host, as `ip` does.
#[track_caller]
pub(crate) fn ip(arguments: &str) {
    Host::first().ip(arguments).unwrap_or_else(|error| panic!("{error}"));
}

/// The settings of network mode.
pub(crate) fn network() -> Config {
    Config::default().mode(ferrocal::Mode::Network)
}

/// The settings of a node on the second host.
pub(crate) fn network_there() -> Config {
    network().udp(UdpConfig::default().interfaces(vec![SECOND_ADDRESS.into()]))
}

/// A node that publishes to another one and subscribes to what that one publishes.
pub(crate) struct Side {
    pub(crate) publisher: Publisher<str>,
    pub(crate) subscriber: Subscriber<str>,
    name: String,
}

impl Side {
    #[track_caller]
    pub(crate) fn open(host: Host, name: &str, config: Config, [publish, subscribe]: [&str; 2]) -> Self {
        let node = host.run(|| Node::with_config(name, config));
        let node = node.unwrap_or_else(|error| panic!("{name}: {error}"));
        Self {
            publisher: node.publisher(publish).expect("a good topic"),
            subscriber: host.run(|| node.subscriber(subscribe)).expect("a good topic"),
            name: name.to_owned(),
        }
    }

    /// Sends until the other one receives.
    #[track_caller]
    pub(crate) fn reaches(&self, other: &Self, text: &str) {
        wait::until_some(&format!("`{text}` from {} at {}", self.name, other.name), || {
            self.publisher.send(text).expect("trouble with the network is no error");
            other.subscriber.try_recv().filter(|message| message.payload == text)
        });
    }
}

/// The robot and the other node.
pub(crate) struct Both {
    pub(crate) robot: Side,
    pub(crate) other: Side,
}

impl Both {
    /// Opens the robot's node with these settings. `name` is that of the node, and a part of the topics.
    #[track_caller]
    pub(crate) fn open(world: &World, name: &str, config: Config) -> Self {
        let [to, from] = ["to", "from"].map(|word| format!("{word}_{name}"));
        Self {
            other: Side::open(world.there(), &format!("other_{name}"), network_there(), [&to, &from]),
            robot: Side::open(world.here(), name, config, [&from, &to]),
        }
    }

    /// Waits until a message arrives in each direction.
    #[track_caller]
    pub(crate) fn talk(&self, text: &str) {
        self.other.reaches(&self.robot, text);
        self.robot.reaches(&self.other, text);
    }
}
