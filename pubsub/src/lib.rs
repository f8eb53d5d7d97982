//! Publish/subscribe for robots and test vehicles. Speaks the wire protocol of
//! [Eclipse eCAL](https://github.com/eclipse-ecal/ecal) 6, in pure Rust.
//!
//! A program opens a [`Node`]. From it come publishers and subscribers of topics. They find those of other programs by the
//! topic's name, in this process, on this computer and on the network.
//!
//! ```
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = ferrocal::Node::new("my_robot")?;
//! let subscriber = node.subscriber::<str>("hello")?;
//! let publisher = node.publisher::<str>("hello")?;
//!
//! publisher.wait_for_subscriber(Duration::from_secs(5));
//! publisher.send("hello world")?;
//!
//! let message = subscriber.recv_timeout(Duration::from_secs(5))?;
//! println!("{} says: {}", message.publisher.host_name, message.payload);
//! # assert_eq!(message.payload, "hello world");
//! # Ok(())
//! # }
//! ```
//!
//! - [Discovery: why a first message can be lost](#discovery-why-a-first-message-can-be-lost)
//! - [Payload](#payload): [bytes and text](#bytes-and-text), [protobuf](#protobuf), [JSON](#json),
//!   [your own type](#a-type-of-your-own), [types chosen at run time](#data-types)
//! - [Receiving](#receiving): [blocking](#blocking), [async](#async), [callbacks](#callbacks)
//! - [Sending](#sending), and what it waits for
//! - [Services](#services): calls with a response
//! - [Errors and losses](#errors-and-losses)
//! - [Who is there](#who-is-there): events and monitoring
//! - [Logging](#logging)
//! - [Settings](#settings), [limits](#limits), [fork](#fork), [tests](#tests-without-a-network),
//!   [cargo features](#cargo-features)
//!
//! # Discovery: why a first message can be lost
//!
//! Each node announces its publishers and subscribers when they are created, and then once a second
//! ([`RegistrationConfig::refresh`]). A publisher sends only while it is connected to a subscriber. It keeps no message for
//! subscribers that come later. So a message is lost if it is sent before the two sides know each other. With programs of
//! eCAL this can take two seconds.
//!
//! Wait before the first message, if it matters: [`Publisher::wait_for_subscriber`] or [`Subscriber::wait_for_publisher`].
//! Both return whether there is one. A publisher that sends all the time need not wait.
//!
//! A program that ends is forgotten at once. One that crashes is forgotten after ten seconds
//! ([`RegistrationConfig::timeout`]).
//!
//! # Payload
//!
//! The type parameter of a publisher or subscriber says what travels. It implements [`Payload`].
//!
//! ## Bytes and text
//!
//! `[u8]` and `str`. They are received as [`Bytes`], which is not copied, and as [`String`].
//!
//! ```
//! # use std::time::Duration;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let node = ferrocal::Node::new("my_robot")?;
//! let subscriber = node.subscriber::<[u8]>("image")?;
//! let publisher = node.publisher::<[u8]>("image")?;
//! publisher.wait_for_subscriber(Duration::from_secs(5));
//! publisher.send(&[0; 2_000_000])?; // long messages are cut, and put together again
//! assert_eq!(subscriber.recv_timeout(Duration::from_secs(5))?.payload.len(), 2_000_000);
//! # Ok(())
//! # }
//! ```
//!
//! ## Protobuf
//!
//! `Protobuf<M>`, for messages of [prost](https://docs.rs/prost). The crate `ferrocal-build` compiles `.proto` files. Call it
//! in `build.rs`: `ferrocal_build::compile(&["proto/pose.proto"], &["proto"])`. eCAL's tools can then show the fields.
//!
#![cfg_attr(feature = "protobuf", doc = "```")]
#![cfg_attr(not(feature = "protobuf"), doc = "```text")]
//! use ferrocal::{Node, Protobuf};
//!
//! // mod robots { include!(concat!(env!("OUT_DIR"), "/robots.rs")); }
//! # mod robots {
//! #     #[derive(Clone, PartialEq, prost::Message)]
//! #     pub struct Pose {
//! #         #[prost(double, tag = "1")]
//! #         pub x: f64,
//! #         #[prost(double, tag = "2")]
//! #         pub y: f64,
//! #     }
//! #     impl ferrocal::ProtobufMessage for Pose {
//! #         const FULL_NAME: &'static str = "robots.Pose";
//! #         const FILE_DESCRIPTOR_SET: &'static [u8] = b"";
//! #     }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let node = Node::new("my_robot")?;
//! let publisher = node.publisher::<Protobuf<robots::Pose>>("pose")?;
//! publisher.send(&robots::Pose { x: 1.0, y: 2.0 })?;
//! # Ok(())
//! # }
//! ```
//!
//! A message of another crate, which `ferrocal-build` did not generate, is `Protobuf<M, FromSettings>`, or
//! `Protobuf<M, Reflected>` with prost-reflect.
//!
//! ## JSON
//!
//! `Json<T>`, for any type that [serde](https://docs.rs/serde) can read and write.
//!
#![cfg_attr(feature = "json", doc = "```")]
#![cfg_attr(not(feature = "json"), doc = "```text")]
//! use ferrocal::{Json, Node};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct State {
//!     battery: f32,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let node = Node::new("my_robot")?;
//! let publisher = node.publisher::<Json<State>>("state")?;
//! publisher.send(&State { battery: 0.8 })?;
//! # Ok(())
//! # }
//! ```
//!
//! ## A type of your own
//!
//! Implement [`Payload`] for it. The trait's documentation has an example.
//!
//! ## Data types
//!
//! A topic is registered with a [`DataType`]: a name, an encoding and a description of the fields. The [`Payload`] provides
//! it. eCAL's tools use it to show messages. eCAL connects by the topic's name alone, and so does ferrocal: if the types of
//! the two sides differ, they are connected all the same, and the log has a warning with both names.
//!
//! A program that knows its types only at run time sends `[u8]`, and sets the type:
//!
//! ```
//! use ferrocal::{DataType, Node, PublisherConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let node = Node::new("my_robot")?;
//! let lidar = DataType { name: "Lidar".into(), encoding: "capnp".into(), ..DataType::default() };
//! let publisher = node.publisher_with::<[u8]>("lidar", PublisherConfig::default().data_type(lidar))?;
//! publisher.send(&[1, 2, 3])?;
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `dynamic`, a subscriber of `Dynamic` reads each message by the type that its publisher registered:
//! protobuf as a tree of fields, text and JSON as text, and anything else as bytes. `DynamicType` makes JSON of protobuf
//! messages, and protobuf messages of JSON.
//!
//! # Receiving
//!
//! ## Blocking
//!
//! A [`Subscriber`] has a queue, and [`recv`](Subscriber::recv), [`recv_timeout`](Subscriber::recv_timeout) and
//! [`try_recv`](Subscriber::try_recv) take messages from it. [`close`](Subscriber::close) ends the waiting from another thread.
//!
//! The queue is bounded ([`SubscriberConfig::queue_len`] and [`queue_bytes`](SubscriberConfig::queue_bytes)). If the program is
//! too slow, the oldest messages are dropped and counted. `SubscriberConfig::default().queue_len(1)` keeps only the newest one.
//!
//! ## Async
//!
//! [`recv_async`](Subscriber::recv_async) waits without blocking, and a subscriber is a [`Stream`](futures_core::Stream). They
//! need no particular runtime.
//!
#![cfg_attr(feature = "tokio", doc = "```")]
#![cfg_attr(not(feature = "tokio"), doc = "```text")]
//! use ferrocal::Node;
//! use futures_util::StreamExt;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let node = Node::new("my_robot")?;
//!     let mut subscriber = node.subscriber::<str>("hello")?;
//!     let publisher = node.publisher::<str>("hello")?;
//!
//!     publisher.wait_for_subscribers_async(1).await;
//!     publisher.send_async("first").await?;
//!     publisher.send_async("second").await?;
//!
//!     println!("{}", subscriber.recv_async().await?.payload);
//!     if let Some(message) = subscriber.next().await {
//!         println!("{}", message.payload);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! ## Callbacks
//!
//! [`Node::subscribe`] calls a function with each message, until the returned [`Subscription`] is dropped. For one
//! subscription, the function is never called twice at the same time. It is not called any more after the drop returned. A slow
//! function delays no other topic: then other threads of the node go on receiving.
//!
//! With [`SubscriberConfig::inline`], the function runs on the thread that receives. This has the shortest delay. While the
//! function runs, the node receives nothing, so it must not wait for anything.
//!
//! ```
//! use std::sync::mpsc;
//!
//! use ferrocal::{Node, SubscriberConfig};
//! # use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let node = Node::new("my_robot")?;
//! let (sender, lengths) = mpsc::channel();
//! let inline = SubscriberConfig::default().inline(true);
//! let _subscription = node.subscribe_with::<[u8]>("scan", inline, move |message| {
//!     let _ = sender.send(message.payload.len());
//! })?;
//!
//! let publisher = node.publisher::<[u8]>("scan")?;
//! publisher.wait_for_subscriber(Duration::from_secs(5));
//! publisher.send(&[1, 2, 3])?;
//! assert_eq!(lengths.recv()?, 3);
//! # Ok(())
//! # }
//! ```
//!
//! [`Node::subscribe_borrowed`] calls a function with a view of each message where it lies, so that long messages in shared
//! memory need no copy.
//!
//! If the function panics, its subscription ends. The log reports it, and [`Subscription::is_finished`] returns `true`.
//!
//! # Sending
//!
//! [`Publisher::send`] sends on the calling thread. It never waits for a subscriber to answer. But it waits
//! - for other threads that send on the same publisher,
//! - while the system's send buffer is full,
//! - and, with long messages, until receivers had time to read what was sent before, or as long as a rate limit requires
//!   ([`PublisherConfig::max_bytes_per_second`], [`Config::max_bytes_per_second`]).
//!
//! `send_async` does all this on a thread of the node (feature `tokio`). [`Publisher::send_batch`] sends many short messages
//! with few system calls.
//!
//! A message that nobody listens to is neither encoded nor sent, which is no error.
//!
//! # Services
//!
//! A [`Server`] has methods, and a [`Client`] calls them: over TCP, as eCAL does. The types of requests and responses are
//! those of [payload](#payload). Calls block, are awaited, or have a function called with the response.
//!
//! ```
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use ferrocal::Node;
//!
//! let node = Node::new("my_robot")?;
//! let server = node.server("arm")?;
//! server.method::<str, str>("say", |text| Ok(format!("arm says {text}")))?;
//!
//! let client = node.client("arm")?;
//! let say = client.method::<str, str>("say")?;
//! client.wait_for_server(Duration::from_secs(5));
//! let response = say.call("hello", Duration::from_secs(5))?;
//! assert_eq!(response.payload, "arm says hello");
//! # Ok(())
//! # }
//! ```
//!
//! A call that takes longer than its time-out is given up, and does not keep later calls waiting.
//!
//! # Errors and losses
//!
//! Each operation has an error type: [`NodeError`], [`CreateError`], [`PublishError`], [`RecvError`], [`RecvTimeoutError`],
//! [`LogsError`], [`ServiceError`], [`CallError`], [`ConfigError`]. Their `source()` holds the cause.
//!
//! Messages travel by UDP, and may be lost on the way. That is no error either. Counters show it:
//! - [`Publisher::stats`]: how many messages were published, how many were sent, and how many the system refused to send
//!   because the network was not reachable;
//! - [`Subscriber::stats`]: received, lost, dropped from a full queue, repeated, out of order, not decodable;
//! - [`Node::status`]: datagrams that could not be used, with reasons, and which backend is in use, and why.
//!
//! ```
//! # use std::time::Duration;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let node = ferrocal::Node::new("my_robot")?;
//! use ferrocal::RecvTimeoutError;
//!
//! let subscriber = node.subscriber::<str>("nobody publishes this")?;
//! match subscriber.recv_timeout(Duration::from_millis(10)) {
//!     Ok(message) => println!("{}", message.payload),
//!     Err(RecvTimeoutError::Timeout) => println!("nothing yet, {} lost", subscriber.stats().lost),
//!     Err(ended) => return Err(ended.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A node opens also when there is no network yet, and survives trouble with it. It follows interfaces and routes that come,
//! go and change, and reports in the log what it cannot do meanwhile, once. [`PublisherStats::not_sent`] counts what the
//! system refused to send. Warnings go to the crate [`log`](https://docs.rs/log): start a logger, such as `env_logger` or
//! [`Node::logger`], to see them.
//!
//! # Who is there
//!
//! `events` of a publisher or subscriber reports peers that are matched or gone, other data types and lost messages, each
//! with the peer's host, process and data type. [`Node::monitor`] watches the whole network. Both are a [`Feed`]: take from
//! it by blocking calls, asynchronously, as a stream, or have it call a function.
//!
//! ```
//! # use std::time::Duration;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use ferrocal::{EventKind, Node};
//!
//! let node = Node::new("my_robot")?;
//! let publisher = node.publisher::<str>("hello")?;
//! let events = publisher.events();
//! let _subscriber = node.subscriber::<str>("hello")?;
//!
//! let event = events.recv_timeout(Duration::from_secs(5))?;
//! if let (EventKind::Connected, Some(peer)) = (event.kind, event.peer) {
//!     println!("{} on {} listens", peer.unit_name, peer.host_name);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Logging
//!
//! [`Node::log`] writes a line to eCAL's log, and [`Node::logger`] makes it the logger of the crate `log`, so that all lines
//! of the program go there. [`LogConfig`] says which lines go to the console (standard error), to a file, and by UDP to
//! the programs that show logs. [`Node::logs`] receives the lines of all programs.
//!
//! ```
//! # use std::time::Duration;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use ferrocal::{LogLevel, Node};
//!
//! let node = Node::new("my_robot")?;
//! let logs = node.logs()?;
//! node.log(LogLevel::Warning, "the battery is low");
//!
//! let line = logs.recv_timeout(Duration::from_secs(5))?;
//! println!("{} on {}: {} {}", line.unit_name, line.host_name, line.level, line.content);
//! # Ok(())
//! # }
//! ```
//!
//! # Settings
//!
//! [`Node::new`] uses the settings of this machine: eCAL's `ecal.yaml`, and the environment variable `FERROCAL_TRANSPORT` (or
//! `TRANSPORT`). [`Config::load`] lists all keys. [`Node::with_config`] uses what the program sets:
//!
//! ```
//! use ferrocal::{Config, Node, Selection};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::load()?.transport(Selection::Socket);
//! let node = Node::with_config("my_robot", config)?;
//! # Ok(())
//! # }
//! ```
//!
//! In local mode, the default, messages stay on this computer. In [`Mode::Network`], they go to multicast groups.
//!
//! # Limits
//!
//! What the network sends can neither make a node panic nor fill the memory. [`LimitsConfig`] bounds what is stored:
//! - a message has 256 MiB at most by default; a longer one is [`PublishError::TooLong`];
//! - a topic's name has 65534 bytes at most;
//! - 65536 publishers and subscribers of other nodes are stored at most, in 64 MiB;
//! - a queue holds 16384 messages or 64 MiB at most;
//! - a request or response of a service has 64 MiB at most, and a server 256 connections.
//!
//! What exceeds a limit is dropped and counted.
//!
//! # Fork
//!
//! A node has threads, which a forked child does not get. A node of the parent neither sends nor receives in the child. To
//! drop it there is safe. Open nodes after the fork.
//!
//! # Tests without a network
//!
//! [`transport::memory`] is a network in memory, with hosts, losses and reordering. A node uses it, or a transport of your own,
//! with [`Node::with_transport`]:
//!
//! ```
//! use std::sync::Arc;
//!
//! use ferrocal::transport::memory::Network;
//! use ferrocal::{Config, Mode, Node};
//! # use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Network::new(42); // the seed
//! let config = Config::default().mode(Mode::Network);
//! let robot = Node::with_transport("robot", config.clone(), Arc::new(network.host()))?;
//! let display = Node::with_transport("display", config, Arc::new(network.host()))?;
//!
//! let subscriber = display.subscriber::<str>("hello")?;
//! let publisher = robot.publisher::<str>("hello")?;
//! assert!(publisher.wait_for_subscriber(Duration::from_secs(5)));
//! publisher.send("from host to host")?;
//! assert_eq!(subscriber.recv_timeout(Duration::from_secs(5))?.payload, "from host to host");
//! # Ok(())
//! # }
//! ```
//!
//! # Cargo features
//!
//! All but the last two are on by default. Without any, the crate publishes and subscribes bytes, text and your own types
//! through sockets, and `recv_async` and the stream are there.
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `protobuf` | `Protobuf<M>` |
//! | `json` | `Json<T>` |
//! | `tokio` | `send_async` and `wait_for_*_async`; they need no runtime of tokio |
//! | `raw` | raw frames through Npcap (Windows) or libpcap |
//! | `replay` | replay of capture files, `captured_topics` and `captured_messages` |
//! | `prost-reflect` | `Protobuf<M, Reflected>`: descriptions from prost-reflect |
//! | `dynamic` | `Dynamic` and `DynamicType`: messages of types known only at run time, and protobuf's JSON |
//! | `tracing` | [`Logger`] is a layer of tracing-subscriber |

