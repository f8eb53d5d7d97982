//! Which of the machine's interfaces the settings choose, as they come, go and change.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Instant;
use std::{io, mem};

use thiserror::Error;

use super::Place;
use super::interfaces::{self, Interface, describe};
use super::news::News;
use super::reports::Reports;
use crate::config::{Config, Mode};
use crate::selector::InterfaceSelector;
use crate::status::InterfaceState;
use crate::sync::lock;

/// Chooses interfaces.
#[derive(Debug)]
pub(super) struct Chooser {
    config: Config,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The index and the system's name of the interface that a selector named most recently, to find it again when its
    /// address or name has changed.
    latest: HashMap<InterfaceSelector, (u32, String)>,
    reports: Reports,
    /// What was chosen when the interfaces were seen most recently.
    choice: Option<Choice>,
    /// Whether they could not be looked at since.
    is_blind: bool,
}

/// The machine's interfaces at one time, and which of them are chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Choice {
    /// All that are up and have an IPv4 address, by their index.
    pub(crate) interfaces: Vec<Interface>,
    /// Where to receive. `None`: the system's routes decide.
    places: Option<Vec<Place>>,
    /// By what to send, and with which source address.
    outgoing: Outgoing,
    /// What the settings name, and what of that is there.
    chosen: Vec<Chosen>,
}

/// An interface that the settings choose, or that they choose in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(super) selector: Option<InterfaceSelector>,
    pub(super) state: InterfaceState,
    /// The interface's name and where groups are joined on it. `None` if there is none.
    pub(super) interface: Option<(String, Place)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outgoing {
    /// The system's routes decide. The address is what they choose now, if there is a route.
    ByRoute(Option<Ipv4Addr>),
    Named(Place),
    Missing(Missing),
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::ByRoute(None)
    }
}

/// None of the interfaces that the settings name is there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("this machine has no {wanted} that is up; it has {available}")]
pub(crate) struct Missing {
    wanted: String,
    available: String,
}

impl From<&Missing> for io::Error {
    fn from(missing: &Missing) -> Self {
        Self::new(io::ErrorKind::NetworkDown, missing.clone())
    }
}

impl Chooser {
    pub(super) fn new(config: &Config) -> Self {
        Self { config: config.clone(), state: Mutex::default() }
    }

    /// Looks at the machine's interfaces. A program that has no descriptors left sees none: they are as they were then.
    pub(super) fn look(&self) -> Choice {
        match self.see() {
            Ok((interfaces, route)) => {
                let choice = self.choose(interfaces, || route);
                let was_blind = {
                    let mut state = lock(&self.state);
                    state.choice = Some(choice.clone());
                    mem::take(&mut state.is_blind)
                };
                if was_blind {
                    log::info!("the interfaces can be looked at again");
                }
                choice
            }
            Err(error) => {
                let (choice, was_blind) = {
                    let mut state = lock(&self.state);
                    (state.choice.clone(), mem::replace(&mut state.is_blind, true))
                };
                if !was_blind {
                    log::warn!(
                        "the interfaces cannot be looked at: {error}; they are taken to be as they were"
                    );
                }
                choice.unwrap_or_else(|| self.choose(Vec::new(), || None))
            }
        }
    }

    /// The interfaces, and the source address that the routes choose if they are to decide.
    fn see(&self) -> io::Result<(Vec<Interface>, Option<Ipv4Addr>)> {
        let Config { mode, group, interfaces: selectors, .. } = &self.config;
        let interfaces = interfaces::list()?;
        let is_by_route = *mode == Mode::Network && selectors.is_empty();
        let route = if is_by_route { interfaces::routed(*group)? } else { None };
        Ok((interfaces, route))
    }

    fn choose(&self, interfaces: Vec<Interface>, route: impl FnOnce() -> Option<Ipv4Addr>) -> Choice {
        let mut news = News::default();
        let choice = self.choose_silently(interfaces, route, &mut news);
        news.log();
        choice
    }

