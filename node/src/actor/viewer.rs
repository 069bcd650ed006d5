//! One viewer's sessions on this node: an agent's, a customer's, or the site's supervisors'.
//!
//! The actor is given each event of its site that may concern its viewer, in order, and hands it to
//! each session's queue. A session whose queue is full is cut off as slow: it resumes from its
//! cursor, and an event is never dropped. What the log says about a session itself ends its link
//! here: attached on another gateway, lost with its gateway, or over.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use rotary_proto::event::Viewer;
use rotary_proto::frame::Signal;
use rotary_proto::{AgentId, ConversationId, Event, EventRecord, SiteId};
use tokio::sync::oneshot;

use crate::actor::link::{Delivery, Link, Standing, Why};
use crate::actor::mailbox::Counted;
use crate::actor::registry::Registry;

/// How long an actor without sessions stays.
const IDLE: Duration = Duration::from_secs(10);

/// What a viewer's actor is told.
pub(crate) enum ViewerMessage {
    /// Something became true that may concern the viewer.
    Event(Arc<EventRecord>),
    /// Somebody does something that need not be kept.
    Signal { conversation: ConversationId, agent: Option<AgentId>, signal: Signal },
    /// A session reads here; answered once it is in effect.
    Join { link: Link, joined: oneshot::Sender<()> },
    /// A session's socket is gone.
    Leave { standing: Standing },
    /// Look whether anybody is still here.
    Idle,
    /// Fail, to show what a failure does.
    #[cfg(test)]
    Panic,
}

/// Serves one viewer of one site.
pub(crate) struct ViewerActor;

/// What the actor knows.
pub(crate) struct ViewerState {
    registry: Arc<Registry>,
    site: SiteId,
    viewer: Viewer,
    links: Vec<Link>,
    idle_since: Option<tokio::time::Instant>,
}

impl ViewerState {
    fn event(&mut self, record: &Arc<EventRecord>) {
        for link in std::mem::take(&mut self.links) {
            match end_by(&link, record) {
                Some(why) => link.end(why),
                None => self.hand_over(link, record),
            }
        }
    }

    fn hand_over(&mut self, link: Link, record: &Arc<EventRecord>) {
        let seen = record.audience.admits(self.viewer);
        if !seen || link.deliver(Delivery::Event(record.clone())) {
            self.links.push(link);
        } else {
            link.end(Why::Slow);
        }
    }

    fn join(&mut self, link: Link, joined: oneshot::Sender<()>) {
        for old in std::mem::take(&mut self.links) {
            if old.session == link.session {
                old.end(Why::TakenOver);
            } else if old.is_open() {
                self.links.push(old);
            }
        }
        self.links.push(link);
        self.idle_since = None;
        // Nobody waits any more: the session went away, and its link is found closed later.
        let _ = joined.send(());
    }
}

/// Whether an event ends a session's link here.
fn end_by(link: &Link, record: &EventRecord) -> Option<Why> {
    if matches!(record.event, Event::SiteMoved { .. }) {
        return Some(Why::Moved);
    }
    if !link.standing.is_before(record.sequence) {
        return None;
    }
    match record.event {
        Event::SessionAttached { session, gateway, .. } if session == link.session => {
            (gateway != link.gateway).then_some(Why::TakenOver)
        }
        Event::SessionLost { session, .. } if session == link.session => Some(Why::Lost),
        Event::SessionEnded { session, .. } if session == link.session => Some(Why::Ended),
        _ => None,
    }
}

impl Actor for ViewerActor {
    type Msg = Counted<ViewerMessage>;
    type State = ViewerState;
    type Arguments = (Arc<Registry>, SiteId, Viewer);

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        (registry, site, viewer): Self::Arguments,
    ) -> Result<ViewerState, ActorProcessingErr> {
        Ok(ViewerState { registry, site, viewer, links: Vec::new(), idle_since: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        counted: Self::Msg,
        state: &mut ViewerState,
    ) -> Result<(), ActorProcessingErr> {
        match counted.message {
            ViewerMessage::Event(record) => state.event(&record),
            ViewerMessage::Signal { conversation, agent, signal } => {
                // A signal may be missed.
                for link in &state.links {
                    link.deliver(Delivery::Signal { conversation, agent, signal });
                }
            }
            ViewerMessage::Join { link, joined } => state.join(link, joined),
            ViewerMessage::Leave { standing } => {
                state.links.retain(|link| !link.standing.is(&standing));
            }
            ViewerMessage::Idle => {
                state.links.retain(Link::is_open);
                if !state.links.is_empty() {
                    state.idle_since = None;
                } else if state.idle_since.get_or_insert_with(tokio::time::Instant::now).elapsed()
                    >= IDLE
                {
                    state.registry.retire_viewer(state.site, state.viewer, myself.get_id());
                    myself.stop(None);
                }
            }
            #[cfg(test)]
            ViewerMessage::Panic => panic!("expected by the test"),
        }
        Ok(())
    }
}
