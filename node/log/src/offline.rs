//! The log of a node as its store has it, read entry by entry: for judges and diagnosis, of a node
//! that does not run, and for backups ([`Log::stored`]).
//!
//! It reads a [`LogStore`] that its caller has opened, and writes nothing. Opening a store may
//! write (a torn end is cut), so whoever wants the files as they are opens a copy of them. While
//! the node runs, entries that it has not applied may still be replaced, and old ones go.
//!
//! [`Log::stored`]: crate::Log::stored

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use openraft::EntryPayload;
use rotary_proto::ids::{NodeId, ShardId};
use rotary_proto::{Stamp, Wall};
use rotary_storage::LogStore;

use crate::store::RaftLog;
use crate::types::{Entry, LogId, decode};

/// What an entry carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfflinePayload {
    /// Nothing: a leader's first entry.
    Blank,
    /// The voters from here on.
    Members(Vec<NodeId>),
    /// A command for the machine, with the times that its leader gave it.
    Command {
        /// Shard time, before it is clamped to rise.
        stamp: Stamp,
        /// Wall time.
        wall: Wall,
        /// The command's bytes.
        payload: Bytes,
    },
}

/// One entry as the disk has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineEntry {
    /// Its place in the log.
    pub index: u64,
    /// The term that it was made in.
    pub term: u64,
    /// Who led the shard then.
    pub leader: NodeId,
    /// All of it: equal entries of two nodes have equal bytes.
    pub bytes: Arc<[u8]>,
    /// What it carries.
    pub payload: OfflinePayload,
}

impl OfflineEntry {
    /// Of an entry's bytes, as a store has them.
    ///
    /// # Errors
    /// Bytes that are no entry.
    pub fn decode(bytes: Arc<[u8]>) -> io::Result<Self> {
        let entry: Entry = decode(&bytes).map_err(io::Error::other)?;
        let LogId { leader_id, index } = entry.log_id;
        let payload = match entry.payload {
            EntryPayload::Blank => OfflinePayload::Blank,
            EntryPayload::Membership(members) => {
                OfflinePayload::Members(members.voter_ids().map(NodeId).collect())
            }
            EntryPayload::Normal(command) => OfflinePayload::Command {
                stamp: command.stamp,
                wall: command.wall,
                payload: command.payload.0,
            },
        };
        Ok(Self { index, term: leader_id.term, leader: NodeId(leader_id.node_id), bytes, payload })
    }
}

/// The logs of a node.
#[derive(Clone)]
pub struct OfflineLog {
    store: Arc<dyn LogStore>,
}

impl OfflineLog {
    /// Of an open store.
    pub fn of(store: Arc<dyn LogStore>) -> Self {
        Self { store }
    }

    /// Up to which index the node knew entries of a shard to be committed, when that was last
    /// saved; 0 for none. It may lag, since it is saved with whatever is written next.
    ///
    /// # Errors
    /// What the disk says, or bytes that are no place in a log.
    pub fn committed(&self, shard: ShardId) -> io::Result<u64> {
        let log = RaftLog::new(shard.0, Arc::clone(&self.store));
        Ok(log.committed()?.map_or(0, |id| id.index))
    }

    /// The last index that was forgotten, because a snapshot stands for it; 0 for none.
    ///
    /// # Errors
    /// What the disk says.
    pub fn forgotten(&self, shard: ShardId) -> io::Result<u64> {
        Ok(self.store.purged(shard.0)?.map_or(0, |(index, _)| index))
    }

    /// The term of the last entry that was forgotten; 0 where none was.
    ///
    /// # Errors
    /// What the disk says, or bytes that are no place in a log.
    pub fn forgotten_term(&self, shard: ShardId) -> io::Result<u64> {
        let Some((_, mark)) = self.store.purged(shard.0)? else { return Ok(0) };
        let last: LogId = decode(&mark).map_err(io::Error::other)?;
        Ok(last.leader_id.term)
    }

    /// Entries from an index on, in order, of about `bytes_max` bytes; none at the end.
    ///
    /// # Errors
    /// What the disk says, or bytes that are no entry.
    pub fn read(
        &self,
        shard: ShardId,
        from: u64,
        bytes_max: usize,
    ) -> io::Result<Vec<OfflineEntry>> {
        let found = self.store.read(shard.0, from..u64::MAX, bytes_max)?;
        found.into_iter().map(|found| OfflineEntry::decode(found.bytes)).collect()
    }
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId as _;
    use rotary_storage::{LogEntry, MemoryLog};

    use super::*;
    use crate::types::{Command, Octets, encode};

    const SHARD: ShardId = ShardId(3);

    fn entry(index: u64, payload: EntryPayload<Command, u64, ()>) -> LogEntry {
        let id = LogId::new(openraft::impls::leader_id_adv::LeaderId::new(2, 1), index);
        let bytes = encode(&Entry { log_id: id, payload }).expect("small");
        LogEntry { index, bytes: bytes.into() }
    }

    #[test]
    fn entries_are_read_as_they_were_written_and_damage_is_an_error() {
        let store: Arc<dyn LogStore> = Arc::new(MemoryLog::default());
        let payload = Octets(Bytes::from_static(b"open"));
        let command = Command { stamp: Stamp(7), wall: Wall(9), payload };
        let entries = vec![entry(4, EntryPayload::Blank), entry(5, EntryPayload::Normal(command))];
        store.append(SHARD.0, entries.clone(), Box::new(|done| done.expect("memory")));
        let log = OfflineLog::of(Arc::clone(&store));
        let read = log.read(SHARD, 4, 1 << 20).expect("readable");
        assert_eq!(read[0].payload, OfflinePayload::Blank);
        let (stamp, wall, payload) = (Stamp(7), Wall(9), Bytes::from_static(b"open"));
        assert_eq!(read[1].payload, OfflinePayload::Command { stamp, wall, payload });
        assert_eq!(read[1].bytes, entries[1].bytes);
        assert_eq!((read[1].index, read[1].term, read[1].leader), (5, 2, NodeId(1)));
        assert_eq!(
            (log.committed(SHARD).expect("none"), log.forgotten(SHARD).expect("none")),
            (0, 0)
        );
        let damaged = LogEntry { index: 6, bytes: Arc::from(&b"no entry"[..]) };
        store.append(SHARD.0, vec![damaged], Box::new(|done| done.expect("memory")));
        assert!(log.read(SHARD, 6, 1 << 20).is_err());
    }
}
