//! `list`: publishers and subscribers.

use std::collections::HashSet;
use std::io::IsTerminal;

use ferrocal::Snapshot;

use crate::exit::Exit;
use crate::network::Network;
use crate::row::{PUBLISHER, Row, SUBSCRIBER};
use crate::session::{End, Session};

/// List publishers and subscribers.
///
/// Watches for two refreshes of the registrations, or for --duration, and prints what it sees meanwhile. Of a capture file, all
/// that registers in it, with the figures that it registered last.
///
/// Keys of --json, an object for each publisher and subscriber: kind (publisher or subscriber), topic, type, encoding, host,
/// process (the path of its executable), pid, unit, id (a decimal number, as text), layers (udp, shm, tcp: those that it registered as enabled; publishers of eCAL register
/// those that they use), hz, bytes (of the
/// latest message), clock (messages sent or received), drops, connections_local, connections_external.
#[derive(clap::Args)]
pub(crate) struct List {
    /// Show the types of the topics.
    #[arg(short = 't', long)]
    types: bool,
    /// Only publishers.
    #[arg(long, conflicts_with = "subs")]
    pubs: bool,
    /// Only subscribers.
    #[arg(long)]
    subs: bool,
    /// Only topics of which this regular expression matches a part of the name.
    pattern: Option<regex::Regex>,
    /// Print the list again at each refresh; --count says how often.
    #[arg(long)]
    watch: bool,
}

/// When the first rows are printed, in refreshes: each process has registered by then, unless it was delayed.
const FIRST: f64 = 1.25;
/// When the last rows are printed.
const LAST: f64 = 2.0;

impl List {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let network = Network::open(session, "list")?;
        if self.watch && !network.is_capture() {
            return self.watch(session, &network);
        }
        let mut printed = HashSet::new();
        let mut table = Row::table(self.types);
        let last = network.after(LAST);
        let first = last.min(network.refresh.mul_f64(FIRST));
        let mut print = |snapshot: &Snapshot| -> std::io::Result<()> {
            let out = &mut session.out();
            let new: Vec<_> =
                self.rows(snapshot).into_iter().filter(|row| printed.insert(row.key())).collect();
            if !new.is_empty() {
                self.print(&new, &mut table, session.common.json, out)?;
                out.flush()?;
            }
            Ok(())
        };
        let (snapshot, mut end) = network.until(first, |_| false);
        print(&snapshot)?;
        let mut result = Ok(());
        if end.is_none() {
            (_, end) = network.until(last, |snapshot| {
                result = print(snapshot);
                result.is_err()
            });
            result?;
        }
        let is_empty = printed.is_empty();
        match end {
            _ if !is_empty => Ok(Exit::Fine),
            Some(End::Stopped) => Ok(Exit::Interrupted),
            _ => Err(self.nothing(&network)),
        }
    }

    /// Prints the list at each refresh.
    fn watch(&self, session: &Session, network: &Network<'_>) -> anyhow::Result<Exit> {
        let is_screen = !session.common.json && std::io::stdout().is_terminal();
        let mut is_found = false;
        let mut end = session.wait(network.refresh.mul_f64(FIRST));
        for number in 1.. {
            let rows = self.rows(&network.snapshot());
            is_found |= !rows.is_empty();
            {
                let out = &mut session.out();
                if is_screen {
                    // To the upper left, and nothing there.
                    out.bytes(b"\x1b[H\x1b[2J")?;
                } else if number > 1 && !session.common.json {
                    out.line("")?;
                }
                self.print(&rows, &mut Row::table(self.types), session.common.json, out)?;
                out.flush()?;
            }
            if end.is_some() || session.common.count.is_some_and(|count| number >= count) {
                break;
            }
            end = session.wait(network.refresh);
        }
        match end {
            _ if is_found => Ok(Exit::Fine),
            Some(End::Stopped) => Ok(Exit::Interrupted),
            _ => Err(self.nothing(network)),
        }
    }

    fn nothing(&self, network: &Network<'_>) -> anyhow::Error {
        let what = match (self.pubs, self.subs) {
            (true, _) => "publisher",
            (_, true) => "subscriber",
            _ => "publisher or subscriber",
        };
        let which = self.pattern.as_ref().map(|pattern| format!(" of a topic like `{pattern}`"));
        let which = which.unwrap_or_default();
        Exit::NotFound.because(format!("no {what}{which} was found {}", network.place()))
    }

    fn rows(&self, snapshot: &Snapshot) -> Vec<Row> {
        let mut rows = Row::all(snapshot);
        rows.retain(|row| {
            !(self.subs && row.kind == PUBLISHER || self.pubs && row.kind == SUBSCRIBER)
                && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(&row.topic))
        });
        rows
    }

    fn print(
        &self,
        rows: &[Row],
        table: &mut crate::table::Table,
        is_json: bool,
        out: &mut crate::output::Output,
    ) -> std::io::Result<()> {
        if is_json {
            return rows.iter().try_for_each(|row| out.json(row));
        }
        rows.iter().for_each(|row| table.row(row.cells(self.types)));
        table.print(out)
    }
}