    fn choose_silently(
        &self,
        interfaces: Vec<Interface>,
        route: impl FnOnce() -> Option<Ipv4Addr>,
        news: &mut News,
    ) -> Choice {
        let Config { mode, group, interfaces: selectors, join_all_interfaces, .. } = &self.config;
        if *mode == Mode::Local {
            let outgoing = if interfaces.iter().any(|interface| interface.loopback) || cfg!(windows) {
                Outgoing::ByRoute(None)
            } else {
                // Linux takes what is sent by loopback that is down, and reports no error.
                Outgoing::Missing(Missing {
                    wanted: "loopback interface".into(),
                    available: describe(&interfaces),
                })
            };
            return Choice { interfaces, outgoing, ..Choice::default() };
        }
        let State { latest, reports, .. } = &mut *lock(&self.state);
        let named_by: Vec<_> =
            selectors.iter().map(|selector| (selector, find(selector, latest, &interfaces))).collect();
        let mut named: Vec<Place> = Vec::new();
        for &place in named_by.iter().flat_map(|(_, places)| places) {
            if !named.iter().any(|other| other.index == place.index) {
                named.push(place);
            }
        }
        // If all are missing, what is sent fails with the reason.
        if !named.is_empty() {
            for (selector, places) in &named_by {
                reports.missing(selector, places.is_empty(), &interfaces, news);
            }
        }
        let has_carrier =
            |place: &&Place| interfaces.iter().any(|one| one.index == place.index && one.has_carrier);
        let outgoing = match named.iter().find(has_carrier).or(named.first()) {
            Some(&place) => Outgoing::Named(place),
            None if selectors.is_empty() => Outgoing::ByRoute(route()),
            None => Outgoing::Missing(Missing {
                wanted: selectors.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(" or "),
                available: describe(&interfaces),
            }),
        };
        let is_in_use = |interface: &&Interface| match outgoing {
            Outgoing::ByRoute(source) => source.is_some_and(|source| interface.has(source)),
            _ => named.iter().any(|place| place.index == interface.index),
        };
        reports.carriers(Instant::now(), *group, interfaces.iter().filter(is_in_use), news);
        let mut chosen = Vec::new();
        for (selector, places) in &named_by {
            let selector = || Some((*selector).clone());
            if places.is_empty() {
                chosen.push(Chosen { selector: selector(), state: InterfaceState::Missing, interface: None });
            }
            for &place in places {
                Chosen::add(&mut chosen, selector(), place, &interfaces);
            }
        }
        match outgoing {
            _ if *join_all_interfaces => {
                let places = interfaces.iter().map(Interface::place);
                places.for_each(|place| Chosen::add(&mut chosen, None, place, &interfaces));
            }
            Outgoing::ByRoute(Some(address)) => {
                let index = interfaces.iter().find(|one| one.has(address)).map_or(0, |one| one.index);
                Chosen::add(&mut chosen, None, Place { index, address }, &interfaces);
            }
            Outgoing::ByRoute(None) => {
                chosen.push(Chosen { selector: None, state: InterfaceState::NoRoute, interface: None });
            }
            Outgoing::Named(_) | Outgoing::Missing(_) => {}
        }
        let places = if *join_all_interfaces {
            Some(interfaces.iter().map(Interface::place).collect())
        } else {
            Some(named).filter(|_| !selectors.is_empty())
        };
        Choice { interfaces, places, outgoing, chosen }
    }
}

/// Returns the places that a selector names. An interface that it named before is found again by its index, or, if it was
/// made anew, by its name.
fn find(
    selector: &InterfaceSelector,
    latest: &mut HashMap<InterfaceSelector, (u32, String)>,
    interfaces: &[Interface],
) -> Vec<Place> {
    let place = |interface: &Interface| {
        let address = interface.addresses.iter().find(|&&address| selector.matches_address(address));
        match (address, selector) {
            (Some(&address), _) => Some(Place { index: interface.index, address }),
            (None, InterfaceSelector::Name(name)) => interface.is_named(name).then(|| interface.place()),
            (None, _) => None,
        }
    };
    let mut places: Vec<_> = interfaces.iter().filter_map(place).collect();
    if places.is_empty()
        && let Some((index, name)) = latest.get(selector)
    {
        let again = interfaces.iter().find(|one| one.index == *index);
        let again = again.or_else(|| interfaces.iter().find(|one| one.name == *name));
        places.extend(again.map(Interface::place));
    }
    let first = places.first().and_then(|place| interfaces.iter().find(|one| one.index == place.index));
    if let Some(interface) = first {
        latest.insert(selector.clone(), (interface.index, interface.name.clone()));
    }
    places
}

