//! The multicast groups of a socket.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};

use log::Level;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};

use super::follow::Follow;
use super::interfaces::Interface;
#[cfg(feature = "raw")]
use super::interfaces::NO_PORT;
use super::news::News;
use super::{Choice, Chosen};
use crate::config::Mode;
use crate::error::MembershipError;
use crate::seam::Membership;
use crate::status::{GroupState, GroupStatus, InterfaceStatus};
use crate::sync::lock;

/// An interface to join groups on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The interface's index; 0 if unknown.
    pub(crate) index: u32,
    /// An address of the interface; 0.0.0.0 leaves the choice to the system's routes.
    pub(crate) address: Ipv4Addr,
}

/// The groups that a socket is to receive, on interfaces that come and go.
pub(crate) struct Groups {
    mode: Mode,
    refusals: Arc<Refusals>,
    state: Mutex<State>,
}

struct State {
    places: Vec<Place>,
    /// The interfaces that these places belong to, and those that are missing.
    chosen: Vec<Chosen>,
    /// The groups that were joined and not left.
    wanted: BTreeMap<Ipv4Addr, Wanted>,
    sockets: Sockets,
}

/// Where the system refused to join groups. It is asked again, but logged once for all receivers of a transport.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashSet<(Place, AreFull)>>);

impl Refusals {
    /// Stores a refusal. Returns whether it is new.
    pub(super) fn add(&self, place: Place, are_full: AreFull) -> bool {
        lock(&self.0).insert((place, are_full))
    }

    /// Forgets the refusals at places that are on none of these interfaces any more. An interface that is made anew has
    /// another index each time.
    pub(super) fn keep_those_on(&self, interfaces: &[Interface]) {
        let is_there = |place: Place| {
            let has_it = |one: &Interface| {
                one.index == place.index && (place.address.is_unspecified() || one.has(place.address))
            };
            place.index == 0 || interfaces.iter().any(has_it)
        };
        lock(&self.0).retain(|&(place, _)| is_there(place));
    }
}

/// Whether no socket may be a member of more groups.
type AreFull = bool;

/// Where a group is joined now, and where the system refused that when it was asked last.
#[derive(Default)]
struct Wanted {
    joined: Vec<Joined>,
    refused: Vec<(Place, GroupState)>,
}

/// A membership: a place, and which of the sockets has it.
#[derive(Clone, Copy)]
struct Joined {
    place: Place,
    socket: usize,
}

impl Groups {
    /// Makes a member of no group yet.
    pub(crate) fn new(socket: Arc<UdpSocket>, mode: Mode, refusals: Arc<Refusals>) -> Self {
        let sockets = Sockets(vec![socket]);
        let state = State { places: Vec::new(), chosen: Vec::new(), wanted: BTreeMap::new(), sockets };
        Self { mode, refusals, state: Mutex::new(state) }
    }

    /// Changes over to these places, which belong to the chosen interfaces. Joins again what was refused.
    pub(crate) fn change_to(&self, places: Vec<Place>, chosen: Vec<Chosen>) {
        let mut news = News::default();
        {
            let State { places: current, chosen: shown, wanted, sockets } = &mut *lock(&self.state);
            (*current, *shown) = (places, chosen);
            for (&group, one) in wanted {
                update(group, one, current, sockets, &self.refusals, &mut news);
            }
        }
        news.log();
    }

    /// Joins a group, unless it is joined already. Returns whether it is, on any interface.
    #[cfg(feature = "raw")]
    pub(crate) fn hold(&self, group: Ipv4Addr) -> bool {
        let _ = self.join(group);
        lock(&self.state).wanted.get(&group).is_some_and(|wanted| !wanted.joined.is_empty())
    }

    /// Sends an empty datagram to a group, to this host only. Windows passes a group's datagrams to captures on loopback
    /// only after a member of it has sent something.
    #[cfg(feature = "raw")]
    pub(crate) fn send_first_datagram(&self, group: Ipv4Addr) {
        let socket = lock(&self.state).sockets.0[0].clone();
        let sent = socket
            .set_multicast_loop_v4(true)
            .and_then(|()| socket.set_multicast_ttl_v4(0))
            .and_then(|()| socket.send_to(&[], (group, NO_PORT)));
        if let Err(error) = sent {
            log::debug!("group {group} was not sent a first datagram: {error}");
        }
    }
}

