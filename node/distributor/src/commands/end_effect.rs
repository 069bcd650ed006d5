//! Takes in how an effect came out.

use rotary_proto::effect::EffectOutcome;
use rotary_proto::event::EffectEnd;
use rotary_proto::{Actor, Done, EffectId, Refusal};

use crate::authority;
use crate::effects::Ending;
use crate::turn::Turn;

/// Ends an effect that its performer is through with. One that is over keeps its first outcome.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    effect: EffectId,
    outcome: EffectOutcome,
    attempts: u32,
    status: Option<u16>,
) -> Result<Done, Refusal> {
    if actor != Actor::System {
        return Err(authority::not_allowed(actor));
    }
    let ending = Ending { outcome, why: EffectEnd::Performed, attempts, status };
    turn.end_effect(effect, ending);
    Ok(Done::Ok)
}
