//! Every blob on this disk is read again from time to time, slowly, so that damage is found while
//! another replica still has it whole. One that is damaged is set aside and fetched anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;
use rotary_proto::{BlobId, SiteId};
use rotary_storage::{BlobError, BlobName};

use crate::blobs::{Blobs, Lack, on_disk};
use crate::telemetry::names;

/// After the start, others go first.
const FIRST: Duration = Duration::from_secs(5);
/// All of it is read at most so often.
const AGAIN: Duration = Duration::from_secs(24 * 3_600);

/// Reads all blobs again and again, as long as the node runs, so many bytes a second.
pub(super) async fn scrub(blobs: Arc<Blobs>) {
    let pace = blobs.rules.scrub_bytes_per_second;
    if pace == 0 {
        return;
    }
    tokio::time::sleep(FIRST).await;
    loop {
        let begun = Instant::now();
        if let Err(lack) = pass(&blobs, pace).await {
            tracing::warn!(%lack, "blobs were not read again");
        }
        tokio::time::sleep(AGAIN.saturating_sub(begun.elapsed()).max(FIRST)).await;
    }
}

async fn pass(blobs: &Arc<Blobs>, pace: u64) -> Result<(), Lack> {
    let store = blobs.store.clone();
    for scope in on_disk(move || store.scopes()).await? {
        let store = blobs.store.clone();
        for name in on_disk(move || store.list(scope)).await? {
            let (site, blob) = (SiteId::from_key(scope), BlobId(name.digest));
            let aside = match is_whole(blobs, name, pace).await {
                Ok(true) => Ok(false),
                Ok(false) => set_aside(blobs, name).await,
                Err(lack) => Err(lack),
            };
            match aside {
                Ok(true) => blobs.found_damaged(site, blob),
                Ok(false) => {}
                // No reason to leave the others unread.
                Err(lack) => {
                    tracing::warn!(%site, %blob, %lack, "a file could not be read through")
                }
            }
        }
    }
    Ok(())
}

/// Reads a blob at that pace; whether it is as it was written, or not there.
async fn is_whole(blobs: &Blobs, name: BlobName, pace: u64) -> Result<bool, Lack> {
    let store = blobs.store.clone();
    let mut check = match on_disk(move || unless_damaged(store.begin_check(name))).await? {
        None => return Ok(false),
        Some(None) => return Ok(true),
        Some(Some(check)) => check,
    };
    loop {
        let step = move || unless_damaged(check.step().map(|bytes| (check, bytes)));
        let Some((next, bytes)) = on_disk(step).await? else { return Ok(false) };
        if bytes == 0 {
            return Ok(true);
        }
        check = next;
        tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / pace as f64)).await;
    }
}

/// What was read; `None` of what is damaged.
fn unless_damaged<T>(read: Result<T, BlobError>) -> Result<Option<T>, BlobError> {
    match read {
        Err(BlobError::Damaged { .. }) => Ok(None),
        other => other.map(Some),
    }
}

async fn set_aside(blobs: &Blobs, name: BlobName) -> Result<bool, Lack> {
    let store = blobs.store.clone();
    on_disk(move || store.set_aside_damaged(name)).await
}

impl Blobs {
    /// A blob was set aside here: it is missing until it is fetched.
    pub(super) fn found_damaged(&self, site: SiteId, blob: BlobId) {
        counter!(names::BLOBS_DAMAGED).increment(1);
        tracing::error!(
            code = "blob-damaged",
            %site, %blob,
            "a file on this node's disk is damaged; it is fetched from another replica"
        );
        self.lock_known().remove(&super::stored(site, blob));
        self.lock_missing().add(site, blob, Instant::now());
    }
}
