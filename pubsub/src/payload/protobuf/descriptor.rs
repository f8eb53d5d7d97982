//! Descriptor sets, reduced to what one message needs.

use std::collections::HashSet;

use bytes::Bytes;
use ferrocal_proto::DataType;
use prost::Message;
use thiserror::Error;

/// The data type of a protobuf message, for the settings of a publisher or subscriber.
///
/// `full_name` is the message's name with its package, such as `robots.Pose`. `file_descriptor_set` is a serialized
/// `google.protobuf.FileDescriptorSet`, as `protoc --descriptor_set_out --include_imports` writes it. Only the message's
/// file and those that it imports, directly or not, are registered.
///
/// # Errors
/// If the bytes are no such set, or the set lacks the message or an imported file.
pub fn protobuf_data_type(full_name: &str, file_descriptor_set: &[u8]) -> Result<DataType, DescriptorError> {
    Ok(super::data_type(full_name, prune(full_name, file_descriptor_set)?))
}

/// Why a descriptor set does not describe a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// The bytes are no serialized `google.protobuf.FileDescriptorSet`.
    #[error("not a protobuf descriptor set")]
    Malformed(#[source] prost::DecodeError),
    /// No file of the set defines the message.
    #[error("the descriptor set has no message `{0}`")]
    NoMessage(String),
    /// The set lacks a file that another one imports.
    #[error(
        "the descriptor set lacks `{import}`, which `{file}` imports; protoc adds it with --include_imports"
    )]
    NoImport {
        /// The file that imports it.
        file: String,
        /// The file that is missing.
        import: String,
    },
}

/// `google.protobuf.FileDescriptorSet`, whose files are kept as they are, with options that this crate does not know.
#[derive(Clone, PartialEq, Message)]
struct DescriptorSet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

/// What is needed of `google.protobuf.FileDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(string, repeated, tag = "3")]
    imports: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    messages: Vec<MessageType>,
}

/// What is needed of `google.protobuf.DescriptorProto`.
#[derive(Clone, PartialEq, Message)]
struct MessageType {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "3")]
    messages: Vec<MessageType>,
}

impl File {
    fn defines(&self, full_name: &str) -> bool {
        let mut messages = &self.messages;
        let path = match &*self.package {
            "" => Some(full_name),
            package => full_name.strip_prefix(package).and_then(|rest| rest.strip_prefix('.')),
        };
        path.is_some_and(|path| {
            path.split('.').all(|name| match messages.iter().find(|message| message.name == name) {
                Some(message) => {
                    messages = &message.messages;
                    true
                }
                None => false,
            })
        })
    }
}

/// The file of a message and all that it imports, each behind its own imports.
fn prune(full_name: &str, file_descriptor_set: &[u8]) -> Result<Bytes, DescriptorError> {
    let set = DescriptorSet::decode(file_descriptor_set).map_err(DescriptorError::Malformed)?;
    let files = set.files.iter().map(|file| File::decode(file.clone()).map_err(DescriptorError::Malformed));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let Some(root) = files.iter().position(|file| file.defines(full_name)) else {
        return Err(DescriptorError::NoMessage(full_name.to_owned()));
    };

    let mut pruned = DescriptorSet::default();
    let (mut seen, mut stack) = (HashSet::from([root]), vec![(root, 0)]);
    while let Some((file, next_import)) = stack.pop() {
        let File { name, imports, .. } = &files[file];
        let Some(import) = imports.get(next_import) else {
            pruned.files.push(set.files[file].clone());
            continue;
        };
        stack.push((file, next_import + 1));
        let imported = files
            .iter()
            .position(|file| file.name == *import)
            .ok_or_else(|| DescriptorError::NoImport { file: name.clone(), import: import.clone() })?;
        if seen.insert(imported) {
            stack.push((imported, 0));
        }
    }
    Ok(pruned.encode_to_vec().into())
}

/// A file and all that it imports, each behind its own imports.
#[cfg(feature = "prost-reflect")]
pub(super) fn of_file(file: &prost_reflect::FileDescriptor) -> Bytes {
    fn add(file: &prost_reflect::FileDescriptor, seen: &mut HashSet<String>, set: &mut DescriptorSet) {
        if seen.insert(file.name().to_owned()) {
            for import in file.dependencies() {
                add(&import, seen, set);
            }
            set.files.push(file.encode_to_vec().into());
        }
    }
    let mut set = DescriptorSet::default();
    add(file, &mut HashSet::new(), &mut set);
    set.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, package: &str, imports: &[&str], messages: Vec<MessageType>) -> Bytes {
        let imports = imports.iter().copied().map(str::to_owned).collect();
        let mut bytes =
            File { name: name.into(), package: package.into(), imports, messages }.encode_to_vec();
        // `options`, field 8, which this module does not know.
        bytes.extend_from_slice(&[(8 << 3) | 2, 2, 80, 1]);
        bytes.into()
    }

    fn message(name: &str, messages: Vec<MessageType>) -> MessageType {
        MessageType { name: name.into(), messages }
    }

    fn set(files: &[&Bytes]) -> Vec<u8> {
        DescriptorSet { files: files.iter().copied().cloned().collect() }.encode_to_vec()
    }

    #[test]
    fn only_what_the_message_needs_is_kept() {
        let time = file("time.proto", "base", &[], vec![message("Time", vec![])]);
        let frame = file("frame.proto", "base", &["time.proto"], vec![]);
        let other = file("other.proto", "robots", &["frame.proto"], vec![message("Other", vec![])]);
        let pose = file(
            "pose.proto",
            "robots",
            &["time.proto", "frame.proto"],
            vec![message("Pose", vec![message("Part", vec![])])],
        );
        let all = set(&[&pose, &other, &frame, &time]);

        let data_type = protobuf_data_type("robots.Pose.Part", &all).unwrap();
        assert_eq!((&*data_type.name, &*data_type.encoding), ("robots.Pose.Part", "proto"));
        assert_eq!(data_type.descriptor, set(&[&time, &frame, &pose]), "imports first, options kept");
        assert_eq!(protobuf_data_type("base.Time", &all).unwrap().descriptor, set(&[&time]));
    }

    #[test]
    fn imports_in_a_circle_end() {
        let a = file("a.proto", "", &["b.proto"], vec![message("A", vec![])]);
        let b = file("b.proto", "", &["a.proto"], vec![]);
        assert_eq!(protobuf_data_type("A", &set(&[&a, &b])).unwrap().descriptor, set(&[&b, &a]));
    }

    #[test]
    fn what_is_missing_is_named() {
        let pose = file("pose.proto", "robots", &["time.proto"], vec![message("Pose", vec![])]);
        let set = set(&[&pose]);
        for name in ["robots.Pos", "robots.Pose.Part", "robotsPose", "Pose", "robots", ""] {
            assert_eq!(
                protobuf_data_type(name, &set).unwrap_err(),
                DescriptorError::NoMessage(name.to_owned()),
            );
        }
        let error = protobuf_data_type("robots.Pose", &set).unwrap_err().to_string();
        assert!(error.contains("`time.proto`, which `pose.proto` imports"), "{error}");
        assert!(matches!(
            protobuf_data_type("robots.Pose", &[9, 9, 9]).unwrap_err(),
            DescriptorError::Malformed(_)
        ));
    }
}
