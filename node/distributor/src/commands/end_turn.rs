//! Takes in what a bot answered, which is the outcome of its turn.

use rotary_proto::bot::{BotAnswer, BotThen};
use rotary_proto::effect::{EffectOutcome, EffectTarget};
use rotary_proto::event::{Author, EffectEnd, EndReason, Event, QueuedWhy};
use rotary_proto::values::Item;
use rotary_proto::{Actor, Done, EffectId, Refusal, limits};

use crate::authority;
use crate::effects::Ending;
use crate::turn::Turn;

/// Ends the turn, says what the bot says, and does what it wants. Of a turn that is over nothing is
/// changed; of one that is not its conversation's next, it is refused.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    effect: EffectId,
    attempts: u32,
    status: u16,
    answer: BotAnswer,
) -> Result<Done, Refusal> {
    if actor != Actor::System {
        return Err(authority::not_allowed(actor));
    }
    answer.check()?;
    let Some(found) = turn.site.effects.pending.get(effect) else { return Ok(Done::Ok) };
    let unique = found.conversation.unique;
    let is_turn = matches!(found.target, EffectTarget::Turn(_));
    if !is_turn || turn.conversation(unique).turns.first() != Some(&effect) {
        return Err(Refusal::EffectFenced);
    }
    let known = turn.conversation(unique);
    if answer.messages.iter().any(|item| known.knows_item(item.id)) {
        return Err(Refusal::ItemExists);
    }
    if known.items + answer.messages.len() as u32 > limits::ITEMS_PER_CONVERSATION_MAX {
        return Err(Refusal::LimitReached { limit: "items_per_conversation_max".to_owned() });
    }
    let (outcome, why) = (EffectOutcome::Sent, EffectEnd::Performed);
    turn.end_effect(effect, Ending { outcome, why, attempts, status: Some(status) });
    let BotAnswer { messages, then } = answer;
    messages.into_iter().for_each(|item| say(turn, unique, item));
    match then {
        BotThen::Wait => {}
        BotThen::HandOver { queue } => {
            let queue = queue.filter(|queue| turn.may_hand_over_to(unique, *queue));
            turn.hand_over(unique, queue, QueuedWhy::HandedOver);
        }
        BotThen::Close => turn.end(unique, EndReason::Bot),
    }
    Ok(Done::Ok)
}

fn say(turn: &mut Turn, unique: u128, item: Item) {
    turn.effort.spend(1);
    let Item { id: item, body } = item;
    let ordinal = turn.conversation_mut(unique).add_item(item, None);
    let (conversation, author, note, mail) = (turn.id(unique), Author::Bot, false, None);
    let audience = turn.audience(unique, None, true);
    turn.emit(audience, Event::Posted { conversation, item, ordinal, author, note, body, mail });
}
