//! The kinds of faults, by name.

use std::fmt;
use std::str::FromStr;

use crate::real::probe::Mechanism;

/// What two faults cannot have at a time, because mending one would mend the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Servers that do not run. Several may, of a minority.
    Process,
    /// Directions that are cut.
    Cut,
    /// One field of the links' policies.
    Traffic(Kind),
    /// Room on disks.
    Room,
    /// Processor time and memory.
    Limits,
    /// Wall clocks.
    Clock,
    /// Where sites live.
    Sites,
    /// What operators take away.
    Backups,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, [$($needs:ident),*], $lane:expr;)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// What command lines and reports call it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// What a machine needs for it, beyond a network of its own.
            pub fn needs(self) -> &'static [Mechanism] {
                match self { $(Self::$kind => &[$(Mechanism::$needs),*],)* }
            }

            /// What it cannot share with another fault.
            pub fn lane(self) -> Lane {
                match self { $(Self::$kind => $lane,)* }
            }
        }
    };
}

kinds! {
    /// A server is killed. Bites if it had a replica of a shard with sites.
    Kill = "kill", [], Lane::Process;
    /// A leader is killed. Bites if it led a shard with sites.
    KillLeader = "kill-leader", [], Lane::Process;
    /// A server is asked to stop. Bites if it led a shard with sites and ended by itself.
    Terminate = "terminate", [], Lane::Process;
    /// A server is stopped and goes on later. Bites as a kill does.
    Pause = "pause", [], Lane::Process;
    /// A leader is stopped and goes on later.
    PauseLeader = "pause-leader", [], Lane::Process;
    /// A minority and a majority cannot reach each other; clients reach both. Bites, as all
    /// partitions do, if packets fell.
    PartitionHalves = "partition-halves", [], Lane::Cut;
    /// Every node reaches a majority, and no two the same one. Of three nodes: two cannot reach
    /// each other.
    PartitionRing = "partition-ring", [], Lane::Cut;
    /// A leader reaches no other node; clients reach it.
    IsolateLeader = "isolate-leader", [], Lane::Cut;
    /// One node is not heard by the others, but hears them.
    OneWay = "one-way", [], Lane::Cut;
    /// Two nodes cannot reach each other.
    Partial = "partial", [], Lane::Cut;
    /// A node is cut off and back, three times a second.
    Flapping = "flapping", [], Lane::Cut;
    /// Every packet takes longer. Bites, as all faults of traffic do, if packets met it.
    Delay = "delay", [], Lane::Traffic(Self::Delay);
    /// Packets take longer by chance, and overtake each other.
    Jitter = "jitter", [], Lane::Traffic(Self::Jitter);
    /// Packets fall by chance.
    Loss = "loss", [], Lane::Traffic(Self::Loss);
    /// Packets come twice.
    Duplicate = "duplicate", [], Lane::Traffic(Self::Duplicate);
    /// Bits are turned over: between nodes past the checksum, so that QUIC meets them; between
    /// nodes and clients, who may speak plain HTTP, the kernel's checksum finds them.
    Corrupt = "corrupt", [], Lane::Traffic(Self::Corrupt);
    /// Packets are overtaken.
    Reorder = "reorder", [], Lane::Traffic(Self::Reorder);
    /// Packets are held, and all come when it ends.
    HoldAndRelease = "hold-and-release", [], Lane::Traffic(Self::HoldAndRelease);
    /// Links are narrow.
    Bandwidth = "bandwidth", [], Lane::Traffic(Self::Bandwidth);
    /// One node loses power: what it had not synced is gone. Bites if it had work.
    PowerCut = "power-cut", [Volume, PowerCut], Lane::Process;
    /// A majority loses power.
    PowerCutMajority = "power-cut-majority", [Volume, PowerCut], Lane::Process;
    /// All nodes lose power.
    PowerCutAll = "power-cut-all", [Volume, PowerCut], Lane::Process;
    /// Disks are nearly full. Bites if a node says so.
    DiskFull = "disk-full", [Volume], Lane::Room;
    /// A bit of a stopped node's data is turned over; if it will not start, it is rebuilt. Bites
    /// if the file reads differently.
    BitFlip = "bit-flip", [Volume, BlockMap], Lane::Process;
    /// Syncs of data fail. Bites if the server ended itself.
    FailedSync = "failed-sync", [Volume, Strace], Lane::Process;
    /// The disk fails at a named place of the product: the server ends there, or is told of an
    /// error, or waits. Bites if it came by. It takes a build for harnesses.
    Failpoint = "failpoint", [Volume], Lane::Process;
    /// A server gets a tenth of a processor. Bites if it had to wait for it.
    SlowCpu = "slow-cpu", [CpuQuota], Lane::Limits;
    /// A server gets 4 MiB more of memory, what it reads and writes in files included. Bites if it
    /// was at that limit.
    MemoryLimit = "memory-limit", [MemoryLimit], Lane::Limits;
    /// Clients' connections to one gateway or all are reset, and all come back at once. Bites if
    /// there were some.
    ClientsReset = "clients-reset", [], Lane::Traffic(Self::ClientsReset);
    /// What clients and gateways say to each other is held. Bites if bytes were.
    ClientsStall = "clients-stall", [], Lane::Traffic(Self::ClientsStall);
    /// Clients read slowly what gateways say. Bites if they read something.
    ClientsSlow = "clients-slow", [], Lane::Traffic(Self::ClientsSlow);
    /// A node loses its vote in every shard, and gets it back. Bites if a shard with sites did
    /// without.
    Demote = "demote", [], Lane::Process;
    /// A node is emptied of sessions, leaders and effects, and serves again. Bites if it had some,
    /// and had none left.
    Drain = "drain", [], Lane::Process;
    /// A site goes to another shard. Bites if it got there.
    SiteMove = "site-move", [], Lane::Sites;
    /// A backup is made, and must verify. Bites if it was made while the fault lasted.
    Backup = "backup", [], Lane::Backups;
    /// A node's wall clock jumps, up to a day. Bites if its answers have the other date.
    ClockJump = "clock-jump", [WallClock], Lane::Clock;
}

impl Kind {
    /// Whether clients can make it by themselves, on any cluster.
    pub fn is_of_clients(self) -> bool {
        matches!(self, Self::ClientsReset | Self::ClientsStall | Self::ClientsSlow)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no kind has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no nemesis; choose among {}", names())]
pub struct UnknownKind {
    name: String,
}

fn names() -> String {
    Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let found = Kind::ALL.iter().find(|kind| kind.name() == text);
        found.copied().ok_or_else(|| UnknownKind { name: text.chars().take(64).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_the_readme() {
        let readme = include_str!("../../../README.md");
        for kind in Kind::ALL {
            assert!(readme.contains(&format!("`{kind}`")), "{kind}");
        }
    }

    #[test]
    fn names_are_read_back_and_others_refused() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(*kind));
        }
        let wrong = "kil".parse::<Kind>().expect_err("no such kind").to_string();
        assert!(wrong.starts_with("\"kil\" is no nemesis; choose among kill, "), "{wrong}");
    }
}
