//! The agent or a supervisor ends a conversation.

use rotary_proto::event::EndReason;
use rotary_proto::{Actor, ConversationId, Done, Refusal};

use crate::authority;
use crate::turn::Turn;

/// Ends the customer's part at the house's wish.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    conversation: ConversationId,
) -> Result<Done, Refusal> {
    if let Actor::Customer(_) = actor {
        return Err(authority::not_allowed(actor));
    }
    let found = authority::open(turn.site, conversation)?;
    let why = match actor {
        Actor::Agent(agent) => {
            authority::serves(found, agent)?;
            EndReason::Agent
        }
        _ => EndReason::Supervisor,
    };
    turn.end(conversation.unique, why);
    Ok(Done::Ok)
}
