//! Takes settings from `ecal.yaml`, and finds what it says in vain.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use super::keys::{KEYS, OLD, OTHERS, names};
use super::near::nearest;
use super::origin::SettingOrigin;
use super::yaml::{Entry, Node};
use super::{Config, ConfigError, FilePosition, LogLevels, LogSink, kind};
use crate::Mode;

/// Something in a file that is ignored.
#[derive(Debug)]
pub(super) struct Warning {
    position: FilePosition,
    text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.text)
    }
}

/// Where the values of keys come from.
pub(super) type KeyOrigins = BTreeMap<&'static str, SettingOrigin>;

/// Sets what a file says. Returns what it says in vain.
pub(super) fn apply(
    path: &Path,
    root: &Node,
    config: &mut Config,
    origins: &mut KeyOrigins,
) -> Result<Vec<Warning>, ConfigError> {
    let file = File { path, root };
    if !matches!(root, Node::Null | Node::Mapping(_)) {
        let message = "the file is to hold keys with values".into();
        return Err(ConfigError::Syntax { position: file.position(1), message });
    }
    let mut warnings = Vec::new();
    file.check_names("", root, &mut warnings)?;
    for (section, sink) in [
        ("logging.provider.console", &mut config.logging.console),
        ("logging.provider.file", &mut config.logging.file),
        ("logging.provider.udp", &mut config.logging.udp),
    ] {
        // As in eCAL 6.1: what is missing in a section that is there is off.
        if root.find(section).is_some() {
            *sink = LogSink::new(false, LogLevels::NONE);
        }
    }
    for key in KEYS {
        let Some(entry) = root.find(key.name) else { continue };
        (key.read)(&entry.value, config).ok_or_else(|| file.refused(key.name, entry, key.expected))?;
        origins.insert(key.name, SettingOrigin::File(file.position(entry.line)));
    }
    for others in &OTHERS {
        for name in others.names {
            match root.find(name) {
                Some(entry) if !(others.is_allowed)(&entry.value) => {
                    return Err(file.refused(name, entry, others.expected));
                }
                _ => {}
            }
        }
    }
    file.warn_of_settings(config.mode, &mut warnings);
    Ok(warnings)
}

struct File<'a> {
    path: &'a Path,
    root: &'a Node,
}

impl File<'_> {
    fn position(&self, line: usize) -> FilePosition {
        FilePosition { path: self.path.into(), line }
    }

    fn refused(&self, key: &'static str, entry: &Entry, expected: &'static str) -> ConfigError {
        let position = Some(self.position(entry.line));
        ConfigError::Value { key, position, value: entry.value.to_string(), expected: expected.into() }
    }

    /// Finds keys that are not known or that are repeated. `parent` is empty or ends with a dot.
    fn check_names(&self, parent: &str, node: &Node, warnings: &mut Vec<Warning>) -> Result<(), ConfigError> {
        let Node::Mapping(entries) = node else {
            return Ok(());
        };
        // Keys and sections, each with its path.
        let siblings: BTreeMap<&str, &'static str> = names()
            .filter_map(|name| {
                let sibling = name.strip_prefix(parent)?.split('.').next()?;
                Some((sibling, &name[..parent.len() + sibling.len()]))
            })
            .collect();
        let mut lines = BTreeMap::new();
        for entry @ Entry { key, line, value } in entries {
            let mut warn = |text| warnings.push(Warning { position: self.position(*line), text });
            let Some(&path) = siblings.get(&**key) else {
                let hint = match nearest(&key.to_lowercase(), siblings.keys().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known are {}", siblings.keys().copied().collect::<Vec<_>>().join(", ")),
                };
                warn(format!("`{parent}{key}` is not a setting and is ignored; {hint}"));
                continue;
            };
            if let Some(first) = lines.insert(key, line) {
                warn(format!("`{path}` is ignored, because line {first} has it already"));
                lines.insert(key, first);
                continue;
            }
            let is_section = !names().any(|name| name == path);
            match value {
                Node::Null => {}
                Node::Mapping(_) if is_section => self.check_names(&format!("{path}."), value, warnings)?,
                _ if is_section => return Err(self.refused(path, entry, "a section of keys")),
                _ => {}
            }
        }
        Ok(())
    }

    /// Finds settings that are known but cannot be had.
    fn warn_of_settings(&self, mode: Mode, warnings: &mut Vec<Warning>) {
        let name = match mode {
            Mode::Local => "local",
            Mode::Network => "network",
        };
        if mode == Mode::Local && !ferrocal_shm::is_available() {
            let is_shm = |node: &Node| kind::text(node) == Some("shm");
            let why = "this system has no such memory: programs that register in it are not found";
            warnings.extend(self.ignored(&["registration.local.transport_type"], is_shm, why));
        }
        let why = format!("they are of a version before eCAL 6.0; `communication_mode` is {name}");
        warnings.extend(self.ignored(&OLD, |_| true, &why));
    }

    /// One warning for those of `keys` whose value is such that it does not apply.
    fn ignored(&self, keys: &[&str], applies_not: impl Fn(&Node) -> bool, why: &str) -> Option<Warning> {
        let found = keys.iter().filter_map(|&key| Some((key, self.root.find(key)?)));
        let found: Vec<_> = found.filter(|(_, entry)| applies_not(&entry.value)).collect();
        let line = found.iter().map(|(_, entry)| entry.line).min()?;
        let keys: BTreeSet<_> = found.iter().map(|(key, _)| format!("`{key}`")).collect();
        let keys = keys.into_iter().collect::<Vec<_>>().join(", ");
        Some(Warning { position: self.position(line), text: format!("{keys}: ignored, because {why}") })
    }
}

#[cfg(test)]
mod tests;
