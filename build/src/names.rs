//! The names that prost-build gives to Rust types and modules.

use heck::{ToSnakeCase, ToUpperCamelCase};
use protox::prost_reflect::MessageDescriptor;

/// The path of a message's type within the file of its package, such as `outer::Inner`.
pub(crate) fn rust_path(message: &MessageDescriptor) -> String {
    let mut path = escape(&message.name().to_upper_camel_case());
    let mut outer = message.parent_message();
    while let Some(message) = outer {
        path = format!("{}::{path}", escape(&message.name().to_snake_case()));
        outer = message.parent_message();
    }
    path
}

/// As prost-build does (its `ident.rs`).
fn escape(name: &str) -> String {
    match name {
        "as" | "break" | "const" | "continue" | "else" | "enum" | "false" | "fn" | "for" | "if" | "impl"
        | "in" | "let" | "loop" | "match" | "mod" | "move" | "mut" | "pub" | "ref" | "return" | "static"
        | "struct" | "trait" | "true" | "type" | "unsafe" | "use" | "where" | "while" | "dyn"
        | "abstract" | "become" | "box" | "do" | "final" | "macro" | "override" | "priv" | "typeof"
        | "unsized" | "virtual" | "yield" | "async" | "await" | "try" | "gen" => format!("r#{name}"),
        "_" | "super" | "self" | "Self" | "extern" | "crate" => format!("{name}_"),
        _ if name.starts_with(char::is_numeric) => format!("_{name}"),
        _ => name.to_owned(),
    }
}
