//! How much may be on its way to a shard, found out from how long it takes.
//!
//! As in CoDel (Nichols and Jacobson 2012, "Controlling Queue Delay"), a queue is judged by the
//! *shortest* wait of an interval: a burst makes some waits long, and only a standing queue makes
//! all of them long. The wait is the time of a commit beyond the *floor*, which is what one takes
//! with next to nothing on its way, so that slow disks and long ways are not taken for queues.
//!
//! The limit falls by an eighth at the second interval in a row in which the shortest wait was
//! beyond the target, and at each one after it, from the fourth on by a half where it was twice
//! that: one sync that takes long is not a queue either. It rises by an eighth at an interval in
//! which the wait was short, if what was let through was all that was allowed.
//!
//! A wait that is still too long when the limit has fallen as far as it may is no queue of this
//! gateway's making: it is the floor, which has risen. So a disk that becomes slow costs a second
//! or two of new work, and not all of it for as long as it is slow. The floor falls by an eighth of
//! the way an interval, lest one fast commit among slow ones be taken for it. Pure: the time is
//! given.

use std::time::Duration;

use rotary_proto::limits::{ADMISSION_INTERVAL_MS, PROPOSALS_ADMITTED_MIN, PROPOSALS_AT_FIRST_MAX};

/// The limit of one shard.
#[derive(Debug)]
pub(super) struct Limit {
    limit: usize,
    least: usize,
    most: usize,
    target: Duration,
    /// What a commit takes with next to nothing on its way.
    floor: Option<Duration>,
    /// The fastest commit of this interval.
    fastest: Option<Duration>,
    interval_ends: Duration,
    /// Until then commits come of what was let through before the limit fell.
    falls_again: Duration,
    /// The shortest wait of the last interval.
    wait: Duration,
    /// Intervals in a row in which that was beyond the target.
    late: u32,
}

impl Limit {
    /// Up to `most`, for waits of `target`.
    pub(super) fn new(target: Duration, most: usize) -> Self {
        Self {
            limit: PROPOSALS_AT_FIRST_MAX.min(most),
            least: PROPOSALS_ADMITTED_MIN.min(most),
            most,
            target,
            floor: None,
            fastest: None,
            interval_ends: Duration::ZERO,
            falls_again: Duration::ZERO,
            wait: Duration::ZERO,
            late: 0,
        }
    }

    /// What may be on its way.
    pub(super) const fn value(&self) -> usize {
        self.limit
    }

    /// The shortest wait of the last interval that saw a commit.
    pub(super) const fn wait(&self) -> Duration {
        self.wait
    }

    /// A commit took that long.
    pub(super) fn note(&mut self, took: Duration) {
        self.fastest = Some(self.fastest.map_or(took, |fastest| fastest.min(took)));
    }

