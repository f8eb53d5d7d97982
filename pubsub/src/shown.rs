//! Text of others, for the log and for errors.

use std::fmt::{self, Write as _};

/// Text from the network or a file, for a line: without control characters, and not too long.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_CHARS: usize = 120;
        let text = String::from_utf8_lossy(self.0);
        let mut chars = text.chars();
        for char in chars.by_ref().take(MAX_CHARS) {
            if char.is_control() { write!(f, "{}", char.escape_debug())? } else { f.write_char(char)? }
        }
        if chars.next().is_some() { f.write_str("...") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_spoil_the_log() {
        let long = "ä".repeat(1000);
        assert_eq!(Shown(b"f\xfcr\n\x1b[2J").to_string(), "f\u{fffd}r\\n\\u{1b}[2J");
        assert_eq!(Shown(long.as_bytes()).to_string(), format!("{}...", "ä".repeat(120)));
    }
}
