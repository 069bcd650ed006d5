//! Which requests have been answered, and how: the memory behind a safe retry.

use std::collections::{BTreeMap, VecDeque};

use rotary_proto::{PrincipalId, RequestId, Stamp, limits};

use crate::command::DirectoryOutcome;

/// Most requests whose outcomes are kept; the oldest is forgotten first.
pub(crate) const REQUESTS_MAX: usize = 65_536;
/// Principals with a floor of their own; beyond it the lowest becomes everybody else's.
pub(crate) const FLOORS_MAX: usize = 4_096;

pub(crate) type Key = (PrincipalId, RequestId);

/// An outcome that a retry will ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) outcome: DirectoryOutcome,
    pub(crate) index: u64,
}

/// What the window knows of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Never seen, and new enough that it would be known.
    New,
    /// Answered before.
    Answered(Kept),
    /// So old that an answer may have been forgotten.
    Forgotten,
}

/// Outcomes of the last requests, in the order they were given.
///
/// What is forgotten leaves its principal a floor: no key whose own time is at or below it is ever
/// executed, because nobody could tell whether it was. Whose clock is ahead shuts out nobody else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Window {
    kept: BTreeMap<Key, Kept>,
    order: VecDeque<(Stamp, Key)>,
    floors: BTreeMap<PrincipalId, u64>,
    /// Of every principal that has none of its own.
    shared_floor_unix_ms: u64,
}

impl Window {
    /// A window without outcomes, in which all principals' keys up to a time are forgotten.
    pub(crate) fn forgotten_up_to(shared_floor_unix_ms: u64) -> Self {
        Self { shared_floor_unix_ms, ..Self::default() }
    }

    /// Up to which time in a key it is forgotten, for principals without a floor of their own.
    pub(crate) fn shared_floor_unix_ms(&self) -> u64 {
        self.shared_floor_unix_ms
    }

    /// Up to which time in a key it is forgotten, for each principal with a floor of its own.
    pub(crate) fn floors(&self) -> impl ExactSizeIterator<Item = (PrincipalId, u64)> {
        self.floors.iter().map(|(principal, floor)| (*principal, *floor))
    }

    /// Puts a floor back; whether principals come in order, and within the bound.
    pub(crate) fn restore_floor(&mut self, principal: PrincipalId, floor_unix_ms: u64) -> bool {
        let fine = self.floors.len() < FLOORS_MAX
            && self.floors.last_key_value().is_none_or(|(last, _)| *last < principal);
        if fine {
            self.floors.insert(principal, floor_unix_ms);
        }
        fine
    }

    fn floor_of(&self, principal: PrincipalId) -> u64 {
        self.floors.get(&principal).copied().unwrap_or(self.shared_floor_unix_ms)
    }

    fn raise_floor(&mut self, principal: PrincipalId, unix_ms: u64) {
        let floor = self.floor_of(principal).max(unix_ms);
        self.floors.insert(principal, floor);
        if self.floors.len() > FLOORS_MAX {
            let lowest = self.floors.iter().map(|(principal, floor)| (*floor, *principal)).min();
            let (floor, principal) = lowest.expect("there are more than the bound");
            self.floors.remove(&principal);
            self.shared_floor_unix_ms = self.shared_floor_unix_ms.max(floor);
        }
    }

