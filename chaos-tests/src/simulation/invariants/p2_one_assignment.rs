//! P2: one assignment.
//!
//! At every entry a conversation has at most one agent, and at most one offer stands for it. Told
//! from events alone: who is assigned must have been offered it, and whoever was assigned before
//! must have been released.

use std::collections::BTreeMap;

use rotary_proto::{AgentId, ConversationId, Event, OfferId};

use super::{Findings, Seen};

/// Who has what.
#[derive(Default)]
pub(crate) struct OneAssignment {
    offered: BTreeMap<ConversationId, (OfferId, AgentId)>,
    assigned: BTreeMap<ConversationId, AgentId>,
}

impl OneAssignment {
    pub(crate) fn applied(&mut self, seen: &Seen<'_>, found: &mut Findings) {
        for record in seen.events {
            if let Some(wrong) = self.event(&record.event) {
                found.breach("P2", format!("index {}: {wrong}", seen.made.index));
            }
        }
    }

    fn event(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::Offered { conversation, offer, agent, .. } => {
                let held = self.assigned.get(conversation).map(|held| format!("{held} has it"));
                let stood = self.offered.insert(*conversation, (*offer, *agent));
                let stood = stood.map(|(offer, _)| format!("{offer} stands"));
                held.or(stood).map(|why| format!("{conversation} is offered while {why}"))
            }
            Event::OfferEnded { conversation, .. } => {
                self.offered.remove(conversation);
                None
            }
            Event::Assigned { conversation, offer, agent, .. } => {
                let offered = self.offered.remove(conversation);
                let before = self.assigned.insert(*conversation, *agent);
                if let Some(before) = before {
                    return Some(format!("{conversation} goes to {agent}; {before} has it"));
                }
                (offered != Some((*offer, *agent)))
                    .then(|| format!("{conversation} goes to {agent}, offered was {offered:?}"))
            }
            Event::Released { conversation, .. }
            | Event::Ended { conversation, .. }
            | Event::WrapUpStarted { conversation, .. }
            | Event::Closed { conversation, .. } => {
                self.assigned.remove(conversation);
                None
            }
            _ => None,
        }
    }
}
