//! Takes in how an effect came out.

use rotary_proto::effect::{EffectOutcome, EffectStart};
use rotary_proto::event::EffectEnd;
use rotary_proto::{Actor, Done, EffectId, Refusal};

use crate::authority;
use crate::effects::Ending;
use crate::turn::Turn;

/// Ends an effect that its performer is through with. One that is over keeps its first outcome; of
/// one that somebody else began, only that nobody can know can be said.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    effect: EffectId,
    outcome: EffectOutcome,
    attempts: u32,
    status: Option<u16>,
    start: Option<EffectStart>,
) -> Result<Done, Refusal> {
    if actor != Actor::System {
        return Err(authority::not_allowed(actor));
    }
    let found = turn.site.effects.pending.get(effect);
    let gives_up = start.is_none() && outcome == EffectOutcome::Unknown;
    if found.is_some_and(|found| found.started != start && !gives_up) {
        return Err(Refusal::EffectFenced);
    }
    let ending = Ending { outcome, why: EffectEnd::Performed, attempts, status };
    turn.end_effect(effect, ending);
    Ok(Done::Ok)
}
