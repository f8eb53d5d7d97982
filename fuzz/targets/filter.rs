//! Conditions on messages, paths to fields and patterns of topics, as the command takes them: any text is taken, and what
//! is accepted can be applied to any message.

#![no_main]

#[allow(dead_code)]
#[path = "../../cli/src/filter.rs"]
mod filter;
#[allow(dead_code)]
#[path = "../../cli/src/path.rs"]
mod path;
#[allow(dead_code)]
#[path = "../../cli/src/recording/pattern.rs"]
mod pattern;

use ferrocal_fuzz::{Input, with_peak};
use filter::Filter;
use libfuzzer_sys::fuzz_target;
use path::{Path, Step};
use pattern::Patterns;
use serde_json::{Value, json};

/// A regular expression has 10 MB at most, and there are as many as fit into the text.
const MAX_BYTES: usize = 128 * 1024 * 1024;

fn get(message: &Value, path: &Path) -> Option<Value> {
    let mut value = message;
    for step in &path.0 {
        value = match step {
            Step::Name(name) => value.get(name)?,
            Step::Index(index) => value.get(index)?,
        };
    }
    Some(value.clone())
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let text = String::from_utf8_lossy(&input.text()).into_owned();
    let message = serde_json::from_slice(input.0).unwrap_or_else(
        |_| json!({ "n": 5, "x": -0.5, "name": "Ada", "on": true, "list": [1, [2]], "inner": { "n": u64::MAX } }),
    );
    let (_, peak) = with_peak(|| {
        if let Ok(filter) = text.parse::<Filter>() {
            let accepts = |filter: &Filter| filter.accepts(&|path| get(&message, path));
            let accepted = accepts(&filter);
            assert_eq!(accepts(&Filter::Not(Box::new(filter))), !accepted);
        }
        if let Ok(path) = text.parse::<Path>() {
            let _ = path.to_string().parse::<Path>();
        }
        if let Ok(pattern) = text.parse::<regex::Regex>() {
            let topic = String::from_utf8_lossy(input.0);
            let patterns = [pattern];
            let with = |names: &[&str], include: &[_], exclude: &[_]| {
                let names = names.iter().map(|&name| name.to_owned()).collect();
                Patterns { names, include: include.to_vec(), exclude: exclude.to_vec() }.matches(&topic)
            };
            let is_match = with(&[], &patterns, &[]);
            assert_eq!(with(&[], &[], &patterns), !is_match);
            assert_eq!(with(&[&topic], &[], &patterns), !is_match);
            assert!(with(&[&topic], &patterns, &[]));
        }
    });
    assert!(peak <= MAX_BYTES, "{peak} bytes for {}", data.len());
});
