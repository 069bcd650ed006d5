//! What may be lost between the parties of a conversation: that somebody is writing.
//!
//! Signals never enter the log. Whoever sends one is remembered here for a few seconds, so that a
//! client that repeats itself with every key is passed on once a second, and one that falls silent
//! is passed on as idle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use rotary_proto::event::Viewer;
use rotary_proto::frame::Signal;
use rotary_proto::query::Stage;
use rotary_proto::{AgentId, ConversationId};
use tokio::time::Instant;

use crate::actor::mailbox::Counted;
use crate::actor::registry::Registry;
use crate::actor::viewer::ViewerMessage;
use crate::replica::Replica;

/// The same signal of the same party is passed on at most this often.
const REPEAT: Duration = Duration::from_secs(1);
/// A party that has not signalled for this long is idle.
const SILENCE: Duration = Duration::from_secs(6);

/// What a conversation's actor is told.
pub(crate) enum ConversationMessage {
    /// A party signals: an agent, or else the customer.
    Signal { agent: Option<AgentId>, signal: Signal },
    /// Look whether anybody has fallen silent.
    Look,
}

/// Passes on signals between the parties of one conversation.
pub(crate) struct ConversationActor;

/// What the actor knows.
pub(crate) struct ConversationState {
    registry: Arc<Registry>,
    replica: Arc<Replica>,
    conversation: ConversationId,
    /// What each party signalled last, and when it was passed on and repeated.
    parties: BTreeMap<Option<AgentId>, Party>,
}

struct Party {
    signal: Signal,
    passed_on: Instant,
    heard: Instant,
}

impl ConversationState {
    fn signal(&mut self, agent: Option<AgentId>, signal: Signal, now: Instant) {
        if let Some(party) = self.parties.get_mut(&agent) {
            party.heard = now;
            if party.signal == signal && now.duration_since(party.passed_on) < REPEAT {
                return;
            }
        }
        self.parties.insert(agent, Party { signal, passed_on: now, heard: now });
        self.pass_on(agent, signal);
    }

    fn look(&mut self, now: Instant) {
        let silent = |party: &Party| now.duration_since(party.heard) >= SILENCE;
        let gone: Vec<_> =
            self.parties.iter().filter(|(_, p)| silent(p)).map(|(a, p)| (*a, p.signal)).collect();
        for (agent, signal) in gone {
            self.parties.remove(&agent);
            if signal == Signal::Typing {
                self.pass_on(agent, Signal::Idle);
            }
        }
    }

    /// Tells the other parties on this node.
    fn pass_on(&self, agent: Option<AgentId>, signal: Signal) {
        let conversation = self.conversation;
        let Some(shard) = self.replica.shard_of(conversation.site) else { return };
        let Some(view) = shard.read().conversation_view(conversation) else { return };
        let serves = match view.stage {
            Stage::Assigned { agent, .. } => Some(agent),
            _ => None,
        };
        let to_agent = serves.filter(|serves| agent != Some(*serves)).map(Viewer::Agent);
        let to_customer = view.customer.filter(|_| agent.is_some()).map(Viewer::Customer);
        for viewer in to_agent.into_iter().chain(to_customer) {
            let message = ViewerMessage::Signal { conversation, agent, signal };
            self.registry.tell(conversation.site, viewer, message);
        }
    }
}

impl Actor for ConversationActor {
    type Msg = Counted<ConversationMessage>;
    type State = ConversationState;
    type Arguments = (Arc<Registry>, Arc<Replica>, ConversationId);

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        (registry, replica, conversation): Self::Arguments,
    ) -> Result<ConversationState, ActorProcessingErr> {
        Ok(ConversationState { registry, replica, conversation, parties: BTreeMap::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        counted: Self::Msg,
        state: &mut ConversationState,
    ) -> Result<(), ActorProcessingErr> {
        match counted.message {
            ConversationMessage::Signal { agent, signal } => {
                state.signal(agent, signal, Instant::now());
            }
            ConversationMessage::Look => {
                state.look(Instant::now());
                if state.parties.is_empty() {
                    state.registry.retire_conversation(state.conversation, myself.get_id());
                    myself.stop(None);
                }
            }
        }
        Ok(())
    }
}
