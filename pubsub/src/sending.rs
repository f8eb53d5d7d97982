//! A thread that sends for asynchronous programs, so that what sending waits for blocks no executor.

use std::sync::{Mutex, mpsc};
use std::{io, thread};

use crate::lock;

type Job = Box<dyn FnOnce() + Send>;

/// Started for the first job. It ends when this is dropped and all jobs are done.
#[derive(Default)]
pub(crate) struct SendThread(Mutex<Option<mpsc::Sender<Job>>>);

impl SendThread {
    /// Runs a job behind all that were submitted before it.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn submit(&self, job: Job) -> io::Result<()> {
        let mut jobs = lock(&self.0);
        let refused = match &*jobs {
            Some(jobs) => jobs.send(job).err().map(|mpsc::SendError(job)| job),
            None => Some(job),
        };
        if let Some(job) = refused {
            let (sender, receiver) = mpsc::channel::<Job>();
            thread::Builder::new()
                .name("ferrocal-send".into())
                .spawn(move || receiver.into_iter().for_each(|job| job()))?;
            let _ = sender.send(job);
            *jobs = Some(sender);
        }
        Ok(())
    }
}
