//! Sessions that the log believes to have their socket here, and that have none.
//!
//! An attachment that was given up may still come true after the log was told that its socket is
//! gone. The lease of this gateway would keep such a session alive, and an agent would be offered
//! work that nobody sees, so the log is told again.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::counter;
use rotary_proto::{Actor, Command, SessionId, SiteId};

use crate::gateway::doors::Doors;
use crate::telemetry::names;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// Looks for strays as long as the node runs; one that is seen twice in a row is told.
pub(crate) async fn watch(doors: Doors) {
    let mut before = BTreeSet::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let strays = strays(&doors);
        for (site, session) in strays.intersection(&before) {
            tell(&doors, *site, *session).await;
        }
        before = strays;
    }
}

/// Sessions that the log believes to be here, and that have no socket.
pub(super) fn strays(doors: &Doors) -> BTreeSet<(SiteId, SessionId)> {
    let mut strays = BTreeSet::new();
    for shard in doors.replica.shards() {
        // Looked at once the shard is let go: who applies waits for who reads.
        let here: Vec<_> = shard.read().sessions_at(doors.gateway).collect();
        let of_shard = here.into_iter().filter(|(_, session)| !doors.sessions.has(*session));
        strays.extend(of_shard);
    }
    strays
}

async fn tell(doors: &Doors, site: SiteId, session: SessionId) {
    let command = Command::Detach { session, gateway: doors.gateway, ended: false };
    counter!(names::SESSION_STRAYS).increment(1);
    if let Err(error) = doors.submit_internal(site, Actor::System, command).await {
        tracing::debug!(%site, %error, "a session without a socket is told again later");
    }
}
