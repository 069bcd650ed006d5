//! Exactly once, within a stated window.
//!
//! A session numbers its commands densely; its window keeps the outcomes that the client has not
//! acknowledged. An HTTP request has a UUIDv7; its principal's outcomes are kept for a stated
//! shard time. What is asked again within the window gets the first answer. What is too old to
//! know is refused, never executed: for sessions by number, for requests by the time inside the
//! id, against a floor that rises with every forgotten outcome. No server's clock takes part: what
//! a client sent without a key has an id without a time, and moves no floor.

use std::collections::{BTreeMap, BTreeSet};

use rotary_proto::ids::{PrincipalId, RequestId};
use rotary_proto::outcome::Answer;
use rotary_proto::{Stamp, limits};
use serde::{Deserialize, Serialize};

use crate::digest::{Sum, hash_of};
use crate::page::{Fifo, FrozenFifo};
use crate::table::{FrozenTable, Table};

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

/// A session's window. Most sessions keep an outcome or two, so these lie in a row: a map would
/// take a kibibyte for the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionWindow<T> {
    /// Commands up to here are acknowledged.
    floor: u64,
    /// In order of their numbers.
    outcomes: Vec<(u64, T)>,
}

/// Outcomes that a window keeps room for when it has fewer.
const ROOM: usize = 4;

impl<T> Default for SessionWindow<T> {
    fn default() -> Self {
        Self { floor: 0, outcomes: Vec::new() }
    }
}

impl<T: Clone> SessionWindow<T> {
    /// Looks a command up.
    pub(crate) fn look(&self, number: u64, acknowledged: u64) -> Known<T> {
        if let Ok(place) = self.place(number) {
            return Known::Repeated(self.outcomes[place].1.clone());
        }
        if number <= self.floor.max(acknowledged) {
            Known::Forgotten
        } else if number - self.floor > limits::SESSION_WINDOW_COMMANDS_MAX as u64 {
            Known::Full
        } else {
            Known::New
        }
    }

    fn place(&self, number: u64) -> Result<usize, usize> {
        self.outcomes.binary_search_by_key(&number, |(number, _)| *number)
    }

    /// Forgets what is acknowledged. An acknowledgement beyond what the session can have sent is
    /// cut to that.
    pub(crate) fn acknowledge(&mut self, acknowledged: u64) {
        let newest = self.outcomes.last().map_or(self.floor, |(number, _)| *number);
        let floor = acknowledged.min(newest).max(self.floor);
        if floor > self.floor {
            let gone = self.outcomes.partition_point(|(number, _)| *number <= floor);
            self.outcomes.drain(..gone);
            self.outcomes.shrink_to(ROOM);
            self.floor = floor;
        }
    }

    /// Keeps an outcome.
    pub(crate) fn keep(&mut self, number: u64, outcome: T) {
        debug_assert!(number > self.floor, "an acknowledged command is not executed");
        match self.place(number) {
            Ok(place) => self.outcomes[place].1 = outcome,
            Err(place) => self.outcomes.insert(place, (number, outcome)),
        }
    }

    /// The outcomes that are kept, in order of their numbers.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (u64, &T)> {
        self.outcomes.iter().map(|(number, outcome)| (*number, outcome))
    }

    /// How many outcomes are kept.
    pub(crate) fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// Whether its outcomes are in order, and none is acknowledged.
    pub(crate) fn is_in_order(&self) -> bool {
        self.outcomes.is_sorted_by(|(one, _), (other, _)| one < other)
            && self.outcomes.first().is_none_or(|(number, _)| *number > self.floor)
    }
}

/// The next multiple of `FORGET_EVERY_MS`: what is only forgotten is forgotten in bulk, so that a
/// quiet shard is not woken for every outcome it kept.
pub(crate) const fn coarse(at: Stamp) -> Stamp {
    let step = limits::FORGET_EVERY_MS * 1_000;
    Stamp(at.0.div_ceil(step).saturating_mul(step))
}

