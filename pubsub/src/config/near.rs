//! Finds what a misspelt name was meant to be.

/// The candidate that differs from `name` by the fewest typing errors, two at most.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let len = name.chars().count();
    candidates
        .into_iter()
        // A file may hold a name of any length, which takes long to compare.
        .filter(|candidate| len.abs_diff(candidate.chars().count()) <= 2)
        .map(|candidate| (distance(name, candidate), candidate))
        // Short names are near to everything.
        .filter(|&(distance, candidate)| distance <= 2 && distance * 2 < candidate.len())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// The number of insertions, deletions, substitutions and swaps of neighbours that make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substituted = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substituted.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_typing_errors() {
        for (a, b, errors) in [
            ("port", "port", 0),
            ("", "port", 4),
            ("tranport_layer", "transport_layer", 1),
            ("recieve_buffer", "receive_buffer", 1),
            ("recive_bufer", "receive_buffer", 2),
            ("grüp", "group", 2),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (errors, errors), "{a} {b}");
        }
    }

    #[test]
    fn short_names_are_not_taken_for_each_other() {
        let known = ["shm", "tcp", "udp", "ttl", "port", "mode"];
        assert_eq!(nearest("udpp", known), Some("udp"));
        assert_eq!(nearest("prot", known), Some("port"));
        for other in ["sdp", "tls", "code2", "u", ""] {
            let found = nearest(other, known);
            assert!(found.is_none_or(|found| distance(other, found) == 1), "{other}: {found:?}");
        }
        assert_eq!(nearest("code2", known), None);
    }
}
