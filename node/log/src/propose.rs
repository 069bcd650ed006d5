//! What became of a proposal, and how it is said between nodes.

use rotary_proto::{NodeId, ShardId};
use rotary_transport::CallError;
use serde::{Deserialize, Serialize};

/// A committed and applied command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    /// Its place in the shard's log.
    pub index: u64,
    /// What the machine answered.
    pub answer: Vec<u8>,
}

/// Why a proposal has no answer. All but `Unknown` are definite: the command is not in the log,
/// and nothing sent so far can put it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProposeError {
    /// The node asked cannot commit for the shard: it does not lead it, or has no quorum.
    #[error("not the leader; {}", leader.map_or("none is known".to_owned(), |l| format!("{l} is")))]
    NotLeader {
        /// Who leads it, as far as the node asked knows.
        leader: Option<NodeId>,
    },
    /// The leader is known and cannot be reached.
    #[error("the leader {leader} cannot be reached: {reason}")]
    Unreachable {
        /// Who leads the shard, as far as this node knows.
        leader: NodeId,
        /// What the transport said.
        reason: String,
    },
    /// Too many proposals wait already.
    #[error("too many proposals wait already")]
    Busy,
    /// The command is larger than an entry may be.
    #[error("a command of {bytes} bytes exceeds the {bytes_max} that an entry may have")]
    TooLarge {
        /// Bytes of the command.
        bytes: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
    /// The shard has no replica on the node asked.
    #[error("{0} has no replica there")]
    NoShard(ShardId),
    /// The shard has stopped on the node asked.
    #[error("the shard has stopped")]
    Stopped,
    /// The command may or may not be committed, then or later.
    #[error("unknown outcome: {0}")]
    Unknown(String),
}

impl ProposeError {
    /// Whether the command is certainly not in the log, so that it may be proposed again.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }

    /// Whether proposing the same again could succeed.
    pub(crate) fn may_pass(&self) -> bool {
        !matches!(self, Self::TooLarge { .. } | Self::NoShard(_))
    }

    /// What a failed call to the leader means for the proposal in it.
    pub(crate) fn from_call(leader: NodeId, error: CallError) -> Self {
        match error {
            CallError::NotSent(reason) => Self::Unreachable { leader, reason },
            CallError::Busy => Self::Busy,
            CallError::TooLarge { bytes, bytes_max } => Self::TooLarge { bytes, bytes_max },
            CallError::Unknown(reason) | CallError::Failed(reason) => Self::Unknown(reason),
        }
    }
}

/// The bytes of a proposal on its way to the leader: the shard, then the command.
pub(crate) fn join(shard: ShardId, payload: &[u8]) -> Vec<u8> {
    [shard.0.to_le_bytes().as_slice(), payload].concat()
}

/// Splits what [`join`] joined.
pub(crate) fn split(request: &[u8]) -> Option<(ShardId, &[u8])> {
    let (shard, payload) = request.split_first_chunk::<4>()?;
    Some((ShardId(u32::from_le_bytes(*shard)), payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_surely_not_sent_is_definite() {
        let leader = NodeId(2);
        let of = |error| ProposeError::from_call(leader, error);
        assert!(of(CallError::NotSent(String::new())).is_definite());
        assert!(of(CallError::Busy).is_definite());
        assert!(!of(CallError::Unknown(String::new())).is_definite());
        assert!(!of(CallError::Failed(String::new())).is_definite());
    }

    #[test]
    fn an_error_names_the_leader_it_knows() {
        let known = ProposeError::NotLeader { leader: Some(NodeId(3)) };
        assert_eq!(known.to_string(), "not the leader; nd_3 is");
        let unknown = ProposeError::NotLeader { leader: None };
        assert_eq!(unknown.to_string(), "not the leader; none is known");
    }
}
