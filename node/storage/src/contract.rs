//! What every [`LogStore`] must do, as checks that run against any of them.
//!
//! They panic on the first difference, so they belong in tests only.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::dice::Dice;
use crate::log_store::{Done, Group, LogEntry, LogStore};
use crate::memory_log::MemoryLog;

const ALL: usize = usize::MAX;

/// Checks an empty store against the whole contract.
pub fn check(store: &dyn LogStore) {
    empty_groups_have_nothing(store);
    appended_entries_are_read_back(store);
    a_read_is_bounded_by_bytes(store);
    truncation_removes_the_tail_and_allows_another(store);
    purging_removes_the_head(store);
    votes_and_saved_values_are_replaced(store);
    groups_do_not_touch_each_other(store);
    an_append_after_a_truncation_in_one_batch_wins(store);
    a_store_that_was_not_cut_says_so(store);
}

/// An entry whose bytes tell its index and `tag`.
pub fn entry(index: u64, tag: &str) -> LogEntry {
    LogEntry { index, bytes: Arc::from(format!("{tag}-{index}").into_bytes()) }
}

/// Runs a write and waits until it is durable.
pub fn durably(write: impl FnOnce(Done)) {
    let (sender, receiver) = channel();
    write(Box::new(move |result: io::Result<()>| {
        sender.send(result).expect("the check waits for it");
    }));
    let result = receiver.recv_timeout(Duration::from_secs(60)).expect("the callback is called");
    result.expect("the write succeeds");
}

/// Appends `entry(index, tag)` for a range and waits until it is durable.
pub fn append(store: &dyn LogStore, group: Group, range: std::ops::Range<u64>, tag: &str) {
    let entries = range.map(|index| entry(index, tag)).collect();
    durably(|done| store.append(group, entries, done));
}

/// The entries of a whole group.
pub fn all(store: &dyn LogStore, group: Group) -> Vec<LogEntry> {
    store.read(group, 0..u64::MAX, ALL).expect("readable")
}

fn expected(range: std::ops::Range<u64>, tag: &str) -> Vec<LogEntry> {
    range.map(|index| entry(index, tag)).collect()
}

fn empty_groups_have_nothing(store: &dyn LogStore) {
    assert_eq!(all(store, 900), []);
    assert_eq!(store.last(900).expect("readable"), None);
    assert_eq!(store.vote(900).expect("readable"), None);
    assert_eq!(store.purged(900).expect("readable"), None);
    assert_eq!(store.saved(900, "committed").expect("readable"), None);
}

fn appended_entries_are_read_back(store: &dyn LogStore) {
    append(store, 1, 0..10, "a");
    append(store, 1, 10..20, "a");
    assert_eq!(all(store, 1), expected(0..20, "a"));
    assert_eq!(store.read(1, 5..8, ALL).expect("readable"), expected(5..8, "a"));
    assert_eq!(store.read(1, 18..40, ALL).expect("readable"), expected(18..20, "a"));
    assert_eq!(store.read(1, 30..40, ALL).expect("readable"), []);
    assert_eq!(store.last(1).expect("readable"), Some(entry(19, "a")));
    let before_durable = expected(20..21, "a");
    store.append(1, before_durable.clone(), Box::new(|_| {}));
    assert_eq!(store.read(1, 20..21, ALL).expect("readable"), before_durable);
    store.flush().expect("flushes");
}

fn a_read_is_bounded_by_bytes(store: &dyn LogStore) {
    append(store, 2, 0..10, "b");
    assert_eq!(store.read(2, 0..10, 0).expect("readable"), expected(0..1, "b"));
    assert_eq!(store.read(2, 0..10, 9).expect("readable"), expected(0..3, "b"));
}

fn truncation_removes_the_tail_and_allows_another(store: &dyn LogStore) {
    append(store, 3, 0..10, "c");
    durably(|done| store.truncate_after(3, Some(4), done));
    assert_eq!(all(store, 3), expected(0..5, "c"));
    assert_eq!(store.last(3).expect("readable"), Some(entry(4, "c")));
    append(store, 3, 5..7, "d");
    assert_eq!(all(store, 3), [expected(0..5, "c"), expected(5..7, "d")].concat());
    durably(|done| store.truncate_after(3, None, done));
    assert_eq!(all(store, 3), []);
    append(store, 3, 0..2, "e");
    assert_eq!(all(store, 3), expected(0..2, "e"));
}

