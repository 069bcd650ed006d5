//! The shapes of pending effects and of a shard's view.
//!
//! What must happen outside (a mail, a webhook, an announcement) is replicated state with an id
//! and a deadline, removed only by its outcome. Who performs it follows from the shard's view,
//! which changes only by a committed command. The ids are fixed here because Call-ID, Message-ID
//! and webhook id derive from them.

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, ConversationId, EffectId, NodeId, QueueId, WebhookId};
use crate::stamp::Stamp;

/// What may be done about an effect whose performer died half-way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Repetition {
    /// Do it again: it carries its id, and the other side knows a repeated one.
    Repeatable,
    /// Find out first: it is never repeated blindly.
    Once,
}

/// Whom an effect is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EffectTarget {
    /// A webhook's endpoint is told of an event.
    Webhook(WebhookId),
    /// An agent's message is mailed to the conversation's customer.
    Mail {
        /// The sequence of the event that opened the conversation, which says whom it is with.
        opened: u64,
        /// The conversation's mail before this one, which this one refers to.
        after: Option<EffectId>,
        /// Who wrote it, and is told how it came out.
        author: AgentId,
    },
    /// The bot of a queue makes something of what a customer wrote.
    Turn(QueueId),
}

impl EffectTarget {
    /// What may be done about a performer's death.
    pub const fn repetition(self) -> Repetition {
        match self {
            Self::Webhook(_) | Self::Turn(_) => Repetition::Repeatable,
            Self::Mail { .. } => Repetition::Once,
        }
    }
}

/// Something to do in the outside world.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PendingEffect {
    /// Its id.
    pub id: EffectId,
    /// The conversation it belongs to; decides its owner.
    pub conversation: ConversationId,
    /// Whom it is for.
    pub target: EffectTarget,
    /// The sequence of the site event that says what is to be done.
    pub sequence: u64,
    /// When it counts as failed without an outcome.
    pub until: Stamp,
    /// Who began a *once* effect. Nobody else does it after that, whatever becomes of them.
    pub started: Option<EffectStart>,
}

/// Who began a *once* effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EffectStart {
    /// The replica.
    pub owner: NodeId,
    /// Which run of it: after a restart it does not know what it did.
    pub run: u64,
    /// The view it acted under.
    pub epoch: u64,
}

/// How an effect came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EffectOutcome {
    /// The other side took it.
    Sent,
    /// The other side certainly did not, or refused it.
    NotSent,
    /// Nobody can know; an agent is shown so.
    Unknown,
}

/// Which replicas of a shard are live and caught up.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct View {
    /// Counts views; effects are fenced by it.
    pub epoch: u64,
    /// In order of their ids.
    pub replicas: Vec<NodeId>,
}

impl View {
    /// The replica whose actor performs what belongs to `conversation`: the highest of a hash of
    /// both (rendezvous hashing, Thaler and Ravishankar 1998), so that a lost replica moves only
    /// what was its own.
    pub fn owner(&self, conversation: ConversationId) -> Option<NodeId> {
        let unique = conversation.unique;
        let seed = conversation.site.key() ^ (unique >> 64) as u64 ^ unique as u64;
        self.replicas.iter().copied().max_by_key(|node| (mix(seed ^ mix(node.0)), *node))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SiteId;

    fn view(nodes: &[u64]) -> View {
        View { epoch: 1, replicas: nodes.iter().map(|node| NodeId(*node)).collect() }
    }

    #[test]
    fn a_lost_replica_moves_only_its_own() {
        let (all, fewer) = (view(&[1, 2, 3]), view(&[1, 3]));
        let mut counts = [0; 4];
        for unique in 0..3_000 {
            let conversation = ConversationId::new(SiteId::new(1, 1), unique);
            let owner = all.owner(conversation).expect("three replicas");
            counts[owner.0 as usize] += 1;
            if owner != NodeId(2) {
                assert_eq!(fewer.owner(conversation), Some(owner));
            }
        }
        assert!(counts[1..].iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
        assert_eq!(view(&[]).owner(ConversationId::default()), None);
    }
}
