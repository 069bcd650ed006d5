//! A journal that was carried over is the journal it was, and nothing else gets in.

use std::path::Path;

use super::*;
use crate::drive::Drive;
use crate::journal::JournalOptions;
use crate::journal::tests::{GROUP, STREAM, filled, open, pair, pairs, read_all, small, try_open};
use crate::simulated_disk::SimulatedDisk;

const LAST: u64 = 60;

fn source() -> Journal {
    let journal = filled(&SimulatedDisk::new(1), 1..=LAST);
    journal.advance(GROUP, LAST + 3).expect("advances");
    journal
}

/// What a peer would send next.
fn next(source: &Journal, missing: Missing, bytes_max: usize) -> JournalChunk {
    let after = missing.after.expect("there is a base");
    let chunk = source.export(GROUP, after.index, missing.skip, missing.through.index, bytes_max);
    chunk.expect("exported")
}

/// Fetches all that is missing.
fn fetch(target: &Journal, source: &Journal, bytes_max: usize) -> Result<(), JournalError> {
    let Some(mut missing) = target.missing(GROUP) else { return Ok(()) };
    loop {
        if missing.after.is_none() {
            target.import_base(GROUP, source.base(GROUP))?;
            missing = target.missing(GROUP).expect("still missing");
        }
        match target.import(GROUP, &next(source, missing, bytes_max))? {
            Some(more) => missing = more,
            None => return Ok(()),
        }
    }
}

/// Both journals read the same, live on, and do so after a power cut.
fn assert_equal(disk: &SimulatedDisk, source: &Journal) {
    for _ in 0..2 {
        let target = open(disk);
        assert_eq!(target.missing(GROUP), None);
        assert_eq!(read_all(&target), read_all(source));
        assert_eq!(target.head(GROUP), source.head(GROUP));
        target.scrub(GROUP).expect("undamaged");
        for index in (0..=LAST).filter(|index| *index >= source.base(GROUP).head.index) {
            let heads = [&target, source].map(|journal| journal.head_at(GROUP, index).ok());
            assert_eq!(heads[0], heads[1], "{index}");
        }
        disk.power_cut();
    }
}

#[test]
fn a_new_replica_gets_the_whole_history_in_chunks_of_any_size() {
    let source = source();
    for bytes_max in [1, 7, 60, 500, CHUNK_BYTES_MAX] {
        let disk = SimulatedDisk::new(2);
        let target = open(&disk);
        target.rebase(GROUP, source.tip(GROUP)).expect("rebased");
        assert!(target.read(GROUP, STREAM, 1, 1, 1).is_err(), "not complete yet");
        fetch(&target, &source, bytes_max).expect("fetched");
        assert_eq!(read_all(&target), pairs(1..=LAST));
        disk.kill();
        assert_equal(&disk, &source);
    }
}

/// With a gap below it would wait for ever, where nobody has anything to fetch.
#[test]
fn a_journal_that_begins_where_nothing_is_kept_lacks_nothing() {
    let empty = open(&SimulatedDisk::new(3));
    empty.advance(GROUP, LAST).expect("advances");
    for source in [source(), empty] {
        let (disk, tip) = (SimulatedDisk::new(2), source.tip(GROUP));
        let target = open(&disk);
        target.plant(GROUP, tip.clone()).expect("nothing is here");
        target.plant(GROUP, tip.clone()).expect_err("something is here");
        let target = {
            disk.power_cut();
            open(&disk)
        };
        assert_eq!((target.missing(GROUP), target.base(GROUP)), (None, tip.clone()));
        assert_eq!(target.tip(GROUP), tip);
        let last = tip.streams.get(&STREAM).copied().unwrap_or(0);
        let stream = STREAM;
        let (sequence, index) = (last + 1, tip.head.index + 1);
        let record = JournalRecord { stream, sequence, index, ordinal: 0, bytes: vec![1] };
        target.append(GROUP, vec![record]).expect("it goes on");
        target.flush().expect("durable");
        disk.power_cut();
        let target = open(&disk);
        assert_eq!((target.missing(GROUP), target.base(GROUP)), (None, tip));
        assert_eq!(target.last_sequence(GROUP, STREAM), last + 1);
        assert_eq!(target.read(GROUP, STREAM, last + 1, 9, 9).expect("it is there").len(), 1);
    }
}

