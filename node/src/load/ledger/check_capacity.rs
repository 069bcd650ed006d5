//! P3: at every log index each agent's debits, pending offers included, are within capacity.
//!
//! An offer debits; it is given back when the offer ends, the assignment is released, or the
//! conversation is closed after wrap-up. A voice conversation excludes all others.

use std::collections::{BTreeMap, BTreeSet};

use rotary_proto::{AgentId, Capacity, Channel, ConversationId, Event};

use super::effects::Effects;
use super::verdict::Verdict;

/// A site's agents, followed through its events.
#[derive(Default)]
struct Floor {
    channels: BTreeMap<ConversationId, Channel>,
    holders: BTreeMap<ConversationId, AgentId>,
    held: BTreeMap<AgentId, BTreeSet<ConversationId>>,
    capacities: BTreeMap<AgentId, Capacity>,
}

pub(super) fn check(effects: &Effects<'_>, verdict: &mut Verdict) {
    for (site, events) in effects.sites {
        let mut floor = Floor::default();
        let mut touched = BTreeSet::new();
        for (place, record) in events.iter().enumerate() {
            touched.extend(floor.step(&record.event));
            let last_of_entry = events.get(place + 1).is_none_or(|next| next.index != record.index);
            if !last_of_entry {
                continue;
            }
            for agent in std::mem::take(&mut touched) {
                if let Some(load) = floor.overload(agent) {
                    let text = format!("{agent} of {site} at {}: {load}", record.index);
                    verdict.over_capacity.insert(text);
                }
            }
        }
    }
}

impl Floor {
    /// Follows an event; the agent whose debits it changed.
    fn step(&mut self, event: &Event) -> Option<AgentId> {
        match event {
            Event::AgentSet { agent, profile, .. } => {
                self.capacities.insert(*agent, profile.capacity);
                None
            }
            Event::Opened { conversation, channel, .. } => {
                self.channels.insert(*conversation, *channel);
                None
            }
            Event::Offered { conversation, agent, .. }
            | Event::Assigned { conversation, agent, .. } => {
                self.release(*conversation);
                self.holders.insert(*conversation, *agent);
                self.held.entry(*agent).or_default().insert(*conversation);
                Some(*agent)
            }
            Event::OfferEnded { conversation, .. }
            | Event::Released { conversation, .. }
            | Event::Closed { conversation, .. } => {
                self.release(*conversation);
                None
            }
            _ => None,
        }
    }

    fn release(&mut self, conversation: ConversationId) {
        if let Some(agent) = self.holders.remove(&conversation)
            && let Some(held) = self.held.get_mut(&agent)
        {
            held.remove(&conversation);
        }
    }

    /// What an agent holds, if it is more than they may.
    fn overload(&self, agent: AgentId) -> Option<String> {
        let held = self.held.get(&agent)?;
        let mut load = [0_usize; Channel::ALL.len()];
        for conversation in held {
            let channel = self.channels.get(conversation).copied().unwrap_or_default();
            load[channel.index()] += 1;
        }
        let capacity = self.capacities.get(&agent).copied().unwrap_or_default();
        let over = Channel::ALL
            .iter()
            .any(|channel| load[channel.index()] > usize::from(capacity.of(*channel)));
        let voice = load[Channel::Voice.index()];
        let others = held.len() - voice;
        let too_many = others > usize::from(capacity.total) || (voice > 0 && others > 0);
        (over || too_many).then(|| {
            let loads = Channel::ALL.map(|c| format!("{} {}", c.word(), load[c.index()]));
            format!("holds {}", loads.join(", "))
        })
    }
}
