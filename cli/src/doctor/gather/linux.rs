//! What Linux shows in `/proc`, `/sys` and by the commands of its firewalls.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::doctor::facts::{Interface, Known, Program, is_in};
use crate::doctor::firewall::Ruleset;

/// Flags of `/proc/net/route` (include/uapi/linux/route.h).
const RTF_UP: u32 = 0x1;
const RTF_REJECT: u32 = 0x200;

fn read(path: &str) -> Known<String> {
    fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}."))
}

fn number<T: std::str::FromStr>(path: &str) -> Known<T> {
    read(path)?.trim().parse().map_err(|_| format!("{path} holds no number."))
}

pub(super) fn memberships() -> Known<BTreeSet<(String, Ipv4Addr)>> {
    Ok(parse_memberships(&read("/proc/net/igmp")?))
}

fn parse_memberships(text: &str) -> BTreeSet<(String, Ipv4Addr)> {
    let mut interface = String::new();
    let mut joined = BTreeSet::new();
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if line.starts_with(|first: char| first.is_ascii_digit()) {
            words.get(1).unwrap_or(&"").trim_end_matches(':').clone_into(&mut interface);
        } else if line.starts_with('\t')
            && let Some(group) = words.first().and_then(|word| address(word))
        {
            joined.insert((interface.clone(), group));
        }
    }
    joined
}

/// The kernel prints addresses as numbers in the machine's byte order.
fn address(hex: &str) -> Option<Ipv4Addr> {
    u32::from_str_radix(hex, 16).ok().map(|number| Ipv4Addr::from(number.to_ne_bytes()))
}

pub(super) fn max_memberships() -> Known<usize> {
    number("/proc/sys/net/ipv4/igmp_max_memberships")
}

pub(super) fn reverse_path_drops() -> Known<u64> {
    let text = read("/proc/net/netstat")?;
    parse_counter(&text, "IPReversePathFilter")
        .ok_or_else(|| "The kernel does not count what rp_filter drops.".to_owned())
}

/// A line of names is followed by one of values.
fn parse_counter(text: &str, name: &str) -> Option<u64> {
    let lines: Vec<_> = text.lines().collect();
    lines.chunks_exact(2).find_map(|pair| {
        let at = pair[0].split_whitespace().position(|word| word == name)?;
        pair[1].split_whitespace().nth(at)?.parse().ok()
    })
}

/// Of the setting of all interfaces and of its own, the higher one counts for an interface.
pub(super) fn filters(interfaces: &[Interface]) -> Known<Vec<(String, u32)>> {
    let all: u32 = number("/proc/sys/net/ipv4/conf/all/rp_filter")?;
    let of = |one: &Interface| {
        let own = number(&format!("/proc/sys/net/ipv4/conf/{}/rp_filter", one.name)).unwrap_or(0);
        (one.name.clone(), all.max(own))
    };
    Ok(interfaces.iter().map(of).collect())
}

pub(super) fn max_fragment_bytes() -> Known<u64> {
    number("/proc/sys/net/ipv4/ipfrag_high_thresh")
}

