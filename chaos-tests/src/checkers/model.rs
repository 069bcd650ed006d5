//! An executable model of a site: what may follow what.
//!
//! It is written from the promises and the description of a conversation's life, and shares no code
//! with the distributor. It takes facts one by one and says what could not have happened. It never
//! predicts who is offered what; `no_overtake` judges that.
//!
//! ```text
//!   opened --> waiting --> offered --> assigned --> ended --> wrap-up --> closed
//!                 ^------------/            |          \------------------/
//!                 ^------ released ---------/
//! ```

use std::collections::{BTreeMap, BTreeSet};

use rotary_proto::command::Subject;
use rotary_proto::event::{EndReason, OfferEnd, QueuedWhy};
use rotary_proto::ids::{AgentId, ItemId, OfferId, QueueId, SessionId};
use rotary_proto::{Channel, ConversationId, CustomerId, Declared, Stamp};

use super::exactly_once_terminal::LATE_MS_MAX;
use crate::history::{Event, Fact};

/// Where a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Opened, in no line: at once, or as long as a bot serves it.
    Fresh,
    /// In line since `entered`, and on offer to nobody since `idle`.
    Waiting { entered: Stamp, idle: Stamp },
    /// On offer, its place in line kept.
    Offered { entered: Stamp, offer: OfferId, agent: AgentId, until: Stamp },
    /// With an agent.
    Assigned { agent: AgentId },
    /// Given back, about to take its place in line.
    Released { why: QueuedWhy },
    /// The customer is gone; with the agent who served.
    Ended { agent: Option<AgentId> },
    /// The agent finishes.
    WrapUp { agent: AgentId, until: Stamp },
    /// Over.
    Closed,
}

/// A conversation as the facts tell it.
#[derive(Debug, Clone)]
pub(super) struct Conversation {
    pub(super) stage: Stage,
    pub(super) channel: Channel,
    pub(super) customer: Option<CustomerId>,
    pub(super) queue: Option<QueueId>,
    pub(super) opened: Stamp,
    /// What it waited before the present wait, in microseconds.
    pub(super) waited_us: u64,
    pub(super) wait_until: Stamp,
    pub(super) legs: u32,
    pub(super) items: BTreeSet<ItemId>,
    pub(super) count: u32,
}

impl Conversation {
    /// Whether the customer's part is over.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Ended { .. } | Stage::WrapUp { .. } | Stage::Closed)
    }
}

/// An agent as the facts tell them.
#[derive(Debug, Clone, Default)]
pub(super) struct Agent {
    pub(super) version: u32,
    pub(super) declared: Declared,
    /// Sessions that live.
    pub(super) up: BTreeSet<SessionId>,
    /// Sessions that live or may return.
    pub(super) known: BTreeSet<SessionId>,
}

/// What the queue's plan says of times.
#[derive(Debug, Clone, Copy)]
struct Plan {
    version: u32,
    offer_ms: u64,
    wait_max_ms: u64,
    wrap_up_ms: u64,
}

/// A site as the facts tell it.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) conversations: BTreeMap<ConversationId, Conversation>,
    pub(super) agents: BTreeMap<AgentId, Agent>,
    queues: BTreeMap<QueueId, Plan>,
    offers: u64,
    sequence: u64,
    index: u64,
    stamp: Stamp,
}

/// What could not have happened.
pub(super) type Step = Result<(), String>;

fn must(holds: bool, what: impl FnOnce() -> String) -> Step {
    if holds { Ok(()) } else { Err(what()) }
}

impl Model {
    /// Takes the next fact.
    pub(super) fn step(&mut self, event: &Event) -> Step {
        self.order(event)?;
        match &event.fact {
            Fact::QueueSet { queue, version, offer_ms, wait_max_ms, wrap_up_ms, .. } => {
                let (version, offer_ms) = (*version, *offer_ms);
                let (wait_max_ms, wrap_up_ms) = (*wait_max_ms, *wrap_up_ms);
                let plan = Plan { version, offer_ms, wait_max_ms, wrap_up_ms };
                let before = self.queues.insert(*queue, plan).map_or(0, |plan| plan.version);
                must(version == before + 1, || format!("version {version} after {before}"))
            }
            Fact::AgentSet { agent, version, .. } => {
                let known = self.agents.entry(*agent).or_default();
                known.version += 1;
                must(known.version == *version, || format!("version {version} of {agent}"))
            }
            Fact::SessionAttached { session, subject: Subject::Agent(agent) } => {
                let known = self.agents.entry(*agent).or_default();
                known.up.insert(*session);
                known.known.insert(*session);
                Ok(())
            }
            Fact::SessionLost { session, subject: Subject::Agent(agent), .. } => {
                let was = self.agents.entry(*agent).or_default().up.remove(session);
                must(was, || format!("{session} was lost, and did not live"))
            }
            Fact::SessionEnded { session, subject: Subject::Agent(agent) } => {
                let known = self.agents.entry(*agent).or_default();
                known.up.remove(session);
                let was = known.known.remove(session);
                must(was, || format!("{session} ended, and was not known"))
            }
            Fact::AgentDeclared { agent, declared, .. } => {
                let known = self.agents.entry(*agent).or_default();
                let same = std::mem::replace(&mut known.declared, *declared) == *declared;
                must(!same, || format!("{agent} declared {declared:?} and was so already"))
            }
            fact => self.conversation_step(fact, event.stamp),
        }
    }

