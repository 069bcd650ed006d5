//! Gives a queue a bot, changes it, or takes it away.

use rotary_proto::bot::BotPlan;
use rotary_proto::event::{Audience, Event};
use rotary_proto::web::Secret;
use rotary_proto::{Actor, Done, QueueId, Refusal};

use crate::authority;
use crate::bot::Bot;
use crate::turn::Turn;

/// Stores the plan under the bot's next version, with a new secret if one is given. Turns that wait
/// keep their deadlines, and go to the new address under the new secret.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    id: QueueId,
    plan: Option<BotPlan>,
    secret: Option<Secret>,
) -> Result<Done, Refusal> {
    authority::administrator(actor)?;
    plan.as_ref().map_or(Ok(()), BotPlan::check)?;
    let queue = turn.site.queues.get(id).ok_or(Refusal::QueueUnknown)?;
    let known = queue.bot.as_ref();
    let Some(secret) = secret.or_else(|| known.map(|bot| bot.secret.clone())) else {
        let (field, rule) = ("secret".to_owned(), "a new bot needs one".to_owned());
        return Err(Refusal::BadValue { field, rule });
    };
    let version = known.map_or(1, |bot| bot.version + 1);
    let queue = turn.site.queues.edit(id).expect("it was found just above");
    queue.bot = Some(Bot { version, plan: plan.clone(), secret });
    let audience = Audience { queue: Some(id), ..Audience::default() };
    turn.emit(audience, Event::BotSet { queue: id, version, plan });
    Ok(Done::Stored { version })
}
