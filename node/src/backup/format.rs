//! What the frames of a backup are: what stands first says whose it is, what stands last how much
//! there was. The form of frames is that of [`rotary_storage::BackupFrames`].
//!
//! They come in this order: one [`Head`]; the chunks of a snapshot; where the journal begins, and
//! its pieces from there to the snapshot's place; each file, its name and then its bytes; one
//! [`End`]. The directory has no journal and no files.
//!
//! A file of entries, of the log of a shard, has the same form: one [`LogHead`], entries, one
//! [`End`].
//!
//! Nothing in it is believed: what frames hold is checked by what takes it in (a snapshot's digest,
//! the journal's hash chain, files' digests, the order of entries).

use std::io::Read;

use rotary_proto::codec::{self, Limit};
use rotary_proto::limits::WIRE_FRAME_BYTES_MAX;
use rotary_proto::{NodeId, ShardId, Wall};
use rotary_storage::{
    BACKUP_END, BACKUP_PAYLOAD_BYTES_MAX, BackupFileError, BackupFrames, ChainHash, JournalChunk,
    JournalHead, backup_frame,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const _: () = assert!(WIRE_FRAME_BYTES_MAX <= BACKUP_PAYLOAD_BYTES_MAX, "a value fits a frame");

/// Whose backup it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The cluster's id.
    pub(crate) cluster: String,
    /// The shard, 0 for the directory.
    pub(crate) shard: ShardId,
    /// Data shards that the cluster has.
    pub(crate) shards: u32,
    /// The last entry that is in it, its term, and who led then.
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) leader: NodeId,
    /// The build that wrote it, on which node, and when by that node's clock.
    pub(crate) build: String,
    pub(crate) node: NodeId,
    pub(crate) wall: Wall,
}

/// Whose entries they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogHead {
    pub(crate) cluster: String,
    pub(crate) shard: ShardId,
    /// Whether the log can be the one whose last entry the asker knew.
    pub(crate) goes_on: bool,
    /// They follow this index, up to and with the other.
    pub(crate) after: u64,
    pub(crate) through: u64,
    /// The term of the last one, also where there are none.
    pub(crate) term: u64,
    /// A sum of that entry's bytes; 0 where a snapshot stands for it.
    pub(crate) sum: u64,
    /// The build that wrote them, on which node, and when by that node's clock.
    pub(crate) build: String,
    pub(crate) node: NodeId,
    pub(crate) wall: Wall,
}

/// A piece of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    after: (u64, [u8; 32]),
    skip: u64,
    end: (u64, [u8; 32]),
    bytes: Vec<u8>,
}

impl From<JournalChunk> for Piece {
    fn from(JournalChunk { after, skip, bytes, end }: JournalChunk) -> Self {
        let place = |head: JournalHead| (head.index, head.hash.0);
        Self { after: place(after), skip: skip as u64, end: place(end), bytes }
    }
}

impl From<Piece> for JournalChunk {
    fn from(Piece { after, skip, bytes, end }: Piece) -> Self {
        let head = |(index, hash)| JournalHead { index, hash: ChainHash(hash) };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Self { after: head(after), skip, bytes, end: head(end) }
    }
}

/// A file that messages name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlobHead {
    /// The site, as storage keys it.
    pub(crate) scope: u64,
    /// The digest of its bytes in that scope.
    pub(crate) digest: [u8; 32],
    pub(crate) bytes: u64,
}

/// How much there was of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) chunks: u64,
    pub(crate) pieces: u64,
    pub(crate) blobs: u64,
    pub(crate) entries: u64,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    Head(Head),
    /// Of the snapshot.
    Chunk(Vec<u8>),
    /// Where the journal begins, as [`rotary_log::encode_base`] writes it.
    Base(Vec<u8>),
    Piece(Piece),
    Blob(BlobHead),
    /// Of the last file named.
    Bytes(Vec<u8>),
    Log(LogHead),
    /// Of a log, in order, each as its store has it ([`rotary_log::OfflineEntry`]).
    Entries(Vec<Vec<u8>>),
    End(End),
}

