//! How often something may be tried, by whom.
//!
//! A fixed number of buckets, chosen by a keyed hash: nobody can make the table grow, and nobody
//! can choose with whom they share a bucket. Each bucket is one instant, as in the leaky bucket of
//! ATM's cell rate: every attempt moves it on by the pause that is due after one, and an attempt is
//! refused while it is further ahead than the burst that is granted. What this node counts, no
//! other node knows.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Buckets of a table; who shares one, shares what may be tried.
const BUCKETS: usize = 65_536;

/// Counts attempts.
pub(crate) struct Throttle {
    /// How far each bucket is ahead, in milliseconds since `begun`.
    ahead: Mutex<Vec<u64>>,
    hasher: RandomState,
    begun: Instant,
    burst: u64,
    pause_ms: u64,
}

impl Throttle {
    /// A table that grants `burst` attempts at once, and one more after each `pause`.
    pub(crate) fn new(burst: u64, pause: Duration) -> Self {
        assert!(burst > 0, "an attempt at all must be possible");
        let pause_ms = pause.as_millis() as u64;
        let (ahead, hasher) = (Mutex::new(vec![0; BUCKETS]), RandomState::new());
        Self { ahead, hasher, begun: Instant::now(), burst, pause_ms }
    }

    /// Counts an attempt, or refuses it and says in how many milliseconds to try again.
    pub(crate) fn take(&self, who: &impl Hash) -> Result<(), u64> {
        self.take_at(who, self.now_ms())
    }

    fn take_at(&self, who: &impl Hash, now_ms: u64) -> Result<(), u64> {
        let mut buckets = self.buckets();
        let bucket = &mut buckets[self.bucket(who)];
        let next = (*bucket).max(now_ms) + self.pause_ms;
        let most = now_ms + self.burst * self.pause_ms;
        if next > most {
            return Err(next - most);
        }
        *bucket = next;
        Ok(())
    }

    /// In how many milliseconds another attempt would be granted, if not at once.
    pub(crate) fn spent(&self, who: &impl Hash) -> Option<u64> {
        self.spent_at(who, self.now_ms())
    }

    fn spent_at(&self, who: &impl Hash, now_ms: u64) -> Option<u64> {
        let next = self.buckets()[self.bucket(who)].max(now_ms) + self.pause_ms;
        let most = now_ms + self.burst * self.pause_ms;
        (next > most).then(|| next - most)
    }

    /// Takes an attempt back that turned out to be none to fear.
    pub(crate) fn give_back(&self, who: &impl Hash) {
        let bucket = self.bucket(who);
        let mut buckets = self.buckets();
        buckets[bucket] = buckets[bucket].saturating_sub(self.pause_ms);
    }

    fn bucket(&self, who: &impl Hash) -> usize {
        self.hasher.hash_one(who) as usize % BUCKETS
    }

    fn buckets(&self) -> MutexGuard<'_, Vec<u64>> {
        self.ahead.lock().expect("nothing panics under this lock")
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_granted_and_then_one_after_each_pause() {
        let throttle = Throttle::new(3, Duration::from_secs(10));
        let granted = |now| throttle.take_at(&"ana", now);
        assert_eq!([granted(0), granted(0), granted(5)], [Ok(()); 3]);
        assert_eq!((granted(5), throttle.spent_at(&"ana", 5)), (Err(9_995), Some(9_995)));
        assert_eq!(throttle.spent_at(&"ana", 10_000), None);
        assert_eq!([granted(10_000), granted(10_000)], [Ok(()), Err(10_000)]);
        assert_eq!([granted(90_000), granted(90_000), granted(90_000)], [Ok(()); 3]);
        assert_eq!(granted(90_000), Err(10_000));
    }

    #[test]
    fn what_is_given_back_was_not_tried() {
        let throttle = Throttle::new(1, Duration::from_secs(10));
        for _ in 0..5 {
            assert_eq!(throttle.take_at(&"ana", 7), Ok(()));
            throttle.give_back(&"ana");
        }
        assert_eq!(
            [throttle.take_at(&"ana", 7), throttle.take_at(&"ana", 7)],
            [Ok(()), Err(10_000)]
        );
    }

    #[test]
    fn others_are_counted_apart() {
        let throttle = Throttle::new(1, Duration::from_secs(10));
        let refused = (0..100).filter(|who| throttle.take_at(who, 0).is_err()).count();
        assert!(refused < 5, "{refused} of 100 shared a bucket of {BUCKETS}");
    }
}
