//! What `pub` reads: files, and standard input.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::exit::Exit;
use crate::session::{End, Session};

/// The longest line of standard input, in bytes.
const MAX_LINE: u64 = 256 * 1024 * 1024;

/// What is in a file, which may be a pipe that nobody writes to yet: the error inside is how to end then.
///
/// # Errors
/// Also when there are more than `max` bytes in it.
pub(super) fn file(session: &Session, path: &Path, max: usize) -> anyhow::Result<Result<Vec<u8>, Exit>> {
    let shown = path.display();
    let path = path.to_owned();
    let read = move || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take((max as u64).saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let read = in_a_thread("file", 1, |sender| _ = sender.send(read()))?;
    loop {
        match read.recv_timeout(session.slice(Duration::MAX)) {
            Ok(bytes) => {
                let bytes = bytes.with_context(|| format!("{shown} cannot be read"))?;
                if bytes.len() > max {
                    bail!("{shown} has more than {max} bytes (ferrocal.limits.reassembly.max_message_len)");
                }
                return Ok(Ok(bytes));
            }
            Err(RecvTimeoutError::Disconnected) => bail!("{shown} cannot be read"),
            Err(RecvTimeoutError::Timeout) => match session.end() {
                None => {}
                Some(End::Stopped) => return Ok(Err(Exit::Interrupted)),
                Some(End::Deadline) => bail!("{shown} was not read to its end within --duration"),
            },
        }
    }
}

/// The lines of standard input, without their ends, and without empty ones.
pub(super) fn lines() -> anyhow::Result<Receiver<io::Result<Vec<u8>>>> {
    in_a_thread("stdin", 16, |sender: SyncSender<_>| {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let result = (&mut input).take(MAX_LINE).read_until(b'\n', &mut line);
            let line = match result {
                Ok(0) => return,
                Ok(_) => {
                    let end = line.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'));
                    line.truncate(end.map_or(0, |end| end + 1));
                    if line.is_empty() {
                        continue;
                    }
                    Ok(line)
                }
                Err(error) => Err(error),
            };
            let is_end = line.is_err();
            if sender.send(line).is_err() || is_end {
                return;
            }
        }
    })
}

/// Runs what sends its results, of which as many may wait.
fn in_a_thread<T: Send + 'static>(
    name: &str,
    waiting: usize,
    run: impl FnOnce(SyncSender<T>) + Send + 'static,
) -> anyhow::Result<Receiver<T>> {
    let (sender, receiver) = sync_channel(waiting);
    thread::Builder::new().name(name.into()).spawn(|| run(sender)).context("a thread cannot be started")?;
    Ok(receiver)
}
