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
//!
//! A [`Node`] is a member of the eCAL system: it announces itself once a second and finds the others. A [`Publisher`]
//! sends messages on a topic; a [`Subscriber`] hands them out by blocking calls or as a stream, a [`Subscription`]
//! calls a function. What travels is a [`Payload`]: bytes, text, protobuf messages or a type of one's own.
//!
//! Every node runs threads of its own, so neither a synchronous nor an asynchronous program needs to bring a runtime.

mod config;
mod control;
mod data;
mod entity;
mod error;
mod identity;
mod inbox;
mod intake;
mod node;
mod outgoing;
mod pacing;
mod payload;
mod publisher;
mod subscriber;
mod subscription;
mod thread;
mod topics;
mod worker;

pub use bytes::Bytes;
pub use ferrocal_proto::{DataType, DropCounts, DropReason, EntityId, HashVersion, Limits};
/// The transport below the nodes, for programs that bring their own.
pub use ferrocal_transport as transport;
pub use ferrocal_transport::{
    Backend, CaptureError, Detection, FrameDrop, FrameDrops, IpReassemblyLimits, MembershipError, Mode,
    OpenError, Provider, RawFrames, ReceiveDrops, ReceiveError, SelectError, Selection, SelectionReason,
    SendError, SendPath, Unavailable, detect,
};
/// The protobuf library whose messages [`Protobuf`] takes.
#[cfg(feature = "protobuf")]
pub use prost;

pub use config::{
    Config, ConfigError, Destination, FilePosition, Fragmentation, LimitsConfig, PublisherConfig,
    ReceiveThreadConfig, RegistrationConfig, SubscriberConfig, UdpConfig,
};
pub use error::{CreateError, NodeError, PublishError, RecvError, RecvTimeoutError, TopicNameError};
pub use node::{Node, Status};
pub use payload::Payload;
#[cfg(feature = "prost-reflect")]
pub use payload::Reflected;
#[cfg(feature = "protobuf")]
pub use payload::{
    DescriptorError, DescriptorSource, FromSettings, Generated, Protobuf, ProtobufMessage, protobuf_data_type,
};
#[cfg(feature = "json")]
pub use payload::{Json, JsonError};
pub use publisher::{Publisher, PublisherStats};
pub use subscriber::{Message, Subscriber, SubscriberStats};
pub use subscription::Subscription;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose data stays valid even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
