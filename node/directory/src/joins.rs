//! Join tokens: what a new node's folder waits under until that node's machine fetches it.
//!
//! Whoever has the cluster's authority seals the folder, so that only the token opens it, and puts
//! it here. A machine that shows the token's proof *takes* it, with a number of its own choice (a
//! nonce): the one that took it may take it again, after a crash or a lost answer, and nobody else
//! ever. A token ends after a time of the shard, or when it is revoked, and its folder with it.
//!
//! Neither the token nor the key of what is sealed is here, only the SHA-256 of the proof.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use rotary_proto::limits::{
    JOIN_FOLDER_BYTES_MAX, JOIN_TOKENS_MAX, JOIN_TTL_MAX_MS, JOIN_TTL_MIN_MS,
};
use rotary_proto::{JoinTokenId, NodeId, PrincipalId, Stamp, Wall};
use serde::{Deserialize, Serialize};

use crate::FIRST_PRINCIPAL;
use crate::audit::Asked;
use crate::command::{DirectoryDone, DirectoryEvent, DirectoryRefusal};
use crate::nodes::{NodeKind, bad};
use crate::state::{Directory, limit};

type Done = Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal>;

/// Who has fetched a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// SHA-256 of the nonce of the machine that took it.
    pub by: [u8; 32],
    /// Where it came from, as far as the node that answered knows.
    pub address: Option<IpAddr>,
    /// When, by that node's clock.
    pub wall: Wall,
}

/// A folder that waits for its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Whose folder it is.
    pub node: NodeId,
    /// What that node is to be.
    pub kind: NodeKind,
    /// Who made the token.
    pub principal: PrincipalId,
    /// SHA-256 of its proof.
    pub hash: [u8; 32],
    /// The folder, which only the token opens.
    pub sealed: Vec<u8>,
    /// When it was asked for, by the clock of the gateway.
    pub created: Wall,
    /// How long it is good for from then on, in milliseconds of shard time.
    pub ttl_ms: u64,
    /// When it ends.
    pub until: Stamp,
    /// Who has fetched it, if somebody has.
    pub taken: Option<Taken>,
}

/// The tokens that are good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Joins {
    /// The last token's number; those below it that are absent are over.
    pub(crate) last: u32,
    pub(crate) tokens: BTreeMap<JoinTokenId, JoinToken>,
}

impl Directory {
    /// Every join token that is good, in order of their ids.
    pub fn join_tokens(&self) -> impl Iterator<Item = (JoinTokenId, &JoinToken)> {
        self.joins.tokens.iter().map(|(id, token)| (*id, token))
    }

    /// A join token, unless it is over or was never made.
    pub fn join_token(&self, id: JoinTokenId) -> Option<&JoinToken> {
        self.joins.tokens.get(&id)
    }

    /// Whether that token was made once and is good no more.
    pub fn is_join_over(&self, id: JoinTokenId) -> bool {
        (1..=self.joins.last).contains(&id.0) && self.join_token(id).is_none()
    }

    /// Drops the tokens whose time has passed, with their folders.
    pub(crate) fn end_joins(&mut self) {
        let now = self.last_stamp;
        if self.joins.tokens.values().any(|token| token.until <= now) {
            Arc::make_mut(&mut self.joins).tokens.retain(|_, token| token.until > now);
        }
    }

    /// Puts a folder under a new token. One of the same node that nobody has used is over then.
    pub(crate) fn create_join_token(&mut self, draft: JoinToken, asked: Option<Asked>) -> Done {
        check_shape(&draft)?;
        self.check_newcomer(draft.node, draft.kind)?;
        let ours = self.join_tokens().filter(|(_, token)| token.node == draft.node);
        let (used, unused): (Vec<_>, Vec<_>) = ours.partition(|(_, token)| token.taken.is_some());
        if let Some((token, _)) = used.first() {
            return Err(DirectoryRefusal::JoinTokenTaken { token: *token, node: draft.node });
        }
        let unused: Vec<JoinTokenId> = unused.into_iter().map(|(id, _)| id).collect();
        if self.joins.tokens.len() - unused.len() >= JOIN_TOKENS_MAX {
            return Err(limit("join_tokens_max"));
        }
        let id = self.joins.last.checked_add(1).ok_or_else(|| limit("join_tokens_ever_max"))?;
        let (id, node) = (JoinTokenId(id), draft.node);
        let until = self.last_stamp.plus_ms(draft.ttl_ms);
        let principal = asked.map_or(FIRST_PRINCIPAL, |asked| asked.principal);
        let joins = Arc::make_mut(&mut self.joins);
        joins.last = id.0;
        joins.tokens.retain(|id, _| !unused.contains(id));
        let token = JoinToken { principal, until, taken: None, ..draft };
        let before = joins.tokens.insert(id, token);
        assert!(before.is_none(), "numbers of join tokens are never used twice");
        assert!(joins.tokens.len() <= JOIN_TOKENS_MAX, "there was room");
        let event = DirectoryEvent::JoinTokenCreated { token: id, node };
        Ok((DirectoryDone::JoinToken(id), vec![event]))
    }

