//! What a firewall does with eCAL's datagrams, as far as its rules can be read.
//!
//! A datagram is followed through the rules. A condition that is not understood neither lets through nor drops for sure.
#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "the rules can be read on Linux only"))]

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::finding::Sure;

/// The rules of one tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ruleset {
    pub(crate) tool: Tool,
    pub(crate) chains: Vec<Chain>,
}

/// By which command rules are read and changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tool {
    #[default]
    Nft,
    Iptables,
}

/// A list of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The family and the table, such as `inet filter`.
    pub(crate) table: String,
    pub(crate) name: String,
    /// Where packets come to it: `input` or `output`, for example. None if only from other chains.
    pub(crate) hook: Option<String>,
    pub(crate) drops_the_rest: bool,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    conditions: Vec<Condition>,
    verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// One of these has to hold, or none of them if it is negated.
    Ports(Vec<RangeInclusive<u16>>, bool),
    Destinations(Vec<RangeInclusive<u32>>, bool),
    /// Names of protocols, of interfaces, of states or of kinds of addresses.
    Words(Subject, Vec<String>, bool),
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Protocol,
    In,
    Out,
    State,
    Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
    Jump(String),
    Goto(String),
    Return,
    /// None: it counts, or logs.
    Continue,
}

/// A datagram of eCAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    pub(crate) is_outgoing: bool,
    pub(crate) interface: &'a str,
    pub(crate) destination: Ipv4Addr,
    pub(crate) port: u16,
}

/// Where a datagram is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drop {
    pub(crate) table: String,
    /// The chain that packets come to first.
    pub(crate) chain: String,
    pub(crate) hook: String,
    pub(crate) sure: Sure,
}

/// What becomes of a datagram in a chain.
enum Fate {
    Accepted,
    Dropped,
    /// It came to the end.
    Through,
}

/// Chains call chains no deeper than this.
const MAX_DEPTH: u8 = 16;

impl Ruleset {
    /// Where the datagram is dropped, if it is.
    pub(crate) fn drops(&self, datagram: &Datagram<'_>) -> Option<Drop> {
        let hooks: &[&str] = if datagram.is_outgoing {
            &["output", "postrouting", "egress"]
        } else {
            &["ingress", "prerouting", "input"]
        };
        self.chains.iter().find_map(|chain| {
            let hook = chain.hook.as_ref().filter(|hook| hooks.contains(&hook.as_str()))?;
            let mut is_unsure = false;
            let fate = self.walk(chain, datagram, &mut is_unsure, 0);
            let is_dropped = match fate {
                Fate::Dropped => true,
                Fate::Accepted => false,
                Fate::Through => chain.drops_the_rest,
            };
            let sure = if is_unsure { Sure::Possible } else { Sure::Certain };
            is_dropped.then(|| Drop {
                table: chain.table.clone(),
                chain: chain.name.clone(),
                hook: hook.clone(),
                sure,
            })
        })
    }

    fn walk(&self, chain: &Chain, datagram: &Datagram<'_>, is_unsure: &mut bool, depth: u8) -> Fate {
        for rule in &chain.rules {
            match rule.matches(datagram) {
                Some(true) => {}
                Some(false) => continue,
                None => {
                    // What it accepts may be this datagram.
                    *is_unsure |= !matches!(rule.verdict, Verdict::Continue | Verdict::Drop);
                    continue;
                }
            }
            match &rule.verdict {
                Verdict::Accept => return Fate::Accepted,
                Verdict::Drop => return Fate::Dropped,
                Verdict::Return => return Fate::Through,
                Verdict::Continue => {}
                Verdict::Jump(name) | Verdict::Goto(name) => {
                    let called = |one: &&Chain| one.table == chain.table && one.name == *name;
                    let called = self.chains.iter().find(called).filter(|_| depth < MAX_DEPTH);
                    let fate = called
                        .map_or(Fate::Through, |called| self.walk(called, datagram, is_unsure, depth + 1));
                    match fate {
                        Fate::Through if matches!(rule.verdict, Verdict::Jump(_)) => {}
                        fate => return fate,
                    }
                }
            }
        }
        Fate::Through
    }

    /// The command that lets datagrams to these ports pass where one of them is dropped.
    pub(crate) fn mend(&self, drop: &Drop, ports: &RangeInclusive<u16>) -> String {
        let (first, last) = (ports.start(), ports.end());
        match self.tool {
            Tool::Nft => {
                format!("nft insert rule {} {} udp dport {first}-{last} accept", drop.table, drop.chain)
            }
            Tool::Iptables => {
                format!(
                    "iptables -t {} -I {} -p udp --dport {first}:{last} -j ACCEPT",
                    drop.table, drop.chain
                )
            }
        }
    }

