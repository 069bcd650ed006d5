//! Lets what happened long ago go.
//!
//! Segments of a journal are dropped whole, the oldest first, when their newest record is older
//! than the retention. A segment that grows slowly is ended after an eighth of that time, so no
//! record outlives the retention by more. Nothing is dropped that this node may yet need: what its
//! snapshot does not stand for would be told again by the log, and what the lookup has not read
//! would be missed by it. Where the snapshot is what is missing, one is asked for.
//!
//! Age is by wall time, of which a clock that is set wrong may say anything. So the present is no
//! later than the newest record that this node has from any leader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use rotary_log::{Log, WallClock};
use rotary_proto::codec::{self, Limit};
use rotary_proto::{EventRecord, ShardId, Wall};
use rotary_storage::{Journal, JournalError, JournalRecord, JournalSegment};

use crate::replica::{ReadError, Replica};
use crate::telemetry::names;

/// It is looked so many times in the retention whether something is old, and
const LOOKS: u32 = 16;
/// never more often than that,
const LOOK_MIN: Duration = Duration::from_secs(1);
/// nor less often.
const LOOK_MAX: Duration = Duration::from_secs(300);
/// A segment is ended when its oldest record has this part of the retention behind it.
const ROLLS: u64 = 8;
/// What one read of a journal returns at most.
const PAGE_RECORDS: usize = 4_096;
const PAGE_BYTES: usize = 1024 * 1024;

/// Drops what is older than a time.
#[derive(Debug)]
pub(crate) struct Retention {
    keep_ms: u64,
    /// Where each shard's lookup begins.
    pruned: BTreeMap<ShardId, u64>,
}

/// What one look at a shard did, and what it lacked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Segments that were dropped.
    pub(crate) segments: usize,
    /// What they held.
    pub(crate) bytes: u64,
    /// Whether more could be dropped if a newer snapshot stood for it.
    pub(crate) wants_snapshot: bool,
}

impl Retention {
    /// One that keeps what is younger than that.
    pub(crate) fn of(keep: Duration) -> Self {
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        Self { keep_ms, pruned: BTreeMap::new() }
    }

    /// The pause between looks.
    fn pause(&self) -> Duration {
        (Duration::from_millis(self.keep_ms) / LOOKS).clamp(LOOK_MIN, LOOK_MAX)
    }

    /// Drops what is old of every shard, as long as the node runs.
    pub(crate) async fn keep(mut self, replica: Arc<Replica>, log: Arc<Log>, wall: WallClock) {
        let failures = counter!(names::RETENTION_FAILURES);
        failures.absolute(0);
        loop {
            tokio::time::sleep(self.pause()).await;
            let (reader, clock) = (replica.clone(), wall.now());
            let now = tokio::task::spawn_blocking(move || present(&reader, clock)).await;
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
            let shards: Vec<ShardId> = replica.shards().map(|shard| shard.id).collect();
            for shard in shards {
                let snapshot = log.counters(shard).map_or(0, |counters| counters.snapshot_index);
                let replica = replica.clone();
                let look = move || {
                    let swept = self.sweep(&replica, shard, now, snapshot);
                    (self, swept)
                };
                let Ok((back, swept)) = tokio::task::spawn_blocking(look).await else { return };
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
        if !replica.is_whole(shard) {
            return Ok(Swept::default());
        }
        self.roll(journal, group, now)?;
        let old = old_through(journal, group, Wall(now.0.saturating_sub(self.keep_ms)))?;
        let needed = journal.durable_index(group).min(replica.lookup().through(group));
        let through = old.min(needed).min(snapshot);
        let segments = journal.segments(group);
        let gone = segments.iter().filter(|segment| segment.through <= through);
        let bytes = gone.map(|segment| segment.bytes).sum();
        let segments = journal.retain(group, through.saturating_add(1))?;
        let first = journal.first_index(group);
        if self.pruned.get(&shard).copied().unwrap_or(0) < first {
            replica.lookup().prune(group, first)?;
            self.pruned.insert(shard, first);
        }
        Ok(Swept { segments, bytes, wants_snapshot: old > snapshot })
    }

    /// Ends the segment that grows, if it has begun long ago.
    fn roll(&self, journal: &Journal, group: u32, now: Wall) -> Result<(), ReadError> {
        let closed = journal.segments(group);
        let after = closed.last().map_or(journal.first_index(group), |last| last.through);
        let oldest = journal.read_index(group, after, 1, 0)?.records.into_iter().next();
        let long_ago = now.0.saturating_sub(self.keep_ms / ROLLS);
        if oldest.is_some_and(|record| wall_of(&record) < Wall(long_ago)) {
            journal.roll(group)?;
        }
        Ok(())
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
fn present(replica: &Replica, now: Wall) -> Result<Wall, JournalError> {
    let mut latest = Wall(0);
    for shard in replica.shards() {
        let (journal, group) = (replica.journal(), shard.id.0);
        let (after, through) = (journal.first_index(group), journal.last_index(group));
        let newest = newest(journal, group, JournalSegment { after, through, bytes: 0 })?;
        latest = latest.max(newest.map_or(Wall(0), |record| wall_of(&record)));
    }
    Ok(latest.min(now))
}

/// The index up to which the oldest segments have no record from `horizon` on; 0 if none is old.
fn old_through(journal: &Journal, group: u32, horizon: Wall) -> Result<u64, JournalError> {
    let mut old = 0;
    for segment in journal.segments(group) {
        let newest = newest(journal, group, segment)?;
        if newest.is_some_and(|record| wall_of(&record) >= horizon) {
            break;
        }
        old = segment.through;
    }
    Ok(old)
}

/// The last record of a segment, sought from its end.
fn newest(
    journal: &Journal,
    group: u32,
    segment: JournalSegment,
) -> Result<Option<JournalRecord>, JournalError> {
    let JournalSegment { after, through, .. } = segment;
    let mut back = 1;
    loop {
        let from = through.saturating_sub(back).max(after);
        let found = last_between(journal, group, from, through)?;
        if found.is_some() || from == after {
            return Ok(found);
        }
        back = back.saturating_mul(8);
    }
}

fn last_between(
    journal: &Journal,
    group: u32,
    mut after: u64,
    through: u64,
) -> Result<Option<JournalRecord>, JournalError> {
    let mut last: Option<JournalRecord> = None;
    while after < through {
        let page = journal.read_index(group, after, PAGE_RECORDS, PAGE_BYTES)?;
        let within = page.records.into_iter().take_while(|record| record.index <= through);
        let Some(found) = within.last() else { break };
        after = found.index;
        last = Some(found);
    }
    Ok(last)
}

/// When a record was made. One that cannot be read says nothing against being old.
fn wall_of(record: &JournalRecord) -> Wall {
    let event = codec::decode::<EventRecord>(&record.bytes, Limit::Entry);
    event.map_or(Wall(0), |event| event.wall)
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