impl Chosen {
    /// Adds an interface, unless it is among them.
    fn add(
        chosen: &mut Vec<Self>,
        selector: Option<InterfaceSelector>,
        place: Place,
        interfaces: &[Interface],
    ) {
        let is_it = |one: &Self| one.interface.as_ref().is_some_and(|(_, other)| other.index == place.index);
        let found = interfaces.iter().find(|one| one.index == place.index);
        let Some(interface) = found.filter(|_| !chosen.iter().any(is_it)) else { return };
        let state = if interface.has_carrier { InterfaceState::Up } else { InterfaceState::NoCarrier };
        let name = interface.friendly_name.as_ref().unwrap_or(&interface.name).clone();
        chosen.push(Self { selector, state, interface: Some((name, place)) });
    }
}

impl Choice {
    /// Returns where a socket joins groups: nowhere without a route, if routes decide.
    pub(crate) fn places(&self) -> Vec<Place> {
        match (&self.places, &self.outgoing) {
            (Some(places), _) => places.clone(),
            (None, Outgoing::ByRoute(Some(source))) => {
                // The index only shows when the routes choose another interface.
                let index = self.interfaces.iter().find(|one| one.has(*source)).map_or(0, |one| one.index);
                vec![Place { index, address: Ipv4Addr::UNSPECIFIED }]
            }
            (None, _) => Vec::new(),
        }
    }

    /// Returns the machine's interfaces.
    pub(super) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Returns the interfaces that the settings choose.
    pub(crate) fn chosen(&self) -> &[Chosen] {
        &self.chosen
    }

