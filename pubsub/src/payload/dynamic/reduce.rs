//! Descriptor sets of other programs, reduced to what decoding needs.
//!
//! prost-reflect trusts a descriptor set: it recurses without an end through public imports in a circle, panics on odd
//! defaults, options and map entries, and takes time in the square of many things. So sets are copied without what
//! decoding does not need, checked and measured before it sees them.

use prost::Message;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use prost_reflect::DescriptorPool;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};

use super::DynamicTypeError;

/// How deep messages are defined inside one another at most.
const MAX_NESTING: usize = 32;
/// What a set may cost: about the bytes that its descriptors take, and for what takes time without memory, as many as
/// could be written meanwhile.
const MAX_COST: usize = 16 * 1024 * 1024;
/// The cost of a definition beside its names.
const DEFINITION: usize = 512;
/// How often names are stored.
const NAME_COPIES: usize = 4;
/// The members of a oneof beyond which it is dissolved: setting one of them clears each other one.
const MAX_ONEOF_MEMBERS: usize = 32;
/// The longest set in bytes: checking a longer one would take noticeable time.
const MAX_DESCRIPTOR_LEN: usize = 4 * 1024 * 1024;
/// The longest default of a field in bytes. Each value of the field starts as a copy of it.
const MAX_DEFAULT_LEN: usize = 256;

/// The descriptors of a serialized set.
pub(super) fn load(file_descriptor_set: &[u8]) -> Result<DescriptorPool, DynamicTypeError> {
    let mut budget = Budget(MAX_COST);
    if file_descriptor_set.len() > MAX_DESCRIPTOR_LEN {
        return Err(DynamicTypeError::TooComplex);
    }
    let mut reduced = Vec::with_capacity(file_descriptor_set.len());
    budget.copy(Part::Set, 0, file_descriptor_set, &mut reduced)?;
    let mut set = FileDescriptorSet::decode(&*reduced).map_err(DynamicTypeError::Malformed)?;
    let enums = set.file.iter().map(|file| largest_enum(&file.enum_type, &file.message_type));
    let largest_enum = enums.max().unwrap_or(0);
    for file in &mut set.file {
        budget.check_file(file, largest_enum)?;
    }
    let names: Vec<_> = set.file.iter().map(|file| file.name().to_owned()).collect();
    let names_len: usize = names.iter().map(|name| size_of::<String>() + name.len()).sum();
    budget.charge(names_len.saturating_mul(names.len()).saturating_mul(NAME_COPIES))?;
    for file in &mut set.file {
        // What a file imports says nothing that its names do not.
        file.dependency.clone_from(&names);
    }
    DescriptorPool::from_file_descriptor_set(set).map_err(DynamicTypeError::Invalid)
}

/// A message of `descriptor.proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Set,
    File,
    Message,
    MessageOptions,
    Field,
    Oneof,
    Enum,
    EnumOptions,
    EnumValue,
}

/// What becomes of a field.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Kept,
    Reduced(Part),
    Dropped,
}

impl Part {
    /// Services, extensions, reserved numbers, source locations and most options are dropped.
    fn fate(self, number: u32) -> Fate {
        match (self, number) {
            (Self::Set, 1) => Fate::Reduced(Self::File),
            // Name, package, syntax.
            (Self::File, 1 | 2 | 12) => Fate::Kept,
            (Self::File, 4) | (Self::Message, 3) => Fate::Reduced(Self::Message),
            (Self::File, 5) | (Self::Message, 4) => Fate::Reduced(Self::Enum),
            (Self::Message, 2) => Fate::Reduced(Self::Field),
            (Self::Message, 7) => Fate::Reduced(Self::MessageOptions),
            (Self::Message, 8) => Fate::Reduced(Self::Oneof),
            (Self::Enum, 2) => Fate::Reduced(Self::EnumValue),
            (Self::Enum, 3) => Fate::Reduced(Self::EnumOptions),
            (Self::Message | Self::Oneof | Self::Enum, 1) | (Self::EnumValue, 1 | 2) => Fate::Kept,
            // Name, number, label, type, type name, default, oneof, JSON name, presence.
            (Self::Field, 1 | 3..=7 | 9 | 10 | 17) => Fate::Kept,
            (Self::MessageOptions, MAP_ENTRY) | (Self::EnumOptions, ALLOW_ALIAS) => Fate::Kept,
            _ => Fate::Dropped,
        }
    }
}

