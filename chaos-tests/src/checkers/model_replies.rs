//! What an answer must be, given the facts of its entry and the model after it.

use rotary_proto::event::{Author, EndReason, OfferEnd, QueuedWhy};
use rotary_proto::ids::AgentId;
use rotary_proto::{Actor, Command, ConversationId};

use super::model::{Model, Stage};
use crate::history::{Fact, Operation, Reply};

/// What an acknowledgement demands of the facts at its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// One of them is what was asked for.
    Met,
    /// None is.
    Missing,
    /// Nothing need have happened.
    None,
}

/// Whether `fact` is what `operation` asks for, whatever was answered.
pub(super) fn is_cause(operation: &Operation, fact: &Fact) -> bool {
    let agent = match operation.actor {
        Actor::Agent(agent) => Some(agent),
        _ => None,
    };
    match (&*operation.command, fact) {
        (Command::Accept { conversation, offer }, Fact::Assigned { agent: who, .. }) => {
            same(fact, *conversation) && offer_of(fact) == Some(*offer) && agent == Some(*who)
        }
        (
            Command::Decline { conversation, offer, .. },
            Fact::OfferEnded { agent: who, why: OfferEnd::Declined, .. },
        ) => same(fact, *conversation) && offer_of(fact) == Some(*offer) && agent == Some(*who),
        (Command::Open { conversation, item, .. }, Fact::Posted { item: posted, .. }) => {
            same(fact, *conversation) && item.as_ref().is_some_and(|item| item.id == *posted)
        }
        (
            Command::Post { conversation, item, note, .. },
            Fact::Posted { item: posted, note: as_note, author, .. },
        ) => {
            same(fact, *conversation)
                && item.id == *posted
                && note == as_note
                && *author == author_of(operation.actor)
        }
        (Command::Hold { conversation }, Fact::Held { agent: who, .. })
        | (
            Command::Retrieve { conversation },
            Fact::Retrieved { agent: who, expired: false, .. },
        ) => same(fact, *conversation) && agent == Some(*who),
        (Command::Requeue { conversation, .. }, Fact::Released { .. }) => same(fact, *conversation),
        (
            Command::Requeue { conversation, queue, priority },
            Fact::Queued { queue: to, priority: as_, why: QueuedWhy::Requeued, .. },
        ) => {
            same(fact, *conversation)
                && queue.is_none_or(|queue| queue == *to)
                && priority.is_none_or(|priority| priority == *as_)
        }
        (Command::Close { conversation }, Fact::Ended { why, .. }) => {
            let due = if agent.is_some() { EndReason::Agent } else { EndReason::Supervisor };
            same(fact, *conversation) && *why == due
        }
        (
            Command::Abandon { conversation },
            Fact::Ended { why: EndReason::Abandoned | EndReason::Customer, .. },
        ) => same(fact, *conversation),
        (Command::WrapUp { conversation, .. }, Fact::Closed { agent: who, expired, .. }) => {
            same(fact, *conversation) && *who == agent && !expired
        }
        (command, fact) => is_cause_of_setting(command, fact),
    }
}

fn is_cause_of_setting(command: &Command, fact: &Fact) -> bool {
    match (command, fact) {
        (
            Command::Open { conversation, channel, customer, .. },
            Fact::Opened { channel: by, customer: who, .. },
        ) => same(fact, *conversation) && channel == by && customer == who,
        (
            Command::Declare { agent, declared },
            Fact::AgentDeclared { agent: who, declared: as_, .. },
        ) => agent == who && declared == as_,
        (
            Command::PutAgent { agent, profile },
            Fact::AgentSet { agent: who, skills, capacity, .. },
        ) => agent == who && profile.skills == *skills && profile.capacity == *capacity,
        (Command::PutQueue { queue, .. }, Fact::QueueSet { queue: which, .. }) => queue == which,
        (
            Command::PutWebhook { webhook, plan, .. },
            Fact::WebhookSet { webhook: which, topics, enabled, .. },
        ) => webhook == which && plan.topics == *topics && plan.enabled == *enabled,
        _ => false,
    }
}

fn same(fact: &Fact, conversation: ConversationId) -> bool {
    fact.conversation() == Some(conversation)
}

const fn offer_of(fact: &Fact) -> Option<rotary_proto::OfferId> {
    match fact {
        Fact::Assigned { offer, .. } | Fact::OfferEnded { offer, .. } => Some(*offer),
        _ => None,
    }
}

const fn author_of(actor: Actor) -> Author {
    match actor {
        Actor::Customer(_) => Author::Customer,
        Actor::Agent(agent) => Author::Agent(agent),
        _ => Author::System,
    }
}

