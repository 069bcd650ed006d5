//! A *once* effect begins.

use rotary_proto::effect::{EffectStart, Repetition};
use rotary_proto::{Actor, Done, EffectId, Refusal};

use crate::authority;
use crate::turn::Turn;

/// Gives an effect to one run of its present owner, for good. Asked again by the same, it changes
/// nothing.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    effect: EffectId,
    start: EffectStart,
) -> Result<Done, Refusal> {
    if actor != Actor::System {
        return Err(authority::not_allowed(actor));
    }
    let found = turn.site.effects.pending.get(effect).ok_or(Refusal::EffectFenced)?;
    if found.started == Some(start) {
        return Ok(Done::Ok);
    }
    let once = found.target.repetition() == Repetition::Once;
    let owns = turn.view.owner(found.conversation) == Some(start.owner);
    if found.started.is_some() || !once || !owns || turn.view.epoch != start.epoch {
        return Err(Refusal::EffectFenced);
    }
    let found = turn.site.effects.pending.edit(effect).expect("it was found just above");
    found.started = Some(start);
    Ok(Done::Ok)
}
