//! One directed link: what its policy does to each packet.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Way, packet};

/// Packets that a link holds at most, of those held back; the oldest fall first.
const HELD_MAX: usize = 4_096;
/// Microseconds that a packet may wait for a narrow link; what would wait longer is dropped, as in
/// a router's queue.
const CLOG_US_MAX: u64 = 500_000;
/// By how much a packet that is to be overtaken comes later, in microseconds.
const OVERTAKE_US: u64 = 10_000;

/// What a link does to packets. The default does nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Microseconds that every packet takes longer.
    pub delay_us: u64,
    /// Up to so many microseconds more, drawn for each packet: they overtake each other.
    pub jitter_us: u64,
    /// Of a thousand packets, so many fall.
    pub loss_permille: u16,
    /// Of a thousand packets, so many come twice.
    pub duplicate_permille: u16,
    /// Of a thousand packets, so many get one bit of what they carry turned over.
    pub corrupt_permille: u16,
    /// Whether such a packet's checksum is made to fit: then it reaches the process.
    pub mend_checksum: bool,
    /// Of a thousand packets, so many are overtaken by those of the next 10 ms.
    pub reorder_permille: u16,
    /// Bytes a second that pass; 0: any number.
    pub bytes_per_second: u64,
    /// Nothing passes.
    pub cut: bool,
    /// Nothing passes until this ends; then everything does, late, up to 4 096 packets.
    pub hold: bool,
}

/// What a link did, in packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Came.
    pub seen: u64,
    /// Went on, once or twice, on time or late.
    pub passed: u64,
    /// Fell because the link was cut.
    pub cut: u64,
    /// Fell by chance.
    pub lost: u64,
    /// Fell because too much was on its way.
    pub clogged: u64,
    /// Came twice.
    pub duplicated: u64,
    /// Had a bit turned over.
    pub corrupted: u64,
    /// Were set back behind later ones.
    pub reordered: u64,
    /// Came later, by delay, jitter or bandwidth.
    pub delayed: u64,
    /// Were held back, until the hold ended.
    pub held: u64,
}

impl Counts {
    /// Packets that a policy did something to.
    pub fn bitten(&self) -> u64 {
        self.cut
            + self.lost
            + self.clogged
            + self.duplicated
            + self.corrupted
            + self.reordered
            + self.delayed
            + self.held
    }
}

/// A packet that goes on, and when.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) at: u64,
    pub(super) packet: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) policy: Policy,
    pub(super) counts: Counts,
    chance: StdRng,
    held: VecDeque<Vec<u8>>,
    free_at: u64,
}

impl Link {
    /// The link of a switch with this seed: its coins are its own.
    pub(super) fn new(seed: u64, (from, to): Way) -> Self {
        let ends = [from.octets(), to.octets()].concat();
        let salt = xxhash_rust::xxh3::xxh3_64_with_seed(&ends, seed);
        Self {
            policy: Policy::default(),
            counts: Counts::default(),
            chance: StdRng::seed_from_u64(salt),
            held: VecDeque::new(),
            free_at: 0,
        }
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Counts a packet that there was no room for.
    pub(super) fn overflow(&mut self) {
        self.counts.seen += 1;
        self.counts.clogged += 1;
    }

    /// Changes the policy, and lets go of what was held if nothing is held any more.
    pub(super) fn set(&mut self, now: u64, policy: Policy) -> Vec<Fate> {
        self.policy = policy;
        if self.policy.hold || self.policy.cut {
            return Vec::new();
        }
        let released = std::mem::take(&mut self.held);
        self.counts.passed += released.len() as u64;
        released.into_iter().map(|packet| Fate { at: now, packet }).collect()
    }

    /// What becomes of a packet: nothing, one, or two of it.
    pub(super) fn pass(&mut self, now: u64, mut packet: Vec<u8>) -> Vec<Fate> {
        self.counts.seen += 1;
        if self.policy.cut {
            self.counts.cut += 1;
            return Vec::new();
        }
        if self.policy.hold {
            self.hold(packet);
            return Vec::new();
        }
        if self.coin(self.policy.loss_permille) {
            self.counts.lost += 1;
            return Vec::new();
        }
        let Some(sent) = self.squeeze(now, packet.len() as u64) else {
            self.counts.clogged += 1;
            return Vec::new();
        };
        if self.coin(self.policy.corrupt_permille) {
            let dice = self.chance.random();
            let done = packet::flip(&mut packet, dice, self.policy.mend_checksum);
            self.counts.corrupted += u64::from(done);
        }
        let twice = self.coin(self.policy.duplicate_permille);
        let again = twice.then(|| Fate { at: self.arrival(sent), packet: packet.clone() });
        self.counts.duplicated += u64::from(twice);
        let at = self.arrival(sent);
        self.counts.delayed += u64::from(at > now);
        self.counts.passed += 1 + u64::from(twice);
        std::iter::once(Fate { at, packet }).chain(again).collect()
    }

    fn hold(&mut self, packet: Vec<u8>) {
        if self.held.len() >= HELD_MAX {
            self.held.pop_front();
            self.counts.clogged += 1;
        }
        self.counts.held += 1;
        self.held.push_back(packet);
    }

    /// When a packet is through the narrow part; nothing if it would wait too long.
    fn squeeze(&mut self, now: u64, bytes: u64) -> Option<u64> {
        if self.policy.bytes_per_second == 0 {
            return Some(now);
        }
        let begins = self.free_at.max(now);
        if begins - now > CLOG_US_MAX {
            return None;
        }
        self.free_at = begins + bytes * 1_000_000 / self.policy.bytes_per_second;
        Some(self.free_at)
    }

    /// When a packet that is through arrives.
    fn arrival(&mut self, sent: u64) -> u64 {
        let jitter = match self.policy.jitter_us {
            0 => 0,
            jitter => self.chance.random_range(0..=jitter),
        };
        let overtaken = self.coin(self.policy.reorder_permille);
        self.counts.reordered += u64::from(overtaken);
        sent + self.policy.delay_us + jitter + u64::from(overtaken) * OVERTAKE_US
    }

    /// A coin that falls so many times of a thousand; none is thrown for never.
    fn coin(&mut self, permille: u16) -> bool {
        permille > 0 && self.chance.random_range(0..1_000) < permille
    }
}
