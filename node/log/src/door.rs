//! The door for other nodes: hands what they ask to the shards that stand.
//!
//! A transport is given its handler before there is a log, and a log starts its shards side by
//! side. Any of them may have to wait for other nodes ([`Log::start`](crate::Log::start)), and
//! those for the shards that stand here already. So the door is made first, and opens for each
//! shard as it stands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use rotary_proto::codec::{self, Limit};
use rotary_proto::{NodeId, ShardId};
use rotary_transport::{Handler, Lane};

use crate::digests::{self, SERVICE_DIGEST};
use crate::inbound::{self, SERVICE_PROPOSE, SERVICE_RAFT};
use crate::propose::{self, ProposeError};
use crate::read::{self, ReadError, SERVICE_READ};
use crate::shard::Shard;
use crate::tail::{self, SERVICE_TAIL};
use crate::transfer::{self, SERVICE_SNAPSHOT};

/// Answers what other nodes ask of one node's log. Copies are the same door.
///
/// A node whose transport carries nothing else makes it the transport's handler; another one calls
/// [`Door::handle`] for the services that [`Door::serves`].
#[derive(Clone, Default)]
pub struct Door(Arc<Mutex<Standing>>);

/// The shards that stand. They are not kept alive: a log may be dropped while its transport still
/// has the door.
#[derive(Default)]
struct Standing {
    shards: BTreeMap<ShardId, Weak<Shard>>,
    /// Whether these are all that the node has.
    complete: bool,
}

/// Why there is no shard to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Absent {
    #[error("the node is starting")]
    Starting,
    #[error("the shard has stopped")]
    Stopped,
    #[error("{0} has no replica on this node")]
    NoShard(ShardId),
}

impl From<Absent> for ProposeError {
    fn from(absent: Absent) -> Self {
        match absent {
            Absent::Starting => Self::NotLeader { leader: None },
            Absent::Stopped => Self::Stopped,
            Absent::NoShard(shard) => Self::NoShard(shard),
        }
    }
}

impl From<Absent> for ReadError {
    fn from(absent: Absent) -> Self {
        match absent {
            Absent::Starting => Self::NotLeader { leader: None },
            Absent::Stopped => Self::Stopped,
            Absent::NoShard(shard) => Self::NoShard(shard),
        }
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let standing = self.lock();
        let shards: Vec<&ShardId> = standing.shards.keys().collect();
        f.debug_struct("Door")
            .field("shards", &shards)
            .field("complete", &standing.complete)
            .finish()
    }
}

impl Door {
    /// A door that is shut: everybody is told that the node is starting.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether requests for this transport service are for the log.
    pub fn serves(service: u8) -> bool {
        matches!(
            service,
            SERVICE_RAFT
                | SERVICE_PROPOSE
                | SERVICE_READ
                | SERVICE_SNAPSHOT
                | SERVICE_DIGEST
                | SERVICE_TAIL
        )
    }

    /// Lets requests for a shard in.
    pub(crate) fn open_for(&self, shard: &Arc<Shard>) {
        self.lock().shards.insert(shard.id, Arc::downgrade(shard));
    }

    /// Every shard of the node stands, so that any other one has no replica here.
    pub(crate) fn complete(&self) {
        self.lock().complete = true;
    }

    /// Answers a request that came over the transport.
    ///
    /// # Errors
    /// A text for the caller's log: the request is malformed, or for a shard or a service that is
    /// not here, or not yet.
    pub async fn handle(&self, service: u8, payload: Bytes) -> Result<Vec<u8>, String> {
        match service {
            SERVICE_RAFT => {
                let (kind, shard, body) = inbound::split_raft(&payload)?;
                inbound::raft(&*self.standing(shard)?, kind, body).await
            }
            SERVICE_PROPOSE => {
                let (id, commands) = propose::split(&payload)?;
                let outcomes = match self.shard(id) {
                    Ok(shard) => shard.propose_in_time(commands).await,
                    Err(absent) => vec![Err(absent.into()); commands.len()],
                };
                codec::encode(&outcomes, Limit::Wire).map_err(|error| error.to_string())
            }
            SERVICE_READ => {
                let answer = match self.shard(group(&payload)?) {
                    Ok(shard) => read::confirm(&shard).await,
                    Err(absent) => Err(absent.into()),
                };
                codec::encode(&answer, Limit::Wire).map_err(|error| error.to_string())
            }
            SERVICE_SNAPSHOT => {
                let (group, body) = transfer::split(&payload)?;
                transfer::receive(&*self.standing(ShardId(group))?, body).await
            }
            SERVICE_DIGEST => digests::answer(&*self.standing(group(&payload)?)?).await,
            SERVICE_TAIL => tail::answer(&*self.standing(group(&payload)?)?),
            other => Err(format!("the log does not serve {other}")),
        }
    }

    fn standing(&self, shard: ShardId) -> Result<Arc<Shard>, String> {
        self.shard(shard).map_err(|absent| absent.to_string())
    }

    fn shard(&self, shard: ShardId) -> Result<Arc<Shard>, Absent> {
        let standing = self.lock();
        match standing.shards.get(&shard) {
            Some(known) => known.upgrade().ok_or(Absent::Stopped),
            None if standing.complete => Err(Absent::NoShard(shard)),
            None => Err(Absent::Starting),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().expect("no code panics while it holds this lock")
    }
}

/// A request that says no more than which shard it is about.
pub(crate) fn about(shard: ShardId) -> Bytes {
    Bytes::copy_from_slice(&shard.0.to_le_bytes())
}

/// The shard that a request is about, where that is what it begins with: see [`about`].
pub(crate) fn group(payload: &[u8]) -> Result<ShardId, String> {
    let group = payload.first_chunk::<4>().ok_or("a request without a group")?;
    Ok(ShardId(u32::from_le_bytes(*group)))
}

impl Handler for Door {
    fn handle(
        &self,
        _: NodeId,
        _: Lane,
        service: u8,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let door = self.clone();
        async move { Self::handle(&door, service, payload).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_shut_door_says_why() {
        let (door, shard) = (Door::new(), Bytes::from_static(&[9, 0, 0, 0]));
        let refused = |service| Door::handle(&door, service, shard.clone());
        assert_eq!(refused(SERVICE_DIGEST).await, Err("the node is starting".to_owned()));
        let read: Result<u64, ReadError> =
            codec::decode(&refused(SERVICE_READ).await.expect("answers"), Limit::Wire)
                .expect("an answer");
        assert_eq!(read, Err(ReadError::NotLeader { leader: None }));
        door.complete();
        assert_eq!(refused(SERVICE_TAIL).await, Err("sh_9 has no replica on this node".to_owned()));
        assert_eq!(refused(200).await, Err("the log does not serve 200".to_owned()));
    }

    #[tokio::test]
    async fn a_request_that_is_cut_off_is_an_error() {
        let door = Door::new();
        for service in (0..=u8::MAX).filter(|service| Door::serves(*service)) {
            let cut = Door::handle(&door, service, Bytes::from_static(&[1, 2])).await;
            assert!(cut.is_err(), "{service}: {cut:?}");
        }
    }
}
