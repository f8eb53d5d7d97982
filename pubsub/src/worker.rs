//! A thread with an event loop of its own, which ends with its handle.

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use crate::{NodeError, ReceiveThreadConfig};

/// A running thread. Dropping it stops the thread and waits for its end, unless it is the thread itself that drops it.
#[derive(Debug)]
pub(crate) struct Worker {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Resolves when a worker is to stop.
pub(crate) type Stop = oneshot::Receiver<()>;

impl Worker {
    /// Starts a thread. `open` runs in its event loop first, and what it opened is handed to `run`; what it tells the
    /// caller is returned from here.
    pub(crate) fn start<T, Told, Run>(
        name: &str,
        settings: ReceiveThreadConfig,
        open: impl FnOnce() -> Result<(T, Told), NodeError> + Send + 'static,
        run: impl FnOnce(T, Stop) -> Run + Send + 'static,
    ) -> Result<(Self, Told), NodeError>
    where
        Told: Send + 'static,
        Run: Future<Output = ()>,
    {
        let (tell, told) = mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                settings.apply_here();
                let mut builder = tokio::runtime::Builder::new_current_thread();
                if !settings.busy_poll.is_zero() {
                    // Look for what the system has after every poll.
                    builder.event_interval(1);
                }
                let runtime = match builder.enable_all().build() {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(tell.send(Err(NodeError::Thread(error)))),
                };
                runtime.block_on(async move {
                    match open() {
                        Ok((opened, told)) => {
                            if tell.send(Ok(told)).is_ok() {
                                run(opened, stopped).await;
                            }
                        }
                        Err(error) => drop(tell.send(Err(error))),
                    }
                });
            })
            .map_err(NodeError::Thread)?;
        let worker = Self { stop: Some(stop), thread: Some(thread) };
        let told =
            told.recv().map_err(|_| NodeError::Thread(io::Error::other("the thread ended early")))??;
        Ok((worker, told))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic in there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}
