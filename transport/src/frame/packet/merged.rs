//! eCAL datagrams that segmentation offload merged.

use ferrocal_proto::Header;

/// Takes a UDP payload apart in which segmentation offload put several eCAL datagrams behind each other.
///
/// Each is as long as its header states, and has the header of another one behind it. Whatever else there is is passed on as
/// it is, with everything behind it, so that the caller's parser counts it. An ordinary datagram, good or bad, is therefore
/// passed on once and whole, also if its header states less than it holds.
pub(crate) fn each_datagram<'a>(payload: &'a [u8], mut each: impl FnMut(&'a [u8])) {
    let mut rest = payload;
    while let Some((datagram, behind)) = Header::datagram_len(rest)
        .and_then(|len| rest.split_at_checked(len))
        .filter(|(_, behind)| Header::datagram_len(behind).is_some())
    {
        each(datagram);
        rest = behind;
    }
    each(rest);
}

#[cfg(test)]
mod tests {
    use ferrocal_proto::Kind;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn datagram(kind: Kind, payload_len: usize, len: u32) -> Vec<u8> {
        let mut datagram = Vec::from(Header { kind, id: 7, num: 1, len }.encode());
        datagram.extend((0..payload_len).map(|byte| byte as u8));
        datagram
    }

    fn split(payload: &[u8]) -> Vec<&[u8]> {
        let mut datagrams = Vec::new();
        each_datagram(payload, |datagram| datagrams.push(datagram));
        datagrams
    }

    #[test]
    fn a_run_is_taken_apart() {
        let run = [
            datagram(Kind::Info, 0, 200_000),
            datagram(Kind::Fragment, 1400, 1400),
            datagram(Kind::Whole, 30, 30),
            datagram(Kind::Whole, 0, 0),
            datagram(Kind::Fragment, 1, 1),
        ];
        assert_eq!(split(&run.concat()), run);
    }

    #[test]
    fn one_datagram_is_handed_on_whole() {
        for one in [datagram(Kind::Info, 0, 5), datagram(Kind::Whole, 5, 5), Vec::new(), vec![b'E'; 23]] {
            assert_eq!(split(&one), [&one[..]]);
        }
        // What holds more than it states is not taken for two.
        for bad in [datagram(Kind::Whole, 5, 4), datagram(Kind::Fragment, 100, 0), datagram(Kind::Info, 3, 3)]
        {
            assert_eq!(split(&bad), [&bad[..]]);
        }
    }

    #[test]
    fn what_does_not_parse_is_the_rest() {
        let good = datagram(Kind::Whole, 5, 5);
        let with_header = [datagram(Kind::Whole, 5, 99), datagram(Kind::Whole, 5, u32::MAX)];
        for bad in &with_header {
            let run = [&good[..], &good, bad].concat();
            assert_eq!(split(&run), [&good[..], &good, bad]);
        }
        for bad in with_header.into_iter().chain([vec![1, 2, 3], vec![0; 100]]) {
            assert_eq!(split(&bad), [&bad[..]]);
            // Nothing states where the next begins.
            let run = [&bad[..], &good].concat();
            assert_eq!(split(&run), [&run[..]]);
        }
    }

    proptest! {
        #[test]
        fn runs_of_any_lengths(lens in vec((0..3_u8, 0..200_usize), 1..50), garbage in vec(any::<u8>(), 0..60)) {
            let run: Vec<_> = lens
                .into_iter()
                .map(|(kind, len)| match kind {
                    0 => datagram(Kind::Info, 0, len as u32),
                    1 => datagram(Kind::Fragment, len, len as u32),
                    _ => datagram(Kind::Whole, len, len as u32),
                })
                .collect();
            let merged = run.concat();
            prop_assert_eq!(split(&merged), run);
            prop_assert_eq!(split(&garbage), [&garbage[..]]);
            let with_garbage = [merged, garbage].concat();
            prop_assert_eq!(split(&with_garbage).concat(), with_garbage);
        }
    }
}
