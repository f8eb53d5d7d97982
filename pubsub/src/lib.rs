//! eCAL-compatible publish/subscribe in pure Rust.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = ferrocal::Node::new("my_robot")?;
//! let subscriber = node.subscriber::<str>("hello")?;
//! let publisher = node.publisher::<str>("hello")?;
//!
//! publisher.wait_for_subscriber(std::time::Duration::from_secs(5));
//! publisher.send("hello world")?;
//! println!("{}", subscriber.recv()?.payload);
//! # Ok(())
//! # }
//! ```

mod config;
mod core;
mod delivery;
mod error;
mod layer;
mod message;
mod node;
mod payload;
mod publisher;
mod registry;
#[cfg(feature = "tokio")]
mod sending;
mod source;
mod stats;
mod status;
mod subscriber;
mod subscription;
mod thread;
mod wall_clock;
mod wire;

pub use bytes::Bytes;
pub use ferrocal_proto::{DataType, DropCounts, DropReason, EntityId, HashVersion, Limits};
pub use ferrocal_transport::{
    Backend, Fallback, FallbackReason, FrameDrop, FrameDrops, IpReassemblyLimits, MembershipError, Mode,
    OpenError, ReceiveDrops, ReceiveError, SelectError, Selection, SelectionReason, SendError, SendPath,
};

/// Whether raw frames can be had on this machine.
pub mod raw {
    pub use ferrocal_transport::{CaptureError, Detection, Provider, RawFrames, Unavailable, detect};
}

/// What a program needs to bring a transport of its own; see [`Node::with_transport`].
pub mod transport {
    pub use ferrocal_transport::{
        Datagram, Granted, Interrupt, Membership, Receiver, SendLimits, Sender, Transmit, Transport, Wait,
        memory,
    };
}

/// The protobuf library whose messages [`Protobuf`] takes.
#[cfg(feature = "protobuf")]
pub use prost;

pub use config::{
    Config, ConfigError, Destination, FilePosition, Fragmentation, LimitsConfig, PublisherConfig,
    ReceiveThreadConfig, RegistrationConfig, SubscriberConfig, UdpConfig,
};
pub use error::{CreateError, NodeError, PublishError, RecvError, RecvTimeoutError, TopicNameError};
pub use message::{Message, PublisherIdentity};
pub use node::Node;
pub use payload::Payload;
#[cfg(feature = "prost-reflect")]
pub use payload::Reflected;
#[cfg(feature = "protobuf")]
pub use payload::{
    DescriptorError, DescriptorSource, FromSettings, Generated, Protobuf, ProtobufMessage, protobuf_data_type,
};
#[cfg(feature = "json")]
pub use payload::{Json, JsonError};
pub use publisher::Publisher;
pub use stats::{PublisherStats, SubscriberStats};
pub use status::Status;
pub use subscriber::Subscriber;
pub use subscription::Subscription;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose data stays valid even if a holder panicked.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
