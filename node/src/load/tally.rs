//! What the load counts while it runs: for the eyes, not for the verdict.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rotary_proto::SiteId;

/// A number that people look at.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// One more.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number.
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that also falls.
#[derive(Debug, Default)]
pub(crate) struct Level(AtomicI64);

impl Level {
    /// Moves it.
    pub(crate) fn move_by(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// The number; never below zero.
    pub(crate) fn value(&self) -> u64 {
        u64::try_from(self.0.load(Ordering::Relaxed)).unwrap_or_default()
    }
}

/// What is being waited for after a kill: the first offer of some sites made after it.
#[derive(Debug)]
struct OfferWatch {
    number: WatchNumber,
    sites: BTreeSet<SiteId>,
    since: Instant,
    wall_ms: u64,
    first: Option<Duration>,
}

/// Which wait for a first offer is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WatchNumber(u64);

/// Counts of one run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Conversations acknowledged.
    pub opened: Count,
    /// Customers who wait.
    pub waiting: Level,
    /// Customers with agents.
    pub assigned: Level,
    /// Conversations over, in any way.
    pub done: Count,
    /// Of these, left by customers before an agent came.
    pub abandoned: Count,
    /// Offers received.
    pub offers: Count,
    /// Messages acknowledged.
    pub messages: Count,
    /// Commands refused.
    pub refused: Count,
    /// Commands whose outcome is not known yet.
    pub doubts: Level,
    /// Commands on their way.
    pub in_flight: Level,
    /// Sessions that went on after a lost socket.
    pub resumed: Count,
    /// Of these, with a snapshot.
    pub snapshots: Count,
    /// Streams that broke their promise.
    pub faults: Count,
    /// Agents signed in.
    pub signed_in: Level,
    /// Whether the ledger could not be written.
    pub broken: AtomicBool,
    outages: Mutex<Vec<Duration>>,
    watched: Mutex<Option<OfferWatch>>,
}

impl Tally {
    /// A session was without a socket for so long.
    pub(crate) fn outage(&self, outage: Duration) {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner).push(outage);
    }

    /// How long sessions were without a socket: how often, and quantiles. Empty if never.
    pub(crate) fn outages(&self) -> String {
        let mut outages = self.outages.lock().unwrap_or_else(PoisonError::into_inner).clone();
        outages.sort_unstable();
        let Some(worst) = outages.last() else { return String::new() };
        let quantile = |percent: usize| outages[(outages.len() - 1) * percent / 100].as_millis();
        format!(
            "sockets lost and replaced: {}; nothing heard for: median {} ms, p99 {} ms, worst {} \
            ms\n",
            outages.len(),
            quantile(50),
            quantile(99),
            worst.as_millis()
        )
    }

    /// Begins to wait for the first offer in one of `sites` that is made from `wall_ms` on. Whoever
    /// waited before waits no more.
    pub(crate) fn watch_offers(&self, sites: BTreeSet<SiteId>, wall_ms: u64) -> WatchNumber {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let number = WatchNumber(watched.as_ref().map_or(1, |before| before.number.0 + 1));
        *watched = Some(OfferWatch { number, sites, since: Instant::now(), wall_ms, first: None });
        number
    }

    /// Whether that is still what is waited for.
    pub(crate) fn is_watching(&self, number: WatchNumber) -> bool {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.as_ref().is_some_and(|watch| watch.number == number)
    }

    /// How long it took, once it came.
    pub(crate) fn first_offer(&self, number: WatchNumber) -> Option<Duration> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.as_ref().filter(|watch| watch.number == number).and_then(|watch| watch.first)
    }

    /// An agent received an offer that was made at `wall_ms`.
    pub(super) fn offered(&self, site: SiteId, wall_ms: u64) {
        self.offers.add();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = watched.as_mut()
            && watch.first.is_none()
            && watch.sites.contains(&site)
            && wall_ms > watch.wall_ms
        {
            watch.first = Some(watch.since.elapsed());
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "opened {} | waiting {} | assigned {} | done {} ({} left) | messages {} | unknown {} | \
            resumes {} ({} snapshots)",
            self.opened.value(),
            self.waiting.value(),
            self.assigned.value(),
            self.done.value(),
            self.abandoned.value(),
            self.messages.value(),
            self.doubts.value(),
            self.resumed.value(),
            self.snapshots.value(),
        )?;
        match self.faults.value() {
            0 => Ok(()),
            faults => write!(f, " | FAULTS {faults}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_offer_made_after_the_kill_in_a_site_concerned_counts() {
        let tally = Tally::default();
        let (concerned, other) = (SiteId::new(1, 1), SiteId::new(1, 2));
        let watch = tally.watch_offers([concerned].into(), 1_000);
        tally.offered(other, 2_000);
        tally.offered(concerned, 1_000);
        assert_eq!(tally.first_offer(watch), None);
        tally.offered(concerned, 1_001);
        let first = tally.first_offer(watch);
        assert!(first.is_some());
        tally.offered(concerned, 1_002);
        assert_eq!(tally.first_offer(watch), first);
        assert_eq!(tally.offers.value(), 4);
        let next = tally.watch_offers([concerned].into(), 3_000);
        assert!(tally.is_watching(next) && !tally.is_watching(watch));
        assert_eq!([watch, next].map(|watch| tally.first_offer(watch)), [None, None]);
    }

    #[test]
    fn outages_are_told_in_quantiles() {
        let tally = Tally::default();
        assert_eq!(tally.outages(), "");
        (1..=100).for_each(|ms| tally.outage(Duration::from_millis(ms)));
        let told = "sockets lost and replaced: 100; nothing heard for: median 50 ms, p99 99 ms, \
        worst 100 ms\n";
        assert_eq!(tally.outages(), told);
    }
}
