//! An independent account of promises P2, P3, P4 and P6, from commands and events alone.
//!
//! It keeps its own books of who can do what, who said what, which sessions live, who declined
//! what and what a queue's plan requires, and never asks the shard. At every entry:
//!
//! * an offer is made only to who may have it, and takes nobody over: no item that stands earlier
//!   (priority, then time, then id) is offerable to that agent (*no overtaking*);
//! * where no work is left over, no item waits that is offerable to anybody (*no idling*);
//! * an item that arrives on a quiet floor goes to whom its queue's strategy names.
//!
//! While a plan edit is being worked off, an item may stand under the old requirement or under the
//! new one; it counts as offerable only if it is so under both.

use std::collections::{BTreeMap, BTreeSet};

use rotary_distributor::Applied;
use rotary_proto::command::Subject;
use rotary_proto::event::{OfferEnd, QueuedWhy, Trigger};
use rotary_proto::ids::*;
use rotary_proto::plan::{RequiredSkill, Strategy};
use rotary_proto::{
    Actor, Capacity, Channel, Command, Declared, Event, Outcome, QueuePlan, ShardCommand, Stamp,
    limits,
};

/// The books of one shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Oracle {
    pub(crate) floors: BTreeMap<SiteId, Books>,
    leases: BTreeMap<GatewayId, Stamp>,
    /// What an `Open` of this entry requires.
    extra: Vec<RequiredSkill>,
    now: Stamp,
}

/// The books of one site.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    plans: BTreeMap<QueueId, QueuePlan>,
    /// Whom each queue offered last, and whom before that.
    last_offered: BTreeMap<QueueId, (AgentId, Option<AgentId>)>,
    agents: BTreeMap<AgentId, Person>,
    pub(crate) sessions: BTreeMap<SessionId, (Subject, GatewayId, Tie)>,
    pub(crate) items: BTreeMap<u128, Entry>,
    /// Conversations that are over.
    over: BTreeSet<u128>,
    /// When each session last changed.
    changed: BTreeMap<SessionId, Stamp>,
}

/// Whether a session's socket lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tie {
    Up,
    /// Its gateway's lease ran out in an entry whose events have not said so.
    Doomed,
    Lost,
}

#[derive(Debug, Clone)]
struct Person {
    skills: BTreeMap<SkillId, u8>,
    capacity: Capacity,
    declared: Declared,
    held: BTreeMap<u128, Channel>,
    idle_since: Stamp,
    idle_us: u64,
    routable: bool,
}

/// One live conversation.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    channel: Channel,
    queue: QueueId,
    priority: u8,
    since: Stamp,
    pub(crate) extra: Vec<RequiredSkill>,
    /// What it may require at present: one list, or several while a plan edit is worked off.
    requirements: BTreeSet<Vec<RequiredSkill>>,
    stage: Stage,
    /// When its stage began.
    entered: Stamp,
    /// When its longest wait ends.
    until: Stamp,
    declines: Vec<(AgentId, Stamp)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opened,
    Waiting,
    Offered(OfferId, AgentId),
    Assigned(AgentId),
    WrapUp(AgentId),
    Ended,
}

impl Oracle {
    /// Follows one entry. `quiet` says whether no work was left over before it, and after it.
    pub(crate) fn follow(
        &mut self,
        now: Stamp,
        command: &ShardCommand,
        applied: &Applied,
        quiet: (bool, bool),
    ) -> Vec<String> {
        self.now = now;
        self.expire(now);
        let done = matches!(applied.answer.outcome, Outcome::Done(_)) && !applied.answer.repeated;
        self.extra.clear();
        let (mut opened, mut giver) = (None, None);
        match command {
            ShardCommand::Site(envelope) if done => match &envelope.command {
                Command::Open { skills, conversation, .. } => {
                    self.extra.clone_from(skills);
                    opened = Some(*conversation);
                }
                Command::Attach { gateway, .. } => self.renew(*gateway),
                Command::Requeue { .. } => giver = agent_of(envelope.actor),
                _ => {}
            },
            ShardCommand::RenewLease { gateway } if done => self.renew(*gateway),
            _ => {}
        }
        let mut found = Vec::new();
        for record in &applied.events {
            let books = self.floors.entry(record.site).or_default();
            books.follow(now, &record.event, &self.extra, &mut found);
            if let Event::Queued { conversation, why: QueuedWhy::Requeued, .. } = record.event {
                giver.iter().for_each(|giver| books.delay(now, conversation.unique, *giver));
            }
        }
        let alone = |id: &ConversationId| {
            applied.events.iter().all(|record| record.event.conversation() == Some(*id))
        };
        if let Some(id) = opened.filter(|id| quiet.0 && quiet.1 && alone(id)) {
            self.floors.entry(id.site).or_default().chosen(id.unique, applied, &mut found);
        }
        if quiet.1 {
            self.floors.values_mut().for_each(|books| books.at_rest(now, &mut found));
        }
        found
    }

