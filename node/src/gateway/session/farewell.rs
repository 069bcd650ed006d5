//! Telling the log that a socket is gone, or a session over.

use std::time::Duration;

use rotary_proto::{Actor, Command, SessionId, SiteId};

use crate::gateway::doors::{Doors, Placed};
use crate::gateway::problem::Problem;
use crate::gateway::session::handshake::{Place, known_session};
use crate::gateway::session::table::Served;
use crate::gateway::session::telling::APPLY_PATIENCE;

/// Pause between attempts to tell the log of a lost socket.
const TELL_AGAIN: Duration = Duration::from_millis(300);
/// How often a session that moves while it is being ended is gone after.
const MOVES_MAX: u32 = 3;

/// Tells every site that the socket is gone, and with `over` that the session is too, for as long
/// as no other socket of this node serves the session. Until the log knows, an agent would be
/// offered work that nobody sees.
pub(crate) async fn tell(
    doors: &Doors,
    served: &Served,
    places: &[Place],
    actor: Actor,
    over: bool,
) {
    while let Some(order) = doors.sessions.last_word(served).await {
        let mut told = true;
        for place in places {
            told &= detach(doors, served, place, actor, over).await;
        }
        drop(order);
        if told {
            break;
        }
        tokio::time::sleep(TELL_AGAIN).await;
    }
    doors.sessions.release(served);
}

/// Whether the log knows that the socket is gone.
async fn detach(doors: &Doors, served: &Served, place: &Place, actor: Actor, ended: bool) -> bool {
    let command = Command::Detach { session: served.session, gateway: doors.gateway, ended };
    let told = doors.submit_internal(place.site, actor, command).await;
    if let Err(error) = &told {
        tracing::warn!(site = %place.site, %error, "a lost socket could not be told yet");
    }
    told.is_ok()
}

/// Ends a session for good, wherever its connection is.
///
/// # Errors
/// That it could not be told, or that this node does not know where the session is.
pub(super) async fn end(
    doors: &Doors,
    site: SiteId,
    session: SessionId,
    actor: Actor,
) -> Result<(), Problem> {
    for _ in 0..MOVES_MAX {
        if doors.replica.shard_of(site).is_none_or(|shard| doors.is_behind(shard.id)) {
            break;
        }
        let Ok(view) = known_session(doors, site, session).await else { return Ok(()) };
        let command = Command::Detach { session, gateway: view.gateway, ended: true };
        let Placed { shard, answer } = doors.submit_internal(site, actor, command).await?;
        doors.replica.reach(shard, answer.index, APPLY_PATIENCE).await;
    }
    Err(Problem::unavailable("this node does not know where the session is; ask another"))
}
