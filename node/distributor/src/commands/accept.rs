//! An agent takes an offer.

use rotary_proto::event::{Event, OfferEnd};
use rotary_proto::ids::OfferId;
use rotary_proto::{Actor, AgentId, ConversationId, Done, Refusal};

use crate::authority;
use crate::conversation::{Conversation, Stage};
use crate::site::Work;
use crate::turn::Turn;

/// Turns an offer into an assignment.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    conversation: ConversationId,
    offer: OfferId,
) -> Result<Done, Refusal> {
    let agent = authority::agent(actor)?;
    let found = authority::open(turn.site, conversation)?;
    standing(found, offer, agent, turn.now)?;
    let unique = conversation.unique;
    turn.leave_line(unique);
    let until = turn.assignment_until(unique);
    turn.set_stage(unique, Stage::Assigned { agent, until, held: None });
    let assigned = turn.conversation_mut(unique);
    assigned.legs += 1;
    let leg = assigned.legs;
    turn.set_busy(agent);
    let now = turn.now;
    turn.agent_mut(agent).reset_idle(now);
    turn.later(Work::MatchAgent(agent));
    turn.emit(
        turn.audience(unique, [agent], true),
        Event::Assigned { conversation, offer, agent, leg },
    );
    Ok(Done::Accepted { offer, leg })
}

/// Refuses an offer that does not stand, or is another agent's.
pub(crate) fn standing(
    conversation: &Conversation,
    offer: OfferId,
    agent: AgentId,
    now: rotary_proto::Stamp,
) -> Result<(), Refusal> {
    match conversation.stage {
        Stage::Offered { offer: current, until, .. } if current == offer && until <= now => {
            Err(Refusal::OfferGone { why: Some(OfferEnd::Expired) })
        }
        Stage::Offered { offer: current, agent: to, .. } if current == offer => {
            if to == agent {
                Ok(())
            } else {
                Err(Refusal::NotYours)
            }
        }
        _ => {
            let last = conversation.last_offer.filter(|(last, _)| *last == offer);
            Err(Refusal::OfferGone { why: last.map(|(_, why)| why) })
        }
    }
}
