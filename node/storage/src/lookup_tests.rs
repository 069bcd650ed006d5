//! A lookup finds what the journal holds, however it came to be.

use proptest::prelude::*;

use super::*;
use crate::journal::tests::{GROUP, STREAM, open, pair, record};
use crate::simulated_disk::SimulatedDisk;

/// Keys by the last digit of the sequence, and by how many had that digit before.
struct Digits;

impl Keys for Digits {
    fn keys(&self, record: &JournalRecord, earlier: &Earlier<'_>) -> Result<KeyList, LookupError> {
        let digit = vec![b'd', record.sequence as u8 % 10];
        let before = earlier(&digit)?;
        assert!(before.iter().all(|r| r.sequence % 10 == record.sequence % 10));
        Ok(vec![digit, vec![b'n', before.len() as u8]])
    }
}

fn caught_up(lookup: &Lookup, journal: &Journal, step: usize) {
    while !lookup.catch_up(journal, GROUP, &Digits, step).expect("indexed").is_done() {}
}

fn all(lookup: &Lookup) -> Vec<Found> {
    lookup.find(GROUP, &[0, 0], &[255, 255], None, usize::MAX).expect("readable")
}

fn sequences(found: &[Found]) -> Vec<u64> {
    found.iter().map(|found| found.at.sequence).collect()
}

fn grown(indexes: u64) -> Journal {
    let journal = open(&SimulatedDisk::new(1));
    for index in 1..=indexes {
        journal.append(GROUP, pair(index)).expect("in sequence");
        journal.pump().expect("written");
    }
    journal
}

#[test]
fn records_are_found_by_key_in_order_and_in_pages() {
    let (journal, lookup) = (grown(30), Lookup::in_memory());
    caught_up(&lookup, &journal, usize::MAX);
    let found = lookup.find(GROUP, &[b'd', 3], &[b'd', 3], None, 99).expect("readable");
    assert_eq!(sequences(&found), [3, 13, 23, 33, 43, 53]);
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = lookup.find(GROUP, &[b'd', 3], &[b'd', 5], after.as_ref(), 4).expect("readable");
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        pages.extend(page);
    }
    let keys: Vec<u8> = pages.iter().map(|found| found.key[1]).collect();
    assert_eq!(keys, [[3; 6], [4; 6], [5; 6]].concat());
    let read = read_records(&journal, GROUP, [found[1].at]).expect("readable");
    assert_eq!(read, [record(STREAM, 13, 7, 0)]);
    assert_eq!(lookup.find(GROUP + 1, &[b'd', 3], &[b'd', 3], None, 9).expect("none"), []);
}

#[test]
fn a_lookup_on_disk_goes_on_where_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = grown(20);
    journal.flush().expect("written");
    let lookup = Lookup::open(dir.path(), &journal).expect("opens");
    lookup.catch_up(&journal, GROUP, &Digits, 11).expect("indexed");
    lookup.persist().expect("persisted");
    let through = lookup.through(GROUP);
    assert!(through > 0 && through < 20);
    drop(lookup);
    let lookup = Lookup::open(dir.path(), &journal).expect("opens");
    assert_eq!(lookup.through(GROUP), through);
    caught_up(&lookup, &journal, 3);
    let fresh = Lookup::in_memory();
    caught_up(&fresh, &journal, usize::MAX);
    assert_eq!(all(&lookup), all(&fresh));
}

#[test]
fn a_damaged_index_or_one_of_another_journal_is_made_again() {
    let journal = grown(20);
    journal.flush().expect("written");
    for damage in ["another journal", "bytes", "gone"] {
        let dir = tempfile::tempdir().expect("a directory");
        let lookup = Lookup::open(dir.path(), &journal).expect("opens");
        if damage == "another journal" {
            let other = open(&SimulatedDisk::new(1));
            for index in 1..=40 {
                let records = pair(index).into_iter().map(|r| JournalRecord { ordinal: 9, ..r });
                other.append(GROUP, records.collect()).expect("in sequence");
            }
            other.flush().expect("written");
            caught_up(&lookup, &other, usize::MAX);
        } else {
            caught_up(&lookup, &journal, usize::MAX);
        }
        lookup.persist().expect("persisted");
        drop(lookup);
        match damage {
            "bytes" => spoil(dir.path()),
            "gone" => std::fs::remove_dir_all(dir.path()).expect("removed"),
            _ => {}
        }
        let lookup = Lookup::open(dir.path(), &journal).expect("opens all the same");
        assert_eq!(lookup.through(GROUP), 0, "{damage}");
        caught_up(&lookup, &journal, usize::MAX);
        let fresh = Lookup::in_memory();
        caught_up(&fresh, &journal, usize::MAX);
        assert_eq!(all(&lookup), all(&fresh), "{damage}");
    }
}

#[test]
fn a_bit_turned_over_in_the_index_is_made_good() {
    let journal = grown(20);
    journal.flush().expect("written");
    let fresh = Lookup::in_memory();
    caught_up(&fresh, &journal, usize::MAX);
    for turn in 0..16 {
        let dir = tempfile::tempdir().expect("a directory");
        let lookup = Lookup::open(dir.path(), &journal).expect("opens");
        caught_up(&lookup, &journal, usize::MAX);
        lookup.persist().expect("persisted");
        drop(lookup);
        let path = dir.path().join("0.jnl");
        let mut bytes = std::fs::read(&path).expect("the index's own journal");
        let used = bytes.iter().rposition(|byte| *byte != 0).expect("it has something");
        bytes[turn * used / 16] ^= 1 << (turn % 8);
        std::fs::write(&path, bytes).expect("writable");
        let lookup = Lookup::open(dir.path(), &journal).expect("opens all the same");
        caught_up(&lookup, &journal, usize::MAX);
        assert_eq!(all(&lookup), all(&fresh), "turn {turn}");
    }
}

