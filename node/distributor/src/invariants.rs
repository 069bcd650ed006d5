//! What must hold after every entry (promises P2 to P5), stated over entities.
//!
//! Tests check after every apply. In production a sample is checked; a violation never changes an
//! outcome, it raises an alarm.

use std::collections::{BTreeMap, BTreeSet};

use rotary_proto::effect::EffectTarget;
use rotary_proto::ids::SiteId;
use rotary_proto::limits;

use crate::agent::{AgentLink, within};
use crate::conversation::{Conversation, Stage};
use crate::queue::Counts;
use crate::shard::Shard;
use crate::site::Site;

/// A promise that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise, e.g. `P3`.
    pub promise: &'static str,
    /// Where.
    pub site: SiteId,
    /// What was found.
    pub detail: String,
}

/// Everything that does not hold in a shard; empty when all is well.
///
/// Costs a walk over all entities: for tests and samples.
pub fn check(shard: &Shard) -> Vec<Violation> {
    let mut found = Vec::new();
    for site in shard.sites.values() {
        let mut report = |promise, detail| {
            found.push(Violation { promise, site: site.id, detail });
        };
        one_assignment(site, &mut report);
        capacity(site, &mut report);
        deadlines(site, &mut report);
        index(site, &mut report);
        counts(site, &mut report);
        turns(site, &mut report);
        bounds(site, &mut report);
    }
    found
}

type Report<'a> = dyn FnMut(&'static str, String) + 'a;

/// P2: who holds a conversation is one agent, and both sides say so.
fn one_assignment(site: &Site, report: &mut Report) {
    let mut holders: BTreeMap<u128, Vec<_>> = BTreeMap::new();
    for (id, agent) in site.agents.iter() {
        for unique in &agent.held {
            holders.entry(*unique).or_default().push(id);
        }
    }
    for (unique, conversation) in site.conversations.iter() {
        let held_by = holders.remove(&unique).unwrap_or_default();
        if held_by != conversation.stage.agent().into_iter().collect::<Vec<_>>() {
            report("P2", format!("{unique:x} is {:?}, held by {held_by:?}", conversation.stage));
        }
    }
    for (unique, held_by) in holders {
        report("P2", format!("{unique:x} does not exist and is held by {held_by:?}"));
    }
}

/// P3: what an agent holds is within the capacity in force.
fn capacity(site: &Site, report: &mut Report) {
    for (id, agent) in site.agents.iter() {
        if !within(&agent.in_force, &agent.debits) {
            report("P3", format!("{id} holds {:?} of {:?}", agent.debits, agent.in_force));
        }
        let mut debits = [0; 5];
        for unique in &agent.held {
            if let Some(conversation) = site.conversations.get(*unique) {
                debits[conversation.channel.index()] += 1;
            }
        }
        if debits != agent.debits {
            report("P3", format!("{id} is debited {:?} for {debits:?}", agent.debits));
        }
    }
}

/// P5: everything that must end has an alarm no later than its end.
fn deadlines(site: &Site, report: &mut Report) {
    use crate::site::Due;
    let mut expect = |due: Due, at: rotary_proto::Stamp| match site.alarm_at(due) {
        Some(alarm) if alarm <= at => {}
        alarm => report("P5", format!("{due:?} is due at {at:?}, its alarm is {alarm:?}")),
    };
    for (unique, conversation) in site.conversations.iter() {
        expect(Due::Conversation(unique), conversation.due());
        if let Some(at) = conversation.declines_due() {
            expect(Due::Declines(unique), at);
        }
    }
    for (id, agent) in site.agents.iter() {
        if let AgentLink::Lost { until } = agent.link {
            expect(Due::Agent(id), until);
        }
    }
    for (id, session) in site.sessions.iter() {
        if let Some(at) = session.due() {
            expect(Due::Session(id), at);
        }
    }
    for (id, effect) in site.effects.pending.iter() {
        if !site.is_armed(Due::Effect(id), effect.until) {
            report("P5", format!("{id} is due at {:?}, and no alarm is set", effect.until));
        }
    }
}

