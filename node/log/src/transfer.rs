//! A snapshot on its way to a replica that is too far behind for the log.
//!
//! The leader offers it; the replica says which chunk it wants next, the first one or, after a
//! broken connection, the one where it stopped; the chunks follow in order on the bulk lane, no
//! faster than the configured rate, so that they take nothing from those who wait for an answer.
//! The last request has the replica's Raft install what it received.

use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{NetworkError, StreamingError, Unreachable};
use openraft::raft::SnapshotResponse;
use rotary_proto::NodeId;
use rotary_storage::{FinishedSnapshot, SnapshotId, SnapshotReader, SnapshotWriter};
use rotary_transport::{CallError, Lane, Transport};
use serde::{Deserialize, Serialize};

use crate::rebuild;
use crate::shard::Shard;
use crate::snapshot::{Meta, SnapshotFile, SnapshotStore, failed};
use crate::types::{Octets, Snapshot, Types, Vote, decode, encode};

/// The transport service that carries snapshots.
pub const SERVICE_SNAPSHOT: u8 = 5;

/// What one chunk may take to arrive and be written.
const CHUNK_TTL: Duration = Duration::from_secs(10);
/// What installing may take.
const INSTALL_TTL: Duration = Duration::from_secs(120);

/// What a snapshot is recognised by on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Id {
    index: u64,
    chunks: u32,
    sum: u32,
}

impl From<SnapshotId> for Id {
    fn from(SnapshotId { index, chunks, sum }: SnapshotId) -> Self {
        Self { index, chunks, sum }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Asks which chunk is wanted next.
    Offer(Id, Meta),
    Chunk(Id, u32, Octets),
    Install(Id, Vote),
    /// Asks for what the replica has, if it reaches as far as this index; it should if it can.
    Describe(u64),
    Read(Id, u32),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The chunk wanted next; as many as there are, if none is.
    Next(u32),
    /// It is installed, or was not needed. The vote is the replica's.
    Installed(Vote),
    Described(Option<(Id, Meta)>),
    Piece(Octets),
}

/// What a replica has received so far.
pub(crate) struct Receiving {
    id: Id,
    writer: SnapshotWriter,
}

fn join(group: u32, request: &Request) -> Result<Bytes, String> {
    let body = encode(request).map_err(|error| error.to_string())?;
    Ok(Bytes::from([group.to_le_bytes().as_slice(), &body].concat()))
}

/// The group and the rest of a request; an error is a text for the sender's log.
pub(crate) fn split(payload: &[u8]) -> Result<(u32, &[u8]), String> {
    let split = payload.split_first_chunk::<4>();
    let (group, body) = split.ok_or_else(|| "a snapshot without a group".to_owned())?;
    Ok((u32::from_le_bytes(*group), body))
}

/// Takes a request in on the replica.
pub(crate) async fn receive(shard: &Shard, body: &[u8]) -> Result<Vec<u8>, String> {
    let request = decode(body).map_err(|error| error.to_string())?;
    let mut receiving = shard.receiving.lock().await;
    let answer = match request {
        Request::Offer(id, meta) => {
            if receiving.as_ref().is_none_or(|receiving| receiving.id != id) {
                let writer = shard.snapshots.begin(&meta).map_err(|error| error.to_string())?;
                *receiving = Some(Receiving { id, writer });
            }
            Answer::Next(receiving.as_ref().map_or(0, |receiving| receiving.writer.chunks()))
        }
        Request::Chunk(id, number, bytes) => {
            let known = receiving.take_if(|receiving| receiving.id == id);
            let mut known = known.ok_or_else(|| "a chunk of a snapshot not offered".to_owned())?;
            // Not on this task: Raft's own run beside it.
            let write = move || {
                if known.writer.chunks() == number && number < id.chunks {
                    known.writer.append(&bytes.0).map_err(failed)?;
                }
                Ok(known)
            };
            let known = shard.snapshots.blocking.run(write).await.map_err(|e| e.to_string())?;
            let next = known.writer.chunks();
            *receiving = Some(known);
            Answer::Next(next)
        }
        Request::Install(id, vote) => {
            shard.tail.may_follow(vote.leader_id.term)?;
            let known = receiving.take_if(|receiving| receiving.id == id);
            let known = known.ok_or_else(|| "a snapshot not offered".to_owned())?;
            Answer::Installed(install(shard, known, vote).await?)
        }
        Request::Describe(index) => Answer::Described(describe(shard, index).await?),
        Request::Read(id, number) => {
            let reader = current(shard)?.filter(|(reader, _)| Id::from(reader.id()) == id);
            let (reader, _) = reader.ok_or_else(|| "that snapshot is not current".to_owned())?;
            let read = move || reader.chunk(number).map_err(failed);
            let read = shard.snapshots.blocking.run(read).await;
            Answer::Piece(Octets(read.map_err(|error| error.to_string())?.into()))
        }
    };
    encode(&answer).map_err(|error| error.to_string())
}

fn current(shard: &Shard) -> Result<Option<(SnapshotReader, Meta)>, String> {
    let current = shard.snapshots.current().map_err(|error| error.to_string())?;
    Ok(current.and_then(|current| match current.snapshot {
        SnapshotFile::Current(reader) => Some((reader, Meta::of(&current.meta))),
        SnapshotFile::Received(_) => None,
    }))
}

/// The current snapshot if it reaches that far; if it does not, another is asked for.
async fn describe(shard: &Shard, index: u64) -> Result<Option<(Id, Meta)>, String> {
    let found = current(shard)?.map(|(reader, meta)| (Id::from(reader.id()), meta));
    let found = found.filter(|(_, meta)| rebuild::reaches(meta, index));
    if found.is_none() {
        shard.raft.trigger().snapshot().await.map_err(|error| error.to_string())?;
    }
    Ok(found)
}

/// Copies another replica's snapshot; `None` if it has none that reaches as far as `index`.
pub(crate) async fn fetch(
    transport: &Transport,
    node: NodeId,
    store: &SnapshotStore,
    index: u64,
) -> Result<Option<FinishedSnapshot>, String> {
    let to = Target { transport, node, group: store.group };
    let text = |error: StreamingError<Types>| error.to_string();
    let described = to.call(&Request::Describe(index), CHUNK_TTL).await.map_err(text)?;
    let Answer::Described(Some((id, meta))) = described else { return Ok(None) };
    if !rebuild::reaches(&meta, index) {
        return Ok(None);
    }
    let mut writer = store.begin(&meta).map_err(|error| error.to_string())?;
    for number in 0..id.chunks {
        let read = to.call(&Request::Read(id, number), CHUNK_TTL).await.map_err(text)?;
        let Answer::Piece(bytes) = read else { return Err("an odd answer".to_owned()) };
        writer.append(&bytes.0).map_err(|error| error.to_string())?;
    }
    let finished = writer.finish().map_err(|error| error.to_string())?;
    let same = Id::from(finished.id()) == id;
    if same { Ok(Some(finished)) } else { Err("its chunks do not match its id".to_owned()) }
}

async fn install(shard: &Shard, received: Receiving, vote: Vote) -> Result<Vote, String> {
    let Receiving { id, writer } = received;
    let finish = move || writer.finish().map_err(failed);
    let finished = shard.snapshots.blocking.run(finish).await.map_err(|e| e.to_string())?;
    if Id::from(finished.id()) != id {
        return Err(format!("received {:?}, {id:?} was offered", finished.id()));
    }
    let meta: Meta = decode(finished.meta()).map_err(|error| error.to_string())?;
    let snapshot = SnapshotFile::Received(Box::new(finished));
    let snapshot = Snapshot { meta: meta.raft(), snapshot };
    let installed = shard.raft.install_full_snapshot(vote, snapshot).await;
    installed.map(|response| response.vote).map_err(|error| error.to_string())
}

/// Sends a snapshot to a replica and has it installed.
pub(crate) async fn send(
    transport: &Transport,
    target: u64,
    group: u32,
    vote: Vote,
    snapshot: Snapshot,
    bytes_per_second: u64,
) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
    let SnapshotFile::Current(reader) = snapshot.snapshot else {
        return Err(broken("a snapshot that is being received is not sent on"));
    };
    let (id, meta) = (Id::from(reader.id()), Meta::of(&snapshot.meta));
    let to = Target { transport, node: NodeId(target), group };
    let mut next = to.next(&Request::Offer(id, meta), CHUNK_TTL).await?;
    tracing::info!(
        node = target,
        group,
        index = id.index,
        next,
        of = id.chunks,
        "sending a snapshot"
    );
    while next < id.chunks {
        let chunk = read(&reader, next)?;
        let pause = Duration::from_micros(chunk.len() as u64 * 1_000_000 / bytes_per_second.max(1));
        let sent = to.next(&Request::Chunk(id, next, Octets(chunk.into())), CHUNK_TTL).await?;
        if sent <= next {
            return Err(broken("the replica does not take the chunk"));
        }
        next = sent;
        tokio::time::sleep(pause).await;
    }
    match to.call(&Request::Install(id, vote), INSTALL_TTL).await? {
        Answer::Installed(vote) => Ok(SnapshotResponse::new(vote)),
        _ => Err(broken("the replica did not install it")),
    }
}

