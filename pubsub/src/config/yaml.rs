//! A YAML document with the lines of its keys.

use std::path::Path;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use super::{ConfigError, FilePosition};

/// A value of a document.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    Null,
    /// A scalar as text, however it was quoted.
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key of a mapping, and its value.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The line of the key, from 1.
    pub(super) line: usize,
    pub(super) value: Node,
}

impl Node {
    /// Reads the first document of a file.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let documents = MarkedYaml::load_from_str(text).map_err(|error| ConfigError::Syntax {
            position: FilePosition { path: path.into(), line: error.marker().line() },
            message: error.info().to_owned(),
        })?;
        Ok(documents.first().map_or(Node::Null, Node::from_yaml))
    }

    fn from_yaml(yaml: &MarkedYaml<'_>) -> Self {
        match &yaml.data {
            YamlData::Value(Scalar::Null) | YamlData::BadValue | YamlData::Alias(_) => Node::Null,
            YamlData::Value(Scalar::Boolean(flag)) => Node::Text(flag.to_string()),
            YamlData::Value(Scalar::Integer(number)) => Node::Text(number.to_string()),
            YamlData::Value(Scalar::FloatingPoint(number)) => Node::Text(number.to_string()),
            YamlData::Value(Scalar::String(text)) | YamlData::Representation(text, ..) => {
                Node::Text(text.to_string())
            }
            YamlData::Sequence(items) => Node::List(items.iter().map(Node::from_yaml).collect()),
            YamlData::Mapping(entries) => Node::Mapping(
                entries
                    .iter()
                    .map(|(key, value)| Entry {
                        key: Node::from_yaml(key).to_string(),
                        line: key.span.start.line(),
                        value: Node::from_yaml(value),
                    })
                    .collect(),
            ),
            YamlData::Tagged(_, value) => Node::from_yaml(value),
        }
    }

    /// The entry at a path of keys, if it has a value.
    pub(super) fn find(&self, path: &str) -> Option<&Entry> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let entry = self.entries().iter().find(|entry| entry.key == first)?;
        match rest {
            Some(rest) => entry.value.find(rest),
            None => Some(entry).filter(|entry| entry.value != Node::Null),
        }
    }

    /// The entries of a mapping; of anything else none.
    pub(super) fn entries(&self) -> &[Entry] {
        match self {
            Node::Mapping(entries) => entries,
            _ => &[],
        }
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Node::Null => f.write_str("null"),
            Node::Text(text) => f.write_str(text),
            Node::List(items) => {
                let items: Vec<_> = items.iter().map(Node::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Node::Mapping(_) => f.write_str("a mapping"),
        }
    }
}

/// The text of a file. A byte order mark says that it is UTF-16; otherwise what is not UTF-8 is replaced, as it harms
/// nobody in a comment.
pub(super) fn decode(bytes: &[u8]) -> String {
    let utf_16 = |to_unit: fn([u8; 2]) -> u16, bytes: &[u8]| {
        let units = bytes.chunks_exact(2).map(|unit| to_unit([unit[0], unit[1]]));
        char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xff, 0xfe, text @ ..] => utf_16(u16::from_le_bytes, text),
        [0xfe, 0xff, text @ ..] => utf_16(u16::from_be_bytes, text),
        [0xef, 0xbb, 0xbf, text @ ..] | text => String::from_utf8_lossy(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_lines() {
        let root = Node::parse(Path::new(""), "a:\n  b: 'x'\n  # c\n  \"c\":\n    - 1\n    - yes\n  d: ~\n")
            .unwrap();
        let at = |path| root.find(path).map(|entry| (entry.line, entry.value.to_string()));
        assert_eq!(at("a.b"), Some((2, "x".into())));
        assert_eq!(at("a.c"), Some((4, "[1, yes]".into())));
        assert_eq!(at("a"), Some((1, "a mapping".into())));
        assert_eq!((at("a.d"), at("a.b.c"), at("e")), (None, None, None));
    }

    #[test]
    fn encodings_are_told_apart_by_byte_order_marks() {
        let utf_16: Vec<u16> = "\u{feff}ä: 𝄞".encode_utf16().collect();
        let little: Vec<u8> = utf_16.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = utf_16.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        let utf_8 = "\u{feff}ä: 𝄞".as_bytes();
        for bytes in [&little[..], &big, utf_8, &utf_8[3..]] {
            assert_eq!(decode(bytes), "ä: 𝄞");
        }
        assert_eq!(decode(b"# M\xfcller"), "# M\u{fffd}ller");
        assert_eq!(decode(b""), "");
    }
}
