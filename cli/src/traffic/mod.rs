//! What travels on the interfaces.

pub(crate) mod frames;
pub(crate) mod packet;
