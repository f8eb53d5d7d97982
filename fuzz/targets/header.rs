//! The header of a datagram, and datagrams that came together: any bytes are taken, and what is read is what was written.

#![no_main]

use ferrocal_fuzz::{Input, check_merged, with_peak};
use ferrocal_proto::{HEADER_LEN, Header, Kind};
use libfuzzer_sys::fuzz_target;

fn check(datagram: &[u8]) {
    let (parsed, peak) = with_peak(|| Header::parse(datagram));
    assert_eq!(peak, 0, "a header is borrowed");
    let Ok((header, payload)) = parsed else { return };
    assert_eq!(payload, &datagram[HEADER_LEN..]);
    assert_eq!(Header::datagram_len(datagram), Some(datagram.len()));
    assert!(header.kind != Kind::Info || payload.is_empty());
    assert_eq!(Header::parse(&[&header.encode()[..], payload].concat()), Ok((header, payload)));
}

fuzz_target!(|data: &[u8]| {
    check(data);
    check_merged(data);

    // With a header that fits, which mutations rarely are.
    let mut input = Input(data);
    let kind = [Kind::Info, Kind::Fragment, Kind::Whole][usize::from(input.byte() % 3)];
    let [id, num] = [input.long() as u32, input.long() as u32];
    let payload = if kind == Kind::Info { &[] } else { input.0 };
    let len = if kind == Kind::Info { input.long() as u32 } else { payload.len() as u32 };
    let header = Header { kind, id: id.cast_signed(), num, len };
    let mut datagram = [&header.encode()[..], payload].concat();
    assert_eq!(Header::parse(&datagram), Ok((header, payload)));
    datagram.push(0);
    assert!(Header::parse(&datagram).is_err());
});
