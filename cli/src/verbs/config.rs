//! `config`: the settings in force.

use ferrocal::SettingOrigin;
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{clean, tell};
use crate::session::Session;
use crate::table::{Align, Table};

/// Show the settings in force, and where each value comes from.
///
/// The file of the settings is named on standard error. If a node refuses the settings, the error
/// comes behind them.
///
/// Keys of --json, an object for each setting: key (as in ecal.yaml), value (as it is written there), remark (what applies beside
/// the value, or null), origin (default, file, environment or command-line), file, line, variable (null where they do not apply),
/// allowed (in words).
#[derive(clap::Args)]
pub(crate) struct Config {
    /// Only settings whose key contains this text.
    key: Option<String>,
    /// Only settings that differ from the default, or are set to it somewhere.
    #[arg(long)]
    set: bool,
}

/// A setting, as `config --json` prints it.
#[derive(Serialize)]
struct Row<'a> {
    key: &'a str,
    value: &'a str,
    remark: Option<&'a str>,
    origin: &'static str,
    file: Option<String>,
    line: Option<usize>,
    variable: Option<&'static str>,
    allowed: &'a str,
}

impl Config {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let config = session.config()?;
        match config.file() {
            Some(file) => tell!("settings of {}", clean(&file.to_string_lossy())),
            None => tell!("there is no ecal.yaml; defaults apply"),
        }
        let is_shown = |setting: &ferrocal::Setting| {
            self.key.as_ref().is_none_or(|key| setting.key.contains(&**key))
                && !(self.set && setting.origin == SettingOrigin::Default)
        };
        let settings: Vec<_> = config.settings().filter(is_shown).collect();
        if let Some(key) = self.key.as_ref().filter(|_| settings.is_empty() && !self.set) {
            return Err(Exit::NotFound.because(format!("no setting has `{}` in its key", clean(key))));
        }
        let out = &mut session.out();
        let mut table = Table::new([("key", Align::Left), ("value", Align::Left), ("origin", Align::Left)]);
        for setting in &settings {
            let (origin, file, line, variable, text) = match &setting.origin {
                SettingOrigin::File(position) => {
                    let file = position.path.to_string_lossy().into_owned();
                    ("file", Some(file), Some(position.line), None, position.to_string())
                }
                SettingOrigin::Environment(variable) => {
                    ("environment", None, None, Some(*variable), (*variable).to_owned())
                }
                SettingOrigin::Code => ("command-line", None, None, None, "command line".to_owned()),
                _ => ("default", None, None, None, "default".to_owned()),
            };
            if session.common.json {
                let (key, allowed) = (setting.key, setting.allowed);
                let (value, remark) = parts(&setting.value);
                out.json(&Row { key, value, remark, origin, file, line, variable, allowed })?;
            } else {
                table.row([setting.key.into(), setting.value.as_str().into(), text.into()]);
            }
        }
        if !session.common.json {
            table.print(out)?;
        }
        out.flush()?;
        config.check()?;
        Ok(Exit::Fine)
    }
}

/// A value, and what is remarked of it for people, as of the mask of the groups: it has another default with the first hash.
fn parts(value: &str) -> (&str, Option<&str>) {
    match value.find(", with ") {
        Some(len) => (&value[..len], Some(&value[len + 2..])),
        None => (value, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_no_part_of_a_value() {
        let config = ferrocal::Config::default();
        let mask = config.settings().find(|setting| setting.key == "transport_layer.udp.mask").unwrap();
        assert_eq!(parts(&mask.value), ("255.255.255.240", Some("with v1 0.0.0.15")));
        let mut others = config.settings().filter(|setting| setting.key != mask.key);
        assert!(others.all(|setting| parts(&setting.value).1.is_none()));
    }
}
