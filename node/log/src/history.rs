//! A replica's history before its snapshot, fetched from the others.
//!
//! A replica that started from another's snapshot has the state and not the journal that led to
//! it. Its journal goes on from the snapshot's place at once; what is below is fetched in pieces on
//! the bulk lane and checked against the hash chain, whose value at the snapshot is in the
//! snapshot ([`encode_base`]). Until it is whole no session reads from this replica.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rotary_proto::codec::{self, Limit};
use rotary_proto::{NodeId, ShardId};
use rotary_storage::{ChainHash, Journal, JournalBase, JournalChunk, JournalHead, Missing};
use rotary_transport::{Lane, Transport};
use serde::{Deserialize, Serialize};

use crate::config::Blocking;

/// The transport service that answers with pieces of a journal.
pub const SERVICE_HISTORY: u8 = 8;

/// Bytes of one piece.
const PIECE_BYTES: usize = 512 * 1024;
/// How often it is looked whether something is missing.
const LOOK: Duration = Duration::from_millis(500);
const TTL: Duration = Duration::from_secs(10);

/// A place in a journal, on its way.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Head(u64, [u8; 32]);

/// Where a journal begins or stands, on its way: its head, and every stream's last sequence.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Base {
    head: Head,
    streams: Vec<(u64, u64)>,
}

impl From<JournalHead> for Head {
    fn from(head: JournalHead) -> Self {
        Self(head.index, head.hash.0)
    }
}

impl From<Head> for JournalHead {
    fn from(Head(index, hash): Head) -> Self {
        Self { index, hash: ChainHash(hash) }
    }
}

impl From<JournalBase> for Base {
    fn from(base: JournalBase) -> Self {
        Self { head: base.head.into(), streams: base.streams.into_iter().collect() }
    }
}

impl From<Base> for JournalBase {
    fn from(base: Base) -> Self {
        Self { head: base.head.into(), streams: base.streams.into_iter().collect() }
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// Where the journal of a shard begins.
    Base(ShardId),
    /// A piece of it: what follows an index, but for bytes that are there, up to another index.
    Piece { shard: ShardId, after: u64, skip: u64, through: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Base(Base),
    Piece { after: Head, skip: u64, end: Head, bytes: Vec<u8> },
}

/// Where a journal stands, for a snapshot to carry.
///
/// # Panics
/// If it has so many streams that it does not fit a frame, which bounds on sites rule out.
pub fn encode_base(base: JournalBase) -> Vec<u8> {
    codec::encode(&Base::from(base), Limit::Wire).expect("a base fits a frame")
}

/// What [`encode_base`] wrote.
///
/// # Errors
/// A text that says what is wrong with the bytes.
pub fn decode_base(bytes: &[u8]) -> Result<JournalBase, String> {
    let base: Base = codec::decode(bytes, Limit::Wire).map_err(|error| error.to_string())?;
    Ok(base.into())
}

/// Answers another node's request for [`SERVICE_HISTORY`]. May read the disk, and so blocks.
///
/// # Errors
/// A text for the caller's log.
pub fn answer_history(journal: &Journal, payload: &[u8]) -> Result<Vec<u8>, String> {
    let request = codec::decode(payload, Limit::Entry).map_err(|error| error.to_string())?;
    let answer = match request {
        // Where a gap ends is not where history begins: the other would never miss the rest.
        Request::Base(shard) if journal.missing(shard.0).is_some() => {
            return Err(format!("the history of {shard} is not whole here yet"));
        }
        Request::Base(shard) => Answer::Base(journal.base(shard.0).into()),
        Request::Piece { shard, after, skip, through } => {
            let skip = usize::try_from(skip).map_err(|error| error.to_string())?;
            let piece = journal.export(shard.0, after, skip, through, PIECE_BYTES);
            let JournalChunk { after, skip, bytes, end } = piece.map_err(|e| e.to_string())?;
            Answer::Piece { after: after.into(), skip: skip as u64, end: end.into(), bytes }
        }
    };
    codec::encode(&answer, Limit::Wire).map_err(|error| error.to_string())
}

/// What a node does for the history of its replicas.
#[derive(Debug, Clone)]
pub struct History {
    /// The node's journal.
    pub journal: Arc<Journal>,
    /// The way to the other nodes.
    pub transport: Arc<Transport>,
    /// All nodes, or the others.
    pub members: Vec<NodeId>,
    /// The shards that have a journal.
    pub shards: Vec<ShardId>,
    /// Where pieces are written to disk.
    pub blocking: Blocking,
}

impl History {
    /// Fetches what is missing, as long as the node runs.
    pub async fn keep_whole(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            for shard in &self.shards {
                if self.journal.missing(shard.0).is_some() {
                    self.fetch(*shard).await;
                }
            }
        }
    }

    async fn fetch(&self, shard: ShardId) {
        let this = self.transport.node();
        for node in self.members.iter().filter(|node| **node != this) {
            match self.fetch_from(*node, shard).await {
                Ok(()) => {
                    tracing::info!(%shard, from = %node, "the history before its snapshot is here");
                    return;
                }
                Err(error) => tracing::debug!(%shard, from = %node, error, "no history from there"),
            }
        }
    }

    async fn fetch_from(&self, node: NodeId, shard: ShardId) -> Result<(), String> {
        while let Some(missing) = self.journal.missing(shard.0) {
            let request = match missing.after {
                None => Request::Base(shard),
                Some(after) => {
                    let (after, through) = (after.index, missing.through.index);
                    Request::Piece { shard, after, skip: missing.skip as u64, through }
                }
            };
            let payload =
                codec::encode(&request, Limit::Entry).map_err(|error| error.to_string())?;
            let got = self.transport.call(node, Lane::Bulk, SERVICE_HISTORY, payload, TTL).await;
            let got = got.map_err(|error| error.to_string())?;
            let got: Answer =
                codec::decode(&got, Limit::Wire).map_err(|error| error.to_string())?;
            let journal = self.journal.clone();
            let take = move || take_in(&journal, shard, missing, got).map_err(io::Error::other);
            self.blocking.run(take).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn take_in(journal: &Journal, shard: ShardId, was: Missing, got: Answer) -> Result<(), String> {
    match got {
        Answer::Base(base) => {
            journal.import_base(shard.0, base.into()).map_err(|error| error.to_string())
        }
        Answer::Piece { after, skip, end, bytes } => {
            let skip = usize::try_from(skip).map_err(|error| error.to_string())?;
            let piece = JournalChunk { after: after.into(), skip, bytes, end: end.into() };
            let left = journal.import(shard.0, &piece).map_err(|error| error.to_string())?;
            if left == Some(was) {
                return Err("the piece does not go on from where the journal ends".to_owned());
            }
            Ok(())
        }
    }
}
