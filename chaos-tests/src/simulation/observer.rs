//! Where all accounts come together: machines report here, and invariants look here.

use std::sync::{Arc, Mutex, MutexGuard};

use rotary_directory::{DirectoryAnswer, DirectoryEntry};
use rotary_distributor::Shard;
use rotary_proto::outcome::Answer;
use rotary_proto::{EventRecord, ShardCommand, Stamp};
use rotary_storage::ChainHash;
use xxhash_rust::xxh3::Xxh3;

use crate::simulation::history::Ms;
use crate::simulation::invariants::{Findings, Invariants, Made, Seen};
use crate::simulation::story::Story;

/// What the world knows of its replicas.
pub(crate) struct Observed {
    pub(crate) now_ms: Ms,
    /// Of every data shard.
    pub(crate) stories: Vec<Story>,
    pub(crate) directory: Story,
    pub(crate) invariants: Invariants,
    pub(crate) findings: Findings,
    /// Segments of journals that retention dropped.
    pub(crate) dropped_segments: u64,
    /// How often a reader was told that what it wants next is gone.
    pub(crate) readers_late: u64,
    /// For the trace, in order.
    pub(crate) lines: Vec<String>,
}

impl Observed {
    /// The last entry that anybody has applied, of every shard and of the directory.
    pub(crate) fn last_indexes(&self) -> Vec<u64> {
        let stories = self.stories.iter().chain([&self.directory]);
        stories.map(|story| story.last().map_or(0, |(index, _)| index)).collect()
    }
}

/// Shared by all machines; clones are the same.
#[derive(Clone)]
pub(crate) struct Observer(Arc<Mutex<Observed>>);

/// What a machine did with an entry.
pub(crate) struct Application<'a> {
    pub(crate) node: usize,
    pub(crate) shard: u32,
    pub(crate) index: u64,
    pub(crate) stamp: Stamp,
    pub(crate) payload: &'a [u8],
    pub(crate) command: Option<&'a ShardCommand>,
    pub(crate) answer: &'a Answer,
    pub(crate) events: &'a [EventRecord],
    pub(crate) state: &'a Shard,
    pub(crate) digest: u128,
}

/// What a machine of the directory did with an entry.
pub(crate) struct DirectoryApplication<'a> {
    pub(crate) node: usize,
    pub(crate) shard: u32,
    pub(crate) index: u64,
    pub(crate) stamp: Stamp,
    pub(crate) payload: &'a [u8],
    pub(crate) entry: Option<&'a DirectoryEntry>,
    pub(crate) answer: &'a DirectoryAnswer,
    pub(crate) digest: u128,
}

impl Observer {
    /// Of a cluster whose data shards' groups begin with `first`.
    pub(crate) fn new(nodes: usize, shards: usize, first: u32) -> Self {
        Self(Arc::new(Mutex::new(Observed {
            now_ms: 0,
            stories: (0..shards).map(|_| Story::default()).collect(),
            directory: Story::default(),
            invariants: Invariants::new(nodes, shards, first),
            findings: Findings::default(),
            dropped_segments: 0,
            readers_late: 0,
            lines: Vec::new(),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Observed> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A machine took a snapshot's state.
    pub(crate) fn installed(&self, node: usize, shard: u32, index: u64, digest: u128) {
        let observed = &mut *self.lock();
        observed.lines.push(format!("install n{} s{shard} i{index} d{digest:032x}", node + 1));
        let story = observed.stories.get(shard as usize).unwrap_or(&observed.directory);
        let found = &mut observed.findings;
        observed.invariants.installed((node, shard, index), digest, story, found);
    }

    /// A replica's journal has that hash after an entry.
    pub(crate) fn chained(&self, node: usize, shard: u32, index: u64, hash: ChainHash) {
        let observed = &mut *self.lock();
        let found = &mut observed.findings;
        observed.invariants.journals.chained((node, shard, index), hash, found);
    }

    /// A machine applied an entry.
    pub(crate) fn applied(&self, done: &Application<'_>) {
        let observed = &mut *self.lock();
        let hash = hash_of(done);
        let Application { node, shard, index, stamp, .. } = *done;
        let line = format!(
            "apply n{} s{shard} i{index} t{} h{hash:016x} d{:032x}",
            node + 1,
            stamp.0,
            done.digest
        );
        observed.lines.push(line);
        let (payload, digest) = (done.payload, done.digest);
        let seen = Seen {
            made: Made { node, shard, index, payload, hash, digest },
            stamp,
            now_ms: observed.now_ms,
            command: done.command,
            answer: done.answer,
            events: done.events,
            state: done.state,
        };
        let story = &mut observed.stories[shard as usize];
        observed.invariants.applied(&seen, story, &mut observed.findings);
    }
}

impl Observer {
    /// A machine of the directory applied an entry.
    pub(crate) fn applied_directory(&self, done: &DirectoryApplication<'_>) {
        let observed = &mut *self.lock();
        let DirectoryApplication { node, shard, index, stamp, payload, digest, .. } = *done;
        let mut hash = Xxh3::new();
        hash.update(&stamp.0.to_le_bytes());
        hash.update(payload);
        hash.update(format!("{:?}", done.answer).as_bytes());
        let hash = hash.digest();
        let (replica, stamp) = (format!("n{} s{shard} i{index}", node + 1), stamp.0);
        observed.lines.push(format!("apply {replica} t{stamp} h{hash:016x} d{digest:032x}"));
        let made = Made { node, shard, index, payload, hash, digest };
        let (story, found) = (&mut observed.directory, &mut observed.findings);
        observed.invariants.applied_directory(&made, done.entry, done.answer, story, found);
    }
}

/// Everything but wall time, which is for people.
fn hash_of(done: &Application<'_>) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&done.stamp.0.to_le_bytes());
    hash.update(done.payload);
    hash.update(format!("{:?}", done.answer).as_bytes());
    for record in done.events {
        hash.update(format!("{}{:?}{:?}", record.sequence, record.stamp, record.event).as_bytes());
    }
    hash.digest()
}
