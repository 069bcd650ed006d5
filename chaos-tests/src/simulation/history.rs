//! What clients asked and what they were told.

use rotary_proto::outcome::Answer;

/// Milliseconds since the world began.
pub(crate) type Ms = u64;

/// A client's command, from its first sending to what the client believes of it.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    /// What was asked, in a few words.
    pub(crate) label: String,
    pub(crate) shard: u32,
    pub(crate) payload: Vec<u8>,
    pub(crate) attempts: u32,
    pub(crate) known: Known,
}

/// What a client knows of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing yet.
    Waits,
    /// It was applied, with this answer, which may be a refusal.
    Answered { index: u64, answer: Answer },
    /// It may have been applied or not.
    Unknown,
}

/// One answer that a client got.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged<'a> {
    pub(crate) operation: &'a Operation,
    /// The node that was asked.
    pub(crate) node: usize,
    /// When that node was asked.
    pub(crate) sent_ms: Ms,
    /// The place of the entry that carried it.
    pub(crate) index: u64,
    pub(crate) answer: &'a Answer,
}
