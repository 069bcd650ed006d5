//! The journal under faults: death and power cuts at every write, failed syncs, flipped bits.

use super::tests::{GROUP, STREAM, filled, open, pair, pairs, read_all, segments, small, try_open};
use super::*;
use crate::simulated_disk::SimulatedDisk;

const INDEXES: u64 = 40;

/// Appends until done or dead, with marks and a retention; returns what was reported durable last.
fn run(disk: &SimulatedDisk) -> JournalHead {
    let Ok(journal) = try_open(disk) else { return JournalHead::default() };
    let mut durable = JournalHead::default();
    for index in journal.last_index(GROUP) + 1..=INDEXES {
        let index_made_records = !index.is_multiple_of(7);
        let done = if index_made_records {
            journal.append(GROUP, dense(index))
        } else {
            journal.advance(GROUP, index)
        };
        let done =
            done.and_then(|()| if index % 3 == 0 { journal.pump().map(|_| ()) } else { Ok(()) });
        let done = done.and_then(|()| if index == 14 { journal.flush() } else { Ok(()) });
        let retained = if index == 30 { journal.retain(GROUP, 9) } else { Ok(0) };
        durable = journal.durable_head(GROUP);
        if done.is_err() || retained.is_err() {
            return durable;
        }
    }
    durable
}

/// The records of an index, where each seventh makes none.
fn dense(index: u64) -> Vec<JournalRecord> {
    let before = index - index / 7;
    pair(before).into_iter().map(|record| JournalRecord { index, ..record }).collect()
}

fn all() -> Vec<JournalRecord> {
    (1..=INDEXES).filter(|index| !index.is_multiple_of(7)).flat_map(dense).collect()
}

/// What must hold after any death: the durable part is there, the rest is a prefix, and going on
/// leads to the same journal as if nothing had happened.
fn check(disk: &SimulatedDisk, durable: JournalHead, whole: JournalHead, place: &str) {
    let opened = || try_open(disk).unwrap_or_else(|error| panic!("{place}: {error}"));
    let found = opened().durable_head(GROUP);
    disk.power_cut();
    let journal = opened();
    assert_eq!(journal.durable_head(GROUP), found, "{place}: what was found was not durable");
    let last = journal.last_index(GROUP);
    assert!(last >= durable.index, "{place}: {last} of {durable:?}");
    if durable.index > journal.base(GROUP).head.index {
        let found = journal.head_at(GROUP, durable.index).expect("readable");
        assert_eq!(found, durable, "{place}");
    }
    let first = journal.first_sequence(GROUP, STREAM) as usize;
    let read = read_all(&journal);
    assert_eq!(read, all()[first - 1..][..read.len()], "{place}");
    assert!(read.iter().all(|record| record.index <= last), "{place}");
    journal.scrub(GROUP).unwrap_or_else(|error| panic!("{place}: {error}"));
    drop(journal);
    run(disk);
    assert_eq!(finish(disk), whole, "{place}");
}

/// Appends what is left, and says where that leads.
fn finish(disk: &SimulatedDisk) -> JournalHead {
    let journal = open(disk);
    for index in journal.last_index(GROUP) + 1..=INDEXES {
        if !index.is_multiple_of(7) {
            journal.append(GROUP, dense(index)).expect("in sequence");
        }
        journal.advance(GROUP, index).expect("advances");
    }
    journal.head(GROUP)
}

fn whole() -> (JournalHead, u64) {
    let disk = SimulatedDisk::new(0);
    run(&disk);
    (finish(&disk), disk.operations())
}

#[test]
fn death_at_any_write_loses_nothing_durable() {
    let (whole, operations) = whole();
    assert!(operations >= 50, "{operations}");
    for after in 0..operations {
        for seed in 0..6 {
            let disk = SimulatedDisk::new(seed * 1_000 + after);
            disk.die_after(after);
            let durable = run(&disk);
            if seed == 0 {
                disk.kill()
            } else {
                disk.power_cut()
            }
            check(&disk, durable, whole, &format!("after {after}, seed {seed}"));
        }
    }
}

#[test]
fn a_second_death_while_recovering_loses_nothing_either() {
    let (whole, operations) = whole();
    for after in (0..operations).step_by(3) {
        for again in 0..4 {
            let disk = SimulatedDisk::new(after * 10 + again);
            disk.die_after(after);
            let durable = run(&disk);
            disk.power_cut();
            disk.die_after(again);
            let more = run(&disk);
            disk.power_cut();
            let durable = if more.index > durable.index { more } else { durable };
            check(&disk, durable, whole, &format!("after {after}, then {again}"));
        }
    }
}

