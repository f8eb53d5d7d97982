//! A payload to be read where it lies.

use std::fmt;

use bytes::Bytes;

use crate::PayloadReadError;

/// A payload in memory that other processes may write to.
pub(crate) trait InPlace: Sync {
    /// Its length in bytes.
    fn len(&self) -> usize;

    /// Copies the bytes from `offset` on. The caller has checked that the payload has them. Returns whether they are
    /// there.
    fn read(&self, offset: usize, into: &mut [u8]) -> bool;

    /// A copy of all bytes. `None` if they are not there.
    fn copy(&self) -> Option<Vec<u8>>;

    /// Whether all that was read so far is what the publisher wrote.
    fn is_intact(&self) -> bool;
}

/// The bytes of a [borrowed message](crate::BorrowedMessage), to be read where they lie.
///
/// A payload that came by UDP or TCP, or was copied out of shared memory, is in memory of this process. One that lies
/// [in place](Self::is_in_place) is in the publisher's memory file. All functions are the same for both.
///
/// # Why there is no slice
/// Other processes can write to a memory file at any moment, and shorten it. They should not while this one has the
/// file's lock, but nothing prevents it. A `&[u8]` promises that its bytes do not change, so one of such memory would be
/// undefined behaviour. Each function here copies what it is asked for into memory of the program, in portions that
/// stay in the processor's cache, and reports if the file became too short.
///
/// [`read`](Self::read) and [`array`](Self::array) do not find out whether somebody wrote to the file meanwhile. Ask
/// [`is_intact`](Self::is_intact) once after the last of them, before acting on what they returned.
#[derive(Clone, Copy)]
pub struct BorrowedPayload<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Received(&'a Bytes),
    InPlace(&'a dyn InPlace),
}

/// A chunk of a payload that lies in place. It fits the fastest cache of common processors.
const CHUNK_LEN: usize = 8 * 1024;

impl<'a> BorrowedPayload<'a> {
    pub(crate) fn received(bytes: &'a Bytes) -> Self {
        Self(Source::Received(bytes))
    }

    pub(crate) fn in_place(place: &'a dyn InPlace) -> Self {
        Self(Source::InPlace(place))
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        match self.0 {
            Source::Received(bytes) => bytes.len(),
            Source::InPlace(place) => place.len(),
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the bytes lie in the publisher's memory file, which this process keeps locked until the callback returns.
    pub fn is_in_place(&self) -> bool {
        matches!(self.0, Source::InPlace(_))
    }

    /// Whether all that was read so far is what the publisher sent. Always `true` for a payload that does not lie in
    /// place.
    pub fn is_intact(&self) -> bool {
        match self.0 {
            Source::Received(_) => true,
            Source::InPlace(place) => place.is_intact(),
        }
    }

    /// Copies the bytes from `offset` on into `buffer`, which they fill.
    ///
    /// # Errors
    /// If the payload does not have so many bytes, or the memory file was shortened. The buffer holds anything then.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<(), PayloadReadError> {
        let (len, payload_len) = (buffer.len(), self.len());
        let end = offset.checked_add(len).filter(|&end| end <= payload_len);
        let end = end.ok_or(PayloadReadError::OutOfBounds { offset, len, payload_len })?;
        match self.0 {
            Source::Received(bytes) => buffer.copy_from_slice(&bytes[offset..end]),
            Source::InPlace(place) if place.read(offset, buffer) => {}
            Source::InPlace(_) => return Err(PayloadReadError::Changed),
        }
        Ok(())
    }

    /// The `LEN` bytes from `offset` on, such as those of a number: `u32::from_le_bytes(payload.array(4)?)`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn array<const LEN: usize>(&self, offset: usize) -> Result<[u8; LEN], PayloadReadError> {
        let mut array = [0; LEN];
        self.read(offset, &mut array)?;
        Ok(array)
    }

    /// Calls `function` with all bytes, in order, in one chunk or several of any length.
    ///
    /// # Errors
    /// If the memory file was shortened, or somebody wrote to it meanwhile: what the function got is of no use then.
    pub fn for_each_chunk(&self, mut function: impl FnMut(&[u8])) -> Result<(), PayloadReadError> {
        let place = match self.0 {
            Source::Received(bytes) => {
                function(bytes);
                return Ok(());
            }
            Source::InPlace(place) => place,
        };
        let mut chunk = [0; CHUNK_LEN];
        for offset in (0..place.len()).step_by(CHUNK_LEN) {
            let len = CHUNK_LEN.min(place.len() - offset);
            if !place.read(offset, &mut chunk[..len]) {
                return Err(PayloadReadError::Changed);
            }
            function(&chunk[..len]);
        }
        if place.is_intact() { Ok(()) } else { Err(PayloadReadError::Changed) }
    }

    /// All bytes, to keep. Copies them only if they lie in place.
    ///
    /// # Errors
    /// If the memory file was shortened, or somebody wrote to it meanwhile.
    pub fn to_bytes(&self) -> Result<Bytes, PayloadReadError> {
        match self.0 {
            Source::Received(bytes) => Ok(bytes.clone()),
            Source::InPlace(place) => {
                let copy = place.copy().filter(|_| place.is_intact());
                copy.map(Bytes::from).ok_or(PayloadReadError::Changed)
            }
        }
    }
}

impl fmt::Debug for BorrowedPayload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BorrowedPayload")
            .field("len", &self.len())
            .field("is_in_place", &self.is_in_place())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Memory that a test changes and shortens.
    pub(crate) struct Memory {
        pub(crate) bytes: Vec<u8>,
        /// What is left of it.
        pub(crate) there: usize,
        pub(crate) is_intact: AtomicBool,
    }

    impl Memory {
        pub(crate) fn new(len: usize) -> Self {
            let bytes = (0..len).map(|at| at as u8).collect();
            Self { bytes, there: len, is_intact: AtomicBool::new(true) }
        }
    }

    impl InPlace for Memory {
        fn len(&self) -> usize {
            self.bytes.len()
        }

        fn read(&self, offset: usize, into: &mut [u8]) -> bool {
            into.copy_from_slice(&self.bytes[offset..offset + into.len()]);
            offset + into.len() <= self.there
        }

        fn copy(&self) -> Option<Vec<u8>> {
            (self.there == self.bytes.len()).then(|| self.bytes.clone())
        }

        fn is_intact(&self) -> bool {
            self.is_intact.load(Ordering::SeqCst)
        }
    }

    /// What is read from a payload in both kinds of memory.
    fn both(len: usize, test: impl Fn(BorrowedPayload<'_>)) {
        let memory = Memory::new(len);
        test(BorrowedPayload::in_place(&memory));
        test(BorrowedPayload::received(&memory.bytes.clone().into()));
    }

    fn chunks(payload: BorrowedPayload<'_>) -> Result<Vec<u8>, PayloadReadError> {
        let mut all = Vec::new();
        payload.for_each_chunk(|chunk| all.extend_from_slice(chunk))?;
        Ok(all)
    }

    #[test]
    fn all_of_it_can_be_read() {
        for len in [0, 1, CHUNK_LEN, 3 * CHUNK_LEN - 1] {
            both(len, |payload| {
                let expected = Memory::new(len).bytes;
                assert_eq!((payload.len(), payload.is_empty(), payload.is_intact()), (len, len == 0, true));
                assert_eq!(payload.to_bytes().unwrap(), expected);
                assert_eq!(chunks(payload).unwrap(), expected);
            });
        }
    }

    #[test]
    fn parts_are_read_within_its_bounds() {
        both(100, |payload| {
            assert_eq!(payload.array(7), Ok([7, 8, 9]));
            assert_eq!(payload.array(100), Ok([]));
            assert_eq!(payload.array(96), Ok([96, 97, 98, 99]));
            for offset in [97, 101, usize::MAX] {
                let too_much = PayloadReadError::OutOfBounds { offset, len: 4, payload_len: 100 };
                assert_eq!(payload.array::<4>(offset), Err(too_much));
            }
        });
    }

    #[test]
    fn memory_that_shrinks_or_changes_is_an_error() {
        let mut memory = Memory::new(2 * CHUNK_LEN);
        memory.there = CHUNK_LEN;
        let payload = BorrowedPayload::in_place(&memory);
        assert_eq!(payload.array(0), Ok([0]));
        assert_eq!(payload.array::<1>(CHUNK_LEN), Err(PayloadReadError::Changed));
        assert_eq!(chunks(payload), Err(PayloadReadError::Changed));
        assert_eq!(payload.to_bytes(), Err(PayloadReadError::Changed));

        let memory = Memory { is_intact: AtomicBool::new(false), ..Memory::new(10) };
        let payload = BorrowedPayload::in_place(&memory);
        assert!(!payload.is_intact());
        assert_eq!(chunks(payload), Err(PayloadReadError::Changed));
        assert_eq!(payload.to_bytes(), Err(PayloadReadError::Changed));
    }
}
