//! Where the value of each setting comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::KeyOrigins;
use super::keys::{KEYS, Key};
use super::{Config, FilePosition};

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingOrigin {
    /// Nothing sets it: it is eCAL's default, or ours where eCAL has no such setting.
    Default,
    /// A line of `ecal.yaml`.
    File(FilePosition),
    /// The environment variable of this name.
    Environment(&'static str),
    /// The program, after it loaded the rest.
    Code,
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingOrigin::Default => f.write_str("default"),
            SettingOrigin::File(position) => position.fmt(f),
            SettingOrigin::Environment(variable) => f.write_str(variable),
            SettingOrigin::Code => f.write_str("code"),
        }
    }
}

/// A setting that has a key in `ecal.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// Its key, with those of its sections: `transport_layer.udp.port`.
    pub key: &'static str,
    /// Its value, as it is written in `ecal.yaml`; `none` where it has none.
    pub value: String,
    /// What is allowed, in words.
    pub allowed: &'static str,
    /// Where the value comes from.
    pub origin: SettingOrigin,
}

/// What was loaded, to tell it from what the program sets afterwards.
#[derive(Debug, Clone, Default)]
pub(super) struct Loaded(Option<Arc<Sources>>);

#[derive(Debug)]
struct Sources {
    config: Config,
    origins: KeyOrigins,
    file: Option<PathBuf>,
}

/// Two sets of the same values are equal, wherever they come from.
impl PartialEq for Loaded {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Loaded {}

impl Loaded {
    pub(super) fn new(config: Config, origins: KeyOrigins, file: Option<PathBuf>) -> Self {
        Self(Some(Arc::new(Sources { config, origins, file })))
    }
}

impl Config {
    /// Every setting that has a key in `ecal.yaml`, in a fixed order: its value, and where that comes from.
    ///
    /// ```
    /// for setting in ferrocal::Config::default().settings() {
    ///     println!("{}: {} ({})", setting.key, setting.value, setting.origin);
    /// }
    /// ```
    pub fn settings(&self) -> impl Iterator<Item = Setting> {
        KEYS.iter().map(|key| Setting {
            key: key.name,
            value: (key.show)(self),
            allowed: key.expected,
            origin: self.origin_of(key),
        })
    }

    /// Where the value of a setting comes from. `key` is its name in `ecal.yaml`, with those of its sections, such as
    /// `transport_layer.udp.port`. `None` if there is no such setting.
    ///
    /// A value that the program sets counts as loaded if it is the same.
    pub fn origin(&self, key: &str) -> Option<SettingOrigin> {
        KEYS.iter().find(|known| known.name == key).map(|key| self.origin_of(key))
    }

    /// The `ecal.yaml` that was loaded, as an absolute path. `None` if there was none, or if the settings are not from
    /// [`Config::load`].
    pub fn file(&self) -> Option<&Path> {
        self.loaded.0.as_ref()?.file.as_deref()
    }

    /// The defaults, as if a file had named none else.
    #[cfg(test)]
    pub(crate) fn loaded_from(path: &str) -> Self {
        let loaded = Loaded::new(Self::default(), KeyOrigins::new(), Some(path.into()));
        Self { loaded, ..Self::default() }
    }

    fn origin_of(&self, key: &Key) -> SettingOrigin {
        let (value, origin) = match &self.loaded.0 {
            Some(sources) => ((key.show)(&sources.config), sources.origins.get(key.name)),
            None => ((key.show)(&Config::default()), None),
        };
        if (key.show)(self) == value {
            origin.cloned().unwrap_or(SettingOrigin::Default)
        } else {
            SettingOrigin::Code
        }
    }
}
