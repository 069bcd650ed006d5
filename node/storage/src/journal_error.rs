//! What can be wrong with a journal, and how to mend it.

use std::io;
use std::path::{Path, PathBuf};

use crate::journal_chain::JournalHead;

/// Why a journal refuses an append or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk failed.
    #[error("journal {path}: {source}{}", cure(source))]
    Io {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Bytes that were durable are damaged. The replica must be rebuilt from its peers: stop the
    /// node, move the group's directory away and start it again.
    #[error(
        "journal {path} is damaged at byte {offset}: {what}; move the group's directory away \
         and restart, the log or a peer rebuilds it"
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the damaged frame starts.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// An append does not continue its stream: the caller computed other records than before.
    #[error(
        "stream {stream} of group {group} has {found} next, {expected} was expected (log index \
         {index}); the replica's state differs from what wrote the journal"
    )]
    OutOfSequence {
        /// The group.
        group: u32,
        /// The stream.
        stream: u64,
        /// The sequence that would continue it.
        expected: u64,
        /// The sequence given.
        found: u64,
        /// The log index of the refused record.
        index: u64,
    },
    /// Records of an index at or below one that was already recorded or passed over.
    #[error(
        "group {group} has recorded up to log index {last}, and is given records of {index}: all \
         records of an index come in one append, and indexes rise"
    )]
    NotRising {
        /// The group.
        group: u32,
        /// The highest index recorded or passed over.
        last: u64,
        /// The index given.
        index: u64,
    },
    /// The records asked for are not here: retention dropped them, or they have not been fetched
    /// yet. A reader goes on from a snapshot, or from `first`.
    #[error(
        "stream {stream} of group {group} begins at {first} here; what was before is forgotten"
    )]
    Forgotten {
        /// The group.
        group: u32,
        /// The stream.
        stream: u64,
        /// The first sequence that can be read.
        first: u64,
    },
    /// A log index whose records are not here any more, or not yet.
    #[error("group {group} begins after log index {first} here; what was before is forgotten")]
    IndexForgotten {
        /// The group.
        group: u32,
        /// Frames after this index can be read.
        first: u64,
    },
    /// What a peer sent does not fit what is here. Nothing of it was taken in.
    #[error("a part of the journal of group {group} cannot be taken in: {what}")]
    Import {
        /// The group.
        group: u32,
        /// What is wrong with it, and what would fit.
        what: String,
    },
    /// What was fetched ends in another hash than the snapshot's. All of it was dropped; fetch it
    /// again from another peer.
    #[error(
        "the journal of group {group} that was fetched ends in {found:?}, the snapshot in \
         {expected:?}; it was dropped, fetch it again from another peer"
    )]
    OtherHistory {
        /// The group.
        group: u32,
        /// Where the history must end.
        expected: JournalHead,
        /// Where it ended.
        found: JournalHead,
    },
    /// The writer has failed before; nothing is accepted any more.
    #[error("the journal has failed: {0}")]
    Failed(String),
}

impl JournalError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// Whether a file was not there.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

fn cure(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; the disk is full: free space on it or shorten the retention, then start the node"
        }
        _ => "",
    }
}
