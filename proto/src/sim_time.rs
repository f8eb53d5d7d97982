//! Simulated time, as eCAL's player publishes it.

use prost::Message as _;

use crate::pb;

/// The topic that simulated time is published on.
pub const SIM_TIME_TOPIC: &str = "__sim_time__";

/// What simulated time is, and how fast it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimTime {
    /// Nanoseconds since the Unix epoch.
    pub nanoseconds: i64,
    /// How fast it runs, 1 as fast as real time; 0 while it is paused or stopped.
    pub factor: f64,
}

impl SimTime {
    /// Decodes the payload of a message. `None` if it is none, or the factor is not finite and positive.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let message = pb::SimTime::decode(payload).ok()?;
        let is_playing = message.simulation_state() == pb::sim_time::ESimulationState::Playing;
        let factor = if is_playing { message.real_time_factor } else { 0.0 };
        let is_usable = factor.is_finite() && factor >= 0.0;
        is_usable.then_some(Self { nanoseconds: message.simulation_time_nsecs, factor })
    }

    /// Encodes the payload of a message. With the factor 0 it is paused.
    pub fn encode(&self) -> alloc::vec::Vec<u8> {
        use pb::sim_time::ESimulationState::{Paused, Playing};
        pb::SimTime {
            simulation_state: if self.factor > 0.0 { Playing } else { Paused }.into(),
            simulation_time_nsecs: self.nanoseconds,
            real_time_factor: self.factor,
        }
        .encode_to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_unless_it_plays() {
        // 10 s, twice as fast, with the fields that are not read; written by hand.
        let head = |state| [0x08, state, 0x10, 0x80, 0x90, 0xdf, 0xc0, 0x4a, 0x19];
        let tail = [0x20, 1, 0x2a, 1, b'h', 0x30, 7];
        let message = |state, factor: f64| [&head(state)[..], &factor.to_le_bytes(), &tail].concat();
        for (state, factor) in [(0, 2.0), (1, 0.0), (2, 0.0)] {
            let expected = SimTime { nanoseconds: 10_000_000_000, factor };
            assert_eq!(SimTime::decode(&message(state, 2.0)), Some(expected));
            assert_eq!(SimTime::decode(&expected.encode()), Some(expected));
        }
        for factor in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(SimTime::decode(&message(0, factor)), None);
        }
        assert_eq!(SimTime::decode(b"\xff"), None);
    }
}