#[test]
fn a_chunk_is_no_larger_than_asked() {
    let source = source();
    for bytes_max in [1, 50, 300] {
        for after in 0..LAST {
            let chunk = source.export(GROUP, after, 0, u64::MAX, bytes_max).expect("there");
            assert!(!chunk.bytes.is_empty() && chunk.bytes.len() <= bytes_max);
        }
    }
}

#[test]
fn a_replica_that_fell_behind_gets_what_it_lacks_and_goes_on_meanwhile() {
    let source = source();
    source.append(GROUP, vec![]).expect("nothing");
    for behind in [1, 20, 59] {
        let disk = SimulatedDisk::new(2);
        let target = filled(&disk, 1..=behind);
        target.rebase(GROUP, source.tip(GROUP)).expect("rebased");
        let live = pair(LAST + 4)
            .into_iter()
            .map(|record| JournalRecord { sequence: record.sequence - 6, ..record });
        let live: Vec<JournalRecord> = live.collect();
        target.append(GROUP, live.clone()).expect("in sequence");
        let missing = target.missing(GROUP).expect("a gap");
        assert_eq!(missing.after.map(|after| after.index), Some(behind));
        fetch(&target, &source, 300).expect("fetched");
        let expected: Vec<_> = pairs(1..=LAST).into_iter().chain(live).collect();
        assert_eq!(read_all(&target), expected);
        target.flush().expect("written");
        disk.power_cut();
        assert_eq!(read_all(&open(&disk)), expected, "{behind}");
    }
}

#[test]
fn a_replica_that_had_passed_over_its_last_indexes_is_filled_all_the_same() {
    let source = filled(&SimulatedDisk::new(1), 1..=20);
    for index in 21..=LAST {
        let later =
            pair(index).into_iter().map(|record| JournalRecord { index: index + 5, ..record });
        source.append(GROUP, later.collect()).expect("in sequence");
    }
    for through in [21, 25] {
        let disk = SimulatedDisk::new(2);
        let target = filled(&disk, 1..=20);
        target.advance(GROUP, through).expect("advances");
        target.rebase(GROUP, source.tip(GROUP)).expect("rebased");
        fetch(&target, &source, 300).expect("fetched");
        assert_eq!(read_all(&target), read_all(&source));
        disk.kill();
        assert_equal(&disk, &source);
    }
}

#[test]
fn what_a_peer_has_forgotten_is_not_missed() {
    let source = source();
    source.retain(GROUP, 40).expect("dropped");
    let disk = SimulatedDisk::new(2);
    let target = open(&disk);
    target.rebase(GROUP, source.tip(GROUP)).expect("rebased");
    fetch(&target, &source, 200).expect("fetched");
    drop(target);
    assert_equal(&disk, &source);
    assert_eq!(open(&disk).base(GROUP), source.base(GROUP));
}

#[test]
fn every_flipped_bit_of_a_chunk_is_refused() {
    let source = source();
    let target = open(&SimulatedDisk::new(2));
    target.rebase(GROUP, source.tip(GROUP)).expect("rebased");
    target.import_base(GROUP, source.base(GROUP)).expect("begun");
    let missing = target.missing(GROUP).expect("all");
    let chunk = next(&source, missing, 400);
    for bit in 0..chunk.bytes.len() * 8 {
        let mut bad = chunk.clone();
        bad.bytes[bit / 8] ^= 1 << (bit % 8);
        let refused = target.import(GROUP, &bad).expect_err("damaged");
        assert!(matches!(refused, JournalError::Import { .. }), "{refused}");
    }
    for bit in 0..32 * 8 {
        for end in [false, true] {
            let mut bad = chunk.clone();
            let head = if end { &mut bad.end } else { &mut bad.after };
            head.hash.0[bit / 8] ^= 1 << (bit % 8);
            assert!(target.import(GROUP, &bad).is_err());
        }
    }
    assert_eq!(target.missing(GROUP), Some(missing));
    fetch(&target, &source, 400).expect("fetched");
    assert_eq!(read_all(&target), pairs(1..=LAST));
}

