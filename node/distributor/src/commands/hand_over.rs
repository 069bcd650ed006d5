//! A customer whom a bot serves, or a supervisor for them, wants an agent.

use rotary_proto::event::QueuedWhy;
use rotary_proto::{Actor, ConversationId, Done, QueueId, Refusal};

use crate::authority;
use crate::conversation::Stage;
use crate::turn::Turn;

/// Ends self-service. Only supervisors choose another queue.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    conversation: ConversationId,
    queue: Option<QueueId>,
) -> Result<Done, Refusal> {
    let chooses = matches!(actor, Actor::Customer(_)) && queue.is_some();
    if chooses || matches!(actor, Actor::Agent(_)) {
        return Err(authority::not_allowed(actor));
    }
    let found = authority::movable(turn.site, conversation, queue)?;
    if let Actor::Customer(customer) = actor {
        authority::is_served(found, customer)?;
    }
    if !matches!(found.stage, Stage::SelfService { .. }) {
        return Err(Refusal::NotInSelfService);
    }
    let unique = conversation.unique;
    if queue.is_some_and(|queue| !turn.may_hand_over_to(unique, queue)) {
        return Err(Refusal::LimitReached { limit: "required_skills_max".to_owned() });
    }
    turn.hand_over(unique, queue, QueuedWhy::HandedOver);
    Ok(Done::Ok)
}