    /// The rules that `nft -j list ruleset` prints.
    pub(crate) fn of_nft(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text).ok()?;
        let mut ruleset = Self::default();
        for object in json["nftables"].as_array()? {
            if let Some(chain) = object.get("chain") {
                let family = chain["family"].as_str()?;
                if ["ip", "inet", "netdev"].contains(&family) {
                    ruleset.chains.push(Chain {
                        table: format!("{family} {}", chain["table"].as_str()?),
                        name: chain["name"].as_str()?.to_owned(),
                        hook: chain["hook"].as_str().map(str::to_owned),
                        drops_the_rest: chain["policy"] == "drop",
                        rules: Vec::new(),
                    });
                }
            } else if let Some(rule) = object.get("rule") {
                let table = format!("{} {}", rule["family"].as_str()?, rule["table"].as_str()?);
                let is_it = |chain: &&mut Chain| chain.table == table && rule["chain"] == chain.name.as_str();
                if let Some(chain) = ruleset.chains.iter_mut().find(is_it) {
                    chain.rules.push(nft_rule(rule["expr"].as_array()?));
                }
            }
        }
        Some(ruleset)
    }

    /// The rules that `iptables-save` prints.
    pub(crate) fn of_iptables(text: &str) -> Self {
        let mut ruleset = Self { tool: Tool::Iptables, chains: Vec::new() };
        let mut table = "filter".to_owned();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                name.trim().clone_into(&mut table);
            } else if let Some(chain) = line.strip_prefix(':') {
                let mut words = chain.split_whitespace();
                let (name, policy) = (words.next().unwrap_or_default(), words.next());
                let is_called = policy == Some("-");
                ruleset.chains.push(Chain {
                    table: table.clone(),
                    name: name.to_owned(),
                    hook: (!is_called).then(|| name.to_lowercase()),
                    drops_the_rest: policy == Some("DROP"),
                    rules: Vec::new(),
                });
            } else if let Some(rule) = line.strip_prefix("-A ") {
                let (name, rest) = rule.split_once(' ').unwrap_or((rule, ""));
                let is_it = |chain: &&mut Chain| chain.table == table && chain.name == name;
                if let Some(chain) = ruleset.chains.iter_mut().find(is_it) {
                    chain.rules.push(iptables_rule(rest));
                }
            }
        }
        ruleset
    }
}

impl Rule {
    /// Whether it is about the datagram; `None` if that cannot be said.
    fn matches(&self, datagram: &Datagram<'_>) -> Option<bool> {
        let mut is_known = true;
        for condition in &self.conditions {
            match condition.holds(datagram) {
                Some(false) => return Some(false),
                Some(true) => {}
                None => is_known = false,
            }
        }
        is_known.then_some(true)
    }
}

impl Condition {
    fn holds(&self, datagram: &Datagram<'_>) -> Option<bool> {
        let (has_it, is_negated) = match self {
            Self::Ports(ranges, is_negated) => {
                (ranges.iter().any(|range| range.contains(&datagram.port)), *is_negated)
            }
            Self::Destinations(ranges, is_negated) => {
                (ranges.iter().any(|range| range.contains(&datagram.destination.to_bits())), *is_negated)
            }
            Self::Words(subject, words, is_negated) => {
                let own = match subject {
                    Subject::Protocol => "udp",
                    // Multicast is never a reply.
                    Subject::State => "new",
                    Subject::Kind if datagram.destination.is_multicast() => "multicast",
                    Subject::Kind => "broadcast",
                    Subject::In if datagram.is_outgoing => "",
                    Subject::Out if !datagram.is_outgoing => "",
                    Subject::In | Subject::Out => datagram.interface,
                };
                let is_own = |word: &String| match word.strip_suffix(['*', '+']) {
                    Some(start) => own.starts_with(start),
                    None => word == own || (word == "17" && own == "udp"),
                };
                (words.iter().any(is_own), *is_negated)
            }
            Self::Unknown => return None,
        };
        Some(has_it != is_negated)
    }
}

fn nft_rule(expressions: &[Value]) -> Rule {
    let mut rule = Rule { conditions: Vec::new(), verdict: Verdict::Continue };
    for expression in expressions {
        let Some((name, value)) = expression.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        let target = || value["target"].as_str().unwrap_or_default().to_owned();
        match name.as_str() {
            "match" => rule.conditions.push(nft_condition(value).unwrap_or(Condition::Unknown)),
            "accept" => rule.verdict = Verdict::Accept,
            "drop" | "reject" => rule.verdict = Verdict::Drop,
            "return" => rule.verdict = Verdict::Return,
            "jump" => rule.verdict = Verdict::Jump(target()),
            "goto" => rule.verdict = Verdict::Goto(target()),
            "counter" | "log" | "comment" | "notrack" | "mangle" => {}
            _ => rule.conditions.push(Condition::Unknown),
        }
    }
    rule
}