fn purging_removes_the_head(store: &dyn LogStore) {
    append(store, 4, 1..10, "f");
    durably(|done| store.purge(4, 6, b"mark".to_vec(), done));
    assert_eq!(all(store, 4), expected(7..10, "f"));
    assert_eq!(store.purged(4).expect("readable"), Some((6, b"mark".to_vec())));
    durably(|done| store.purge(4, 20, b"beyond".to_vec(), done));
    assert_eq!(all(store, 4), []);
    assert_eq!(store.last(4).expect("readable"), None);
    append(store, 4, 21..23, "g");
    assert_eq!(all(store, 4), expected(21..23, "g"));
}

fn votes_and_saved_values_are_replaced(store: &dyn LogStore) {
    durably(|done| store.save_vote(5, b"one".to_vec(), done));
    durably(|done| store.save_vote(5, b"two".to_vec(), done));
    assert_eq!(store.vote(5).expect("readable"), Some(b"two".to_vec()));
    store.save_lazily(5, "committed", b"1".to_vec());
    store.save_lazily(5, "committed", b"2".to_vec());
    assert_eq!(store.saved(5, "committed").expect("readable"), Some(b"2".to_vec()));
    assert_eq!(store.saved(5, "other").expect("readable"), None);
}

fn groups_do_not_touch_each_other(store: &dyn LogStore) {
    append(store, 6, 0..3, "h");
    append(store, 7, 0..3, "i");
    durably(|done| store.truncate_after(6, None, done));
    durably(|done| store.save_vote(6, b"six".to_vec(), done));
    assert_eq!(all(store, 7), expected(0..3, "i"));
    assert_eq!(store.vote(7).expect("readable"), None);
}

fn an_append_after_a_truncation_in_one_batch_wins(store: &dyn LogStore) {
    append(store, 8, 0..10, "j");
    store.truncate_after(8, Some(2), Box::new(|_| {}));
    store.append(8, expected(3..6, "k"), Box::new(|_| {}));
    store.truncate_after(8, Some(3), Box::new(|_| {}));
    append(store, 8, 4..6, "l");
    let wanted = [expected(0..3, "j"), expected(3..4, "k"), expected(4..6, "l")].concat();
    assert_eq!(all(store, 8), wanted);
}

fn a_store_that_was_not_cut_says_so(store: &dyn LogStore) {
    append(store, 9, 0..1, "m");
    assert!(!store.was_cut(9).expect("readable"));
    durably(|done| store.clear_cut(9, done));
    assert!(!store.was_cut(9).expect("readable"));
    assert!(!store.was_cut(901).expect("readable"));
}

/// Checks that what was written survives closing and opening again, whatever the order of the
/// writes. `open` opens the same store, which is empty at first.
pub fn check_reopened(open: &dyn Fn() -> Box<dyn LogStore>, seed: u64) {
    let mut steps = Steps::new(seed);
    let oracle = MemoryLog::new();
    for round in 0..4 {
        let store = open();
        assert_eq!(contents(&*store), contents(&oracle), "round {round} of seed {seed}");
        interleave(&*store, &oracle, &mut steps, 150);
        store.flush().expect("flushes");
    }
    assert_eq!(contents(&*open()), contents(&oracle), "seed {seed}");
}

/// Checks a long random interleaving of operations of several groups on an empty store, compared
/// with [`MemoryLog`].
pub fn check_interleaving(store: &dyn LogStore, seed: u64) {
    interleave(store, &MemoryLog::new(), &mut Steps::new(seed), 1000);
    store.flush().expect("flushes");
}

fn interleave(store: &dyn LogStore, oracle: &MemoryLog, steps: &mut Steps, count: u64) {
    for number in 0..count {
        let step = steps.next(oracle);
        step.take(oracle, Box::new(|_| {}));
        step.take(store, Box::new(|result| result.expect("the write succeeds")));
        if number % 16 == 0 {
            assert_eq!(contents(store), contents(oracle), "after step {number}: {step:?}");
        }
    }
}

