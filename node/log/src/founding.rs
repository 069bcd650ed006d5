//! How a shard gets its first entry, which says who its voters are.
//!
//! Raft begins a group where nobody has an entry of it or gave a vote. A vote without an entry is
//! what a founder leaves that died for good between its election and its first append: whoever gave
//! it can begin nothing any more, though there is nothing that a second beginning would contradict.
//! Such a replica takes the first entry as a follower does, from a leader that is nobody, in a term
//! after all that were voted in ([`begin_after`]). Raft goes on from there as after any leader's
//! death: the entry counts once a majority of its voters has elected somebody who has it.
//!
//! Nobody is node 0, which no node ever is ([`NOBODY`]): so no other leader can have that term, and
//! an entry of the one who is gone is older and loses, should it ever come back.

use std::collections::{BTreeMap, BTreeSet};

use openraft::vote::RaftLeaderId as _;
use openraft::{EntryPayload, Membership};
use rotary_proto::{NodeId, ShardId};

use crate::config::LogError;
use crate::shard::Shard;
use crate::types::{AppendEntries, Entry, LogId, Vote};

/// Who leads where no node does.
const NOBODY: u64 = 0;

/// Why a shard is not begun.
pub(crate) fn unsure(shard: ShardId, reason: &str) -> LogError {
    LogError::Unsure { shard, reason: reason.to_owned() }
}

/// Whether a replica has any entry, or something that stands for some.
pub(crate) fn has_entries(shard: &Shard) -> Result<bool, LogError> {
    Ok(shard.log.last_log_id()?.is_some())
}

/// Whether a replica has an entry or gave a vote.
pub(crate) async fn has_begun(shard: &Shard) -> Result<bool, LogError> {
    shard.raft.is_initialized().await.map_err(|error| failed(shard, &error))
}

/// Begins a shard of which this replica has nothing.
pub(crate) async fn begin(shard: &Shard, voters: &BTreeSet<NodeId>) -> Result<(), LogError> {
    be_sure(shard)?;
    let voters: BTreeMap<u64, ()> = voters.iter().map(|node| (node.0, ())).collect();
    shard.raft.initialize(voters).await.map_err(|error| failed(shard, &error))
}

/// Begins a shard of which this replica has a vote and nothing else, as little as all of its other
/// voters, none of whom is beyond that term.
pub(crate) async fn begin_after(
    shard: &Shard,
    term: u64,
    voters: &BTreeSet<NodeId>,
) -> Result<(), LogError> {
    be_sure(shard)?;
    let term = term.saturating_add(1);
    let leader = openraft::impls::leader_id_adv::LeaderId::new(term, NOBODY);
    let sets = vec![voters.iter().map(|node| node.0).collect()];
    let payload = EntryPayload::Membership(Membership::new_with_defaults(sets, []));
    let first = AppendEntries {
        vote: Vote::new_committed(term, NOBODY),
        prev_log_id: None,
        entries: vec![Entry { log_id: LogId::new(leader, 0), payload }],
        leader_commit: None,
    };
    let taken = shard.raft.append_entries(first).await.map_err(|error| failed(shard, &error))?;
    tracing::info!(shard = %shard.id, term, ?taken, "a shard is begun again");
    if has_entries(shard)? {
        return Ok(());
    }
    Err(unsure(shard.id, "somebody has asked for votes in it meanwhile"))
}

/// Refuses to begin where the replica may have lost what it had.
fn be_sure(shard: &Shard) -> Result<(), LogError> {
    if shard.tail.is_cut() {
        return Err(unsure(shard.id, "the log of this node lost its tail (log-cut)"));
    }
    Ok(())
}

fn failed(shard: &Shard, error: &dyn std::fmt::Display) -> LogError {
    LogError::Raft { shard: shard.id, reason: error.to_string() }
}
