//! Windows programs on the hosts, run by Wine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::netns::{self, Host};
use crate::ours::RECEIVE_BUFFER_LEN;
use crate::process::{HANG, Process};

/// Names the folder that holds the examples built for Windows.
const EXAMPLES: &str = "FERROCAL_WINDOWS_EXAMPLES";
/// Names the Wine prefix that every machine gets a copy of.
const PREFIX: &str = "FERROCAL_WINE_PREFIX";
/// Names the folder that holds the real eCAL for Windows, and what drives it.
const ECAL: &str = "FERROCAL_WINDOWS_ECAL";

/// Whether Windows programs are to be tested: `./ci.sh windows` prepares everything and says so.
pub fn is_wanted() -> bool {
    std::env::var_os(EXAMPLES).is_some() || std::env::var_os(PREFIX).is_some()
}

/// Checks that Windows programs can be run.
///
/// # Errors
/// A sentence on what is missing.
pub fn available() -> Result<(), String> {
    let ecal = ecal();
    for file in [example("pub"), example("sub"), ferrocal(), prefix().join("drive_c"), ecal.0, ecal.1] {
        if !file.exists() {
            return Err(format!("{} is missing (`./ci.sh windows` makes it)", file.display()));
        }
    }
    for program in ["wine", "wineserver"] {
        let mut command = Command::new("setarch");
        netns::run(command.args(["--addr-no-randomize", program, "--version"]).env("WINEDEBUG", "-all"))?;
    }
    Ok(())
}

fn example(name: &str) -> PathBuf {
    folder(EXAMPLES).join(name).with_extension("exe")
}

/// The command, which is built beside the folder of the examples.
fn ferrocal() -> PathBuf {
    folder(EXAMPLES).with_file_name("ferrocal.exe")
}

/// What drives eCAL's library, and the library.
fn ecal() -> (PathBuf, PathBuf) {
    (folder(ECAL).join("ecal_peer.exe"), folder(ECAL).join("ecal_core.dll"))
}

fn prefix() -> PathBuf {
    folder(PREFIX)
}

fn folder(variable: &str) -> PathBuf {
    std::env::var_os(variable).map(PathBuf::from).unwrap_or_default()
}

/// What a machine has that programs can capture frames with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// No library at all.
    Absent,
    /// A wpcap.dll as WinPcap, long abandoned, left it: not Npcap, for it has nothing of it in the registry.
    LegacyWinPcap,
    /// Npcap installed with WinPcap's API in place of WinPcap: the library is in the system folder.
    NpcapCompatible,
    /// Npcap installed in a folder of its own, as it is by default.
    NpcapNative,
}

impl Situation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Absent, Self::LegacyWinPcap, Self::NpcapCompatible, Self::NpcapNative];

    /// Its name in the names of tests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::LegacyWinPcap => "legacy_winpcap",
            Self::NpcapCompatible => "npcap_compatible",
            Self::NpcapNative => "npcap_native",
        }
    }
}

/// A Windows machine on a host; gone when dropped.
///
/// A host can have one at most: it is a Wine prefix with its server, which owns the sockets of all its programs and
/// lives on the host of the program that was started first.
#[derive(Debug)]
pub struct Machine {
    host: Host,
    prefix: PathBuf,
}

