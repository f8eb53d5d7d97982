//! Who makes room for another connection when there are as many as there may be.

use std::collections::HashMap;
use std::net::IpAddr;

use mio::Token;

use crate::connection::host_of;

/// What shares the room for connections evenly with others: topics, and then the hosts of one topic. Who has many
/// addresses gets no more for it: the topics are those of this node.
#[derive(Clone, Copy)]
pub(super) struct Kind<'a> {
    is_outgoing: bool,
    pub(super) topic: &'a str,
    host: IpAddr,
}

impl<'a> Kind<'a> {
    pub(super) fn new(is_outgoing: bool, topic: &'a str, address: IpAddr) -> Self {
        Self { is_outgoing, topic, host: host_of(address) }
    }

    fn whole_topic(self) -> (bool, &'a str) {
        (self.is_outgoing, self.topic)
    }
}

/// The connection to close for a new one: the newest of the topic that has most, or of the host that has most of the new
/// one's topic. `None` if none has more than the new one's would have then.
pub(super) fn to_close(new: Kind<'_>, present: &[(Token, Kind<'_>)]) -> Option<Token> {
    let mut topics: HashMap<_, (usize, Token)> = HashMap::new();
    for &(token, kind) in present {
        add(topics.entry(kind.whole_topic()).or_insert((0, token)), token);
    }
    let own = topics.get(&new.whole_topic()).map_or(0, |(count, _)| *count);
    let (largest, (most, _)) = topics.into_iter().max_by_key(|(_, counted)| *counted)?;
    let is_own = most <= own + 1;
    let topic = if is_own { new.whole_topic() } else { largest };

    let mut hosts: HashMap<_, (usize, Token)> = HashMap::new();
    for &(token, kind) in present.iter().filter(|(_, kind)| kind.whole_topic() == topic) {
        add(hosts.entry(kind.host).or_insert((0, token)), token);
    }
    let own = hosts.get(&new.host).map_or(0, |(count, _)| *count);
    let (most, newest) = hosts.into_values().max()?;
    (!is_own || most > own + 1).then_some(newest)
}

/// Counts a connection, and keeps the newest.
fn add((count, newest): &mut (usize, Token), token: Token) {
    *count += 1;
    *newest = (*newest).max(token);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(topic: &str, address: impl Into<IpAddr>) -> Kind<'_> {
        Kind::new(false, topic, address.into())
    }

    fn present<'a>(kinds: impl IntoIterator<Item = Kind<'a>>) -> Vec<(Token, Kind<'a>)> {
        kinds.into_iter().enumerate().map(|(number, kind)| (Token(number), kind)).collect()
    }

    fn address(number: u8) -> [u8; 4] {
        [10, 0, 0, number]
    }

    #[test]
    fn many_addresses_do_not_keep_other_topics_out() {
        let taken = present((0..10).map(|number| kind("flooded", address(number))));
        assert_eq!(to_close(kind("other", address(0)), &taken), Some(Token(9)), "the newest");
        assert_eq!(to_close(Kind::new(true, "flooded", address(0).into()), &taken), Some(Token(9)));
        assert_eq!(to_close(kind("flooded", address(0)), &taken), None, "it has as many as others");
        assert_eq!(to_close(kind("flooded", address(10)), &taken), None, "a new one would have as many");
    }

    #[test]
    fn one_address_does_not_keep_others_out_of_its_topic() {
        let of_all = |topic| [1, 1, 1, 2].map(|number| kind(topic, address(number)));
        let taken = present(of_all("one").into_iter().chain(of_all("two")));
        assert_eq!(to_close(kind("one", address(3)), &taken), Some(Token(2)));
        assert_eq!(to_close(kind("two", address(2)), &taken), Some(Token(6)));
        assert_eq!(to_close(kind("two", address(1)), &taken), None);
        assert_eq!(to_close(kind("three", address(1)), &taken), Some(Token(6)), "of the newest such topic");
        assert_eq!(to_close(kind("one", address(1)), &[]), None);
    }
}
