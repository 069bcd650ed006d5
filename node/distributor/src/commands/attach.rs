//! A session begins, or returns on this or another gateway.

use rotary_proto::command::Subject;
use rotary_proto::ids::{GatewayId, SessionId};
use rotary_proto::{Actor, Done, Refusal, limits};

use crate::authority;
use crate::session::SessionState;
use crate::turn::Turn;

/// Attaches a session. Repeated, it changes nothing.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    session: SessionId,
    subject: Subject,
    gateway: GatewayId,
) -> Result<Done, Refusal> {
    check(turn, actor, session, subject)?;
    let known = turn.site.sessions.get(session);
    let same = known.is_some_and(|s| s.gateway == gateway && s.state == SessionState::Up)
        && !turn.site.is_being_lost(session, gateway);
    if !same {
        turn.attach(session, subject, gateway);
    }
    Ok(Done::Ok)
}

/// Refuses a session whose gateway can have no lease.
pub(crate) fn without_lease(
    turn: &Turn,
    actor: Actor,
    session: SessionId,
    subject: Subject,
) -> Refusal {
    let limit = || Refusal::LimitReached { limit: "gateways_per_shard_max".to_owned() };
    check(turn, actor, session, subject).err().unwrap_or_else(limit)
}

fn check(turn: &Turn, actor: Actor, id: SessionId, subject: Subject) -> Result<(), Refusal> {
    let site = &*turn.site;
    let known = site.sessions.get(id);
    if known.is_some_and(|session| matches!(session.state, SessionState::Ended { .. })) {
        return Err(Refusal::SessionUnknown);
    }
    if !authority::matches(subject, actor) {
        return Err(authority::not_allowed(actor));
    }
    if let Subject::Agent(agent) = subject
        && !site.agents.contains(agent)
    {
        return Err(Refusal::AgentUnknown);
    }
    let limit = |limit: &str| Err(Refusal::LimitReached { limit: limit.to_owned() });
    match (known, subject) {
        (Some(session), _) if session.subject != subject => Err(Refusal::SessionTaken),
        (Some(_), _) => Ok(()),
        (None, Subject::Agent(agent)) if has_all_sessions(turn, agent) => {
            limit("sessions_per_agent_max")
        }
        (None, _) if site.sessions.len() >= limits::SESSIONS_PER_SITE_MAX => {
            limit("sessions_per_site_max")
        }
        (None, _) => Ok(()),
    }
}

fn has_all_sessions(turn: &Turn, agent: rotary_proto::AgentId) -> bool {
    let known = turn.site.agents.get(agent);
    known.is_some_and(|agent| agent.sessions.len() >= limits::SESSIONS_PER_AGENT_MAX)
}