/// The window of all HTTP requests to a site.
#[derive(Debug, Clone)]
pub(crate) struct RequestWindow {
    /// Outcomes in order of their coming.
    kept: Fifo<Kept>,
    /// Where in `kept` a request's outcome is.
    places: BTreeMap<(PrincipalId, RequestId), u64>,
    principals: Table<PrincipalId, Principal>,
    /// Principals with nothing kept, by their floor.
    idle: BTreeSet<(u64, PrincipalId)>,
    /// The floor of every principal that is not remembered.
    shared_floor_ms: u64,
    sum: Sum,
}

/// An outcome in the window.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) at: Stamp,
    pub(crate) principal: PrincipalId,
    pub(crate) request: RequestId,
    pub(crate) answer: Answer,
    hash: u128,
}

/// What is remembered of a principal.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Principal {
    /// The highest time inside any forgotten id, plus one; 0 while none is forgotten.
    pub(crate) floor_ms: u64,
    kept: u32,
}

/// A [`RequestWindow`] as it was.
#[derive(Debug)]
pub(crate) struct FrozenRequests {
    pub(crate) kept: FrozenFifo<Kept>,
    pub(crate) principals: FrozenTable<PrincipalId, Principal>,
    pub(crate) shared_floor_ms: u64,
}

const KEPT: u64 = 101;
const PRINCIPAL: u64 = 102;
const SHARED: u64 = 106;

impl Default for RequestWindow {
    fn default() -> Self {
        Self {
            kept: Fifo::default(),
            places: BTreeMap::new(),
            principals: Table::new(PRINCIPAL),
            idle: BTreeSet::new(),
            shared_floor_ms: 0,
            sum: Sum::ZERO,
        }
    }
}

impl RequestWindow {
    /// Looks a request up.
    pub(crate) fn look(&self, principal: PrincipalId, request: RequestId) -> Known<Answer> {
        let place = self.places.get(&(principal, request));
        if let Some(kept) = place.and_then(|place| self.kept.at(*place)) {
            return Known::Repeated(kept.answer.clone());
        }
        let known = self.principals.get(principal);
        let floor_ms = known.map_or(self.shared_floor_ms, |known| known.floor_ms);
        let old = request.time_ms().is_some_and(|time| time < floor_ms);
        if old { Known::Forgotten } else { Known::New }
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
        if self.kept.len() >= limits::REQUEST_WINDOW_REQUESTS_MAX {
            self.forget_oldest(buffer);
        }
        self.remember(now, principal, request, answer, buffer);
        self.share_a_floor(limits::REQUEST_PRINCIPALS_MAX, buffer);
    }

    fn remember(
        &mut self,
        at: Stamp,
        principal: PrincipalId,
        request: RequestId,
        answer: Answer,
        buffer: &mut Vec<u8>,
    ) {
        let hash = hash_of(KEPT, &(at, principal, request, &answer), buffer);
        self.sum.add(hash);
        let place = self.kept.push(Kept { at, principal, request, answer, hash });
        self.places.insert((principal, request), place);
        self.edit_principal(principal, buffer, |known| known.kept += 1);
    }

    /// When the oldest answer is to be forgotten.
    pub(crate) fn due(&self) -> Option<Stamp> {
        self.kept.front().map(|kept| coarse(kept.at.plus_ms(limits::REQUEST_WINDOW_MS)))
    }

    /// Forgets the oldest answer, and that it ever was one: its principal's floor rises to it.
    pub(crate) fn forget_oldest(&mut self, buffer: &mut Vec<u8>) {
        let Some(Kept { principal, request, hash, .. }) = self.kept.front() else { return };
        let (principal, request) = (*principal, *request);
        self.sum.subtract(*hash);
        self.kept.drop_front();
        self.places.remove(&(principal, request));
        self.edit_principal(principal, buffer, |known| {
            known.kept -= 1;
            let above = request.time_ms().map_or(0, |time| time + 1);
            known.floor_ms = known.floor_ms.max(above);
        });
        self.share_a_floor(limits::REQUEST_PRINCIPALS_MAX, buffer);
    }

