//! A replica whose shard has no majority any more, and will have none: how far it reaches, and
//! making it the only member of its shard.
//!
//! What a majority had acknowledged is on every majority, so it may not be on what is left: this is
//! for whoever would rather have what there is than nothing. It works on the files of a node that
//! does not run, and on a copy of them only: were the other members to come back, there would be
//! two shards with one name ([`leave_alone`]).

use std::io;

use openraft::storage::{RaftLogReader as _, RaftLogStorage as _};
use openraft::vote::RaftLeaderId as _;
use openraft::{EntryPayload, Membership};
use rotary_proto::{NodeId, ShardId};
use rotary_storage::LogEntry;

use crate::config::Blocking;
use crate::digests::rebuild_note;
use crate::shard::LogStores;
use crate::snapshot::SnapshotStore;
use crate::store::RaftLog;
use crate::tail::doubt_note;
use crate::types::{Entry, LogId, Vote, encode};

/// How far a replica reaches. Of two the one with the higher (term, index) has everything that was
/// decided of what the other one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reach {
    /// The term of its last entry.
    pub term: u64,
    /// That entry's index.
    pub index: u64,
    /// The index up to which it knew entries to be decided when that was last saved.
    pub committed: u64,
    /// Whether its log may have lost its end, so that there may have been more.
    pub cut: bool,
}

/// How far a stopped node's replica of a shard reaches; `None` if it has nothing, or something that
/// it was to replace because it differed from the others'.
///
/// # Errors
/// What the disk says.
pub fn reach(stores: &LogStores, shard: ShardId) -> io::Result<Option<Reach>> {
    if stores.notes.text(&rebuild_note(shard.0))?.is_some() {
        return Ok(None);
    }
    let log = RaftLog::new(shard.0, stores.log.clone());
    let Some(last) = last(stores, &log, shard)? else { return Ok(None) };
    let cut = log.was_cut()? || stores.notes.text(&doubt_note(shard))?.is_some();
    let committed = log.committed()?.map_or(0, |id| id.index);
    Ok(Some(Reach { term: last.leader_id.term, index: last.index, committed, cut }))
}

/// The last entry, or the one that the snapshot stands for.
fn last(stores: &LogStores, log: &RaftLog, shard: ShardId) -> io::Result<Option<LogId>> {
    let current = snapshots(stores, shard).current()?;
    let frozen = current.and_then(|snapshot| snapshot.meta.last_log_id);
    Ok(log.last_log_id()?.max(frozen))
}

fn snapshots(stores: &LogStores, shard: ShardId) -> SnapshotStore {
    let (group, snapshots) = (shard.0, stores.snapshots.clone());
    SnapshotStore { group, snapshots, blocking: Blocking::Inline }
}

/// Makes a stopped node the only member of a shard, by an entry behind everything that it has: all
/// of that counts as decided from then on.
///
/// # Errors
/// What the disk says; `NotFound` where it has nothing of the shard.
pub async fn leave_alone(stores: &LogStores, shard: ShardId, node: NodeId) -> io::Result<()> {
    let mut log = RaftLog::new(shard.0, stores.log.clone());
    let Some(last) = last(stores, &log, shard)? else {
        let why = format!("there is nothing of {shard}");
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    };
    if log.last_log_id()? < Some(last) {
        log.purge(last).await?;
    }
    let vote = log.read_vote().await?;
    let term = vote.map_or(0, |vote| vote.leader_id.term).max(last.leader_id.term) + 1;
    let leader = openraft::impls::leader_id_adv::LeaderId::new(term, node.0);
    let log_id = LogId::new(leader, last.index + 1);
    let members = Membership::new_with_defaults(vec![[node.0].into()], []);
    let entry = Entry { log_id, payload: EntryPayload::Membership(members) };
    let bytes = encode(&entry).map_err(io::Error::other)?;
    log.append_durably(LogEntry { index: log_id.index, bytes: bytes.into() }).await?;
    log.save_vote(&Vote::new(term, node.0)).await?;
    log.forget_cut().await?;
    stores.notes.remove(&doubt_note(shard))
}