fn read(reader: &SnapshotReader, number: u32) -> Result<Vec<u8>, StreamingError<Types>> {
    reader.chunk(number).map_err(|error| {
        tracing::error!(
            code = "snapshot-unreadable",
            %error,
            "this node's snapshot cannot be read"
        );
        broken(&error.to_string())
    })
}

fn broken(reason: &str) -> StreamingError<Types> {
    StreamingError::Network(NetworkError::from_string(reason))
}

struct Target<'a> {
    transport: &'a Transport,
    node: NodeId,
    group: u32,
}

impl Target<'_> {
    async fn next(&self, request: &Request, ttl: Duration) -> Result<u32, StreamingError<Types>> {
        match self.call(request, ttl).await? {
            Answer::Next(next) => Ok(next),
            _ => Err(broken("an answer to another request")),
        }
    }

    async fn call(
        &self,
        request: &Request,
        ttl: Duration,
    ) -> Result<Answer, StreamingError<Types>> {
        let payload = join(self.group, request).map_err(|error| broken(&error))?;
        let call = self.transport.call(self.node, Lane::Bulk, SERVICE_SNAPSHOT, payload, ttl);
        match call.await {
            Ok(answer) => decode(&answer).map_err(|error| broken(&error.to_string())),
            Err(error @ CallError::NotSent(_)) => {
                Err(StreamingError::Unreachable(Unreachable::from_string(error)))
            }
            Err(error) => Err(broken(&error.to_string())),
        }
    }
}
