//! What a node does for its blobs by itself: it fetches what it lacks, and removes what nobody
//! names.
//!
//! Both follow from the journal and the disk. As records are indexed, what they name is looked for
//! ([`note_names`]); and from the start on, again and again, everything is held against each other
//! ([`sweep`]), so that nothing depends on what a process remembers. A shard is swept only while
//! this replica has all of its journal, has indexed it, and has applied what its leader has
//! committed: one that is behind does not know what is named, and removes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::StreamExt;
use metrics::counter;
use rotary_proto::{BlobId, ShardId, SiteId};
use rotary_storage::{BlobUse, Blobs as Store};

use crate::blobs::exchange::Errand;
use crate::blobs::{Blobs, Lack, on_disk, stored};
use crate::gateway::doors::Doors;
use crate::gateway::token::unix_ms;
use crate::replica::{ReadError, Replica};
use crate::telemetry::names;

/// Blobs that are known to be missing; beyond them the next sweep finds the others.
const MISSING_MAX: usize = 65_536;
/// How often it is looked whether something missing is to be fetched.
const FETCH_LOOK: Duration = Duration::from_millis(500);
/// Missing blobs that are fetched at once; readers have the rest of what may be fetched.
const FETCHES_AT_ONCE: usize = 4;
/// The first pause after a blob could not be fetched; it doubles up to the last one.
const FETCH_AGAIN: Duration = Duration::from_secs(1);
const FETCH_AGAIN_MAX: Duration = Duration::from_secs(60);
/// A blob that could not be fetched so often wants somebody.
const TELL_AFTER: u32 = 5;
/// It is looked so many times in the time that unnamed blobs are kept whether one is old, and
const SWEEPS: u32 = 16;
/// never more often than that,
const SWEEP_MIN: Duration = Duration::from_secs(5);
/// nor less often.
const SWEEP_MAX: Duration = Duration::from_secs(3_600);
/// How soon a shard is looked at again that was not ready to be swept.
const SWEEP_SOON: Duration = Duration::from_secs(1);
/// How often it is looked whose uploads nobody has named for too long.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Names that are read at a time.
const PAGE: usize = 1_024;

/// Blobs that records name and this node lacks.
#[derive(Debug, Default)]
pub(crate) struct Missing(BTreeMap<(SiteId, BlobId), Attempt>);

/// When a missing blob is tried next, and how often it was tried.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    due: Instant,
    failures: u32,
}

impl Missing {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn add(&mut self, site: SiteId, blob: BlobId, now: Instant) {
        if self.0.len() < MISSING_MAX {
            self.0.entry((site, blob)).or_insert(Attempt { due: now, failures: 0 });
        }
    }

    fn due(&self, now: Instant, limit: usize) -> Vec<(SiteId, BlobId)> {
        let due = self.0.iter().filter(|(_, attempt)| attempt.due <= now);
        due.map(|(blob, _)| *blob).take(limit).collect()
    }

    /// It is here, or nobody names it any more.
    fn settle(&mut self, site: SiteId, blob: BlobId) {
        self.0.remove(&(site, blob));
    }

    /// It could not be had; says how often that was so.
    fn postpone(&mut self, site: SiteId, blob: BlobId, now: Instant) -> u32 {
        let Some(attempt) = self.0.get_mut(&(site, blob)) else { return 0 };
        let pause = FETCH_AGAIN * 2_u32.saturating_pow(attempt.failures.min(10));
        attempt.due = now + pause.min(FETCH_AGAIN_MAX);
        attempt.failures += 1;
        attempt.failures
    }
}

/// Keeps this node's blobs complete and no more than that, as long as it runs.
pub(crate) fn start(doors: &Doors) {
    tokio::spawn(note_names(doors.clone()));
    tokio::spawn(complete(doors.clone()));
    tokio::spawn(sweep(doors.clone()));
    tokio::spawn(super::scrub::scrub(doors.blobs.clone()));
}

/// Looks for what records name that have just been indexed.
async fn note_names(doors: Doors) {
    loop {
        doors.replica.named().more.notified().await;
        let noted = doors.replica.named().take();
        for &(site, blob) in &noted.blobs {
            doors.blobs.allowances().release(site, blob);
        }
        let blobs: Vec<(SiteId, BlobId)> = noted.blobs.into_iter().collect();
        let looked = doors.blobs.look_for(blobs).await;
        if noted.overflowed || looked.is_err() {
            doors.blobs.look_again.store(true, Ordering::Relaxed);
        }
    }
}

/// Fetches what is missing.
async fn complete(doors: Doors) {
    let blobs = &doors.blobs;
    loop {
        tokio::time::sleep(FETCH_LOOK).await;
        let due = blobs.lock_missing().due(Instant::now(), PAGE);
        let fetch = |(site, blob)| complete_one(&doors, site, blob);
        futures::stream::iter(due).for_each_concurrent(FETCHES_AT_ONCE, fetch).await;
    }
}

async fn complete_one(doors: &Doors, site: SiteId, blob: BlobId) {
    let blobs = &doors.blobs;
    if !is_wanted(doors, site, blob).await {
        return blobs.lock_missing().settle(site, blob);
    }
    match blobs.obtain(site, blob, BlobUse::Promised, Errand::Read).await {
        Ok(_) => blobs.lock_missing().settle(site, blob),
        Err(lack) => {
            let failures = blobs.lock_missing().postpone(site, blob, Instant::now());
            if failures == TELL_AFTER {
                tracing::error!(
                    code = "blob-missing",
                    %site, %blob, %lack,
                    "a blob that a message names cannot be fetched"
                );
            }
        }
    }
}

