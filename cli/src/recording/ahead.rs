//! Reads a recording ahead of its publication.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use mcap::records::MessageHeader;

use super::{Channel, Queue, Range, Recording};

/// How much is read ahead in bytes.
const READ_AHEAD: usize = 64 * 1024 * 1024;

/// A message that is to be published.
pub(crate) struct Ahead {
    pub(crate) channel: u16,
    pub(crate) time_ns: u64,
    pub(crate) publish_ns: u64,
    pub(crate) payload: Vec<u8>,
}

impl Ahead {
    fn held_len(&self) -> usize {
        self.payload.len() + size_of::<Self>()
    }
}

/// Reads ahead, in a thread of its own.
pub(crate) struct ReadAhead {
    queue: Arc<Queue<Ahead>>,
    ready: VecDeque<Ahead>,
    thread: Option<thread::JoinHandle<anyhow::Result<()>>>,
}

impl ReadAhead {
    /// Begins. What is damaged is passed to `damage`, in that thread.
    pub(crate) fn start(
        recording: &Arc<Recording>,
        range: Range,
        wanted: HashSet<u16>,
        damage: impl FnMut(String) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let queue = Arc::new(Queue::new(READ_AHEAD));
        let (recording, filled) = (recording.clone(), queue.clone());
        let read = move || {
            let each = |_: &Channel, header: &MessageHeader, payload: &[u8]| {
                if !wanted.contains(&header.channel_id) {
                    return Ok(!filled.is_closed());
                }
                let item = Ahead {
                    channel: header.channel_id,
                    time_ns: header.log_time,
                    publish_ns: header.publish_time,
                    payload: payload.to_vec(),
                };
                let len = item.held_len();
                Ok(filled.push_waiting(item, len))
            };
            let result = recording.read(&range, each, damage);
            filled.close();
            result
        };
        let thread =
            thread::Builder::new().name("read".into()).spawn(read).context("a thread cannot be started")?;
        Ok(Self { queue, ready: VecDeque::new(), thread: Some(thread) })
    }

    /// The next message. `None` if it is not read yet, for `timeout`, or at the end.
    pub(crate) fn peek(&mut self, timeout: Duration) -> anyhow::Result<Peek> {
        if self.ready.is_empty() {
            match self.queue.take(timeout) {
                Some(items) => self.ready = items,
                None => {
                    if let Some(thread) = self.thread.take() {
                        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                    }
                    return Ok(Peek::End);
                }
            }
        }
        Ok(self.ready.front().map_or(Peek::NotYet, |item| Peek::Due(item.time_ns)))
    }

    pub(crate) fn pop(&mut self) -> Option<Ahead> {
        let item = self.ready.pop_front()?;
        self.queue.release(item.held_len());
        Some(item)
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Peek {
    Due(u64),
    NotYet,
    End,
}
