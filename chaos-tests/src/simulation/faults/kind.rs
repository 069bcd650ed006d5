//! The kinds of faults, and the promise that each of them tests.

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A process dies; its disk keeps what was written (P1, P7).
    Crash,
    /// A node loses its power, perhaps within a write (P1, P12).
    PowerCut,
    /// Every node loses its power at once (P1).
    PowerCutAll,
    /// The nodes fall into two halves that do not hear each other (P10).
    Halves,
    /// Each node hears its two neighbours only (P10).
    Ring,
    /// One node is not heard by any other, but hears them (P10).
    OneWay,
    /// Two nodes do not hear each other (P10).
    Partial,
    /// Datagrams take long.
    Delay,
    /// Datagrams are lost.
    Loss,
    /// Datagrams overtake each other, and come twice (P7).
    Reorder,
    /// A process gets no processor for a while (P10).
    Pause,
    /// Syncs take long.
    SlowDisk,
    /// A sync fails, and what it was for is lost (P12).
    FailedSync,
    /// The disk is full (P12).
    DiskFull,
    /// A bit of old data flips while the node is down (P12).
    BitFlip,
    /// A disk is lost with all that was on it (P1).
    DiskLost,
    /// A replica's digests come out wrong, until it ends itself for that (P9).
    Astray,
    /// A wall clock jumps (P11).
    ClockJump,
    /// Two nodes hear each other now and then (P10).
    Flapping,
    /// A leader hands its shard on (P10).
    Transfer,
    /// A wall clock runs too fast or too slow (P11).
    ClockDrift,
    /// Clients do not reach a node, which does not know (P8).
    ClientsCut,
    /// Clients' connections to a node are reset (P8).
    ClientsReset,
    /// A node loses its votes for a while, or leaves the shards (P1, P10).
    Members,
    /// A node is emptied of sessions, leaders and effects for a while (P8, P10).
    Drain,
    /// A node is started again as another build; once all are newer ones, the version that the
    /// cluster acts by is raised, sooner or later (P9, P15).
    Upgrade,
}

impl Kind {
    /// Those that concern what ends at its log.
    pub(crate) const SPINE: &[Self] = &[
        Self::Crash,
        Self::PowerCut,
        Self::PowerCutAll,
        Self::Halves,
        Self::Ring,
        Self::OneWay,
        Self::Partial,
        Self::Delay,
        Self::Loss,
        Self::Reorder,
        Self::Pause,
        Self::SlowDisk,
        Self::FailedSync,
        Self::DiskFull,
        Self::BitFlip,
        Self::DiskLost,
        Self::Astray,
        Self::ClockJump,
        Self::Members,
    ];

    /// Those that concern whole nodes: a memory that errs is made in the log's own machine only.
    pub(crate) const WHOLE: &[Self] = &[
        Self::Crash,
        Self::PowerCut,
        Self::PowerCutAll,
        Self::Halves,
        Self::Ring,
        Self::OneWay,
        Self::Partial,
        Self::Delay,
        Self::Loss,
        Self::Reorder,
        Self::Pause,
        Self::SlowDisk,
        Self::FailedSync,
        Self::DiskFull,
        Self::BitFlip,
        Self::DiskLost,
        Self::ClockJump,
        Self::Flapping,
        Self::Transfer,
        Self::ClockDrift,
        Self::ClientsCut,
        Self::ClientsReset,
        Self::Members,
        Self::Drain,
        Self::Upgrade,
    ];

    /// Whether it is done to doors, or asked for there.
    pub(crate) const fn is_at_the_door(self) -> bool {
        let of_clients = matches!(self, Self::ClientsCut | Self::ClientsReset);
        of_clients || matches!(self, Self::Transfer | Self::Members | Self::Drain)
    }

    /// How often it is drawn, among all.
    pub(crate) const fn weight(self) -> u64 {
        match self {
            Self::Crash | Self::PowerCut | Self::Halves | Self::OneWay | Self::Pause => 3,
            Self::PowerCutAll | Self::DiskLost | Self::Astray => 1,
            _ => 2,
        }
    }

    /// The word for reports and traces.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::PowerCut => "power-cut",
            Self::PowerCutAll => "power-cut-all",
            Self::Halves => "halves",
            Self::Ring => "ring",
            Self::OneWay => "one-way",
            Self::Partial => "partial",
            Self::Delay => "delay",
            Self::Loss => "loss",
            Self::Reorder => "reorder",
            Self::Pause => "pause",
            Self::SlowDisk => "slow-disk",
            Self::FailedSync => "failed-sync",
            Self::DiskFull => "disk-full",
            Self::BitFlip => "bit-flip",
            Self::DiskLost => "disk-lost",
            Self::Astray => "astray",
            Self::ClockJump => "clock-jump",
            Self::Flapping => "flapping",
            Self::Transfer => "transfer",
            Self::ClockDrift => "clock-drift",
            Self::ClientsCut => "clients-cut",
            Self::ClientsReset => "clients-reset",
            Self::Members => "members",
            Self::Drain => "drain",
            Self::Upgrade => "upgrade",
        }
    }
}
