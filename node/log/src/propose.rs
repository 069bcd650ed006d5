//! What became of a proposal, and how it is said between nodes.

use bytes::Bytes;
use rotary_proto::limits::{ENTRY_BYTES_MAX, PROPOSAL_BATCH_MAX};
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
        // Too much waits already: to come again and again from here would only add to it.
        !matches!(self, Self::TooLarge { .. } | Self::NoShard(_) | Self::Busy)
    }

    /// What the last error of a series means, given that of an earlier attempt whose outcome nobody
    /// knows: the command may be in the log all the same.
    pub(crate) fn after(self, doubt: Option<String>) -> Self {
        match (self, doubt) {
            (Self::Unknown(reason), _) => Self::Unknown(reason),
            (error, Some(doubt)) => Self::Unknown(format!("{doubt}; then: {error}")),
            (error, None) => error,
        }
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

/// The bytes of proposals on their way to the leader: the shard, then each command behind its
/// length.
pub(crate) fn join(shard: ShardId, payloads: &[Bytes]) -> Vec<u8> {
    let bytes: usize = payloads.iter().map(|payload| payload.len() + 4).sum();
    let mut request = Vec::with_capacity(bytes + 4);
    request.extend(shard.0.to_le_bytes());
    for payload in payloads {
        request.extend((payload.len() as u32).to_le_bytes());
        request.extend_from_slice(payload);
    }
    request
}

/// Splits what [`join`] joined; an error is a text for the sender's log.
pub(crate) fn split(request: &Bytes) -> Result<(ShardId, Vec<Bytes>), String> {
    let (shard, mut rest) =
        request.split_first_chunk::<4>().ok_or_else(|| "a proposal without a shard".to_owned())?;
    let mut payloads = Vec::new();
    while let Some((length, bytes)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let (payload, others) = bytes
            .split_at_checked(length)
            .ok_or_else(|| format!("a proposal of {length} bytes in {}", bytes.len()))?;
        if length > ENTRY_BYTES_MAX || payloads.len() == PROPOSAL_BATCH_MAX {
            return Err("more than a batch of proposals may have".to_owned());
        }
        payloads.push(request.slice_ref(payload));
        rest = others;
    }
    if rest.is_empty() {
        Ok((ShardId(u32::from_le_bytes(*shard)), payloads))
    } else {
        Err(format!("{} bytes follow the proposals", rest.len()))
    }
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
    fn a_doubt_is_not_ended_by_a_refusal_of_the_next_attempt() {
        let (busy, doubt) = (ProposeError::Busy, Some("no answer".to_owned()));
        assert!(busy.clone().after(None).is_definite());
        assert!(!busy.after(doubt.clone()).is_definite());
        let unknown = ProposeError::Unknown("late".to_owned());
        assert_eq!(unknown.clone().after(doubt), unknown);
    }

    #[test]
    fn proposals_are_split_where_they_were_joined() {
        let payloads = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"two")];
        let request = Bytes::from(join(ShardId(70_000), &payloads));
        assert_eq!(split(&request), Ok((ShardId(70_000), payloads)));
        for length in 0..request.len() {
            // Cut behind a whole one, fewer are found; cut within one, none are taken.
            let whole = [4, 11, 15].contains(&length);
            assert_eq!(split(&request.slice(..length)).is_ok(), whole, "{length}");
        }
        let many = vec![Bytes::new(); PROPOSAL_BATCH_MAX + 1];
        assert!(split(&Bytes::from(join(ShardId(1), &many))).is_err());
        let large = [Bytes::from(vec![0; ENTRY_BYTES_MAX + 1])];
        assert!(split(&Bytes::from(join(ShardId(1), &large))).is_err());
    }

    #[test]
    fn an_error_names_the_leader_it_knows() {
        let known = ProposeError::NotLeader { leader: Some(NodeId(3)) };
        assert_eq!(known.to_string(), "not the leader; nd_3 is");
        let unknown = ProposeError::NotLeader { leader: None };
        assert_eq!(unknown.to_string(), "not the leader; none is known");
    }
}