    /// Sequences are dense, indexes and stamps rise together.
    fn order(&mut self, event: &Event) -> Step {
        let (sequence, index, stamp) = (self.sequence, self.index, self.stamp);
        (self.sequence, self.index, self.stamp) = (event.sequence, event.index, event.stamp);
        must(event.sequence == sequence + 1, || {
            format!("event {} came after {sequence}", event.sequence)
        })?;
        let rises = match event.index.cmp(&index) {
            // The entries of another log begin; the site's clock goes on.
            _ if matches!(event.fact, Fact::SiteMoved { .. }) => event.stamp > stamp,
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => event.stamp == stamp,
            std::cmp::Ordering::Greater => event.stamp > stamp || index == 0,
        };
        must(rises, || {
            format!("index {} at {} after {index} at {}", event.index, event.stamp.0, stamp.0)
        })
    }

    fn conversation_step(&mut self, fact: &Fact, now: Stamp) -> Step {
        let Some(id) = fact.conversation() else { return Ok(()) };
        if let Fact::Opened { channel, customer, .. } = fact {
            let new = Conversation {
                stage: Stage::Fresh,
                channel: *channel,
                customer: *customer,
                queue: None,
                opened: now,
                waited_us: 0,
                wait_until: now,
                legs: 0,
                items: BTreeSet::new(),
                count: 0,
            };
            let before = self.conversations.insert(id, new);
            return must(before.is_none(), || format!("{id} was opened twice"));
        }
        if let Fact::Other { .. } = fact {
            return Ok(());
        }
        if let Fact::Offered { offer, .. } = fact {
            self.offers += 1;
            must(offer.0 == self.offers, || format!("{offer} is not the {}th offer", self.offers))?;
        }
        let (queues, agents) = (&self.queues, &self.agents);
        let found = self.conversations.get_mut(&id);
        let found = found.ok_or_else(|| format!("{id} was {} and never opened", fact.word()))?;
        let stage = found.stage;
        let late_ms = late(found, now).unwrap_or_default();
        must(late_ms <= LATE_MS_MAX, || {
            format!("{id} was {} while {stage:?}, {late_ms} ms too late", fact.word())
        })?;
        let stepped = step(found, queues, agents, fact, now);
        stepped.map_err(|why| format!("{id} was {} while {stage:?}: {why}", fact.word()))
    }
}

/// How long ago a wait or a wrap-up should have ended, in milliseconds.
fn late(found: &Conversation, now: Stamp) -> Option<u64> {
    match found.stage {
        Stage::Waiting { idle, .. } => Some(now.ms_since(found.wait_until.max(idle))),
        Stage::WrapUp { until, .. } => Some(now.ms_since(until)),
        _ => None,
    }
}

/// One conversation's next fact.
// long: one arm a fact, and nothing else.
fn step(
    found: &mut Conversation,
    queues: &BTreeMap<QueueId, Plan>,
    agents: &BTreeMap<AgentId, Agent>,
    fact: &Fact,
    now: Stamp,
) -> Step {
    match *fact {
        Fact::Queued { queue, since, until, why, .. } => {
            let plan = queues.get(&queue).ok_or("in a queue that was never made")?;
            queued(found, why, since, now)?;
            must(until == now.plus_ms(plan.wait_max_ms), || "its longest wait is another".into())?;
            (found.queue, found.wait_until) = (Some(queue), until);
            Ok(())
        }
        Fact::Offered { offer, agent, queue, channel, until, .. } => {
            let Stage::Waiting { entered, .. } = found.stage else {
                return Err("not in line".into());
            };
            let plan = queues.get(&queue).ok_or("of a queue that was never made")?;
            must(found.queue == Some(queue) && found.channel == channel, || {
                "of another queue or channel".into()
            })?;
            must(until == now.plus_ms(plan.offer_ms), || "its deadline is another".into())?;
            let routable = agents
                .get(&agent)
                .is_some_and(|agent| agent.declared == Declared::Ready && !agent.up.is_empty());
            found.stage = Stage::Offered { entered, offer, agent, until };
            must(routable, || format!("{agent} is not ready, or not there"))
        }
        Fact::OfferEnded { offer, agent, why, .. } => offer_ended(found, offer, agent, why, now),
        Fact::Assigned { offer, agent, leg, .. } => assigned(found, offer, agent, leg, now),
        Fact::Held { agent, .. } | Fact::Retrieved { agent, .. } => {
            must(found.stage == Stage::Assigned { agent }, || "not with that agent".into())
        }
        Fact::Posted { item, ordinal, .. } => {
            found.count += 1;
            must(ordinal == found.count, || format!("item {ordinal} is the {}th", found.count))?;
            must(found.items.insert(item), || format!("{item} is there already"))?;
            must(!found.is_over(), || "it is over".into())
        }
        Fact::Released { agent, why, .. } => {
            let with = found.stage == Stage::Assigned { agent };
            found.stage = Stage::Released { why };
            must(with, || "not with that agent".into())
        }
        Fact::Ended { why, .. } => ended(found, why, now),
        Fact::WrapUpStarted { agent, until, .. } => {
            let with = found.stage == Stage::Ended { agent: Some(agent) };
            let plan = found.queue.and_then(|queue| queues.get(&queue));
            let due = plan.map(|plan| now.plus_ms(plan.wrap_up_ms));
            found.stage = Stage::WrapUp { agent, until };
            must(with && due == Some(until), || "not with that agent, or not until then".into())
        }
        Fact::Closed { agent, expired, .. } => closed(found, agents, agent, expired, now),
        _ => Ok(()),
    }
}