#[test]
fn a_failed_sync_is_the_end_and_loses_nothing_durable() {
    let (whole, _) = whole();
    for run in 0.. {
        // Twice each: the power goes with the process, or only some time after the next one began.
        let (nth, power_goes_at_once) = (run / 2, run % 2 == 0);
        let disk = SimulatedDisk::new(run);
        disk.fail_sync(nth);
        let ends = Arc::new(Mutex::new(0));
        let count = ends.clone();
        let fatal = Fatal::with(move |_, _| *count.lock().expect("whole") += 1);
        let options = JournalOptions { fatal, ..small() };
        let journal = Journal::open(disk.process(), Path::new("/journal"), options).expect("opens");
        let mut durable = JournalHead::default();
        for index in 1..=INDEXES {
            let records = if index % 7 == 0 { Vec::new() } else { dense(index) };
            let done = journal.append(GROUP, records).and_then(|()| journal.pump());
            if done.is_err() {
                assert!(journal.pump().is_err(), "it does not try again");
                break;
            }
            durable = journal.durable_head(GROUP);
        }
        let failed = *ends.lock().expect("whole");
        if failed == 0 {
            assert!(nth > 30 && durable.index >= INDEXES - 1, "sync {nth}, {durable:?}");
            return;
        }
        if power_goes_at_once {
            disk.power_cut();
        } else {
            drop(journal);
            disk.kill();
        }
        check(&disk, durable, whole, &format!("sync {nth}, at once {power_goes_at_once}"));
    }
}

/// Opens, checks and reads everything.
fn read_checked(disk: &SimulatedDisk) -> Result<Vec<JournalRecord>, JournalError> {
    let journal = try_open(disk)?;
    journal.scrub(GROUP)?;
    let first = journal.first_sequence(GROUP, STREAM);
    journal.read(GROUP, STREAM, first, usize::MAX, usize::MAX)
}

#[test]
fn every_flipped_bit_is_found_or_harmless() {
    let disk = SimulatedDisk::new(1);
    drop(filled(&disk, 1..=14));
    let files = disk.files();
    assert!(files.len() > 2);
    let (last, length) = files.last().expect("segments").clone();
    let (mut found, mut cut) = (0, 0);
    for (path, length) in &files {
        for bit in 0..length * 8 {
            disk.flip_bit(path, bit);
            match read_checked(&disk) {
                Err(JournalError::Damaged { .. }) => found += 1,
                Err(error) => panic!("{} bit {bit}: {error}", path.display()),
                Ok(read) => {
                    // Only what no later frame bears witness of may pass for a torn tail.
                    assert!(*path == last, "{} bit {bit}", path.display());
                    assert_eq!(read, pairs(1..=read.len() as u64 / 2));
                    assert!(read.len() >= 2 * 13, "bit {bit} cost {} records", 28 - read.len());
                    cut += 1;
                    restore(&disk, path, &files);
                    continue;
                }
            }
            disk.flip_bit(path, bit);
        }
    }
    assert!(found > 0 && cut > 0 && length > 0, "{found} found, {cut} cut");
    assert_eq!(read_checked(&disk).expect("restored"), pairs(1..=14));
}

/// Makes the journal again whose tail was cut.
fn restore(disk: &SimulatedDisk, path: &Path, files: &[(PathBuf, u64)]) {
    disk.kill();
    let journal = open(disk);
    for index in 1..=14 {
        journal.append(GROUP, pair(index)).expect("skipped or in sequence");
    }
    journal.flush().expect("written");
    assert_eq!(disk.files(), files, "{}", path.display());
    disk.kill();
}

#[test]
fn damage_before_the_last_segment_is_an_error_with_its_place() {
    let disk = SimulatedDisk::new(1);
    drop(filled(&disk, 1..=30));
    let first = segments(&disk).swap_remove(0);
    disk.flip_bit(&first, 8 * 40);
    let error = try_open(&disk).expect_err("damaged");
    assert!(matches!(&error, JournalError::Damaged { offset: 0, path, .. } if *path == first));
}

#[test]
fn a_missing_segment_is_damage() {
    let disk = SimulatedDisk::new(1);
    drop(filled(&disk, 1..=40));
    let middle = segments(&disk).swap_remove(2);
    disk.process().remove(&middle).expect("removed");
    let error = try_open(&disk).expect_err("damaged");
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
}
