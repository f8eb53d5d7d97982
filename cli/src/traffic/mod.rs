//! What travels on the interfaces.

pub(crate) mod counters;
pub(crate) mod flows;
pub(crate) mod frames;
pub(crate) mod lines;
pub(crate) mod packet;
pub(crate) mod series;
