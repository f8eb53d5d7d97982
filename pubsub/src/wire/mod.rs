//! Messages over datagrams, as registration and the UDP layer both need them.

mod intake;
mod send;

pub(crate) use intake::{EXPIRE_EVERY, Failures, Intake, Report};
pub(crate) use send::{MIN_DATAGRAM_LEN, SEND_BATCH, cut, open_sender, send_batches, send_message};
