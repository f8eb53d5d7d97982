//! Messages that did not arrive, by publisher.

use std::sync::Mutex;

use ferrocal_proto::EntityId;

use crate::lock;

/// How many messages of one publisher did not arrive.
#[derive(Debug)]
pub(crate) struct Loss {
    pub(crate) host_name: Box<[u8]>,
    pub(crate) publisher: EntityId,
    pub(crate) messages: u64,
}

/// Those since they were last taken. Locked only when something is lost.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<Vec<Loss>>);

/// Publishers that are told apart between two refreshes. The network says how many there are.
const MAX_PUBLISHERS: usize = 64;

impl Losses {
    pub(crate) fn add(&self, host_name: &[u8], publisher: EntityId, messages: u64) {
        let mut losses = lock(&self.0);
        let is_it = |loss: &&mut Loss| loss.publisher == publisher && *loss.host_name == *host_name;
        if let Some(loss) = losses.iter_mut().find(is_it) {
            loss.messages = loss.messages.saturating_add(messages);
        } else if losses.len() < MAX_PUBLISHERS {
            losses.push(Loss { host_name: host_name.into(), publisher, messages });
        }
    }

    pub(crate) fn take(&self) -> Vec<Loss> {
        std::mem::take(&mut *lock(&self.0))
    }
}