fn nft_condition(value: &Value) -> Option<Condition> {
    let is_negated = match value["op"].as_str()? {
        "==" | "in" => false,
        "!=" => true,
        _ => return None,
    };
    let (left, right) = (&value["left"], &value["right"]);
    let right: Vec<&Value> = match right.get("set").and_then(Value::as_array).or(right.as_array()) {
        Some(several) => several.iter().collect(),
        None => vec![right],
    };
    let words = |subject| {
        let words = right.iter().map(|word| match word {
            Value::Number(number) => Some(number.to_string()),
            word => word.as_str().map(str::to_owned),
        });
        Some(Condition::Words(subject, words.collect::<Option<_>>()?, is_negated))
    };
    if let Some(payload) = left.get("payload") {
        match (payload["protocol"].as_str()?, payload["field"].as_str()?) {
            ("udp" | "th", "dport") => {
                let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
                let range = |value: &&Value| match value.get("range").and_then(Value::as_array) {
                    Some(ends) => Some(port(ends.first()?)?..=port(ends.get(1)?)?),
                    None => port(value).map(|port| port..=port),
                };
                Some(Condition::Ports(right.iter().map(range).collect::<Option<_>>()?, is_negated))
            }
            ("ip", "daddr") => {
                let address = |value: &Value| Some(value.as_str()?.parse::<Ipv4Addr>().ok()?.to_bits());
                let range = |value: &&Value| {
                    if let Some(ends) = value.get("range").and_then(Value::as_array) {
                        return Some(address(ends.first()?)?..=address(ends.get(1)?)?);
                    }
                    if let Some(prefix) = value.get("prefix") {
                        return prefix_range(address(&prefix["addr"])?, prefix["len"].as_u64()?);
                    }
                    address(value).map(|address| address..=address)
                };
                Some(Condition::Destinations(right.iter().map(range).collect::<Option<_>>()?, is_negated))
            }
            ("ip", "protocol") => words(Subject::Protocol),
            // What is of another protocol has no such field.
            ("tcp" | "icmp" | "icmpv6" | "ip6" | "igmp" | "sctp", _) => {
                Some(Condition::Words(Subject::Protocol, Vec::new(), false))
            }
            _ => None,
        }
    } else if let Some(meta) = left.get("meta") {
        match meta["key"].as_str()? {
            "l4proto" => words(Subject::Protocol),
            "iifname" | "iif" => words(Subject::In),
            "oifname" | "oif" => words(Subject::Out),
            "pkttype" => words(Subject::Kind),
            _ => None,
        }
    } else if left.get("ct").is_some_and(|ct| ct["key"] == "state") {
        words(Subject::State)
    } else if left.get("fib").is_some_and(|fib| fib["result"] == "type") {
        words(Subject::Kind)
    } else {
        None
    }
}

fn prefix_range(address: u32, len: u64) -> Option<RangeInclusive<u32>> {
    let host_bits = 32_u32.checked_sub(u32::try_from(len).ok()?)?;
    let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
    Some(address & mask..=address | !mask)
}