/// What a group holds: entries, vote, purge mark, and the value saved as `committed`.
pub type GroupContents = (Vec<LogEntry>, Option<Vec<u8>>, Option<(u64, Vec<u8>)>, Option<Vec<u8>>);

/// The groups that [`Steps`] deals with.
const GROUPS: std::ops::Range<Group> = 0..5;

/// What the groups of [`Steps`] hold.
pub fn contents(store: &dyn LogStore) -> BTreeMap<Group, GroupContents> {
    let group = |group| {
        let vote = store.vote(group).expect("readable");
        let purged = store.purged(group).expect("readable");
        let saved = store.saved(group, "committed").expect("readable");
        assert_eq!(store.last(group).expect("readable"), all(store, group).pop());
        (group, (all(store, group), vote, purged, saved))
    };
    GROUPS.map(group).collect()
}

/// One operation.
#[derive(Debug, Clone)]
pub enum Step {
    /// [`LogStore::append`]
    Append(Group, Vec<LogEntry>),
    /// [`LogStore::save_vote`]
    Vote(Group, Vec<u8>),
    /// [`LogStore::truncate_after`]
    Truncate(Group, Option<u64>),
    /// [`LogStore::purge`]
    Purge(Group, u64, Vec<u8>),
    /// [`LogStore::save_lazily`]; nobody is called back.
    Save(Group, Vec<u8>),
}

impl Step {
    /// Does it to a store.
    pub fn take(&self, store: &dyn LogStore, done: Done) {
        match self.clone() {
            Self::Append(group, entries) => store.append(group, entries, done),
            Self::Vote(group, vote) => store.save_vote(group, vote, done),
            Self::Truncate(group, last) => store.truncate_after(group, last, done),
            Self::Purge(group, through, mark) => store.purge(group, through, mark, done),
            Self::Save(group, value) => store.save_lazily(group, "committed", value),
        }
    }
}

/// Random operations that a log's owner might ask for. The last group is all but idle: it gets a
/// few entries early and keeps them.
#[derive(Debug)]
pub struct Steps {
    dice: Dice,
    number: u64,
}

impl Steps {
    /// The same operations for the same seed, if the oracle is the same.
    pub fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), number: 0 }
    }

    /// The next one that a store may be asked for that holds what `oracle` does.
    pub fn next(&mut self, oracle: &dyn LogStore) -> Step {
        self.number += 1;
        let number = self.number;
        if number.is_multiple_of(5) && number <= 20 {
            let last = oracle.last(GROUPS.end - 1).expect("readable");
            let index = last.map_or(1, |last| last.index + 1);
            return Step::Append(GROUPS.end - 1, vec![entry(index, "idle")]);
        }
        let group = self.dice.roll(u64::from(GROUPS.end) - 1) as Group;
        let last = oracle.last(group).expect("readable").map(|entry| entry.index);
        let purged = oracle.purged(group).expect("readable").map(|(through, _)| through);
        let next = last.or(purged).map_or(1, |last| last + 1);
        let tag = format!("n{number}");
        match self.dice.roll(16) {
            0 => Step::Truncate(group, Some(next.saturating_sub(1 + self.dice.roll(4)))),
            1 if self.dice.roll(4) == 0 => Step::Truncate(group, None),
            2 | 3 => {
                let through = next.saturating_sub(1 + self.dice.roll(5));
                let through = through.max(purged.unwrap_or(0));
                Step::Purge(group, through, tag.into_bytes())
            }
            4..=6 => Step::Vote(group, tag.into_bytes()),
            7 | 8 => Step::Save(group, tag.into_bytes()),
            _ => {
                let count = self.dice.roll(4);
                let sized = |index| {
                    let size = self.dice.roll(500) as usize;
                    let mut bytes = format!("{tag}-{index}-").into_bytes();
                    bytes.resize(bytes.len() + size, b'.');
                    LogEntry { index, bytes: bytes.into() }
                };
                Step::Append(group, (next..next + count).map(sized).collect())
            }
        }
    }
}
