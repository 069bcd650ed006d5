//! The agent has finished what comes after the conversation.

use rotary_proto::ids::DispositionId;
use rotary_proto::values::Sealed;
use rotary_proto::{Actor, ConversationId, Done, Refusal};

use crate::authority;
use crate::conversation::Stage;
use crate::life::Finish;
use crate::turn::Turn;

/// Ends wrap-up with a disposition.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    conversation: ConversationId,
    disposition: Option<DispositionId>,
    note: Option<Sealed>,
) -> Result<Done, Refusal> {
    let agent = authority::agent(actor)?;
    note.as_ref().map_or(Ok(()), Sealed::check)?;
    if conversation.site != turn.site.id {
        return Err(Refusal::WrongSite);
    }
    if disposition.is_some_and(|id| !turn.site.dispositions.contains_key(&id)) {
        return Err(Refusal::DispositionUnknown);
    }
    let found = authority::live(turn.site, conversation)?;
    match found.stage {
        Stage::WrapUp { agent: serving, .. } if serving == agent => {}
        Stage::WrapUp { .. } => return Err(Refusal::NotYours),
        Stage::Assigned { agent: serving, .. } if serving != agent => {
            return Err(Refusal::NotYours);
        }
        _ => return Err(Refusal::NotInWrapUp),
    }
    if disposition.is_none() && turn.queue(found.queue).plan.disposition_required {
        return Err(Refusal::DispositionRequired);
    }
    let finish = Finish { disposition, note, ..Finish::default() };
    turn.finish(conversation.unique, agent, finish);
    Ok(Done::Ok)
}
