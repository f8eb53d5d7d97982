//! The kinds of transport, listed once.

use std::fmt;

/// The kinds of [`Transport`](crate::Transport).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// UDP sockets of the operating system: multicast in network mode, broadcast on loopback in local mode.
    Socket,
    /// Raw frames through Npcap or libpcap. Cargo feature `raw`.
    Npcap,
    /// Replay of a capture file. Cargo feature `replay`.
    File,
    /// An in-memory network with seeded loss, reordering and duplication, for tests.
    Memory,
}

/// What belongs to a [`Backend`].
pub(crate) struct Row {
    pub(crate) backend: Backend,
    pub(crate) name: &'static str,
    /// How a [`Selection`](crate::Selection) is written. `None` if it cannot be selected by text.
    pub(crate) selection: Option<&'static str>,
    /// The cargo feature that this program lacks for it.
    pub(crate) missing_feature: Option<&'static str>,
}

const TABLE: [Row; 4] = [
    Row { backend: Backend::Socket, name: "socket", selection: Some("socket"), missing_feature: None },
    Row {
        backend: Backend::Npcap,
        name: "npcap",
        selection: Some("npcap"),
        missing_feature: if cfg!(feature = "raw") { None } else { Some("raw") },
    },
    Row {
        backend: Backend::File,
        name: "file",
        selection: Some("file:PATH"),
        missing_feature: if cfg!(feature = "replay") { None } else { Some("replay") },
    },
    Row { backend: Backend::Memory, name: "memory", selection: None, missing_feature: None },
];

impl Backend {
    pub(crate) fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.backend == self).expect("every backend has a row")
    }

    /// The row that a text selects, which is the name, or the name with a path behind a colon.
    pub(crate) fn selected_by(text: &str) -> Option<(&'static Row, Option<&str>)> {
        let (name, path) = text
            .split_once(':')
            .map_or((text, None), |(name, path)| (name, Some(path).filter(|p| !p.is_empty())));
        let row = TABLE.iter().find(|row| row.name == name)?;
        let takes_path = row.selection?.contains(':');
        (takes_path == path.is_some() && takes_path == text.contains(':')).then_some((row, path))
    }

    /// Every way to write a selection of a backend, for messages.
    pub(crate) fn selections() -> String {
        TABLE.iter().filter_map(|row| row.selection).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_has_a_row() {
        for backend in [Backend::Socket, Backend::Npcap, Backend::File, Backend::Memory] {
            assert_eq!(backend.row().backend, backend);
        }
    }
}
