//! Who waits where, and who could take what: the oracle's own account of a site.

use std::collections::{BTreeMap, BTreeSet};

use rotary_proto::command::Subject;
use rotary_proto::ids::{AgentId, QueueId, SessionId, SkillId};
use rotary_proto::limits::DECLINES_PER_CONVERSATION_MAX;
use rotary_proto::plan::RequiredSkill;
use rotary_proto::{Capacity, Channel, ConversationId, Declared, Priority, Stamp};

/// By how much a decline may hold longer than it must before somebody counts as overtaken or kept
/// waiting because of it, in milliseconds.
const DECLINE_SLACK_MS: u64 = 100;

/// A place in line: the lowest is served first.
type Place = (u8, Stamp, u128);

/// What those in one line have in common: nothing but their places tells them apart.
type Line = (QueueId, Channel, Vec<(SkillId, u8)>);

/// A queue's plan.
#[derive(Debug, Default)]
struct Plan {
    skills: Vec<RequiredSkill>,
    decline_delay_ms: u64,
}

/// An agent.
#[derive(Debug, Default)]
struct Agent {
    skills: BTreeMap<SkillId, u8>,
    capacity: Option<Capacity>,
    declared: Declared,
    up: BTreeSet<SessionId>,
    held: BTreeMap<ConversationId, Channel>,
    changes: u64,
}

impl Agent {
    fn is_routable(&self) -> bool {
        self.declared == Declared::Ready && !self.up.is_empty()
    }

    /// Whether one more of that channel fits: a call to who holds nothing, anything else within the
    /// mix to who holds no call.
    fn has_room(&self, channel: Channel) -> bool {
        let Some(capacity) = self.capacity else { return false };
        if channel == Channel::Voice {
            return capacity.voice && self.held.is_empty();
        }
        let of = |of: Channel| self.held.values().filter(|held| **held == of).count();
        let each = |of_channel: &Channel| {
            let more = usize::from(*of_channel == channel);
            of(*of_channel) + more <= usize::from(capacity.of(*of_channel))
        };
        of(Channel::Voice) == 0
            && self.held.len() < usize::from(capacity.total)
            && Channel::ALL.iter().all(each)
    }

    fn serves(&self, line: &Line) -> bool {
        line.2.iter().all(|(skill, level)| self.skills.get(skill).is_some_and(|has| has >= level))
    }
}

/// A conversation that is open.
#[derive(Debug)]
struct Waiting {
    channel: Channel,
    /// Where it stands or stood, and since which line of the history; none where it is no witness.
    at: Option<(Line, Place)>,
    queue: Option<QueueId>,
    /// Until when, and whether it certainly was a decline: who gave it back may have been asked
    /// by somebody else to do so, and then has no delay.
    declines: BTreeMap<AgentId, (Stamp, bool)>,
    /// Whether more declined it than the cluster remembers.
    many: bool,
    /// Who gave it back last, if whoever did so is not to be asked again for a while.
    gave_back: Option<(AgentId, Stamp)>,
    since_line: usize,
    changes: u64,
}

/// A site as the oracle knows it.
#[derive(Debug, Default)]
pub(super) struct Floor {
    plans: BTreeMap<QueueId, Plan>,
    agents: BTreeMap<AgentId, Agent>,
    open: BTreeMap<ConversationId, Waiting>,
    lines: BTreeMap<Line, BTreeMap<Place, ConversationId>>,
}

impl Floor {
    pub(super) fn plan(&mut self, queue: QueueId, skills: &[RequiredSkill], delay_ms: u64) {
        let plan = Plan { skills: skills.to_vec(), decline_delay_ms: delay_ms };
        let before = self.plans.insert(queue, plan);
        if before.is_some_and(|before| before.skills != skills) {
            self.lines.retain(|line, _| line.0 != queue);
            for waiting in self.open.values_mut().filter(|w| w.queue == Some(queue)) {
                waiting.at = None;
            }
        }
    }

    pub(super) fn profile(&mut self, id: AgentId, skills: &BTreeMap<SkillId, u8>, most: Capacity) {
        let agent = self.agent(id);
        (agent.skills, agent.capacity) = (skills.clone(), Some(most));
    }

    pub(super) fn link(&mut self, session: SessionId, subject: Subject, up: bool) {
        let Subject::Agent(id) = subject else { return };
        let agent = self.agent(id);
        if up {
            agent.up.insert(session);
        } else {
            agent.up.remove(&session);
        }
    }

    pub(super) fn declare(&mut self, id: AgentId, declared: Declared) {
        self.agent(id).declared = declared;
    }

    fn agent(&mut self, id: AgentId) -> &mut Agent {
        let agent = self.agents.entry(id).or_default();
        agent.changes += 1;
        agent
    }

    pub(super) fn open(&mut self, id: ConversationId, channel: Channel) {
        let waiting = Waiting {
            channel,
            at: None,
            queue: None,
            declines: BTreeMap::new(),
            many: false,
            gave_back: None,
            since_line: 0,
            changes: 0,
        };
        self.open.insert(id, waiting);
    }

    /// A conversation takes a place in line. `extra` is what it requires beyond its queue, where
    /// that is known.
    pub(super) fn line_up(
        &mut self,
        id: ConversationId,
        queue: QueueId,
        priority: Priority,
        since: Stamp,
        extra: Option<&[RequiredSkill]>,
        number: usize,
    ) {
        self.step_out(id);
        let plan = self.plans.entry(queue).or_default();
        let delay_ms = plan.decline_delay_ms;
        let required = extra.map(|extra| merged(&plan.skills, extra));
        let Some(waiting) = self.open.get_mut(&id) else { return };
        let place = (Priority::MAX - priority.level(), since, id.unique);
        waiting.at = required.map(|required| ((queue, waiting.channel, required), place));
        (waiting.queue, waiting.many, waiting.since_line) = (Some(queue), false, number);
        waiting.declines.clear();
        if let Some((agent, at)) = waiting.gave_back.take() {
            waiting.declines.insert(agent, (at.plus_ms(delay_ms), false));
        }
        self.stand_again(id);
    }