    fn renew(&mut self, gateway: GatewayId) {
        self.leases.insert(gateway, self.now.plus_ms(limits::LEASE_MS));
    }

    fn expire(&mut self, now: Stamp) {
        let gone: Vec<GatewayId> =
            self.leases.iter().filter(|(_, until)| **until <= now).map(|(id, _)| *id).collect();
        for gateway in gone {
            self.leases.remove(&gateway);
            let sessions = self.floors.values_mut().flat_map(|books| books.sessions.values_mut());
            sessions.filter(|s| s.1 == gateway && s.2 == Tie::Up).for_each(|s| s.2 = Tie::Doomed);
        }
    }
}

fn agent_of(actor: Actor) -> Option<AgentId> {
    match actor {
        Actor::Agent(agent) => Some(agent),
        _ => None,
    }
}

impl Books {
    fn follow(
        &mut self,
        now: Stamp,
        event: &Event,
        extra: &[RequiredSkill],
        found: &mut Vec<String>,
    ) {
        match event {
            Event::QueueSet { queue, plan, .. } => self.plan(*queue, plan),
            Event::AgentSet { agent, profile, .. } => {
                let person = self.agents.entry(*agent).or_insert_with(|| Person::new(now));
                person.skills.clone_from(&profile.skills);
                person.capacity = profile.capacity;
            }
            Event::AgentDeclared { agent, declared, .. } => {
                if let Some(person) = self.agents.get_mut(agent) {
                    if person.declared == Declared::SignedOut {
                        (person.idle_since, person.idle_us) = (now, 0);
                    }
                    person.declared = *declared;
                }
                self.track(now, *agent);
            }
            Event::SessionAttached { session, subject, gateway } => {
                self.session(now, *session, Some((*subject, *gateway, Tie::Up)));
            }
            Event::SessionLost { session, .. } => {
                let lost = self.sessions.get(session).map(|s| (s.0, s.1, Tie::Lost));
                self.session(now, *session, lost);
            }
            Event::SessionEnded { session, .. } => self.session(now, *session, None),
            other => {
                self.life(now, other, extra, found);
                let unique = other.conversation().map(|id| id.unique);
                let item = unique.and_then(|unique| self.items.get_mut(&unique));
                item.into_iter().for_each(|item| item.entered = now);
            }
        }
    }

    /// The books without what the future does not depend on: times count from here, to 10 ms;
    /// ranks stand for finer differences; offers' numbers are left out.
    pub(crate) fn canonical(&self, now: Stamp) -> String {
        let rel = |at: Stamp| (at.0 as i64 - now.0 as i64 + 5_000).div_euclid(10_000);
        let mut places: Vec<_> = self.items.iter().map(|(id, item)| item.place(*id)).collect();
        places.sort_unstable();
        let mut free: Vec<_> = self.agents.iter().map(|(id, p)| (p.idle_since, *id)).collect();
        free.sort_unstable();
        let order: Vec<_> = free.iter().map(|(_, id)| *id).collect();
        let line: Vec<_> = places.iter().map(|(_, _, id)| *id).collect();
        let items = self.items.iter().map(|(id, item)| {
            let stage = match item.stage {
                Stage::Offered(_, agent) => Stage::Offered(OfferId(0), agent),
                stage => stage,
            };
            let declines: Vec<_> = item.declines.iter().map(|(a, at)| (*a, rel(*at))).collect();
            (*id, item.queue, stage, rel(item.entered), rel(item.until), rel(item.since), declines)
        });
        let items: Vec<_> = items.collect();
        let agents = self.agents.iter().map(|(id, person)| {
            let idle = if person.routable { rel(person.idle_since) } else { 0 };
            (*id, person.declared, person.routable, idle, person.idle_us / 10_000)
        });
        let agents: Vec<_> = agents.collect();
        let sessions = self.sessions.iter().map(|(id, (_, _, tie))| {
            (*id, *tie, if *tie == Tie::Up { 0 } else { rel(self.changed[id]) })
        });
        let sessions: Vec<_> = sessions.collect();
        let turns: Vec<_> = self.last_offered.iter().map(|(q, (last, _))| (*q, *last)).collect();
        format!("{line:?}{order:?}{items:?}{agents:?}{sessions:?}{turns:?}{:?}", self.over)
    }

