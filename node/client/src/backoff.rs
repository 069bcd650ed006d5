//! How long to wait before trying again: full jitter.
//!
//! The n-th wait is uniform between zero and `base * 2^n`, at most `cap` (Brooker 2015,
//! "Exponential Backoff and Jitter"): clients that lost the same node do not return in step. The
//! first retry does not wait, because another gateway is most likely well.

use std::time::Duration;

use rand::RngExt as _;

/// The waits of one series of attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// From 50 ms, doubled up to 2 s.
    pub const fn standard() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(2))
    }

    /// From `base`, doubled up to `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, attempt: 0 }
    }

    /// The bound of the next wait; zero before the first retry.
    fn ceiling(&self) -> Duration {
        match self.attempt {
            0 => Duration::ZERO,
            n => self.base.saturating_mul(1 << (n - 1).min(16)).min(self.cap),
        }
    }

    /// The next wait.
    pub fn delay(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.attempt = self.attempt.saturating_add(1);
        ceiling.mul_f64(rand::rng().random_range(0.0..=1.0))
    }

    /// The series is over: the next failure begins a new one.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_is_at_once_and_later_ones_are_bounded() {
        let mut backoff = Backoff::standard();
        assert_eq!(backoff.delay(), Duration::ZERO);
        let ceilings: Vec<u128> = (0..8)
            .map(|_| {
                let ceiling = backoff.ceiling();
                assert!(backoff.delay() <= ceiling);
                ceiling.as_millis()
            })
            .collect();
        assert_eq!(ceilings, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        backoff.reset();
        assert_eq!(backoff.delay(), Duration::ZERO);
    }
}
