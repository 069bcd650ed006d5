//! A message or note is added.

use rotary_proto::event::{Author, Event};
use rotary_proto::values::{BadValue, Item};
use rotary_proto::{Actor, AgentId, ConversationId, Done, Refusal, limits};

use crate::authority;
use crate::conversation::{Conversation, Stage};
use crate::turn::Turn;

/// Adds an item; its place in the conversation is the log's.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    conversation: ConversationId,
    item: Item,
    note: bool,
    seen_to: Option<u32>,
) -> Result<Done, Refusal> {
    check(turn, actor, conversation, &item, note, seen_to)?;
    let (unique, now) = (conversation.unique, turn.now);
    let (author, by) = match actor {
        Actor::Customer(_) => (Author::Customer, None),
        Actor::Agent(agent) => (Author::Agent(agent), Some(agent)),
        _ => (Author::System, None),
    };
    let Item { id: item, body } = item;
    let mail = by.filter(|_| !note).and_then(|author| turn.mail_of(unique, author));
    let ordinal = turn.conversation_mut(unique).add_item(item, by.filter(|_| !note));
    let stage = turn.conversation(unique).stage;
    if let Stage::Assigned { agent, held, .. } = stage
        && !turn.conversation(unique).is_timed_by_length()
    {
        let until = turn.assignment_until(unique);
        turn.conversation_mut(unique).stage = Stage::Assigned { agent, until, held };
        debug_assert!(until >= now, "silence is counted from the last word");
    }
    let asks = matches!((stage, actor), (Stage::SelfService { .. }, Actor::Customer(_)));
    if asks {
        let idle_max_ms = turn.queue(turn.conversation(unique).queue).plan.idle_max_ms;
        let until = now.plus_ms(idle_max_ms);
        turn.conversation_mut(unique).stage = Stage::SelfService { until };
    }
    let (next, sequence) = (turn.next_effect_id(), turn.site.sequence + 1);
    let carried = mail.map(|(id, _)| id);
    turn.emit(
        turn.audience(unique, stage.agent(), !note),
        Event::Posted { conversation, item, ordinal, author, note, body, mail: carried },
    );
    if let Some((id, target)) = mail {
        turn.want_mail(id, target, conversation, sequence);
    }
    if asks {
        turn.want_turn(next, conversation, sequence);
    }
    Ok(Done::Posted { ordinal })
}

fn check(
    turn: &Turn,
    actor: Actor,
    conversation: ConversationId,
    item: &Item,
    note: bool,
    seen_to: Option<u32>,
) -> Result<(), Refusal> {
    if note && matches!(actor, Actor::Customer(_)) {
        return Err(authority::not_allowed(actor));
    }
    item.body.check()?;
    let found = authority::open(turn.site, conversation);
    let mailed = found.as_ref().is_ok_and(|found| found.mail.is_some());
    if mailed && matches!(actor, Actor::Agent(_)) && !note && !item.body.attachments.is_empty() {
        let rule = "mails carry words only: put the file in a note, or write where it is";
        return Err(BadValue::new("attachments", rule).into());
    }
    let found = found?;
    match actor {
        Actor::Customer(customer) => authority::is_served(found, customer)?,
        Actor::Agent(agent) => authority::serves(found, agent)?,
        _ => {}
    }
    if found.knows_item(item.id) {
        return Err(Refusal::ItemExists);
    }
    if let Actor::Agent(agent) = actor
        && !note
    {
        seen(found, agent, seen_to)?;
    }
    if found.items >= limits::ITEMS_PER_CONVERSATION_MAX {
        return Err(Refusal::LimitReached { limit: "items_per_conversation_max".to_owned() });
    }
    Ok(())
}

/// Refuses who has not seen what another agent answered.
fn seen(conversation: &Conversation, agent: AgentId, seen_to: Option<u32>) -> Result<(), Refusal> {
    match (seen_to, conversation.answer_of_another(Some(agent))) {
        (Some(seen), Some(ordinal)) if ordinal > seen => Err(Refusal::AnswerUnseen { ordinal }),
        (None, _) if conversation.channel.is_slow() => Err(Refusal::SeenToRequired),
        _ => Ok(()),
    }
}
