//! Where both ends of a contact meet: when it was sent, and when an agent's session read of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rotary_proto::{ConversationId, NodeId, SiteId};
use tokio::sync::oneshot;

/// A contact that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Where it arrived.
    pub site: SiteId,
    /// The node that the customer asked.
    pub door: NodeId,
    /// The node of the agent's session.
    pub agent: NodeId,
    /// From the request to the offer.
    pub took: Duration,
}

/// A contact under way.
struct Open {
    door: NodeId,
    sent: Instant,
    offered: bool,
    ended: Option<oneshot::Sender<()>>,
}

/// What is under way, and what was measured.
#[derive(Default)]
pub(super) struct Board {
    open: Mutex<BTreeMap<ConversationId, Open>>,
    samples: Mutex<Vec<Sample>>,
    ready: AtomicUsize,
    over: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    /// An agent is at work.
    pub(super) fn signed_in(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
    }

    /// Agents at work.
    pub(super) fn ready(&self) -> usize {
        self.ready.load(Ordering::Relaxed)
    }

    /// A customer is about to ask at `door`; what is returned hears of the end.
    pub(super) fn begin(
        &self,
        conversation: ConversationId,
        door: NodeId,
    ) -> oneshot::Receiver<()> {
        let (ended, hears) = oneshot::channel();
        let open = Open { door, sent: Instant::now(), offered: false, ended: Some(ended) };
        lock(&self.open).insert(conversation, open);
        hears
    }

    /// An agent's session on `agent` read an offer. A later offer of the same contact is none of
    /// an arrival's.
    pub(super) fn offered(&self, conversation: ConversationId, agent: NodeId) {
        let at = Instant::now();
        let sample = {
            let mut open = lock(&self.open);
            let Some(open) = open.get_mut(&conversation) else { return };
            if std::mem::replace(&mut open.offered, true) {
                return;
            }
            let took = at.saturating_duration_since(open.sent);
            Sample { site: conversation.site, door: open.door, agent, took }
        };
        lock(&self.samples).push(sample);
    }

    /// A contact is over.
    pub(super) fn ended(&self, conversation: ConversationId) {
        let Some(open) = lock(&self.open).remove(&conversation) else { return };
        self.over.fetch_add(1, Ordering::Relaxed);
        if let Some(ended) = open.ended {
            let _ = ended.send(());
        }
    }

    /// A contact was not taken up.
    pub(super) fn forget(&self, conversation: ConversationId) {
        lock(&self.open).remove(&conversation);
    }

    /// Contacts that ended since the last time.
    pub(super) fn count_ended(&self) -> usize {
        self.over.swap(0, Ordering::Relaxed)
    }

    /// What was measured since the last time.
    pub(super) fn clear(&self) -> Vec<Sample> {
        std::mem::take(&mut *lock(&self.samples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_offer_counts_and_the_end_is_heard() {
        let (board, site) = (Board::default(), SiteId::new(1, 1));
        let contact = ConversationId::new(site, 7);
        let mut hears = board.begin(contact, NodeId(3));
        board.offered(contact, NodeId(2));
        board.offered(contact, NodeId(1));
        board.offered(ConversationId::new(site, 8), NodeId(1));
        let samples = board.clear();
        let places: Vec<_> = samples.iter().map(|sample| (sample.door, sample.agent)).collect();
        assert_eq!(places, [(NodeId(3), NodeId(2))]);
        assert!(hears.try_recv().is_err());
        board.ended(contact);
        assert_eq!(hears.try_recv(), Ok(()));
        assert_eq!(board.clear(), []);
        board.begin(contact, NodeId(3));
        board.forget(contact);
        board.ended(contact);
        assert_eq!((board.count_ended(), board.count_ended()), (1, 0));
    }
}