    /// Whether an interval is over.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        now >= self.interval_ends
    }

    /// Ends an interval, in which `used` says whether everything that was allowed was wanted.
    pub(super) fn end_interval(&mut self, now: Duration, used: bool) {
        self.interval_ends = now + Duration::from_millis(ADMISSION_INTERVAL_MS);
        let Some(fastest) = self.fastest.take() else { return };
        let settled = now >= self.falls_again;
        let floor = self.next_floor(fastest, settled);
        self.floor = Some(floor);
        self.wait = fastest.saturating_sub(floor);
        self.late = if self.wait > self.target { self.late.saturating_add(1) } else { 0 };
        let limit = match self.late {
            0 if used => self.limit + self.limit / 8 + 1,
            2.. if !settled => self.limit,
            4.. if self.wait > self.target * 2 => self.limit / 2,
            2.. => self.limit - self.limit.div_ceil(8),
            _ => self.limit,
        };
        if limit < self.limit {
            self.falls_again = now + fastest;
        }
        self.limit = limit.clamp(self.least, self.most);
    }

    /// The floor, after an interval whose fastest commit took so long.
    fn next_floor(&self, fastest: Duration, settled: bool) -> Duration {
        let Some(floor) = self.floor else { return fastest };
        let too_long = fastest > floor + self.target;
        if fastest < floor {
            floor - (floor - fastest) / 8
        } else if too_long && settled && self.limit == self.least {
            fastest
        } else {
            floor
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(50);
    const INTERVAL: Duration = Duration::from_millis(ADMISSION_INTERVAL_MS);

    /// A shard that commits one command each `service_us`, and what is on its way to it when
    /// everybody wants more; the waits of the last of `seconds`, in milliseconds.
    fn settle(limit: &mut Limit, now: &mut Duration, service_us: u64, seconds: u64) -> Vec<u64> {
        let mut waits = Vec::new();
        for _ in 0..seconds * 1_000 / ADMISSION_INTERVAL_MS {
            let took = Duration::from_micros(3_000 + service_us * limit.value() as u64);
            limit.note(took);
            *now += INTERVAL;
            limit.end_interval(*now, true);
            waits.push(took.as_millis() as u64);
        }
        waits.split_off(waits.len() - 10)
    }

    #[test]
    fn the_wait_settles_about_the_target_at_any_speed_and_follows_it() {
        let (mut limit, mut now) = (Limit::new(TARGET, 2_048), Duration::ZERO);
        limit.note(Duration::from_millis(3));
        for service_us in [30, 500, 5_000, 100, 2_000] {
            let waits = settle(&mut limit, &mut now, service_us, 20);
            assert!(waits.iter().all(|ms| *ms < 100), "{service_us} us each: {waits:?} ms");
            let enough = 40_000 / service_us as usize;
            assert!(limit.value() >= enough, "{service_us} us each: {}", limit.value());
        }
    }

    #[test]
    fn a_slow_disk_is_no_queue() {
        let (mut limit, mut now) = (Limit::new(TARGET, 512), Duration::ZERO);
        for _ in 0..600 {
            limit.note(Duration::from_millis(400));
            now += INTERVAL;
            limit.end_interval(now, true);
        }
        assert_eq!(limit.value(), 512);
    }

    #[test]
    fn a_queue_that_stands_is_not_taken_for_the_floor() {
        let (mut limit, mut now) = (Limit::new(TARGET, 2_048), Duration::ZERO);
        limit.note(Duration::from_millis(3));
        let waits = settle(&mut limit, &mut now, 1_000, 300);
        assert!(waits.iter().all(|ms| *ms < 150), "after five minutes: {waits:?} ms");
    }

    #[test]
    fn a_disk_that_becomes_slow_costs_a_moment_of_new_work() {
        let (mut limit, mut now) = (Limit::new(TARGET, 512), Duration::ZERO);
        let mut at = Vec::new();
        for interval in 0..300 {
            // However much is on its way, a batch carries it.
            limit.note(Duration::from_millis(if interval < 50 { 3 } else { 160 }));
            now += INTERVAL;
            limit.end_interval(now, true);
            at.push(limit.value());
        }
        let least = at.iter().rposition(|limit| *limit == PROPOSALS_ADMITTED_MIN);
        assert!(least.is_some_and(|at| at < 50 + 30), "{at:?}");
        assert_eq!((at[49], at[49 + 70]), (512, 512), "{at:?}");
    }

    #[test]
    fn one_fast_commit_among_slow_ones_is_not_the_floor() {
        let (mut limit, mut now) = (Limit::new(TARGET, 512), Duration::ZERO);
        for interval in 0..100 {
            limit.note(Duration::from_millis(if interval == 50 { 3 } else { 160 }));
            now += INTERVAL;
            limit.end_interval(now, true);
            assert!(interval < 50 || limit.value() == 512, "{interval}: {}", limit.value());
        }
    }

    #[test]
    fn one_long_wait_among_short_ones_says_nothing() {
        let mut limit = Limit::new(TARGET, 2_048);
        limit.note(Duration::from_millis(3));
        limit.note(Duration::from_secs(3));
        limit.end_interval(INTERVAL, false);
        assert_eq!((limit.value(), limit.wait()), (PROPOSALS_AT_FIRST_MAX, Duration::ZERO));
    }

    #[test]
    fn a_sync_that_takes_long_is_not_a_queue() {
        let (mut limit, mut now) = (Limit::new(TARGET, 512), Duration::ZERO);
        for interval in 0..200 {
            limit.note(Duration::from_millis(if interval % 5 == 4 { 300 } else { 3 }));
            now += INTERVAL;
            limit.end_interval(now, true);
        }
        assert_eq!(limit.value(), 512);
    }

    #[test]
    fn an_interval_without_commits_changes_nothing() {
        let mut limit = Limit::new(TARGET, 2_048);
        limit.end_interval(INTERVAL, true);
        assert_eq!(limit.value(), PROPOSALS_AT_FIRST_MAX);
    }
}
