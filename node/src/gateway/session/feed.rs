//! A session's events: a snapshot where one is due, then the journal, then what comes live.

use std::pin::pin;

use metrics::counter;
use rotary_proto::command::Subject;
use rotary_proto::frame::{EventFrame, ServerFrame, SnapshotState};
use rotary_proto::limits::SNAPSHOT_ROWS_MAX;
use rotary_proto::planted::{self, Planted};
use rotary_proto::{Cursor, EventRecord, ShardId};
use tokio::sync::watch;

use crate::actor::link::{Delivery, Inbox, Why};
use crate::archive::EventPage;
use crate::feed::{Position, viewer_of};
use crate::gateway::doors::Doors;
use crate::gateway::session::End;
use crate::gateway::session::handshake::{Attached, Place};
use crate::gateway::session::serving::Outbox;
use crate::replica::ReadError;
use crate::telemetry::{names, trace};

/// Events read from the journal at once.
const PAGE: usize = 256;
/// How often a session that falls behind while it catches up begins to catch up again.
const CATCH_UPS_MAX: u32 = 16;

/// Brings events until something ends the socket.
pub(crate) async fn run(doors: &Doors, attached: &Attached, out: &Outbox) -> End {
    let mut feed = Feed { doors, attached, out, positions: Vec::new() };
    match feed.go().await {
        Ok(never) => match never {},
        Err(end) => end,
    }
}

struct Feed<'a> {
    doors: &'a Doors,
    attached: &'a Attached,
    out: &'a Outbox,
    positions: Vec<(Place, Position)>,
}

/// What interrupts a delivery.
enum Stop {
    /// The link to an actor ended.
    Link(Why),
    /// The socket ends.
    End(End),
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

enum Never {}

impl Feed<'_> {
    async fn go(&mut self) -> Result<Never, End> {
        self.begin().await?;
        loop {
            let inbox = self.caught_up().await?;
            match self.live(inbox).await {
                // It goes on where it was, reading in the shard that the site lives in now.
                Err(Stop::Link(Why::Moved)) => {}
                Err(Stop::Link(why)) => return Err(end_of(why)),
                Err(Stop::End(end)) => return Err(end),
                Ok(never) => match never {},
            }
        }
    }

    /// Brings everything that is recorded; what comes from then on is in the inbox.
    async fn caught_up(&mut self) -> Result<Inbox, End> {
        for _ in 0..CATCH_UPS_MAX {
            let mut inbox = self.join().await?;
            match self.catch_up(&mut inbox).await {
                Ok(()) => return Ok(inbox),
                Err(Stop::Link(Why::Slow | Why::Moved)) => {}
                Err(Stop::Link(why)) => return Err(end_of(why)),
                Err(Stop::End(end)) => return Err(end),
            }
        }
        Err(end_of(Why::Slow))
    }

    /// Finds where to read from, sending snapshots where they are due.
    async fn begin(&mut self) -> Result<(), End> {
        let viewer = viewer_of(self.attached.subject);
        for place in &self.attached.places {
            let after = match (self.attached.snapshot, place.after) {
                (false, Some(after)) => after,
                _ => self.snapshot(place).await?,
            };
            self.positions.push((place.clone(), Position::after(viewer, place.site, after)));
        }
        Ok(())
    }

    async fn snapshot(&self, place: &Place) -> Result<u64, End> {
        let (cursor, state) = state_of(self.doors, self.attached.subject, place)
            .ok_or_else(|| End::resume("behind", "the site is not on this node yet"))?;
        let frame = ServerFrame::Snapshot { cursor, state: Box::new(state) };
        self.out.send(&frame).await.map_err(|_| End::gone())?;
        Ok(cursor.sequence)
    }

    /// Lets the actors know; what is dispatched from here on comes to the inbox.
    async fn join(&self) -> Result<Inbox, End> {
        let inbox = Inbox::new();
        let (session, gateway) = (self.attached.served.session, self.doors.gateway);
        for (place, _) in &self.positions {
            let viewer = viewer_of(self.attached.subject);
            let link = || inbox.link(session, gateway, place.standing.clone());
            let joined = self.doors.registry.join(place.site, viewer, link).await;
            joined.map_err(|error| End::resume("behind", error.to_string()))?;
        }
        Ok(inbox)
    }

    /// Reads the journal until it has nothing more.
    async fn catch_up(&mut self, inbox: &mut Inbox) -> Result<(), Stop> {
        for at in 0..self.positions.len() {
            loop {
                let (place, position) = &self.positions[at];
                let after = position.sequence();
                let page = self.page(place, after).await?;
                if page.through == after {
                    break;
                }
                for record in page.events {
                    self.show(at, &record, inbox).await?;
                }
                self.positions[at].1.reach(page.through);
            }
        }
        Ok(())
    }

