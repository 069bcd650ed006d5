//! What this machine can do: each mechanism is tried, not looked up.
//!
//! A fault whose mechanism is missing cannot bite. A run that was asked for it is *unknown*.

use std::path::Path;
use std::process::Command;

use super::cgroup::Group;
use super::clock::{self, Clock};
use super::volume::Volume;
use super::{ioctl, shell};

/// Something that faults are made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// Namespaces of the network with names.
    NetworkNamespace,
    /// Devices whose packets a process handles.
    Tun,
    /// File systems in files, ext4.
    Volume,
    /// The shutdown of a file system without a flush.
    PowerCut,
    /// Finding a file's blocks, to damage them.
    BlockMap,
    /// A quota of processor time.
    CpuQuota,
    /// A limit of memory.
    MemoryLimit,
    /// A wall clock of a process's own.
    WallClock,
    /// System calls that fail on demand.
    Strace,
}

impl Mechanism {
    /// Every mechanism.
    pub const ALL: [Self; 9] = [
        Self::NetworkNamespace,
        Self::Tun,
        Self::Volume,
        Self::PowerCut,
        Self::BlockMap,
        Self::CpuQuota,
        Self::MemoryLimit,
        Self::WallClock,
        Self::Strace,
    ];

    /// What tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NetworkNamespace => "netns",
            Self::Tun => "tun",
            Self::Volume => "loop-ext4",
            Self::PowerCut => "power-cut",
            Self::BlockMap => "block-map",
            Self::CpuQuota => "cpu-quota",
            Self::MemoryLimit => "memory-limit",
            Self::WallClock => "wall-clock",
            Self::Strace => "strace",
        }
    }

    /// What to do where it is missing.
    fn remedy(self) -> &'static str {
        match self {
            Self::NetworkNamespace => "install iproute2; run as root",
            Self::Tun => "the kernel needs CONFIG_TUN, and /dev/net/tun must be there",
            Self::Volume => "install e2fsprogs and mount; the kernel needs loop devices and ext4",
            Self::PowerCut => "the kernel's ext4 needs EXT4_IOC_SHUTDOWN",
            Self::BlockMap => "install e2fsprogs (debugfs)",
            Self::CpuQuota => "mount version 1 of the cpu controller with CONFIG_CFS_BANDWIDTH",
            Self::MemoryLimit => "mount version 1 of the memory controller",
            Self::WallClock => "install faketime (libfaketimeMT.so.1)",
            Self::Strace => "install strace, 4.16 or later",
        }
    }

    /// Tries it. `folder` is an empty one for what it needs.
    fn attempt(self, folder: &Path) -> Result<(), String> {
        match self {
            Self::NetworkNamespace => network_namespace(),
            Self::Tun => ioctl::tun("probe").map(drop).map_err(|error| error.to_string()),
            Self::Volume => with_volume(folder, |_| Ok(())),
            Self::PowerCut => with_volume(folder, power_cut),
            Self::BlockMap => with_volume(folder, block_map),
            Self::CpuQuota => limited(Group::cpu("probe", 50)),
            Self::MemoryLimit => limited(Group::memory("probe", 64 << 20)),
            Self::WallClock => wall_clock(folder),
            Self::Strace => strace(),
        }
    }
}

/// What trying a mechanism found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Which.
    pub mechanism: Mechanism,
    /// Why it does not work, if it does not.
    pub missing: Option<String>,
}

/// Tries every mechanism. To be called inside the harness's namespace; `folder` is made, and must
/// be on a file system that goes with the namespace.
pub fn probe(folder: &Path) -> Vec<Finding> {
    let attempt = |mechanism: Mechanism| {
        let own = folder.join(mechanism.name());
        let made = std::fs::create_dir_all(&own).map_err(|error| error.to_string());
        let missing = made.and_then(|()| mechanism.attempt(&own)).err();
        Finding { mechanism, missing }
    };
    Mechanism::ALL.map(attempt).to_vec()
}