    fn session(&mut self, now: Stamp, id: SessionId, state: Option<(Subject, GatewayId, Tie)>) {
        self.changed.insert(id, now);
        let before = match state {
            Some(state) => self.sessions.insert(id, state),
            None => self.sessions.remove(&id),
        };
        if let Some((Subject::Agent(agent), ..)) = state.or(before) {
            self.track(now, agent);
        }
    }

    /// Keeps count of free time: it stands still while an agent cannot be reached.
    fn track(&mut self, now: Stamp, agent: AgentId) {
        let up = self.has_session(agent, |tie| tie != Tie::Lost);
        let Some(person) = self.agents.get_mut(&agent) else { return };
        let routable = up && person.declared == Declared::Ready;
        match (person.routable, routable) {
            (true, false) => person.idle_us = now.micros_since(person.idle_since),
            (false, true) => person.idle_since = Stamp(now.0.saturating_sub(person.idle_us)),
            _ => {}
        }
        person.routable = routable;
    }

    fn has_session(&self, agent: AgentId, lives: impl Fn(Tie) -> bool) -> bool {
        let subject = Subject::Agent(agent);
        self.sessions.values().any(|(of, _, tie)| *of == subject && lives(*tie))
    }

    fn plan(&mut self, queue: QueueId, plan: &QueuePlan) {
        self.plans.insert(queue, plan.clone());
        for item in self.items.values_mut().filter(|item| item.queue == queue) {
            item.requirements.insert(required(plan, &item.extra));
        }
    }

    fn life(
        &mut self,
        now: Stamp,
        event: &Event,
        extra: &[RequiredSkill],
        found: &mut Vec<String>,
    ) {
        let Some(id) = event.conversation() else { return };
        let unique = id.unique;
        match event {
            Event::Opened { channel, .. } => {
                let item = Entry::new(*channel, extra.to_vec());
                if self.items.insert(unique, item).is_some() {
                    found.push(format!("{id} was opened twice"));
                }
            }
            Event::Offered { agent, offer, queue, decision, .. } => {
                self.offered(now, unique, *agent, found);
                let before = self.last_offered.get(queue).map(|(last, _)| *last);
                self.last_offered.insert(*queue, (*agent, before));
                if let Some(item) = self.items.get_mut(&unique) {
                    item.stage = Stage::Offered(*offer, *agent);
                    let channel = item.channel;
                    self.hold(*agent, unique, channel, found);
                }
                if decision.candidates == 0 {
                    found.push(format!("{id} was offered without a candidate"));
                }
            }
            // A mail may outlive its conversation; its own books follow it.
            Event::EffectEnded { .. } => {}
            other => self.on(now, unique, other, found),
        }
    }

    /// What happens to a conversation that exists.
    fn on(&mut self, now: Stamp, unique: u128, event: &Event, found: &mut Vec<String>) {
        let Some(item) = self.items.get_mut(&unique) else {
            return found.push(format!("{event:?} of nothing"));
        };
        let stage = item.stage;
        let mut expect = |expected: Stage, promise: &str| {
            if stage != expected {
                found.push(format!("{promise}: {unique:x} is {stage:?} at {event:?}"));
            }
        };
        match event {
            Event::Queued { queue, priority, since, until, .. } => {
                item.until = *until;
                (item.queue, item.priority, item.since) = (*queue, priority.level(), *since);
                item.stage = Stage::Waiting;
                item.declines.clear();
                self.settle_item(unique);
            }
            Event::OfferEnded { offer, agent, why, .. } => {
                expect(Stage::Offered(*offer, *agent), "offer");
                self.offer_ended(now, unique, *agent, *why);
            }
            Event::Assigned { offer, agent, .. } => {
                expect(Stage::Offered(*offer, *agent), "P2");
                item.stage = Stage::Assigned(*agent);
                self.reset_idle(now, *agent);
            }
            Event::Released { agent, .. } => {
                expect(Stage::Assigned(*agent), "release");
                item.stage = Stage::Opened;
                self.given_up(now, unique, *agent);
            }
            Event::Ended { .. } if !matches!(stage, Stage::Assigned(_)) => {
                item.stage = Stage::Ended;
            }
            Event::WrapUpStarted { agent, .. } => item.stage = Stage::WrapUp(*agent),
            Event::Closed { agent, .. } => {
                self.items.remove(&unique);
                self.over.insert(unique);
                agent.iter().for_each(|agent| self.given_up(now, unique, *agent));
            }
            _ => {}
        }
    }

