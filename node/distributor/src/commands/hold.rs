//! The agent puts the customer on hold, and is back.

use rotary_proto::event::Event;
use rotary_proto::{Actor, ConversationId, Done, Refusal};

use crate::authority;
use crate::conversation::Stage;
use crate::turn::Turn;

/// Begins a hold, which the queue's longest hold ends if nobody does.
pub(crate) fn hold(
    turn: &mut Turn,
    actor: Actor,
    conversation: ConversationId,
) -> Result<Done, Refusal> {
    let (stage, queue) = assigned(turn, actor, conversation)?;
    let Stage::Assigned { agent, until, held: None } = stage else {
        return Err(Refusal::AlreadyHeld);
    };
    let held = Some(turn.now.plus_ms(turn.queue(queue).plan.hold_max_ms));
    let unique = conversation.unique;
    turn.set_stage(unique, Stage::Assigned { agent, until, held });
    turn.emit(turn.audience(unique, [agent], true), Event::Held { conversation, agent });
    Ok(Done::Ok)
}

/// Ends a hold.
pub(crate) fn retrieve(
    turn: &mut Turn,
    actor: Actor,
    conversation: ConversationId,
) -> Result<Done, Refusal> {
    let (stage, _) = assigned(turn, actor, conversation)?;
    let Stage::Assigned { agent, until, held: Some(_) } = stage else {
        return Err(Refusal::NotHeld);
    };
    let unique = conversation.unique;
    turn.set_stage(unique, Stage::Assigned { agent, until, held: None });
    let event = Event::Retrieved { conversation, agent, expired: false };
    turn.emit(turn.audience(unique, [agent], true), event);
    Ok(Done::Ok)
}

fn assigned(
    turn: &Turn,
    actor: Actor,
    conversation: ConversationId,
) -> Result<(Stage, rotary_proto::QueueId), Refusal> {
    let agent = authority::agent(actor)?;
    let found = authority::open(turn.site, conversation)?;
    authority::serves(found, agent)?;
    Ok((found.stage, found.queue))
}
