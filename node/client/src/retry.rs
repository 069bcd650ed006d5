//! Whether to try again at all, and when.
//!
//! Three things keep clients from making an overload worse. A gateway that says when to come again
//! is believed: nobody comes sooner, and those who were told the same come spread over half as long
//! again. Waits between attempts are random ([`Backoff`]). And retries have a *budget*: every
//! success earns a tenth of one, and a few come by themselves every second, so that however much is
//! refused, retries add a tenth to what is asked and no more. Without that, three attempts for each
//! request make of a shortage of a tenth a shortage of two thirds, which outlasts its cause.
//!
//! An attempt that reached no gateway costs nothing: it gave nobody any work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use tokio::time::Instant;

use crate::backoff::Backoff;

/// Parts of a retry that a success earns, and how many make one.
const EARNED: u64 = 1;
const PARTS: u64 = 10;

/// Retries that may be made, shared by all who share it.
#[derive(Debug, Clone)]
pub(crate) struct RetryBudget {
    bucket: Arc<Mutex<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    /// In parts of a retry.
    parts: u64,
    most: u64,
    /// How long it takes for one part to come by itself.
    part: Duration,
    filled: Instant,
}

impl RetryBudget {
    /// At most `burst` retries at once, and `a_second` without any success.
    pub(crate) fn new(burst: u64, a_second: u64) -> Self {
        assert!(burst > 0 && a_second > 0, "somebody must be able to try again");
        let (parts, most) = (burst * PARTS, burst * PARTS);
        let part = Duration::from_secs(1) / u32::try_from(a_second * PARTS).unwrap_or(u32::MAX);
        let bucket = Bucket { parts, most, part, filled: Instant::now() };
        Self { bucket: Arc::new(Mutex::new(bucket)) }
    }

    /// For the requests of one credential: bursts of 100, and 10 a second.
    pub(crate) fn of_requests() -> Self {
        Self::new(100, 10)
    }

    /// For the commands of one session: a whole window, and 5 a second.
    pub(crate) fn of_session() -> Self {
        Self::new(64, 5)
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let came = (now - bucket.filled).as_nanos() / bucket.part.as_nanos().max(1);
        let came = u32::try_from(came).unwrap_or(u32::MAX);
        let part = bucket.part;
        bucket.filled += part * came;
        bucket.parts = (bucket.parts + u64::from(came)).min(bucket.most);
        bucket
    }

    /// Something was done.
    pub(crate) fn earn(&self) {
        let mut bucket = self.bucket();
        bucket.parts = (bucket.parts + EARNED).min(bucket.most);
    }

    /// Takes a retry, or says in how long there is one if nobody else takes it.
    pub(crate) fn take(&self) -> Result<(), Duration> {
        let mut bucket = self.bucket();
        if bucket.parts >= PARTS {
            bucket.parts -= PARTS;
            return Ok(());
        }
        Err(bucket.part * u32::try_from(PARTS - bucket.parts).unwrap_or(u32::MAX))
    }
}

/// How an attempt failed, as far as the next one is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It reached nobody.
    Unreached,
    /// Somebody had work with it, and may have said how long to wait.
    Reached(Option<Duration>),
}

/// The attempts of one request after the first.
#[derive(Debug)]
pub(crate) struct Retries {
    backoff: Backoff,
    budget: RetryBudget,
    deadline: Instant,
}

impl Retries {
    /// Until `total` is over.
    pub(crate) fn within(total: Duration, budget: &RetryBudget) -> Self {
        let (backoff, budget) = (Backoff::standard(), budget.clone());
        Self { backoff, budget, deadline: Instant::now() + total }
    }

    /// Waits until the next attempt is due; `false`, at once, if there is no time left for one.
    pub(crate) async fn wait(&mut self, failed: Failed) -> bool {
        let (delay, asked) = match failed {
            Failed::Unreached => (self.backoff.delay(), Duration::ZERO),
            Failed::Reached(asked) => (self.backoff.delay(), asked.unwrap_or_default()),
        };
        let spread = asked.mul_f64(between(1.0, 1.5));
        if !self.pause(delay.max(spread)).await {
            return false;
        }
        while failed != Failed::Unreached
            && let Err(pause) = self.budget.take()
        {
            if !self.pause(pause.mul_f64(between(1.0, 2.0))).await {
                return false;
            }
        }
        true
    }