fn iptables_rule(text: &str) -> Rule {
    let mut rule = Rule { conditions: Vec::new(), verdict: Verdict::Continue };
    let mut words = text.split_whitespace().peekable();
    let mut is_negated = false;
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_default().to_owned();
        let list = |text: String| text.split(',').map(str::to_lowercase).collect::<Vec<_>>();
        let condition = match word {
            "!" => {
                is_negated = true;
                continue;
            }
            "-m" => {
                value();
                continue;
            }
            "--comment" => {
                // It may hold spaces, within quotation marks.
                let first = value();
                if first.starts_with('"') && !(first.len() > 1 && first.ends_with('"')) {
                    words.by_ref().find(|word| word.ends_with('"'));
                }
                continue;
            }
            "-j" | "-g" => {
                rule.verdict = match (value().as_str(), word) {
                    ("ACCEPT", _) => Verdict::Accept,
                    ("DROP" | "REJECT", _) => Verdict::Drop,
                    ("RETURN", _) => Verdict::Return,
                    ("LOG" | "NFLOG" | "MARK" | "CT" | "TRACE", _) => Verdict::Continue,
                    (chain, "-j") => Verdict::Jump(chain.to_owned()),
                    (chain, _) => Verdict::Goto(chain.to_owned()),
                };
                // What follows says how.
                break;
            }
            "-p" => Condition::Words(Subject::Protocol, list(value()), is_negated),
            "-i" => Condition::Words(Subject::In, vec![value()], is_negated),
            "-o" => Condition::Words(Subject::Out, vec![value()], is_negated),
            "--ctstate" | "--state" => Condition::Words(Subject::State, list(value()), is_negated),
            "--pkt-type" | "--dst-type" => Condition::Words(Subject::Kind, list(value()), is_negated),
            "--dport" | "--dports" | "--destination-port" => {
                let port = |text: &str| text.parse::<u16>().ok();
                let range = |text: String| match text.split_once(':') {
                    Some((first, last)) => Some(port(first)?..=port(last)?),
                    None => port(&text).map(|port| port..=port),
                };
                match list(value()).into_iter().map(range).collect() {
                    Some(ranges) => Condition::Ports(ranges, is_negated),
                    None => Condition::Unknown,
                }
            }
            "-d" => {
                let value = value();
                let (address, len) = value.split_once('/').unwrap_or((&value, "32"));
                let range = address.parse::<Ipv4Addr>().ok().zip(len.parse().ok());
                match range.and_then(|(address, len)| prefix_range(address.to_bits(), len)) {
                    Some(range) => Condition::Destinations(vec![range], is_negated),
                    None => Condition::Unknown,
                }
            }
            _ => Condition::Unknown,
        };
        is_negated = false;
        rule.conditions.push(condition);
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTRATION: Datagram<'_> = Datagram {
        is_outgoing: false,
        interface: "eth0",
        destination: Ipv4Addr::new(239, 0, 0, 1),
        port: 14_000,
    };

    /// The certainty of the drop, by the rules as `iptables-save` prints them.
    fn iptables(rules: &str) -> Option<Sure> {
        Ruleset::of_iptables(&format!("*filter\n{rules}\nCOMMIT")).drops(&REGISTRATION).map(|drop| drop.sure)
    }

    #[test]
    fn a_datagram_is_followed_through_the_rules_of_iptables() {
        const OPEN: &str = ":INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:mine - [0:0]\n";
        const CLOSED: &str = ":INPUT DROP [0:0]\n:OUTPUT DROP [0:0]\n:mine - [0:0]\n";
        use Sure::{Certain, Possible};
        for (start, rules, expected) in [
            (OPEN, "", None),
            (OPEN, "-A INPUT -p udp -m udp --dport 14000 -j DROP", Some(Certain)),
            (OPEN, "-A INPUT -p udp -m multiport --dports 53,13999:14002 -j REJECT", Some(Certain)),
            (OPEN, "-A INPUT -p udp -m udp --dport 14001 -j DROP", None),
            (OPEN, "-A INPUT -p tcp -j DROP", None),
            (OPEN, "-A INPUT -i eth1 -j DROP", None),
            (OPEN, "-A INPUT ! -i lo -j DROP", Some(Certain)),
            (OPEN, "-A INPUT -d 224.0.0.0/4 -j DROP", Some(Certain)),
            (OPEN, "-A INPUT -m pkttype --pkt-type multicast -j DROP", Some(Certain)),
            (OPEN, "-A INPUT -m conntrack --ctstate INVALID -j DROP", None),
            (OPEN, "-A OUTPUT -p udp -j DROP", None),
            (OPEN, "-A mine -p udp -j DROP", None),
            (OPEN, "-A INPUT -j mine\n-A mine -p udp -j DROP", Some(Certain)),
            (OPEN, "-A INPUT -j mine\n-A mine -j RETURN\n-A mine -p udp -j DROP", None),
            (OPEN, "-A INPUT -j INPUT\n-A INPUT -j DROP", Some(Certain)),
            (CLOSED, "", Some(Certain)),
            (CLOSED, "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", Some(Certain)),
            (CLOSED, "-A INPUT -p udp -m udp --dport 14000:14002 -j ACCEPT", None),
            (CLOSED, "-A INPUT -m comment --comment \"let it in\" -p udp -j ACCEPT", None),
            (CLOSED, "-A INPUT -m set --match-set friends src -j ACCEPT", Some(Possible)),
        ] {
            assert_eq!(iptables(&format!("{start}{rules}")), expected, "{start}{rules}");
        }
    }

    #[test]
    fn what_is_not_understood_is_no_panic() {
        for text in ["", "{}", "[]", r#"{"nftables":[{"chain":{}},{"rule":{"expr":[1,{"match":{}}]}}]}"#] {
            assert!(Ruleset::of_nft(text).is_none_or(|ruleset| ruleset.drops(&REGISTRATION).is_none()));
        }
        let rules = ":INPUT ACCEPT\n-A INPUT --dport 99999 -d 1.2.3.4/99 -j\n-A INPUT ! -p";
        assert_eq!(iptables(rules), None);
    }

    #[test]
    fn the_command_lets_datagrams_pass_where_they_are_dropped() {
        let ruleset = Ruleset::of_iptables("*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -j DROP");
        let drop = ruleset.drops(&REGISTRATION).unwrap();
        let expected = "iptables -t raw -I PREROUTING -p udp --dport 14000:14002 -j ACCEPT";
        assert_eq!(ruleset.mend(&drop, &(14_000..=14_002)), expected);
    }
}
