//! Text as it stands on the wire.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use crate::DropReason;

/// Text as it stands on the wire.
///
/// eCAL's schema calls it a string, but nothing checks that it is UTF-8: paths and host names are whatever the sending
/// system has. The bytes are kept, and texts compare by them. `Display` and [`to_str_lossy`](Self::to_str_lossy) show
/// those that are not UTF-8 as U+FFFD.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Vec<u8>);

impl Text {
    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Returns the text for people.
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_str_lossy())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_str_lossy(), f)
    }
}

/// The text for people, unless it is longer than the limit.
pub(crate) fn readable(text: Vec<u8>, max_len: usize) -> Result<String, DropReason> {
    // What stands for bytes that are not UTF-8 takes three.
    let chunks = text.utf8_chunks();
    let len: usize = chunks.map(|chunk| chunk.valid().len() + 3 * chunk.invalid().len().min(1)).sum();
    if len > max_len {
        return Err(DropReason::TooLong);
    }
    Ok(String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn bytes_are_kept_and_shown_lossily() {
        let latin_1 = Text::from(&b"f\xfcr"[..]);
        assert_eq!(latin_1.as_bytes(), b"f\xfcr");
        assert_eq!(format!("{latin_1} {latin_1:?}"), "f\u{fffd}r \"f\u{fffd}r\"");
        assert_ne!(latin_1, Text::from(&b"f\xe9r"[..]));
        assert_ne!(latin_1, "f\u{fffd}r", "shown alike, but not the same");
        assert_eq!(Text::from("für"), "für");
    }
}
