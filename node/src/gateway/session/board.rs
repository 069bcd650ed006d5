//! A wallboard's session: figures of sites, and nothing else.
//!
//! A board changes nothing and concerns nobody, so the log is not told of it; any node shows what
//! its own replica counts ([`crate::feed::Boards`]). Of each site the latest figures are what
//! matters: a board that is slow gets fewer, and one that returns gets all of them once, as of no
//! earlier than what it has seen.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use rotary_proto::board::{BoardFrame, BoardQueue};
use rotary_proto::command::Subject;
use rotary_proto::frame::{Mode, ServerFrame};
use rotary_proto::limits::FEED_HEARTBEAT_MS;
use rotary_proto::{Cursor, SiteId};

use crate::admission::Seat;
use crate::feed::{Figures, Latest};
use crate::gateway::doors::Doors;
use crate::gateway::session::End;
use crate::gateway::session::handshake::{self, Place, Wish};
use crate::gateway::session::serving::{self, Listener, Outbox, Speaker};
use crate::gateway::session::table::Served;
use crate::gateway::token::Claims;
use crate::telemetry::names;

/// A board with its connection here.
pub(super) struct Board {
    served: Arc<Served>,
    /// What the connection is counted by.
    _seat: Seat,
    pub(super) holder: Claims,
    places: Vec<Place>,
    mode: Mode,
    seq: u64,
}

impl Board {
    /// Checks what a board asks for.
    ///
    /// # Errors
    /// Why it cannot have that here.
    pub(super) async fn begin(doors: &Doors, wish: Wish) -> Result<Self, End> {
        let seat = doors.seats.take(wish.holder.tenant, wish.holder.principal);
        let _seat = seat.map_err(handshake::no_seat)?;
        let places = handshake::places(doors, &wish).await?;
        let served = Arc::new(doors.sessions.take(wish.session, Vec::new()));
        served.pulse.start(wish.seq);
        let mode = if wish.resumes { Mode::Replayed } else { Mode::New };
        Ok(Self { served, _seat, holder: wish.holder, places, mode, seq: wish.seq })
    }

    /// Shows figures until something ends the connection.
    pub(super) async fn serve(
        self,
        doors: &Doors,
        speaker: &mut impl Speaker,
        listener: &mut impl Listener,
    ) {
        let kind = self.holder.role.kind();
        gauge!(names::SESSIONS, "kind" => kind).increment(1);
        let (out, outgoing) = Outbox::new(self.served.pulse.clone());
        let welcome = self.welcome(doors);
        let end = if out.send(&welcome).await.is_ok() {
            tokio::select! {
                biased;
                end = serving::leave_taken(doors, &out, &self.holder) => end,
                end = listener.attend(doors, &out) => end,
                end = self.show(doors, &out) => end,
                end = serving::written(speaker, outgoing) => end,
            }
        } else {
            End::gone()
        };
        gauge!(names::SESSIONS, "kind" => kind).decrement(1);
        serving::say_bye(speaker, &end).await;
        doors.sessions.release(&self.served);
    }

    fn welcome(&self, doors: &Doors) -> ServerFrame {
        let sites: Vec<SiteId> = self.places.iter().map(|place| place.site).collect();
        let session = self.served.session;
        ServerFrame::Welcome {
            session,
            subject: Subject::Principal(self.holder.principal),
            resume_token: handshake::resume_token(doors, session, &sites, &self.holder),
            sites,
            mode: self.mode,
            seq: self.seq,
            gateways: doors.urls(),
            results: Vec::new(),
        }
    }

    /// Sends what is other than it was, site by site.
    async fn show(&self, doors: &Doors, out: &Outbox) -> End {
        let look = |place: &Place| Shown {
            site: place.site,
            latest: doors.sessions.boards.look(&doors.replica, place.site),
            after: place.after.unwrap_or(0),
            last: None,
        };
        let mut shown: Vec<Shown> = self.places.iter().map(look).collect();
        let mut pause = tokio::time::interval(Duration::from_millis(FEED_HEARTBEAT_MS));
        pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            pause.tick().await;
            let shards = self.places.iter().filter_map(|place| doors.replica.shard_of(place.site));
            let shards: Vec<_> = shards.map(|shard| shard.id).collect();
            if let Some(shard) = shards.into_iter().find(|shard| doors.is_behind(*shard)) {
                let detail = format!("this node has not heard from the leader of {shard}");
                return End::resume("behind", detail);
            }
            for site in &mut shown {
                let Some(mut frame) = site.next() else { continue };
                frame.seq = out.next_seq();
                if out.send(&ServerFrame::Board(Box::new(frame))).await.is_err() {
                    return End::gone();
                }
            }
        }
    }
}

/// What a board shows of a site.
struct Shown {
    site: SiteId,
    latest: Latest,
    /// What it has seen before.
    after: u64,
    last: Option<Arc<Figures>>,
}

impl Shown {
    /// What has changed since it was shown, unless nothing has.
    fn next(&mut self) -> Option<BoardFrame> {
        let now = self.latest.borrow_and_update().clone()?;
        if now.sequence < self.after {
            return None;
        }
        let (whole, queues) = match &self.last {
            None => (true, now.queues.clone()),
            Some(last) if **last == *now => return None,
            Some(last) => (false, changed(&last.queues, &now.queues)),
        };
        let cursor = Cursor { site: self.site, sequence: now.sequence };
        let frame = BoardFrame { seq: 0, cursor, whole, agents: now.agents, queues };
        self.last = Some(now);
        Some(frame)
    }
}

/// Queues whose figures are other than before. Both lists are in order of ids, and none goes away.
fn changed(last: &[BoardQueue], now: &[BoardQueue]) -> Vec<BoardQueue> {
    let before = |queue: &BoardQueue| {
        let place = last.binary_search_by_key(&queue.queue, |known| known.queue);
        place.ok().map(|place| &last[place])
    };
    now.iter().filter(|queue| before(queue) != Some(*queue)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use rotary_proto::board::BoardAgents;
    use rotary_proto::{Name, QueueId};
    use tokio::sync::watch;

    use super::*;

    fn queue(id: u32, waiting: u64) -> BoardQueue {
        BoardQueue {
            queue: QueueId(id),
            name: Name::new("Sales").expect("valid"),
            self_service: 0,
            waiting,
            oldest_wait_ms: 0,
            offered: 0,
            assigned: 0,
            wrap_up: 0,
        }
    }

    #[test]
    fn a_board_gets_everything_once_and_then_what_changes() {
        let (figures, latest) = watch::channel(None);
        let count = |sequence, queues: Vec<BoardQueue>| {
            let agents = BoardAgents::default();
            figures.send_replace(Some(Arc::new(Figures { sequence, agents, queues })));
        };
        let mut shown = Shown { site: SiteId::new(1, 1), latest, after: 5, last: None };
        let mut next =
            || shown.next().map(|frame| (frame.cursor.sequence, frame.whole, frame.queues));
        assert_eq!(next(), None);
        count(4, vec![queue(1, 9)]);
        assert_eq!(next(), None, "it has seen more than that");
        count(5, vec![queue(1, 1), queue(2, 0)]);
        assert_eq!(next(), Some((5, true, vec![queue(1, 1), queue(2, 0)])));
        assert_eq!(next(), None);
        count(7, vec![queue(1, 1), queue(2, 3), queue(3, 0)]);
        count(8, vec![queue(1, 1), queue(2, 4), queue(3, 0)]);
        assert_eq!(next(), Some((8, false, vec![queue(2, 4), queue(3, 0)])));
    }
}
