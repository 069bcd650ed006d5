//! The customer ends it, or leaves before being served.

use rotary_proto::{Actor, ConversationId, Done, Refusal};

use crate::authority;
use crate::turn::Turn;

/// Ends the customer's part at the customer's wish.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    conversation: ConversationId,
) -> Result<Done, Refusal> {
    if let Actor::Agent(_) = actor {
        return Err(authority::not_allowed(actor));
    }
    let found = authority::open(turn.site, conversation)?;
    if let Actor::Customer(customer) = actor {
        authority::is_served(found, customer)?;
    }
    let why = found.ended_by_customer();
    turn.end(conversation.unique, why);
    Ok(Done::Ok)
}
