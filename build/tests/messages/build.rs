//! Compiles the messages.

fn main() -> Result<(), ferrocal_build::Error> {
    ferrocal_build::Config::new().include_file("messages.rs").compile(
        &["proto/robots/pose.proto", "proto/robots/unrelated.proto", "proto/alone.proto"],
        &["proto"],
    )
}
