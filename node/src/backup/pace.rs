//! How fast a backup is read: bytes a second, over the whole of it.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Allows so many bytes a second.
pub(crate) struct Pace {
    /// As fast as it goes, if 0.
    bytes_per_second: u64,
    begun: Instant,
    bytes: u64,
}

impl Pace {
    /// From this moment on.
    pub(crate) fn of(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, begun: Instant::now(), bytes: 0 }
    }

    /// How long to wait after so many more bytes.
    pub(crate) fn pause(&mut self, bytes: u64) -> Duration {
        self.pause_after(bytes, self.begun.elapsed())
    }

    fn pause_after(&mut self, bytes: u64, elapsed: Duration) -> Duration {
        self.bytes += bytes;
        if self.bytes_per_second == 0 {
            return Duration::ZERO;
        }
        let due = self.bytes as f64 / self.bytes_per_second as f64;
        Duration::from_secs_f64(due).saturating_sub(elapsed)
    }
}

/// Reads no faster than a pace, on a thread that may wait.
pub(crate) struct Paced<'a, R> {
    pub(crate) from: R,
    pub(crate) pace: &'a mut Pace,
}

impl<R: Read> Read for Paced<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        std::thread::sleep(self.pace.pause(count as u64));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_over_the_whole() {
        let mut pace = Pace::of(1_000);
        assert_eq!(pace.pause_after(500, Duration::ZERO), Duration::from_millis(500));
        assert_eq!(pace.pause_after(500, Duration::from_secs(2)), Duration::ZERO);
        assert_eq!(pace.pause_after(2_000, Duration::from_secs(2)), Duration::from_secs(1));
        assert_eq!(Pace::of(0).pause_after(u64::MAX, Duration::ZERO), Duration::ZERO);
    }
}
