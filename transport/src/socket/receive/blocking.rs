//! Waiting in the system call that receives.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::SockRef;

use super::{Port, Receiver, from_here};
use crate::socket::sys;
use crate::{BlockingReceive, Datagram, Interrupter, ReceiveError};

impl BlockingReceive for Receiver {
    fn recv(
        &mut self,
        busy_poll: Duration,
        timeout: Duration,
        sink: &mut dyn FnMut(Datagram<'_>),
    ) -> Result<(), ReceiveError> {
        let Self { ports, mode, buffers, lost, drops, is_after_loss, .. } = self;
        let Port { port, socket, .. } = &ports[0];
        let mut sink = from_here(*mode, drops, is_after_loss, sink);
        let wait = sys::Wait { busy_poll, timeout };
        sys::recv(socket, *port, buffers, wait, &mut lost[0], &mut sink)
            .map_err(|source| ReceiveError::Socket { port: *port, source })
    }

    fn interrupter(&self) -> Interrupter {
        let (socket, interrupted) = (Arc::downgrade(&self.ports[0].socket), self.buffers.interrupted.clone());
        Box::new(move || {
            interrupted.store(true, Ordering::SeqCst);
            if let Some(socket) = socket.upgrade() {
                // It fails, as the socket is not connected, and wakes those who wait all the same.
                let _ = SockRef::from(&*socket).shutdown(Shutdown::Read);
            }
        })
    }
}
