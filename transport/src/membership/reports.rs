//! What is logged of the interfaces that the settings choose: each trouble once, and its end.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use log::Level;

use super::interfaces::{Interface, describe};
use super::news::News;
use crate::selector::InterfaceSelector;

/// An interface that has just come up has no carrier yet.
const CARRIER_AFTER: Duration = Duration::from_secs(3);

/// What has been logged.
#[derive(Debug, Default)]
pub(super) struct Reports {
    missing: HashSet<InterfaceSelector>,
    /// By the index of their interface.
    without_carrier: BTreeMap<u32, Without>,
}

/// An interface without a carrier.
#[derive(Debug)]
struct Without {
    since: Instant,
    is_logged: bool,
}

impl Reports {
    /// Has it logged that a selector names no interface, or does again, if that is new.
    pub(super) fn missing(
        &mut self,
        selector: &InterfaceSelector,
        is_missing: bool,
        interfaces: &[Interface],
        news: &mut News,
    ) {
        if !is_missing {
            if self.missing.remove(selector) {
                news.add(Level::Info, format_args!("interfaces: `{selector}` is there now, and is used"));
            }
        } else if self.missing.insert(selector.clone()) {
            let available = describe(interfaces);
            let line = format!(
                "interfaces: this machine has no `{selector}` that is up; it has {available}. The other interfaces of \
                 this setting are used"
            );
            news.add(Level::Warn, line);
        }
    }

    /// Has it logged which of the interfaces that are in use have no carrier, and which have one again, if that is new. The system
    /// takes what is sent by them, and reports no error.
    pub(super) fn carriers<'a>(
        &mut self,
        now: Instant,
        group: Ipv4Addr,
        in_use: impl Iterator<Item = &'a Interface>,
        news: &mut News,
    ) {
        let mut before = std::mem::take(&mut self.without_carrier);
        for interface in in_use {
            let before = before.remove(&interface.index);
            if interface.has_carrier {
                if before.is_some_and(|before| before.is_logged) {
                    news.add(Level::Info, format_args!("interface {interface} has a carrier now"));
                }
                continue;
            }
            let mut without = before.unwrap_or(Without { since: now, is_logged: false });
            if !without.is_logged && now.saturating_duration_since(without.since) >= CARRIER_AFTER {
                without.is_logged = true;
                let line = format!(
                    "interface {interface} is up, but has no carrier: is its cable plugged in? Other hosts receive \
                     nothing that is sent by it to group {group}"
                );
                news.add(Level::Warn, line);
            }
            self.without_carrier.insert(interface.index, without);
        }
    }
}
