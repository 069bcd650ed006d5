//! Telling the log of every site where a session's socket is.
//!
//! A session that returns is served from this node's journal at once, while the log is told beside
//! that: a shard that has no leader for a moment keeps nobody from what is there to be read. What
//! the client asks for waits until the log knows ([`Telling::done`]). One that begins has nothing
//! to be served from, and waits.

use std::sync::Arc;
use std::time::Duration;

use rotary_proto::command::Subject;
use rotary_proto::frame::Retry;
use rotary_proto::query::Link as SessionLink;
use rotary_proto::{Actor, Command, Outcome, Refusal, SessionId};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::gateway::doors::{Doors, Placed};
use crate::gateway::session::End;
use crate::gateway::session::handshake::Place;
use crate::gateway::session::table::Served;
use crate::spine::SpineError;

/// How long a session waits for this node to apply its attachment.
pub(super) const APPLY_PATIENCE: Duration = Duration::from_secs(2);
/// Pause before the log is told again.
const TELL_AGAIN: Duration = Duration::from_millis(100);

/// The log is being told, or knows.
pub(crate) struct Telling {
    progress: watch::Receiver<Option<Result<(), End>>>,
    task: JoinHandle<()>,
}

impl Telling {
    /// Begins to tell. With `persist` it goes on until it succeeds or is refused; otherwise the
    /// first failure is the end.
    pub(super) fn start(
        doors: &Doors,
        served: &Arc<Served>,
        places: &[Place],
        (subject, actor): (Subject, Actor),
        persist: bool,
    ) -> Self {
        let (known, progress) = watch::channel(None);
        let (doors, served, places) = (doors.clone(), served.clone(), places.to_vec());
        let task = tokio::spawn(async move {
            let told = tell_all(&doors, &served, &places, (subject, actor), persist).await;
            known.send_replace(Some(told));
        });
        Self { progress, task }
    }

    /// Waits until the log knows of the socket, everywhere.
    pub(super) async fn done(&self) -> Result<(), End> {
        let mut progress = self.progress.clone();
        let known = progress.wait_for(Option::is_some).await;
        let told = known.ok().and_then(|told| told.clone());
        told.unwrap_or_else(|| Err(End::resume("behind", "the log could not be told")))
    }

    /// Waits until the log will not be told; for ever if it was.
    pub(super) async fn failure(&self) -> End {
        match self.done().await {
            Ok(()) => std::future::pending().await,
            Err(end) => end,
        }
    }

    /// Tells no more, if it was not done: what was asked for and not answered may still come true.
    pub(super) async fn stop(self) {
        self.task.abort();
        // However it ended, it has ended.
        let _ = self.task.await;
    }
}

async fn tell_all(
    doors: &Doors,
    served: &Served,
    places: &[Place],
    (subject, actor): (Subject, Actor),
    persist: bool,
) -> Result<(), End> {
    let _order = doors.sessions.last_word(served).await.ok_or_else(taken_over)?;
    for place in places {
        let sequence = loop {
            match tell(doors, place, served.session, subject, actor).await {
                Err(end) if persist && end.retry == Retry::Resume => {
                    tokio::time::sleep(TELL_AGAIN).await;
                }
                told => break told?,
            }
        };
        place.standing.attached_at(sequence);
        if persist {
            expect_standing(doors, place, served.session)?;
        }
    }
    served.pulse.is_told();
    Ok(())
}

/// What became true of the session before its link knew at which index it was attached went
/// unheeded there, so it is looked at here.
fn expect_standing(doors: &Doors, place: &Place, session: SessionId) -> Result<(), End> {
    let shard = doors.replica.shard_of(place.site);
    match shard.and_then(|shard| shard.read().session_view(place.site, session)) {
        Some(view) if view.link == SessionLink::Up && view.gateway == doors.gateway => Ok(()),
        Some(view) if view.link == SessionLink::Up => Err(taken_over()),
        Some(view) if view.link == SessionLink::Lost => {
            Err(End::resume("behind", "this gateway was taken for lost; resume"))
        }
        _ => Err(ended()),
    }
}

/// Tells the log where the session's socket is, and waits until this node has applied it. The
/// site's last sequence after that.
async fn tell(
    doors: &Doors,
    place: &Place,
    session: SessionId,
    subject: Subject,
    actor: Actor,
) -> Result<u64, End> {
    let command = Command::Attach { session, subject, gateway: doors.gateway };
    let told = doors.submit_internal(place.site, actor, command).await;
    let Placed { shard, answer } =
        told.map_err(|error: SpineError| End::resume("behind", error.to_string()))?;
    match answer.outcome {
        Outcome::Done(_) => {}
        Outcome::Refused(Refusal::SessionUnknown) => return Err(ended()),
        Outcome::Refused(refusal) => {
            return Err(End::never(refusal.word(), refusal.to_string()));
        }
    }
    if doors.replica.reach(shard, answer.index, APPLY_PATIENCE).await {
        return Ok(answer.sequence);
    }
    let detail = format!("this node has not applied {shard}:{}", answer.index);
    Err(End::resume("behind", detail))
}

fn taken_over() -> End {
    End::never("taken-over", "the session was resumed on another socket")
}

pub(super) fn ended() -> End {
    End::restart("session-ended", "the session is over; start a new one")
}
