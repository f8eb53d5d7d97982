//! Finds out why hosts do not see each other.
//!
//! What is observed ([`facts`]) is apart from what is said of it ([`checks`]).

pub(crate) mod call;
pub(crate) mod checks;
pub(crate) mod facts;
pub(crate) mod finding;
mod firewall;
pub(crate) mod gather;
mod probe;
mod self_test;
mod wire;

/// A word for the shell.
fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_.:@/".contains(char);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_shell_takes_a_quoted_word_as_one() {
        for (word, expected) in [("eth0.1", "eth0.1"), ("a;b", "'a;b'"), ("a'b", r"'a'\''b'"), ("", "''")] {
            assert_eq!(super::quoted(word), expected);
        }
    }
}
