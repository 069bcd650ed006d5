//! The types that openraft is instantiated with.

use std::fmt;
use std::future::Future;

use crate::snapshot::SnapshotFile;
use bytes::Bytes;
use openraft::EntryPayload;
use rotary_proto::codec::{self, CodecError, Limit};
use rotary_proto::{Stamp, Wall};
use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What an entry counts for beside its payload.
pub(crate) const ENTRY_BYTES: usize = 128;

openraft::declare_raft_types!(
    /// A shard's Raft group.
    pub(crate) Types:
        D = Command,
        R = Answer,
        NodeId = u64,
        Node = (),
        AsyncRuntime = Runtime,
);

/// What Raft's tasks run on.
#[cfg(not(feature = "seeded"))]
type Runtime = openraft::impls::TokioRuntime;
/// The same, with every random number drawn from the seed of [`seeded`].
#[cfg(feature = "seeded")]
type Runtime = openraft_rt::deterministic_rng::DeterministicRng<
    crate::restless::Restless<openraft_rt_tokio::TokioRuntime>,
>;

/// Runs what starts Raft, whose tasks then draw their random numbers from `seed`. A simulation
/// gives one; it counts only with the feature `seeded`.
pub(crate) async fn seeded<F: Future>(seed: Option<u64>, start: F) -> F::Output {
    #[cfg(feature = "seeded")]
    {
        use std::hash::{BuildHasher, RandomState};
        seed.inspect(|seed| crate::restless::stir(*seed));
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        Runtime::scope(seed, start).await
    }
    #[cfg(not(feature = "seeded"))]
    {
        let _ = seed;
        start.await
    }
}

pub(crate) type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<Types>;
pub(crate) type AppendEntries = openraft::raft::AppendEntriesRequest<Types>;
pub(crate) type VoteRequest = openraft::raft::VoteRequest<Types>;
pub(crate) type Entry = openraft::type_config::alias::EntryOf<Types>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;
pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>;

/// A command with the times that the leader gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Command {
    pub(crate) stamp: Stamp,
    pub(crate) wall: Wall,
    pub(crate) payload: Octets,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {}", self.payload.0.len(), self.stamp.0)
    }
}

/// What a machine answered to the proposer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer(pub(crate) Octets);

/// Bytes that are shared when cloned, and copied as a whole when serialised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Octets(pub(crate) Bytes);

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl Visitor<'_> for Whole {
            type Value = Octets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Octets, E> {
                Ok(Octets(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Octets, E> {
                Ok(Octets(Bytes::from(bytes)))
            }
        }
        deserializer.deserialize_byte_buf(Whole)
    }
}

/// The bytes of a Raft message or entry. An entry is a command and its header, so the limit is
/// that of a frame.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    codec::encode(value, Limit::Wire)
}

/// Appends them to what is there already.
pub(crate) fn encode_after<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    codec::encode_into(value, Limit::Wire, out).map(drop)
}

/// About as many bytes as an entry takes up, in memory or in a message.
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Normal(command) => command.payload.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    ENTRY_BYTES + payload
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    codec::decode(bytes, Limit::Wire)
}

#[cfg(test)]
mod tests {
    use openraft::entry::RaftEntry;
    use openraft::vote::RaftLeaderId;

    use super::*;

    #[test]
    fn entries_survive_the_round_trip() {
        let payload = Octets(Bytes::from_static(b"open"));
        let command = Command { stamp: Stamp(7), wall: Wall(9), payload };
        let id = LogId::new(openraft::impls::leader_id_adv::LeaderId::new(3, 1), 12);
        for payload in [EntryPayload::Normal(command), EntryPayload::Blank] {
            let entry = Entry { log_id: id, payload };
            let bytes = encode(&entry).expect("small");
            let back: Entry = decode(&bytes).expect("round trip");
            assert_eq!(back, entry);
            assert_eq!(back.log_id(), id);
        }
    }
}
