//! The multicast groups of a socket.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};

use socket2::{InterfaceIndexOrAddress, SockRef};

#[cfg(feature = "raw")]
use super::interfaces::NO_PORT;
use crate::config::Mode;
use crate::error::MembershipError;
use crate::seam::Membership;
use crate::sync::lock;

/// An interface to join groups on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The interface's index; 0 if unknown.
    pub(crate) index: u32,
    /// An address of the interface; 0.0.0.0 leaves the choice to the system's routes.
    pub(crate) address: Ipv4Addr,
}

/// The groups that a socket is to be a member of, on interfaces that come and go.
pub(crate) struct Groups {
    socket: Arc<UdpSocket>,
    mode: Mode,
    state: Mutex<State>,
}

struct State {
    places: Vec<Place>,
    /// The groups that were joined and not left.
    wanted: BTreeMap<Ipv4Addr, Joined>,
}

/// Where a group has been joined.
#[derive(Default)]
struct Joined {
    places: Vec<Place>,
    /// Where the system refused. It is asked again, but logged once.
    refused: Vec<Place>,
}

impl Groups {
    pub(crate) fn new(socket: Arc<UdpSocket>, mode: Mode, places: Vec<Place>) -> Self {
        Self { socket, mode, state: Mutex::new(State { places, wanted: BTreeMap::new() }) }
    }

    /// Changes over to these places. Joins again what was refused. Failures are logged.
    pub(crate) fn follow(&self, places: Vec<Place>) {
        let State { places: current, wanted } = &mut *lock(&self.state);
        *current = places;
        for (&group, joined) in wanted {
            if let Err(error) = self.update(group, joined, current) {
                log::warn!("{error}");
            }
        }
    }

    /// Makes a group joined in `places` and nowhere else.
    ///
    /// # Errors
    /// The first refusal that is new.
    fn update(&self, group: Ipv4Addr, joined: &mut Joined, places: &[Place]) -> Result<(), MembershipError> {
        joined.places.retain(|place| {
            let stays = places.contains(place);
            if !stays {
                // The system has usually done so itself.
                let _ = self.leave_in(group, *place);
            }
            stays
        });
        joined.refused.retain(|place| places.contains(place));
        let mut result = Ok(());
        for &place in places {
            if joined.places.contains(&place) {
                continue;
            }
            match self.join_in(group, place) {
                Ok(()) => {
                    joined.refused.retain(|&refused| refused != place);
                    joined.places.push(place);
                }
                Err(source) if !joined.refused.contains(&place) => {
                    joined.refused.push(place);
                    result =
                        result.and(Err(MembershipError::Join { group, interface: place.address, source }));
                }
                Err(_) => {}
            }
        }
        result
    }

    /// Sends an empty datagram to a group, to this host only. Windows passes a group's datagrams to captures on loopback
    /// only after a member of it has sent something.
    #[cfg(feature = "raw")]
    pub(crate) fn send_first_datagram(&self, group: Ipv4Addr) {
        let sent = self
            .socket
            .set_multicast_loop_v4(true)
            .and_then(|()| self.socket.set_multicast_ttl_v4(0))
            .and_then(|()| self.socket.send_to(&[], (group, NO_PORT)));
        if let Err(error) = sent {
            log::debug!("group {group} was not sent a first datagram: {error}");
        }
    }

    fn join_in(&self, group: Ipv4Addr, place: Place) -> io::Result<()> {
        let socket = SockRef::from(&*self.socket);
        let result = if is_by_index(place) && !place.address.is_unspecified() {
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(place.index))
        } else {
            socket.join_multicast_v4(&group, &place.address)
        };
        match result {
            // A member already: another interface's index was assumed for the route.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
            result => result,
        }
    }

    fn leave_in(&self, group: Ipv4Addr, place: Place) -> io::Result<()> {
        let socket = SockRef::from(&*self.socket);
        let by_address = || socket.leave_multicast_v4(&group, &place.address);
        if !is_by_index(place) {
            return by_address();
        }
        let left = socket.leave_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(place.index));
        // The system's routes may have chosen another interface for this group.
        left.or_else(|error| if place.address.is_unspecified() { by_address() } else { Err(error) })
    }
}

/// Whether the interface is named by its index. Linux finds a removed interface by that alone; an address may be on a new
/// one by then.
fn is_by_index(place: Place) -> bool {
    cfg!(target_os = "linux") && place.index != 0
}

impl Membership for Groups {
    fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        if self.mode == Mode::Local {
            return Ok(());
        }
        let State { places, wanted } = &mut *lock(&self.state);
        if wanted.contains_key(&group) {
            return Err(MembershipError::AlreadyJoined(group));
        }
        let mut joined = Joined::default();
        match self.update(group, &mut joined, places) {
            Err(error) if joined.places.is_empty() => return Err(error),
            Err(error) => log::warn!("{error}"),
            Ok(()) => {}
        }
        wanted.insert(group, joined);
        Ok(())
    }

    fn leave(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        if self.mode == Mode::Local {
            return Ok(());
        }
        let joined = lock(&self.state).wanted.remove(&group).ok_or(MembershipError::NotJoined(group))?;
        // Fails only if it fails everywhere.
        let (mut failed, mut count) = (None, 0);
        for &place in &joined.places {
            if let Err(source) = self.leave_in(group, place) {
                failed.get_or_insert(MembershipError::Leave { group, interface: place.address, source });
                count += 1;
            }
        }
        match failed {
            Some(error) if count == joined.places.len() => Err(error),
            Some(error) => {
                log::warn!("{error}");
                Ok(())
            }
            None => Ok(()),
        }
    }
}
