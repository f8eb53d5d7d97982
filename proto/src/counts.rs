//! How often each reason was met.

use core::fmt;
use core::marker::PhantomData;

/// The most reasons that an enum of them may have.
const MAX_REASONS: usize = 32;

/// An enum of the reasons why something was dropped, to count with [`Counts`].
pub trait Reason: Copy + fmt::Debug + 'static {
    /// Every reason, each at its [`index`](Self::index). At most 32.
    const ALL: &'static [Self];

    /// The place of this reason in [`ALL`](Self::ALL).
    fn index(self) -> usize;
}

/// How often each reason was met.
///
/// Its `Debug` names the reasons that were met, such as `{Truncated: 2, Lost: 1}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Counts<R> {
    counts: [u64; MAX_REASONS],
    reasons: PhantomData<R>,
}

impl<R: Reason> Default for Counts<R> {
    fn default() -> Self {
        const { assert!(R::ALL.len() <= MAX_REASONS, "too many reasons") }
        Self { counts: [0; MAX_REASONS], reasons: PhantomData }
    }
}

impl<R: Reason> Counts<R> {
    /// Counts one drop.
    pub fn count(&mut self, reason: R) {
        let count = &mut self.counts[reason.index()];
        *count = count.saturating_add(1);
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
    }

    /// Returns how often one reason was met.
    pub fn get(&self, reason: R) -> u64 {
        self.counts[reason.index()]
    }

    /// Returns every reason with its count, those at zero included.
    pub fn iter(&self) -> impl Iterator<Item = (R, u64)> + '_ {
        R::ALL.iter().copied().zip(self.counts)
    }

    /// Returns the number of drops for any reason.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl<R: Reason> fmt::Debug for Counts<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().filter(|(_, count)| *count > 0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{format, vec::Vec};

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fault {
        Cut,
        Late,
        Odd,
    }

    impl Reason for Fault {
        const ALL: &'static [Self] = &[Self::Cut, Self::Late, Self::Odd];

        fn index(self) -> usize {
            self as usize
        }
    }

    #[test]
    fn counts_add_up() {
        let mut counts = Counts::default();
        counts.count(Fault::Cut);
        counts.count(Fault::Odd);
        let mut sum = counts.clone();
        sum.add(&counts);
        assert_eq!(sum.get(Fault::Cut), 2);
        assert_eq!(sum.total(), 4);
        assert_eq!(sum.iter().collect::<Vec<_>>(), [(Fault::Cut, 2), (Fault::Late, 0), (Fault::Odd, 2)]);
    }

    #[test]
    fn debug_names_what_was_met() {
        let mut counts = Counts::default();
        assert_eq!(format!("{counts:?}"), "{}");
        counts.count(Fault::Odd);
        counts.count(Fault::Cut);
        counts.count(Fault::Odd);
        assert_eq!(format!("{counts:?}"), "{Cut: 1, Odd: 2}");
    }
}
