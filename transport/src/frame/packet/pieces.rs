//! The bytes of one incomplete packet.

use super::MAX_IPV4_PAYLOAD_LEN;

/// The bytes of a packet that have been received, in the order in which they came.
///
/// Memory is taken for received bytes only, wherever in the packet they belong; and bytes that come in order, as they
/// nearly always do, are one run that needs no further copy.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// What `bytes` consists of, by offset. No two overlap.
    runs: Vec<Run>,
}

/// Received bytes that follow each other both in the packet and in the buffer.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Where they belong in the packet.
    offset: usize,
    len: usize,
    /// Where they are in the buffer.
    at: usize,
}

impl Run {
    fn end(self) -> usize {
        self.offset + self.len
    }
}

/// Bytes of one place were received with different values.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contradiction;

impl Pieces {
    /// How many different bytes have been received.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Where the last byte received ends in the packet.
    pub(super) fn end(&self) -> usize {
        self.runs.last().map_or(0, |run| run.end())
    }

    /// The memory taken, in bytes.
    pub(super) fn allocated(&self) -> usize {
        self.bytes.capacity() + self.runs.capacity() * size_of::<Run>()
    }

    /// How much more memory [`insert`](Self::insert) would take for these bytes.
    pub(super) fn growth(&self, offset: usize, len: usize) -> usize {
        let (bytes, runs) = self.capacity_for(offset, len);
        bytes - self.bytes.capacity() + (runs - self.runs.capacity()) * size_of::<Run>()
    }

    /// Keeps the bytes that belong at `offset`, as far as they are new, and returns whether any was.
    ///
    /// # Errors
    /// When bytes that were there have other values; the pieces make no sense then.
    pub(super) fn insert(&mut self, offset: usize, bytes: &[u8]) -> Result<bool, Contradiction> {
        let (bytes_capacity, runs_capacity) = self.capacity_for(offset, bytes.len());
        self.bytes.reserve_exact(bytes_capacity - self.bytes.len());
        self.runs.reserve_exact(runs_capacity - self.runs.len());

        let known = self.len();
        let (mut offset, mut bytes) = (offset, bytes);
        while !bytes.is_empty() {
            let index = self.first_behind(offset);
            let next = self.runs.get(index).copied();
            let len = match next {
                Some(run) if run.offset <= offset => {
                    let within = offset - run.offset;
                    let again = &bytes[..bytes.len().min(run.len - within)];
                    if self.bytes[run.at + within..][..again.len()] != *again {
                        return Err(Contradiction);
                    }
                    again.len()
                }
                _ => {
                    let gap_len = next.map_or(usize::MAX, |run| run.offset - offset);
                    let new = &bytes[..bytes.len().min(gap_len)];
                    self.fill_gap(index, offset, new);
                    new.len()
                }
            };
            offset += len;
            bytes = &bytes[len..];
        }
        Ok(self.len() > known)
    }

    /// Moves the bytes into `buffer`, in the packet's order.
    ///
    /// Only pieces without gaps from offset 0 on are a packet.
    pub(super) fn take(&mut self, buffer: &mut Vec<u8>) {
        if let [_] = self.runs[..] {
            std::mem::swap(buffer, &mut self.bytes);
        } else {
            buffer.clear();
            buffer.reserve_exact(self.bytes.len());
            for run in &self.runs {
                buffer.extend_from_slice(&self.bytes[run.at..][..run.len]);
            }
        }
        self.clear();
    }

    /// How much more memory [`take`](Self::take) takes at most.
    pub(super) fn take_growth(&self) -> usize {
        if self.runs.len() == 1 { 0 } else { self.len() }
    }

    /// Forgets the bytes but keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.runs.clear();
    }

    /// Keeps bytes that are all new, in front of the run at `index`.
    fn fill_gap(&mut self, index: usize, offset: usize, new: &[u8]) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(new);
        let before = index.checked_sub(1).and_then(|index| self.runs.get_mut(index));
        match before {
            Some(run) if run.end() == offset && run.at + run.len == at => run.len += new.len(),
            _ => self.runs.insert(index, Run { offset, len: new.len(), at }),
        }
    }

    /// The index of the first run that ends behind `offset`.
    fn first_behind(&self, offset: usize) -> usize {
        self.runs.partition_point(|run| run.end() <= offset)
    }

    /// The capacities of both lists that suffice to insert these bytes.
    fn capacity_for(&self, offset: usize, len: usize) -> (usize, usize) {
        // A packet has no more bytes than that, however many are received twice.
        let bytes = (self.bytes.len() + len).min(MAX_IPV4_PAYLOAD_LEN);
        // There can be a gap before, between and behind the runs that the bytes overlap.
        let overlapped =
            self.runs.partition_point(|run| run.offset < offset + len) - self.first_behind(offset);
        let runs = self.runs.len() + overlapped + 1;
        (enough(self.bytes.capacity(), bytes), enough(self.runs.capacity(), runs))
    }
}

/// The capacity to grow to: by doubling, so that bytes are moved rarely.
fn enough(capacity: usize, needed: usize) -> usize {
    if needed <= capacity { capacity } else { needed.next_power_of_two() }
}
