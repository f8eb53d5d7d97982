//! Sends messages and receives them, by each backend and interface.

use std::time::Duration;

use ferrocal::raw::{Detection, detect};
use ferrocal::{Config, Mode, Node, RecvTimeoutError, Selection};

use super::facts::{Interface, Outcome, Route, SelfTest, Settings};
use crate::session::{End, Session};

/// How long to wait for something that comes at once if it comes.
const PATIENCE: Duration = Duration::from_secs(3);
/// The lengths of the messages: one that fits into a packet, and one that needs many.
const LENS: [usize; 2] = [20, 200_000];

/// Runs all tests that the mode has.
pub(super) fn run(
    session: &Session,
    config: &Config,
    interfaces: &[Interface],
    route: &Route,
) -> Vec<SelfTest> {
    let settings = Settings::new(config);
    let mut backends = vec![(Selection::Socket, "sockets")];
    if matches!(detect(), Detection::Present(_)) {
        backends.push((Selection::Npcap, "raw frames"));
    }
    let mut tests = Vec::new();
    for (selection, backend) in backends {
        let mut config = config.clone();
        config.transport = selection;
        if config.mode == Mode::Local {
            tests.push(test(session, format!("{backend}, local mode"), true, &config));
            continue;
        }
        if settings.interfaces.is_empty() && route.source.is_ok() {
            tests.push(test(session, format!("{backend}, by the system's routes"), true, &config));
        }
        let is_chosen = |one: &&Interface| {
            settings.interfaces.is_empty()
                || settings.interfaces.iter().any(|selector| one.is_named(selector))
        };
        for one in interfaces.iter().filter(|one| one.is_usable() && !one.is_loopback).filter(is_chosen) {
            let Some(&(address, _)) = one.addresses.first() else { continue };
            config.udp.interfaces = vec![address.into()];
            let is_routed = match &route.entry {
                Ok(Some((Some(name), ..))) => *name == one.name,
                _ => route.source.map_or(true, |source| source == address),
            };
            let is_in_use = is_routed || !settings.interfaces.is_empty();
            tests.push(test(session, format!("{backend}, {}", one.name), is_in_use, &config));
        }
    }
    tests
}

fn test(session: &Session, subject: String, is_in_use: bool, config: &Config) -> SelfTest {
    if session.end() == Some(End::Stopped) {
        return SelfTest { subject, is_in_use, outcome: Outcome::NotRun("It was interrupted.".to_owned()) };
    }
    let outcome = match exchange(session, config) {
        Ok(()) => Outcome::Passed,
        Err(what) => Outcome::Failed(what),
    };
    SelfTest { subject, is_in_use, outcome }
}

fn exchange(session: &Session, config: &Config) -> Result<(), String> {
    let open = || session.open("doctor", config.clone()).map_err(|error| format!("{error:#}"));
    let (sending, receiving): (Node, Node) = (open()?, open()?);
    let topic = format!("ferrocal_doctor/{}", std::process::id());
    let subscriber = receiving.subscriber::<[u8]>(&topic).map_err(|error| error.to_string())?;
    let publisher = sending.publisher::<[u8]>(&topic).map_err(|error| error.to_string())?;
    if !publisher.wait_for_subscriber(PATIENCE) {
        return Err("a publisher does not see a subscriber of its topic".to_owned());
    }
    for len in LENS {
        let message: Vec<u8> = (0..len).map(|number| (number % 251) as u8).collect();
        publisher.send(&message).map_err(|error| format!("a message of {len} bytes is not sent: {error}"))?;
        match subscriber.recv_timeout(PATIENCE) {
            Ok(received) if *received.payload == message[..] => {}
            Ok(_) => return Err(format!("a message of {len} bytes arrives damaged")),
            Err(RecvTimeoutError::Timeout) => {
                let unsent =
                    if publisher.stats().not_sent > 0 { "; the system refused to send it" } else { "" };
                return Err(format!("a message of {len} bytes does not arrive{unsent}"));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}
