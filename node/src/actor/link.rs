//! A session's link to an actor: a bounded queue, and a fuse that says why the link ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rotary_proto::frame::Signal;
use rotary_proto::limits::SESSION_BACKLOG_EVENTS_MAX;
use rotary_proto::{AgentId, ConversationId, EventRecord, GatewayId, SessionId};
use tokio::sync::{mpsc, watch};

/// What an actor hands to a session.
#[derive(Debug, Clone)]
pub(crate) enum Delivery {
    /// Something became true.
    Event(Arc<EventRecord>),
    /// Somebody does something that need not be kept.
    Signal { conversation: ConversationId, agent: Option<AgentId>, signal: Signal },
}

/// Why a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The session did not take its events in time.
    Slow,
    /// The site lives in another shard from here on: the session reads on there.
    Moved,
    /// The session is served elsewhere.
    TakenOver,
    /// The session is over.
    Ended,
    /// The shard believes that this gateway was lost.
    Lost,
    /// The actor is gone.
    Broken,
}

/// Since when the log knows of a socket: the site's last sequence after its attachment, once there
/// is one.
#[derive(Debug, Clone)]
pub(crate) struct Standing(Arc<AtomicU64>);

impl Standing {
    /// The log does not know yet.
    pub(crate) fn unknown() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }

    /// The log knows since the entry after which that was the last sequence.
    pub(crate) fn attached_at(&self, sequence: u64) {
        self.0.store(sequence, Ordering::Release);
    }

    /// Whether what became true at a sequence came after the attachment.
    pub(crate) fn is_before(&self, sequence: u64) -> bool {
        self.0.load(Ordering::Acquire) < sequence
    }

    /// Whether it is of the same socket.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The actor's end of a link.
pub(crate) struct Link {
    pub(crate) session: SessionId,
    pub(crate) gateway: GatewayId,
    /// What the log said of the session before does not concern this link.
    pub(crate) standing: Standing,
    events: mpsc::Sender<Delivery>,
    fuse: Fuse,
}

/// Whatever happens to a link's actor, its session hears of the end.
struct Fuse(Arc<watch::Sender<Option<Why>>>);

impl Fuse {
    fn blow(&self, why: Why) {
        self.0.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(why);
            first
        });
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.blow(Why::Broken);
    }
}

/// The session's end of its links, one queue for all of its sites.
pub(crate) struct Inbox {
    pub(crate) deliveries: mpsc::Receiver<Delivery>,
    pub(crate) end: watch::Receiver<Option<Why>>,
    sender: mpsc::Sender<Delivery>,
    fuse: Arc<watch::Sender<Option<Why>>>,
}

impl Inbox {
    /// An empty inbox.
    pub(crate) fn new() -> Self {
        let (sender, deliveries) = mpsc::channel(SESSION_BACKLOG_EVENTS_MAX);
        let (fuse, end) = watch::channel(None);
        Self { deliveries, end, sender, fuse: Arc::new(fuse) }
    }

    /// A link that ends here.
    pub(crate) fn link(&self, session: SessionId, gateway: GatewayId, standing: Standing) -> Link {
        let (events, fuse) = (self.sender.clone(), Fuse(self.fuse.clone()));
        Link { session, gateway, standing, events, fuse }
    }
}

impl Link {
    /// Hands something over; `false` if there is no room or nobody.
    pub(crate) fn deliver(&self, delivery: Delivery) -> bool {
        self.events.try_send(delivery).is_ok()
    }

    /// Whether the session's end still exists.
    pub(crate) fn is_open(&self) -> bool {
        !self.events.is_closed()
    }

    /// Ends the link for a reason.
    pub(crate) fn end(self, why: Why) {
        self.fuse.blow(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(inbox: &Inbox) -> Link {
        inbox.link(SessionId(1), GatewayId::default(), Standing::unknown())
    }

    #[test]
    fn the_first_reason_is_the_one_that_is_heard() {
        let inbox = Inbox::new();
        let (first, second) = (link(&inbox), link(&inbox));
        assert_eq!(*inbox.end.borrow(), None);
        first.end(Why::TakenOver);
        drop(second);
        assert_eq!(*inbox.end.borrow(), Some(Why::TakenOver));
    }

    #[test]
    fn a_link_that_is_dropped_with_its_actor_is_broken() {
        let inbox = Inbox::new();
        drop(link(&inbox));
        assert_eq!(*inbox.end.borrow(), Some(Why::Broken));
    }

    #[test]
    fn a_full_queue_is_noticed() {
        let (inbox, signal) = (Inbox::new(), Signal::Typing);
        let (link, conversation) = (link(&inbox), ConversationId::default());
        let delivery = Delivery::Signal { conversation, agent: None, signal };
        for _ in 0..SESSION_BACKLOG_EVENTS_MAX {
            assert!(link.deliver(delivery.clone()));
        }
        assert!(!link.deliver(delivery));
    }
}
