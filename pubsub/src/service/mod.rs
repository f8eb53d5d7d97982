//! Services: calls over TCP, as eCAL's protocol version 1 has them.
//!
//! A node has one thread for the connections of all its servers and clients, which never blocks and runs no code of the
//! program but wakers, and a pool of threads for methods and callbacks. Both start with the first server or client. The
//! names of hosts have [threads of their own](crate::resolver), as others decide how many there are. The thread of
//! connections waits in mio (epoll, kqueue, IOCP): the core needs no runtime, and one thread a connection would be bounded
//! by what others connect.
//!
//! Nothing on the wire says which request a response is of. So a connection has one call at a time, and one whose call
//! took too long is closed and opened anew.

mod calling;
mod client_end;
mod error;
mod io;
mod link;
mod listening;
mod memory;
mod methods;
mod pool;
mod reply;
mod room;
mod server_end;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use ferrocal_proto::DropCounts;

pub(crate) use calling::Call;
pub(crate) use client_end::ClientEnd;
pub use client_end::{ClientEvent, ServerIdentity};
pub use error::{CallError, ServiceError};
pub(crate) use io::{Command, Io};
pub(crate) use listening::listen;
pub(crate) use methods::RegisteredMethod;
pub(crate) use reply::{Reply, ReplyReceiver, ReplyResult, ReplySender};
pub(crate) use server_end::{Handler, ServerEnd};
pub use server_end::{MethodError, ServerEvent, ServerStats, ServiceEventKind};

use pool::Pool;

use crate::resolver::Resolver;
use crate::{Config, lock};

/// The thread of a node's connections, once there was a server or client.
#[derive(Default)]
pub(crate) struct Services(Mutex<Option<Running>>);

struct Running {
    io: Arc<Io>,
    thread: JoinHandle<()>,
}

impl Services {
    /// What the thread is told things by. Starts it if there is none.
    pub(crate) fn io(
        &self,
        config: &Config,
        host_name: &[u8],
        on_failure: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Arc<Io>> {
        let mut running = lock(&self.0);
        if let Some(running) = &*running {
            return Ok(running.io.clone());
        }
        let resolver = Resolver::new(config.limits.service.max_connections);
        let (io, run) = io::new(config, host_name, resolver, Pool::default())?;
        let thread = thread::Builder::new()
            .name("ferrocal-services".into())
            .spawn(move || run_and_report(run, on_failure))?;
        *running = Some(Running { io: io.clone(), thread });
        Ok(io)
    }

    /// What came and could not be used.
    pub(crate) fn drops(&self) -> DropCounts {
        lock(&self.0).as_ref().map_or_else(DropCounts::default, |running| running.io.drops())
    }

    /// Ends the thread, and waits for it unless it is the one that calls this. In a forked child, there is none.
    pub(crate) fn stop(&mut self, is_forked: bool) {
        let running = self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(Running { io, thread }) = running else { return };
        if is_forked {
            std::mem::forget((io, thread));
            return;
        }
        io.stop();
        if thread.thread().id() != thread::current().id() {
            // The panic hook has reported a panic.
            let _ = thread.join();
        }
    }
}

/// Runs what the thread does, and `on_failure` if it ends before it is told to.
fn run_and_report(run: impl FnOnce() -> std::io::Result<()>, on_failure: impl FnOnce()) {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => log::error!("the thread of services cannot wait any more, and ends: {error}"),
        Err(_) => log::error!("the thread of services panicked"),
    }
    on_failure();
}
