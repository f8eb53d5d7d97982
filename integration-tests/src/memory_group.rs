//! Processes that share little memory: a control group (cgroup, of either version) with a limit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A control group with a limit on memory; gone when dropped. By then, its processes must have ended.
#[derive(Debug)]
pub struct MemoryGroup {
    folder: PathBuf,
    version: &'static Version,
}

/// The files of one version of cgroups.
#[derive(Debug)]
struct Version {
    limit: &'static str,
    /// A line of it says how many processes were killed.
    kills: &'static str,
}

const V1: Version = Version { limit: "memory.limit_in_bytes", kills: "memory.oom_control" };
const V2: Version = Version { limit: "memory.max", kills: "memory.events" };

/// Where both versions are mounted by all distributions.
const ROOT: &str = "/sys/fs/cgroup";

impl MemoryGroup {
    /// Makes a group below that of this process, whose processes get `limit` bytes together and are killed beyond that.
    ///
    /// # Errors
    /// A sentence on what this system lacks.
    pub fn new(limit: u64) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("ferrocal-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let (parent, version) = parent()?;
        let folder = parent.join(name);
        fs::create_dir(&folder)
            .map_err(|error| format!("no control group can be made in {}: {error}", parent.display()))?;
        let group = Self { folder, version };
        write(&group.folder.join(version.limit), &limit.to_string())?;
        // Else the memory beyond the limit goes there, where there is any.
        let swap = group.folder.join("memory.swap.max");
        if swap.exists() {
            write(&swap, "0")?;
        }
        Ok(group)
    }

    /// Whether groups can be made here.
    ///
    /// # Errors
    /// A sentence on what this system lacks.
    pub fn available() -> Result<(), String> {
        Self::new(1 << 30).map(drop)
    }

    /// A command that runs `program` in the group. The process started is the program itself.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]);
        command.arg(self.folder.join("cgroup.procs")).arg(program);
        command
    }

    /// How many of its processes the system has killed for want of memory.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(self.version.kills)).expect("the group is there");
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or_else(|| panic!("no count of kills in {text:?}"))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.folder) {
            eprintln!("the control group {} is left: {error}", self.folder.display());
        }
    }
}

/// The group of this process, where one for memory can be made below.
fn parent() -> Result<(PathBuf, &'static Version), String> {
    let groups =
        fs::read_to_string("/proc/self/cgroup").map_err(|error| format!("no control groups: {error}"))?;
    let path = |controller: &str| {
        groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers
                .split(',')
                .any(|one| one == controller)
                .then(|| path.trim_start_matches('/').to_owned())
        })
    };
    if let Some(path) = path("memory") {
        return Ok((Path::new(ROOT).join("memory").join(path), &V1));
    }
    let path = path("").ok_or("no control groups for memory")?;
    let folder = Path::new(ROOT).join(path);
    // A group that holds processes has none with a limit below it: then its parent may.
    let usable = folder.ancestors().take_while(|folder| folder.starts_with(ROOT)).find(|folder| {
        let enabled = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
        enabled.split_whitespace().any(|controller| controller == "memory")
            || write(&folder.join("cgroup.subtree_control"), "+memory").is_ok()
    });
    let usable =
        usable.ok_or_else(|| format!("no control group above {} limits memory", folder.display()))?;
    Ok((usable.to_owned(), &V2))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{} cannot be set: {error}", file.display()))
}