    fn given_up(&mut self, now: Stamp, unique: u128, agent: AgentId) {
        self.drop_held(agent, unique);
        self.reset_idle(now, agent);
    }

    fn reset_idle(&mut self, now: Stamp, agent: AgentId) {
        if let Some(person) = self.agents.get_mut(&agent) {
            (person.idle_since, person.idle_us) = (now, 0);
        }
    }

    /// The item requires what its queue's plan says at this moment.
    fn settle_item(&mut self, unique: u128) {
        if let Some(item) = self.items.get_mut(&unique)
            && let Some(plan) = self.plans.get(&item.queue)
        {
            item.requirements = BTreeSet::from([required(plan, &item.extra)]);
        }
    }

    fn offer_ended(&mut self, now: Stamp, unique: u128, agent: AgentId, why: OfferEnd) {
        self.drop_held(agent, unique);
        let Some(item) = self.items.get_mut(&unique) else { return };
        item.stage = Stage::Waiting;
        if why == OfferEnd::Declined {
            self.delay(now, unique, agent);
        }
        self.settle_item(unique);
    }

    /// An agent did not want it: others come first for a while.
    fn delay(&mut self, now: Stamp, unique: u128, agent: AgentId) {
        if let Some(item) = self.items.get_mut(&unique) {
            let delay = self.plans.get(&item.queue).map_or(0, |plan| plan.decline_delay_ms);
            item.declines.retain(|(who, _)| *who != agent);
            if item.declines.len() >= limits::DECLINES_PER_CONVERSATION_MAX {
                item.declines.remove(0);
            }
            item.declines.push((agent, now.plus_ms(delay)));
        }
    }

    fn hold(&mut self, agent: AgentId, unique: u128, channel: Channel, found: &mut Vec<String>) {
        let Some(person) = self.agents.get_mut(&agent) else { return };
        if !person.has_room(channel) {
            found.push(format!("P3: {agent} holds {:?} and gets {channel:?}", person.held));
        }
        person.held.insert(unique, channel);
    }

    fn drop_held(&mut self, agent: AgentId, unique: u128) {
        if let Some(person) = self.agents.get_mut(&agent) {
            person.held.remove(&unique);
        }
    }

    /// An offer is made to who may have it, and no earlier item is theirs.
    fn offered(&self, now: Stamp, unique: u128, agent: AgentId, found: &mut Vec<String>) {
        let Some(item) = self.items.get(&unique) else {
            return found.push(format!("{unique:x} is offered and does not exist"));
        };
        let may = |item: &Entry, all: bool| self.may(now, item, agent, all);
        if !may(item, false) {
            found.push(format!("P4/P6: {unique:x} may not be offered to {agent}: {item:?}"));
        }
        for (other, earlier) in &self.items {
            let stands = earlier.place(*other) < item.place(unique);
            if stands && *other != unique && may(earlier, true) {
                found.push(format!("P4: {agent} is offered {unique:x}, and {other:x} was earlier"));
            }
        }
    }

    /// Whether an item may be offered to an agent, under every requirement it may have or any.
    fn may(&self, now: Stamp, item: &Entry, id: AgentId, all: bool) -> bool {
        let Some(person) = self.agents.get(&id) else { return false };
        let mut skills = item.requirements.iter().map(|needs| person.can(needs));
        let skilled = if all { skills.all(|can| can) } else { skills.any(|can| can) };
        let declined = item.declines.iter().any(|(who, until)| *who == id && *until > now);
        item.stage == Stage::Waiting
            && skilled
            && !declined
            && person.declared == Declared::Ready
            && self.has_session(id, |tie| tie == Tie::Up)
            && person.has_room(item.channel)
    }

    /// Nothing waits that somebody could have.
    fn at_rest(&mut self, now: Stamp, found: &mut Vec<String>) {
        let ids: Vec<u128> = self.items.keys().copied().collect();
        let waits = |books: &Self, id: &u128| books.items[id].stage == Stage::Waiting;
        for id in ids.into_iter().filter(|id| waits(self, id)).collect::<Vec<_>>() {
            self.settle_item(id);
            let item = &self.items[&id];
            if let Some(agent) = self.agents.keys().find(|a| self.may(now, item, **a, true)) {
                found.push(format!("P4: {id:x} waits, and {agent} is free for it: {item:?}"));
            }
        }
    }

