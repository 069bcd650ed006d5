//! Heads told beforehand, segments that are ended early, groups that begin again.

use crate::journal::tests::{GROUP, STREAM, filled, open, pair, pairs, read_all, segments};
use crate::journal_chain::JournalHead;
use crate::journal_error::JournalError;
use crate::simulated_disk::SimulatedDisk;

#[test]
fn a_marked_head_is_known_when_the_journal_has_gone_on() {
    let disk = SimulatedDisk::new(1);
    let journal = filled(&disk, 1..=22);
    journal.mark_head(GROUP, 22).expect("marked");
    let expected = JournalHead { index: 22, ..journal.head(GROUP) };
    for index in 23..=60 {
        journal.append(GROUP, pair(index)).expect("in sequence");
        journal.pump().expect("written");
    }
    while journal.retain(GROUP, 50).expect("dropped") > 0 {}
    assert_eq!(journal.head_at(GROUP, 22).expect("remembered"), expected);
    assert!(matches!(journal.head_at(GROUP, 21), Err(JournalError::IndexForgotten { .. })));
}

/// A replica that applies its log again marks indexes that its journal is beyond already.
#[test]
fn a_head_marked_again_after_a_restart_is_that_of_its_index() {
    let disk = SimulatedDisk::new(1);
    let journal = filled(&disk, 1..=20);
    let at_20 = journal.head(GROUP);
    for index in 21..=40 {
        journal.append(GROUP, pair(index)).expect("in sequence");
    }
    journal.flush().expect("written");
    drop(journal);
    let journal = open(&disk);
    for index in 1..=20 {
        journal.append(GROUP, pair(index)).expect("known");
    }
    journal.mark_head(GROUP, 20).expect("marked");
    assert_ne!(journal.head(GROUP).hash, at_20.hash);
    assert_eq!(journal.head_at(GROUP, 20).expect("readable"), at_20);
}

#[test]
fn a_segment_that_is_ended_early_can_be_dropped_and_its_journal_goes_on() {
    let disk = SimulatedDisk::new(1);
    let journal = filled(&disk, 1..=3);
    assert_eq!(journal.retain(GROUP, u64::MAX).expect("nothing is closed"), 0);
    journal.advance(GROUP, 5).expect("advances");
    for _ in 0..2 {
        // The second time there is nothing to end.
        journal.roll(GROUP).expect("rolled");
        journal.flush().expect("written");
        let ended = journal.segments(GROUP);
        assert_eq!((ended.len(), ended[0].after, ended[0].through), (1, 0, 5));
    }
    assert_eq!(read_all(&journal), pairs(1..=3));
    journal.append(GROUP, pair(6).into_iter().map(renumbered).collect()).expect("in sequence");
    let head = journal.head(GROUP);
    assert_eq!(journal.retain(GROUP, 6).expect("dropped"), 1);
    journal.flush().expect("written");
    drop(journal);
    for _ in 0..2 {
        let journal = reopened(&disk);
        assert_eq!((journal.head(GROUP), journal.first_sequence(GROUP, STREAM)), (head, 7));
        assert_eq!(read_all(&journal).len(), 2);
        journal.scrub(GROUP).expect("undamaged");
    }
}

#[test]
fn what_was_passed_over_is_durable_once_it_is_settled() {
    let disk = SimulatedDisk::new(1);
    let journal = filled(&disk, 1..=3);
    journal.advance(GROUP, 90).expect("advances");
    assert_eq!(journal.durable_index(GROUP), 3);
    for _ in 0..2 {
        journal.settle(GROUP).expect("settled");
        assert_eq!(journal.durable_index(GROUP), 90);
    }
    disk.power_cut();
    assert_eq!(open(&disk).last_index(GROUP), 90);
}

/// A crash after retention must find how far the journal had come.
#[test]
fn the_last_segment_stays_until_the_next_one_is_on_disk() {
    let disk = SimulatedDisk::new(1);
    let journal = filled(&disk, 1..=30);
    journal.roll(GROUP).expect("rolled");
    let head = journal.head(GROUP);
    while journal.retain(GROUP, u64::MAX).expect("dropped") > 0 {}
    disk.power_cut();
    let journal = open(&disk);
    assert_eq!(journal.head(GROUP), head);
    journal.roll(GROUP).expect("rolled");
    journal.flush().expect("written");
    while journal.retain(GROUP, u64::MAX).expect("dropped") > 0 {}
    assert_eq!(journal.segments(GROUP), []);
    disk.power_cut();
    let journal = open(&disk);
    assert_eq!(journal.head(GROUP), head);
    assert_eq!(journal.last_sequence(GROUP, STREAM), 60, "two of each index");
    let next = pair(31);
    journal.append(GROUP, next).expect("it goes on");
}

