//! Telling the log that a socket is gone.

use std::time::Duration;

use rotary_proto::{Actor, Command};

use crate::gateway::doors::Doors;
use crate::gateway::session::handshake::Place;
use crate::gateway::session::table::Served;

/// Pause between attempts to tell the log of a lost socket.
const TELL_AGAIN: Duration = Duration::from_millis(300);

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
    let told = doors.submit_internal(place.shard, place.site, actor, command).await;
    if let Err(error) = &told {
        tracing::warn!(site = %place.site, %error, "a lost socket could not be told yet");
    }
    told.is_ok()
}
