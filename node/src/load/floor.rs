//! Where people meet: who is with whom, as the people themselves know it.
//!
//! A caller hears the agent answer, and hears the line go dead. That knowledge does not come from
//! the cluster's API, so it does not belong to what is being proved; without it every caller would
//! have to poll.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rotary_proto::{AgentId, ConversationId};
use tokio::sync::watch;

use super::plan::Arrival;

/// Where a contact is, as its customer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody has answered, or nobody is there any more.
    Waiting,
    /// With that agent; the leg tells assignments apart.
    With(AgentId, u32),
    /// Over.
    Over,
}

/// A contact and its people's knowledge.
#[derive(Debug)]
pub(super) struct Contact {
    /// How it was drawn.
    pub arrival: Arrival,
    phase: watch::Sender<Phase>,
}

impl Contact {
    /// Waits until it is no longer where it was; where it is then.
    pub(super) async fn leaves(&self, was: Phase) -> Phase {
        let mut phase = self.phase.subscribe();
        phase.wait_for(|phase| *phase != was).await.map_or(Phase::Over, |phase| *phase)
    }

    /// The customer or the agent learns where it is.
    pub(super) fn learn(&self, phase: Phase) {
        self.phase.send_if_modified(|known| {
            let news = *known != phase && *known != Phase::Over;
            if news {
                *known = phase;
            }
            news
        });
    }
}

/// Every contact of the run.
#[derive(Debug, Default)]
pub(super) struct Floor {
    contacts: Mutex<BTreeMap<ConversationId, Arc<Contact>>>,
}

impl Floor {
    /// A contact comes.
    pub(super) fn enter(&self, conversation: ConversationId, arrival: Arrival) -> Arc<Contact> {
        let contact = Arc::new(Contact { arrival, phase: watch::Sender::new(Phase::Waiting) });
        let mut contacts = self.contacts.lock().unwrap_or_else(PoisonError::into_inner);
        contacts.insert(conversation, Arc::clone(&contact));
        contact
    }

    /// A contact, if it is one of this run's.
    pub(super) fn find(&self, conversation: ConversationId) -> Option<Arc<Contact>> {
        self.contacts.lock().unwrap_or_else(PoisonError::into_inner).get(&conversation).cloned()
    }

    /// Everybody learns where a contact is.
    pub(super) fn learn(&self, conversation: ConversationId, phase: Phase) {
        if let Some(contact) = self.find(conversation) {
            contact.learn(phase);
        }
    }

    /// A contact is gone for good.
    pub(super) fn leave(&self, conversation: ConversationId) {
        self.contacts.lock().unwrap_or_else(PoisonError::into_inner).remove(&conversation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rotary_proto::{Channel, SiteId};

    fn arrival() -> Arrival {
        Arrival {
            at_s: 0.0,
            site: 0,
            channel: Channel::Voice,
            handle_s: 1.0,
            patience_s: 1.0,
            hangs_up: false,
            scarce: false,
            web: false,
            seed: 1,
        }
    }

    #[tokio::test]
    async fn people_learn_where_a_contact_is_and_nothing_follows_its_end() {
        let floor = Floor::default();
        let conversation = ConversationId::new(SiteId::new(1, 1), 1);
        let contact = floor.enter(conversation, arrival());
        let with = Phase::With(AgentId(7), 1);
        floor.learn(conversation, with);
        assert_eq!(contact.leaves(Phase::Waiting).await, with);
        floor.learn(conversation, Phase::Waiting);
        assert_eq!(contact.leaves(with).await, Phase::Waiting);
        floor.learn(conversation, Phase::Over);
        floor.learn(conversation, with);
        assert_eq!(contact.leaves(Phase::Waiting).await, Phase::Over);
        floor.leave(conversation);
        assert!(floor.find(conversation).is_none());
    }
}
