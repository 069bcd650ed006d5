//! Reads a backup from its first byte to its last, and believes nothing of it: the state must have
//! the digest that it was frozen with, the journal must lead to where the state stands, each file
//! must be what its name says, and nothing may be missing at the end.

use std::io::Read;

use rotary_directory::Directory;
use rotary_distributor::Shard;
use rotary_log::decode_base;
use rotary_proto::{ShardId, Wall};
use rotary_storage::{
    BackupFileError, BackupFrames, BlobDigest, JournalBase, JournalCheck, JournalChunk,
};
use serde::Serialize;

use crate::backup::format::{self, BlobHead, End, Frame, Head};
use crate::backup::manifest::DataShards;
use crate::build;
use crate::replica::DIRECTORY;

/// Why a file is no backup that anything can be made from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error(transparent)]
    Format(#[from] BackupFileError),
    #[error("{0}")]
    Wrong(String),
}

/// The state of a shard.
pub(crate) enum State {
    Directory(Directory),
    Data {
        /// Where it stands in its journal.
        base: JournalBase,
        shard: Box<Shard>,
    },
}

/// Is given what a backup holds, checked, in the order of the file. What it does not ask for is
/// passed over.
pub(crate) trait Taker {
    /// The state, which comes first.
    fn state(&mut self, _: &Head, _: State) -> Result<(), String> {
        Ok(())
    }

    /// Where the journal begins; not of the directory.
    fn base(&mut self, _: JournalBase) -> Result<(), String> {
        Ok(())
    }

    /// A piece of it.
    fn piece(&mut self, _: &JournalChunk) -> Result<(), String> {
        Ok(())
    }

    /// A file begins.
    fn blob(&mut self, _: BlobHead) -> Result<(), String> {
        Ok(())
    }

    /// More of it.
    fn bytes(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// What a backup was found to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Checked {
    pub(crate) cluster: String,
    pub(crate) shard: ShardId,
    pub(crate) index: u64,
    pub(crate) sites: usize,
    pub(crate) records: u64,
    pub(crate) files: u64,
    /// When its snapshot was there, by its node's clock.
    pub(crate) made: Wall,
    /// As the directory's state has them; of no other shard.
    pub(crate) data_shards: Option<DataShards>,
}

impl DataShards {
    /// As a directory has them.
    pub(crate) fn of(directory: &Directory) -> Self {
        let not_begun = directory.founding().map(|(shard, _)| shard).collect();
        Self { count: directory.shards(), not_begun }
    }
}

/// Reads a backup, and gives what it holds to `taker`.
///
/// # Errors
/// What is wrong with it, or with its taker.
pub(crate) fn walk(from: impl Read, taker: &mut dyn Taker) -> Result<Checked, BackupError> {
    let mut frames = BackupFrames::of(from);
    let first = format::next(&mut frames)?;
    let Some(Frame::Head(head)) = first else { return Err(wrong("it does not say whose it is")) };
    let mut walk = Walk::of(head);
    while let Some(frame) = format::next(&mut frames)? {
        walk.take(frame, taker).map_err(BackupError::Wrong)?;
    }
    Ok(walk.checked)
}

fn wrong(what: &str) -> BackupError {
    BackupError::Wrong(what.to_owned())
}

/// A machine on its way back.
enum Restoring {
    Directory(rotary_directory::Restore),
    /// A data shard, and where it stands in its journal, which its first chunk says.
    Data(rotary_distributor::Restore, Option<JournalBase>),
    /// It is there.
    Done,
}

struct Walk {
    head: Head,
    restoring: Restoring,
    /// Where the journal must lead.
    through: JournalBase,
    journal: Option<JournalCheck>,
    /// The file that is being read, and what it lacks.
    blob: Option<(BlobHead, BlobDigest, u64)>,
    count: End,
    checked: Checked,
}

impl Walk {
    fn of(head: Head) -> Self {
        let can = build::logic();
        let restoring = match head.shard {
            DIRECTORY => Restoring::Directory(rotary_directory::Restore::fitting(can)),
            shard => Restoring::Data(rotary_distributor::Restore::fitting(shard, can), None),
        };
        let Head { cluster, shard, index, wall: made, .. } = head.clone();
        let (sites, records, files, data_shards) = (0, 0, 0, None);
        let checked = Checked { cluster, shard, index, sites, records, files, made, data_shards };
        Self {
            head,
            restoring,
            through: JournalBase::default(),
            journal: None,
            blob: None,
            count: End::default(),
            checked,
        }
    }

