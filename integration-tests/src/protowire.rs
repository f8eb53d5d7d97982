//! A second, independent reader of eCAL's protobuf samples: field by field, knowing no names.

use std::collections::BTreeMap;

/// A field's value as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// A variable-length number.
    Number(u64),
    /// Eight fixed bytes.
    Fixed64(u64),
    /// Text or bytes.
    Bytes(Vec<u8>),
}

/// The numbers of nested fields from the outermost message in.
pub type Path = Vec<u32>;

/// The fields of a `Sample` that are messages themselves, see wire-format.md, section 4.
const MESSAGES: &[&[u32]] = &[
    &[2],
    &[2, 2],
    &[3],
    &[3, 12],
    &[5],
    &[5, 12],
    &[5, 12, 5],
    &[5, 12, 5, 1],
    &[5, 12, 5, 2],
    &[5, 12, 5, 4],
    &[5, 30],
    &[5, 31],
    &[6],
];

/// All fields of an encoded `Sample` that differ from their default, by their path, in the order they stand in.
///
/// # Panics
/// When the sample is not valid protobuf, or uses a wire type that eCAL does not.
pub fn fields(sample: &[u8]) -> BTreeMap<Path, Vec<Value>> {
    let mut fields = BTreeMap::new();
    collect(sample, &mut Vec::new(), &mut fields);
    fields
}

fn collect(mut bytes: &[u8], path: &mut Path, fields: &mut BTreeMap<Path, Vec<Value>>) {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        path.push(u32::try_from(tag >> 3).expect("a field number"));
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut bytes)),
            1 => Value::Fixed64(u64::from_le_bytes(take(&mut bytes, 8).try_into().expect("eight bytes"))),
            2 => {
                let len = varint(&mut bytes);
                Value::Bytes(take(&mut bytes, len as usize).to_vec())
            }
            wire_type => panic!("wire type {wire_type} in field {path:?}"),
        };
        match value {
            Value::Bytes(bytes) if MESSAGES.contains(&path.as_slice()) => collect(&bytes, path, fields),
            Value::Number(0) | Value::Fixed64(0) => {}
            Value::Bytes(bytes) if bytes.is_empty() => {}
            value => fields.entry(path.clone()).or_default().push(value),
        }
        path.pop();
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number of more than ten bytes");
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at_checked(len).expect("a field that is not cut");
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_nested_fields_and_skips_defaults() {
        // cmd_type 300; topic { topic_name "ab", topic_size 0 }; host {}
        let fields = fields(&[8, 0xac, 2, 0x2a, 6, 0x3a, 2, b'a', b'b', 0x68, 0, 0x12, 0]);
        let expected =
            [(vec![1], vec![Value::Number(300)]), (vec![5, 7], vec![Value::Bytes(b"ab".to_vec())])];
        assert_eq!(fields, expected.into());
    }
}
