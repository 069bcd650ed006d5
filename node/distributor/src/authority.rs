//! Who may do what, as far as state decides it.
//!
//! A door has authenticated the actor; here it is checked against whose an entity is at this entry.

use rotary_proto::command::Subject;
use rotary_proto::ids::{AgentId, CustomerId, QueueId};
use rotary_proto::{Actor, ConversationId, Refusal};

use crate::conversation::{Conversation, Stage};
use crate::site::Site;

/// The role of an actor, for refusals.
pub(crate) const fn role(actor: Actor) -> &'static str {
    match actor {
        Actor::System => "the cluster",
        Actor::Administrator(_) => "an administrator",
        Actor::Supervisor(_) => "a supervisor",
        Actor::Agent(_) => "an agent",
        Actor::Customer(_) => "a customer",
    }
}

/// Refuses an actor.
pub(crate) fn not_allowed(actor: Actor) -> Refusal {
    Refusal::NotAllowed { actor: role(actor).to_owned() }
}

/// Administrators, and the cluster.
pub(crate) fn administrator(actor: Actor) -> Result<(), Refusal> {
    match actor {
        Actor::Administrator(_) | Actor::System => Ok(()),
        _ => Err(not_allowed(actor)),
    }
}

/// Whether the actor oversees the whole site.
pub(crate) const fn oversees(actor: Actor) -> bool {
    matches!(actor, Actor::Administrator(_) | Actor::Supervisor(_) | Actor::System)
}

/// The agent who acts.
pub(crate) fn agent(actor: Actor) -> Result<AgentId, Refusal> {
    match actor {
        Actor::Agent(agent) => Ok(agent),
        _ => Err(not_allowed(actor)),
    }
}

/// Whether a session of `subject` may act as `actor`.
pub(crate) fn matches(subject: Subject, actor: Actor) -> bool {
    match (subject, actor) {
        (_, Actor::System) => true,
        (Subject::Agent(one), Actor::Agent(other)) => one == other,
        (Subject::Customer(one), Actor::Customer(other)) => one == other,
        (Subject::Principal(one), Actor::Administrator(other) | Actor::Supervisor(other)) => {
            one == other
        }
        _ => false,
    }
}

/// The open conversation that is to go to another queue, or stay in its own.
pub(crate) fn movable(
    site: &Site,
    id: ConversationId,
    queue: Option<QueueId>,
) -> Result<&Conversation, Refusal> {
    if id.site != site.id {
        return Err(Refusal::WrongSite);
    }
    if queue.is_some_and(|queue| !site.queues.contains(queue)) {
        return Err(Refusal::QueueUnknown);
    }
    open(site, id)
}

/// The live conversation of that id.
pub(crate) fn live(site: &Site, id: ConversationId) -> Result<&Conversation, Refusal> {
    if id.site != site.id {
        return Err(Refusal::WrongSite);
    }
    match site.conversations.get(id.unique) {
        Some(conversation) => Ok(conversation),
        None if site.tombstones.contains(id.unique) => Err(Refusal::ConversationClosed),
        None => Err(Refusal::ConversationUnknown),
    }
}

/// A conversation whose customer is still there.
pub(crate) fn open(site: &Site, id: ConversationId) -> Result<&Conversation, Refusal> {
    let conversation = live(site, id)?;
    match conversation.stage {
        Stage::WrapUp { .. } => Err(Refusal::ConversationClosed),
        _ => Ok(conversation),
    }
}

/// Refuses who does not serve an assigned conversation.
pub(crate) fn serves(conversation: &Conversation, agent: AgentId) -> Result<(), Refusal> {
    match conversation.stage {
        Stage::Assigned { agent: serving, .. } if serving == agent => Ok(()),
        Stage::Assigned { .. } => Err(Refusal::NotYours),
        _ => Err(Refusal::NotAssigned),
    }
}

/// Refuses a customer whose conversation it is not.
pub(crate) fn is_served(conversation: &Conversation, customer: CustomerId) -> Result<(), Refusal> {
    if conversation.customer == Some(customer) { Ok(()) } else { Err(Refusal::NotYours) }
}
