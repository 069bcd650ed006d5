//! Shard time on one replica.
//!
//! Time runs only while this node leads the shard and a quorum answers it. The arithmetic is pure:
//! every reading is given the local instant and the instant of the last quorum's answer, and what a
//! leader spends beyond its lease without one is not counted.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rotary_proto::Stamp;
use tokio::time::Instant;

/// One shard's clock.
#[derive(Debug)]
pub(crate) struct ShardClock {
    lease: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The stamp of the last applied entry.
    applied: Stamp,
    /// Where time stood at `since`; it runs from there while in office.
    base: Stamp,
    office: Option<Office>,
}

#[derive(Debug)]
struct Office {
    since: Instant,
    /// The latest instant at which a quorum is known to have answered.
    acked: Instant,
}

impl ShardClock {
    pub(crate) fn new(lease: Duration) -> Self {
        let state = State { applied: Stamp::ZERO, base: Stamp::ZERO, office: None };
        Self { lease, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    /// This node leads from `now` on: time runs from the last applied stamp.
    pub(crate) fn take_office(&self, now: Instant) {
        let mut state = self.lock();
        state.base = state.applied;
        state.office = Some(Office { since: now, acked: now });
    }

    /// This node no longer leads: time stands at the last applied stamp.
    pub(crate) fn leave_office(&self) {
        self.lock().office = None;
    }

    /// An entry with that stamp was applied at `now`.
    pub(crate) fn applied(&self, stamp: Stamp, now: Instant) {
        let mut state = self.lock();
        let reading = state.reading(now, self.lease);
        state.applied = state.applied.max(stamp);
        if stamp > reading {
            // An entry of an earlier leader was ahead of this one's time: go on from there.
            state.base = stamp;
            if let Some(office) = &mut state.office {
                office.since = now;
            }
        }
    }

    /// Shard time at `now`, given when a quorum last answered this leader.
    pub(crate) fn read(&self, now: Instant, quorum_acked: Option<Instant>) -> Stamp {
        let mut state = self.lock();
        if let (Some(acked), Some(office)) = (quorum_acked, &mut state.office)
            && acked > office.acked
        {
            // What lies between two answers of a quorum, beyond a lease, was time without one.
            let silent = acked.saturating_duration_since(office.acked + self.lease);
            office.since = (office.since + silent).min(acked);
            office.acked = acked;
        }
        state.reading(now, self.lease)
    }
}

impl State {
    fn reading(&self, now: Instant, lease: Duration) -> Stamp {
        let Some(office) = &self.office else { return self.applied };
        let until = now.min(office.acked + lease);
        let micros = until.saturating_duration_since(office.since).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        Stamp(self.base.0.saturating_add(micros)).max(self.applied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(600);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn time_stands_still_out_of_office_and_runs_in_it() {
        let (clock, start) = (ShardClock::new(LEASE), Instant::now());
        clock.applied(Stamp::from_ms(50), start);
        assert_eq!(clock.read(start + ms(900), None), Stamp::from_ms(50));
        clock.take_office(start + ms(1000));
        assert_eq!(clock.read(start + ms(1300), None), Stamp::from_ms(350));
        clock.applied(Stamp::from_ms(340), start + ms(1300));
        clock.leave_office();
        assert_eq!(clock.read(start + ms(9000), None), Stamp::from_ms(340));
    }

    #[test]
    fn an_entry_ahead_of_time_moves_it() {
        let (clock, start) = (ShardClock::new(LEASE), Instant::now());
        clock.take_office(start);
        clock.applied(Stamp::from_ms(80), start + ms(10));
        assert_eq!(clock.read(start + ms(30), None), Stamp::from_ms(100));
        clock.applied(Stamp::from_ms(90), start + ms(40));
        assert_eq!(clock.read(start + ms(40), None), Stamp::from_ms(110));
    }

    #[test]
    fn time_without_a_quorum_is_not_counted() {
        let (clock, start) = (ShardClock::new(LEASE), Instant::now());
        clock.take_office(start);
        let acked = start + ms(100);
        assert_eq!(clock.read(start + ms(150), Some(acked)), Stamp::from_ms(150));
        assert_eq!(clock.read(start + ms(5000), Some(acked)), Stamp::from_ms(700));
        let again = start + ms(10_000);
        assert_eq!(clock.read(again, Some(again)), Stamp::from_ms(700));
        assert_eq!(clock.read(again + ms(50), Some(again)), Stamp::from_ms(750));
    }
}
