//! A site made whole again: what is derived, from the entities that a snapshot brought.

use std::collections::BTreeMap;

use rotary_proto::command::Subject;
use rotary_proto::ids::{AgentId, QueueId};

use super::{Alarms, Due, Site, Tombstone, Tombstones};
use crate::conversation::Stage;
use crate::queue::Counts;
use crate::session::SessionState;
use crate::turn::count_of;

impl Site {
    /// Rebuilds what is derived from entities that are all there; the reason if they contradict
    /// each other. `free` and `admitted` are as [`crate::class::FrozenClasses`] has them.
    pub(crate) fn rebuild(
        &mut self,
        free: &[AgentId],
        admitted: &[(AgentId, u32)],
    ) -> Result<(), &'static str> {
        self.rebuild_sessions()?;
        self.rebuild_conversations()?;
        self.classes.restore_agents(&self.agents, free, admitted)?;
        self.alarms = self.all_alarms();
        self.settle(0);
        Ok(())
    }

    fn rebuild_sessions(&mut self) -> Result<(), &'static str> {
        for (gateway, sessions) in &self.lost_gateways {
            let walked = sessions.iter().all(|id| {
                let session = self.sessions.get(*id);
                session.is_some_and(|s| s.gateway == *gateway && s.state == SessionState::Up)
            });
            if !walked {
                return Err("a session of a lost gateway is not there, or lost already");
            }
        }
        for (id, session) in self.sessions.iter() {
            if let Subject::Agent(agent) = session.subject
                && !self.agents.contains(agent)
            {
                return Err("a session serves an agent who does not exist");
            }
            let up = session.state == SessionState::Up;
            if up && !self.is_being_lost(id, session.gateway) {
                self.by_gateway.entry(session.gateway).or_default().insert(id);
            }
            let over = matches!(session.state, SessionState::Ended { .. });
            if let (Subject::Customer(customer), false) = (session.subject, over) {
                self.by_customer.entry(customer).or_default().sessions.insert(id);
            }
        }
        Ok(())
    }

    fn rebuild_conversations(&mut self) -> Result<(), &'static str> {
        let mut counts: BTreeMap<QueueId, Counts> = BTreeMap::new();
        for (unique, conversation) in self.conversations.iter() {
            if !self.queues.contains(conversation.queue) || self.tombstones.contains(unique) {
                return Err("a conversation is over, or in a queue that does not exist");
            }
            *count_of(counts.entry(conversation.queue).or_default(), conversation.stage) += 1;
            if let Some(customer) = conversation.customer {
                self.by_customer.entry(customer).or_default().conversations.insert(unique);
            }
            if !matches!(conversation.stage, Stage::Waiting | Stage::Offered { .. }) {
                continue;
            }
            if !self.classes.suits(conversation) {
                return Err("a conversation is in a class of another requirement");
            }
            self.classes.class_mut(conversation.class).members += 1;
            if conversation.stage == Stage::Waiting {
                self.classes.line_up(conversation.class, conversation.place(unique));
            }
        }
        for (queue, counts) in counts {
            self.queues.edit_derived(queue).expect("checked just above").counts = counts;
        }
        Ok(())
    }

    fn all_alarms(&self) -> Alarms {
        let conversations = self.conversations.iter().flat_map(|(unique, conversation)| {
            let stage = (conversation.alarm, Due::Conversation(unique));
            [stage, (conversation.declines_alarm, Due::Declines(unique))]
        });
        let agents = self.agents.iter().map(|(id, agent)| (agent.alarm, Due::Agent(id)));
        let sessions = self.sessions.iter().map(|(id, session)| (session.alarm, Due::Session(id)));
        let effects = self.effects.pending.iter();
        let effects = effects.map(|(id, effect)| (Some(effect.until), Due::Effect(id)));
        let all = conversations.chain(agents).chain(sessions).chain(effects);
        Alarms { order: all.filter_map(|(at, due)| Some((at?, due))).collect() }
    }
}

impl Tombstones {
    /// Puts a tombstone back, the oldest first; whether it is the first of its conversation.
    pub(crate) fn restore(&mut self, tombstone: Tombstone) -> bool {
        let new = !self.ids.contains(&tombstone.unique);
        self.bury(tombstone, &mut Vec::new());
        new
    }
}
