//! Frames with more in front of them: what radiotap and PPI say of reception, and Wi-Fi.
//!
//! Only capture files have these. Layouts: <https://www.radiotap.org>, IEEE 802.11-2020 (9.2.4), and for PPI
//! <https://www.tcpdump.org/linktypes/LINKTYPE_PPI.html>.

use super::{FrameDrop, LinkType};

const WIFI: i32 = 105;
const RADIOTAP: i32 = 127;
const PPI: i32 = 192;

/// Radiotap's fields are present by a bit each: the time, the flags, and whether another word of such bits follows.
const HAS_TIME: u32 = 1;
const HAS_FLAGS: u32 = 1 << 1;
const HAS_MORE: u32 = 1 << 31;
/// The radiotap flag of zeros behind the Wi-Fi header, up to a multiple of four bytes.
const IS_PADDED: u8 = 0x20;

/// What is in a saved frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwrapped<'a> {
    /// A frame as network cards see it, up to the end of the saved one.
    Frame(LinkType, &'a [u8]),
    /// Something other than IPv4.
    Foreign,
    /// A frame of an unknown link type, with its number.
    Unknown(i32),
}

/// Takes off what is in front of a saved frame with this number of a link type.
///
/// # Errors
/// [`FrameDrop::Truncated`] when it ends within that.
pub(crate) fn unwrap(dlt: i32, frame: &[u8]) -> Result<Unwrapped<'_>, FrameDrop> {
    let (dlt, frame, is_padded) = match dlt {
        RADIOTAP => {
            let (is_padded, frame) = split_radiotap(frame).ok_or(FrameDrop::Truncated)?;
            (WIFI, frame, is_padded)
        }
        PPI => {
            let (dlt, frame) = split_ppi(frame).ok_or(FrameDrop::Truncated)?;
            (dlt, frame, false)
        }
        dlt => (dlt, frame, false),
    };
    if dlt == WIFI {
        let packet = wifi_packet(frame, is_padded).ok_or(FrameDrop::Truncated)?;
        return Ok(packet.map_or(Unwrapped::Foreign, |packet| Unwrapped::Frame(LinkType::Raw, packet)));
    }
    Ok(LinkType::from_dlt(dlt).map_or(Unwrapped::Unknown(dlt), |link| Unwrapped::Frame(link, frame)))
}

/// Splits the radiotap header off, and returns whether the Wi-Fi header is padded.
fn split_radiotap(frame: &[u8]) -> Option<(bool, &[u8])> {
    let [_, _, low, high] = *frame.first_chunk()?;
    let (header, rest) = frame.split_at_checked(u16::from_le_bytes([low, high]).into())?;
    let words = header.as_chunks().0.iter().skip(1).map(|word| u32::from_le_bytes(*word));
    let more = words.clone().take_while(|word| word & HAS_MORE != 0).count();
    let present = words.clone().next()?;
    let mut flags_at = 4 * (1 + more + 1);
    if present & HAS_TIME != 0 {
        flags_at = flags_at.next_multiple_of(8) + 8;
    }
    let flags = if present & HAS_FLAGS == 0 { 0 } else { *header.get(flags_at)? };
    Some((flags & IS_PADDED != 0, rest))
}

/// Splits the PPI header off, and returns the link type of what is behind it.
fn split_ppi(frame: &[u8]) -> Option<(i32, &[u8])> {
    let [_, _, low, high, dlt @ ..] = *frame.first_chunk::<8>()?;
    let rest = frame.get(usize::from(u16::from_le_bytes([low, high])).max(8)..)?;
    Some((i32::from_le_bytes(dlt), rest))
}

