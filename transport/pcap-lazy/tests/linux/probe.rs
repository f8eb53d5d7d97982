//! Calling `probe`, and what the tests need for it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

/// The names under which libpcap is looked for.
pub(crate) const NAMES: [&str; 3] = ["libpcap.so.1", "libpcap.so.0.8", "libpcap.so"];

/// What a test needs.
#[derive(Clone, Copy)]
pub(crate) enum Need {
    Compiler,
    Libpcap,
    /// The right to hide files and to have a loopback interface of one's own.
    Namespaces,
    Readelf,
}

impl Need {
    pub(crate) fn check(self) -> Result<(), String> {
        let works = |command: &mut Command, purpose: &str| match command.output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!("{purpose}: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("{purpose}: {error}")),
        };
        match self {
            Self::Compiler => works(Command::new("cc").arg("--version"), "cc, a C compiler"),
            Self::Readelf => {
                works(Command::new("readelf").arg("--version"), "readelf, of the package binutils")
            }
            Self::Libpcap => installed().map(drop).ok_or_else(|| "libpcap is not installed".into()),
            Self::Namespaces => works(
                &mut unshared("ip link set lo up && mount --bind /dev/null /etc/hostname"),
                "namespaces",
            ),
        }
    }
}

/// The path of the libpcap that is installed.
pub(crate) fn installed() -> Option<String> {
    let run = Probe::new().run();
    let line = run.text.lines().find(|line| line.starts_with("library: "))?;
    Some(line.rsplit_once('(')?.1.split_once(')')?.0.to_owned())
}

/// What a command prints; it has to succeed.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().expect("the command is there");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

/// A command that runs a shell script inside new namespaces for files and network, as root there.
fn unshared(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--net", "sh", "-c", script]);
    command
}

/// A call of `probe`.
pub(crate) struct Probe {
    command: Command,
}

impl Probe {
    pub(crate) fn new() -> Self {
        Self { command: Command::new(Self::path()) }
    }

    pub(crate) fn path() -> PathBuf {
        if let Some(path) = env::var_os("FERROCAL_PCAP_PROBE") {
            return path.into();
        }
        let mut path = env::current_exe().expect("the path of the test is known");
        path.pop(); // the test itself
        path.pop(); // deps
        path.join("examples").join("probe")
    }

    pub(crate) fn built() -> Result<(), String> {
        let path = Self::path();
        if path.exists() { Ok(()) } else { Err(format!("{} is not built", path.display())) }
    }

    /// Runs it inside namespaces, after `preparation`.
    pub(crate) fn inside(preparation: &str) -> Self {
        let mut command = unshared(&format!("{preparation}\nexec \"$0\" \"$@\""));
        command.arg(Self::path());
        Self { command }
    }

    /// Makes the dynamic linker look into the folder first.
    pub(crate) fn finding(mut self, folder: &Folder) -> Self {
        self.command.env("LD_LIBRARY_PATH", folder.path());
        self
    }

    /// Makes it capture, too.
    pub(crate) fn capturing(mut self) -> Self {
        self.command.arg("lo");
        self
    }

    pub(crate) fn run(mut self) -> Run {
        let Output { status, stdout, stderr } = self.command.output().expect("the command is there");
        let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        // It ends by itself: a crash has no code, or the shell's.
        assert!(matches!(status.code(), Some(0 | 1)), "{status}: {text}");
        Run { text }
    }
}

/// What a call has printed.
pub(crate) struct Run {
    text: String,
}

impl Run {
    pub(crate) fn has(&self, part: &str) -> &Self {
        assert!(self.text.contains(part), "no {part:?} in:\n{}", self.text);
        self
    }

    pub(crate) fn has_not(&self, part: &str) -> &Self {
        assert!(!self.text.contains(part), "{part:?} in:\n{}", self.text);
        self
    }

    /// Looks for the reason why there is no library, in every place that has to tell it.
    pub(crate) fn tells(&self, reason: &str) -> &Self {
        self.has(&format!("no library: {reason}"))
            .has(&format!("no devices: libpcap error: {reason}"))
            .has(&format!("no capture: libpcap error: {reason}"))
    }
}

/// A folder that is removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("ferrocal-pcap-lazy-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("temporary files can be written");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
