//! The highest offered rate that arrives, found the same way for every candidate.

use crate::session::Probe;

/// Fewer may be lost at the rate that counts: one in a thousand.
const LOST: f64 = 0.001;

/// How thorough to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub probe_seconds: f64,
    /// How often to halve what is left between a rate that arrives and one that does not.
    pub halvings: usize,
}

pub(crate) struct Found {
    pub flat_out: Probe,
    /// None if nothing arrives at any rate tried.
    pub best: Option<Probe>,
}

/// `probe` sends at a rate, in messages a second, or flat out at 0.
pub(crate) fn search(effort: Effort, mut probe: impl FnMut(f64) -> Probe) -> Found {
    let flat_out = probe(0.0);
    if flat_out.lost() < LOST {
        return Found { flat_out, best: Some(flat_out) };
    }
    let mut best: Option<Probe> = None;
    let mut arrives = |rate: f64| {
        // Once more if it fails: something else on the machine may have been the cause.
        let good = [(); 2].iter().map(|()| probe(rate)).find(|probe| probe.lost() < LOST);
        if let Some(good) = good
            && best.is_none_or(|best| best.delivered_per_s() < good.delivered_per_s())
        {
            best = Some(good);
        }
        good.is_some()
    };
    // What arrived of a flood is near what could have arrived of a stream.
    let mut rate = flat_out.delivered_per_s().clamp(flat_out.sent_per_s * 0.01, flat_out.sent_per_s * 0.9);
    let (mut low, mut high) = (None, flat_out.sent_per_s);
    if arrives(rate) {
        while low.is_none_or(|low| low < rate) && rate < high {
            low = Some(rate);
            rate *= 1.3;
            if rate < high && !arrives(rate) {
                high = rate;
            }
        }
    } else {
        for _ in 0..8 {
            high = rate;
            rate *= 0.6;
            if arrives(rate) {
                low = Some(rate);
                break;
            }
        }
    }
    if let Some(mut low) = low {
        for _ in 0..effort.halvings {
            let middle = (low * high).sqrt();
            if arrives(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
    }
    Found { flat_out, best }
}
