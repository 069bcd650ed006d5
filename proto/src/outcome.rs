//! Outcomes: what a command came to, given once and kept for retries.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{IdError, OfferId, ShardId, decimal};
use crate::refusal::Refusal;

/// Where in a shard's log something is. Acknowledgements carry it, for reading one's own writes
/// and for diagnosis; it is not a feed's cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Which log.
    pub shard: ShardId,
    /// Which entry.
    pub index: u64,
}

/// `sh_3:1042`, as headers have it.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.shard, self.index)
    }
}

impl FromStr for Position {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let parse = || {
            let (shard, index) = text.split_once(':')?;
            Some(Self { shard: shard.parse().ok()?, index: decimal(index)? })
        };
        parse().ok_or_else(|| IdError::new(text, "a place in a log", "sh_3:1042"))
    }
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done(Done),
    /// It was refused, and changed nothing.
    Refused(Refusal),
}

impl Outcome {
    /// Done, with nothing more to say.
    pub const OK: Self = Self::Done(Done::Ok);

    /// What was done, or the refusal.
    ///
    /// # Errors
    /// The refusal, for use with `?`.
    pub fn into_result(self) -> Result<Done, Refusal> {
        match self {
            Self::Done(done) => Ok(done),
            Self::Refused(refusal) => Err(refusal),
        }
    }
}

/// What was done, where there is more to say than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// Nothing more to say.
    Ok,
    /// An item took this place in its conversation.
    Posted {
        /// Dense from 1.
        ordinal: u32,
    },
    /// An offer became an assignment.
    Accepted {
        /// The offer.
        offer: OfferId,
        /// Counts the conversation's assignments, from 1.
        leg: u32,
    },
    /// A plan or profile was stored under this version.
    Stored {
        /// From 1.
        version: u32,
    },
}

/// What the proposer of an entry is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What the command came to.
    pub outcome: Outcome,
    /// Whether this is the kept outcome of an earlier entry, and this entry changed nothing.
    pub repeated: bool,
    /// The site's last event sequence after this entry; 0 where no site was concerned.
    pub sequence: u64,
    /// The log index at which the outcome was first given.
    pub index: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_one_text() {
        let position = Position { shard: ShardId(3), index: 1042 };
        assert_eq!(position.to_string(), "sh_3:1042");
        assert_eq!("sh_3:1042".parse(), Ok(position));
        for text in ["", "sh_3", "sh_3:", "sh_3:01", "sh_3:1042:1", "3:1042", "sh_3: 1"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
