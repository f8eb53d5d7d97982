//! A thread with an event loop of its own, which ends with its handle.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, mpsc};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use ferrocal_transport::Interrupter;
use tokio::sync::oneshot;

use crate::{NodeError, ReceiveThreadConfig};

/// A running thread. Dropping it stops the thread and waits for its end, unless it is the thread itself that drops it.
pub(crate) struct Worker {
    stop: Option<oneshot::Sender<()>>,
    interrupter: Arc<OnceLock<Interrupter>>,
    thread: Option<JoinHandle<()>>,
}

/// Resolves when a worker is to stop.
pub(crate) struct Stop {
    told: oneshot::Receiver<()>,
    interrupter: Arc<OnceLock<Interrupter>>,
}

impl Stop {
    /// Whether the worker is to stop. What `interrupter` made, the first time, is called when that is so later.
    pub(crate) fn is_told(&mut self, interrupter: impl FnOnce() -> Interrupter) -> bool {
        self.interrupter.get_or_init(interrupter);
        self.told.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }
}

impl Future for Stop {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.told).poll(cx).map(drop)
    }
}

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
        let (tell, opened) = mpsc::sync_channel(1);
        let (stop, told) = oneshot::channel();
        let interrupter = Arc::default();
        let stopped = Stop { told, interrupter: Arc::clone(&interrupter) };
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                crate::thread::apply_here(settings);
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
        let worker = Self { stop: Some(stop), interrupter, thread: Some(thread) };
        let told =
            opened.recv().map_err(|_| NodeError::Thread(io::Error::other("the thread ended early")))??;
        Ok((worker, told))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(interrupt) = self.interrupter.get() {
            interrupt();
        }
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic in there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_waits_elsewhere_is_interrupted() {
        let (interrupt, interrupted) = mpsc::channel();
        let (waits, does_wait) = mpsc::channel();
        let run = move |(), mut stop: Stop| async move {
            assert!(!stop.is_told(|| Box::new(move || interrupt.send(()).unwrap())));
            waits.send(()).unwrap();
            interrupted.recv_timeout(Duration::from_secs(10)).unwrap();
            assert!(stop.is_told(|| unreachable!("there is one")));
            waits.send(()).unwrap();
        };
        let opened = || Ok(((), ()));
        let (worker, ()) = Worker::start("test", ReceiveThreadConfig::default(), opened, run).unwrap();
        does_wait.recv().unwrap();
        drop(worker);
        does_wait.recv().unwrap();
    }
}
