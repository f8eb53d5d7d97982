//! Membership in multicast groups, held by sockets.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Mutex, PoisonError};

use socket2::Socket;

use crate::{Membership, MembershipError, Mode};

/// Where eCAL's own raw receiver sends these datagrams, too; nobody listens there.
const KICK_PORT: u16 = 62_000;

/// The groups that some sockets are members of, on some interfaces.
pub(crate) struct Groups {
    sockets: Vec<Socket>,
    mode: Mode,
    state: Mutex<State>,
}

struct State {
    /// Index (0 where it does not matter) and address of each interface.
    interfaces: Vec<(u32, Ipv4Addr)>,
    joined: HashSet<Ipv4Addr>,
}

impl Groups {
    pub(crate) fn new(sockets: Vec<Socket>, mode: Mode, interfaces: Vec<Ipv4Addr>) -> Self {
        let interfaces = interfaces.into_iter().map(|address| (0, address)).collect();
        Self { sockets, mode, state: Mutex::new(State { interfaces, joined: HashSet::new() }) }
    }

    /// Goes over to these interfaces, each given by its index and address. Failures are logged.
    pub(crate) fn follow(&self, interfaces: Vec<(u32, Ipv4Addr)>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut state.interfaces, interfaces);
        let (gone, new) = (difference(&before, &state.interfaces), difference(&state.interfaces, &before));
        for &group in &state.joined {
            // The system has usually dropped these by itself.
            let _ = self.leave_on(group, &gone);
            if let Err(error) = self.join_on(group, &new) {
                log::warn!("{error}");
            }
        }
    }

    /// Sends an empty datagram to a group, to this host only. Windows hands a group's datagrams to captures on loopback
    /// only after a member of it has sent something.
    pub(crate) fn kick(&self, group: Ipv4Addr) {
        for socket in &self.sockets {
            let sent = socket
                .set_multicast_loop_v4(true)
                .and_then(|()| socket.set_multicast_ttl_v4(0))
                .and_then(|()| socket.send_to(&[], &SocketAddrV4::new(group, KICK_PORT).into()));
            if let Err(error) = sent {
                log::debug!("group {group} was not sent a first datagram: {error}");
            }
        }
    }

    fn join_on(&self, group: Ipv4Addr, interfaces: &[(u32, Ipv4Addr)]) -> Result<(), MembershipError> {
        self.each(interfaces, |socket, interface| {
            socket.join_multicast_v4(&group, &interface).map_err(|source| MembershipError::Join {
                group,
                interface,
                source,
            })
        })
    }

    fn leave_on(&self, group: Ipv4Addr, interfaces: &[(u32, Ipv4Addr)]) -> Result<(), MembershipError> {
        self.each(interfaces, |socket, interface| {
            socket.leave_multicast_v4(&group, &interface).map_err(|source| MembershipError::Leave {
                group,
                interface,
                source,
            })
        })
    }

    /// Fails only if all fail; otherwise the failures are logged.
    fn each(
        &self,
        interfaces: &[(u32, Ipv4Addr)],
        change: impl Fn(&Socket, Ipv4Addr) -> Result<(), MembershipError>,
    ) -> Result<(), MembershipError> {
        let results = self
            .sockets
            .iter()
            .flat_map(|socket| interfaces.iter().map(move |&(_, interface)| (socket, interface)))
            .map(|(socket, interface)| change(socket, interface));
        let (done, failed): (Vec<_>, Vec<_>) = results.partition(Result::is_ok);
        match failed.into_iter().find_map(Result::err) {
            Some(error) if done.is_empty() => Err(error),
            Some(error) => {
                log::warn!("{error}");
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Membership for Groups {
    fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        if self.mode == Mode::Local {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.joined.contains(&group) {
            return Err(MembershipError::AlreadyJoined(group));
        }
        self.join_on(group, &state.interfaces)?;
        state.joined.insert(group);
        Ok(())
    }

    fn leave(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        if self.mode == Mode::Local {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.joined.remove(&group) {
            return Err(MembershipError::NotJoined(group));
        }
        self.leave_on(group, &state.interfaces)
    }
}

fn difference(these: &[(u32, Ipv4Addr)], those: &[(u32, Ipv4Addr)]) -> Vec<(u32, Ipv4Addr)> {
    these.iter().filter(|interface| !those.contains(interface)).copied().collect()
}
