//! Requests of other nodes for this node's shards.

use rotary_proto::ShardId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::shard::{Raft, Shard};
use crate::types::{AppendEntries, VoteRequest, decode, encode};

/// The transport service that carries Raft's own messages.
pub const SERVICE_RAFT: u8 = 1;
/// The transport service that carries proposals to a leader.
pub const SERVICE_PROPOSE: u8 = 2;

/// What a Raft message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Append = 1,
    Vote = 2,
    PreVote = 3,
    Transfer = 4,
}

/// Bytes before the message itself: its kind and its group.
const RAFT_HEADER_BYTES: usize = 5;

pub(crate) fn raft_header(kind: Kind, group: u32) -> [u8; RAFT_HEADER_BYTES] {
    let [a, b, c, d] = group.to_le_bytes();
    [kind as u8, a, b, c, d]
}

/// Splits a Raft message; an error is a text for the sender's log.
pub(crate) fn split_raft(payload: &[u8]) -> Result<(Kind, ShardId, &[u8]), String> {
    let (header, body) = payload
        .split_first_chunk::<RAFT_HEADER_BYTES>()
        .ok_or_else(|| "a raft message without a header".to_owned())?;
    let [kind, group @ ..] = *header;
    let kinds = [Kind::Append, Kind::Vote, Kind::PreVote, Kind::Transfer];
    let kind = kinds
        .into_iter()
        .find(|known| *known as u8 == kind)
        .ok_or_else(|| format!("raft message kind {kind} is not known here"))?;
    Ok((kind, ShardId(u32::from_le_bytes(group)), body))
}

/// Gives a message to the group's Raft and returns its answer.
pub(crate) async fn raft(shard: &Shard, kind: Kind, body: &[u8]) -> Result<Vec<u8>, String> {
    let (raft, tail) = (&shard.raft, &shard.tail);
    match kind {
        Kind::Append => {
            let append = |message: AppendEntries| async {
                tail.may_follow(message.vote.leader_id.term)?;
                raft.append_entries(message).await.map_err(text)
            };
            answer(body, append).await
        }
        Kind::Vote => {
            let vote = |message: VoteRequest| async {
                tail.may_vote(&message)?;
                raft.vote(message).await.map_err(text)
            };
            answer(body, vote).await
        }
        Kind::PreVote => {
            let vote = |message: VoteRequest| async {
                tail.may_vote(&message)?;
                raft.pre_vote(message).await.map_err(text)
            };
            answer(body, vote).await
        }
        Kind::Transfer if tail.is_cut() => {
            Err("its log lost its tail; it cannot lead until caught up".to_owned())
        }
        Kind::Transfer => transfer(raft, body).await,
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn transfer(raft: &Raft, body: &[u8]) -> Result<Vec<u8>, String> {
    answer(body, |message| async { raft.handle_transfer_leader(message).await }).await
}

async fn answer<Q, A, E, F>(body: &[u8], ask: impl FnOnce(Q) -> F) -> Result<Vec<u8>, String>
where
    Q: DeserializeOwned,
    A: Serialize,
    E: std::fmt::Display,
    F: Future<Output = Result<A, E>>,
{
    let message = decode(body).map_err(text)?;
    let answer = ask(message).await.map_err(text)?;
    encode(&answer).map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raft_message_is_split_where_it_was_joined() {
        let payload = [raft_header(Kind::PreVote, 70_000).as_slice(), b"body"].concat();
        let split = split_raft(&payload).expect("whole");
        assert_eq!(split, (Kind::PreVote, ShardId(70_000), b"body".as_slice()));
        assert!(split_raft(&payload[..4]).is_err());
        assert!(split_raft(&[9, 0, 0, 0, 0]).is_err());
    }
}
