//! P3: capacity holds.
//!
//! At every entry an agent's offers and assignments are within the capacity that the administrator
//! asked for: one call, or the configured mix of the other channels. The capacity is read from the
//! command, not from what the distributor made of it. Who holds more when it is lowered keeps that,
//! and gets nothing more; what they were offered they may still take.

use std::collections::BTreeMap;

use rotary_proto::plan::Capacity;
use rotary_proto::{AgentId, Channel, Command, ConversationId, Event, SiteId};
use rotary_proto::{Outcome, ShardCommand};

use super::{Findings, Seen};

/// What agents have room for, and what they have.
#[derive(Default)]
pub(crate) struct CapacityHolds {
    capacity: BTreeMap<(SiteId, AgentId), Capacity>,
    channels: BTreeMap<ConversationId, Channel>,
    debits: BTreeMap<ConversationId, AgentId>,
}

impl CapacityHolds {
    pub(crate) fn applied(&mut self, seen: &Seen<'_>, found: &mut Findings) {
        if let (Some(ShardCommand::Site(envelope)), Outcome::Done(_)) =
            (seen.command, &seen.answer.outcome)
            && let Command::PutAgent { agent, profile } = &envelope.command
        {
            self.capacity.insert((envelope.site, *agent), profile.capacity);
        }
        for record in seen.events {
            // An assignment of what was offered to them debits nothing more.
            let held = self.held_by(&record.event);
            if let Some((conversation, agent)) = self.event(&record.event)
                && held != Some(agent)
                && let Some(wrong) = self.excess(conversation.site, agent)
            {
                found.breach("P3", format!("index {}: {agent} has {wrong}", seen.made.index));
            }
        }
    }

    /// Who has the conversation that is assigned.
    fn held_by(&self, event: &Event) -> Option<AgentId> {
        let Event::Assigned { conversation, .. } = event else { return None };
        self.debits.get(conversation).copied()
    }

    /// Keeps the books; returns who has just got something.
    fn event(&mut self, event: &Event) -> Option<(ConversationId, AgentId)> {
        match event {
            Event::Opened { conversation, channel, .. } => {
                self.channels.insert(*conversation, *channel);
                None
            }
            Event::Offered { conversation, agent, .. }
            | Event::Assigned { conversation, agent, .. } => {
                self.debits.insert(*conversation, *agent);
                Some((*conversation, *agent))
            }
            Event::OfferEnded { conversation, .. }
            | Event::Released { conversation, .. }
            | Event::Ended { conversation, .. }
            | Event::Closed { conversation, .. } => {
                self.debits.remove(conversation);
                None
            }
            _ => None,
        }
    }

    fn excess(&self, site: SiteId, agent: AgentId) -> Option<String> {
        let capacity = self.capacity.get(&(site, agent)).copied().unwrap_or_default();
        let held = self.debits.iter().filter(|(id, by)| id.site == site && **by == agent);
        let mut counts = [0u8; Channel::ALL.len()];
        for (conversation, _) in held {
            let channel = self.channels.get(conversation).copied().unwrap_or_default();
            counts[channel.index()] += 1;
        }
        let total: u8 = counts.iter().sum();
        let over = Channel::ALL.into_iter().any(|c| counts[c.index()] > capacity.of(c));
        let mixed = counts[Channel::Voice.index()] > 0 && total > 1;
        let full = counts[Channel::Voice.index()] == 0 && total > capacity.total;
        (over || mixed || full).then(|| format!("{counts:?} by channel, of {capacity:?}"))
    }
}