/// The index says what entities say: who waits is in line in one class, who is indexed as free is
/// routable and has room, and (P4, no idling) nobody free and nothing in line suit each other.
fn index(site: &Site, report: &mut Report) {
    for (unique, conversation) in site.conversations.iter() {
        let Some(place) = in_line(conversation, unique) else { continue };
        let class = site.classes.class(conversation.class);
        let waits = conversation.stage == Stage::Waiting;
        if class.waiting.contains(&place) != waits {
            report("P4", format!("{unique:x} is {:?}, in line: {}", conversation.stage, !waits));
        }
        if class.key.requirement.skills != conversation.required {
            report("P4", format!("{unique:x} is in the class of another requirement"));
        }
    }
    for (id, indexed) in &site.classes.agents {
        let Some(agent) = site.agents.get(*id) else {
            report("P4", format!("{id} is indexed and does not exist"));
            continue;
        };
        if !site.classes.is_indexed_as(*id, agent) {
            report("P4", format!("{id} is indexed as somebody else"));
        }
        let pending = site.lost_gateways.is_empty();
        if pending && indexed.free.is_some() && !agent.is_routable() {
            report("P4", format!("{id} is indexed as free and is not reachable"));
        }
    }
}

fn in_line(conversation: &Conversation, unique: u128) -> Option<crate::conversation::Place> {
    match conversation.stage {
        Stage::Waiting | Stage::Offered { .. } => Some(conversation.place(unique)),
        Stage::SelfService { .. } | Stage::Assigned { .. } | Stage::WrapUp { .. } => None,
    }
}

/// A queue's counts are the number of its conversations by stage.
fn counts(site: &Site, report: &mut Report) {
    let mut counted: BTreeMap<_, Counts> = BTreeMap::new();
    for (_, conversation) in site.conversations.iter() {
        let counts = counted.entry(conversation.queue).or_default();
        match conversation.stage {
            Stage::SelfService { .. } => counts.self_service += 1,
            Stage::Waiting => counts.waiting += 1,
            Stage::Offered { .. } => counts.offered += 1,
            Stage::Assigned { .. } => counts.assigned += 1,
            Stage::WrapUp { .. } => counts.wrap_up += 1,
        }
    }
    for (id, queue) in site.queues.iter() {
        let expected = counted.remove(&id).unwrap_or_default();
        if queue.counts != expected {
            report("P4", format!("{id} counts {:?} for {expected:?}", queue.counts));
        }
    }
}

/// P5: turns wait for conversations that a bot serves, and those know of them.
fn turns(site: &Site, report: &mut Report) {
    let mut known = BTreeSet::new();
    for (unique, conversation) in site.conversations.iter() {
        let served = matches!(conversation.stage, Stage::SelfService { .. });
        if !served && !conversation.turns.is_empty() {
            report("P5", format!("{unique:x} is {:?} and has turns", conversation.stage));
        }
        known.extend(conversation.turns.iter().map(|turn| (*turn, unique)));
    }
    for (id, effect) in site.effects.pending.iter() {
        let turn = matches!(effect.target, EffectTarget::Turn(_));
        if turn != known.remove(&(id, effect.conversation.unique)) {
            report("P5", format!("{id} waits, and its conversation knows another thing"));
        }
    }
    for (id, unique) in known {
        report("P5", format!("{unique:x} waits for {id}, which is over"));
    }
}

/// Nothing grows without bound.
fn bounds(site: &Site, report: &mut Report) {
    for (unique, conversation) in site.conversations.iter() {
        if conversation.recent.len() > limits::ITEMS_REMEMBERED_MAX
            || conversation.declines.len() > limits::DECLINES_PER_CONVERSATION_MAX
            || conversation.answers.len() > 2
            || conversation.turns.len() > limits::TURNS_PER_CONVERSATION_MAX
        {
            report("bounds", format!("{unique:x} remembers too much"));
        }
    }
    for (id, session) in site.sessions.iter() {
        if session.window.len() > limits::SESSION_WINDOW_COMMANDS_MAX {
            report("bounds", format!("{id} keeps {} outcomes", session.window.len()));
        }
    }
    if site.requests.len() > limits::REQUEST_WINDOW_REQUESTS_MAX {
        report("bounds", format!("{} requests are kept", site.requests.len()));
    }
    let agents: BTreeSet<_> = site.agents.iter().map(|(id, _)| id).collect();
    if site.classes.agents.keys().any(|id| !agents.contains(id)) {
        report("bounds", "an agent is indexed who does not exist".to_owned());
    }
}
