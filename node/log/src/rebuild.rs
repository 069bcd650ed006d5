//! A replica that cannot go on from its own state takes one from the others.
//!
//! Three things lead here, all before Raft starts: a note that the replica differed from a
//! majority; a snapshot that is damaged; and a log whose beginning is forgotten without a snapshot
//! that stands for it. If the log still has its beginning, the state is made from it again.
//! Otherwise a snapshot is fetched from another member, at or beyond what the log has forgotten.
//! The log itself and the vote are kept: what this replica promised to others stays promised.

use std::io;
use std::time::Duration;

use rotary_proto::NodeId;
use rotary_storage::{FinishedSnapshot, SnapshotError};
use rotary_transport::Transport;

use crate::digests::rebuild_note;
use crate::shard::LogStores;
use crate::snapshot::{Meta, SnapshotStore, failed};
use crate::transfer;

/// The pause after every other member was asked in vain.
const PAUSE: Duration = Duration::from_millis(500);
/// Every so many rounds in vain a warning is logged.
const WARN_ROUNDS: u32 = 20;

/// Whom to ask.
pub(crate) struct Peers<'a> {
    pub(crate) transport: &'a Transport,
    pub(crate) members: Vec<NodeId>,
}

/// Makes sure that the replica has a state to start from, however long that takes. Returns whether
/// it was rebuilt.
pub(crate) async fn if_needed(
    stores: &LogStores,
    snapshots: &SnapshotStore,
    peers: Peers<'_>,
) -> io::Result<bool> {
    let group = snapshots.group;
    let forgotten = stores.log.purged(group)?.map(|(index, _)| index);
    let Some(reason) = reason(stores, snapshots, forgotten)? else { return Ok(false) };
    let Some(forgotten) = forgotten else {
        tracing::warn!(group, reason, "the state is made again from the whole log");
        snapshots.snapshots.remove(group).map_err(failed)?;
        stores.notes.remove(&rebuild_note(group))?;
        return Ok(true);
    };
    tracing::error!(group, reason, forgotten, "the state is taken from another replica");
    let mut round = 0;
    let finished = loop {
        if let Some(finished) = fetch(snapshots, &peers, forgotten).await {
            break finished;
        }
        round += 1;
        if round % WARN_ROUNDS == 0 {
            tracing::warn!(group, round, "no other replica has given its state yet");
        }
        tokio::time::sleep(PAUSE).await;
    };
    // Not before the other is whole on this disk; a crash in between leads here again.
    snapshots.snapshots.remove(group).map_err(failed)?;
    finished.publish().map_err(failed)?;
    stores.notes.remove(&rebuild_note(group))?;
    Ok(true)
}

/// Why the replica cannot start from what it has, if it cannot.
fn reason(
    stores: &LogStores,
    snapshots: &SnapshotStore,
    forgotten: Option<u64>,
) -> io::Result<Option<String>> {
    if let Some(noted) = stores.notes.text(&rebuild_note(snapshots.group))? {
        return Ok(Some(noted));
    }
    let current = match snapshots.check() {
        Ok(index) => index,
        Err(error @ SnapshotError::Damaged { .. }) => return Ok(Some(error.to_string())),
        Err(error) => return Err(failed(error)),
    };
    let short = forgotten.filter(|forgotten| current.is_none_or(|index| index < *forgotten));
    Ok(short.map(|through| format!("the log has forgotten its entries up to {through}")))
}

async fn fetch(
    snapshots: &SnapshotStore,
    peers: &Peers<'_>,
    forgotten: u64,
) -> Option<FinishedSnapshot> {
    for node in &peers.members {
        match transfer::fetch(peers.transport, *node, snapshots, forgotten).await {
            Ok(Some(finished)) => return Some(finished),
            Ok(None) => {}
            Err(error) => tracing::debug!(node = %node, error, "no state from this replica"),
        }
    }
    None
}

/// Whether a fetched snapshot reaches as far as it must.
pub(crate) fn reaches(meta: &Meta, forgotten: u64) -> bool {
    meta.last_log_id.is_some_and(|id| id.index >= forgotten)
}
