//! Paths to fields: `a.b[2].c`.

use std::fmt;
use std::str::FromStr;

/// A path to a field, with one step at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(pub(crate) Vec<Step>);

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// To the field or the map's entry of this name.
    Name(String),
    /// To the element of a list, from 0, or the map's entry of this number.
    Index(usize),
}

impl Step {
    /// The bytes that it takes.
    pub(crate) fn memory(&self) -> usize {
        let text = match self {
            Self::Name(name) => name.len(),
            Self::Index(_) => 0,
        };
        size_of::<Self>() + text
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Index(index) => index.fmt(f),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Name(name) if name.chars().all(is_name) && !name.is_empty() => {
                    write!(f, "{}{name}", if number > 0 { "." } else { "" })?;
                }
                Step::Name(name) => write!(f, "[{name:?}]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

pub(crate) fn is_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Self::parse(text)? {
            (path, "") => Ok(path),
            (_, rest) => Err(format!("unexpected `{rest}`; a path is like a.b[2] or map[\"key\"]")),
        }
    }
}

impl Path {
    /// Reads a path from the beginning of a text. Returns the rest, too.
    pub(crate) fn parse(text: &str) -> Result<(Self, &str), String> {
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            if let Some(bracket) = rest.strip_prefix('[') {
                let end = bracket.find(']').ok_or("`[` without `]`")?;
                let (inside, behind) = (&bracket[..end], &bracket[end + 1..]);
                let key = inside.strip_prefix('"').and_then(|inside| inside.strip_suffix('"'));
                steps.push(match (key, inside.parse()) {
                    (Some(key), _) => Step::Name(key.to_owned()),
                    (None, Ok(index)) => Step::Index(index),
                    (None, Err(_)) if !inside.is_empty() => Step::Name(inside.to_owned()),
                    (None, Err(_)) => return Err("nothing is between `[` and `]`".to_owned()),
                });
                rest = behind;
                continue;
            }
            if !steps.is_empty() {
                let Some(behind) = rest.strip_prefix('.') else { break };
                rest = behind;
            }
            let end = rest.find(|char| !is_name(char)).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("the name of a field is missing at `{rest}`"));
            }
            steps.push(Step::Name(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        Ok((Self(steps), rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_and_written() {
        for text in ["a", "a.b", "a[2]", "a.b[2].c_1[0][3]", "a[\"key of a map\"].b", "[0].a"] {
            assert_eq!(text.parse::<Path>().unwrap().to_string(), text);
        }
        assert_eq!("a[key]".parse::<Path>(), "a.key".parse());
        for bad in ["", ".", "a.", "a..b", "a[", "a[]", "a b", "a[1]b", "-a"] {
            assert!(bad.parse::<Path>().is_err(), "{bad}");
        }
    }
}
