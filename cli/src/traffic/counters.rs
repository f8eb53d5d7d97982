//! The system's counters of its interfaces.

use std::collections::HashMap;

/// The bytes that each interface received and sent, by its name.
pub(crate) type Counters = HashMap<String, (u64, u64)>;

/// Reads them. What cannot be read is not there.
#[cfg(target_os = "linux")]
pub(crate) fn read() -> Counters {
    // Those of this network namespace: `/sys` may show another one's.
    parse(&std::fs::read_to_string("/proc/net/dev").unwrap_or_default())
}

#[cfg(target_os = "linux")]
fn parse(text: &str) -> Counters {
    let of = |line: &str| {
        let (name, counts) = line.split_once(':')?;
        let mut counts = counts.split_whitespace();
        // Eight columns are of what was received.
        let (received, sent) = (counts.next()?, counts.nth(7)?);
        Some((name.trim().to_owned(), (received.parse().ok()?, sent.parse().ok()?)))
    };
    text.lines().skip(2).filter_map(of).collect()
}

/// Reads them. What cannot be read is not there.
#[cfg(not(target_os = "linux"))]
pub(crate) fn read() -> Counters {
    let of =
        |one: netdev::Interface| Some((one.name, one.stats.map(|stats| (stats.rx_bytes, stats.tx_bytes))?));
    netdev::get_interfaces().into_iter().filter_map(of).collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop\n    \
                    lo:     100       1    0    0    0     0          0         0     100       1    0    0\n\
                    eth0:123456789012 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n";
        let expected = [("lo".to_owned(), (100, 100)), ("eth0".to_owned(), (123_456_789_012, 7))];
        assert_eq!(parse(text), HashMap::from(expected));
        assert!(parse("one\ntwo\nthree: 1 2").is_empty());
    }
}
