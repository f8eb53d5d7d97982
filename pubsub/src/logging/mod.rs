//! Log lines: a node's own go to the console, a file and UDP; those of all programs are received.
//!
//! Neither needs the registry, nor an open node: a program's logger goes on when its node is closed.

mod file;
mod logger;
mod receiver;
#[cfg(feature = "tracing")]
mod tracing;

pub use logger::{Logger, LoggerStats};
pub use receiver::{LogReceiver, LogReceiverStats};
