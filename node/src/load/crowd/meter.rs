//! Where both ends of a message meet, and who is there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rotary_proto::{ItemId, SiteId};
use tokio::sync::oneshot;

/// What became of messages.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// For how long they were sent.
    pub took: Duration,
    /// Where each was read, when it was sent, and how long that took.
    pub read: Vec<(SiteId, Instant, Duration)>,
}

struct Sent {
    at: Instant,
    read: Option<oneshot::Sender<()>>,
}

/// Counts and times of a crowd.
#[derive(Default)]
pub(super) struct Meter {
    sent: Mutex<HashMap<ItemId, Sent>>,
    seen: Mutex<Seen>,
    outages: Mutex<Vec<Duration>>,
    agents: AtomicUsize,
    served: AtomicUsize,
    ended: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meter {
    /// An agent is at work.
    pub(super) fn signed_in(&self) {
        self.agents.fetch_add(1, Ordering::Relaxed);
    }

    /// Agents at work.
    pub(super) fn agents(&self) -> usize {
        self.agents.load(Ordering::Relaxed)
    }

    /// A customer has an agent.
    pub(super) fn has_agent(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    /// Customers who have an agent.
    pub(super) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// A message is about to be sent; what is returned hears of its being read.
    pub(super) fn sends(&self, item: ItemId) -> oneshot::Receiver<()> {
        let (read, hears) = oneshot::channel();
        lock(&self.sent).insert(item, Sent { at: Instant::now(), read: Some(read) });
        hears
    }

    /// An agent reads a message.
    pub(super) fn reads(&self, site: SiteId, item: ItemId) {
        let now = Instant::now();
        let Some(sent) = lock(&self.sent).remove(&item) else {
            // The words with which a chat was opened are not counted.
            return;
        };
        lock(&self.seen).read.push((site, sent.at, now - sent.at));
        if let Some(read) = sent.read {
            let _ = read.send(());
        }
    }

    /// Messages under way.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.sent).len()
    }

    /// A session is back after so long.
    pub(super) fn is_back(&self, outage: Duration) {
        lock(&self.outages).push(outage);
    }

    /// Sessions that came back.
    pub(super) fn back(&self) -> usize {
        lock(&self.outages).len()
    }

    /// How long each that came back heard nothing.
    pub(super) fn outages(&self) -> Vec<Duration> {
        lock(&self.outages).clone()
    }

    /// A session ended that should not have.
    pub(super) fn has_ended(&self, why: String) {
        lock(&self.ended).get_or_insert(why);
    }

    /// Why the first of them did.
    pub(super) fn ended(&self) -> Option<String> {
        lock(&self.ended).clone()
    }

    /// What became of the messages since the last clearing.
    pub(super) fn seen(&self, took: Duration) -> Seen {
        Seen { took, ..std::mem::take(&mut *lock(&self.seen)) }
    }

    /// Forgets times.
    pub(super) fn clear(&self) {
        *lock(&self.seen) = Seen::default();
        lock(&self.outages).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_timed_from_its_sending_to_its_first_reading() {
        let (meter, site) = (Meter::default(), SiteId::new(1, 1));
        let mut hears = meter.sends(ItemId(7));
        meter.reads(site, ItemId(8));
        assert!(hears.try_recv().is_err());
        assert_eq!(meter.waiting(), 1);
        meter.reads(site, ItemId(7));
        assert_eq!(hears.try_recv(), Ok(()));
        let seen = meter.seen(Duration::from_secs(1));
        assert_eq!((seen.read.len(), meter.waiting()), (1, 0));
        meter.is_back(Duration::from_millis(3));
        assert_eq!((meter.back(), meter.outages()), (1, vec![Duration::from_millis(3)]));
        meter.clear();
        assert_eq!(meter.back(), 0);
    }
}
