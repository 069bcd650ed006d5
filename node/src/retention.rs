//! Lets what happened long ago go, from the journal and from the lookup.
//!
//! What goes is decided where journals are kept ([`rotary_storage::Retention`]). Nothing goes that
//! this node may yet need: what its snapshot does not stand for, and what the lookup has not read.
//! Where the snapshot is what is missing, one is asked for. Age is by wall time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use rotary_log::{Log, WallClock};
use rotary_proto::codec::{self, Limit};
use rotary_proto::{EventRecord, ShardId, Wall};
use rotary_storage::{Bounds, JournalError, JournalRecord, Swept};

use crate::replica::{ReadError, Replica};
use crate::telemetry::names;

/// It is looked so many times in the retention whether something is old, and
const LOOKS: u32 = 16;
/// never more often than that,
const LOOK_MIN: Duration = Duration::from_secs(1);
/// nor less often.
const LOOK_MAX: Duration = Duration::from_secs(300);

/// Drops what is older than a time.
#[derive(Debug)]
pub(crate) struct Retention {
    rule: rotary_storage::Retention,
    /// Where each shard's lookup begins.
    pruned: BTreeMap<ShardId, u64>,
}

impl Retention {
    /// One that keeps what is younger than that.
    pub(crate) fn of(keep: Duration) -> Self {
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let rule = rotary_storage::Retention { keep_ms, time_of };
        Self { rule, pruned: BTreeMap::new() }
    }

    /// The pause between looks.
    fn pause(&self) -> Duration {
        (Duration::from_millis(self.rule.keep_ms) / LOOKS).clamp(LOOK_MIN, LOOK_MAX)
    }

    /// Drops what is old of every shard, as long as the node runs.
    pub(crate) async fn keep(mut self, replica: Arc<Replica>, log: Arc<Log>, wall: WallClock) {
        let failures = counter!(names::RETENTION_FAILURES);
        failures.absolute(0);
        loop {
            tokio::time::sleep(self.pause()).await;
            let (reader, rule, clock) = (replica.clone(), self.rule, wall.now());
            let now = crate::blocking::run(move || present(&rule, &reader, clock)).await;
            let now = match now {
                Ok(Ok(now)) => now,
                Ok(Err(error)) => {
                    failures.increment(1);
                    tracing::error!(
                        code = "retention-blind",
                        %error,
                        "nobody knows how old records are; none are dropped"
                    );
                    continue;
                }
                Err(_) => return,
            };
            let shards = replica.shard_ids();
            for shard in shards {
                let snapshot = log.counters(shard).map_or(0, |counters| counters.snapshot_index);
                let replica = replica.clone();
                let look = move || {
                    let swept = self.sweep(&replica, shard, now, snapshot);
                    (self, swept)
                };
                let Ok((back, swept)) = crate::blocking::run(look).await else { return };
                self = back;
                match swept {
                    Ok(swept) => tell(&log, shard, &swept).await,
                    Err(error) => {
                        failures.increment(1);
                        tracing::error!(
                            code = "retention-failed",
                            %shard, %error,
                            "old records are not dropped"
                        );
                    }
                }
            }
        }
    }

    /// Drops what is old of a shard whose snapshot has that index, at the time that [`present`]
    /// gives. Blocks on the disk.
    ///
    /// # Errors
    /// [`ReadError`]; what was not dropped then is dropped the next time.
    pub(crate) fn sweep(
        &mut self,
        replica: &Replica,
        shard: ShardId,
        now: Wall,
        snapshot: u64,
    ) -> Result<Swept, ReadError> {
        let (journal, group) = (replica.journal(), shard.0);
        let bounds = Bounds { snapshot, read: replica.lookup().through(group) };
        let swept = self.rule.sweep(journal, group, now.0, bounds)?;
        let first = journal.first_index(group);
        if self.pruned.get(&shard).copied().unwrap_or(0) < first && replica.is_whole(shard) {
            replica.lookup().prune(group, first)?;
            self.pruned.insert(shard, first);
        }
        Ok(swept)
    }
}

async fn tell(log: &Log, shard: ShardId, swept: &Swept) {
    if swept.segments > 0 {
        let Swept { segments, bytes, .. } = swept;
        tracing::info!(%shard, segments, bytes, "old records are dropped");
        counter!(names::JOURNAL_DROPPED_BYTES, "shard" => shard.to_string()).increment(*bytes);
    }
    if swept.wants_snapshot
        && let Err(error) = log.take_snapshot(shard).await
    {
        tracing::warn!(%shard, %error, "no snapshot, so old records stay");
    }
}

/// The present, by this node's clock and by what leaders have written.
fn present(
    rule: &rotary_storage::Retention,
    replica: &Replica,
    now: Wall,
) -> Result<Wall, JournalError> {
    let groups = replica.shard_ids().into_iter().map(|shard| shard.0);
    rule.present(replica.journal(), groups, now.0).map(Wall)
}

/// When a record was made. One that cannot be read says nothing against being old.
fn time_of(record: &JournalRecord) -> u64 {
    let event = codec::decode::<EventRecord>(&record.bytes, Limit::Entry);
    event.map_or(0, |event| event.wall.0)
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
