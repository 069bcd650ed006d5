//! A replica that cannot go on from its own state takes one from the others.
//!
//! Three things lead here, all before Raft starts: a note that the replica differed from a
//! majority; a snapshot that is damaged; and a log whose beginning is forgotten without a snapshot
//! that stands for it. If the log still has its beginning, the state is made from it again.
//! Otherwise a snapshot is fetched from another member, at or beyond what the log has forgotten.
//! The vote is kept, and of the log what agrees with the snapshot: what this replica promised to
//! others stays promised. Entries that a committed one contradicts were never committed.

use std::io;
use std::time::Duration;

use rotary_proto::NodeId;
use rotary_storage::{FinishedSnapshot, SnapshotError};
use rotary_transport::Transport;

use crate::digests::rebuild_note;
use crate::shard::LogStores;
use crate::snapshot::{Meta, SnapshotStore, failed};
use crate::store::RaftLog;
use crate::transfer;
use crate::types::decode;

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
    tracing::error!(
        code = "replica-rebuilt",
        group,
        reason,
        forgotten,
        "the state is taken from another replica"
    );
    let mut round = 0;
    let finished = loop {
        if let Some(finished) = fetch(snapshots, &peers, forgotten).await {
            break finished;
        }
        round += 1;
        if round % WARN_ROUNDS == 0 {
            tracing::warn!(
                code = "replica-rebuilt",
                group,
                round,
                "no other replica has given its state yet"
            );
        }
        tokio::time::sleep(PAUSE).await;
    };
    drop_contradicted(stores, group, &finished).await?;
    // Not before the other is whole on this disk; a crash in between leads here again.
    snapshots.snapshots.remove(group).map_err(failed)?;
    finished.publish().map_err(failed)?;
    stores.notes.remove(&rebuild_note(group))?;
    Ok(true)
}

/// Cuts off the log where it says something else than the snapshot does.
async fn drop_contradicted(
    stores: &LogStores,
    group: u32,
    finished: &FinishedSnapshot,
) -> io::Result<()> {
    let meta: Meta = decode(finished.meta()).map_err(io::Error::other)?;
    let Some(id) = meta.last_log_id else { return Ok(()) };
    let log = RaftLog::new(group, stores.log.clone());
    let mine = log.log_id(id.index)?;
    if mine.is_none_or(|mine| mine == id) {
        return Ok(());
    }
    tracing::warn!(group, index = id.index, "the end of the log contradicts the others: it goes");
    log.drop_from(id.index).await
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use openraft::EntryPayload;
    use openraft::impls::leader_id_adv::LeaderId;
    use openraft::vote::RaftLeaderId;
    use rotary_storage::{Fatal, LogEntry, LogStore, MemoryLog, Notes, SimulatedDisk, Snapshots};

    use super::*;
    use crate::types::{Entry, LogId, StoredMembership, encode};

    const GROUP: u32 = 1;

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(LeaderId::new(term, 1), index)
    }

    /// A log whose entries, from index 1 on, are of those terms.
    fn stores(terms: &[u64]) -> LogStores {
        let log = MemoryLog::new();
        let entries = (1..).zip(terms).map(|(index, term)| {
            let entry = Entry { log_id: id(*term, index), payload: EntryPayload::Blank };
            LogEntry { index, bytes: encode(&entry).expect("small").into() }
        });
        log.append(GROUP, entries.collect(), Box::new(|done| done.expect("in memory")));
        let disk = SimulatedDisk::new(1).process();
        let snapshots = Snapshots::open(disk.clone(), Path::new("/snapshots"), Fatal::exit());
        let snapshots = snapshots.expect("opens");
        let notes = Notes::open(disk, Path::new("/notes")).expect("opens");
        LogStores { log: Arc::new(log), snapshots, notes }
    }

    /// The log's last index after a snapshot up to `last` was fetched.
    async fn kept(terms: &[u64], last: LogId) -> u64 {
        let stores = stores(terms);
        let meta = Meta { last_log_id: Some(last), last_membership: StoredMembership::default() };
        let bytes = encode(&meta).expect("small");
        let writer = stores.snapshots.begin(GROUP, last.index, bytes).expect("begins");
        let finished = writer.finish().expect("finishes");
        drop_contradicted(&stores, GROUP, &finished).await.expect("in memory");
        stores.log.last(GROUP).expect("in memory").map_or(0, |entry| entry.index)
    }

    #[tokio::test]
    async fn of_a_log_only_what_a_snapshot_contradicts_goes() {
        assert_eq!(kept(&[1, 2, 2, 3, 3], id(3, 4)).await, 5, "it goes on behind the snapshot");
        assert_eq!(kept(&[1, 2, 2], id(3, 4)).await, 3, "it ends before it");
        assert_eq!(kept(&[1, 2, 2, 3, 3], id(4, 4)).await, 3, "it was written over elsewhere");
        assert_eq!(kept(&[3, 3], id(4, 1)).await, 0, "from its beginning on");
    }
}