/// Whether a record still names a blob; if nobody knows, it is.
async fn is_wanted(doors: &Doors, site: SiteId, blob: BlobId) -> bool {
    let replica = doors.replica.clone();
    let look = move || replica.is_named(site, blob);
    let named = crate::blocking::run(look).await;
    // What has just been noted may not be findable yet.
    !matches!(named, Ok(Ok(false))) || !doors.replica.knows_all_names_of(site)
}

/// Holds what is named against what is there, shard by shard, as long as the node runs.
async fn sweep(doors: Doors) {
    let pause = (doors.blobs.rules.unnamed_keep() / SWEEPS).clamp(SWEEP_MIN, SWEEP_MAX);
    let (mut next, mut forgotten) = (BTreeMap::<ShardId, Instant>::new(), Instant::now());
    loop {
        tokio::time::sleep(SWEEP_SOON).await;
        if forgotten.elapsed() >= FORGET_EVERY {
            doors.blobs.allowances().forget_old(Instant::now());
            forgotten = Instant::now();
        }
        if doors.blobs.look_again.swap(false, Ordering::Relaxed) {
            next.clear();
        }
        let shards = doors.replica.shard_ids();
        for shard in shards {
            let due = next.get(&shard).is_none_or(|due| *due <= Instant::now());
            if !due || !is_settled(&doors, shard) {
                continue;
            }
            next.insert(shard, Instant::now() + pause);
            if let Err(error) = find_missing(&doors, shard).await {
                tracing::warn!(%shard, error, "missing blobs were not looked for");
            }
            if let Err(error) = remove_unnamed(&doors, shard, unix_ms()).await {
                tracing::warn!(%shard, error, "blobs that no message names were not removed");
            }
        }
    }
}

/// Whether this replica knows everything that is named in a shard.
fn is_settled(doors: &Doors, shard: ShardId) -> bool {
    let status = doors.spine.status(shard);
    let caught_up = |status: crate::spine::ShardStatus| {
        status.fresh && status.leader.is_some() && status.applied >= status.committed
    };
    status.is_some_and(caught_up) && doors.replica.knows_all_names(shard)
}

/// Looks for everything that a shard's records name.
async fn find_missing(doors: &Doors, shard: ShardId) -> Result<(), String> {
    let mut after = None;
    loop {
        let (replica, from) = (doors.replica.clone(), after);
        let read = move || replica.named_after(shard, from.as_ref(), PAGE);
        let (blobs, next) = blocking(read).await?;
        let found = doors.blobs.look_for(blobs.into_iter().collect()).await;
        found.map_err(|lack| lack.to_string())?;
        after = next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Removes blobs of a shard's sites that no record names and that nobody touched for the time that
/// such blobs are kept.
async fn remove_unnamed(doors: &Doors, shard: ShardId, now_ms: u64) -> Result<(), String> {
    let keep_ms = u64::try_from(doors.blobs.rules.unnamed_keep().as_millis()).unwrap_or(u64::MAX);
    let before_ms = now_ms.saturating_sub(keep_ms);
    let store = doors.blobs.store.clone();
    let scopes = on_disk(move || store.scopes()).await.map_err(|lack| lack.to_string())?;
    for scope in scopes {
        let site = SiteId::from_key(scope);
        let elsewhere = doors.replica.shard_of(site).is_none_or(|found| found.id != shard);
        if elsewhere || !doors.replica.knows_all_names_of(site) {
            continue;
        }
        let (store, replica) = (doors.blobs.store.clone(), doors.replica.clone());
        let look = move || remove_of_site(&store, &replica, site, before_ms);
        let removed = crate::blocking::run(look).await;
        let removed = removed.map_err(|error| error.to_string())??;
        for blob in &removed {
            doors.blobs.allowances().release(site, *blob);
        }
        if !removed.is_empty() {
            counter!(names::BLOBS_REMOVED).increment(removed.len() as u64);
            tracing::info!(%site, count = removed.len(), "blobs that no message names are removed");
        }
    }
    Ok(())
}

/// Removes those of one site that were last touched before that time, and says which. Blocks.
fn remove_of_site(
    store: &Store,
    replica: &Replica,
    site: SiteId,
    before_ms: u64,
) -> Result<Vec<BlobId>, String> {
    let mut removed = Vec::new();
    for name in store.list(site.key()).map_err(|error| error.to_string())? {
        let blob = BlobId(name.digest);
        if replica.is_named(site, blob).map_err(|error| error.to_string())? {
            continue;
        }
        if store.remove_older(name, before_ms).map_err(|error| error.to_string())? {
            removed.push(blob);
        }
    }
    Ok(removed)
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, String> {
    let read = crate::blocking::run(read).await;
    read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

impl Blobs {
    /// Notes which of those are not here.
    async fn look_for(self: &Arc<Self>, blobs: Vec<(SiteId, BlobId)>) -> Result<(), Lack> {
        let store = self.store.clone();
        let look = move || {
            let mut missing = Vec::new();
            for (site, blob) in blobs {
                if store.find(stored(site, blob))?.is_none() {
                    missing.push((site, blob));
                }
            }
            Ok(missing)
        };
        let found = on_disk(look).await?;
        let mut missing = self.lock_missing();
        found.into_iter().for_each(|(site, blob)| missing.add(site, blob, Instant::now()));
        Ok(())
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
