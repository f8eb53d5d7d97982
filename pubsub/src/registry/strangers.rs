//! Publishers whose messages come, though they did not register.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrocal_proto::{EntityId, Text};

/// Strangers that are watched at a time. The network says how many there are.
const MAX_WATCHED: usize = 32;

/// How long one is remembered.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// A publisher of messages that was not registered when they came.
#[derive(Debug)]
pub(super) struct Stranger {
    pub(super) topic: Arc<str>,
    pub(super) host_name: Text,
    pub(super) id: EntityId,
    /// When its first message came, and the newest.
    first: Instant,
    newest: Instant,
}

/// Those whose messages came lately.
#[derive(Debug, Default)]
pub(super) struct Strangers(Vec<Stranger>);

impl Strangers {
    /// Stores that a message of a publisher came that is not registered, or not known to be.
    pub(super) fn heard(&mut self, topic: &Arc<str>, host_name: &[u8], id: EntityId, received: Instant) {
        let is_it = |one: &&mut Stranger| one.id == id && *one.host_name == *host_name && one.topic == *topic;
        if let Some(known) = self.0.iter_mut().find(is_it) {
            known.newest = known.newest.max(received);
        } else if self.0.len() < MAX_WATCHED {
            let (topic, host_name) = (topic.clone(), host_name.into());
            self.0.push(Stranger { topic, host_name, id, first: received, newest: received });
        }
    }

    /// Takes out those whose messages came for `patience` at least. A registration may come later than the first
    /// message, and end earlier than the last one is read. Forgets those that fell silent.
    pub(super) fn take_persistent(&mut self, now: Instant, patience: Duration) -> Vec<Stranger> {
        self.0.retain(|one| now.saturating_duration_since(one.newest) < FORGET_AFTER);
        self.0.extract_if(.., |one| one.newest.saturating_duration_since(one.first) >= patience).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_goes_on_without_a_registration_is_reported() {
        const PATIENCE: Duration = Duration::from_secs(5);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let topic: Arc<str> = "a".into();
        let id = |number: usize| EntityId::from_wire(number.to_string());
        let mut strangers = Strangers::default();
        for second in [0, 1, 4] {
            strangers.heard(&topic, b"host", id(1), at(second));
            strangers.heard(&topic, b"other", id(1), at(0));
        }
        assert!(strangers.take_persistent(at(9), PATIENCE).is_empty(), "its messages came for 4 s");
        strangers.heard(&topic, b"host", id(1), at(12));
        let reported = strangers.take_persistent(at(12), PATIENCE);
        assert!(matches!(&reported[..], [one] if *one.host_name == *b"host"), "{reported:?}");
        assert_eq!(strangers.0.len(), 1);
        assert!(
            strangers.take_persistent(at(60), PATIENCE).is_empty() && strangers.0.is_empty(),
            "it fell silent"
        );
        for number in 0..1000 {
            strangers.heard(&topic, b"host", id(number), at(20));
        }
        assert_eq!(strangers.0.len(), MAX_WATCHED);
    }
}