/// The fields of `MessageOptions` and `EnumOptions` that are kept.
const MAP_ENTRY: u32 = 7;
const ALLOW_ALIAS: u32 = 2;

/// What a set may still cost.
struct Budget(usize);

impl Budget {
    fn charge(&mut self, cost: usize) -> Result<(), DynamicTypeError> {
        self.0 = self.0.checked_sub(cost).ok_or(DynamicTypeError::TooComplex)?;
        Ok(())
    }

    /// Copies what is needed of a part. Definitions are charged before anything is allocated for them.
    fn copy(
        &mut self,
        part: Part,
        nesting: usize,
        mut encoded: &[u8],
        reduced: &mut Vec<u8>,
    ) -> Result<(), DynamicTypeError> {
        if nesting > MAX_NESTING {
            return Err(DynamicTypeError::TooComplex);
        }
        while !encoded.is_empty() {
            let field = encoded;
            let (number, wire_type) = decode_key(&mut encoded).map_err(DynamicTypeError::Malformed)?;
            let mut value = encoded;
            skip_field(wire_type, number, &mut encoded, DecodeContext::default())
                .map_err(DynamicTypeError::Malformed)?;
            match part.fate(number) {
                Fate::Reduced(inner) if wire_type == WireType::LengthDelimited => {
                    decode_varint(&mut value).map_err(DynamicTypeError::Malformed)?;
                    let content = &value[..value.len() - encoded.len()];
                    if !matches!(inner, Part::MessageOptions | Part::EnumOptions) {
                        self.charge(DEFINITION)?;
                    }
                    let mut copy = Vec::new();
                    let nesting = nesting + usize::from(inner == Part::Message);
                    self.copy(inner, nesting, content, &mut copy)?;
                    encode_key(number, wire_type, reduced);
                    encode_varint(copy.len() as u64, reduced);
                    reduced.extend_from_slice(&copy);
                }
                Fate::Kept => reduced.extend_from_slice(&field[..field.len() - encoded.len()]),
                Fate::Reduced(_) | Fate::Dropped => {}
            }
        }
        Ok(())
    }

    fn check_file(
        &mut self,
        file: &mut FileDescriptorProto,
        largest_enum: usize,
    ) -> Result<(), DynamicTypeError> {
        if !matches!(file.syntax.as_deref(), None | Some("proto2" | "proto3")) {
            return Err(DynamicTypeError::UnknownSyntax(file.syntax().to_owned()));
        }
        let package = file.package().to_owned();
        if !package.is_empty() && !package.split('.').all(is_identifier) {
            return Err(DynamicTypeError::BadDefinition(package));
        }
        // Each package around it is a name, too.
        self.charge(package.len().saturating_mul(package.split('.').count()))?;
        for message in &mut file.message_type {
            self.check_message(&package, message, largest_enum)?;
        }
        file.enum_type.iter().try_for_each(|definition| self.check_enum(&package, definition))
    }

    fn check_message(
        &mut self,
        scope: &str,
        message: &mut DescriptorProto,
        largest_enum: usize,
    ) -> Result<(), DynamicTypeError> {
        let full_name = self.full_name(scope, message.name())?;
        let is_map_entry = message.options.as_ref().is_some_and(|options| options.map_entry());
        if is_map_entry && !is_valid_map_entry(message) || redefines_options(&full_name, message) {
            return Err(DynamicTypeError::BadDefinition(full_name));
        }
        let mut members = vec![0usize; message.oneof_decl.len()];
        for field in &mut message.field {
            self.check_field(&full_name, field, largest_enum)?;
            if let Some(count) = oneof_of(field).and_then(|oneof| members.get_mut(oneof)) {
                *count += 1;
            }
        }
        for field in &mut message.field {
            if oneof_of(field)
                .and_then(|oneof| members.get(oneof))
                .is_some_and(|&count| count > MAX_ONEOF_MEMBERS)
            {
                field.oneof_index = None;
                field.proto3_optional = Some(true);
            }
        }
        for oneof in &message.oneof_decl {
            self.full_name(&full_name, oneof.name())?;
        }
        for nested in &mut message.nested_type {
            self.check_message(&full_name, nested, largest_enum)?;
        }
        message.enum_type.iter().try_for_each(|definition| self.check_enum(&full_name, definition))
    }

