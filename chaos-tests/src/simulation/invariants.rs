//! The promises, each in a file of its own, checked as the run goes and at its end.
//!
//! They compare independent accounts: what replicas applied, what they journalled, what disks
//! acknowledged, what clients were told. None of them asks the distributor what it thinks.

mod liveness;
mod p10_fenced;
mod p11_clock_proof;
mod p12_disk_faults_seen;
mod p1_closings_recorded;
mod p1_nothing_lost;
mod p1_purge_bounded;
mod p1_rebuilt_waits;
mod p1_retention_bounded;
mod p2_one_assignment;
mod p3_capacity;
mod p7_directory_once;
mod p7_exactly_once;
mod p8_readers_resume;
mod p8_streams_whole;
mod p9_journals_agree;
mod p9_replicas_agree;

use rotary_directory::{DirectoryAnswer, DirectoryEntry};
use rotary_distributor::Shard;
use rotary_proto::outcome::Answer;
use rotary_proto::{EventRecord, ShardCommand, Stamp};

use crate::simulation::history::{Acknowledged, Ms};
use crate::simulation::promised::Promised;
use crate::simulation::store::Shadow;
use crate::simulation::story::{Story, Told};

pub(crate) use liveness::{CONVERGE_MS_MAX, Liveness};
pub(crate) use p1_purge_bounded::{PurgeBound, ahead, check as purges};
pub(crate) use p1_rebuilt_waits::Owing;
pub(crate) use p1_retention_bounded::check as swept;
pub(crate) use p8_readers_resume::{Readers, Turn};
pub(crate) use p8_streams_whole::{Extent, check as stream};
pub(crate) use p10_fenced::Isolation;
pub(crate) use p12_disk_faults_seen::{NodeEnd, survived};

/// A promise that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Violation {
    /// Which promise, e.g. `P3`.
    pub(crate) promise: String,
    pub(crate) detail: String,
}

/// What was found wrong, with a way to say so.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Violation>);

impl Findings {
    pub(crate) fn breach(&mut self, promise: &'static str, detail: String) {
        self.0.push(Violation { promise: promise.to_owned(), detail });
    }
}

/// What a replica made of an entry, of whichever kind.
#[derive(Clone, Copy)]
pub(crate) struct Made<'a> {
    pub(crate) node: usize,
    pub(crate) shard: u32,
    pub(crate) index: u64,
    pub(crate) payload: &'a [u8],
    pub(crate) hash: u64,
    pub(crate) digest: u128,
}

impl Made<'_> {
    fn told(&self) -> Told {
        Told { payload: self.payload.to_vec(), hash: self.hash, digest: self.digest }
    }
}

/// One replica applied one entry of a data shard.
pub(crate) struct Seen<'a> {
    pub(crate) made: Made<'a>,
    /// The stamp that its events carry.
    pub(crate) stamp: Stamp,
    pub(crate) now_ms: Ms,
    pub(crate) command: Option<&'a ShardCommand>,
    pub(crate) answer: &'a Answer,
    pub(crate) events: &'a [EventRecord],
    /// The replica's state after it.
    pub(crate) state: &'a Shard,
}

/// All invariants of one run.
pub(crate) struct Invariants {
    nothing_lost: p1_nothing_lost::NothingLost,
    pub(crate) closings: p1_closings_recorded::ClosingsRecorded,
    one_assignment: p2_one_assignment::OneAssignment,
    capacity: p3_capacity::CapacityHolds,
    exactly_once: p7_exactly_once::ExactlyOnce,
    agree: p9_replicas_agree::ReplicasAgree,
    pub(crate) directory_once: p7_directory_once::DirectoryOnce,
    pub(crate) journals: p9_journals_agree::JournalsAgree,
    clock_proof: p11_clock_proof::ClockProof,
}

impl Invariants {
    pub(crate) fn new(nodes: usize, shards: usize, first: u32) -> Self {
        Self {
            nothing_lost: p1_nothing_lost::NothingLost::default(),
            closings: p1_closings_recorded::ClosingsRecorded::new(nodes, shards, first),
            one_assignment: p2_one_assignment::OneAssignment::default(),
            capacity: p3_capacity::CapacityHolds::default(),
            exactly_once: p7_exactly_once::ExactlyOnce::default(),
            agree: p9_replicas_agree::ReplicasAgree::new(nodes, shards + 1),
            directory_once: p7_directory_once::DirectoryOnce::default(),
            journals: p9_journals_agree::JournalsAgree::default(),
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
        self.agree.applied(&seen.made, story, found);
        if story.entry(seen.made.index).is_some() || !found.0.is_empty() {
            return;
        }
        self.one_assignment.applied(seen, found);
        self.capacity.applied(seen, found);
        self.exactly_once.applied(seen, found);
        self.clock_proof.applied(seen, found);
        self.nothing_lost.applied(seen);
        self.closings.applied(seen, found);
        story.add(seen.made.index, seen.made.told(), seen.events);
    }

    /// An entry of the directory was applied; the story learns it if it is new.
    pub(crate) fn applied_directory(
        &mut self,
        made: &Made<'_>,
        entry: Option<&DirectoryEntry>,
        answer: &DirectoryAnswer,
        story: &mut Story,
        found: &mut Findings,
    ) {
        self.agree.applied(made, story, found);
        if story.entry(made.index).is_some() || !found.0.is_empty() {
            return;
        }
        self.directory_once.applied(made.index, entry, answer, found);
        story.add(made.index, made.told(), &[]);
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
    pub(crate) fn end(
        &self,
        up: &[usize],
        stories: &[Story],
        directory: &Story,
        found: &mut Findings,
    ) {
        self.nothing_lost.end(stories, found);
        self.agree.end(up, stories.iter().chain([directory]), found);
    }
}

/// A disk fault, a log or journal opened again, or an end of a process: see the file of P12.
pub(crate) fn disk(node: usize, shadow: &Shadow, promised: &mut Promised, found: &mut Findings) {
    let wrong = shadow.take_wrong().into_iter().chain(promised.take_wrong());
    p12_disk_faults_seen::check(node, wrong, found);
}
