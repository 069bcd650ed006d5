//! Exactly once, within a stated window.
//!
//! A session numbers its commands densely; its window keeps the outcomes that the client has not
//! acknowledged. An HTTP request has a UUIDv7; its principal's outcomes are kept for a stated
//! shard time. What is asked again within the window gets the first answer. What is too old to
//! know is refused, never executed: for sessions by number, for requests by the time inside the
//! id, against a floor that rises with every forgotten outcome. No server's clock takes part.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rotary_proto::ids::{PrincipalId, RequestId};
use rotary_proto::outcome::Answer;
use rotary_proto::{Stamp, limits};
use serde::Serialize;

use crate::digest::{Sum, hash_of};

/// What a window knows of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known<T> {
    /// It has not been seen: execute it.
    New,
    /// It has been executed, with this outcome.
    Repeated(T),
    /// It may have been executed, and nobody knows any more.
    Forgotten,
    /// The client must acknowledge outcomes first.
    Full,
}

/// A session's window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SessionWindow<T> {
    /// Commands up to here are acknowledged.
    floor: u64,
    outcomes: BTreeMap<u64, T>,
}

impl<T> Default for SessionWindow<T> {
    fn default() -> Self {
        Self { floor: 0, outcomes: BTreeMap::new() }
    }
}

impl<T: Clone> SessionWindow<T> {
    /// Looks a command up.
    pub(crate) fn look(&self, number: u64, acknowledged: u64) -> Known<T> {
        if let Some(outcome) = self.outcomes.get(&number) {
            return Known::Repeated(outcome.clone());
        }
        if number <= self.floor.max(acknowledged) {
            Known::Forgotten
        } else if number - self.floor > limits::SESSION_WINDOW_COMMANDS_MAX as u64 {
            Known::Full
        } else {
            Known::New
        }
    }

    /// Forgets what is acknowledged. An acknowledgement beyond what the session can have sent is
    /// cut to that.
    pub(crate) fn acknowledge(&mut self, acknowledged: u64) {
        let newest = self.outcomes.last_key_value().map_or(self.floor, |(number, _)| *number);
        let floor = acknowledged.min(newest).max(self.floor);
        if floor > self.floor {
            self.outcomes = self.outcomes.split_off(&(floor + 1));
            self.floor = floor;
        }
    }

    /// Keeps an outcome.
    pub(crate) fn keep(&mut self, number: u64, outcome: T) {
        debug_assert!(number > self.floor, "an acknowledged command is not executed");
        self.outcomes.insert(number, outcome);
    }

    /// The outcomes that are kept, in order of their numbers.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (u64, &T)> {
        self.outcomes.iter().map(|(number, outcome)| (*number, outcome))
    }

    /// How many outcomes are kept.
    pub(crate) fn len(&self) -> usize {
        self.outcomes.len()
    }
}

/// The next multiple of `FORGET_EVERY_MS`: what is only forgotten is forgotten in bulk, so that a
/// quiet shard is not woken for every outcome it kept.
pub(crate) const fn coarse(at: Stamp) -> Stamp {
    let step = limits::FORGET_EVERY_MS * 1_000;
    Stamp(at.0.div_ceil(step).saturating_mul(step))
}

/// The window of all HTTP requests to a site.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestWindow {
    answers: BTreeMap<(PrincipalId, RequestId), Kept>,
    /// In order of their coming.
    ages: VecDeque<(Stamp, PrincipalId, RequestId)>,
    principals: BTreeMap<PrincipalId, Principal>,
    /// Principals with nothing kept, by their floor.
    idle: BTreeSet<(u64, PrincipalId)>,
    /// The floor of every principal that is not remembered.
    shared_floor_ms: u64,
    sum: Sum,
}

