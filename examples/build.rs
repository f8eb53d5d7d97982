//! Compiles `person.proto`.

fn main() -> Result<(), ferrocal_build::Error> {
    ferrocal_build::compile(&["person.proto"], &["."])
}
