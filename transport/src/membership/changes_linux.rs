//! Waits for changes of interfaces and routes, which Linux reports on a netlink socket (rtnetlink(7)).

#![allow(unsafe_code)]

use std::io::{self, PipeReader, PipeWriter, Read};
use std::mem;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::poll::{self, poll};

/// How long to wait after a change for those that belong to it: a new link is followed by its address.
const GATHER: Duration = Duration::from_millis(20);

/// Where changes are reported.
pub(super) struct Changes {
    /// Ends with the [`Stopper`].
    stopped: PipeReader,
    /// `None` if the system refuses it, as some sandboxes do.
    netlink: Option<Socket>,
}

/// Ends the waiting when dropped. A forked child's copy does not matter: its drop closes nothing of the parent's.
pub(super) struct Stopper {
    _writer: PipeWriter,
}

pub(super) fn changes() -> io::Result<(Stopper, Changes)> {
    let (stopped, writer) = io::pipe()?;
    let netlink = netlink()
        .inspect_err(|error| log::debug!("interfaces are looked at regularly instead of on change: {error}"));
    Ok((Stopper { _writer: writer }, Changes { stopped, netlink: netlink.ok() }))
}

impl Changes {
    /// Waits for a change, or until the time is over. Returns `false` if it is to end.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        let mut sources = vec![poll::readable(&self.stopped)];
        sources.extend(self.netlink.as_ref().map(poll::readable));
        if let Err(error) = poll(&mut sources, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            thread::sleep(timeout);
        }
        if poll::is_ready(&sources[0]) {
            return false;
        }
        if let Some(mut netlink) =
            self.netlink.as_ref().filter(|_| sources.last().is_some_and(poll::is_ready))
        {
            thread::sleep(GATHER);
            // What exactly changed is looked up anyway; a full buffer (ENOBUFS) is a change, too, and told once.
            let mut message = [0; 1 << 13];
            let mut is_full = false;
            loop {
                match netlink.read(&mut message) {
                    Ok(_) => {}
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) && !is_full => is_full = true,
                    Err(_) => break,
                }
            }
        }
        true
    }
}

fn netlink() -> io::Result<Socket> {
    let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV4_ROUTE;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: this C structure is valid whatever its bytes are, and not longer than any socket address.
    let address: &mut libc::sockaddr_nl = unsafe { storage.view_as() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = groups as u32;
    // SAFETY: the storage holds an address of this length.
    let address = unsafe { SockAddr::new(storage, mem::size_of::<libc::sockaddr_nl>() as libc::socklen_t) };
    let protocol = Protocol::from(libc::NETLINK_ROUTE);
    let socket =
        Socket::new(Domain::from(libc::AF_NETLINK), Type::DGRAM.nonblocking().cloexec(), Some(protocol))?;
    socket.bind(&address)?;
    Ok(socket)
}