#![forbid(unsafe_code)]

#[cfg(feature = "replay")]
mod capture;
mod client;
mod config;
mod connection;
mod core;
mod delivery;
mod descriptors;
mod error;
mod feed;
mod layer;
mod logging;
mod message;
mod monitor;
mod node;
mod outage;
mod payload;
mod per_process;
mod publisher;
mod registry;
mod resolver;
#[cfg(feature = "tokio")]
mod sending;
mod server;
mod service;
mod shown;
mod shutdown;
mod source;
mod stats;
mod status;
mod subscriber;
mod subscription;
mod thread;
mod wakers;
mod wall_clock;
mod wire;

pub use bytes::Bytes;
pub use ferrocal_proto::{
    DataType, DropCounts, DropReason, EntityId, HashVersion, LatencyInfo, Layer, LayerKind, LayerParameters,
    Limits, LogLevel, LogMessage, MethodInfo, ProcessInfo, ProcessState, ServiceInfo, Severity, Text,
    TimeSyncState, TopicInfo,
};
pub use ferrocal_transport::{
    Backend, Fallback, FallbackReason, FrameDrop, FrameDrops, GroupState, GroupStatus, InterfaceSelector,
    InterfaceState, InterfaceStatus, IpReassemblyLimits, MembershipError, Mode, OpenError,
    ParseInterfaceError, ReceiveDrops, ReceiveError, SelectError, Selection, SelectionReason, SendError,
    SendPath,
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

/// The reflection library whose trees [`DynamicType`] reads.
#[cfg(feature = "dynamic")]
pub use prost_reflect;

/// The protobuf library whose messages [`Protobuf`] takes.
#[cfg(feature = "protobuf")]
pub use prost;

/// A way for fuzz targets into the private modules; there with `--cfg fuzzing` alone.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::config::load_config;
}