#[derive(Debug, Clone)]
struct Kept {
    answer: Answer,
    hash: u128,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Principal {
    /// The highest time inside any forgotten id, plus one; 0 while none is forgotten.
    floor_ms: u64,
    kept: u32,
    hash: u128,
}

const KEPT: u64 = 101;
const PRINCIPAL: u64 = 102;
const SHARED: u64 = 106;

impl RequestWindow {
    /// Looks a request up.
    pub(crate) fn look(&self, principal: PrincipalId, request: RequestId) -> Known<Answer> {
        if let Some(kept) = self.answers.get(&(principal, request)) {
            return Known::Repeated(kept.answer.clone());
        }
        let known = self.principals.get(&principal);
        let floor_ms = known.map_or(self.shared_floor_ms, |known| known.floor_ms);
        if request.unix_ms() < floor_ms { Known::Forgotten } else { Known::New }
    }

    /// Keeps an answer.
    pub(crate) fn keep(
        &mut self,
        now: Stamp,
        principal: PrincipalId,
        request: RequestId,
        answer: Answer,
        buffer: &mut Vec<u8>,
    ) {
        if self.ages.len() >= limits::REQUEST_WINDOW_REQUESTS_MAX {
            self.forget_oldest(buffer);
        }
        let hash = hash_of(KEPT, &(now, principal, request, &answer), buffer);
        self.sum.add(hash);
        self.answers.insert((principal, request), Kept { answer, hash });
        self.ages.push_back((now, principal, request));
        self.edit_principal(principal, buffer, |known| known.kept += 1);
    }

    /// When the oldest answer is to be forgotten.
    pub(crate) fn due(&self) -> Option<Stamp> {
        self.ages.front().map(|(kept, ..)| coarse(kept.plus_ms(limits::REQUEST_WINDOW_MS)))
    }

    /// Forgets the oldest answer, and that it ever was one: its principal's floor rises to it.
    pub(crate) fn forget_oldest(&mut self, buffer: &mut Vec<u8>) {
        let Some((_, principal, request)) = self.ages.pop_front() else { return };
        if let Some(kept) = self.answers.remove(&(principal, request)) {
            self.sum.subtract(kept.hash);
        }
        self.edit_principal(principal, buffer, |known| {
            known.kept -= 1;
            known.floor_ms = known.floor_ms.max(request.unix_ms() + 1);
        });
    }

    fn edit_principal(
        &mut self,
        principal: PrincipalId,
        buffer: &mut Vec<u8>,
        edit: impl FnOnce(&mut Principal),
    ) {
        let floor_ms = self.shared_floor_ms;
        let fresh = Principal { floor_ms, ..Principal::default() };
        let known = self.principals.entry(principal).or_insert(fresh);
        self.sum.subtract(known.hash);
        self.idle.remove(&(known.floor_ms, principal));
        edit(known);
        if known.kept == 0 {
            self.idle.insert((known.floor_ms, principal));
        }
        known.hash = 0;
        known.hash = hash_of(PRINCIPAL, &(principal, &*known), buffer);
        self.sum.add(known.hash);
        self.share_a_floor(limits::REQUEST_PRINCIPALS_MAX, buffer);
    }

    /// Forgets the idle principal with the oldest floor, where more are remembered than may be:
    /// from then on its floor is that of every unknown one, so that nothing it sent is executed
    /// again.
    fn share_a_floor(&mut self, most: usize, buffer: &mut Vec<u8>) {
        if self.principals.len() <= most {
            return;
        }
        let Some((floor_ms, principal)) = self.idle.pop_first() else { return };
        let gone = self.principals.remove(&principal).expect("idle principals are remembered");
        self.sum.subtract(gone.hash);
        if self.shared_floor_ms > 0 {
            self.sum.subtract(hash_of(SHARED, &self.shared_floor_ms, buffer));
        }
        self.shared_floor_ms = self.shared_floor_ms.max(floor_ms);
        self.sum.add(hash_of(SHARED, &self.shared_floor_ms, buffer));
    }

    /// How many answers are kept.
    pub(crate) fn len(&self) -> usize {
        self.ages.len()
    }

