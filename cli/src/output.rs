//! Results, on standard output.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use serde::Serialize;

/// The heads of columns.
pub(crate) const HEAD: Style = Style::new().bold();
/// What matters less.
pub(crate) const DIM: Style = Style::new().dimmed();
/// What is well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What needs a look.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// What is wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();

/// Writes a line to standard error. That it cannot be written changes nothing of what the program does.
macro_rules! tell {
    ($($argument:tt)*) => {{
        let _ = std::io::Write::write_fmt(
            &mut anstream::stderr(),
            format_args!("{}\n", format_args!($($argument)*)),
        );
    }};
}
pub(crate) use tell;

/// Standard output. What is written waits until [`flush`](Self::flush).
///
/// That it is closed is an error of the kind `BrokenPipe`, which ends the program quietly: pass it on with `?`.
pub(crate) struct Output {
    /// Without colours where there are to be none.
    text: BufWriter<AutoStream<Stdout>>,
    /// As it is. Only one of both holds something at a time.
    raw: BufWriter<Stdout>,
}

/// The bytes that are written at once.
const BUFFER_LEN: usize = 64 * 1024;

impl Output {
    /// Colours as the global choice says.
    pub(crate) fn new() -> Self {
        let text = AutoStream::auto(io::stdout());
        Self {
            text: BufWriter::with_capacity(BUFFER_LEN, text),
            raw: BufWriter::with_capacity(BUFFER_LEN, io::stdout()),
        }
    }

    /// Writes a line for people. What comes from the network must have been [cleaned](clean).
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        self.raw.flush().and_then(|()| writeln!(self.text, "{line}")).map_err(named)
    }

    /// Writes a line of JSON.
    pub(crate) fn json(&mut self, object: &impl Serialize) -> io::Result<()> {
        self.text.flush().map_err(named)?;
        let mut line = serde_json::to_string(object)?;
        line.push('\n');
        self.raw.write_all(escaped(&line).as_bytes()).map_err(named)
    }

    /// Writes a line of JSON: an object that has a key already, and behind its own another key with a value that is JSON
    /// already. serde_json would look at each of its bytes, which takes longer than making them.
    pub(crate) fn json_and(&mut self, object: &impl Serialize, key: &str, json: &[u8]) -> io::Result<()> {
        self.text.flush().map_err(named)?;
        let mut line = serde_json::to_string(object)?;
        line.pop();
        line.extend([",\"", key, "\":"]);
        let json = String::from_utf8_lossy(json);
        let parts = [&escaped(&line), &escaped(&json), "}\n"];
        parts.into_iter().try_for_each(|part| self.raw.write_all(part.as_bytes())).map_err(named)
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.text.flush().and_then(|()| self.raw.write_all(bytes)).map_err(named)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.text.flush().and_then(|()| self.raw.flush()).map_err(named)
    }
}

/// An error of standard output, which says so. Its kind stays.
fn named(error: io::Error) -> io::Error {
    /// What Windows says of some pipes that nobody reads (`ERROR_PIPE_NOT_CONNECTED`). Rust has no kind for it.
    const NOT_CONNECTED: i32 = 233;
    let is_unread = cfg!(windows) && error.raw_os_error() == Some(NOT_CONNECTED);
    let kind = if is_unread { io::ErrorKind::BrokenPipe } else { error.kind() };
    io::Error::new(kind, format!("standard output cannot be written: {error}"))
}

/// A text of others, without what would move a terminal's cursor or change its colours.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_bad) {
        return text.into();
    }
    let mut cleaned = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_bad(char) {
            cleaned.extend(char.escape_default());
        } else {
            cleaned.push(char);
        }
    }
    cleaned.into()
}

/// Whether a terminal does something else with it than to show it.
fn is_bad(char: char) -> bool {
    // The marks that turn the direction of text around can make it look like another one.
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Lines of JSON, without what would move a terminal's cursor or change its colours. serde_json has escaped what is below a
/// space. What is escaped here can stand in strings alone.
fn escaped(json: &str) -> Cow<'_, str> {
    let is_bad = |char: char| char >= '\u{7f}' && is_bad(char);
    // Most is ASCII, which is seen sooner than each character.
    if json.is_ascii() && !json.as_bytes().contains(&0x7f) || !json.contains(is_bad) {
        return json.into();
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for char in json.chars() {
        if is_bad(char) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(char)));
        } else {
            escaped.push(char);
        }
    }
    escaped.into()
}

/// A number of things, which `noun` names one of: `1 message`, `2 messages`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_has_no_plural() {
        assert_eq!(
            [0, 1, 2].map(|count| counted(count, "message")),
            ["0 messages", "1 message", "2 messages"]
        );
    }

    #[test]
    fn texts_of_others_cannot_control_the_terminal() {
        assert!(matches!(clean("Grüße, 世界"), Cow::Borrowed(_)));
        assert_eq!(clean("a\x1b[2Jb\nc\u{9b}d\u{202e}e"), "a\\u{1b}[2Jb\\nc\\u{9b}d\\u{202e}e");
    }

    #[test]
    fn json_cannot_control_the_terminal() {
        let texts = ["Grüße, 世界 😀", "a\x1b[2Jb\nc\u{7f}\u{80}\u{9b}d\u{202e}e\u{2069}ü", "\u{7f}"];
        let json = serde_json::to_string(&texts).unwrap() + "\n";
        let escaped = escaped(&json);
        let expected = r#"["Grüße, 世界 😀","a\u001b[2Jb\nc\u007f\u0080\u009bd\u202ee\u2069ü","\u007f"]"#;
        assert_eq!(escaped.trim_end(), expected);
        assert_eq!(serde_json::from_str::<Vec<String>>(&escaped).unwrap(), texts);
        assert!(matches!(super::escaped("{\"a\":\"00af\"}\n"), Cow::Borrowed(_)));
    }
}
