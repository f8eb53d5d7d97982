//! A YAML document with the lines of its keys.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::{ConfigError, FilePosition};

/// The deepest nesting of a document, aliases replaced. That of eCAL's is 5.
const MAX_DEPTH: usize = 64;
/// The memory that a document takes at most, aliases replaced, in bytes.
const MAX_LEN: usize = 4 * 1024 * 1024;

/// A value of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    /// A scalar as it is written, without its quotes.
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key of a mapping, and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The line of the key, from 1.
    pub(super) line: usize,
    pub(super) value: Node,
}

impl Node {
    /// Reads the first document of a file.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        document(text).map_err(|(line, message)| ConfigError::Syntax {
            position: FilePosition { path: path.into(), line },
            message,
        })
    }

    /// The entry at a path of keys, if it has a value. Of keys that are the same, the first counts, as in yaml-cpp.
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

    /// The memory that it takes in bytes, and how deep it is nested.
    fn size(&self) -> (usize, usize) {
        let inner = |nodes: &mut dyn Iterator<Item = &Node>| {
            let all = nodes.map(Node::size);
            all.fold((0, 0), |(len, depth), (inner_len, inner_depth)| {
                (len + inner_len, depth.max(inner_depth + 1))
            })
        };
        let (len, depth) = match self {
            Node::Null => (0, 0),
            Node::Text(text) => (text.len(), 0),
            Node::List(items) => inner(&mut items.iter()),
            Node::Mapping(entries) => {
                let (len, depth) = inner(&mut entries.iter().map(|entry| &entry.value));
                (len + entries.iter().map(|entry| size_of::<Entry>() + entry.key.len()).sum::<usize>(), depth)
            }
        };
        (size_of::<Node>() + len, depth)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// Reads the first document. An error has its line.
fn document(text: &str) -> Result<Node, (usize, String)> {
    // The parser would take it for the end of the text.
    if let Some(at) = text.find('\0') {
        let line = text[..at].lines().count().max(1);
        return Err((line, "NUL character; the encoding is to be UTF-8 or UTF-16".into()));
    }
    // The parser refuses a tab between a key and its value, which YAML and yaml-cpp allow.
    let text = text.replace(":\t", ": ");
    let mut parser = Parser::new_from_str(&text);
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| (error.marker().line(), error.info().to_owned()))?;
        let line = span.start.line();
        match builder.event(event, line).map_err(|message| (line, message.to_owned()))? {
            None => {}
            Some(root) => return Ok(root),
        }
    }
    Ok(Node::Null)
}

/// Makes a document of the parser's events.
#[derive(Default)]
struct Builder {
    /// The collections that have not ended, the outermost first.
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    /// What the document takes so far.
    len: usize,
}

struct Open {
    node: Node,
    /// 0 if it has none.
    anchor: usize,
    /// In a mapping, the key that waits for its value, and its line.
    key: Option<(String, usize)>,
}

impl Builder {
    /// Returns the document when it is complete.
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<Option<Node>, &'static str> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_null = tag.is_none()
                    && style == ScalarStyle::Plain
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let node = if is_null { Node::Null } else { Node::Text(text.into_owned()) };
                self.grow(&node)?;
                Ok(self.add(node, anchor, line))
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).ok_or("an alias inside of what it stands for")?.clone();
                self.grow(&node)?;
                Ok(self.add(node, 0, line))
            }
            Event::SequenceStart(anchor, _) => self.open(Node::List(Vec::new()), anchor).map(|()| None),
            Event::MappingStart(anchor, _) => self.open(Node::Mapping(Vec::new()), anchor).map(|()| None),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { node, anchor, .. }) = self.open.pop() else { return Ok(None) };
                Ok(self.add(node, anchor, line))
            }
            _ => Ok(None),
        }
    }

    fn open(&mut self, node: Node, anchor: usize) -> Result<(), &'static str> {
        self.grow(&node)?;
        self.open.push(Open { node, anchor, key: None });
        Ok(())
    }

    /// Makes room for a value.
    fn grow(&mut self, node: &Node) -> Result<(), &'static str> {
        let (len, depth) = node.size();
        self.len += len;
        if self.open.len() + depth >= MAX_DEPTH {
            return Err("nested too deeply");
        }
        if self.len > MAX_LEN {
            return Err("too many values, or aliases that repeat too much");
        }
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize, line: usize) -> Option<Node> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(Open { node: parent, key, .. }) = self.open.last_mut() else { return Some(node) };
        match parent {
            Node::List(items) => items.push(node),
            Node::Mapping(entries) => match key.take() {
                Some((key, line)) => entries.push(Entry { key, line, value: node }),
                None => *key = Some((node.to_string(), line)),
            },
            Node::Null | Node::Text(_) => {}
        }
        None
    }
}

