//! Looks at the lengths in records of MCAP before the crate `mcap` reads them: it makes room for a text of up to 4 GiB because
//! the record says that it has one.

use mcap::records::op;

/// What a record consists of.
#[derive(Clone, Copy)]
enum Field {
    /// So many bytes.
    Fixed(usize),
    /// A text or bytes behind their length.
    Text,
    /// Pairs of texts behind the length of all; the last one may go beyond that.
    Texts,
    /// Values of so many bytes behind the length of all, in the same way.
    Values(usize),
}

/// The beginning of a record, up to its last text. From the specification of MCAP, "Records".
fn fields(opcode: u8) -> &'static [Field] {
    use Field::{Fixed, Text, Texts, Values};
    match opcode {
        op::HEADER => &[Text, Text],
        op::SCHEMA => &[Fixed(2), Text, Text, Text],
        op::CHANNEL => &[Fixed(4), Text, Text, Texts],
        op::CHUNK => &[Fixed(28), Text],
        op::CHUNK_INDEX => &[Fixed(32), Values(10), Fixed(8), Text],
        op::ATTACHMENT => &[Fixed(16), Text, Text],
        op::ATTACHMENT_INDEX => &[Fixed(40), Text, Text],
        op::METADATA => &[Text, Texts],
        op::METADATA_INDEX => &[Fixed(16), Text],
        _ => &[],
    }
}

/// Whether the texts of a record end within it.
pub(super) fn fit(opcode: u8, record: &[u8]) -> bool {
    let mut rest = record;
    fields(opcode).iter().all(|field| take(&mut rest, *field).is_some())
}

/// Looks at consecutive records, without chunks among them. Returns what is behind the last whole one, or `None` if the texts
/// of one do not end within it.
pub(super) fn all_fit(mut records: &[u8]) -> Option<&[u8]> {
    while let Some((opcode, record, rest)) = split(records) {
        if opcode == op::CHUNK || !fit(opcode, record) {
            return None;
        }
        records = rest;
    }
    Some(records)
}

/// Takes the first of consecutive records. Returns its kind, what is in it, and what is behind it, or `None` if it is not whole.
pub(super) fn split(records: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&opcode, rest) = records.split_first()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (record, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    Some((opcode, record, rest))
}

fn take(rest: &mut &[u8], field: Field) -> Option<()> {
    match field {
        Field::Fixed(len) => *rest = rest.get(len..)?,
        Field::Text => {
            let len = length(rest)?;
            *rest = rest.get(len..)?;
        }
        Field::Texts => {
            let len = length(rest)?;
            let before = rest.len();
            while before - rest.len() < len {
                take(rest, Field::Text)?;
                take(rest, Field::Text)?;
            }
        }
        Field::Values(size) => {
            let len = length(rest)?.checked_next_multiple_of(size)?;
            *rest = rest.get(len..)?;
        }
    }
    Some(())
}

fn length(rest: &mut &[u8]) -> Option<usize> {
    let (len, behind) = rest.split_first_chunk()?;
    *rest = behind;
    usize::try_from(u32::from_le_bytes(*len)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_within_their_record() {
        let channel = b"\x01\0\0\0\x01\0\0\0a\0\0\0\0\x0a\0\0\0\x01\0\0\0k\x01\0\0\0v";
        assert!(fit(op::CHANNEL, channel));
        for len in 0..channel.len() {
            assert!(!fit(op::CHANNEL, &channel[..len]), "{len}");
        }
        for at in [4, 9, 13, 17, 22] {
            let mut claims = channel.to_vec();
            claims[at + 3] = 0x7f;
            assert!(!fit(op::CHANNEL, &claims), "{at}");
            let records = [&[op::CHANNEL][..], &(claims.len() as u64).to_le_bytes(), &claims].concat();
            assert_eq!(all_fit(&records), None);
            let cut_off = &records[..records.len() - 1];
            assert_eq!(all_fit(cut_off), Some(cut_off));
        }
        assert!(fit(op::MESSAGE, b""));
        assert_eq!(all_fit(b"\x05\0\0\0\0\0\0\0\0\x05"), Some(&b"\x05"[..]));
    }
}
