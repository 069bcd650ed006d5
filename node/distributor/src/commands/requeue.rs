//! A conversation is moved to another queue, or back to its own.

use rotary_proto::event::{OfferEnd, QueuedWhy};
use rotary_proto::{Actor, ConversationId, Done, Priority, QueueId, Refusal, Stamp, limits};

use crate::authority;
use crate::conversation::Stage;
use crate::turn::Turn;

/// Puts a conversation in line with the time it has waited so far. Declines are forgotten, but an
/// agent who gives it back is not asked again until the queue's delay is over.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    conversation: ConversationId,
    queue: Option<QueueId>,
    priority: Option<Priority>,
) -> Result<Done, Refusal> {
    let stage = check(turn, actor, conversation, queue)?;
    let unique = conversation.unique;
    let found = turn.conversation(unique);
    let (target, channel, skills) =
        (queue.unwrap_or(found.queue), found.channel, found.skills.clone());
    turn.reserve_class(target, channel, &skills)?;
    match stage {
        Stage::Waiting => turn.leave_line(unique),
        Stage::Offered { .. } => {
            turn.end_offer(unique, OfferEnd::Withdrawn);
            turn.leave_line(unique);
            turn.set_stage(unique, Stage::Waiting);
        }
        Stage::SelfService { .. } => {
            turn.withdraw_turns(unique);
            turn.set_stage(unique, Stage::Waiting);
        }
        Stage::Assigned { .. } | Stage::WrapUp { .. } => {}
    }
    turn.change_queue(unique, queue, priority);
    match stage {
        Stage::Assigned { agent, .. } => {
            turn.give_back(unique, agent, QueuedWhy::Requeued);
            if actor == Actor::Agent(agent) {
                turn.delay(unique, agent);
            }
        }
        _ => {
            let waited_us = turn.conversation(unique).waited_us;
            let since = Stamp(turn.now.0.saturating_sub(waited_us));
            turn.enter_line(unique, since, QueuedWhy::Requeued);
        }
    }
    Ok(Done::Ok)
}

fn check(
    turn: &Turn,
    actor: Actor,
    conversation: ConversationId,
    queue: Option<QueueId>,
) -> Result<Stage, Refusal> {
    if let Actor::Customer(_) = actor {
        return Err(authority::not_allowed(actor));
    }
    let found = authority::movable(turn.site, conversation, queue)?;
    if let Actor::Agent(agent) = actor {
        authority::serves(found, agent)?;
    }
    let target = turn.queue(queue.unwrap_or(found.queue));
    if target.requirement(&found.skills).len() > limits::REQUIRED_SKILLS_MAX {
        return Err(Refusal::LimitReached { limit: "required_skills_max".to_owned() });
    }
    Ok(found.stage)
}
