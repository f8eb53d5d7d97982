//! The payload every test sends: byte `k` of message `n` is `(k * 31 + n) & 0xff`.

/// Message `n` of the ramp, `len` bytes long.
pub fn message(n: u64, len: usize) -> Vec<u8> {
    let mut byte = n as u8;
    let mut message = Vec::with_capacity(len);
    for _ in 0..len {
        message.push(byte);
        byte = byte.wrapping_add(31);
    }
    message
}

/// Whether `message` is the ramp that its own first byte announces; an empty one is.
pub fn holds(message: &[u8]) -> bool {
    message.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(31))
}

/// Whether `message` is message `n` of the ramp, `len` bytes long.
pub fn is(message: &[u8], n: u64, len: usize) -> bool {
    message.len() == len && message.first().is_none_or(|first| *first == n as u8) && holds(message)
}

/// All messages up to some length, made once: message `n` is a window of one table.
#[derive(Debug)]
pub struct Table(Vec<u8>);

impl Table {
    /// The messages of up to `max_len` bytes.
    pub fn new(max_len: usize) -> Self {
        Self(message(0, max_len + 255))
    }

    /// Message `n`, `len` bytes long.
    ///
    /// # Panics
    /// When it is longer than what was made.
    pub fn message(&self, n: u64, len: usize) -> &[u8] {
        // 31 * 223 = 1 (mod 256): message n starts where the table holds n.
        let start = usize::from((n as u8).wrapping_mul(223));
        &self.0[start..start + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_the_same_messages() {
        let table = Table::new(700);
        for n in 0..600 {
            assert_eq!(table.message(n, 700), message(n, 700));
        }
    }

    #[test]
    fn follows_its_formula() {
        for n in [0, 1, 255, 256, 1000] {
            let expected: Vec<u8> = (0..700u64).map(|k| (k * 31 + n) as u8).collect();
            assert_eq!(message(n, 700), expected);
            assert!(is(&expected, n, 700));
        }
    }

    #[test]
    fn finds_a_changed_byte_and_a_changed_length() {
        for at in [0, 1, 350, 699] {
            let mut damaged = message(7, 700);
            damaged[at] ^= 1;
            assert!(!is(&damaged, 7, 700), "byte {at}");
        }
        assert!(!is(&message(7, 699), 7, 700));
        assert!(!is(&message(8, 700), 7, 700));
        assert!(is(&[], 7, 0));
        assert!(!is(&[], 7, 1));
    }
}
