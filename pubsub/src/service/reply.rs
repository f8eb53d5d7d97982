//! Where the response of a call arrives.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;

use super::{CallError, ServerIdentity};
use crate::lock;

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) payload: Bytes,
    pub(crate) ret_state: i64,
    pub(crate) server: Arc<ServerIdentity>,
}

pub(crate) type ReplyResult = Result<Reply, CallError>;

/// Takes the result of a call, once. If it is dropped before, the call was closed.
pub(crate) struct ReplySender(Option<Receiver>);

enum Receiver {
    Slot(Arc<Slot>),
    Function(Box<dyn FnOnce(ReplyResult) + Send>),
}

/// Waits for the result of a call.
pub(crate) struct ReplyReceiver(Arc<Slot>);

#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Empty,
    Awaited(Waker),
    Done(ReplyResult),
    Taken,
}

impl ReplySender {
    pub(crate) fn new() -> (Self, ReplyReceiver) {
        let slot = Arc::<Slot>::default();
        (Self(Some(Receiver::Slot(slot.clone()))), ReplyReceiver(slot))
    }

    /// Calls a function, on the thread that has the result.
    pub(crate) fn function(function: impl FnOnce(ReplyResult) + Send + 'static) -> Self {
        Self(Some(Receiver::Function(Box::new(function))))
    }

    /// Hands over the result. That runs code of the program: the caller holds no lock.
    pub(crate) fn send(mut self, result: ReplyResult) {
        self.finish(result);
    }

    fn finish(&mut self, result: ReplyResult) {
        match self.0.take() {
            Some(Receiver::Slot(slot)) => {
                let before = std::mem::replace(&mut *lock(&slot.state), State::Done(result));
                slot.arrived.notify_all();
                if let State::Awaited(waker) = before {
                    waker.wake();
                }
            }
            Some(Receiver::Function(function)) => function(result),
            None => {}
        }
    }
}

impl Drop for ReplySender {
    fn drop(&mut self) {
        self.finish(Err(CallError::Closed));
    }
}

impl ReplyReceiver {
    /// Blocks until the result is there, or until the deadline. That is only for a node whose threads do not exist, as in
    /// a forked child: else the result of a call that takes too long comes by itself.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> ReplyResult {
        let mut state = lock(&self.0.state);
        loop {
            match std::mem::replace(&mut *state, State::Taken) {
                State::Done(result) => return result,
                before => *state = before,
            }
            state = match deadline {
                None => self.0.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(CallError::Timeout);
                    }
                    self.0.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<ReplyResult> {
        let mut state = lock(&self.0.state);
        let before = std::mem::replace(&mut *state, State::Taken);
        match before {
            State::Done(result) => Poll::Ready(result),
            State::Taken => Poll::Ready(Err(CallError::Closed)),
            State::Empty | State::Awaited(_) => {
                *state = State::Awaited(cx.waker().clone());
                drop(state);
                // To drop a waker may run code of the program.
                drop(before);
                Poll::Pending
            }
        }
    }
}
