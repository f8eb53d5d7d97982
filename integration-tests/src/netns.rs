//! Network namespaces as hosts: the test binary runs inside one, a second one is joined to it by a veth pair.
//!
//! Everything is done by `unshare`, `nsenter`, `mount` (util-linux), `ip` (iproute2) and `hostname`, so there is no unsafe
//! code and no root needed where the system allows user namespaces.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The host name of the namespace that the test binary runs in.
pub const FIRST_NAME: &str = "host-a";
/// The host name of the second namespace.
pub const SECOND_NAME: &str = "host-b";
/// The first host's address on the veth.
pub const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 11, 12, 1);
/// The second host's address on the veth.
pub const SECOND_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 11, 12, 2);

/// The first host's end of the veth.
pub const FIRST_LINK: &str = "veth-a";
/// The second host's end of the veth.
pub const SECOND_LINK: &str = "veth-b";

/// Where POSIX shared memory is: that of the tests alone.
pub const SHARED_MEMORY: &str = "/dev/shm";

/// Holds the name of the network namespace that the test binary was started in.
const OUTSIDE: &str = "FERROCAL_OUTSIDE_NETNS";

/// Runs the whole program again inside fresh network, UTS and mount namespaces, unless it is inside already.
///
/// Returns inside, with the loopback interface up and able to carry multicast.
///
/// # Errors
/// A sentence on what is missing; nothing was changed then.
pub fn enter() -> Result<(), String> {
    let current = namespace_name()?;
    match std::env::var(OUTSIDE) {
        // The name, and not a mere mark, so that no traffic can leave because a variable was set by hand.
        Ok(outside) if outside != current => prepare_first_host(),
        _ => Err(run_again_inside(&current)?),
    }
}

fn namespace_name() -> Result<String, String> {
    let path =
        fs::read_link("/proc/self/ns/net").map_err(|error| format!("no network namespaces: {error}"))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Replaces this process; returns only when that fails.
fn run_again_inside(current: &str) -> Result<String, String> {
    run(Command::new("ip").arg("-V"))?;
    let flags = usable_flags()?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let error = Command::new("unshare")
        .args(flags)
        .arg("--")
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(OUTSIDE, current)
        .exec();
    Ok(format!("unshare cannot be run: {error}"))
}

/// The flags with which unshare(1) works here: as root directly, else through a user namespace.
fn usable_flags() -> Result<&'static [&'static str], String> {
    const PLAIN: &[&str] = &["--net", "--uts", "--mount"];
    const THROUGH_USER: &[&str] = &["--user", "--map-root-user", "--net", "--uts", "--mount"];
    let is_root = fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    if is_root && run(Command::new("unshare").args(PLAIN).arg("true")).is_ok() {
        return Ok(PLAIN);
    }
    run(Command::new("unshare").args(THROUGH_USER).arg("true"))?;
    Ok(THROUGH_USER)
}

fn prepare_first_host() -> Result<(), String> {
    let host = Host::first();
    run(host.command("hostname").arg(FIRST_NAME))?;
    // Shared memory is no part of a network: this one is for the tests, and for both hosts.
    run(host.command("mount").args(["-t", "tmpfs", "-o", "size=2g", "tmpfs", SHARED_MEMORY]))?;
    host.prepare_loopback()
}

/// One of the two hosts, to run commands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// A process that lives on it; none on the host that the test binary itself runs on.
    resident: Option<u32>,
}

impl Host {
    /// The host that the test binary runs on.
    pub const fn first() -> Self {
        Self { resident: None }
    }

