//! Takes settings from `ecal.yaml`, and finds what it says in vain.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::keys::{KEYS, OLD, OTHERS, names};
use super::near::nearest;
use super::origin::SettingOrigin;
use super::yaml::{Entry, Node};
use super::{Config, ConfigError, FilePosition, LogLevels, LogSink, kind};
use crate::Mode;
use crate::shown::Shown;

/// Warnings of a file. The file says how many there could be.
const MAX_WARNINGS: usize = 32;

/// What a file says in vain.
#[derive(Default)]
struct Warnings {
    texts: Vec<String>,
    /// How many more there are.
    more: usize,
}

impl Warnings {
    fn add(&mut self, position: &FilePosition, text: impl FnOnce() -> String) {
        if self.texts.len() < MAX_WARNINGS {
            self.texts.push(format!("{position}: {}", text()));
        } else {
            self.more += 1;
        }
    }

    fn into_texts(mut self, path: &Path) -> Vec<String> {
        if self.more > 0 {
            self.texts.push(format!("{}: and {} more warnings", path.display(), self.more));
        }
        self.texts
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
) -> Result<Vec<String>, ConfigError> {
    let file = File { path, root };
    if !matches!(root, Node::Null | Node::Mapping(_)) {
        let message = "the file is to hold keys with values".into();
        return Err(ConfigError::Syntax { position: file.position(1), message });
    }
    let mut warnings = Warnings::default();
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
    Ok(warnings.into_texts(path))
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
    fn check_names(&self, parent: &str, node: &Node, warnings: &mut Warnings) -> Result<(), ConfigError> {
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
            let position = self.position(*line);
            let Some(&path) = siblings.get(&**key) else {
                warnings.add(&position, || {
                    let hint = match nearest(&key.to_lowercase(), siblings.keys().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => {
                            format!("known are {}", siblings.keys().copied().collect::<Vec<_>>().join(", "))
                        }
                    };
                    let key = Shown(key.as_bytes());
                    format!("`{parent}{key}` is not a setting and is ignored; {hint}")
                });
                continue;
            };
            if let Some(first) = lines.insert(key, line) {
                warnings
                    .add(&position, || format!("`{path}` is ignored, because line {first} has it already"));
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
    fn warn_of_settings(&self, mode: Mode, warnings: &mut Warnings) {
        let name = match mode {
            Mode::Local => "local",
            Mode::Network => "network",
        };
        if mode == Mode::Local && !ferrocal_shm::is_available() {
            let is_shm = |node: &Node| kind::text(node) == Some("shm");
            let why = "this system has no such memory: programs that register in it are not found";
            self.warn_of_ignored(&["registration.local.transport_type"], is_shm, why, warnings);
        }
        let why = format!("they are of a version before eCAL 6.0; `communication_mode` is {name}");
        self.warn_of_ignored(&OLD, |_| true, &why, warnings);
    }

    /// One warning for those of `keys` whose value is such that it does not apply.
    fn warn_of_ignored(
        &self,
        keys: &[&str],
        applies_not: impl Fn(&Node) -> bool,
        why: &str,
        warnings: &mut Warnings,
    ) {
        let found = keys.iter().filter_map(|&key| Some((key, self.root.find(key)?)));
        let found: Vec<_> = found.filter(|(_, entry)| applies_not(&entry.value)).collect();
        let Some(line) = found.iter().map(|(_, entry)| entry.line).min() else { return };
        let keys: BTreeSet<_> = found.iter().map(|(key, _)| format!("`{key}`")).collect();
        let keys = keys.into_iter().collect::<Vec<_>>().join(", ");
        warnings.add(&self.position(line), || format!("{keys}: ignored, because {why}"));
    }
}

#[cfg(test)]
mod tests;