    /// Gives a folder to the one machine that it is for; again, if it comes again.
    pub(crate) fn take_join_token(
        &mut self,
        (id, node): (JoinTokenId, NodeId),
        hash: &[u8; 32],
        taken: Taken,
    ) -> Done {
        if self.is_join_over(id) {
            return Err(DirectoryRefusal::JoinTokenOver { token: id });
        }
        let right = |token: &&JoinToken| token.node == node && token.hash == *hash;
        let token = self.join_token(id).filter(right);
        let token = token.ok_or(DirectoryRefusal::JoinTokenUnknown)?;
        match token.taken {
            Some(Taken { by, .. }) if by == taken.by => Ok((DirectoryDone::Ok, Vec::new())),
            Some(_) => Err(DirectoryRefusal::JoinTokenTaken { token: id, node }),
            None => {
                let token = Arc::make_mut(&mut self.joins).tokens.get_mut(&id);
                token.expect("it was there a moment ago").taken = Some(taken);
                Ok((DirectoryDone::Ok, vec![DirectoryEvent::JoinTokenTaken { token: id, node }]))
            }
        }
    }

    /// Makes a token useless, and drops its folder.
    pub(crate) fn revoke_join_token(&mut self, id: JoinTokenId, node: NodeId) -> Done {
        if self.is_join_over(id) {
            return Ok((DirectoryDone::Ok, Vec::new()));
        }
        if self.join_token(id).is_none_or(|token| token.node != node) {
            return Err(DirectoryRefusal::JoinTokenUnknown);
        }
        Arc::make_mut(&mut self.joins).tokens.remove(&id);
        Ok((DirectoryDone::Ok, vec![DirectoryEvent::JoinTokenRevoked { token: id, node }]))
    }

    /// Refuses a number that a new node cannot have.
    fn check_newcomer(&self, node: NodeId, kind: NodeKind) -> Result<(), DirectoryRefusal> {
        if self.shards == 0 {
            return Err(DirectoryRefusal::NotFounded);
        }
        let is_gateway = self.node(node).is_some_and(|known| known.kind == NodeKind::Gateway);
        let used = match kind {
            NodeKind::Core => node.0 <= self.last_core || is_gateway,
            // It keeps nothing, so another machine may go on as the same one.
            NodeKind::Gateway => node.0 <= self.last_core && !is_gateway,
        };
        if used {
            let known = self.nodes.last_key_value().map_or(0, |(last, _)| last.0);
            let next = NodeId(self.last_core.max(known) + 1);
            return Err(DirectoryRefusal::NodeNumberUsed { node, next });
        }
        Ok(())
    }
}

/// Refuses a token that breaks a bound.
pub(crate) fn check_shape(token: &JoinToken) -> Result<(), DirectoryRefusal> {
    if token.node == NodeId(0) {
        return Err(bad("node", "nodes are numbered from 1".to_owned()));
    }
    if !(1..=JOIN_FOLDER_BYTES_MAX).contains(&token.sealed.len()) {
        return Err(bad("sealed", format!("1 to {JOIN_FOLDER_BYTES_MAX} bytes")));
    }
    if !(JOIN_TTL_MIN_MS..=JOIN_TTL_MAX_MS).contains(&token.ttl_ms) {
        return Err(bad("ttl_s", format!("1 to {}", JOIN_TTL_MAX_MS / 1_000)));
    }
    Ok(())
}

#[cfg(test)]
#[path = "joins_tests.rs"]
pub(crate) mod tests;
