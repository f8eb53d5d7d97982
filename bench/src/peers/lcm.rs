//! LCM, by its C library, over UDP multicast.

use std::any::Any;
use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::Arc;
use std::thread;

use super::ferrocal::RECEIVE_BUFFER;
use super::{Outcome, Outlet, PATIENCE};
use crate::role::Setup;
use crate::tally::Tally;

/// `lcm_recv_buf_t` of lcm.h.
#[repr(C)]
struct ReceivedBuffer {
    data: *const u8,
    data_size: u32,
    recv_utime: i64,
    lcm: *mut c_void,
}

type Handler = extern "C" fn(*const ReceivedBuffer, *const c_char, *mut c_void);

#[link(name = "lcm")]
unsafe extern "C" {
    fn lcm_create(provider: *const c_char) -> *mut c_void;
    fn lcm_publish(lcm: *mut c_void, channel: *const c_char, data: *const u8, len: c_uint) -> c_int;
    fn lcm_subscribe(
        lcm: *mut c_void,
        channel: *const c_char,
        handler: Handler,
        user_data: *mut c_void,
    ) -> *mut c_void;
    fn lcm_handle_timeout(lcm: *mut c_void, milliseconds: c_int) -> c_int;
}

/// LCM's own handle, never destroyed: it lives as long as the process.
#[derive(Clone, Copy)]
struct Lcm(*mut c_void);

// SAFETY: LCM's functions may be called from any thread (lcm.h).
unsafe impl Send for Lcm {}

impl Lcm {
    fn new(setup: &Setup) -> Outcome<Self> {
        // The driver routes the first group through the loopback interface, the other through the veth.
        let (group, ttl) = if setup.interface.is_some() { ("239.255.76.67", 1) } else { ("225.0.76.67", 0) };
        let provider = format!("udpm://{group}:7667?ttl={ttl}&recv_buf_size={RECEIVE_BUFFER}");
        let provider = CString::new(provider)?;
        // SAFETY: the text ends with a NUL.
        let lcm = unsafe { lcm_create(provider.as_ptr()) };
        if lcm.is_null() { Err("LCM cannot be started".into()) } else { Ok(Self(lcm)) }
    }

    fn publish(self, channel: &CString, message: &[u8]) -> bool {
        let Ok(len) = message.len().try_into() else { return false };
        // SAFETY: the handle is LCM's, the channel ends with a NUL, the message is `len` bytes long.
        unsafe { lcm_publish(self.0, channel.as_ptr(), message.as_ptr(), len) == 0 }
    }
}

pub(super) struct Sender {
    lcm: Lcm,
    channel: CString,
}

impl Sender {
    pub(super) fn new(setup: &Setup) -> Outcome<Self> {
        let channel = CString::new(setup.topic_names().swap_remove(0))?;
        Ok(Self { lcm: Lcm::new(setup)?, channel })
    }
}

impl Outlet for Sender {
    fn send(&mut self, messages: &[Vec<u8>]) -> usize {
        self.lcm.publish(&self.channel, &messages[0]).into()
    }
}

struct Receiver {
    lcm: Lcm,
    /// Where the handler finds the function to call, while there is one: a `*mut &mut dyn FnMut(&[u8])`.
    look: Box<Cell<*mut c_void>>,
}

// SAFETY: the handler runs, and the cell is read, only in `Receiver::next`, which borrows the receiver exclusively.
unsafe impl Send for Receiver {}

impl Receiver {
    fn new(lcm: Lcm, channel: &str) -> Outcome<Self> {
        let channel = CString::new(channel)?;
        let look = Box::new(Cell::new(ptr::null_mut()));
        let user_data = (&raw const *look).cast_mut().cast();
        // SAFETY: the channel ends with a NUL; the cell stays in its place as long as the receiver calls LCM.
        unsafe { lcm_subscribe(lcm.0, channel.as_ptr(), handle, user_data) };
        Ok(Self { lcm, look })
    }

    /// Hands the next message to `look`; `false` if none comes in time.
    fn next(&mut self, mut look: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        self.look.set((&raw mut look).cast());
        // SAFETY: the handle is LCM's.
        let status = unsafe { lcm_handle_timeout(self.lcm.0, PATIENCE.as_millis().try_into()?) };
        self.look.set(ptr::null_mut());
        if status < 0 { Err("LCM cannot receive".into()) } else { Ok(status > 0) }
    }
}

extern "C" fn handle(received: *const ReceivedBuffer, _channel: *const c_char, user_data: *mut c_void) {
    // SAFETY: LCM calls this with a valid message and the cell that `Receiver::new` gave it, within `Receiver::next`.
    let (received, cell) = unsafe { (&*received, &*user_data.cast::<Cell<*mut c_void>>()) };
    // SAFETY: the message is as long as LCM says.
    let message = unsafe { std::slice::from_raw_parts(received.data, received.data_size as usize) };
    // SAFETY: null, or set by `Receiver::next` to its own variable, which lives until LCM returns.
    if let Some(look) = unsafe { cell.get().cast::<&mut dyn FnMut(&[u8])>().as_mut() } {
        look(message);
    }
}

/// Counts messages on a thread, until the process ends.
pub(super) fn subscribe(setup: &Setup, tallies: &[Arc<Tally>]) -> Outcome<impl Any + use<>> {
    let [tally] = tallies else { return Err("LCM is measured with one subscriber".into()) };
    let mut receiver = Receiver::new(Lcm::new(setup)?, &setup.topic_names()[0])?;
    let (tally, len) = (tally.clone(), setup.size);
    Ok(thread::spawn(
        move || {
            while let Ok(true | false) = receiver.next(&mut |message| tally.take(message, len)) {}
        },
    ))
}

pub(super) struct Line {
    receiver: Receiver,
    out: CString,
}

impl Line {
    pub(super) fn new(setup: &Setup, out: &str, into: &str) -> Outcome<Self> {
        Ok(Self { receiver: Receiver::new(Lcm::new(setup)?, into)?, out: CString::new(out)? })
    }
}

impl super::Line for Line {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        if self.receiver.lcm.publish(&self.out, message) { Ok(()) } else { Err("LCM cannot send".into()) }
    }

    fn receive(&mut self, look: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        self.receiver.next(look)
    }

    fn echo(&mut self) -> Outcome<()> {
        let Self { receiver, out } = self;
        let lcm = receiver.lcm;
        receiver.next(&mut |message| {
            lcm.publish(out, message);
        })?;
        Ok(())
    }
}