/// Makes a group joined in `places` and nowhere else. Refusals that are new are news.
fn update(
    group: Ipv4Addr,
    wanted: &mut Wanted,
    places: &[Place],
    sockets: &mut Sockets,
    refusals: &Refusals,
    news: &mut News,
) {
    let Wanted { joined, refused } = wanted;
    refused.clear();
    joined.retain(|one| {
        let stays = places.contains(&one.place);
        if !stays {
            sockets.leave(group, *one, news);
        }
        stays
    });
    for &place in places {
        if joined.iter().any(|one| one.place == place) {
            continue;
        }
        match sockets.join(group, place) {
            Ok(socket) => joined.push(Joined { place, socket }),
            Err(refusal) => {
                refused.push((place, refusal.state()));
                if refusals.add(place, refusal.are_full) {
                    news.add(Level::Warn, refusal.describe(group, place));
                }
            }
        }
    }
}

/// Why a group could not be joined.
struct Refusal {
    source: io::Error,
    are_full: AreFull,
}

impl Refusal {
    fn state(&self) -> GroupState {
        if self.are_full { GroupState::TooManyGroups } else { GroupState::Refused(self.source.kind()) }
    }

    fn describe(&self, group: Ipv4Addr, place: Place) -> String {
        let hint = match place.address {
            _ if self.are_full => {
                "the system allows no more groups. What is sent to this group alone is not received; eCAL 6 sends to the \
                 base group, too. As root: sysctl -w net.ipv4.igmp_max_memberships=100"
            }
            Ipv4Addr::UNSPECIFIED => {
                "is there a route for it? Name an interface, or add a route for the group"
            }
            _ => "is the interface up?",
        };
        let Self { source, .. } = self;
        format!("group {group} cannot be joined on {}: {source}; {hint}; trying again", place.address)
    }
}

/// Whether a socket is a member of as many groups as it may be. Only Linux has few enough.
fn is_full(error: &io::Error) -> bool {
    /// `ENOBUFS`.
    const NO_BUFFER: i32 = 105;
    cfg!(target_os = "linux") && error.raw_os_error() == Some(NO_BUFFER)
}

/// The socket that receives, and further ones, which only hold memberships: Linux lets a socket be a member of 20 groups
/// (`net.ipv4.igmp_max_memberships`).
struct Sockets(Vec<Arc<UdpSocket>>);

impl Sockets {
    /// Joins a group by the first socket that may. Returns its index.
    fn join(&mut self, group: Ipv4Addr, place: Place) -> Result<usize, Refusal> {
        for (index, socket) in self.0.iter().enumerate() {
            match join(SockRef::from(&**socket), group, place) {
                Ok(()) => return Ok(index),
                Err(source) if is_full(&source) => {}
                Err(source) => return Err(Refusal { source, are_full: false }),
            }
        }
        self.join_by_another(group, place).map_err(|source| Refusal { are_full: is_full(&source), source })
    }

    fn join_by_another(&mut self, group: Ipv4Addr, place: Place) -> io::Result<usize> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        join(SockRef::from(&socket), group, place)?;
        // From now on it receives what any socket of this machine is a member of.
        #[cfg(target_os = "linux")]
        SockRef::from(&*self.0[0]).set_multicast_all_v4(true)?;
        self.0.push(Arc::new(socket.into()));
        Ok(self.0.len() - 1)
    }

    fn leave(&self, group: Ipv4Addr, Joined { place, socket }: Joined, news: &mut News) {
        let socket = SockRef::from(&*self.0[socket]);
        let by_address = || socket.leave_multicast_v4(&group, &place.address);
        let left = if is_by_index(place) {
            let left = socket.leave_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(place.index));
            // The system's routes may have chosen another interface for this group.
            left.or_else(|error| if place.address.is_unspecified() { by_address() } else { Err(error) })
        } else {
            by_address()
        };
        if let Err(error) = left {
            // The system has usually done so itself, with the interface.
            news.add(Level::Debug, format_args!("group {group} was not left on {}: {error}", place.address));
        }
    }
}