/// A place in line: that of the first arrival where the agent is to blame, and otherwise as if all
/// waits so far were one.
fn queued(found: &mut Conversation, why: QueuedWhy, since: Stamp, now: Stamp) -> Step {
    let comes = match found.stage {
        Stage::Fresh => {
            matches!(why, QueuedWhy::Opened | QueuedWhy::HandedOver | QueuedWhy::Requeued)
        }
        Stage::Waiting { entered, .. } => {
            found.waited_us += now.micros_since(entered);
            why == QueuedWhy::Requeued
        }
        Stage::Released { why: released } => released == why,
        _ => false,
    };
    let due = match why {
        QueuedWhy::AgentLost | QueuedWhy::AgentSignedOut => found.opened,
        _ => Stamp(now.0.saturating_sub(found.waited_us)),
    };
    found.stage = Stage::Waiting { entered: now, idle: now };
    must(comes, || format!("not for {why:?}"))?;
    must(since == due, || format!("its place is that of {}, not of {}", since.0, due.0))
}

fn offer_ended(
    found: &mut Conversation,
    gone: OfferId,
    whose: AgentId,
    why: OfferEnd,
    now: Stamp,
) -> Step {
    let Stage::Offered { entered, offer, agent, until } = found.stage else {
        return Err("not on offer".into());
    };
    found.stage = Stage::Waiting { entered, idle: now };
    must(offer == gone && agent == whose, || format!("{offer} to {agent} stands"))?;
    let early = why == OfferEnd::Expired && now < until;
    must(!early, || format!("{} us before its deadline", until.micros_since(now)))
}

fn assigned(found: &mut Conversation, taken: OfferId, who: AgentId, leg: u32, now: Stamp) -> Step {
    let Stage::Offered { entered, offer, agent, until } = found.stage else {
        return Err("not on offer".into());
    };
    found.waited_us += now.micros_since(entered);
    found.legs += 1;
    found.stage = Stage::Assigned { agent: who };
    must(offer == taken && agent == who, || format!("{offer} to {agent} stands"))?;
    must(leg == found.legs, || format!("leg {leg} is the {}th", found.legs))?;
    must(now < until, || format!("{} us after its deadline", now.micros_since(until)))
}

fn ended(found: &mut Conversation, why: EndReason, now: Stamp) -> Step {
    let (agent, fits) = match found.stage {
        Stage::Waiting { .. } => (
            None,
            match why {
                EndReason::Abandoned | EndReason::Supervisor | EndReason::CustomerLost => true,
                EndReason::WaitExpired => now >= found.wait_until,
                _ => false,
            },
        ),
        Stage::Assigned { agent } => {
            (Some(agent), !matches!(why, EndReason::Abandoned | EndReason::WaitExpired))
        }
        Stage::Fresh => (None, true),
        _ => (None, false),
    };
    found.stage = Stage::Ended { agent };
    must(fits, || format!("not for {why:?}"))
}

fn closed(
    found: &mut Conversation,
    agents: &BTreeMap<AgentId, Agent>,
    who: Option<AgentId>,
    expired: bool,
    now: Stamp,
) -> Step {
    let fits = match found.stage {
        Stage::Ended { agent } => agent == who && !expired,
        Stage::WrapUp { agent, until } => {
            let signed_out =
                agents.get(&agent).is_some_and(|agent| agent.declared == Declared::SignedOut);
            Some(agent) == who && (!expired || now >= until || signed_out)
        }
        _ => false,
    };
    found.stage = Stage::Closed;
    must(fits, || "not by that agent, or before its time".into())
}