impl Machine {
    /// Makes a machine on `host`.
    ///
    /// # Panics
    /// When that fails; nothing of it is left then.
    pub fn new(host: Host, situation: Situation) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{number}", host.name(), std::process::id());
        let machine = Self { host, prefix: prefix().with_file_name(name) };
        machine.prepare(situation).unwrap_or_else(|error| panic!("no Windows machine: {error}"));
        machine
    }

    fn prepare(&self, situation: Situation) -> Result<(), String> {
        // Links, as a prefix is hundreds of megabytes that nobody writes to, except for the registry.
        netns::run(Command::new("cp").args(["--archive", "--link"]).arg(prefix()).arg(&self.prefix))?;
        for name in ["system.reg", "user.reg", "userdef.reg"] {
            copy(&prefix().join(name), &self.prefix.join(name))?;
        }
        self.write_settings("")?;
        self.start_services()?;
        let system = self.prefix.join("drive_c/windows/system32");
        let library = system.join("wpcap.dll"); // Wine's own, around libpcap
        match situation {
            Situation::Absent => remove(&library),
            Situation::LegacyWinPcap => Ok(()),
            Situation::NpcapCompatible => self.register_npcap(true),
            Situation::NpcapNative => {
                let folder = system.join("Npcap");
                fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
                copy(&library, &folder.join("wpcap.dll"))?;
                remove(&library)?;
                self.register_npcap(false)
            }
        }
    }

    /// Has the programs that are started from now on read these settings, a part of an `ecal.yaml`, too.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn configure(&self, settings: &str) {
        self.write_settings(settings).unwrap_or_else(|error| panic!("no settings: {error}"));
    }

    fn write_settings(&self, settings: &str) -> Result<(), String> {
        let config =
            format!("transport_layer: {{udp: {{receive_buffer: {RECEIVE_BUFFER_LEN}}}}}\n{settings}");
        let path = self.prefix.join("ecal.yaml");
        fs::write(&path, config).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Starts the server and the services of Windows.
    ///
    /// The first program would start them too, but they would inherit its standard output and outlive it, and so hide
    /// its end from whoever reads that.
    fn start_services(&self) -> Result<(), String> {
        // They stay when there is no program, yet not for long when the tests are killed.
        let persistence = format!("--persistent={}", HANG.as_secs());
        for (program, argument) in [("wineserver", &*persistence), ("wine", "wineboot")] {
            let mut command = self.command(program);
            command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            match command.status() {
                Ok(status) if status.success() => {}
                Ok(status) => return Err(format!("{program} {argument}: {status}")),
                Err(error) => return Err(format!("{program} cannot be run: {error}")),
            }
        }
        Ok(())
    }

    /// Writes down what Npcap's installer does, in the registry.
    fn register_npcap(&self, winpcap_compatible: bool) -> Result<(), String> {
        const KEY: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\npcap\Parameters";
        let values = [
            ("AdminOnly", "0"),
            ("LoopbackSupport", "1"),
            ("WinPcapCompatible", if winpcap_compatible { "1" } else { "0" }),
        ];
        for (name, value) in values {
            let mut command = self.command("wine");
            netns::run(command.args(["reg", "add", KEY, "/v", name, "/t", "REG_DWORD", "/d", value, "/f"]))?;
        }
        Ok(())
    }

    /// Starts an example; the arguments are those of a command line, parted by spaces.
    ///
    /// It reads no configuration of the machine's that the tests run on, but that of this one.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(&self, name: &str, arguments: &str) -> Process {
        let mut command = self.command("wine");
        command.arg(example(name)).args(arguments.split_whitespace());
        Process::spawn(&format!("{name}.exe {arguments} on {}", self.host.name()), command)
    }

    /// As [`start`](Self::start), but the command `ferrocal`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[track_caller]
    pub fn start_command(&self, arguments: &str) -> Process {
        let mut command = self.command("wine");
        command.arg(ferrocal()).args(arguments.split_whitespace());
        Process::spawn(&format!("ferrocal.exe {arguments} on {}", self.host.name()), command)
    }

    /// Starts the real eCAL: `pub` or `sub`, and a topic. `ecal_peer.c` says what it reads and prints.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start_ecal(&self, what: &str, topic: &str) -> Process {
        let (peer, library) = ecal();
        let mut command = self.command("wine");
        command.arg(peer).arg(library).args([what, topic]);
        // Wine's own are older than eCAL's library wants them.
        command.env("WINEDLLOVERRIDES", "msvcp140,vcruntime140,vcruntime140_1=n");
        Process::spawn(&format!("eCAL's {what} {topic} on {}", self.host.name()), command)
    }

    /// Runs an example to its end and returns what it wrote to standard output.
    ///
    /// # Errors
    /// When it fails: what it wrote to standard error.
    pub fn run(&self, name: &str, arguments: &str) -> Result<String, String> {
        self.run_program(&example(name), arguments)
    }

    /// As [`run`](Self::run), but the command `ferrocal`.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_command(&self, arguments: &str) -> Result<String, String> {
        self.run_program(&ferrocal(), arguments)
    }

    /// Runs the command `ferrocal` with a standard output that nobody reads. Returns its exit code.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn run_command_unread(&self, arguments: &str) -> Result<String, String> {
        const SCRIPT: &str = r#"exec 3>&1; { wine "$0" "$@"; echo $? >&3; } | true"#;
        let mut command = self.command("sh");
        command.args(["-c", SCRIPT]).arg(ferrocal()).args(arguments.split_whitespace());
        netns::run(&mut command)
    }

    fn run_program(&self, program: &Path, arguments: &str) -> Result<String, String> {
        let mut command = self.command("timeout");
        command.args(["--signal=KILL", &HANG.as_secs().to_string(), "wine"]).arg(program);
        netns::run(command.args(arguments.split_whitespace()))
    }

    fn command(&self, program: &str) -> Command {
        // At random addresses, one program of two thousand finds that of Wine's shared data taken, and ends.
        let mut command = self.host.command("setarch");
        command
            .args(["--addr-no-randomize", program])
            .env("WINEPREFIX", &self.prefix)
            .env("WINEDEBUG", "-all")
            .env_remove("WINEDLLOVERRIDES");
        // The whole file system is a drive of Wine's.
        command
            .env("ECAL_DATA", format!("Z:{}", self.prefix.display()))
            .env_remove("TRANSPORT")
            .env_remove("FERROCAL_TRANSPORT");
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for option in ["--kill", "--wait"] {
            let _ = self.command("wineserver").arg(option).output();
        }
        let _ = fs::remove_dir_all(&self.prefix);
    }
}

/// Copies a file over one that may be a link.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    if to.exists() {
        remove(to)?;
    }
    fs::copy(from, to).map(drop).map_err(|error| format!("{}: {error}", to.display()))
}

fn remove(path: &Path) -> Result<(), String> {
    fs::remove_file(path).map_err(|error| format!("{}: {error}", path.display()))
}
