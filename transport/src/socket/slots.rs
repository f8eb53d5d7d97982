//! Memory to receive datagrams into, which may be kept.

use std::collections::VecDeque;
use std::sync::Arc;

/// Above the longest UDP payload, so that nothing is ever cut short.
pub(super) const SLOT_LEN: usize = 1 << 16;
/// The kernel's copies are the fastest to whole cache lines.
const ALIGN: usize = 64;
/// So many slots that somebody keeps are remembered, to be used again once they are released.
const MAX_KEPT: usize = 64;

/// A slot for each datagram of a batch.
pub(super) struct Slots {
    /// Vectors, as the system makes their zeros only when they are touched.
    slots: Vec<Arc<Vec<u8>>>,
    /// Those that were still held when they were needed again, from the oldest to the newest.
    kept: VecDeque<Arc<Vec<u8>>>,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        Self { slots: (0..count).map(|_| new()).collect(), kept: VecDeque::new() }
    }

    /// Memory that nobody else holds.
    pub(super) fn writable(&mut self, index: usize) -> &mut [u8] {
        let slot = &mut self.slots[index];
        if !is_free(slot) {
            // The one kept last is the likeliest to be in the processor's cache, the one kept first to be free.
            let free = if self.kept.back_mut().is_some_and(is_free) {
                self.kept.pop_back()
            } else if self.kept.front_mut().is_some_and(is_free) {
                self.kept.pop_front()
            } else {
                None
            };
            self.kept.push_back(std::mem::replace(slot, free.unwrap_or_else(new)));
            if self.kept.len() > MAX_KEPT {
                self.kept.pop_front();
            }
        }
        let start = start(slot);
        &mut Arc::get_mut(slot).expect("it was chosen for being free")[start..][..SLOT_LEN]
    }

    /// What was written to the slot, and what holds it.
    pub(super) fn written(&self, index: usize) -> (&[u8], &Arc<Vec<u8>>) {
        let slot = &self.slots[index];
        (&slot[start(slot)..][..SLOT_LEN], slot)
    }
}

fn new() -> Arc<Vec<u8>> {
    Arc::new(vec![0; SLOT_LEN + ALIGN])
}

fn is_free(slot: &mut Arc<Vec<u8>>) -> bool {
    Arc::get_mut(slot).is_some()
}

/// Where the first whole cache line starts.
fn start(slot: &[u8]) -> usize {
    slot.as_ptr().align_offset(ALIGN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_not_written_to() {
        let mut slots = Slots::new(1);
        slots.writable(0)[..3].copy_from_slice(b"one");
        let kept = slots.written(0).1.clone();
        slots.writable(0)[..3].copy_from_slice(b"two");
        assert_eq!(&kept[start(&kept)..][..3], b"one");
        assert_eq!(&slots.written(0).0[..3], b"two");
    }

    #[test]
    fn what_was_let_go_is_used_again() {
        let mut slots = Slots::new(1);
        let mut keep = || {
            let address = slots.writable(0).as_ptr();
            (address, slots.written(0).1.clone())
        };
        let (first, kept_first) = keep();
        let (second, kept_second) = keep();
        let (third, _kept_third) = keep();
        assert!(first != second && second != third && third != first);
        drop(kept_second);
        let (fourth, _kept_fourth) = keep();
        assert_eq!(fourth, second, "the one kept last");
        drop(kept_first);
        assert_eq!(keep().0, first, "the one kept first");
        assert_eq!(keep().0, first, "nobody holds it");
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut slots = Slots::new(1);
        let mut kept = Vec::new();
        for _ in 0..2 * MAX_KEPT {
            assert_eq!(slots.writable(0).len(), SLOT_LEN);
            kept.push(slots.written(0).1.clone());
        }
        assert_eq!(slots.kept.len(), MAX_KEPT);
    }
}