    /// The digest of the window.
    pub(crate) fn sum(&self) -> u128 {
        self.sum.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rotary_proto::outcome::Outcome;

    fn answer(index: u64) -> Answer {
        Answer { outcome: Outcome::OK, repeated: false, sequence: 0, index }
    }

    /// A request id whose UUIDv7 time is `ms`.
    fn request(ms: u64, rest: u128) -> RequestId {
        RequestId(u128::from(ms) << 80 | rest)
    }

    #[test]
    fn a_session_gets_its_first_outcome_until_it_acknowledges() {
        let mut window = SessionWindow::default();
        assert_eq!(window.look(1, 0), Known::New);
        window.keep(1, "one");
        window.keep(3, "three");
        assert_eq!(window.look(1, 0), Known::Repeated("one"));
        assert_eq!(window.look(2, 0), Known::New);
        window.acknowledge(1);
        assert_eq!(window.look(1, 1), Known::Forgotten);
        assert_eq!(window.look(3, 1), Known::Repeated("three"));
        assert_eq!(window.look(65, 1), Known::New);
        assert_eq!(window.look(66, 1), Known::Full);
    }

    #[test]
    fn an_acknowledgement_of_the_future_forgets_only_the_past() {
        let mut window = SessionWindow::default();
        window.keep(1, "one");
        window.acknowledge(u64::MAX);
        assert_eq!(window.look(2, 0), Known::New);
        assert_eq!(window.look(1, 0), Known::Forgotten);
        // Nor does it make room for more outcomes than a window may keep.
        assert_eq!(window.look(66, 65), Known::Full);
    }

    #[test]
    fn a_forgotten_request_is_refused_and_a_new_one_is_not() {
        let (mut window, mut buffer) = (RequestWindow::default(), Vec::new());
        let (one, principal) = (request(1_000, 1), PrincipalId(1));
        window.keep(Stamp(5), principal, one, answer(9), &mut buffer);
        assert_eq!(window.look(principal, one), Known::Repeated(answer(9)));
        assert_eq!(window.look(PrincipalId(2), one), Known::New);
        let due = Stamp::from_ms(limits::REQUEST_WINDOW_MS + limits::FORGET_EVERY_MS);
        assert_eq!(window.due(), Some(due));
        window.forget_oldest(&mut buffer);
        assert_eq!(window.look(principal, one), Known::Forgotten);
        assert_eq!(window.look(principal, request(1_000, 2)), Known::Forgotten);
        assert_eq!(window.look(principal, request(1_001, 1)), Known::New);
        assert_eq!(window.look(PrincipalId(2), one), Known::New);
        assert_eq!((window.len(), window.due()), (0, None));
    }

    #[test]
    fn a_principal_too_many_leaves_its_floor_behind() {
        let (mut window, mut buffer) = (RequestWindow::default(), Vec::new());
        for principal in 1..=2 {
            let id = request(u64::from(principal) * 1_000, 1);
            window.keep(Stamp(5), PrincipalId(principal), id, answer(9), &mut buffer);
        }
        window.forget_oldest(&mut buffer);
        window.share_a_floor(1, &mut buffer);
        assert_eq!(window.look(PrincipalId(1), request(1_000, 1)), Known::Forgotten);
        assert_eq!(window.look(PrincipalId(9), request(1_000, 7)), Known::Forgotten);
        assert_eq!(window.look(PrincipalId(9), request(1_001, 7)), Known::New);
        assert_eq!(window.look(PrincipalId(2), request(2_000, 1)), Known::Repeated(answer(9)));
    }

    #[test]
    fn digests_of_equal_windows_are_equal() {
        let mut buffer = Vec::new();
        let mut one = RequestWindow::default();
        one.keep(Stamp(5), PrincipalId(1), request(7, 1), answer(1), &mut buffer);
        let mut other = one.clone();
        assert_ne!(one.sum(), RequestWindow::default().sum());
        one.forget_oldest(&mut buffer);
        assert_ne!(one.sum(), other.sum());
        other.forget_oldest(&mut buffer);
        assert_eq!(one.sum(), other.sum());
    }
}