/// Whether the facts of an acknowledgement's entry are what it acknowledges, and say what it said.
pub(super) fn demand(
    operation: &Operation,
    reply: Reply,
    facts: &[&Fact],
    model: &Model,
) -> Result<Demand, String> {
    let met = facts.iter().find(|fact| is_main(operation, fact));
    let Some(fact) = met else {
        return Ok(match &*operation.command {
            Command::Declare { agent, declared } => {
                let known = model.agents.get(agent);
                let so = known.is_some_and(|agent| agent.declared == *declared);
                if so { Demand::None } else { Demand::Missing }
            }
            Command::PutSite { .. }
            | Command::PutSkill { .. }
            | Command::PutReason { .. }
            | Command::PutDisposition { .. }
            | Command::PutBot { .. }
            | Command::HandOver { .. } => Demand::None,
            _ => Demand::Missing,
        });
    };
    let said = match (reply, fact) {
        (Reply::Posted { ordinal }, Fact::Posted { ordinal: due, .. }) => ordinal == *due,
        (Reply::Accepted { leg }, Fact::Assigned { leg: due, .. }) => leg == *due,
        (Reply::Stored { version }, Fact::AgentSet { version: due, .. })
        | (Reply::Stored { version }, Fact::QueueSet { version: due, .. })
        | (Reply::Stored { version }, Fact::WebhookSet { version: due, .. }) => version == *due,
        (Reply::Posted { .. } | Reply::Accepted { .. }, _) => false,
        _ => true,
    };
    if said { Ok(Demand::Met) } else { Err(format!("it said {reply:?}, and {fact:?} happened")) }
}

/// Whether a fact is the one that an acknowledgement of the operation stands for.
fn is_main(operation: &Operation, fact: &Fact) -> bool {
    let side = match &*operation.command {
        Command::Open { .. } => matches!(fact, Fact::Posted { .. }),
        Command::Requeue { .. } => matches!(fact, Fact::Released { .. }),
        _ => false,
    };
    !side && is_cause(operation, fact)
}

/// What contradicts a refusal, by the model after its entry; nothing, if it fits or cannot be told.
pub(super) fn contradiction(operation: &Operation, code: &str, model: &Model) -> Option<String> {
    let agent = match operation.actor {
        Actor::Agent(agent) => Some(agent),
        _ => None,
    };
    if let Command::Declare { agent, .. } = &*operation.command {
        let there = model.agents.get(agent).is_some_and(|agent| !agent.known.is_empty());
        return (code == "agent-away" && there).then(|| format!("{agent} has a session"));
    }
    let id = operation.command.conversation()?;
    let found = model.conversations.get(&id);
    let wrong = match (code, found) {
        ("conversation-unknown", Some(_)) => true,
        ("conversation-exists", None) => true,
        ("conversation-closed", found) => !found.is_some_and(|found| found.is_over()),
        ("offer-gone", Some(found)) => stands(&operation.command, found.stage, agent),
        ("not-assigned", Some(found)) => matches!(found.stage, Stage::Assigned { .. }),
        ("not-in-wrap-up", Some(found)) => {
            matches!(found.stage, Stage::WrapUp { agent: who, .. } if agent == Some(who))
        }
        ("not-yours", Some(found)) => is_theirs(operation, found, agent),
        ("item-exists", Some(found)) => match &*operation.command {
            Command::Post { item, .. } => !found.items.contains(&item.id),
            _ => false,
        },
        _ => false,
    };
    let stage = found.map(|found| found.stage);
    wrong.then(|| format!("{id} was refused as {code}, and is {stage:?}"))
}

/// Whether the very offer that a command names stands, to the agent who asks.
fn stands(command: &Command, stage: Stage, agent: Option<AgentId>) -> bool {
    let (Command::Accept { offer, .. } | Command::Decline { offer, .. }) = command else {
        return false;
    };
    matches!(stage, Stage::Offered { offer: o, agent: to, .. } if o == *offer && agent == Some(to))
}

fn is_theirs(
    operation: &Operation,
    found: &super::model::Conversation,
    agent: Option<AgentId>,
) -> bool {
    match operation.actor {
        Actor::Agent(_) => {
            stands(&operation.command, found.stage, agent)
                || matches!(found.stage, Stage::Assigned { agent: who } if agent == Some(who)
                && !matches!(&*operation.command, Command::Accept { .. } | Command::Decline { .. }))
        }
        Actor::Customer(customer) => found.customer == Some(customer),
        _ => false,
    }
}
