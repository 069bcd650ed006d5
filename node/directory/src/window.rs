//! Which requests have been answered, and how: the memory behind a safe retry.

use std::collections::{BTreeMap, VecDeque};

use rotary_proto::{PrincipalId, RequestId, Stamp, limits};

use crate::command::DirectoryOutcome;

/// Most requests whose outcomes are kept; the oldest is forgotten first.
pub(crate) const REQUESTS_MAX: usize = 65_536;

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
/// What is forgotten leaves a floor: no key whose own time is at or below it is ever executed,
/// because nobody could tell whether it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Window {
    kept: BTreeMap<Key, Kept>,
    order: VecDeque<(Stamp, Key)>,
    floor_unix_ms: u64,
}

impl Window {
    /// A window without outcomes, in which keys up to a time are forgotten.
    pub(crate) fn forgotten_up_to(floor_unix_ms: u64) -> Self {
        Self { floor_unix_ms, ..Self::default() }
    }

    /// Up to which time in a key it is forgotten.
    pub(crate) fn floor_unix_ms(&self) -> u64 {
        self.floor_unix_ms
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
        match self.kept.get(&key) {
            Some(kept) => Known::Answered(kept.clone()),
            None if key.1.unix_ms() <= self.floor_unix_ms => Known::Forgotten,
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
            self.floor_unix_ms = self.floor_unix_ms.max(oldest.1.unix_ms());
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
    fn the_window_is_bounded_in_number_too() {
        let mut window = Window::default();
        for n in 0..=REQUESTS_MAX as u64 {
            window.keep(Stamp(n), key(n + 1), kept(n));
        }
        assert_eq!(window.kept.len(), REQUESTS_MAX);
        assert_eq!(window.look(key(1)), Known::Forgotten);
    }
}