    /// Returns the interfaces that the settings choose, and these.
    #[cfg(feature = "raw")]
    pub(crate) fn chosen_and<'a>(&self, used: impl Iterator<Item = &'a Interface>) -> Vec<Chosen> {
        let mut chosen = self.chosen.clone();
        used.for_each(|one| Chosen::add(&mut chosen, None, one.place(), &self.interfaces));
        chosen
    }

    /// Returns the address of the interface to send by; `None` if the system's routes decide.
    pub(crate) fn outgoing(&self) -> Result<Option<Ipv4Addr>, &Missing> {
        match &self.outgoing {
            Outgoing::ByRoute(_) => Ok(None),
            Outgoing::Named(place) => Ok(Some(place.address)),
            Outgoing::Missing(missing) => Err(missing),
        }
    }

    /// Returns the interface to send by, and the source address.
    #[cfg(feature = "raw")]
    pub(crate) fn outgoing_interface(&self) -> io::Result<(&Interface, Ipv4Addr)> {
        let address = match &self.outgoing {
            Outgoing::ByRoute(address) => *address,
            Outgoing::Named(place) => Some(place.address),
            Outgoing::Missing(missing) => return Err(missing.into()),
        };
        let found = address.and_then(|source| {
            let interface = self.interfaces.iter().find(|interface| interface.has(source))?;
            Some((interface, source))
        });
        found.ok_or_else(|| io::ErrorKind::NetworkUnreachable.into())
    }

    /// Whether to receive on an interface with raw frames. They see what comes by any interface, so that all are chosen if
    /// the system's routes decide.
    #[cfg(feature = "raw")]
    pub(crate) fn includes(&self, interface: &Interface) -> bool {
        let is_there = |places: &Vec<Place>| places.iter().any(|place| place.index == interface.index);
        self.places.as_ref().is_none_or(is_there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str, addresses: &[[u8; 4]]) -> Interface {
        Interface {
            index,
            name: name.into(),
            friendly_name: None,
            addresses: addresses.iter().map(|&address| address.into()).collect(),
            mac: [0; 6],
            mtu: 1500,
            loopback: false,
            has_carrier: true,
        }
    }

    fn chooser(selectors: &[&str]) -> Chooser {
        Chooser::new(&Config {
            mode: Mode::Network,
            interfaces: selectors.iter().map(|text| text.parse().unwrap()).collect(),
            ..Config::default()
        })
    }

    fn indices(choice: &Choice) -> Vec<u32> {
        choice.places().iter().map(|place| place.index).collect()
    }

    const HOME: [u8; 4] = [10, 0, 0, 1];
    const LAN: [u8; 4] = [10, 0, 1, 1];

    #[test]
    fn interfaces_are_chosen_by_address_network_and_name() {
        let here = || vec![interface(2, "eth0", &[HOME]), interface(3, "eth1", &[[10, 0, 0, 9], LAN])];
        for (selectors, expected) in [
            (&["10.0.1.1"][..], &[3][..]),
            (&["10.0.0.0/24"], &[2, 3]),
            (&["10.0.1.0/24"], &[3]),
            (&["eth0"], &[2]),
            (&["eth1", "eth0"], &[3, 2]),
            (&["eth1", "10.0.0.9"], &[3]),
            (&["eth7"], &[]),
        ] {
            let choice = chooser(selectors).choose(here(), || unreachable!("no route is needed"));
            assert_eq!(indices(&choice), expected, "{selectors:?}");
        }
        let choice = chooser(&["10.0.1.0/24"]).choose(here(), || None);
        assert_eq!(choice.outgoing(), Ok(Some(LAN.into())), "the address that lies in the network");
    }

    #[test]
    fn an_interface_is_found_again_after_a_change() {
        for selector in ["10.0.0.1", "eth0"] {
            let chooser = chooser(&[selector]);
            let sees = |interfaces: &[Interface]| indices(&chooser.choose(interfaces.to_vec(), || None));
            assert_eq!(sees(&[interface(3, "eth1", &[LAN])]), [], "it is not there yet");
            assert_eq!(sees(&[interface(2, "eth0", &[HOME])]), [2]);
            assert_eq!(sees(&[interface(2, "lan", &[LAN])]), [2], "renamed, and with another address");
            assert_eq!(sees(&[interface(3, "eth1", &[LAN])]), [], "it is gone");
            assert_eq!(sees(&[interface(5, "lan", &[LAN])]), [5], "it was made anew");
            let other = interface(6, "eth0", &[HOME]);
            assert_eq!(sees(&[interface(5, "lan", &[LAN]), other]), [6], "another one is what is named");
        }
    }

    #[test]
    fn the_first_interface_that_is_there_sends() {
        let chooser = chooser(&["eth0", "eth1"]);
        let (first, second) = (interface(2, "eth0", &[HOME]), interface(3, "eth1", &[LAN]));
        let sends = |interfaces: &[Interface]| {
            chooser.choose(interfaces.to_vec(), || None).outgoing().map_err(Missing::to_string)
        };
        assert_eq!(sends(&[first.clone(), second.clone()]), Ok(Some(HOME.into())));
        assert_eq!(sends(std::slice::from_ref(&second)), Ok(Some(LAN.into())));
        let unplugged = Interface { has_carrier: false, ..first.clone() };
        assert_eq!(sends(&[unplugged.clone(), second.clone()]), Ok(Some(LAN.into())));
        assert_eq!(sends(std::slice::from_ref(&unplugged)), Ok(Some(HOME.into())), "better than nothing");
        assert_eq!(sends(&[first, second]), Ok(Some(HOME.into())));
        let message = "this machine has no `eth0` or `eth1` that is up; it has lo (127.0.0.1)";
        assert_eq!(sends(&[interface(1, "lo", &[[127, 0, 0, 1]])]), Err(message.into()));
    }

    #[test]
    fn all_interfaces_are_joined_and_routes_send() {
        let config = Config { mode: Mode::Network, join_all_interfaces: true, ..Config::default() };
        let choice = Chooser::new(&config)
            .choose(vec![interface(2, "eth0", &[HOME]), interface(3, "eth1", &[LAN])], || Some(LAN.into()));
        assert_eq!((indices(&choice), choice.outgoing()), (vec![2, 3], Ok(None)));
        let by_route = chooser(&[]);
        let here = || vec![interface(3, "eth1", &[LAN])];
        assert_eq!(indices(&by_route.choose(here(), || Some(LAN.into()))), [3]);
        assert_eq!(indices(&by_route.choose(here(), || None)), [], "without a route there is no interface");
    }
}