    /// Its host name.
    pub const fn name(self) -> &'static str {
        if self.resident.is_none() { FIRST_NAME } else { SECOND_NAME }
    }

    /// A command that runs `program` on this host.
    ///
    /// The process started is the program itself, without a parent in between: its id and its signals are direct.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        let Some(resident) = self.resident else {
            return Command::new(program);
        };
        let mut command = Command::new("nsenter");
        command.args(["--target", &resident.to_string(), "--net", "--uts", "--"]).arg(program);
        command
    }

    /// As [`command`](Self::command), and the program can look up the names of both hosts: on their link, if there is
    /// one, and on loopback otherwise.
    pub fn command_with_names(self, is_linked: bool, program: impl AsRef<OsStr>) -> Command {
        const ENTER: &str = "file=$(mktemp) && printf \"$0\" > \"$file\" && mount --bind \"$file\" /etc/hosts && \
                             rm \"$file\" && exec \"$@\"";
        let names = if is_linked {
            format!("127.0.0.1 localhost\\n{FIRST_ADDRESS} {FIRST_NAME}\\n{SECOND_ADDRESS} {SECOND_NAME}\\n")
        } else {
            format!("127.0.0.1 localhost {FIRST_NAME}\\n")
        };
        let mut command = self.command("unshare");
        command.args(["--mount", "sh", "-c", ENTER, &names]).arg(program);
        command
    }

    /// Runs `body` on this host, on a thread of its own that is there.
    ///
    /// The threads that `body` starts and the sockets that it opens are on the host too, and stay there.
    ///
    /// # Panics
    /// When `body` does, or the host is gone.
    pub fn run<T: Send>(self, body: impl FnOnce() -> T + Send) -> T {
        let Some(resident) = self.resident else {
            return body();
        };
        let on_the_host = || {
            for (file, kind) in
                [("net", LinkNameSpaceType::Network), ("uts", LinkNameSpaceType::HostNameAndNISDomainName)]
            {
                let namespace = File::open(format!("/proc/{resident}/ns/{file}")).expect("the host is there");
                move_into_link_name_space(namespace.as_fd(), Some(kind)).expect("a host can be entered");
            }
            body()
        };
        thread::scope(|scope| scope.spawn(on_the_host).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// What the kernel of this host says it received and lost, for the report of a failure: of datagrams those that
    /// found a full buffer, of their fragments those that could not be put together, of packets those that its queue
    /// had no room for (this one for the whole machine).
    pub fn losses(self) -> String {
        let mut told = format!("losses on {}:", self.name());
        for (line, key) in [
            ("Udp:", "InDatagrams"),
            ("Udp:", "RcvbufErrors"),
            ("Udp:", "SndbufErrors"),
            ("Ip:", "ReasmFails"),
            ("Ip:", "ReasmTimeout"),
        ] {
            let value = self.counter(line, key).map_or_else(|| "?".to_owned(), |value| value.to_string());
            told += &format!(" {key} {value}");
        }
        let dropped = self.read("/proc/net/softnet_stat");
        let dropped = dropped.lines().filter_map(|line| line.split_whitespace().nth(1));
        told += &format!(" softnet dropped (hex) {}", dropped.collect::<Vec<_>>().join("+"));
        told
    }

    /// A count of the kernel's for this host, as `/proc/net/snmp` names it: of `Udp:` or `Ip:`, for example.
    pub fn counter(self, line: &str, key: &str) -> Option<u64> {
        let snmp = self.read("/proc/net/snmp");
        let mut lines = snmp.lines().filter(|text| text.starts_with(line));
        let (names, values) = (lines.next()?, lines.next()?);
        let at = names.split(' ').position(|name| name == key)?;
        values.split(' ').nth(at)?.parse().ok()
    }

    fn read(self, path: &str) -> String {
        run(self.command("cat").arg(path)).unwrap_or_default()
    }

    /// Has the kernel forget incomplete IPv4 packets soon, and hold more of them. Without that, Linux keeps them for 30 s,
    /// and takes no more fragments while they fill 4 MiB. That takes the machine's root; without it, tests that lose
    /// fragments take longer.
    pub fn hurry_reassembly(self) {
        for (parameter, value) in [("ipfrag_time", "1"), ("ipfrag_high_thresh", "67108864")] {
            let mut command = self.command("sh");
            command.args(["-c", "echo \"$1\" >\"/proc/sys/net/ipv4/$2\"", "sh", value, parameter]);
            let _ = run(&mut command);
        }
    }

    fn prepare_loopback(self) -> Result<(), String> {
        self.ip("link set lo up")?;
        self.ip("link set lo multicast on")
    }

    /// Runs `ip` (iproute2) on this host, with arguments that spaces separate.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(self, arguments: &str) -> Result<(), String> {
        run(self.command("ip").args(arguments.split(' '))).map(drop)
    }
}

/// A second host, joined to the first by a veth pair with an MTU of 1500; gone when dropped.
#[derive(Debug)]
pub struct SecondHost {
    resident: Resident,
}

impl SecondHost {
    /// Makes the host and the link.
    ///
    /// # Errors
    /// A sentence on the step that failed.
    pub fn new() -> Result<Self, String> {
        let second = Self::alone()?;
        second.make_link()?;
        Ok(second)
    }

    /// Makes the host without any link to it.
    ///
    /// # Errors
    /// A sentence on the step that failed.
    pub fn alone() -> Result<Self, String> {
        let second = Self { resident: Resident::new()? };
        let host = second.host();
        run(host.command("hostname").arg(SECOND_NAME))?;
        host.prepare_loopback()?;
        Ok(second)
    }

    /// The host, to run commands on.
    pub fn host(&self) -> Host {
        self.resident.host()
    }

    /// Sets the MTU of both ends of the link.
    ///
    /// # Errors
    /// A sentence on the step that failed.
    pub fn set_mtu(&self, mtu: u32) -> Result<(), String> {
        Host::first().ip(&format!("link set {FIRST_LINK} mtu {mtu}"))?;
        self.host().ip(&format!("link set {SECOND_LINK} mtu {mtu}"))
    }

