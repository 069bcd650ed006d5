//! An agent turns an offer down.

use rotary_proto::event::OfferEnd;
use rotary_proto::ids::{OfferId, ReasonId};
use rotary_proto::{Actor, ConversationId, Done, Refusal};

use crate::authority;
use crate::commands::accept;
use crate::turn::Turn;

/// Ends an offer; the conversation keeps its place, and is not offered to this agent again until
/// the queue's delay is over.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    conversation: ConversationId,
    offer: OfferId,
    reason: Option<ReasonId>,
) -> Result<Done, Refusal> {
    let agent = authority::agent(actor)?;
    if conversation.site != turn.site.id {
        return Err(Refusal::WrongSite);
    }
    if reason.is_some_and(|reason| !turn.site.reasons.contains_key(&reason)) {
        return Err(Refusal::ReasonUnknown);
    }
    let found = authority::open(turn.site, conversation)?;
    accept::standing(found, offer, agent, turn.now)?;
    let unique = conversation.unique;
    turn.end_offer(unique, OfferEnd::Declined);
    turn.delay(unique, agent);
    turn.return_to_line(unique);
    Ok(Done::Ok)
}
