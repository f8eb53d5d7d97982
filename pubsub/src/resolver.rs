//! Looks up the names of hosts.

use std::collections::VecDeque;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::lock;
use crate::outage::Outage;

/// So many names are looked up at once. Each may take the system a minute, and others choose how many there are.
const MAX_THREADS: usize = 4;
/// So many addresses of a name are used.
const MAX_ADDRESSES: usize = 16;
/// No name of a host is longer (RFC 1035), in bytes.
const MAX_NAME_LEN: usize = 253;

/// Looks up the names of hosts on threads of its own, which end when there is nothing to do. What waits when it is dropped
/// is not looked up any more.
pub(crate) struct Resolver(Arc<Shared>);

/// What asks the system for the addresses of a name, with a port.
type Find = dyn Fn(&str, u16) -> Vec<SocketAddr> + Send + Sync;

struct Shared {
    find: Box<Find>,
    max_waiting: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    last_id: u64,
    threads: usize,
    /// The system refuses threads.
    refusal: Outage,
}

struct Job {
    id: u64,
    name: String,
    port: u16,
    found: Box<dyn FnOnce(Vec<SocketAddr>) + Send>,
}

/// A look-up. If it is dropped before it has begun, it is taken back.
#[must_use]
pub(crate) struct LookUp {
    /// That of its job. 0 if it has none.
    id: u64,
    shared: Arc<Shared>,
}

impl Resolver {
    /// So many look-ups may wait for others to end.
    pub(crate) fn new(max_waiting: usize) -> Self {
        Self::with(max_waiting, |name, port| {
            (name, port).to_socket_addrs().map(Iterator::collect).unwrap_or_default()
        })
    }

    /// As [`new`](Self::new), with something else than the system to ask.
    pub(crate) fn with(
        max_waiting: usize,
        find: impl Fn(&str, u16) -> Vec<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared { find: Box::new(find), max_waiting, state: Mutex::default() }))
    }

    /// Looks up a host's name, and that name with `.local`, as mDNS calls it. The addresses go to `found`, none if there are
    /// none. Returns `None` if too many wait already, or if the system gives no thread; then `found` is not called.
    pub(crate) fn look_up(
        &self,
        host_name: &[u8],
        port: u16,
        found: impl FnOnce(Vec<SocketAddr>) + Send + 'static,
    ) -> Option<LookUp> {
        let name = str::from_utf8(host_name).ok();
        let Some(name) = name.filter(|name| (1..=MAX_NAME_LEN).contains(&name.len())) else {
            found(Vec::new());
            return Some(LookUp { id: 0, shared: self.0.clone() });
        };
        let mut state = lock(&self.0.state);
        if state.waiting.len() >= self.0.max_waiting || !self.0.has_thread(&mut state) {
            return None;
        }
        state.last_id += 1;
        let id = state.last_id;
        state.waiting.push_back(Job { id, name: name.into(), port, found: Box::new(found) });
        Some(LookUp { id, shared: self.0.clone() })
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let waiting = std::mem::take(&mut lock(&self.0.state).waiting);
        drop(waiting);
    }
}

impl Drop for LookUp {
    fn drop(&mut self) {
        let job = {
            let waiting = &mut lock(&self.shared.state).waiting;
            waiting.iter().position(|job| job.id == self.id).and_then(|at| waiting.remove(at))
        };
        drop(job);
    }
}

impl Shared {
    /// Starts another thread, if there may be one. Returns whether there is any. It waits for the caller's lock.
    fn has_thread(self: &Arc<Self>, state: &mut State) -> bool {
        if state.threads < MAX_THREADS {
            let shared = self.clone();
            match thread::Builder::new().name("ferrocal-resolve".into()).spawn(move || shared.work()) {
                Ok(_) => {
                    state.threads += 1;
                    state.refusal.worked();
                }
                Err(error) if state.refusal.failed() => {
                    log::warn!(
                        "the names of hosts cannot be looked up as usual: no thread could be started: {error}"
                    );
                }
                Err(_) => {}
            }
        }
        state.threads > 0
    }

    fn work(&self) {
        while let Some(Job { name, port, found, .. }) = self.next() {
            let local = format!("{name}.local");
            let addresses = [name, local].into_iter().flat_map(|name| (self.find)(&name, port));
            found(addresses.take(MAX_ADDRESSES).collect());
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        let job = state.waiting.pop_front();
        // With the same lock: what comes after this starts another thread.
        state.threads -= usize::from(job.is_none());
        job
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// For what must happen.
    const HANG: Duration = Duration::from_secs(60);

    /// A resolver that reports each name, and then keeps it until the sender is dropped.
    fn silent(max_waiting: usize) -> (Resolver, mpsc::Receiver<String>, mpsc::Sender<()>) {
        let (asked, names) = mpsc::channel();
        let (let_go, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let resolver = Resolver::with(max_waiting, move |name, port| {
            let _ = asked.send(name.to_owned());
            let _ = lock(&released).recv();
            vec![([127, 0, 0, 1], port).into()]
        });
        (resolver, names, let_go)
    }

    #[test]
    fn look_ups_are_bounded_and_taken_back() {
        const MAX_WAITING: usize = 3;
        let (resolver, names, let_go) = silent(MAX_WAITING);
        let (done, results) = mpsc::channel();
        let look_up = |port: u16| {
            let done = done.clone();
            resolver.look_up(format!("host{port}").as_bytes(), port, move |found| {
                let _ = done.send((port, found.len()));
            })
        };
        let mut running = Vec::new();
        for port in 0..4 {
            running.push(look_up(port).expect("a thread is free"));
            assert_eq!(names.recv_timeout(HANG), Ok(format!("host{port}")));
        }
        let mut waiting: Vec<_> = (4..1000).filter_map(look_up).collect();
        assert_eq!((waiting.len(), lock(&resolver.0.state).threads), (MAX_WAITING, MAX_THREADS));
        drop(waiting.remove(1));
        waiting.push(look_up(1000).expect("there is room again"));
        assert!(look_up(1001).is_none());
        // It has begun, and goes on.
        drop(running);
        drop(let_go);
        drop(done);
        let mut ports: Vec<_> = (0..7).map(|_| results.recv_timeout(HANG).expect("a result")).collect();
        ports.sort_unstable();
        assert_eq!(ports, [0, 1, 2, 3, 4, 6, 1000].map(|port| (port, 2)), "of two names each");
    }

    #[test]
    fn what_waits_is_dropped_with_the_resolver() {
        let (resolver, names, let_go) = silent(10);
        let (done, results) = mpsc::channel();
        let look_up = |number: usize| {
            let done = done.clone();
            resolver.look_up(b"host", 1, move |_| {
                let _ = done.send(number);
            })
        };
        let _running: Vec<_> = (0..MAX_THREADS)
            .map(|number| {
                let look_up = look_up(number);
                names.recv_timeout(HANG).expect("it has begun");
                look_up
            })
            .collect();
        let _waiting = look_up(MAX_THREADS).expect("there is room");
        drop(done);
        drop(resolver);
        drop(let_go);
        let mut numbers: Vec<_> = results.iter().collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..MAX_THREADS).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_name_has_no_address() {
        let (resolver, names, _let_go) = silent(10);
        for name in [&b""[..], b"\xff", &[b'a'; MAX_NAME_LEN + 1]] {
            let (done, results) = mpsc::channel();
            let _look_up =
                resolver.look_up(name, 1, move |found| drop(done.send(found))).expect("it is done");
            assert_eq!(results.recv_timeout(HANG), Ok(Vec::new()));
        }
        assert!(names.try_recv().is_err(), "the system was not asked");
    }
}