    async fn pause(&self, pause: Duration) -> bool {
        let at = Instant::now() + pause;
        if Instant::now() >= self.deadline || at > self.deadline {
            return false;
        }
        tokio::time::sleep_until(at).await;
        true
    }
}

fn between(least: f64, most: f64) -> f64 {
    rand::rng().random_range(least..=most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::task::JoinSet;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A gateway that does so much a second and refuses the rest, and what it was asked.
    struct Gate {
        begun: Instant,
        a_second: u64,
        done: AtomicU64,
        asked: AtomicU64,
    }

    impl Gate {
        fn new(a_second: u64) -> Arc<Self> {
            let begun = Instant::now();
            Arc::new(Self { begun, a_second, done: AtomicU64::new(0), asked: AtomicU64::new(0) })
        }

        fn ask(&self) -> bool {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let able = self.begun.elapsed().as_millis() as u64 * self.a_second / 1_000;
            let done = self.done.load(Ordering::Relaxed);
            let does = done < able;
            self.done.store(done + u64::from(does), Ordering::Relaxed);
            does
        }
    }

    /// Requests at a rate for a minute, each tried until it is done or has no time left; how many
    /// were made in all, and how many attempts that took.
    async fn flood(gate: &Arc<Gate>, a_second: u64) -> (u64, u64) {
        let (budget, mut requests) = (RetryBudget::of_requests(), JoinSet::new());
        let made = a_second * MINUTE.as_secs();
        for _ in 0..made {
            tokio::time::sleep(Duration::from_micros(1_000_000 / a_second)).await;
            let (gate, budget) = (Arc::clone(gate), budget.clone());
            requests.spawn(async move {
                let mut retries = Retries::within(Duration::from_secs(10), &budget);
                while !gate.ask() {
                    if !retries.wait(Failed::Reached(None)).await {
                        return;
                    }
                }
                budget.earn();
            });
        }
        while requests.join_next().await.is_some() {}
        (made, gate.asked.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn retries_add_a_tenth_of_what_is_done_and_a_few_a_second() {
        let gate = Gate::new(100);
        let (made, asked) = flood(&gate, 500).await;
        let (done, seconds) = (gate.done.load(Ordering::Relaxed), 70);
        assert!(asked > made, "some were tried again: {asked} of {made}");
        assert!(asked <= made + 100 + done / 10 + seconds * 10, "{asked} of {made}, {done} done");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_storms_a_gateway_that_does_nothing() {
        let (made, asked) = flood(&Gate::new(0), 500).await;
        assert!(asked <= made + 100 + 70 * 10, "{asked} of {made}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_is_asked_for_is_waited_and_those_who_were_asked_come_spread() {
        let (budget, asked) = (RetryBudget::of_requests(), Duration::from_millis(800));
        let mut waits = Vec::new();
        for _ in 0..64 {
            let begun = Instant::now();
            let mut retries = Retries::within(MINUTE, &budget);
            assert!(retries.wait(Failed::Reached(Some(asked))).await);
            waits.push(begun.elapsed());
        }
        waits.sort_unstable();
        assert!(waits[0] >= asked, "{waits:?}");
        assert!(waits[63] <= asked * 3 / 2 + Duration::from_millis(2), "{waits:?}");
        assert!(waits[48] - waits[16] > asked / 10, "{waits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_no_waiting_beyond_the_deadline() {
        let begun = Instant::now();
        let mut retries = Retries::within(Duration::from_secs(1), &RetryBudget::of_requests());
        assert!(!retries.wait(Failed::Reached(Some(Duration::from_secs(2)))).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_reached_nobody_costs_nothing() {
        let budget = RetryBudget::new(1, 1);
        let mut retries = Retries::within(MINUTE, &budget);
        for _ in 0..20 {
            assert!(retries.wait(Failed::Unreached).await);
        }
        assert_eq!(budget.take(), Ok(()));
        assert!(budget.take().is_err());
    }
}
