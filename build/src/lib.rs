//! Compiles protobuf messages for [ferrocal](https://docs.rs/ferrocal) in a build script, without `protoc`.
//!
//! In `build.rs`:
//!
//! ```no_run
//! fn main() -> Result<(), ferrocal_build::Error> {
//!     ferrocal_build::compile(&["proto/pose.proto"], &["proto"])
//! }
//! ```
//!
//! In the program, if `pose.proto` has `package robots;` and defines `Pose`:
//!
//! ```
//! use ferrocal::{Node, Protobuf};
//!
//! // mod robots { include!(concat!(env!("OUT_DIR"), "/robots.rs")); }
//! # mod robots {
//! #     #[derive(Clone, PartialEq, ferrocal::prost::Message)]
//! #     #[prost(prost_path = "ferrocal::prost")]
//! #     pub struct Pose {
//! #         #[prost(double, tag = "1")]
//! #         pub x: f64,
//! #         #[prost(double, tag = "2")]
//! #         pub y: f64,
//! #     }
//! #     impl ferrocal::ProtobufMessage for Pose {
//! #         const FULL_NAME: &'static str = "robots.Pose";
//! #         const FILE_DESCRIPTOR_SET: &'static [u8] = b"";
//! #     }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::new("my_robot")?;
//! let publisher = node.publisher::<Protobuf<robots::Pose>>("pose")?;
//! publisher.send(&robots::Pose { x: 1.0, y: 2.0 })?;
//! # Ok(())
//! # }
//! ```
//!
//! The program depends on `ferrocal`, and the generated code uses the prost of `ferrocal`. If the messages use types of
//! `google.protobuf`, such as `Timestamp`, the program also depends on `prost-types`.

#![forbid(unsafe_code)]

mod error;
mod names;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_build::Module;
use protox::Compiler;
use protox::prost_reflect::{DescriptorPool, FileDescriptor, MessageDescriptor};

pub use error::Error;

/// Compiles `.proto` files and all that they import. Writes a file `<package>.rs` for each package to `OUT_DIR`.
///
/// `includes` are the folders in which imports are looked up. Each of `protos` lies in one of them.
///
/// # Errors
/// If a file cannot be read or written, or is not valid protobuf.
pub fn compile(protos: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<(), Error> {
    Config::new().compile(protos, includes)
}

/// Options of the code that is generated.
///
/// ```no_run
/// # fn main() -> Result<(), ferrocal_build::Error> {
/// let mut config = ferrocal_build::Config::new();
/// config.include_file("messages.rs");
/// config.prost().btree_map(["."]);
/// config.compile(&["proto/pose.proto"], &["proto"])
/// # }
/// ```
#[derive(Debug)]
pub struct Config {
    prost: prost_build::Config,
    out_dir: Option<PathBuf>,
    extern_paths: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// The default options.
    pub fn new() -> Self {
        let mut prost = prost_build::Config::new();
        prost.prost_path("::ferrocal::prost");
        Self { prost, out_dir: None, extern_paths: vec!["google.protobuf".to_owned()] }
    }

    /// Writes to this folder instead of `OUT_DIR`. It has to exist.
    pub fn out_dir(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        let path = path.into();
        self.prost.out_dir(&path);
        self.out_dir = Some(path);
        self
    }

    /// Also writes a file of this name that includes all packages, each as a module. Needed when messages of one package
    /// use messages of another.
    pub fn include_file(&mut self, name: impl AsRef<Path>) -> &mut Self {
        self.prost.include_file(name.as_ref());
        self
    }

    /// Generates nothing for the messages of `proto_path` (a package or message, such as `.robots.base`), and takes them
    /// from `rust_path`.
    pub fn extern_path(&mut self, proto_path: &str, rust_path: &str) -> &mut Self {
        self.prost.extern_path(proto_path, rust_path);
        self.extern_paths.push(proto_path.trim_start_matches('.').to_owned());
        self
    }

    /// All other options, of prost-build. Those that have a method here are to be set by that.
    pub fn prost(&mut self) -> &mut prost_build::Config {
        &mut self.prost
    }

    /// Compiles `.proto` files: see [`compile()`].
    ///
    /// # Errors
    /// See [`compile()`].
    pub fn compile(
        &mut self,
        protos: &[impl AsRef<Path>],
        includes: &[impl AsRef<Path>],
    ) -> Result<(), Error> {
        let out_dir = match &self.out_dir {
            Some(path) => path.clone(),
            None => env::var_os("OUT_DIR").ok_or(Error::NoOutDir)?.into(),
        };
        let mut compiler = Compiler::new(includes)?;
        compiler.include_imports(true).include_source_info(true).open_files(protos)?;
        for path in compiler.files().filter_map(|file| file.path()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        self.prost.compile_fds(compiler.file_descriptor_set()).map_err(Error::Generate)?;

        // Without comments, which nobody needs at run time.
        let descriptors = compiler.include_source_info(false).encode_file_descriptor_set();
        let descriptors = DescriptorPool::decode(&*descriptors).map_err(protox::Error::from)?;
        for file in descriptors.files() {
            self.describe(&file, &out_dir)?;
        }
        Ok(())
    }

    /// Implements `ProtobufMessage` for the messages of a file.
    fn describe(&self, file: &FileDescriptor, out_dir: &Path) -> Result<(), Error> {
        let mut messages = Vec::new();
        file.messages().for_each(|message| self.generated(message, &mut messages));
        if messages.is_empty() {
            return Ok(());
        }
        let descriptor = format!("descriptors/{}.bin", file.name());
        write(&out_dir.join(&descriptor), &with_imports(file))?;

        let module = Module::from_protobuf_package_name(file.package_name());
        let path = out_dir.join(module.to_file_name_or("_"));
        let mut code = fs::read_to_string(&path).map_err(|error| Error::io(&path, error))?;
        for message in messages {
            code.push_str(&format!(
                "impl ::ferrocal::ProtobufMessage for {} {{\n    \
                     const FULL_NAME: &'static str = {:?};\n    \
                     const FILE_DESCRIPTOR_SET: &'static [u8] = include_bytes!({descriptor:?});\n}}\n",
                names::rust_path(&message),
                message.full_name(),
            ));
        }
        write(&path, code.as_bytes())
    }

    /// Collects a message and those nested in it, as far as code is generated for them.
    fn generated(&self, message: MessageDescriptor, into: &mut Vec<MessageDescriptor>) {
        let name = message.full_name();
        let is_extern = self.extern_paths.iter().any(|path| {
            path.is_empty()
                || name.strip_prefix(&**path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        if !is_extern && !message.is_map_entry() {
            message.child_messages().for_each(|child| self.generated(child, into));
            into.push(message);
        }
    }
}

/// A serialized `google.protobuf.FileDescriptorSet` of a file and all that it imports, each behind its own imports.
fn with_imports(file: &FileDescriptor) -> Vec<u8> {
    fn add(file: &FileDescriptor, seen: &mut HashSet<String>, set: &mut Vec<u8>) {
        if seen.insert(file.name().to_owned()) {
            file.dependencies().for_each(|import| add(&import, seen, set));
            // Field 1 of the set, which is repeated.
            let encoded = file.encode_to_vec();
            set.push((1 << 3) | 2);
            protox::prost::encoding::encode_varint(encoded.len() as u64, set);
            set.extend_from_slice(&encoded);
        }
    }
    let mut set = Vec::new();
    add(file, &mut HashSet::new(), &mut set);
    set
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).and_then(|()| fs::write(path, bytes)).map_err(|error| Error::io(path, error))
}
