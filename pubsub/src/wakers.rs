//! The tasks that wait for something.

use std::task::Waker;

/// Tasks to wake. One is the usual; it needs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    first: Option<(Ticket, Waker)>,
    more: Vec<(Ticket, Waker)>,
    issued: Ticket,
}

/// Identifies a task that waits. A task that was woken needs a new one.
pub(crate) type Ticket = u64;

/// What tasks wait for.
pub(crate) trait Awaited {
    /// Calls `f` with the tasks, under the lock that guards them.
    fn with_wakers(&self, f: &mut dyn FnMut(&mut Wakers));
}

/// One task's wait. It leaves nothing behind when it is dropped.
pub(crate) struct Wait<'a, A: Awaited + ?Sized> {
    awaited: &'a A,
    pub(crate) ticket: Option<Ticket>,
}

impl Wakers {
    /// Has a task woken. It is the one to wake for its wait, in place of any before. Returns that one: to drop it may run
    /// code of the program, and the caller does that without a lock.
    #[must_use = "it is to be dropped without a lock"]
    pub(crate) fn add(&mut self, ticket: &mut Option<Ticket>, waker: &Waker) -> Option<Waker> {
        let known = self.first.iter_mut().chain(&mut self.more).find(|(known, _)| Some(*known) == *ticket);
        if let Some((_, known)) = known {
            return (!known.will_wake(waker)).then(|| std::mem::replace(known, waker.clone()));
        }
        self.issued += 1;
        *ticket = Some(self.issued);
        let task = (self.issued, waker.clone());
        if self.first.is_none() {
            self.first = Some(task);
        } else {
            self.more.push(task);
        }
        None
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Waker> {
        let first = self.first.take_if(|(known, _)| *known == ticket);
        let removed = first.or_else(|| {
            let at = self.more.iter().position(|(known, _)| *known == ticket)?;
            Some(self.more.swap_remove(at))
        });
        removed.map(|(_, waker)| waker)
    }

    /// Takes all out. To wake them runs code of the program: the caller does that without a lock.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Waker> + use<> {
        self.first.take().into_iter().chain(std::mem::take(&mut self.more)).map(|(_, waker)| waker)
    }
}

impl<'a, A: Awaited + ?Sized> Wait<'a, A> {
    pub(crate) fn new(awaited: &'a A) -> Self {
        Self { awaited, ticket: None }
    }
}

impl<A: Awaited + ?Sized> Drop for Wait<'_, A> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let mut removed = None;
            self.awaited.with_wakers(&mut |wakers| removed = wakers.remove(ticket));
        }
    }
}