    /// Back in line where it was.
    pub(super) fn stand_again(&mut self, id: ConversationId) {
        let Some(waiting) = self.open.get_mut(&id) else { return };
        waiting.changes += 1;
        if let Some((line, place)) = waiting.at.clone() {
            self.lines.entry(line).or_default().insert(place, id);
        }
    }

    fn step_out(&mut self, id: ConversationId) {
        let Some(waiting) = self.open.get_mut(&id) else { return };
        waiting.changes += 1;
        let Some((line, place)) = &waiting.at else { return };
        let Some(places) = self.lines.get_mut(line) else { return };
        places.remove(place);
        if places.is_empty() {
            self.lines.remove(line);
        }
    }

    /// Out of line for good, or given back by an agent who may not be asked again for a while.
    pub(super) fn leave(&mut self, id: ConversationId, gave_back: Option<(AgentId, Stamp)>) {
        self.step_out(id);
        if let Some(waiting) = self.open.get_mut(&id) {
            (waiting.at, waiting.gave_back) = (None, gave_back);
        }
    }

    pub(super) fn close(&mut self, id: ConversationId) {
        self.step_out(id);
        self.open.remove(&id);
    }

    pub(super) fn debit(&mut self, id: ConversationId, agent: AgentId) {
        self.step_out(id);
        let Some(channel) = self.open.get(&id).map(|waiting| waiting.channel) else { return };
        self.agent(agent).held.insert(id, channel);
    }

    pub(super) fn credit(&mut self, id: ConversationId, agent: AgentId) {
        self.agent(agent).held.remove(&id);
    }

    pub(super) fn decline(&mut self, id: ConversationId, agent: AgentId, now: Stamp) {
        let Some(waiting) = self.open.get_mut(&id) else { return };
        let plan = waiting.queue.and_then(|queue| self.plans.get(&queue));
        let delay_ms = plan.map_or(0, |plan| plan.decline_delay_ms);
        waiting.declines.insert(agent, (now.plus_ms(delay_ms), true));
        waiting.many |= waiting.declines.len() >= DECLINES_PER_CONVERSATION_MAX;
    }

    /// How often either of a pair has changed.
    pub(super) fn changes(&self, agent: AgentId, id: ConversationId) -> u64 {
        let agent = self.agents.get(&agent).map_or(0, |agent| agent.changes);
        agent + self.open.get(&id).map_or(0, |waiting| waiting.changes)
    }

    /// What forbids an offer, and the line that says so.
    pub(super) fn objection(
        &self,
        id: ConversationId,
        to: AgentId,
        now: Stamp,
    ) -> Option<(String, usize)> {
        let waiting = self.open.get(&id)?;
        let agent = self.agents.get(&to);
        let plain = |what: &str| Some((what.to_owned(), waiting.since_line));
        let Some(agent) = agent.filter(|agent| agent.is_routable()) else {
            return plain("who is not ready or not there");
        };
        if !agent.has_room(waiting.channel) {
            return plain("who has no room");
        }
        let declined = waiting.declines.get(&to);
        if declined.is_some_and(|(until, sure)| *sure && *until > now) && !waiting.many {
            return plain("who declined it, and the delay is not over");
        }
        let (line, place) = waiting.at.as_ref()?;
        if !agent.serves(line) {
            return plain("who lacks a skill that it requires");
        }
        let earlier = self.first_for(to, agent, now, Some(line.0))?;
        if earlier.0 >= *place {
            return None;
        }
        let passed = self.open.get(&earlier.1)?;
        Some((format!("while {} was before it in line", earlier.1), passed.since_line))
    }

    /// The first in line that could be offered to an agent, in one queue or in all.
    fn first_for(
        &self,
        id: AgentId,
        agent: &Agent,
        now: Stamp,
        queue: Option<QueueId>,
    ) -> Option<(Place, ConversationId)> {
        let served = self.lines.iter().filter(|(line, _)| {
            queue.is_none_or(|queue| line.0 == queue)
                && agent.has_room(line.1)
                && agent.serves(line)
        });
        let first = served.filter_map(|(_, places)| {
            let free = |found: &(&Place, &ConversationId)| {
                let until = self.open.get(found.1).and_then(|w| w.declines.get(&id));
                until.is_none_or(|(until, _)| until.plus_ms(DECLINE_SLACK_MS) < now)
            };
            places.iter().find(free).map(|(place, id)| (*place, *id))
        });
        first.min()
    }

    /// For every free agent, the first that could be offered to them, and the line since which it
    /// waits.
    pub(super) fn matches(&self, now: Stamp) -> Vec<(AgentId, ConversationId, usize)> {
        let free = self.agents.iter().filter(|(_, agent)| agent.is_routable());
        let first = free.filter_map(|(id, agent)| {
            let (_, conversation) = self.first_for(*id, agent, now, None)?;
            Some((*id, conversation, self.open.get(&conversation)?.since_line))
        });
        first.collect()
    }
}

/// What both demand together: each skill once, at the higher level.
fn merged(plan: &[RequiredSkill], extra: &[RequiredSkill]) -> Vec<(SkillId, u8)> {
    let mut levels: BTreeMap<SkillId, u8> = BTreeMap::new();
    for required in plan.iter().chain(extra) {
        let level = levels.entry(required.skill).or_default();
        *level = required.level.max(*level);
    }
    levels.into_iter().collect()
}
