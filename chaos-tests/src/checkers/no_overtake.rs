//! Nobody is overtaken, and nobody waits beside a free agent (P4).
//!
//! An oracle of its own, fed by facts: skills, priorities, places in line, delays after a decline,
//! who is ready and there, and what room is left.
//!
//! * *No overtaking*: when a conversation is offered to an agent, no earlier one of its queue, of
//!   equal or higher priority, could be. That agent has the skills, is there, has room, and has not
//!   just declined it.
//! * *No idling*: a conversation that could be offered to an agent is offered within
//!   [`IDLE_MS_MAX`] of shard time, however much work was left over.
//!
//! What a conversation requires is known from the operation that opened it and its queue's plan at
//! the time. Where a plan's skills change while something waits, that conversation is no witness
//! until it takes a place anew, because it may require either.

mod floor;

use std::collections::BTreeMap;

use rotary_proto::event::{OfferEnd, QueuedWhy};
use rotary_proto::ids::AgentId;
use rotary_proto::{ConversationId, SiteId, Stamp};

use super::evidence::{Evidence, Placed, Story};
use super::verdict::Check;
use crate::history::{Event, Fact};
use floor::Floor;

/// How long, in shard time, a conversation may wait that could be offered, in milliseconds.
pub const IDLE_MS_MAX: u64 = 1_000;

/// Asks both questions of every site.
pub fn check(evidence: &Evidence<'_>) -> Check {
    let mut check = Check::new("no_overtake", "offers");
    let mut looks = 0;
    for (site, story) in &evidence.stories {
        let mut oracle =
            Oracle { floor: Floor::default(), idle: BTreeMap::new(), looked: Stamp(0) };
        looks += oracle.walk(&mut check, evidence, *site, story);
    }
    check.figure("looks for somebody kept waiting", looks);
    evidence.doubt_stories(&mut check);
    check.unless_empty()
}

struct Oracle {
    floor: Floor,
    /// Pairs that could be matched at the last look, with how often either had changed by then.
    idle: BTreeMap<(AgentId, ConversationId), u64>,
    looked: Stamp,
}

impl Oracle {
    fn walk(
        &mut self,
        check: &mut Check,
        evidence: &Evidence<'_>,
        site: SiteId,
        story: &Story<'_>,
    ) -> u64 {
        let (mut index, mut looks) = (0, 0);
        for event in &story.events {
            if event.of.index != index {
                index = event.of.index;
                looks += u64::from(self.look(check, site, *event));
            }
            if let Fact::Offered { conversation, agent, .. } = event.of.fact {
                check.checked += 1;
                let now = event.of.stamp;
                if let Some((why, line)) = self.floor.objection(conversation, agent, now) {
                    let what = format!("{site}: {conversation} was offered to {agent}, {why}");
                    check.find(what, [line, event.line]);
                }
            }
            let extra = match event.of.fact {
                Fact::Queued { conversation, .. } => evidence.extra_skills(conversation),
                _ => None,
            };
            self.take(event.of, event.line, extra);
        }
        looks
    }

    /// Looks for pairs that could be matched, before an entry, now and then. What was so at the
    /// look before, and has not changed since, is a finding.
    fn look(&mut self, check: &mut Check, site: SiteId, event: Placed<'_, Event>) -> bool {
        let now = event.of.stamp;
        if now.ms_since(self.looked) < IDLE_MS_MAX {
            return false;
        }
        self.looked = now;
        let mut idle = BTreeMap::new();
        for (agent, conversation, line) in self.floor.matches(now) {
            let changes = self.floor.changes(agent, conversation);
            if self.idle.get(&(agent, conversation)) == Some(&changes) {
                let what = format!("{site}: {conversation} waits, and {agent} is free for it");
                check.find(what, [line, event.line]);
            }
            idle.insert((agent, conversation), changes);
        }
        self.idle = idle;
        true
    }

    fn take(
        &mut self,
        event: &Event,
        line: usize,
        extra: Option<&[rotary_proto::plan::RequiredSkill]>,
    ) {
        let (floor, now) = (&mut self.floor, event.stamp);
        match &event.fact {
            Fact::QueueSet { queue, skills, decline_delay_ms, .. } => {
                floor.plan(*queue, skills, *decline_delay_ms);
            }
            Fact::AgentSet { agent, skills, capacity, .. } => {
                floor.profile(*agent, skills, *capacity);
            }
            Fact::SessionAttached { session, subject } => floor.link(*session, *subject, true),
            Fact::SessionLost { session, subject, .. }
            | Fact::SessionEnded { session, subject } => floor.link(*session, *subject, false),
            Fact::AgentDeclared { agent, declared, .. } => floor.declare(*agent, *declared),
            Fact::Opened { conversation, channel, .. } => floor.open(*conversation, *channel),
            Fact::Queued { conversation, queue, priority, since, .. } => {
                floor.line_up(*conversation, *queue, *priority, *since, extra, line);
            }
            Fact::Offered { conversation, agent, .. } => floor.debit(*conversation, *agent),
            Fact::OfferEnded { conversation, agent, why, .. } => {
                floor.credit(*conversation, *agent);
                if *why == OfferEnd::Declined {
                    floor.decline(*conversation, *agent, now);
                }
                floor.stand_again(*conversation);
            }
            Fact::Released { conversation, agent, why } => {
                floor.credit(*conversation, *agent);
                let gave_back = (*why == QueuedWhy::Requeued).then_some((*agent, now));
                floor.leave(*conversation, gave_back);
            }
            Fact::Assigned { conversation, .. } | Fact::Ended { conversation, .. } => {
                floor.leave(*conversation, None);
            }
            Fact::Closed { conversation, agent, .. } => {
                agent.iter().for_each(|agent| floor.credit(*conversation, *agent));
                floor.close(*conversation);
            }
            _ => {}
        }
    }
}