#[test]
fn chunks_that_come_twice_or_too_soon_change_nothing() {
    let source = source();
    let target = open(&SimulatedDisk::new(2));
    target.rebase(GROUP, source.tip(GROUP)).expect("rebased");
    target.import_base(GROUP, source.base(GROUP)).expect("begun");
    let first = next(&source, target.missing(GROUP).expect("all"), 100);
    target.import(GROUP, &first).expect("taken in");
    let missing = target.missing(GROUP).expect("more");
    let second = next(&source, missing, 100);
    assert_eq!(target.import(GROUP, &first).expect("passed over"), Some(missing));
    let third = source.export(GROUP, second.end.index, 0, LAST, 100).expect("there");
    assert_eq!(target.import(GROUP, &third).expect("passed over"), Some(missing));
    assert_ne!(target.import(GROUP, &second).expect("taken in"), Some(missing));
    fetch(&target, &source, 100).expect("fetched");
    assert_eq!(target.import(GROUP, &third).expect("passed over"), None);
    assert_eq!(read_all(&target), pairs(1..=LAST));
}

#[test]
fn a_history_that_leads_elsewhere_is_dropped_and_fetched_again() {
    let source = source();
    let liar = open(&SimulatedDisk::new(3));
    for index in 1..=LAST {
        let records = pair(index).into_iter().map(|mut record| {
            record.bytes.push(u8::from(index == 30));
            record
        });
        liar.append(GROUP, records.collect()).expect("in sequence");
    }
    liar.advance(GROUP, LAST + 3).expect("advances");
    let disk = SimulatedDisk::new(2);
    let target = open(&disk);
    target.rebase(GROUP, source.tip(GROUP)).expect("rebased");
    let error = fetch(&target, &liar, 300).expect_err("another history");
    assert!(matches!(error, JournalError::OtherHistory { .. }), "{error}");
    assert_eq!(target.missing(GROUP).map(|missing| missing.after), Some(None));
    fetch(&target, &source, 300).expect("fetched");
    drop(target);
    assert_equal(&disk, &source);
}

/// Rebases and fetches until done or dead.
fn try_fetch(disk: &SimulatedDisk, source: &Journal) -> Result<(), JournalError> {
    let options = JournalOptions { drive: Drive::Manual(Arc::new(|| ())), ..small() };
    let target = Journal::open(disk.process(), Path::new("/journal"), options)?;
    target.rebase(GROUP, source.tip(GROUP))?;
    fetch(&target, source, 150)
}

#[test]
fn a_torn_import_is_completed_wherever_it_was_torn() {
    let source = source();
    for behind in [0, 20] {
        let begun = |seed| {
            let disk = SimulatedDisk::new(seed);
            drop(filled(&disk, 1..=behind));
            disk
        };
        let whole = begun(0);
        let before = whole.operations();
        try_fetch(&whole, &source).expect("fetched");
        for after in 0..whole.operations() - before {
            for seed in 0..3 {
                let disk = begun(seed * 1_000 + after);
                disk.die_after(after);
                assert!(try_fetch(&disk, &source).is_err(), "{after}");
                if seed == 0 {
                    disk.kill()
                } else {
                    disk.power_cut()
                }
                let place = format!("behind {behind}, after {after}, seed {seed}");
                try_fetch(&disk, &source).unwrap_or_else(|error| panic!("{place}: {error}"));
                assert_eq!(read_all(&try_open(&disk).expect(&place)), pairs(1..=LAST), "{place}");
                assert_equal(&disk, &source);
            }
        }
    }
}

#[test]
fn a_second_snapshot_before_the_first_gap_is_filled_leaves_one_gap() {
    let source = source();
    let disk = SimulatedDisk::new(2);
    let target = filled(&disk, 1..=10);
    let middle = filled(&SimulatedDisk::new(4), 1..=30);
    target.rebase(GROUP, middle.tip(GROUP)).expect("rebased");
    target.append(GROUP, pair(31)).expect("in sequence");
    target.rebase(GROUP, source.tip(GROUP)).expect("rebased");
    assert_eq!(target.missing(GROUP).and_then(|m| m.after).map(|after| after.index), Some(10));
    disk.power_cut();
    let target = open(&disk);
    fetch(&target, &source, 300).expect("fetched");
    drop(target);
    assert_equal(&disk, &source);
}
