//! A shard's snapshot on its way out of one cluster, and into the nodes of another.
//!
//! What leaves is a snapshot like any other ([`Log::snapshot`]). Where it goes in, nothing of the
//! shard may be ([`plant`]): it becomes the beginning of a shard of other members, whose log goes
//! on behind it, in a later term than any that the snapshot knows.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use openraft::Membership;
use openraft::storage::RaftLogStorage as _;
use openraft::vote::RaftLeaderId as _;
use rotary_proto::{NodeId, ShardId};
use rotary_storage::SnapshotReader;
use tokio::time::Instant;

use crate::config::LogError;
use crate::log::Log;
use crate::shard::LogStores;
use crate::snapshot::{Meta, SnapshotFile, failed};
use crate::store::RaftLog;
use crate::types::{LogId, Snapshot, StoredMembership, Vote, encode};

/// How often it is looked whether a snapshot is there.
const LOOK: Duration = Duration::from_millis(50);
/// How often one is asked for meanwhile: what is asked for while another is being written is not
/// remembered.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where a snapshot stands in its shard's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The index of the last entry that is in it.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// Who led the shard then.
    pub leader: NodeId,
}

impl Log {
    /// A snapshot of a shard that has everything which was applied here when it was asked for. It
    /// can be read as long as it is held, whatever replaces it.
    ///
    /// # Errors
    /// `NoShard`, `Raft`; `Storage` where it cannot be read, or does not come within ten minutes.
    pub async fn snapshot(&self, shard: ShardId) -> Result<(Place, SnapshotReader), LogError> {
        let replica = self.shard(shard)?;
        let wanted = self.status(shard).map_or(0, |status| status.applied_index);
        let (begun, mut asked) = (Instant::now(), None::<Instant>);
        loop {
            let current = replica.snapshots.current().map_err(LogError::Storage)?;
            if let Some((place, reader)) = current.and_then(placed)
                && place.index >= wanted
            {
                return Ok((place, reader));
            }
            if asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN) {
                self.take_snapshot(shard).await?;
                asked = Some(Instant::now());
            }
            if begun.elapsed() > PATIENCE {
                let why = format!("no snapshot of {shard} came within {PATIENCE:?}");
                return Err(LogError::Storage(io::Error::new(io::ErrorKind::TimedOut, why)));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn placed(Snapshot { meta, snapshot }: Snapshot) -> Option<(Place, SnapshotReader)> {
    let last = meta.last_log_id?;
    let SnapshotFile::Current(reader) = snapshot else { return None };
    let leader = NodeId(last.leader_id.node_id);
    Some((Place { index: last.index, term: last.leader_id.term, leader }, reader))
}

/// Puts a snapshot into the stores of a node that has nothing of the shard yet, as the beginning
/// of a shard with those voters.
///
/// # Errors
/// What the disk says; `AlreadyExists` where the shard has something already.
pub async fn plant(
    stores: &LogStores,
    shard: ShardId,
    place: Place,
    voters: &BTreeSet<NodeId>,
    chunks: impl Iterator<Item = io::Result<Vec<u8>>>,
) -> io::Result<()> {
    let group = shard.0;
    let mut log = RaftLog::new(group, stores.log.clone());
    let is_empty = log.last_log_id()?.is_none()
        && stores.log.vote(group)?.is_none()
        && stores.snapshots.current(group).map_err(failed)?.is_none();
    if !is_empty {
        let why = format!("there is something of {shard} already");
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    let leader = openraft::impls::leader_id_adv::LeaderId::new(place.term, place.leader.0);
    let last = LogId::new(leader, place.index);
    let voters: BTreeSet<u64> = voters.iter().map(|node| node.0).collect();
    let membership = Membership::new_with_defaults(vec![voters], []);
    let last_membership = StoredMembership::new(Some(last), membership);
    let meta = Meta { last_log_id: Some(last), last_membership };
    let bytes = encode(&meta).map_err(io::Error::other)?;
    let mut writer = stores.snapshots.begin(group, place.index, bytes).map_err(failed)?;
    for chunk in chunks {
        writer.append(&chunk?).map_err(failed)?;
    }
    // Whoever is elected is elected in a later term than that of any entry in it.
    log.save_vote(&Vote::new(place.term, place.leader.0)).await?;
    log.purge(last).await?;
    let finished = writer.finish().map_err(failed)?;
    finished.publish().map_err(failed).map(drop)
}
