//! What a node does beside serving: it logs how far its journals are on its disk, lets what is old
//! go, and fetches what it lacks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rotary_log::{History, Log, Marks, WallClock};
use rotary_proto::codec::{self, Limit};
use rotary_proto::outcome::Answer;
use rotary_proto::{EventRecord, NodeId, Outcome, ShardCommand, ShardId};
use rotary_storage::{Bounds, Journal, JournalRecord, Retention, Snapshots, Swept};
use tokio::time::Instant;

use crate::simulation::bugs::Bug;
use crate::simulation::invariants;
use crate::simulation::observer::Observer;

/// How often it is looked whether something is old.
const LOOK: Duration = Duration::from_millis(700);
/// How long a mark waits for its commit.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the states of a process have of its own node: the index that it marked, by shard, where it
/// is a member.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marked(Arc<Mutex<BTreeMap<u32, Option<u64>>>>);

impl Marked {
    /// Takes down what a shard's state has of the node.
    pub(crate) fn note(&self, shard: u32, marked: Option<u64>) {
        let mut all = self.0.lock().expect("no code panics while it holds this lock");
        all.insert(shard, marked);
    }

    fn of(&self, shard: ShardId) -> Option<u64> {
        let all = self.0.lock().expect("no code panics while it holds this lock");
        all.get(&shard.0).copied().flatten()
    }
}

/// All that the upkeep of one process works with.
pub(crate) struct Upkeep {
    pub(crate) node: usize,
    pub(crate) id: NodeId,
    pub(crate) log: Arc<Log>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) snapshots: Snapshots,
    /// The shards that have a journal.
    pub(crate) shards: Vec<ShardId>,
    pub(crate) marked: Marked,
    pub(crate) wall: WallClock,
    /// How long records are kept; none for ever.
    pub(crate) keep_ms: Option<u64>,
    pub(crate) observer: Observer,
    pub(crate) bug: Option<Bug>,
}

impl Upkeep {
    /// Does all of it, as long as the process runs.
    pub(crate) async fn keep(self, history: History) {
        let fetch = async {
            if self.bug != Some(Bug::HistoryNotFetched) {
                history.keep_whole().await;
            }
        };
        let shards = self.shards.clone();
        let shards = Box::new(move || shards.clone());
        let marks = Marks { journal: self.journal.clone(), shards };
        let marked = |shard| self.marked.of(shard);
        let marks = marks.keep_logged(marked, |shard, index| self.log_mark(shard, index));
        futures::future::join3(fetch, marks, self.sweep()).await;
    }

    async fn log_mark(&self, shard: ShardId, index: u64) -> bool {
        let ahead = self.bug == Some(Bug::MarkAhead);
        let index = if ahead { self.journal.last_index(shard.0) } else { index };
        let command = ShardCommand::JournalMark { node: self.id, index };
        let payload = codec::encode(&command, Limit::Entry).expect("a mark fits an entry");
        let deadline = Instant::now() + PATIENCE;
        let told = self.log.propose_with_retry(shard, Bytes::from(payload), deadline, true).await;
        let answer = told.ok().and_then(|told| codec::decode(&told.answer, Limit::Entry).ok());
        answer.is_some_and(|answer: Answer| matches!(answer.outcome, Outcome::Done(_)))
    }

    async fn sweep(&self) {
        let Some(keep_ms) = self.keep_ms else { return };
        let rule = Retention { keep_ms, time_of };
        loop {
            tokio::time::sleep(LOOK).await;
            for shard in &self.shards {
                // A disk that fails ends the process; there is nobody else to tell.
                let Some(swept) = self.sweep_one(&rule, *shard) else { return };
                if swept.wants_snapshot {
                    drop(self.log.take_snapshot(*shard).await);
                }
            }
        }
    }

    fn sweep_one(&self, rule: &Retention, shard: ShardId) -> Option<Swept> {
        let (journal, group) = (&*self.journal, shard.0);
        let groups = self.shards.iter().map(|shard| shard.0);
        let now = rule.present(journal, groups, self.wall.now().0).ok()?;
        let counters = self.log.counters(shard);
        let snapshot = counters.map_or(0, |counters| counters.snapshot_index);
        let early = self.bug == Some(Bug::RetentionUnbounded);
        let snapshot = if early { u64::MAX } else { snapshot };
        let bounds = Bounds { snapshot, read: u64::MAX };
        let swept = rule.sweep(journal, group, now, bounds).ok()?;
        if swept.segments > 0 {
            let observed = &mut *self.observer.lock();
            observed.dropped_segments += swept.segments as u64;
            let place = (self.node, group);
            invariants::swept(place, journal, &self.snapshots, &mut observed.findings);
        }
        Some(swept)
    }
}

/// When a record was made.
fn time_of(record: &JournalRecord) -> u64 {
    codec::decode::<EventRecord>(&record.bytes, Limit::Entry).map_or(0, |event| event.wall.0)
}