/// The findings as a table.
pub fn table(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let name = finding.mechanism.name();
        match &finding.missing {
            None => format!("{name:<14} works\n"),
            Some(why) => format!("{name:<14} MISSING  {why}; {}\n", finding.mechanism.remedy()),
        }
    };
    findings.iter().map(line).collect()
}

fn network_namespace() -> Result<(), String> {
    let tried = shell::run("ip netns add probe").and_then(|_| shell::run("ip netns del probe"));
    tried.map(drop).map_err(|error| error.to_string())
}

/// Makes a small volume, and unmounts it whatever came of it.
fn with_volume(
    folder: &Path,
    attempt: impl FnOnce(&Volume) -> Result<(), String>,
) -> Result<(), String> {
    let volume = Volume::make(folder.join("image"), folder.join("mount"), 16);
    let volume = volume.map_err(|error| error.to_string())?;
    let result = attempt(&volume);
    volume.unmount().map_err(|error| error.to_string())?;
    result
}

/// What was synced is there after the cut, what was not is gone.
fn power_cut(volume: &Volume) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    let (kept, lost) = (volume.folder().join("kept"), volume.folder().join("lost"));
    std::fs::write(&kept, b"synced").map_err(words)?;
    let folder = std::fs::File::open(volume.folder()).map_err(words)?;
    std::fs::File::open(&kept).and_then(|file| file.sync_all()).map_err(words)?;
    folder.sync_all().map_err(words)?;
    drop(folder);
    std::fs::write(&lost, b"not synced").map_err(words)?;
    volume.cut_power().map_err(|error| error.to_string())?;
    volume.unmount().and_then(|()| volume.mount()).map_err(|error| error.to_string())?;
    match (std::fs::read(&kept).map_err(words)?, lost.exists()) {
        (bytes, false) if bytes == b"synced" => Ok(()),
        (bytes, lost) => Err(format!("kept {} bytes, and {lost} of the lost", bytes.len())),
    }
}

/// A flipped bit is read back as such.
fn block_map(volume: &Volume) -> Result<(), String> {
    let path = volume.folder().join("file");
    std::fs::write(&path, [0; 9_000]).map_err(|error| error.to_string())?;
    shell::run("sync").map_err(|error| error.to_string())?;
    let flip = || {
        volume.unmount()?;
        let place = volume.locate(Path::new("file"), 5_000)?;
        let flipped = volume.flip(place, 3);
        volume.mount().and(flipped)
    };
    flip().map_err(|error| error.to_string())?;
    let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
    let wrong = (0..).zip(bytes).filter(|(_, byte)| *byte != 0).collect::<Vec<_>>();
    if wrong == [(5_000, 8)] { Ok(()) } else { Err(format!("flipped {wrong:?}")) }
}

/// A process can be put under the limit.
fn limited(group: std::io::Result<Group>) -> Result<(), String> {
    let tried = group.and_then(|group| {
        let mut child = Command::new("sleep").arg("60").spawn()?;
        let taken = group.take(child.id());
        child.kill()?;
        child.wait()?;
        taken
    });
    tried.map_err(|error| error.to_string())
}

/// A process believes another time, and a later one when the file changes.
fn wall_clock(folder: &Path) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    let clock = Clock::new(folder.join("clock")).map_err(words)?;
    let clock = clock.ok_or("the library is not installed")?;
    for offset in [-86_400, 7_200] {
        clock.set(offset).map_err(words)?;
        let mut date = Command::new("date");
        clock.wear(date.arg("+%s"));
        let said = shell::finish(&mut date).map_err(|error| error.to_string())?;
        let off = said.trim().parse::<i64>().unwrap_or(0) - clock::now_s() - offset;
        if off.abs() > 60 {
            return Err(format!("the clock is {off} s off what was set"));
        }
    }
    Ok(())
}

/// A call fails although nothing is wrong.
fn strace() -> Result<(), String> {
    let line = "strace -D -f -qq -o /dev/null -e trace=unlinkat -e inject=unlinkat:error=EIO";
    let refused = shell::run_with(line, &["rm", "-f", "/no-such-folder-of-the-probe/x"]);
    match refused {
        Err(error) if error.to_string().contains("Input/output error") => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("the call did not fail".into()),
    }
}