/// Returns the IPv4 packet of a Wi-Fi frame: `Some(None)` if it has none that can be read, `None` if the frame is too
/// short.
fn wifi_packet(frame: &[u8], is_padded: bool) -> Option<Option<&[u8]>> {
    /// Of the first byte: a data frame, with the bits of its subtypes.
    const DATA: u8 = 0x08;
    const TYPE_AND_VERSION: u8 = 0x0f;
    const HAS_NO_DATA: u8 = 0x40;
    const HAS_QOS: u8 = 0x80;
    /// Of the second byte.
    const FROM_AND_TO_DS: u8 = 0x03;
    const IS_ENCRYPTED: u8 = 0x40;
    const HAS_HT_CONTROL: u8 = 0x80;
    /// Of the quality-of-service field: several packets are in one frame.
    const IS_AGGREGATE: u8 = 0x80;
    /// LLC and SNAP (RFC 1042), up to the EtherType.
    const SNAP: [u8; 6] = [0xaa, 0xaa, 3, 0, 0, 0];
    const IPV4: [u8; 2] = [8, 0];

    let [kind, flags] = *frame.first_chunk()?;
    if kind & TYPE_AND_VERSION != DATA || kind & HAS_NO_DATA != 0 || flags & IS_ENCRYPTED != 0 {
        return Some(None);
    }
    let mut len = 24;
    if flags & FROM_AND_TO_DS == FROM_AND_TO_DS {
        len += 6;
    }
    if kind & HAS_QOS != 0 {
        if frame.get(len)? & IS_AGGREGATE != 0 {
            return Some(None);
        }
        len += if flags & HAS_HT_CONTROL == 0 { 2 } else { 6 };
    }
    if is_padded {
        len = len.next_multiple_of(4);
    }
    let (llc, packet) = frame.get(len..)?.split_first_chunk::<8>()?;
    Some(llc.strip_prefix(&SNAP).filter(|ethertype| *ethertype == IPV4).map(|_| packet))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNAP: [u8; 8] = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
    const PACKET: [u8; 4] = [0x45, 1, 2, 3];

    fn wifi(kind: u8, flags: u8, header_len: usize) -> Vec<u8> {
        let mut frame = vec![0; header_len];
        (frame[0], frame[1]) = (kind, flags);
        [&frame[..], &SNAP, &PACKET].concat()
    }

    fn radiotap(present: &[u32], fields: &[u8]) -> Vec<u8> {
        let len = 4 + 4 * present.len() + fields.len();
        let present = present.iter().flat_map(|word| word.to_le_bytes());
        [0, 0, len as u8, 0].into_iter().chain(present).chain(fields.iter().copied()).collect()
    }

    fn ppi(dlt: i32, fields: &[u8]) -> Vec<u8> {
        [&[0, 0, 8 + fields.len() as u8, 0], &dlt.to_le_bytes()[..], fields].concat()
    }

    const IPV4: Result<Unwrapped<'_>, FrameDrop> = Ok(Unwrapped::Frame(LinkType::Raw, &PACKET));
    const FOREIGN: Result<Unwrapped<'_>, FrameDrop> = Ok(Unwrapped::Foreign);

    #[test]
    fn wifi_headers_of_every_length() {
        for (kind, flags, len) in
            [(0x08, 2, 24), (0x08, 1, 24), (0x08, 3, 30), (0x88, 1, 26), (0x88, 3, 32), (0x88, 0x81, 30)]
        {
            let frame = wifi(kind, flags, len);
            assert_eq!(unwrap(WIFI, &frame), IPV4, "{kind:x} {flags:x}");
            for len in 0..frame.len() - PACKET.len() {
                assert_eq!(unwrap(WIFI, &frame[..len]), Err(FrameDrop::Truncated), "{len}");
            }
        }
        // A beacon, an acknowledgement, no data, and an encrypted frame.
        for (kind, flags) in [(0x80, 0), (0xd4, 0), (0x48, 1), (0x08, 0x41)] {
            assert_eq!(unwrap(WIFI, &wifi(kind, flags, 24)), FOREIGN);
        }
        let mut aggregate = wifi(0x88, 1, 26);
        aggregate[24] = 0x80;
        assert_eq!(unwrap(WIFI, &aggregate), FOREIGN);
        let mut arp = wifi(0x08, 1, 24);
        arp[24 + 7] = 6;
        assert_eq!(unwrap(WIFI, &arp), FOREIGN);
    }

    #[test]
    fn radiotap_with_and_without_padding() {
        let plain = wifi(0x88, 1, 26);
        let padded = wifi(0x88, 1, 28);
        let time = [1; 8];
        for (header, frame) in [
            (radiotap(&[0], &[]), &plain),
            (radiotap(&[HAS_FLAGS], &[0x10]), &plain),
            (radiotap(&[HAS_FLAGS], &[IS_PADDED]), &padded),
            // The time is at a multiple of eight bytes from the header's start.
            (radiotap(&[HAS_TIME | HAS_FLAGS], &[&time[..], &[IS_PADDED]].concat()), &padded),
            (
                radiotap(&[HAS_TIME | HAS_FLAGS | HAS_MORE, 0], &[&[0; 4], &time[..], &[IS_PADDED]].concat()),
                &padded,
            ),
            (
                radiotap(&[HAS_TIME | HAS_MORE, HAS_FLAGS], &[&[0; 4], &time[..], &[IS_PADDED]].concat()),
                &plain,
            ),
        ] {
            let frame = [&header[..], frame].concat();
            assert_eq!(unwrap(RADIOTAP, &frame), IPV4, "{header:?}");
            for len in 0..frame.len() - PACKET.len() {
                assert_eq!(unwrap(RADIOTAP, &frame[..len]), Err(FrameDrop::Truncated), "{len}");
            }
        }
        // It says that there are flags, and has no room for them.
        let lying = [radiotap(&[HAS_FLAGS], &[]), plain].concat();
        assert_eq!(unwrap(RADIOTAP, &lying), Err(FrameDrop::Truncated));
    }

    #[test]
    fn ppi_says_what_it_holds() {
        let unwrapped = |dlt, rest: &'static [u8]| {
            let frame: &'static [u8] = [&ppi(dlt, &[7; 5]), rest].concat().leak();
            unwrap(PPI, frame)
        };
        assert_eq!(unwrapped(1, b"frame"), Ok(Unwrapped::Frame(LinkType::Ethernet, b"frame")));
        assert_eq!(unwrapped(WIFI, wifi(0x08, 2, 24).leak()), IPV4);
        assert_eq!(unwrapped(147, b"frame"), Ok(Unwrapped::Unknown(147)));
        // Once is enough.
        assert_eq!(unwrapped(PPI, &[0; 20]), Ok(Unwrapped::Unknown(PPI)));
        for len in 0..13 {
            assert_eq!(unwrap(PPI, &ppi(1, &[7; 5])[..len]), Err(FrameDrop::Truncated), "{len}");
        }
    }

    #[test]
    fn other_link_types_stay_as_they_are() {
        assert_eq!(unwrap(1, b"frame"), Ok(Unwrapped::Frame(LinkType::Ethernet, b"frame")));
        assert_eq!(unwrap(101, b"packet"), Ok(Unwrapped::Frame(LinkType::Raw, b"packet")));
        assert_eq!(unwrap(220, b"a USB transfer"), Ok(Unwrapped::Unknown(220)));
    }
}
