//! An agent says whether they want conversations.

use rotary_proto::event::DeclaredWhy;
use rotary_proto::plan::Declared;
use rotary_proto::{Actor, AgentId, Done, Refusal};

use crate::agent::AgentLink;
use crate::authority;
use crate::turn::Turn;

/// Changes what an agent declares. Within the grace of a lost connection they may do so, too: a
/// command that overtakes the return of its session is not refused for good. Signing out gives
/// back everything the agent holds.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    agent: AgentId,
    declared: Declared,
) -> Result<Done, Refusal> {
    let why = match actor {
        Actor::Agent(me) if me == agent => DeclaredWhy::Agent,
        _ if authority::oversees(actor) => DeclaredWhy::Supervisor,
        _ => return Err(authority::not_allowed(actor)),
    };
    let known = turn.site.agents.get(agent).ok_or(Refusal::AgentUnknown)?;
    if let Declared::NotReady { reason } = declared
        && !turn.site.reasons.contains_key(&reason)
    {
        return Err(Refusal::ReasonUnknown);
    }
    if declared != Declared::SignedOut && known.link == AgentLink::None {
        return Err(Refusal::AgentAway);
    }
    if known.declared != declared {
        turn.declare(agent, declared, why);
    }
    Ok(Done::Ok)
}
