//! Limits of processor time and memory for one process, by version 1 control groups.
//!
//! Control groups are the machine's and do not end with the namespace: a run removes its own, and
//! what killed runs left, which is empty folders.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the controllers are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// How every group's name begins.
const NAME: &str = "rotary-chaos";
/// A group without processes is left alone for so long: it may be about to get some.
const FORGOTTEN: Duration = Duration::from_secs(3_600);
/// Microseconds of the period that a quota is of.
const PERIOD_US: u64 = 100_000;

/// One group of one controller; removed when this is dropped, if it is empty.
#[derive(Debug)]
pub struct Group(PathBuf);

impl Group {
    /// A group that gives its processes so many percent of one processor.
    ///
    /// # Errors
    /// Those of the file system: there is no such controller, or no right to it.
    pub fn cpu(name: &str, percent: u64) -> io::Result<Self> {
        let group = Self::make("cpu", name)?;
        group.write("cpu.cfs_period_us", &PERIOD_US.to_string())?;
        group.write("cpu.cfs_quota_us", &(PERIOD_US * percent / 100).to_string())?;
        Ok(group)
    }

    /// A group whose processes have so many bytes of memory together.
    ///
    /// # Errors
    /// Those of the file system: there is no such controller, or no right to it.
    pub fn memory(name: &str, bytes: u64) -> io::Result<Self> {
        let group = Self::make("memory", name)?;
        group.write("memory.limit_in_bytes", &bytes.to_string())?;
        Ok(group)
    }

    fn make(controller: &str, name: &str) -> io::Result<Self> {
        let own = format!("{NAME}-{}-{name}", space());
        let path = Path::new(ROOT).join(controller).join(own);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Self(path)),
        }
    }

    /// Takes a process in, with all its threads. What it has of memory is not moved.
    ///
    /// # Errors
    /// Those of the kernel: there is no such process.
    pub fn take(&self, pid: u32) -> io::Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// How often a process was made to wait for processor time.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn throttled(&self) -> io::Result<u64> {
        let text = fs::read_to_string(self.0.join("cpu.stat"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        Ok(line.and_then(|number| number.parse().ok()).unwrap_or(0))
    }

    /// How often memory was at its limit.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn at_limit(&self) -> io::Result<u64> {
        let text = fs::read_to_string(self.0.join("memory.failcnt"))?;
        Ok(text.trim().parse().unwrap_or(0))
    }

    /// Lets a process go, to its controller's root.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn release(&self, pid: u32) -> io::Result<()> {
        let root = self.0.parent().unwrap_or(Path::new(ROOT));
        fs::write(root.join("cgroup.procs"), pid.to_string())
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.0.join(file), text)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Only an empty group can be removed; the next run removes what is left.
        drop(fs::remove_dir(&self.0));
    }
}

/// The number of this process's namespace: what another run calls a group is another.
fn space() -> String {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().chars().filter(char::is_ascii_digit).collect()
}

/// Removes groups that nobody is in, of runs that are long over.
pub fn sweep() {
    let is_old = |entry: &fs::DirEntry| {
        let made = entry.metadata().and_then(|meta| meta.modified()).ok();
        made.and_then(|made| made.elapsed().ok()).is_some_and(|age| age > FORGOTTEN)
    };
    for controller in ["cpu", "memory"] {
        let Ok(entries) = fs::read_dir(Path::new(ROOT).join(controller)) else { continue };
        let ours = entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(NAME)));
        ours.filter(is_old).for_each(|entry| drop(fs::remove_dir(entry.path())));
    }
}
