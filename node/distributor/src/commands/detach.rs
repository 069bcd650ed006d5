//! A session's socket is gone, or its client said good-bye.

use rotary_proto::event::SessionLoss;
use rotary_proto::ids::{GatewayId, SessionId};
use rotary_proto::{Actor, Done, Refusal};

use crate::authority;
use crate::presence::Farewell;
use crate::session::SessionState;
use crate::turn::Turn;

/// Loses or ends a session. It changes nothing if the session lives on another gateway by then.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    id: SessionId,
    gateway: GatewayId,
    ended: bool,
) -> Result<Done, Refusal> {
    let session = turn.site.sessions.get(id).ok_or(Refusal::SessionUnknown)?;
    if !authority::matches(session.subject, actor) {
        return Err(authority::not_allowed(actor));
    }
    let (here, state) = (session.gateway == gateway, session.state);
    match state {
        SessionState::Up | SessionState::Lost { .. } if here && ended => {
            turn.end_session(id, Farewell::Said);
        }
        SessionState::Up if here => turn.lose_session(id, SessionLoss::Socket),
        _ => {}
    }
    Ok(Done::Ok)
}