/// The text of a file. Zeros in the first character, which is ASCII, or a byte order mark say that it is UTF-16.
/// Otherwise what is not UTF-8 is replaced, as it harms nobody in a comment.
pub(super) fn decode(bytes: &[u8]) -> String {
    let utf_16 = |to_unit: fn([u8; 2]) -> u16, bytes: &[u8]| {
        let units = bytes.chunks_exact(2).map(|unit| to_unit([unit[0], unit[1]]));
        char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xff, 0xfe, text @ ..] => utf_16(u16::from_le_bytes, text),
        [0xfe, 0xff, text @ ..] => utf_16(u16::from_be_bytes, text),
        [1..=255, 0, ..] => utf_16(u16::from_le_bytes, bytes),
        [0, 1..=255, ..] => utf_16(u16::from_be_bytes, bytes),
        [0xef, 0xbb, 0xbf, text @ ..] | text => String::from_utf8_lossy(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Node, String> {
        Node::parse(Path::new("f"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_have_lines() {
        let root = parse("a:\n  b: 'x'\n  # c\n  \"c\":\n    - 1\n    - yes\n  d: ~\n").unwrap();
        let at = |path| root.find(path).map(|entry| (entry.line, entry.value.to_string()));
        assert_eq!(at("a.b"), Some((2, "x".into())));
        assert_eq!(at("a.c"), Some((4, "[1, yes]".into())));
        assert_eq!(at("a"), Some((1, "a mapping".into())));
        assert_eq!((at("a.d"), at("a.b.c"), at("e")), (None, None, None));
    }

    #[test]
    fn scalars_are_kept_as_they_are_written() {
        let text = "[010, 0x10, +1, 1.0, 1e3, ~, null, '~', \"\", !!str null, yes]";
        let text_of = |text: &str| Node::Text(text.into());
        let items = ["010", "0x10", "+1", "1.0", "1e3"].map(text_of).into_iter();
        let items = items.chain([Node::Null, Node::Null]).chain(["~", "", "null", "yes"].map(text_of));
        assert_eq!(parse(text).unwrap(), Node::List(items.collect()));
        assert_eq!(parse("a: 1\n---\na: 2").unwrap().find("a").unwrap().value, text_of("1"));
        assert_eq!(parse("# nothing\n").unwrap(), Node::Null);
    }

    #[test]
    fn aliases_repeat_values() {
        let root = parse("a: &x { b: &y 1 }\nc: *x\nd: [*y, *x]").unwrap();
        assert_eq!(root.find("c.b").unwrap().value, Node::Text("1".into()));
        assert_eq!(root.find("d").unwrap().value.to_string(), "[1, a mapping]");
        assert!(parse("a: &x [*x]").unwrap_err().contains("f:1: not valid YAML: an alias inside"));
    }

    #[test]
    fn what_explodes_is_refused() {
        let tens = |line: &str| format!("[{}]", [line; 10].join(", "));
        let mut laughs = "a0: &a0 ha\n".to_owned();
        for n in 1..40 {
            laughs += &format!("a{n}: &a{n} {}\n", tens(&format!("*a{}", n - 1)));
        }
        let error = parse(&laughs).unwrap_err();
        assert!(error.ends_with("too many values, or aliases that repeat too much"), "{error}");

        let long = format!("a: &a {}\nb: {}", "x".repeat(1_000_000), tens("*a"));
        assert!(parse(&long).unwrap_err().ends_with("aliases that repeat too much"));

        let mut chain = "a0: &a0 ha\n".to_owned();
        for n in 1..2000 {
            chain += &format!("a{n}: &a{n} [*a{}]\n", n - 1);
        }
        assert!(parse(&chain).unwrap_err().ends_with("nested too deeply"));
        for bracket in ["[", "{a: ", "- ", "? "] {
            let error = parse(&bracket.repeat(100_000)).unwrap_err();
            assert!(error.starts_with("f:1: not valid YAML: "), "{error}");
        }
    }

    #[test]
    fn tabs_and_zeros_are_named() {
        assert!(parse("a:\n\tb:\n\t\tc: 1\n").unwrap_err().starts_with("f:2: not valid YAML: "));
        assert_eq!(parse("a:\t1\t# c\n").unwrap().find("a").unwrap().value, Node::Text("1".into()));
        assert!(parse("a: 1\nb: 2\0\nc: 3").unwrap_err().starts_with("f:2: not valid YAML: NUL character"));
    }

    #[test]
    fn encodings_are_told_apart() {
        let utf_16: Vec<u16> = "\u{feff}a: 𝄞ä".encode_utf16().collect();
        let little: Vec<u8> = utf_16.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = utf_16.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        let utf_8 = "\u{feff}a: 𝄞ä".as_bytes();
        for bytes in [&little[..], &little[2..], &big, &big[2..], utf_8, &utf_8[3..]] {
            assert_eq!(decode(bytes), "a: 𝄞ä");
        }
        assert_eq!(decode(b"# M\xfcller"), "# M\u{fffd}ller");
        assert_eq!(decode(b""), "");
        assert_eq!(decode(b"a"), "a");
    }
}