/// Record 11 and 12 as 7 and 8.
fn renumbered(mut record: crate::JournalRecord) -> crate::JournalRecord {
    record.sequence -= 4;
    record
}

#[test]
fn an_idle_segment_that_was_ended_is_found_ended() {
    let disk = SimulatedDisk::new(1);
    let journal = filled(&disk, 1..=3);
    journal.roll(GROUP).expect("rolled");
    journal.flush().expect("written");
    disk.power_cut();
    let journal = open(&disk);
    assert_eq!(journal.segments(GROUP).len(), 1);
    assert_eq!(read_all(&journal), pairs(1..=3));
    journal.append(GROUP, pair(4)).expect("in sequence");
    journal.flush().expect("written");
    disk.power_cut();
    assert_eq!(read_all(&open(&disk)), pairs(1..=4));
}

#[test]
fn a_discarded_group_begins_again_and_the_others_stay() {
    let disk = SimulatedDisk::new(1);
    let journal = filled(&disk, 1..=30);
    journal.append(GROUP + 1, pair(1)).expect("another group");
    journal.mark_head(GROUP, 30).expect("marked");
    let head = journal.head(GROUP);
    journal.discard(GROUP).expect("discarded");
    assert_eq!((journal.last_index(GROUP), journal.last_sequence(GROUP, STREAM)), (0, 0));
    let left = segments(&disk);
    assert!(left.iter().all(|path| path.starts_with("/journal/group-4")), "{left:?}");
    for index in 1..=30 {
        journal.append(GROUP, pair(index)).expect("from the first");
    }
    journal.discard(GROUP + 2).expect("there is none");
    journal.flush().expect("written");
    disk.power_cut();
    let journal = open(&disk);
    assert_eq!((read_all(&journal), journal.head(GROUP)), (pairs(1..=30), head));
    assert_eq!(journal.last_index(GROUP + 1), 1);
    let names = disk.process().list(std::path::Path::new("/journal")).expect("listed");
    assert_eq!(names.len(), 2);
}

/// A replica was away for so long that the others have dropped what it lacks.
#[test]
fn what_nobody_has_any_more_is_given_up() {
    let source = filled(&SimulatedDisk::new(1), 1..=60);
    let disk = SimulatedDisk::new(2);
    let target = filled(&disk, 1..=10);
    target.rebase(GROUP, source.tip(GROUP)).expect("rebased");
    source.retain(GROUP, 40).expect("dropped");
    let lacking = target.missing(GROUP).expect("a gap");
    let export = source.export(GROUP, 10, 0, lacking.through.index, 1_000);
    assert!(matches!(export, Err(JournalError::IndexForgotten { .. })));
    let base = source.base(GROUP);
    assert!(base.head.index > 10);
    target.begin_at(GROUP, base.clone()).expect("begun");
    while let Some(missing) = target.missing(GROUP) {
        let after = missing.after.expect("there is a base").index;
        let piece = source.export(GROUP, after, missing.skip, 60, 1_000).expect("there");
        target.import(GROUP, &piece).expect("it fits");
    }
    target.flush().expect("written");
    drop(target);
    for _ in 0..2 {
        let journal = reopened(&disk);
        assert_eq!(read_all(&journal), read_all(&source));
        assert_eq!((journal.head(GROUP), journal.base(GROUP)), (source.head(GROUP), base.clone()));
        journal.begin_at(GROUP, base.clone()).expect("nothing is missing");
        assert_eq!(read_all(&journal), read_all(&source));
    }
}

fn reopened(disk: &SimulatedDisk) -> crate::Journal {
    disk.power_cut();
    open(disk)
}

#[test]
fn a_journal_begins_above_a_gap_that_is_all_forgotten() {
    let source = filled(&SimulatedDisk::new(1), 1..=60);
    let disk = SimulatedDisk::new(2);
    let target = filled(&disk, 1..=10);
    target.rebase(GROUP, source.tip(GROUP)).expect("rebased");
    for index in 61..=90 {
        source.append(GROUP, pair(index)).expect("in sequence");
        source.pump().expect("written");
        target.append(GROUP, pair(index)).expect("in sequence");
    }
    source.retain(GROUP, 80).expect("dropped");
    let base = source.base(GROUP);
    assert!(base.head.index > 60, "{base:?}");
    target.begin_at(GROUP, base.clone()).expect("begun");
    assert_eq!((target.missing(GROUP), target.first_index(GROUP)), (None, 60));
    assert_eq!(read_all(&target), pairs(61..=90));
    target.flush().expect("written");
    // A restart sees the gap again, and gives it up again.
    let target = reopened(&disk);
    assert!(target.missing(GROUP).is_some());
    target.begin_at(GROUP, base).expect("begun");
    assert_eq!((read_all(&target), target.head(GROUP)), (pairs(61..=90), source.head(GROUP)));
}