    /// Every outcome, oldest first.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (Stamp, Key, &Kept)> {
        self.order.iter().map(|(at, key)| {
            let kept = self.kept.get(key).expect("every key in line has its outcome");
            (*at, *key, kept)
        })
    }

    /// Puts an outcome back, the oldest first; whether it is the first of its key and within the
    /// bound.
    pub(crate) fn restore(&mut self, at: Stamp, key: Key, kept: Kept) -> bool {
        let new = self.order.len() < REQUESTS_MAX && self.kept.insert(key, kept).is_none();
        if new {
            self.order.push_back((at, key));
        }
        new
    }

    /// What is known of that key.
    pub(crate) fn look(&self, key: Key) -> Known {
        let old = key.1.time_ms().is_some_and(|time| time <= self.floor_of(key.0));
        match self.kept.get(&key) {
            Some(kept) => Known::Answered(kept.clone()),
            None if old => Known::Forgotten,
            None => Known::New,
        }
    }

    /// Keeps an outcome, and forgets what is too old or too many.
    pub(crate) fn keep(&mut self, now: Stamp, key: Key, kept: Kept) {
        let before = self.kept.insert(key, kept);
        assert!(before.is_none(), "a key is answered once");
        self.order.push_back((now, key));
        while let Some((given, oldest)) = self.order.front().copied() {
            let old = now.ms_since(given) > limits::REQUEST_WINDOW_MS;
            if !old && self.order.len() <= REQUESTS_MAX {
                break;
            }
            self.order.pop_front();
            self.kept.remove(&oldest);
            if let Some(time) = oldest.1.time_ms() {
                self.raise_floor(oldest.0, time);
            }
        }
        assert_eq!(self.kept.len(), self.order.len(), "every kept outcome has its place in line");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::DirectoryDone;

    fn key(unix_ms: u64) -> Key {
        (PrincipalId(1), RequestId(u128::from(unix_ms) << 80 | 7))
    }

    fn kept(index: u64) -> Kept {
        Kept { outcome: DirectoryOutcome::Done(DirectoryDone::Ok), index }
    }

    #[test]
    fn an_answer_is_kept_for_ten_minutes_and_then_never_executed_again() {
        let mut window = Window::default();
        assert_eq!(window.look(key(100)), Known::New);
        window.keep(Stamp::from_ms(1), key(100), kept(5));
        assert_eq!(window.look(key(100)), Known::Answered(kept(5)));
        window.keep(Stamp::from_ms(limits::REQUEST_WINDOW_MS + 2), key(200), kept(6));
        assert_eq!(window.look(key(100)), Known::Forgotten);
        assert_eq!(window.look(key(99)), Known::Forgotten);
        assert_eq!(window.look(key(101)), Known::New);
        assert_eq!(window.look(key(200)), Known::Answered(kept(6)));
    }

    #[test]
    fn a_clock_ahead_shuts_out_nobody_else() {
        let mut window = Window::default();
        let honest = |principal, ms: u64| (PrincipalId(principal), key(ms).1);
        window.keep(Stamp::from_ms(1), key(9_000_000), kept(5));
        let anonymous = (PrincipalId(1), RequestId::without_time(3));
        window.keep(Stamp::from_ms(1), anonymous, kept(6));
        window.keep(Stamp::from_ms(limits::REQUEST_WINDOW_MS + 2), honest(2, 200), kept(7));
        assert_eq!(window.look(honest(1, 201)), Known::Forgotten);
        assert_eq!(window.look(honest(2, 201)), Known::New);
        assert_eq!(window.look((PrincipalId(1), RequestId::without_time(4))), Known::New);
    }

    #[test]
    fn a_principal_too_many_shares_the_lowest_floor() {
        let mut window = Window::default();
        for principal in 0..=FLOORS_MAX as u32 {
            window.raise_floor(PrincipalId(principal), 100 + u64::from(principal));
        }
        assert_eq!(window.floors.len(), FLOORS_MAX);
        let of = |principal, ms: u64| (PrincipalId(principal), key(ms).1);
        assert_eq!(window.look(of(0, 100)), Known::Forgotten);
        assert_eq!(window.look(of(u32::MAX, 100)), Known::Forgotten);
        assert_eq!(window.look(of(u32::MAX, 101)), Known::New);
        assert_eq!(window.look(of(FLOORS_MAX as u32, 101)), Known::Forgotten);
    }

    #[test]
    fn the_window_is_bounded_in_number_too() {
        let mut window = Window::default();
        for n in 0..=REQUESTS_MAX as u64 {
            window.keep(Stamp(n), key(n + 1), kept(n));
        }
        assert_eq!(window.kept.len(), REQUESTS_MAX);
        assert_eq!(window.look(key(1)), Known::Forgotten);
    }
}