/// Overwrites every file with noise.
fn spoil(directory: &Path) {
    for entry in std::fs::read_dir(directory).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            spoil(&path);
        } else {
            std::fs::write(&path, [0xa5; 300]).expect("writable");
        }
    }
}

#[test]
fn a_lookup_ahead_of_a_journal_that_lost_its_tail_is_taken_back() {
    let (disk, dir) = (SimulatedDisk::new(1), tempfile::tempdir().expect("a directory"));
    let journal = open(&disk);
    let lookup = Lookup::open(dir.path(), &journal).expect("opens");
    for index in 1..=20 {
        journal.append(GROUP, pair(index)).expect("in sequence");
        if index == 12 {
            journal.flush().expect("written");
        }
    }
    caught_up(&lookup, &journal, usize::MAX);
    let before = all(&lookup);
    lookup.persist().expect("persisted");
    drop(lookup);
    disk.power_cut();
    let journal = open(&disk);
    let lookup = Lookup::open(dir.path(), &journal).expect("opens");
    assert_eq!(lookup.through(GROUP), 12);
    for index in 13..=20 {
        journal.append(GROUP, pair(index)).expect("in sequence");
    }
    caught_up(&lookup, &journal, usize::MAX);
    assert_eq!(all(&lookup), before);
}

#[test]
fn what_retention_dropped_is_not_found_and_can_be_pruned() {
    let (journal, lookup) = (grown(40), Lookup::in_memory());
    caught_up(&lookup, &journal, usize::MAX);
    journal.flush().expect("written");
    assert!(journal.retain(GROUP, 20).expect("dropped") > 0);
    let base = journal.base(GROUP).head.index;
    let found = lookup.find(GROUP, &[b'd', 1], &[b'd', 1], None, 1).expect("readable");
    assert_eq!(read_records(&journal, GROUP, [found[0].at]).expect("readable"), []);
    assert!(lookup.prune(GROUP, base).expect("pruned") > 0);
    assert!(all(&lookup).iter().all(|found| found.at.index > base));
    // One that begins after the retention begins where the journal does.
    let late = Lookup::in_memory();
    caught_up(&late, &journal, usize::MAX);
    let digits = |lookup: &Lookup| {
        sequences(&lookup.find(GROUP, &[b'd', 0], &[b'd', 9], None, 999).expect("readable"))
    };
    assert_eq!(digits(&lookup), digits(&late));
}

#[test]
fn a_past_that_was_imported_is_indexed_like_any_other() {
    let source = grown(30);
    for behind in [0, 10] {
        let (target, lookup) = (grown(behind), Lookup::in_memory());
        caught_up(&lookup, &target, usize::MAX);
        target.rebase(GROUP, source.tip(GROUP)).expect("rebased");
        target.append(GROUP, pair(31)).expect("in sequence");
        caught_up(&lookup, &target, usize::MAX);
        if behind == 0 {
            target.import_base(GROUP, source.base(GROUP)).expect("begun");
        }
        while let Some(missing) = target.missing(GROUP) {
            let after = missing.after.expect("there is a base").index;
            let chunk = source.export(GROUP, after, missing.skip, missing.through.index, 500);
            target.import(GROUP, &chunk.expect("exported")).expect("taken in");
        }
        caught_up(&lookup, &target, usize::MAX);
        let found = lookup.find(GROUP, &[b'd', 3], &[b'd', 3], None, 99).expect("readable");
        assert_eq!(sequences(&found), [3, 13, 23, 33, 43, 53], "{behind}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However the journal grew and in whatever steps it was indexed, the lookup is the same.
    #[test]
    fn a_lookup_that_grew_is_the_one_made_again(
        steps in proptest::collection::vec(1usize..9, 1..40),
    ) {
        let (journal, lookup) = (open(&SimulatedDisk::new(1)), Lookup::in_memory());
        for (index, step) in (1..).zip(&steps) {
            journal.append(GROUP, pair(index)).expect("in sequence");
            if step % 2 == 0 {
                journal.pump().expect("written");
            }
            lookup.catch_up(&journal, GROUP, &Digits, *step).expect("indexed");
        }
        caught_up(&lookup, &journal, 7);
        let fresh = Lookup::in_memory();
        caught_up(&fresh, &journal, usize::MAX);
        prop_assert_eq!(all(&lookup), all(&fresh));
    }
}

#[test]
fn a_group_that_is_forgotten_is_indexed_anew() {
    let (journal, lookup) = (grown(30), Lookup::in_memory());
    caught_up(&lookup, &journal, usize::MAX);
    let before = all(&lookup);
    lookup.forget(GROUP).expect("forgotten");
    assert_eq!((all(&lookup), lookup.through(GROUP)), (Vec::new(), 0));
    caught_up(&lookup, &journal, 7);
    assert_eq!(all(&lookup), before);
}