    fn check_field(
        &mut self,
        scope: &str,
        field: &mut FieldDescriptorProto,
        largest_enum: usize,
    ) -> Result<(), DynamicTypeError> {
        let full_name = self.full_name(scope, field.name())?;
        self.charge(NAME_COPIES * (field.json_name().len() + field.type_name().len()))?;
        if !field.type_name().starts_with('.') {
            // It is looked for in each scope around the field.
            self.charge(64 * full_name.split('.').count())?;
        }
        let is_escaped = |default: &str| field.r#type() == Type::Bytes && default.contains('\\');
        if field.label() == Label::Repeated
            || field
                .default_value
                .as_deref()
                .is_some_and(|default| default.len() > MAX_DEFAULT_LEN || is_escaped(default))
        {
            field.default_value = None;
        }
        if field.default_value.is_some() && !field.type_name().is_empty() {
            // The value is looked for among all of the enum.
            self.charge(largest_enum)?;
        }
        Ok(())
    }

    fn check_enum(&mut self, scope: &str, definition: &EnumDescriptorProto) -> Result<(), DynamicTypeError> {
        self.full_name(scope, definition.name())?;
        // Each value is inserted among those before it.
        let count = definition.value.len();
        self.charge(count.saturating_mul(count) / 8)?;
        // Values are named as if they were beside their enum.
        definition.value.iter().try_for_each(|value| self.full_name(scope, value.name()).map(drop))
    }

    fn full_name(&mut self, scope: &str, name: &str) -> Result<String, DynamicTypeError> {
        let full_name = if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") };
        self.charge(NAME_COPIES * full_name.len())?;
        if is_identifier(name) { Ok(full_name) } else { Err(DynamicTypeError::BadDefinition(full_name)) }
    }
}

fn is_identifier(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_word) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

fn oneof_of(field: &FieldDescriptorProto) -> Option<usize> {
    field.oneof_index.and_then(|index| usize::try_from(index).ok())
}

/// The most values that an enum among these, or in these messages, has.
fn largest_enum(enums: &[EnumDescriptorProto], messages: &[DescriptorProto]) -> usize {
    let own = enums.iter().map(|definition| definition.value.len());
    let nested = messages.iter().map(|message| largest_enum(&message.enum_type, &message.nested_type));
    own.chain(nested).max().unwrap_or(0)
}

/// Whether a map entry has a key of a type that keys have, and a value.
fn is_valid_map_entry(message: &DescriptorProto) -> bool {
    let single = |number| {
        let mut fields = message.field.iter().filter(|field| field.number() == number);
        fields.next().filter(|field| field.label() != Label::Repeated && fields.next().is_none())
    };
    let is_key = |field: &FieldDescriptorProto| {
        let is_other = matches!(
            field.r#type(),
            Type::Double | Type::Float | Type::Bytes | Type::Message | Type::Group | Type::Enum
        );
        field.type_name().is_empty() && !is_other
    };
    single(1).is_some_and(is_key) && single(2).is_some()
}

/// Whether this is the options' own type, in another form than the options that are kept have.
fn redefines_options(full_name: &str, message: &DescriptorProto) -> bool {
    let kept = match full_name {
        "google.protobuf.MessageOptions" => MAP_ENTRY,
        "google.protobuf.EnumOptions" => ALLOW_ALIAS,
        _ => return false,
    };
    let is_flag = |field: &FieldDescriptorProto| {
        field.r#type() == Type::Bool && field.label() == Label::Optional && field.type_name().is_empty()
    };
    message.field.iter().any(|field| field.number().cast_unsigned() == kept && !is_flag(field))
}