    fn take(&mut self, frame: Frame, taker: &mut dyn Taker) -> Result<(), String> {
        match frame {
            Frame::Head(_) => Err("a second beginning".to_owned()),
            Frame::Log(_) | Frame::Entries(_) => Err("a log's entries in it".to_owned()),
            Frame::Chunk(bytes) => self.chunk(&bytes),
            Frame::Base(bytes) => {
                self.finish_state(taker)?;
                if self.journal.is_some() || self.head.shard == DIRECTORY {
                    return Err("a journal begins where none is due".to_owned());
                }
                let base = decode_base(&bytes)?;
                let group = self.head.shard.0;
                self.journal = Some(JournalCheck::new(group, base.clone(), self.through.head));
                taker.base(base)
            }
            Frame::Piece(piece) => {
                self.count.pieces += 1;
                let journal = self.journal.as_mut().ok_or("a piece of a journal without one")?;
                let piece = JournalChunk::from(piece);
                journal.take(&piece)?;
                taker.piece(&piece)
            }
            Frame::Blob(head) => {
                self.finish_blob()?;
                self.finish_state(taker)?;
                self.count.blobs += 1;
                self.blob = Some((head, BlobDigest::new(head.scope), head.bytes));
                taker.blob(head)
            }
            Frame::Bytes(bytes) => {
                let (_, digest, lacks) = self.blob.as_mut().ok_or("bytes of no file")?;
                *lacks = lacks.checked_sub(bytes.len() as u64).ok_or("a file is too long")?;
                digest.update(&bytes);
                taker.bytes(&bytes)
            }
            Frame::End(end) => self.end(end, taker),
        }
    }

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.count.chunks += 1;
        let restoring = std::mem::replace(&mut self.restoring, Restoring::Done);
        self.restoring = match restoring {
            Restoring::Directory(restore) => {
                let restore = restore.chunk(bytes).map_err(|error| error.to_string())?;
                Restoring::Directory(restore)
            }
            Restoring::Data(restore, None) => Restoring::Data(restore, Some(decode_base(bytes)?)),
            Restoring::Data(restore, base) => {
                Restoring::Data(restore.chunk(bytes).map_err(|error| error.to_string())?, base)
            }
            Restoring::Done => return Err("the state goes on after its end".to_owned()),
        };
        Ok(())
    }

    /// The state is whole, with the digest that it was frozen with, once something else follows.
    fn finish_state(&mut self, taker: &mut dyn Taker) -> Result<(), String> {
        let restoring = std::mem::replace(&mut self.restoring, Restoring::Done);
        let state = match restoring {
            Restoring::Done => return Ok(()),
            Restoring::Directory(restore) => {
                let directory = restore.finish().map_err(|error| error.to_string())?;
                self.checked.sites = directory.sites(None).count();
                self.checked.data_shards = Some(DataShards::of(&directory));
                State::Directory(directory)
            }
            Restoring::Data(restore, base) => {
                let shard = restore.finish().map_err(|error| error.to_string())?;
                let base = base.ok_or("it has no state")?;
                self.checked.sites = shard.sites().count();
                self.through = base.clone();
                State::Data { base, shard: Box::new(shard) }
            }
        };
        taker.state(&self.head, state)
    }

    fn finish_blob(&mut self) -> Result<(), String> {
        let Some((head, digest, lacks)) = self.blob.take() else { return Ok(()) };
        if lacks > 0 || digest.finish() != head.digest {
            return Err("the bytes of a file are not those that its name says".to_owned());
        }
        self.checked.files += 1;
        Ok(())
    }

    fn end(&mut self, end: End, taker: &mut dyn Taker) -> Result<(), String> {
        self.finish_blob()?;
        self.finish_state(taker)?;
        if end != self.count {
            let found = self.count;
            return Err(format!("it says that it has {end:?}, and has {found:?}"));
        }
        if self.head.shard != DIRECTORY {
            let journal = self.journal.take().ok_or("it has no journal")?;
            self.checked.records = journal.finish()?;
        }
        Ok(())
    }
}
