//! The datagrams of `doctor --call` and `doctor --listen`.

/// Of the datagrams that are sent, in bytes: a short one, the longest that fits into one packet of Ethernet, one that does
/// not (some interfaces take four bytes more than they say), one that fits into a long packet of Ethernet, and the longest that there is.
pub(super) const SIZES: [usize; 5] = [160, 1472, 1600, 8192, 65_507];

const MAGIC: &[u8; 4] = b"FDOC";
const VERSION: u8 = 1;
/// The longest name of a host, in bytes.
const MAX_HOST_LEN: usize = 64;
/// What a datagram holds beside the name.
const FIXED_LEN: usize = 4 + 1 + 1 + 8 + 4 + 4 + 3 * 8 + 4 * SIZES.len() + 1;

/// What a datagram is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// From the caller: to be counted, and answered with an echo.
    Probe = 1,
    /// From the listener: as long as the probe.
    Echo = 2,
    /// From the caller: what did you count? `number` is how many of each size were sent, or 0 before that.
    Ask = 3,
    /// From the listener: `counts`.
    Summary = 4,
}

/// A datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) kind: Kind,
    /// A number of the call's own.
    pub(super) run: u64,
    pub(super) number: u32,
    /// Its length.
    pub(super) len: usize,
    /// When the probe was sent, when it was received, and when that was answered, in microseconds since the Unix epoch.
    pub(super) times: [i64; 3],
    /// How many came of each size.
    pub(super) counts: [u32; SIZES.len()],
    /// The name of the sender's host.
    pub(super) host: String,
}

impl Probe {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut end = self.host.len().min(MAX_HOST_LEN);
        while !self.host.is_char_boundary(end) {
            end -= 1;
        }
        let host = &self.host.as_bytes()[..end];
        let mut bytes = Vec::with_capacity(self.len);
        bytes.extend(MAGIC);
        bytes.extend([VERSION, self.kind as u8]);
        bytes.extend(self.run.to_le_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(u32::try_from(self.len).unwrap_or(0).to_le_bytes());
        self.times.iter().for_each(|time| bytes.extend(time.to_le_bytes()));
        self.counts.iter().for_each(|count| bytes.extend(count.to_le_bytes()));
        bytes.push(end as u8);
        bytes.extend(host);
        bytes.resize(self.len.max(bytes.len()), 0);
        bytes
    }

    /// None if it is something else, or was cut.
    pub(super) fn decode(datagram: &[u8]) -> Option<Self> {
        fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
            let (taken, behind) = rest.split_first_chunk()?;
            *rest = behind;
            Some(taken)
        }
        let rest = &mut datagram.get(..)?;
        if take::<4>(rest)? != MAGIC || take::<1>(rest)? != &[VERSION] {
            return None;
        }
        let kind = match take::<1>(rest)? {
            [1] => Kind::Probe,
            [2] => Kind::Echo,
            [3] => Kind::Ask,
            [4] => Kind::Summary,
            _ => return None,
        };
        let run = u64::from_le_bytes(*take(rest)?);
        let number = u32::from_le_bytes(*take(rest)?);
        let len = u32::from_le_bytes(*take(rest)?) as usize;
        let mut times = [0; 3];
        for time in &mut times {
            *time = i64::from_le_bytes(*take(rest)?);
        }
        let mut counts = [0; SIZES.len()];
        for count in &mut counts {
            *count = u32::from_le_bytes(*take(rest)?);
        }
        let [host_len] = *take(rest)?;
        let host = rest.get(..usize::from(host_len)).filter(|host| host.len() <= MAX_HOST_LEN)?;
        let host = String::from_utf8_lossy(host).into_owned();
        (len == datagram.len()).then_some(Self { kind, run, number, len, times, counts, host })
    }
}

const _: () = assert!(FIXED_LEN + MAX_HOST_LEN <= SIZES[0], "every datagram has room for all");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_received_and_what_is_cut_is_not() {
        for len in SIZES {
            let host = "ü".repeat(40);
            let times = [1, -2, i64::MAX];
            let probe =
                Probe { kind: Kind::Echo, run: 7, number: 8, len, times, counts: [1, 2, 3, 4, 5], host };
            let bytes = probe.encode();
            assert_eq!(bytes.len(), len);
            assert_eq!(Probe::decode(&bytes), Some(Probe { host: "ü".repeat(32), ..probe }));
            assert_eq!(Probe::decode(&bytes[..len - 1]), None);
        }
        for len in 0..FIXED_LEN {
            assert_eq!(Probe::decode(&vec![0; len]), None);
        }
    }
}