impl Frame {
    /// The bytes that stand for it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        fn of<T: Serialize>(kind: u8, value: &T) -> Vec<u8> {
            let payload = codec::encode(value, Limit::Wire);
            backup_frame(kind, &payload.expect("what a frame of a backup holds is bounded"))
        }
        match self {
            Self::Head(head) => of(1, head),
            Self::Chunk(bytes) => backup_frame(2, bytes),
            Self::Base(bytes) => backup_frame(3, bytes),
            Self::Piece(piece) => of(4, piece),
            Self::Blob(blob) => of(5, blob),
            Self::Bytes(bytes) => backup_frame(6, bytes),
            Self::Log(head) => of(7, head),
            Self::Entries(entries) => of(8, entries),
            Self::End(end) => of(BACKUP_END, end),
        }
    }

    fn decode(kind: u8, payload: Vec<u8>) -> Result<Self, String> {
        fn of<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
            codec::decode(payload, Limit::Wire).map_err(|error| error.to_string())
        }
        Ok(match kind {
            1 => Self::Head(of(&payload)?),
            2 => Self::Chunk(payload),
            3 => Self::Base(payload),
            4 => Self::Piece(of(&payload)?),
            5 => Self::Blob(of(&payload)?),
            6 => Self::Bytes(payload),
            7 => Self::Log(of(&payload)?),
            8 => Self::Entries(of(&payload)?),
            BACKUP_END => Self::End(of(&payload)?),
            other => return Err(format!("a frame of kind {other}")),
        })
    }
}

/// The next frame of a file; `None` after the last one.
///
/// # Errors
/// What is wrong with its bytes, and where.
pub(crate) fn next(frames: &mut BackupFrames<impl Read>) -> Result<Option<Frame>, BackupFileError> {
    let at = frames.at();
    let Some((kind, payload)) = frames.read()? else { return Ok(None) };
    let damaged = |what| BackupFileError::Damaged { at, what };
    Frame::decode(kind, payload).map(Some).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use rotary_storage::backup_preamble;

    use super::*;

    #[test]
    fn every_kind_of_frame_comes_back() {
        let place = JournalHead { index: 7, hash: ChainHash([3; 32]) };
        let chunk = JournalChunk { after: place, skip: 0, bytes: vec![1, 2], end: place };
        let head = Head {
            cluster: "blue".to_owned(),
            shard: ShardId(2),
            shards: 4,
            index: 70,
            term: 3,
            leader: NodeId(2),
            build: "1.2".to_owned(),
            node: NodeId(1),
            wall: Wall(9),
        };
        let written = vec![
            Frame::Head(head),
            Frame::Chunk(vec![5; 9]),
            Frame::Base(Vec::new()),
            Frame::Piece(chunk.clone().into()),
            Frame::Blob(BlobHead { scope: 1, digest: [9; 32], bytes: 3 }),
            Frame::Bytes(vec![1, 2, 3]),
            Frame::Log(LogHead {
                cluster: "blue".to_owned(),
                shard: ShardId(2),
                goes_on: true,
                after: 5,
                through: 70,
                term: 3,
                sum: 9,
                build: "1.2".to_owned(),
                node: NodeId(1),
                wall: Wall(9),
            }),
            Frame::Entries(vec![vec![1], vec![2, 3]]),
            Frame::End(End { chunks: 1, pieces: 1, blobs: 1, entries: 2 }),
        ];
        let bytes = written.iter().flat_map(Frame::encode);
        let file: Vec<u8> = backup_preamble().into_iter().chain(bytes).collect();
        let (mut frames, mut found) = (BackupFrames::of(file.as_slice()), Vec::new());
        while let Some(frame) = next(&mut frames).expect("whole") {
            found.push(frame);
        }
        assert_eq!(found, written);
        assert_eq!(JournalChunk::from(Piece::from(chunk.clone())), chunk);
        let odd = [backup_preamble(), backup_frame(9, &[])].concat();
        let refused = next(&mut BackupFrames::of(odd.as_slice())).expect_err("no such kind");
        assert!(refused.to_string().contains("at byte 12: a frame of kind 9"), "{refused}");
    }
}
