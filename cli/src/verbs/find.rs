//! `find`: the topics of a type.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::exit::Exit;
use crate::network::Network;
use crate::output::clean;
use crate::row::{PUBLISHER, Row};
use crate::session::{End, Session};
use crate::table::{Align, Table};

/// Find the topics of a type.
///
/// Keys of --json, an object for each topic and type: topic, type, encoding, publishers, subscribers (how many).
#[derive(clap::Args)]
pub(crate) struct Find {
    /// The type's name: with its package, or the end of that (Point or demo.Point).
    #[arg(value_name = "TYPE")]
    type_name: String,
}

/// A topic of a type, as `find --json` prints it.
#[derive(Serialize)]
struct Found {
    topic: String,
    #[serde(rename = "type")]
    type_name: String,
    encoding: String,
    publishers: usize,
    subscribers: usize,
}

impl Find {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let network = Network::open(session, "find")?;
        let (snapshot, end) = network.until(network.after(2.0), |_| false);
        let mut found = BTreeMap::new();
        for row in Row::all(&snapshot).into_iter().filter(|row| self.is_meant(&row.type_name)) {
            let key = (row.topic.clone(), row.type_name.clone(), row.encoding.clone());
            let found = found.entry(key).or_insert_with(|| Found {
                topic: row.topic,
                type_name: row.type_name,
                encoding: row.encoding,
                publishers: 0,
                subscribers: 0,
            });
            if row.kind == PUBLISHER {
                found.publishers += 1;
            } else {
                found.subscribers += 1;
            }
        }
        if found.is_empty() {
            return match end {
                Some(End::Stopped) => Ok(Exit::Interrupted),
                _ => Err(Exit::NotFound.because(format!(
                    "no topic of type `{}` was found {}",
                    clean(&self.type_name),
                    network.place()
                ))),
            };
        }
        let out = &mut session.out();
        if session.common.json {
            found.values().try_for_each(|found| out.json(found))?;
            return Ok(Exit::Fine);
        }
        let mut table = Table::new([
            ("topic", Align::Left),
            ("type", Align::Left),
            ("encoding", Align::Left),
            ("pubs", Align::Right),
            ("subs", Align::Right),
        ]);
        for found in found.values() {
            table.row([
                found.topic.as_str().into(),
                found.type_name.as_str().into(),
                found.encoding.as_str().into(),
                found.publishers.to_string().into(),
                found.subscribers.to_string().into(),
            ]);
        }
        table.print(out)?;
        Ok(Exit::Fine)
    }

    fn is_meant(&self, name: &str) -> bool {
        let is_end = |before: &str| before.is_empty() || before.ends_with(['.', ':', '/']);
        !self.type_name.is_empty() && name.strip_suffix(&*self.type_name).is_some_and(is_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_named_by_its_end() {
        let find = |name: &str| Find { type_name: name.into() };
        assert!(find("demo.Point").is_meant("demo.Point"));
        assert!(find("Point").is_meant("demo.Point"));
        assert!(find("string").is_meant("std::string"));
        assert!(!find("oint").is_meant("demo.Point"));
        assert!(!find("").is_meant("demo."));
    }
}
