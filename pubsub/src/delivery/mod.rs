//! How a message reaches the program: in a queue, or by a callback.
//!
//! Chosen before the subscriber is announced, and fixed. Every kind is a [`Sink`](crate::layer::Sink) that drops
//! repeated and late messages by their clock ([`clock`]) and stores the rest, bounded ([`waiting`]).

mod callback;
mod clock;
mod crew;
mod pace;
mod queue;
mod waiting;

pub(crate) use callback::{Callback, Handler};
pub(crate) use crew::Crew;
pub(crate) use queue::Queue;
pub(crate) use waiting::Discarded;
