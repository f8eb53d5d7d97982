//! How much memory a tree takes, before it is made.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_reflect::{Kind, MessageDescriptor};

use super::json::ANY;

/// The bytes of a value, an element of a list or an empty message; vectors have room for more than they hold.
const VALUE: usize = 64;
/// Those of a message's first field: a B-tree has room for eleven.
const NODE: usize = 704;
/// Those of an entry of a map beside its key and value.
const ENTRY: usize = 128;
/// prost itself reads no deeper messages.
const MAX_DEPTH: usize = 100;

/// The bytes that a tree may still take.
pub(super) struct Room(pub(super) usize);

impl Room {
    fn take(&mut self, len: usize) -> Option<()> {
        self.0 = self.0.checked_sub(len)?;
        Some(())
    }

    /// Takes what the tree of a message takes. `None` if it does not fit.
    ///
    /// What is malformed ends it, as it ends decoding.
    pub(super) fn message(&mut self, descriptor: &MessageDescriptor, encoded: &[u8]) -> Option<()> {
        self.nested(descriptor, encoded, MAX_DEPTH)
    }

    fn nested(&mut self, descriptor: &MessageDescriptor, mut encoded: &[u8], depth: usize) -> Option<()> {
        let Some(depth) = depth.checked_sub(1) else { return Some(()) };
        self.take(VALUE)?;
        if !encoded.is_empty() {
            self.take(if descriptor.is_map_entry() { ENTRY } else { NODE })?;
        }
        // A descriptor may have its own idea of what an `Any` is.
        let has_bytes = || descriptor.get_field(2).is_some_and(|field| field.kind() == Kind::Bytes);
        if descriptor.full_name() == ANY && has_bytes() {
            self.any(descriptor, encoded, depth)?;
        }
        while !encoded.is_empty() {
            let Some((number, wire_type, value)) = next(&mut encoded) else { return Some(()) };
            let kind = descriptor.get_field(number).map(|field| field.kind());
            if wire_type == WireType::StartGroup {
                self.take(value.len())?;
            }
            match (kind, wire_type) {
                (None, WireType::StartGroup) => self.unknown(value, depth)?,
                (Some(Kind::Message(inner)), WireType::LengthDelimited | WireType::StartGroup) => {
                    self.nested(&inner, value, depth)?;
                }
                (Some(Kind::String), WireType::LengthDelimited) => self.take(VALUE + value.len())?,
                // Not copied.
                (Some(Kind::Bytes) | None, _) => self.take(VALUE)?,
                (Some(kind), WireType::LengthDelimited) => {
                    self.take(packed(&kind, value).saturating_mul(VALUE))?;
                }
                (Some(_), _) => self.take(VALUE)?,
            }
        }
        Some(())
    }

    /// What is in a group that the type does not have. It is kept as fields, too.
    fn unknown(&mut self, mut encoded: &[u8], depth: usize) -> Option<()> {
        let Some(depth) = depth.checked_sub(1) else { return Some(()) };
        while let Some((_, wire_type, value)) = next(&mut encoded) {
            self.take(VALUE)?;
            if wire_type == WireType::StartGroup {
                self.take(value.len())?;
                self.unknown(value, depth)?;
            }
        }
        Some(())
    }

    /// What an `Any` holds, which is decoded to check how deep it is.
    fn any(&mut self, descriptor: &MessageDescriptor, mut encoded: &[u8], depth: usize) -> Option<()> {
        let (mut url, mut content) = (&[][..], &[][..]);
        while let Some((number, wire_type, value)) = next(&mut encoded) {
            match (number, wire_type) {
                (1, WireType::LengthDelimited) => url = value,
                (2, WireType::LengthDelimited) => content = value,
                _ => {}
            }
        }
        let name = str::from_utf8(url).ok().and_then(|url| url.rsplit('/').next());
        match name.and_then(|name| descriptor.parent_pool().get_message_by_name(name)) {
            Some(inner) => self.nested(&inner, content, depth),
            None => Some(()),
        }
    }
}

/// The number, the wire type and the value of the next field. `None` at the end, and if it is malformed.
fn next<'a>(encoded: &mut &'a [u8]) -> Option<(u32, WireType, &'a [u8])> {
    let (number, wire_type) = decode_key(encoded).ok()?;
    let start = *encoded;
    if skip_field(wire_type, number, encoded, DecodeContext::default()).is_err() {
        // What is in a group is read before it shows that its end is missing, say.
        *encoded = &[];
        return (wire_type == WireType::StartGroup).then_some((number, wire_type, start));
    }
    let mut value = &start[..start.len() - encoded.len()];
    if wire_type == WireType::LengthDelimited {
        decode_varint(&mut value).ok()?;
    }
    Some((number, wire_type, value))
}

/// How many numbers a packed list holds.
fn packed(kind: &Kind, value: &[u8]) -> usize {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => value.len() / 8,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => value.len() / 4,
        _ => value.iter().filter(|&&byte| byte < 0x80).count(),
    }
}
