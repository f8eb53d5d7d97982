//! What every backend has to do: one suite, generic over [`Transport`].

mod errors;
mod exchange;
mod listener;
mod membership;
mod nodes;
mod waiting;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use ferrocal_transport::{Mode, Sender, Transmit, Transport};

use crate::pair::Pair;
use crate::suite::{Need, Test};
use listener::Listener;

/// A backend in one of its settings.
#[derive(Clone, Copy)]
pub struct Subject {
    /// What the names of its tests start with.
    pub name: &'static str,
    /// What it needs.
    pub needs: &'static [Need],
    /// Its mode, which decides whether there are groups.
    pub mode: Mode,
    /// Whether its ports are the system's, so that another program can hold one.
    pub has_system_ports: bool,
    /// Makes two transports.
    pub make: fn(Mode) -> Pair,
    /// Makes a transport that is to use this interface, for backends that know interfaces.
    pub on_interface: Option<fn(Ipv4Addr) -> Arc<dyn Transport>>,
}

type Case = (&'static str, fn(&Stage));

const ALWAYS: &[Case] = &[
    ("datagrams_of_every_length_arrive", exchange::datagrams_of_every_length_arrive),
    ("a_batch_longer_than_the_systems_arrives_in_order", exchange::a_long_batch_arrives_in_order),
    ("what_is_kept_stays", exchange::what_is_kept_stays),
    ("the_datagrams_of_each_sender_stay_in_order", exchange::each_sender_stays_in_order),
    ("a_datagram_comes_with_its_source_and_time", exchange::a_datagram_comes_with_its_source_and_time),
    ("only_what_was_sent_to_the_port_is_received", exchange::only_the_port_is_received),
    ("two_receivers_of_a_port_both_get_each_datagram", exchange::two_receivers_both_get_each_datagram),
    ("a_closed_receiver_leaves_the_others_alone", exchange::a_closed_receiver_leaves_the_others_alone),
    ("a_timeout_returns", waiting::a_timeout_returns),
    ("a_wait_ends_on_an_interrupt", waiting::a_wait_ends_on_an_interrupt),
    ("an_interrupted_receiver_passes_nothing_on", waiting::an_interrupted_receiver_passes_nothing_on),
    ("what_was_granted_is_reported", exchange::what_was_granted_is_reported),
    ("too_long_a_datagram_is_an_error", errors::too_long_a_datagram_is_an_error),
    ("garbage_then_a_valid_message_arrives", nodes::garbage_then_a_valid_message_arrives),
    ("a_new_subscriber_gets_the_first_message", nodes::a_new_subscriber_gets_the_first_message),
];
const WITHOUT_GROUPS: &[Case] = &[("joining_and_leaving_do_nothing", membership::joining_does_nothing)];
const WITH_GROUPS: &[Case] = &[
    ("groups_are_joined_and_left", membership::groups_are_joined_and_left),
    ("a_group_that_another_receiver_joined_is_not_received", membership::groups_are_of_one_receiver),
    ("membership_errors_have_types", membership::errors_have_types),
    ("groups_change_while_it_receives", waiting::groups_change_while_receiving),
    ("an_interface_that_is_made_anew_is_followed", membership::a_new_interface_is_followed),
];
const WITH_INTERFACES: &[Case] =
    &[("an_unknown_interface_is_no_error_of_opening", errors::an_unknown_interface_is_no_error_of_opening)];
const WITH_SYSTEM_PORTS: &[Case] =
    &[("a_port_that_is_not_shared_is_an_error", errors::a_port_that_is_not_shared_is_an_error)];

/// The tests of a backend.
pub fn suite(subject: Subject) -> Vec<Test> {
    let groups = if subject.mode == Mode::Local { WITHOUT_GROUPS } else { WITH_GROUPS };
    let mut cases = [ALWAYS, groups].concat();
    if subject.on_interface.is_some() {
        cases.extend(WITH_INTERFACES);
    }
    if subject.has_system_ports {
        cases.extend(WITH_SYSTEM_PORTS);
    }
    let test = |(name, case): Case| {
        Test::new(format!("{}::{name}", subject.name), subject.needs, move || case(&Stage::new(subject)))
    };
    cases.into_iter().map(test).collect()
}

/// Where a case plays: two transports and a sender.
struct Stage {
    subject: Subject,
    sender: Arc<dyn Sender>,
    pair: Pair,
}

/// A port that nobody has.
const PORT: u16 = 24_000;
/// Another one.
const OTHER_PORT: u16 = 24_001;

impl Stage {
    fn new(subject: Subject) -> Self {
        let pair = (subject.make)(subject.mode);
        let sender = pair.sender.sender().expect("a sender opens");
        Self { subject, sender, pair }
    }

    /// Opens a receiver that has joined the target.
    #[track_caller]
    fn listen(&self) -> Listener {
        let listener = self.open();
        listener.receiver.membership().join(self.pair.target()).expect("a group can be joined");
        listener
    }

    /// Opens a receiver that has joined nothing.
    #[track_caller]
    fn open(&self) -> Listener {
        Listener::new(self.pair.receiver.receiver(PORT).expect("a receiver opens"))
    }

    /// Sends datagrams to the target.
    #[track_caller]
    fn send(&self, port: u16, datagrams: &[&[u8]]) {
        self.send_to(self.pair.target(), port, datagrams);
    }

    #[track_caller]
    fn send_to(&self, address: Ipv4Addr, port: u16, datagrams: &[&[u8]]) {
        send(&*self.sender, address, port, datagrams);
    }
}

#[track_caller]
fn send(sender: &dyn Sender, address: Ipv4Addr, port: u16, datagrams: &[&[u8]]) {
    let destination = SocketAddrV4::new(address, port);
    let batch: Vec<_> =
        datagrams.iter().map(|datagram| Transmit { destination, parts: [datagram, &[], &[]] }).collect();
    sender.send(&batch).expect("datagrams are sent");
}
