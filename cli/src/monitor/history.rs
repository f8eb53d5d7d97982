//! What rates were in the last minutes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

/// The newest values of something that is measured once a second.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    values: VecDeque<f32>,
}

impl History {
    /// Adds a value, and forgets the oldest one if there are `max_len`.
    pub(crate) fn push(&mut self, value: f64, max_len: usize) {
        while self.values.len() >= max_len {
            self.values.pop_front();
        }
        self.values.push_back(value as f32);
    }

    /// From the oldest to the newest.
    pub(crate) fn values(&self) -> Vec<f32> {
        self.values.iter().copied().collect()
    }

    pub(crate) fn max(&self) -> f64 {
        self.values.iter().copied().fold(0.0, f32::max).into()
    }

    pub(crate) fn min(&self) -> f64 {
        self.values.iter().copied().reduce(f32::min).unwrap_or(0.0).into()
    }

    pub(crate) fn mean(&self) -> f64 {
        let sum: f64 = self.values.iter().copied().map(f64::from).sum();
        sum / self.values.len().max(1) as f64
    }
}

/// The most values of all things together. Each has a shorter history if there are more things.
const MAX_VALUES: usize = 2 * 1024 * 1024;

/// The histories of several values of each thing.
#[derive(Debug)]
pub(crate) struct Histories<K, const N: usize> {
    max_len: usize,
    all: HashMap<K, [History; N]>,
}

impl<K: Eq + Hash, const N: usize> Histories<K, N> {
    pub(crate) fn new(max_len: usize) -> Self {
        Self { max_len, all: HashMap::new() }
    }

    /// Adds a value to each history of what is there, and forgets all else.
    pub(crate) fn add(&mut self, values: HashMap<K, [f64; N]>) {
        let there: HashSet<&K> = values.keys().collect();
        self.all.retain(|key, _| there.contains(key));
        let max_len = self.max_len.min(MAX_VALUES / (N * values.len()).max(1)).max(1);
        for (key, values) in values {
            let histories =
                self.all.entry(key).or_insert_with(|| std::array::from_fn(|_| History::default()));
            for (history, value) in histories.iter_mut().zip(values) {
                history.push(value, max_len);
            }
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&[History; N]> {
        self.all.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_values_of_what_is_there_are_kept() {
        let mut histories = Histories::new(3);
        for value in 1..=4 {
            histories.add(HashMap::from([("a", [f64::from(value)]), ("b", [0.0])]));
        }
        let [a] = histories.get(&"a").unwrap();
        assert_eq!(a.values(), [2.0, 3.0, 4.0]);
        assert_eq!((a.min(), a.mean(), a.max()), (2.0, 3.0, 4.0));
        histories.add(HashMap::from([("b", [0.0])]));
        assert!(histories.get(&"a").is_none());
    }

    #[test]
    fn many_things_have_short_histories() {
        const THINGS: usize = 20_000;
        let mut histories = Histories::new(120);
        for value in 0..120 {
            histories.add((0..THINGS).map(|thing| (thing, [f64::from(value); 4])).collect());
        }
        let lens = histories.all.values().flatten().map(|history| history.values.capacity());
        assert!(lens.sum::<usize>() < 2 * MAX_VALUES);
        let newest = histories.get(&7).unwrap()[0].values();
        assert_eq!(newest[newest.len() - 2..], [118.0, 119.0]);
    }
}
