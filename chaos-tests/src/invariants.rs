//! The promises, each in a file of its own, checked as the run goes and at its end.
//!
//! They compare three independent accounts: what replicas applied, what disks acknowledged, what
//! clients were told. None of them asks the distributor what it thinks.

mod liveness;
mod p10_fenced;
mod p11_clock_proof;
mod p12_disk_faults_seen;
mod p1_nothing_lost;
mod p2_one_assignment;
mod p3_capacity;
mod p7_exactly_once;
mod p9_replicas_agree;

use rotary_proto::outcome::Answer;
use rotary_proto::{EventRecord, ShardCommand, Stamp};

use crate::history::{Acknowledged, Ms};
use crate::store::Shadow;
use crate::story::{Story, Told};

pub(crate) use liveness::{CONVERGE_MS_MAX, Liveness};
pub(crate) use p10_fenced::Isolation;
pub(crate) use p12_disk_faults_seen::{NodeEnd, survived};

/// A promise that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Which promise, e.g. `P3`.
    pub(crate) promise: &'static str,
    pub(crate) detail: String,
}

/// What was found wrong, with a way to say so.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Violation>);

impl Findings {
    pub(crate) fn breach(&mut self, promise: &'static str, detail: String) {
        self.0.push(Violation { promise, detail });
    }
}

/// One replica applied one entry.
pub(crate) struct Seen<'a> {
    pub(crate) node: usize,
    pub(crate) shard: u32,
    pub(crate) index: u64,
    /// The stamp that its events carry.
    pub(crate) stamp: Stamp,
    pub(crate) now_ms: Ms,
    pub(crate) payload: &'a [u8],
    pub(crate) command: Option<&'a ShardCommand>,
    pub(crate) answer: &'a Answer,
    pub(crate) events: &'a [EventRecord],
    pub(crate) hash: u64,
    pub(crate) digest: u128,
}

/// All invariants of one run.
pub(crate) struct Invariants {
    nothing_lost: p1_nothing_lost::NothingLost,
    one_assignment: p2_one_assignment::OneAssignment,
    capacity: p3_capacity::CapacityHolds,
    exactly_once: p7_exactly_once::ExactlyOnce,
    agree: p9_replicas_agree::ReplicasAgree,
    clock_proof: p11_clock_proof::ClockProof,
}

impl Invariants {
    pub(crate) fn new(nodes: usize, shards: usize) -> Self {
        Self {
            nothing_lost: p1_nothing_lost::NothingLost::default(),
            one_assignment: p2_one_assignment::OneAssignment::default(),
            capacity: p3_capacity::CapacityHolds::default(),
            exactly_once: p7_exactly_once::ExactlyOnce::default(),
            agree: p9_replicas_agree::ReplicasAgree::new(nodes, shards),
            clock_proof: p11_clock_proof::ClockProof::new(shards),
        }
    }

    /// A node starts again: its machines are empty.
    pub(crate) fn started(&mut self, node: usize) {
        self.agree.started(node);
    }

    /// A replica took the state of a snapshot at (node, shard, index).
    pub(crate) fn installed(
        &mut self,
        at: (usize, u32, u64),
        digest: u128,
        story: &Story,
        found: &mut Findings,
    ) {
        self.agree.installed(at, digest, story, found);
    }

    /// How far a replica has applied, of what clients can see.
    pub(crate) fn applied_to(&self, node: usize, shard: u32) -> u64 {
        self.agree.applied_to(node, shard)
    }

    /// An entry was applied; the story learns it if it is new.
    pub(crate) fn applied(&mut self, seen: &Seen<'_>, story: &mut Story, found: &mut Findings) {
        self.agree.applied(seen, story, found);
        if story.entry(seen.index).is_some() || !found.0.is_empty() {
            return;
        }
        self.one_assignment.applied(seen, found);
        self.capacity.applied(seen, found);
        self.exactly_once.applied(seen, found);
        self.clock_proof.applied(seen, found);
        self.nothing_lost.applied(seen);
        let (payload, hash, digest) = (seen.payload.to_vec(), seen.hash, seen.digest);
        story.add(seen.index, Told { payload, hash, digest }, seen.events);
    }

    /// A client got an answer.
    pub(crate) fn acknowledged(
        &mut self,
        told: &Acknowledged<'_>,
        story: &Story,
        shadows: &[Shadow],
        isolation: &Isolation,
        found: &mut Findings,
    ) {
        self.nothing_lost.acknowledged(told, story, found);
        self.exactly_once.acknowledged(told, found);
        isolation.acknowledged(told, shadows, found);
    }

    /// The run is over, and the nodes that are up have applied everything.
    pub(crate) fn end(&self, up: &[usize], stories: &[Story], found: &mut Findings) {
        self.nothing_lost.end(stories, found);
        self.agree.end(up, stories, found);
    }
}

/// A disk fault, a log opened again, or an end of a process: see the file of P12.
pub(crate) fn disk(shadows: &[Shadow], found: &mut Findings) {
    p12_disk_faults_seen::check(shadows, found);
}