pub(super) fn has_ipv6() -> Known<bool> {
    let off = |interface: &str| number::<u8>(&format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"));
    // Without the folder, the kernel has no IPv6.
    Ok(off("all").is_ok_and(|off| off == 0) && off("lo").is_ok_and(|off| off == 0))
}

pub(super) fn container() -> Known<Option<String>> {
    for (path, name) in [
        ("/.dockerenv", "Docker"),
        ("/run/.containerenv", "Podman"),
        ("/run/systemd/container", "a container"),
    ] {
        if Path::new(path).exists() {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

/// Runs a command, and returns what it prints; an error says why not.
fn output(program: &str, arguments: &[&str]) -> Result<String, Option<String>> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = match output {
        // It is not installed.
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(None),
        Err(error) => return Err(Some(format!("`{program}` cannot be run: {error}"))),
        Ok(output) => output,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
        return Err(Some(format!("`{program}` failed: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(super) fn firewall() -> Known<Vec<Ruleset>> {
    let mut rulesets = Vec::new();
    let mut failures = Vec::new();
    match output("nft", &["-j", "list", "ruleset"]) {
        Ok(text) => match Ruleset::of_nft(&text) {
            Some(ruleset) => rulesets.push(ruleset),
            None => failures.push("What `nft` prints is not understood".to_owned()),
        },
        Err(why) => failures.extend(why),
    }
    match output("iptables-save", &[]) {
        Ok(text) => rulesets.push(Ruleset::of_iptables(&text)),
        Err(why) => failures.extend(why),
    }
    if !rulesets.is_empty() {
        return Ok(rulesets);
    }
    if failures.is_empty() {
        failures.push("Neither `nft` nor `iptables` is installed".to_owned());
    }
    Err(format!("The rules of the firewall cannot be read: {}. Root may read them.", failures.join("; ")))
}

pub(super) fn ecal_processes() -> Known<Vec<Program>> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let own = namespace("self").ok_or("There are no namespaces to compare.")?;
    let mut found = Vec::new();
    if ferrocal_shm::lives(std::process::id()).is_none() {
        return Err("/proc does not show the processes of others.".to_owned());
    }
    let processes = fs::read_dir("/proc").map_err(|error| format!("/proc cannot be read: {error}."))?;
    for entry in processes.flatten() {
        let name = entry.file_name();
        let Some((name, pid)) = name.to_str().and_then(|name| Some((name, name.parse().ok()?))) else {
            continue;
        };
        let maps = || fs::read_to_string(format!("/proc/{name}/maps"));
        if namespace(name).as_ref() == Some(&own)
            && maps().is_ok_and(|maps| maps.contains("/libecal_core.so"))
        {
            found.push(program(pid));
        }
    }
    Ok(found)
}

/// Where memory files are.
const SHARED_MEMORY: &str = "/dev/shm";

/// The files of eCAL's that no process has mapped. Who made them is gone: they are removed in good order otherwise.
pub(super) fn unused_memory() -> Known<Vec<String>> {
    let files = fs::read_dir(SHARED_MEMORY)
        .map_err(|error| format!("{SHARED_MEMORY} cannot be read: {error}."))?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let files: Vec<_> = files.filter(|name| is_of_ecal(name)).collect();
    if files.is_empty() {
        return Ok(files);
    }
    let processes = fs::read_dir("/proc").map_err(|error| format!("/proc cannot be read: {error}."))?;
    let mut mapped = BTreeSet::new();
    for entry in processes.flatten() {
        let is_process = entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok());
        // A thread of the kernel has no map, and a process may end while this looks at it.
        match fs::read_to_string(entry.path().join("maps")) {
            Ok(maps) if is_process => mapped.extend(mapped_files(&maps)),
            Err(error) if is_process && error.kind() == ErrorKind::PermissionDenied => {
                return Err("The memory of other users' processes can be seen by root alone.".to_owned());
            }
            _ => {}
        }
    }
    let mut unused: Vec<_> = files.into_iter().filter(|name| !mapped.contains(name)).collect();
    unused.sort_unstable();
    Ok(unused)
}

/// Whether a name is that of a memory file, its lock or its events. The files of registrations stay for good. Anybody can make
/// files of other names.
fn is_of_ecal(name: &str) -> bool {
    let is_plain = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    name.strip_prefix("ecal_").is_some_and(|rest| is_plain(rest) && !matches!(rest, "mon" | "mon_mtx"))
}

/// The names of the files in shared memory that `/proc/PID/maps` shows.
fn mapped_files(maps: &str) -> impl Iterator<Item = String> + '_ {
    let path = |line: &str| line.split_once(SHARED_MEMORY)?.1.strip_prefix('/').map(str::to_owned);
    maps.lines().filter_map(path)
}

fn program(pid: u32) -> Program {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Program { pid, name: name.trim().to_owned() }
}

/// The processes that have a UDP socket of this port.
pub(super) fn holders(port: u16) -> Vec<Program> {
    let mut inodes = BTreeSet::new();
    for path in ["/proc/net/udp", "/proc/net/udp6"] {
        inodes.extend(parse_sockets(&read(path).unwrap_or_default(), port));
    }
    let own = std::process::id();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files.flatten().any(|file| {
            let target = fs::read_link(file.path()).unwrap_or_default();
            let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
            inode.is_some_and(|inode| inodes.contains(inode))
        })
    };
    ids.filter(|&pid| pid != own).filter(holds).map(program).collect()
}

fn parse_sockets(text: &str, port: u16) -> Vec<String> {
    let of = |line: &str| {
        let mut words = line.split_whitespace();
        let local = words.nth(1)?;
        let (_, hex) = local.rsplit_once(':')?;
        (u16::from_str_radix(hex, 16).ok()? == port).then(|| words.nth(7).map(str::to_owned))?
    };
    text.lines().skip(1).filter_map(of).collect()
}

/// The route that the main table has for an address: the interface, or none if it refuses, and its destination.
pub(super) fn route_to(destination: Ipv4Addr) -> Known<Option<(Option<String>, Ipv4Addr, u8)>> {
    Ok(parse_route(&read("/proc/net/route")?, destination))
}

fn parse_route(text: &str, destination: Ipv4Addr) -> Option<(Option<String>, Ipv4Addr, u8)> {
    let routes = text.lines().skip(1).filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [name, network, _, flags, _, _, metric, mask, ..] = words[..] else { return None };
        let flags = u32::from_str_radix(flags, 16).ok()?;
        let (network, mask) = (address(network)?, address(mask)?);
        let len = u8::try_from(mask.to_bits().count_ones()).ok()?;
        let is_refused = flags & RTF_REJECT != 0 || name == "*";
        let is_it = flags & RTF_UP != 0 && is_in(destination, network, len);
        is_it.then(|| {
            let name = (!is_refused).then(|| name.to_owned());
            (std::cmp::Reverse(len), metric.parse().unwrap_or(u32::MAX), (name, network, len))
        })
    });
    routes.min_by_key(|(len, metric, _)| (*len, *metric)).map(|(_, _, route)| route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_mapped_are_in_use() {
        let maps = "7f00-7f10 r--s 00000000 00:17 3   /dev/shm/ecal_1f\n\
                    7f10-7f20 rw-s 00000000 00:17 4   /dev/shm/ecal_1f_mtx (deleted)\n\
                    7f20-7f30 r-xp 00000000 08:01 5   /usr/lib/libecal_core.so\n";
        assert_eq!(mapped_files(maps).collect::<Vec<_>>(), ["ecal_1f", "ecal_1f_mtx (deleted)"]);
        assert!(is_of_ecal("ecal_1f") && is_of_ecal("ecal_mon_5"));
        assert!(!is_of_ecal("ecal_mon") && !is_of_ecal("other"));
        assert!(!["ecal_ -rf ~", "ecal_$(id)", "ecal_;id", "ecal_\n"].into_iter().any(is_of_ecal));
    }

    // The tables are in the byte order of the machine; these are of a little-endian one.
    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_tables_are_read() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                      eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                      *\t000000EF\t00000000\t0205\t0\t0\t0\t000000FF\t0\t0\t0\n\
                      veth-a\t000C0B0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let group = Ipv4Addr::new(239, 0, 0, 1);
        assert_eq!(parse_route(routes, group), Some((None, Ipv4Addr::new(239, 0, 0, 0), 8)));
        let elsewhere = parse_route(routes, Ipv4Addr::new(1, 1, 1, 1));
        assert_eq!(elsewhere, Some((Some("eth0".into()), Ipv4Addr::UNSPECIFIED, 0)));
        let igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
                    3\tveth-a    :     2      V3\n\t\t\t\t010000EF     1 0:00000000\t\t0\n";
        let expected = [("lo", [224, 0, 0, 1]), ("veth-a", [239, 0, 0, 1])];
        let expected = expected.map(|(name, group)| (name.to_owned(), Ipv4Addr::from(group)));
        assert_eq!(parse_memberships(igmp), BTreeSet::from(expected));
        let netstat = "TcpExt: A IPReversePathFilter B\nTcpExt: 1 22 3\nIpExt: C\nIpExt: 4\n";
        assert_eq!(parse_counter(netstat, "IPReversePathFilter"), Some(22));
        let udp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref\n \
                   102: 00000000:36B0 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0 0\n";
        assert_eq!(parse_sockets(udp, 14_000), ["4711"]);
        assert!(parse_sockets(udp, 14_001).is_empty());
    }
}