    async fn page(&self, place: &Place, after: u64) -> Result<EventPage, End> {
        let (replica, viewer) = (self.doors.replica.clone(), viewer_of(self.attached.subject));
        let site = place.site;
        let read = move || replica.page(viewer, site, after, PAGE);
        let behind = |error: String| {
            tracing::error!(
                code = "journal-unreadable",
                %site, %error,
                "the journal cannot be read"
            );
            End::resume("behind", "this node cannot read its journal")
        };
        let read = crate::blocking::run(read).await;
        let read = read.map_err(|error| behind(error.to_string()))?;
        read.map_err(|error| {
            if matches!(error, ReadError::Behind { .. }) {
                return End::resume("behind", error.to_string());
            }
            if error.is_forgotten() {
                return End::resume("behind", "what was missed is forgotten; a snapshot follows");
            }
            behind(error.to_string())
        })
    }

    /// Sends an event if it is for this subject and was not sent before.
    async fn show(
        &mut self,
        at: usize,
        record: &EventRecord,
        inbox: &mut Inbox,
    ) -> Result<(), Stop> {
        let skips = planted::is(Planted::EventSkipped) && record.sequence.is_multiple_of(23);
        if !self.positions[at].1.pass(record) || skips {
            return Ok(());
        }
        let begun = trace::clock();
        let frame = ServerFrame::Event(Box::new(EventFrame {
            seq: self.out.next_seq(),
            cursor: Cursor { site: record.site, sequence: record.sequence },
            index: record.index,
            stamp: record.stamp,
            wall: record.wall,
            event: record.event.clone(),
        }));
        tokio::select! {
            biased;
            why = wait_for_end(&mut inbox.end) => {
                self.out.take_seq_back();
                self.positions[at].1.step_back(record);
                Err(Stop::Link(why))
            }
            sent = self.out.send(&frame) => {
                counter!(names::EVENTS_DELIVERED).increment(1);
                trace::delivered(begun, self.attached.served.session, record);
                sent.map_err(|_| Stop::End(End::gone()))
            }
        }
    }

    /// Hands on what comes, and gives up when this node loses touch with a leader.
    async fn live(&mut self, mut inbox: Inbox) -> Result<Never, Stop> {
        let shards = self.positions.iter();
        let shards = shards.filter_map(|(place, _)| self.doors.replica.shard_of(place.site));
        let shards: Vec<ShardId> = shards.map(|shard| shard.id).collect();
        let mut behind = pin!(self.doors.behind.in_any(&shards));
        loop {
            let delivery = tokio::select! {
                biased;
                why = wait_for_end(&mut inbox.end) => return Err(Stop::Link(why)),
                shard = &mut behind => {
                    let detail = format!("this node has not heard from the leader of {shard}");
                    return Err(End::resume("behind", detail).into());
                }
                delivery = inbox.deliveries.recv() => delivery,
            };
            match delivery {
                None => return Err(Stop::Link(Why::Broken)),
                Some(Delivery::Event(record)) => {
                    let at = self.positions.iter().position(|(place, _)| place.site == record.site);
                    let at = at.expect("only links to this session's sites end in its inbox");
                    self.show(at, &record, &mut inbox).await?;
                }
                Some(Delivery::Signal { conversation, agent, signal }) => {
                    let frame = ServerFrame::Signal { conversation, agent, signal };
                    self.out.send(&frame).await.map_err(|_| End::gone())?;
                }
            }
        }
    }
}

async fn wait_for_end(end: &mut watch::Receiver<Option<Why>>) -> Why {
    match end.wait_for(Option::is_some).await {
        Ok(why) => why.unwrap_or(Why::Broken),
        Err(_) => Why::Broken,
    }
}

fn end_of(why: Why) -> End {
    match why {
        Why::Slow => End::resume("slow", "events were not taken in time; resume"),
        Why::Moved => End::resume("behind", "the site moves to and fro; resume"),
        Why::TakenOver => End::never("taken-over", "the session was resumed on another socket"),
        Why::Ended => End::restart("session-ended", "the session is over; start a new one"),
        Why::Lost => End::resume("behind", "this gateway was taken for lost; resume"),
        Why::Broken => End::resume("behind", "this node cannot serve the site; resume elsewhere"),
    }
}

/// State as far as a subject may see it, and where it stands.
fn state_of(doors: &Doors, subject: Subject, place: &Place) -> Option<(Cursor, SnapshotState)> {
    let replica = doors.replica.shard_of(place.site)?;
    let shard = replica.read();
    let site = place.site;
    let cursor = Cursor { site, sequence: shard.sequence(site)? };
    let mut state = SnapshotState::default();
    match subject {
        Subject::Agent(agent) => {
            let view = shard.agent_view(site, agent)?;
            let held = view.conversations.iter();
            state.conversations = held.filter_map(|id| shard.conversation_view(*id)).collect();
            state.agent = Some(view);
        }
        Subject::Customer(customer) => {
            state.conversations = shard.customer_conversations(site, customer);
        }
        Subject::Principal(_) => {
            state.queues = shard.queue_views(site)?;
            state.agents = shard.agent_views(site, None, SNAPSHOT_ROWS_MAX)?;
        }
    }
    state.conversations.truncate(SNAPSHOT_ROWS_MAX);
    state.queues.truncate(SNAPSHOT_ROWS_MAX);
    Some((cursor, state))
}