    /// An item that just arrived went to whom the strategy names.
    fn chosen(&mut self, unique: u128, applied: &Applied, found: &mut Vec<String>) {
        let offered = applied.events.iter().find_map(|record| match &record.event {
            Event::Offered { conversation, agent, decision, .. }
                if conversation.unique == unique && decision.trigger == Trigger::Arrival =>
            {
                Some((*agent, decision))
            }
            _ => None,
        });
        let Some((winner, decision)) = offered else { return };
        let mut before = self.clone();
        let Some(item) = before.items.get_mut(&unique) else { return };
        item.stage = Stage::Waiting;
        let (queue, needs) = (item.queue, item.requirements.first().cloned().unwrap_or_default());
        let item = item.clone();
        before.drop_held(winner, unique);
        let now = applied.events[0].stamp;
        let free: Vec<AgentId> =
            before.agents.keys().copied().filter(|a| before.may(now, &item, *a, true)).collect();
        let strategy = self.plans.get(&queue).map(|plan| plan.strategy).unwrap_or_default();
        let last = self.last_offered.get(&queue).and_then(|(_, before)| *before);
        let best =
            free.iter().min_by_key(|id| before.agents[*id].rank(strategy, **id, last, &needs));
        if best != Some(&winner) || decision.candidates as usize != free.len() {
            found.push(format!(
                "{strategy:?} names {best:?} of {free:?} for {unique:x}, and {winner} of {} got it",
                decision.candidates
            ));
        }
    }
}

impl Person {
    fn new(now: Stamp) -> Self {
        Self {
            skills: BTreeMap::new(),
            capacity: Capacity::default(),
            declared: Declared::SignedOut,
            held: BTreeMap::new(),
            idle_since: now,
            idle_us: 0,
            routable: false,
        }
    }

    fn can(&self, needs: &[RequiredSkill]) -> bool {
        needs.iter().all(|need| self.skills.get(&need.skill).is_some_and(|at| *at >= need.level))
    }

    fn count(&self, channel: Channel) -> usize {
        self.held.values().filter(|held| **held == channel).count()
    }

    /// One call and nothing else, or a mix within its bounds.
    fn has_room(&self, channel: Channel) -> bool {
        if channel == Channel::Voice {
            return self.capacity.voice && self.held.is_empty();
        }
        self.count(Channel::Voice) == 0
            && self.count(channel) < usize::from(self.capacity.of(channel))
            && self.held.len() < usize::from(self.capacity.total)
    }

    /// The lowest is asked first.
    fn rank(
        &self,
        strategy: Strategy,
        id: AgentId,
        last: Option<AgentId>,
        needs: &[RequiredSkill],
    ) -> (i64, u64, u32) {
        let idle = self.idle_since.0;
        match strategy {
            Strategy::LongestIdle => (i64::from(!self.held.is_empty()), idle, id.0),
            Strategy::MostSkilled => {
                let sum: i64 = needs.iter().map(|n| i64::from(self.skills[&n.skill])).sum();
                (-sum, idle, id.0)
            }
            Strategy::LeastLoaded => {
                let total = i64::from(self.capacity.total.max(1));
                (self.held.len() as i64 * 27_720 / total, idle, id.0)
            }
            Strategy::RoundRobin => (i64::from(last.is_some_and(|last| id <= last)), 0, id.0),
        }
    }
}

impl Entry {
    fn new(channel: Channel, extra: Vec<RequiredSkill>) -> Self {
        Self {
            channel,
            queue: QueueId(0),
            priority: 0,
            since: Stamp::ZERO,
            extra,
            requirements: BTreeSet::new(),
            stage: Stage::Opened,
            entered: Stamp::ZERO,
            until: Stamp::ZERO,
            declines: Vec::new(),
        }
    }

    fn place(&self, unique: u128) -> (u8, Stamp, u128) {
        (9 - self.priority, self.since, unique)
    }
}

/// What a plan and an item require together, each skill at its higher level.
pub(crate) fn required(plan: &QueuePlan, extra: &[RequiredSkill]) -> Vec<RequiredSkill> {
    let mut levels: BTreeMap<SkillId, u8> = BTreeMap::new();
    for need in plan.skills.iter().chain(extra) {
        let level = levels.entry(need.skill).or_default();
        *level = (*level).max(need.level);
    }
    levels.into_iter().map(|(skill, level)| RequiredSkill { skill, level }).collect()
}