fn join(socket: SockRef<'_>, group: Ipv4Addr, place: Place) -> io::Result<()> {
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

/// Whether the interface is named by its index. Linux finds a removed interface by that alone; an address may be on a new
/// one by then.
fn is_by_index(place: Place) -> bool {
    cfg!(target_os = "linux") && place.index != 0
}

impl Follow for Groups {
    fn follow(&self, choice: &Choice) {
        self.change_to(choice.places(), choice.chosen().to_vec());
    }
}

impl Membership for Groups {
    fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        if self.mode == Mode::Local {
            return Ok(());
        }
        if !group.is_multicast() {
            return Err(MembershipError::NotMulticast(group));
        }
        let mut news = News::default();
        {
            let State { places, wanted, sockets, .. } = &mut *lock(&self.state);
            if wanted.contains_key(&group) {
                return Err(MembershipError::AlreadyJoined(group));
            }
            update(group, wanted.entry(group).or_default(), places, sockets, &self.refusals, &mut news);
        }
        news.log();
        Ok(())
    }

    fn leave(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        if self.mode == Mode::Local {
            return Ok(());
        }
        let mut news = News::default();
        {
            let State { wanted, sockets, .. } = &mut *lock(&self.state);
            let wanted = wanted.remove(&group).ok_or(MembershipError::NotJoined(group))?;
            wanted.joined.into_iter().for_each(|one| sockets.leave(group, one, &mut news));
        }
        news.log();
        Ok(())
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        let State { chosen, wanted, .. } = &*lock(&self.state);
        let status = |one: &Chosen| {
            let groups = |&(_, place): &(_, Place)| {
                wanted.iter().filter_map(move |(&group, wanted)| {
                    Some(GroupStatus { group, state: wanted.state(place.index)? })
                })
            };
            InterfaceStatus {
                selector: one.selector.clone(),
                name: one.interface.as_ref().map(|(name, _)| name.clone()),
                address: one.interface.as_ref().map(|(_, place)| place.address),
                state: one.state,
                groups: one.interface.iter().flat_map(groups).collect(),
            }
        };
        chosen.iter().map(status).collect()
    }
}

impl Wanted {
    /// Whether it is joined on the interface of this index. `None` if it is not to be.
    fn state(&self, index: u32) -> Option<GroupState> {
        if self.joined.iter().any(|one| one.place.index == index) {
            return Some(GroupState::Joined);
        }
        self.refused.iter().find(|(place, _)| place.index == index).map(|&(_, state)| state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_at_places_that_are_gone_are_forgotten() {
        let interface = |index, last| Interface {
            index,
            name: "eth0".into(),
            friendly_name: None,
            addresses: vec![Ipv4Addr::new(10, 0, 0, last)],
            mac: [0; 6],
            mtu: 1500,
            loopback: false,
            has_carrier: true,
        };
        let by_route = Place { index: 0, address: Ipv4Addr::UNSPECIFIED };
        let refusals = Refusals::default();
        assert!(refusals.add(by_route, false));
        // Made anew a hundred times, with a hundred addresses each time.
        for (index, last) in (1..=100).flat_map(|index| (1..=100).map(move |last| (index, last))) {
            let here = interface(index, last);
            for place in [here.place(), Place { address: Ipv4Addr::UNSPECIFIED, ..here.place() }] {
                refusals.keep_those_on(&[interface(1000, 1), here.clone()]);
                assert_eq!(refusals.add(place, true), !place.address.is_unspecified() || last == 1);
                assert!(!refusals.add(place, true), "it is known while it is there");
            }
        }
        assert_eq!(lock(&refusals.0).len(), 3);
        assert!(!refusals.add(by_route, false));
    }
}