    /// Takes the link away and puts another one in its place, with the same names and addresses.
    ///
    /// # Errors
    /// A sentence on the step that failed.
    pub fn replace_link(&self) -> Result<(), String> {
        self.remove_link()?;
        self.make_link()
    }

    /// Takes the link away.
    ///
    /// # Errors
    /// A sentence on the step that failed.
    pub fn remove_link(&self) -> Result<(), String> {
        Host::first().ip(&format!("link del {FIRST_LINK}"))
    }

    /// Makes the link.
    ///
    /// # Errors
    /// A sentence on the step that failed.
    pub fn make_link(&self) -> Result<(), String> {
        let (first, second) = (Host::first(), self.host());
        add_veth((first, FIRST_LINK), (&self.resident, SECOND_LINK))?;
        for (host, link, address) in
            [(first, FIRST_LINK, FIRST_ADDRESS), (second, SECOND_LINK, SECOND_ADDRESS)]
        {
            configure(host, link, address)?;
        }
        wait_until_up(first, FIRST_LINK)?;
        wait_until_up(second, SECOND_LINK)
    }
}

/// Adds a pair of interfaces, one on each of two hosts.
fn add_veth((host, link): (Host, &str), (other, other_link): (&Resident, &str)) -> Result<(), String> {
    let other = other.0.id();
    host.ip(&format!("link add {link} mtu 1500 type veth peer name {other_link} mtu 1500 netns {other}"))
}

/// Gives an interface its address and the routes of multicast, and sets it up.
fn configure(host: Host, link: &str, address: Ipv4Addr) -> Result<(), String> {
    host.ip(&format!("addr add {address}/24 dev {link}"))?;
    host.ip(&format!("link set {link} up"))?;
    host.ip(&format!("route add 239.0.0.0/8 dev {link}"))
}

/// A host between the two, with a link to each of them; gone when dropped. What it passes on is up to who makes it.
#[derive(Debug)]
pub struct Between {
    resident: Resident,
}

impl Between {
    /// Its link to the first host.
    pub const TO_FIRST: &str = "to-a";
    /// Its link to the second host.
    pub const TO_SECOND: &str = "to-b";

    /// Makes it, and both links. The addresses are those of a direct link.
    ///
    /// # Errors
    /// A sentence on the step that failed.
    pub fn new(second: &SecondHost) -> Result<Self, String> {
        let between = Self { resident: Resident::new()? };
        let sides = [
            (Host::first(), FIRST_LINK, Self::TO_FIRST, FIRST_ADDRESS),
            (second.host(), SECOND_LINK, Self::TO_SECOND, SECOND_ADDRESS),
        ];
        for (host, link, other_link, address) in sides {
            add_veth((host, link), (&between.resident, other_link))?;
            // What sends one long packet for many is to be seen as many on the way.
            host.ip(&format!("link set {link} gso_max_segs 1"))?;
            configure(host, link, address)?;
            between.host().ip(&format!("link set {other_link} up"))?;
        }
        for (host, link, ..) in sides {
            wait_until_up(host, link)?;
        }
        Ok(between)
    }

    /// The host, to run commands on.
    pub fn host(&self) -> Host {
        self.resident.host()
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        // As with the second host: the names are needed again at once.
        for link in [Self::TO_FIRST, Self::TO_SECOND] {
            let _ = self.host().ip(&format!("link del {link}"));
        }
    }
}

/// A process that keeps the namespaces of a host; they are gone when it is dropped.
#[derive(Debug)]
struct Resident(Child);

impl Resident {
    fn new() -> Result<Self, String> {
        // `cat` ends with its standard input, so that nothing is left even when the tests are killed.
        let mut child = Command::new("unshare")
            .args(["--net", "--uts", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare cannot be run: {error}"))?;
        let mut line = String::new();
        let stdout = child.stdout.take().expect("standard output is piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        let resident = Self(child);
        if read.is_err() || line != "ready\n" {
            return Err("unshare made no host".to_owned());
        }
        Ok(resident)
    }

    fn host(&self) -> Host {
        Host { resident: Some(self.0.id()) }
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for SecondHost {
    fn drop(&mut self) {
        // The kernel frees the namespace some time after its last process; the link's name is needed again at once.
        // The first host may have renamed its end.
        let _ = self.host().ip(&format!("link del {SECOND_LINK}"));
    }
}

/// A link carries packets a moment after both its ends were set up.
fn wait_until_up(host: Host, link: &str) -> Result<(), String> {
    const BOUND: Duration = Duration::from_secs(30);
    let start = Instant::now();
    while !run(host.command("ip").args(["-o", "link", "show", "dev", link]))?.contains("state UP") {
        if start.elapsed() > BOUND {
            return Err(format!("{link} does not come up"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{program} {}` failed ({}): {}", arguments.join(" "), output.status, stderr.trim()))
}
