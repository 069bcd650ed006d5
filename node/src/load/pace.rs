//! How fast people live, and the signal to hurry.

use std::time::Duration;

use tokio::sync::watch;

/// Times of the day, made real.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    speed: f64,
    hurry: watch::Receiver<bool>,
}

impl Pace {
    /// `speed` times as fast as life, until told to hurry.
    pub(super) fn new(speed: f64, hurry: watch::Receiver<bool>) -> Self {
        Self { speed, hurry }
    }

    /// How long `seconds` of the day take.
    pub(super) fn real(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64((seconds / self.speed).clamp(0.0, 86_400.0))
    }

    /// A deadline of the day for a queue's plan, but not shorter than `least_ms`: sockets and logs
    /// are no faster than in life.
    pub(super) fn deadline_ms(&self, seconds: f64, least_ms: u64) -> u64 {
        (self.real(seconds).as_millis() as u64).max(least_ms)
    }

    /// Waits for `seconds` of the day; little once everybody hurries.
    pub(super) async fn pause(&self, seconds: f64) {
        tokio::select! {
            biased;
            () = tokio::time::sleep(self.real(seconds)) => {}
            () = raised(self.hurry.clone()) => {
                tokio::time::sleep(self.real(seconds).min(Duration::from_millis(20))).await;
            }
        }
    }

    /// Whether everybody hurries.
    pub(super) fn hurries(&self) -> bool {
        *self.hurry.borrow()
    }
}

/// Waits until a flag is up, or can no longer be raised.
pub(super) async fn raised(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|up| *up).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn people_are_as_fast_as_told_until_they_hurry() {
        let (hurry, hurries) = watch::channel(false);
        let pace = Pace::new(60.0, hurries);
        let begun = tokio::time::Instant::now();
        pace.pause(6.0).await;
        assert!(begun.elapsed() >= Duration::from_millis(100));
        hurry.send_replace(true);
        pace.pause(1_200.0).await;
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(pace.hurries());
    }

    #[test]
    fn a_deadline_is_no_shorter_than_machines_need() {
        let pace = Pace::new(100.0, watch::channel(false).1);
        assert_eq!(pace.deadline_ms(20.0, 2_000), 2_000);
        assert_eq!(pace.deadline_ms(3_600.0, 2_000), 36_000);
    }
}