    fn edit_principal(
        &mut self,
        principal: PrincipalId,
        buffer: &mut Vec<u8>,
        edit: impl FnOnce(&mut Principal),
    ) {
        if !self.principals.contains(principal) {
            let floor_ms = self.shared_floor_ms;
            self.principals.put(principal, Principal { floor_ms, kept: 0 });
        }
        let known = self.principals.edit(principal).expect("put in if it was not there");
        if known.kept == 0 {
            self.idle.remove(&(known.floor_ms, principal));
        }
        edit(known);
        if known.kept == 0 {
            self.idle.insert((known.floor_ms, principal));
        }
        self.principals.settle(0, buffer);
    }

    /// Forgets the idle principal with the oldest floor, where more are remembered than may be:
    /// from then on its floor is that of every unknown one, so that nothing it sent is executed
    /// again.
    fn share_a_floor(&mut self, most: usize, buffer: &mut Vec<u8>) {
        if self.principals.len() <= most {
            return;
        }
        let Some((floor_ms, principal)) = self.idle.pop_first() else { return };
        self.principals.take(principal).expect("idle principals are remembered");
        let shared_floor_ms = self.shared_floor_ms.max(floor_ms);
        self.set_shared_floor(shared_floor_ms, buffer);
    }

    fn set_shared_floor(&mut self, floor_ms: u64, buffer: &mut Vec<u8>) {
        if self.shared_floor_ms > 0 {
            self.sum.subtract(hash_of(SHARED, &self.shared_floor_ms, buffer));
        }
        self.shared_floor_ms = floor_ms;
        if floor_ms > 0 {
            self.sum.add(hash_of(SHARED, &floor_ms, buffer));
        }
    }

    /// How many answers are kept.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// The digest of the window.
    pub(crate) fn sum(&self) -> u128 {
        self.sum.value().wrapping_add(self.principals.sum())
    }

    /// A view of the window as it is at present.
    pub(crate) fn freeze(&mut self) -> FrozenRequests {
        FrozenRequests {
            kept: self.kept.freeze(),
            principals: self.principals.freeze(),
            shared_floor_ms: self.shared_floor_ms,
        }
    }

    /// Gives an empty window the floor of unknown principals.
    pub(crate) fn restore_shared_floor(&mut self, floor_ms: u64) {
        self.set_shared_floor(floor_ms, &mut Vec::new());
    }

    /// Puts back a principal's floor; whether it is a new principal, and within the bound.
    pub(crate) fn restore_principal(&mut self, principal: PrincipalId, floor_ms: u64) -> bool {
        let most = limits::REQUEST_PRINCIPALS_MAX + limits::REQUEST_WINDOW_REQUESTS_MAX;
        let new = !self.principals.contains(principal) && self.principals.len() < most;
        if new {
            self.principals.put(principal, Principal { floor_ms, kept: 0 });
            self.idle.insert((floor_ms, principal));
            self.principals.settle(0, &mut Vec::new());
        }
        new
    }

    /// Puts back an outcome, the oldest first; whether its principal is there, it is the first of
    /// its request, and within the bound.
    pub(crate) fn restore_outcome(
        &mut self,
        kept: (Stamp, PrincipalId, RequestId, Answer),
    ) -> bool {
        let (at, principal, request, answer) = kept;
        let new = self.principals.contains(principal)
            && !self.places.contains_key(&(principal, request))
            && self.kept.len() < limits::REQUEST_WINDOW_REQUESTS_MAX;
        if new {
            self.remember(at, principal, request, answer, &mut Vec::new());
        }
        new
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
    fn a_request_without_a_time_moves_no_floor_and_meets_none() {
        let (mut window, mut buffer) = (RequestWindow::default(), Vec::new());
        let principal = PrincipalId(1);
        let [one, other] = [3, 4].map(RequestId::without_time);
        window.keep(Stamp(5), principal, one, answer(9), &mut buffer);
        assert_eq!(window.look(principal, one), Known::Repeated(answer(9)));
        window.forget_oldest(&mut buffer);
        assert_eq!(window.look(principal, request(0, 1)), Known::New);
        window.keep(Stamp(5), principal, request(9_000, 1), answer(9), &mut buffer);
        window.forget_oldest(&mut buffer);
        assert_eq!(window.look(principal, request(9_000, 2)), Known::Forgotten);
        assert_eq!(window.look(principal, other), Known::New);
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
