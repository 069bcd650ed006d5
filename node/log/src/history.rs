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
pub(crate) struct Head(u64, [u8; 32]);

/// Where a journal begins or stands, on its way: its head, and every stream's last sequence.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Base {
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
pub(crate) enum Request {
    /// Where the journal of a shard begins.
    Base(ShardId),
    /// A piece of it: what follows an index, but for bytes that are there, up to another index.
    Piece { shard: ShardId, after: u64, skip: u64, through: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Base(Base),
    Piece {
        after: Head,
        skip: u64,
        end: Head,
        bytes: Vec<u8>,
    },
    /// That part is missing here, too; what is above begins there.
    Lacking(Base),
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
        Request::Base(shard) => begin(journal, shard),
        // Its caller may have to begin where this journal begins.
        Request::Piece { shard, after, .. } if after < journal.first_index(shard.0) => {
            begin(journal, shard)
        }
        Request::Piece { shard, after, skip, through } => {
            let skip = usize::try_from(skip).map_err(|error| error.to_string())?;
            let piece = journal.export(shard.0, after, skip, through, PIECE_BYTES);
            let JournalChunk { after, skip, bytes, end } = piece.map_err(|e| e.to_string())?;
            Answer::Piece { after: after.into(), skip: skip as u64, end: end.into(), bytes }
        }
    };
    codec::encode(&answer, Limit::Wire).map_err(|error| error.to_string())
}

/// Where this node's history begins. Where a gap ends is no beginning: the other would never miss
/// what is below.
fn begin(journal: &Journal, shard: ShardId) -> Answer {
    let base = journal.base(shard.0).into();
    match journal.missing(shard.0) {
        Some(_) => Answer::Lacking(base),
        None => Answer::Base(base),
    }
}

/// What another node has of what is wanted.
enum Had {
    /// All of it: it is here.
    Whole,
    /// Nothing: it has forgotten it, or never had it. What it has begins there.
    Nothing(JournalBase),
}

/// Says who keeps a shard at the moment.
pub type MembersOf = Box<dyn Fn(ShardId) -> Vec<NodeId> + Send + Sync>;

/// Says which shards a node has a journal of at the moment.
pub type ShardsOf = Box<dyn Fn() -> Vec<ShardId> + Send + Sync>;

/// What a node does for the history of its replicas.
pub struct History {
    /// The node's journal.
    pub journal: Arc<Journal>,
    /// The way to the other nodes.
    pub transport: Arc<Transport>,
    /// Who keeps a shard at the moment.
    pub members: MembersOf,
    /// The shards that have a journal.
    pub shards: ShardsOf,
    /// Where pieces are written to disk.
    pub blocking: Blocking,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("shards", &(self.shards)()).finish_non_exhaustive()
    }
}

impl History {
    /// Fetches what is missing, as long as the node runs.
    pub async fn keep_whole(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            for shard in (self.shards)() {
                if self.journal.missing(shard.0).is_some() {
                    self.fetch(shard).await;
                }
            }
        }
    }

    async fn fetch(&self, shard: ShardId) {
        let this = self.transport.node();
        let (mut asked, mut without) = (0, Vec::new());
        for node in (self.members)(shard).into_iter().filter(|node| *node != this) {
            asked += 1;
            match self.fetch_from(node, shard).await {
                Ok(Had::Whole) => {
                    tracing::info!(%shard, from = %node, "the history before its snapshot is here");
                    return;
                }
                Ok(Had::Nothing(base)) => without.push(base),
                Err(error) => tracing::debug!(%shard, from = %node, error, "no history from there"),
            }
        }
        // If every other one has forgotten it, it is too old for this one, too. One that waits for
        // it itself has nothing to give, and would wait for this one.
        let earliest = without.iter().min_by_key(|base| base.head.index).cloned();
        let Some(base) = earliest.filter(|_| without.len() == asked) else { return };
        tracing::warn!(
            code = "history-lost",
            %shard, index = base.head.index,
            "older history is kept by none; given up"
        );
        let journal = self.journal.clone();
        let begin = move || journal.begin_at(shard.0, base).map_err(io::Error::other);
        if let Err(error) = self.blocking.run(begin).await {
            tracing::error!(
                code = "history-failed",
                %shard, %error,
                "the history cannot be begun anew"
            );
        }
    }

    /// Fetches what is missing from one node, until all is there or that node has no more.
    async fn fetch_from(&self, node: NodeId, shard: ShardId) -> Result<Had, String> {
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
            match &got {
                Answer::Lacking(base) => return Ok(Had::Nothing(base.clone().into())),
                Answer::Base(base)
                    if missing.after.is_some() || base.head.0 >= missing.through.index =>
                {
                    return Ok(Had::Nothing(base.clone().into()));
                }
                _ => {}
            }
            let journal = self.journal.clone();
            let take = move || take_in(&journal, shard, missing, got).map_err(io::Error::other);
            self.blocking.run(take).await.map_err(|error| error.to_string())?;
        }
        Ok(Had::Whole)
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
        Answer::Lacking(_) => Err("it is missing there, too".to_owned()),
    }
}
