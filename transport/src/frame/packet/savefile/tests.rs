use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// Writes numbers in one byte order or the other.
#[derive(Clone, Copy, Debug)]
struct Order {
    is_big: bool,
}

const ORDERS: [Order; 2] = [Order { is_big: false }, Order { is_big: true }];

impl Order {
    fn u16(self, value: u16) -> [u8; 2] {
        if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u32(self, value: u32) -> [u8; 4] {
        if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u64(self, value: u64) -> [u8; 8] {
        if self.is_big { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    /// A pcap file with these frames: seconds, fraction, original length, bytes.
    fn pcap(self, magic: u32, link: u32, frames: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend(self.u32(magic));
        file.extend(self.u16(2));
        file.extend(self.u16(4));
        for word in [0, 0, 262_144, link] {
            file.extend(self.u32(word));
        }
        for (seconds, fraction, original_len, bytes) in frames {
            for word in [*seconds, *fraction, bytes.len() as u32, *original_len] {
                file.extend(self.u32(word));
            }
            file.extend(*bytes);
        }
        file
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padding = body.len().next_multiple_of(4) - body.len();
        let len = self.u32((12 + body.len() + padding) as u32);
        [&self.u32(kind)[..], &len, body, &vec![0; padding], &len].concat()
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let padding = value.len().next_multiple_of(4) - value.len();
        [&self.u16(code)[..], &self.u16(value.len() as u16), value, &vec![0; padding]].concat()
    }

    fn section(self) -> Vec<u8> {
        let body = [&self.u32(0x1a2b_3c4d)[..], &self.u16(1), &self.u16(0), &self.u64(u64::MAX)].concat();
        self.block(0x0a0d_0d0a, &body)
    }

    fn interface(self, link: u16, snap_len: u32, options: &[Vec<u8>]) -> Vec<u8> {
        let mut body = [&self.u16(link)[..], &[0; 2], &self.u32(snap_len)].concat();
        body.extend(options.concat());
        if !options.is_empty() {
            body.extend(self.option(0, &[]));
        }
        self.block(1, &body)
    }

    fn enhanced(self, interface: u32, units: u64, original_len: u32, bytes: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for word in [interface, (units >> 32) as u32, units as u32, bytes.len() as u32, original_len] {
            body.extend(self.u32(word));
        }
        body.extend(bytes);
        self.block(6, &body)
    }

    fn obsolete(self, interface: u16, units: u64, original_len: u32, bytes: &[u8]) -> Vec<u8> {
        let mut body = [self.u16(interface), self.u16(u16::MAX)].concat();
        for word in [(units >> 32) as u32, units as u32, bytes.len() as u32, original_len] {
            body.extend(self.u32(word));
        }
        body.extend(bytes);
        self.block(2, &body)
    }

    fn simple(self, original_len: u32, bytes: &[u8]) -> Vec<u8> {
        self.block(3, &[&self.u32(original_len)[..], bytes].concat())
    }
}

type Owned = (i32, Vec<u8>, usize, Option<Duration>);

fn open(file: &[u8]) -> Result<Savefile, SavefileError> {
    Savefile::read(Path::new("test.pcap"), Cursor::new(file.to_vec()))
}

/// All frames, and why there are no more.
fn read(file: &[u8]) -> (Vec<Owned>, Option<SavefileError>) {
    let mut savefile = match open(file) {
        Ok(savefile) => savefile,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut frames = Vec::new();
    loop {
        match savefile.next_frame() {
            Ok(Some(SavedFrame { dlt, bytes, original_len, time })) => {
                frames.push((dlt, bytes.to_vec(), original_len, time));
            }
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

fn whole(file: &[u8]) -> Vec<Owned> {
    let (frames, error) = read(file);
    assert!(error.is_none(), "{error:?}");
    frames
}

#[test]
fn pcap_of_either_order_and_resolution() {
    let time = Duration::new(1_700_000_000, 123_456_000);
    for order in ORDERS {
        for (magic, fraction) in [(0xa1b2_c3d4, 123_456), (0xa1b2_3c4d, 123_456_000)] {
            let first = (1_700_000_000, fraction, 5, &b"abcde"[..]);
            let second = (u32::MAX, u32::MAX, 90_000, &b""[..]);
            // The upper bits of the link type say that four bytes of check sequence follow each frame.
            let frames = whole(&order.pcap(magic, 0x2400_0001, &[first, second]));
            assert_eq!(frames.len(), 2);
            assert_eq!(frames[0], (1, b"abcde".to_vec(), 5, Some(time)), "{order:?}");
            assert_eq!((&frames[1].1[..], frames[1].2), (&b""[..], 90_000));
        }
    }
}

#[test]
fn pcapng_of_either_order_with_several_interfaces_and_sections() {
    for (order, other) in [(ORDERS[0], ORDERS[1]), (ORDERS[1], ORDERS[0])] {
        let nanos = order.option(9, &[9]);
        let name = order.option(2, b"lo0");
        let binary = order.option(9, &[0x80 | 20]);
        let offset = order.option(14, &order.u64(1000));
        let before = order.option(14, &order.u64(-5_i64 as u64));
        let file = [
            order.section(),
            order.interface(1, 0, &[]),
            order.interface(0, 262_144, &[name, nanos]),
            order.interface(276, 0, &[binary, offset]),
            order.interface(1, 0, &[before]),
            order.enhanced(0, 1_700_000_000_123_456, 3, b"one"),
            order.block(0x0bad_0001, b"unknown to all"),
            order.enhanced(1, 1_700_000_000_123_456_789, 4, b"four"),
            order.enhanced(2, (7 << 20) + (1 << 19), 90_000, b"cut"),
            order.simple(5, b"plain"),
            order.enhanced(0, 0, 4, b"when"),
            order.obsolete(2, 3 << 20, 70_000, b"older"),
            order.block(0x0200_0000, b"a packet in the other byte order"),
            order.enhanced(3, 6_000_001, 1, b"x"),
            other.section(),
            other.interface(101, 0, &[]),
            other.enhanced(0, 42, 0, b""),
        ]
        .concat();
        let expected = [
            (1, b"one".to_vec(), 3, Some(Duration::new(1_700_000_000, 123_456_000))),
            (0, b"four".to_vec(), 4, Some(Duration::new(1_700_000_000, 123_456_789))),
            (276, b"cut".to_vec(), 90_000, Some(Duration::new(1007, 500_000_000))),
            (1, b"plain".to_vec(), 5, None),
            (1, b"when".to_vec(), 4, None),
            (276, b"older".to_vec(), 70_000, Some(Duration::from_secs(1003))),
            (1, b"x".to_vec(), 1, Some(Duration::new(1, 1_000))),
            (101, Vec::new(), 0, Some(Duration::from_micros(42))),
        ];
        assert_eq!(whole(&file), expected, "{order:?}");
    }
}

#[test]
fn simple_packets_end_at_the_snap_length() {
    let order = ORDERS[0];
    let file = [order.section(), order.interface(1, 6, &[]), order.simple(100, b"abcdef")].concat();
    assert_eq!(whole(&file), [(1, b"abcdef".to_vec(), 100, None)]);
}

#[test]
fn unbelievable_resolutions_are_survived() {
    let order = ORDERS[0];
    for resolution in 0..=u8::MAX {
        let option = order.option(9, &[resolution]);
        let offset = order.option(14, &order.u64(i64::MAX as u64));
        let interface = order.interface(1, 0, &[option, offset]);
        let frames = whole(&[order.section(), interface, order.enhanced(0, u64::MAX, 0, b"")].concat());
        assert_eq!(frames.len(), 1);
    }
}

#[test]
fn the_largest_frames_are_read() {
    let bytes = vec![7; 262_144];
    let order = ORDERS[0];
    let frames = vec![(1, 2, 262_144, &bytes[..]); 20];
    assert_eq!(whole(&order.pcap(0xa1b2_c3d4, 1, &frames)).len(), 20);
    let packets = vec![order.enhanced(0, 1, 262_144, &bytes); 20];
    let file = [order.section(), order.interface(1, 0, &[]), packets.concat()].concat();
    assert_eq!(whole(&file).iter().filter(|frame| frame.1 == bytes).count(), 20);
}

#[test]
fn every_truncation_is_told() {
    let order = ORDERS[0];
    let pcap = order.pcap(0xa1b2_c3d4, 1, &[(1, 2, 3, b"abc"), (1, 2, 3, b"def")]);
    let pcapng = [order.section(), order.interface(1, 0, &[]), order.enhanced(0, 1, 4, b"abcd")].concat();
    for (file, ends) in [(pcap, vec![24, 43, 62]), (pcapng, vec![28, 48, 84])] {
        for len in 0..=file.len() {
            let (frames, error) = read(&file[..len]);
            let is_right = match error {
                None => ends.contains(&len),
                Some(SavefileError::Empty { .. }) => len == 0,
                Some(SavefileError::UnknownFormat { .. }) => (1..ends[0]).contains(&len),
                Some(SavefileError::Truncated { .. }) => len > ends[0] && !ends.contains(&len),
                Some(_) => false,
            };
            assert!(is_right, "{len} {error:?}");
            assert!(frames.len() <= 2);
        }
    }
}

#[test]
fn damage_is_told() {
    let order = ORDERS[0];
    let interface = [order.section(), order.interface(1, 0, &[])].concat();
    let enhanced = order.enhanced(0, 1, 4, b"abcd");
    for (at, word) in [(4, u32::MAX), (4, 16), (8, 1), (20, 1000), (20, u32::MAX), (32, 8)] {
        let mut damaged = enhanced.clone();
        damaged[at..at + 4].copy_from_slice(&word.to_le_bytes());
        let mut file = [interface.clone(), damaged].concat();
        // So much that the reader's buffer is full before the file ends.
        file.resize(2 * BUFFER_LEN, 0);
        let (frames, error) = read(&file);
        assert!(frames.is_empty());
        assert!(matches!(error, Some(SavefileError::Damaged { .. })), "{at} {word} {error:?}");
    }
    for nobodys in [order.enhanced(0, 1, 4, b"abcd"), order.simple(4, b"abcd")] {
        let (_, error) = read(&[order.section(), nobodys].concat());
        assert!(matches!(error, Some(SavefileError::Damaged { .. })), "{error:?}");
    }
}

#[test]
fn blocks_shorter_than_any_are_damage() {
    for order in ORDERS {
        for kind in [0, 1, 3, 6, 10, 0x0bad_0001, 0x8000_0001] {
            for len in 0..12 {
                let block = [order.u32(kind), order.u32(len), order.u32(0), order.u32(len)].concat();
                let (frames, error) = read(&[order.section(), block].concat());
                assert!(frames.is_empty());
                assert!(matches!(error, Some(SavefileError::Damaged { .. })), "{kind:x} {len}");
            }
        }
    }
    // In pcap the same bytes are a time.
    let frame = (0x8000_0001, 4, 3, &b"abc"[..]);
    assert_eq!(whole(&ORDERS[0].pcap(0xa1b2_c3d4, 1, &[frame])).len(), 1);
}

#[test]
fn errors_name_the_file() {
    let missing = Savefile::open(Path::new("/nowhere/missing.pcap")).err().expect("no such file");
    assert!(matches!(missing, SavefileError::Open { .. }));
    assert!(missing.to_string().contains("/nowhere/missing.pcap"));
    let foreign = open(b"GIF89a, and no more than that").err().expect("no capture");
    assert!(foreign.to_string().starts_with("test.pcap is neither a pcap nor a pcapng file"), "{foreign}");
}

/// Hands out a file byte by byte, is interrupted before each, and fails then.
struct Failing {
    bytes: Cursor<Vec<u8>>,
    is_interrupted: bool,
}

impl Failing {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Cursor::new(bytes), is_interrupted: false }
    }
}

impl io::Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.is_interrupted = !self.is_interrupted;
        if self.is_interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = buffer.len().min(1);
        match self.bytes.read(&mut buffer[..len])? {
            0 if len > 0 => Err(io::Error::other("the disk is gone")),
            len => Ok(len),
        }
    }
}

#[test]
fn what_comes_in_small_parts_is_read_until_that_fails() {
    for order in ORDERS {
        let frames = [order.enhanced(0, 1, 3, b"abc"), order.enhanced(0, 2, 3, b"def")].concat();
        let pcapng = [order.section(), order.interface(1, 0, &[]), frames].concat();
        let pcap = order.pcap(0xa1b2_c3d4, 1, &[(1, 2, 3, b"abc"), (1, 3, 3, b"def")]);
        for file in [pcap, pcapng] {
            let mut savefile = Savefile::read(Path::new("x"), Failing::new(file)).expect("a capture file");
            for _ in 0..2 {
                assert!(matches!(savefile.next_frame(), Ok(Some(_))));
            }
            let Err(SavefileError::Read { source, .. }) = savefile.next_frame() else { panic!("it fails") };
            assert_eq!(source.to_string(), "the disk is gone");
        }
    }
    let nothing = Savefile::read(Path::new("x"), Failing::new(Vec::new()));
    assert!(matches!(nothing, Err(SavefileError::Read { .. })));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes it")
}

#[test]
fn gzip_is_unpacked() {
    let order = ORDERS[0];
    let file = order.pcap(0xa1b2_c3d4, 1, &[(1, 2, 3, b"abc"), (1, 2, 3, b"def")]);
    let packed = gzip(&file);
    assert_eq!(whole(&packed), whole(&file));
    // Packed files behind each other are one.
    let (start, rest) = file.split_at(30);
    assert_eq!(whole(&[gzip(start), gzip(rest)].concat()), whole(&file));
    // It is unpacked once.
    assert!(matches!(open(&gzip(&packed)), Err(SavefileError::UnknownFormat { .. })));
    for len in 2..packed.len() {
        let error = match open(&packed[..len]) {
            Ok(mut savefile) => loop {
                match savefile.next_frame() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{len}: it has no end"),
                    Err(error) => break error,
                }
            },
            Err(error) => error,
        };
        assert!(matches!(error, SavefileError::Truncated { .. }), "{len} {error:?}");
    }
}

#[test]
fn no_more_interfaces_are_kept_than_can_be_named() {
    let order = ORDERS[0];
    let interfaces = order.interface(1, 0, &[]).repeat(MAX_INTERFACES);
    let file = [order.section(), interfaces, order.enhanced(65_535, 1, 1, b"x")].concat();
    assert_eq!(whole(&file).len(), 1);
    let (frames, error) = read(&[file, order.interface(1, 0, &[])].concat());
    assert_eq!(frames.len(), 1);
    assert!(matches!(error, Some(SavefileError::Damaged { .. })), "{error:?}");
}

proptest! {
    /// Reading ends, without a panic, with no more bytes in frames than the file has.
    #[test]
    fn damage_anywhere_is_survived(
        is_pcapng in any::<bool>(),
        order in prop::sample::select(&ORDERS),
        damage in vec((any::<Index>(), prop_oneof![any::<u8>(), Just(0), Just(255)]), 0..6),
        end in any::<Index>(),
    ) {
        let mut file = if is_pcapng {
            let options = [order.option(9, &[9]), order.option(14, &order.u64(1)), order.option(2, b"eth0")];
            [
                order.section(),
                order.interface(1, 64, &options),
                order.enhanced(0, 1, 4, b"abcd"),
                order.simple(7, b"abcdefg"),
                order.interface(1, 0, &[]),
                order.enhanced(1, 1, 4, b"ab"),
                order.obsolete(0, 1, 4, b"ab"),
            ]
            .concat()
        } else {
            order.pcap(0xa1b2_c3d4, 1, &[(1, 2, 3, b"abc"), (1, 2, 9, b"")])
        };
        for (at, value) in damage {
            let at = at.index(file.len());
            file[at] = value;
        }
        file.truncate(file.len() - end.index(file.len()) / 4);
        let (frames, _) = read(&file);
        prop_assert!(frames.iter().map(|frame| frame.1.len()).sum::<usize>() <= file.len());
    }
}