#[cfg(feature = "replay")]
pub use capture::{
    CapturedMessage, CapturedTopic, captured_messages, captured_registrations,
    captured_registrations_quietly, captured_topics, captured_topics_quietly,
};
pub use client::{Client, ClientMethod, PendingCall, Response};
pub use config::{
    AllowConfig, Clock, ClockFunction, Config, ConfigError, ConsoleStream, Destination, FilePosition,
    Fragmentation, LayersConfig, LimitsConfig, LocalRegistration, LogConfig, LogLevels, LogSink, Network,
    ParseNetworkError, PublisherConfig, ReceiveThreadConfig, RegistrationConfig, ServiceLimits, Setting,
    SettingOrigin, ShmConfig, SubscriberConfig, TcpConfig, UdpConfig,
};
pub use error::{
    CreateError, LogsError, NodeError, PayloadReadError, PublishError, RecvError, RecvTimeoutError,
    TopicNameError,
};
pub use feed::{Feed, FeedCallback};
pub use layer::{LayerChoice, LayerReason};
pub use logging::{LogReceiver, LogReceiverStats, Logger, LoggerStats};
pub use message::{BorrowedMessage, Message, PublisherIdentity};
pub use monitor::Monitor;
pub use node::Node;
#[cfg(feature = "prost-reflect")]
pub use payload::Reflected;
pub use payload::{BorrowedPayload, Payload, RegisteredType};
#[cfg(feature = "protobuf")]
pub use payload::{
    DescriptorError, DescriptorSource, FromSettings, Generated, Protobuf, ProtobufMessage, protobuf_data_type,
};
#[cfg(feature = "dynamic")]
pub use payload::{
    Dynamic, DynamicDecodeError, DynamicError, DynamicType, DynamicTypeError, JsonOptions, ToJsonError,
    protobuf_to_json,
};
#[cfg(feature = "json")]
pub use payload::{Json, JsonError};
pub use publisher::Publisher;
pub use registry::{Change, ChangeKind, Event, EventKind, MatchedPeer, Registered, Seen, Snapshot};
pub use server::Server;
pub use service::{
    CallError, ClientEvent, MethodError, ServerEvent, ServerIdentity, ServerStats, ServiceError,
    ServiceEventKind,
};
pub use shutdown::{ShutdownError, ShutdownRequest, request_shutdown};
pub use stats::{Latency, PublisherStats, SubscriberStats};
pub use status::{LayerAvailability, LayerStatus, Status, TcpStatus};
pub use subscriber::Subscriber;
pub use subscription::Subscription;

/// What threads wait with: the standard library's, or those of loom, which goes through all interleavings.
mod waiting {
    #[cfg(all(test, interleavings))]
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
    #[cfg(not(all(test, interleavings)))]
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose data stays valid even if a holder panicked.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
