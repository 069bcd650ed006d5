//! Damage of every kind: found, or harmless because the content is the same.
//!
//! The last batch is the only one that may go missing without an error, and then every group says
//! that it was cut.

use std::collections::BTreeMap;
use std::path::Path;

use super::tests::small;
use super::*;
use crate::contract::{GroupContents, append, contents, durably};
use crate::disk::{FileDisk, read_up_to};
use crate::segment_format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::simulated_disk::SimulatedDisk;

type Contents = BTreeMap<Group, GroupContents>;

/// A group that nobody wrote to.
const UNSEEN: Group = 77;

fn options() -> SegmentLogOptions {
    let drive = Drive::Manual(Arc::new(|| {}));
    SegmentLogOptions { drive, step_bytes: 512, reserve_bytes: 100, ..small() }
}

fn open(disk: &SimulatedDisk) -> Result<SegmentLog, SegmentLogError> {
    SegmentLog::open(disk.process(), "/log", options())
}

fn write(log: &SegmentLog, call: impl FnOnce(Done)) {
    durably(|done| {
        call(done);
        log.pump();
    });
}

fn put(log: &SegmentLog, group: Group, index: u64, bytes: usize) {
    let entry = LogEntry { index, bytes: vec![index as u8; bytes].into() };
    write(log, |done| log.append(group, vec![entry], done));
}

/// A log of two sealed segments and one that is not, what it holds, and what it held before the
/// last batch.
struct Sample {
    disk: SimulatedDisk,
    whole: Contents,
    before_last: Contents,
}

fn sample() -> Sample {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk).expect("opens");
    for index in 1..=5 {
        put(&log, 1, index, 1200);
        write(&log, |done| log.save_vote(2, vec![index as u8; 20], done));
    }
    write(&log, |done| log.truncate_after(1, Some(4), done));
    log.save_lazily(3, "committed", b"lazily".to_vec());
    write(&log, |done| log.purge(1, 1, b"mark".to_vec(), done));
    let before_last = contents(&log);
    put(&log, 1, 5, 700);
    let whole = contents(&log);
    drop(log);
    disk.kill();
    assert_eq!(disk.files().len(), 4, "{:?}", disk.files());
    Sample { disk, whole, before_last }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Found,
    Same,
    Cut,
}

impl Sample {
    /// Opens a damaged disk and says what became of it; anything else is a failure.
    fn judge(&self, disk: &SimulatedDisk, what: &str) -> Verdict {
        let log = match open(disk) {
            Ok(log) => log,
            Err(error) => {
                let disk_error = matches!(error, SegmentLogError::Disk { .. });
                assert!(!disk_error && error.to_string().contains("/log"), "{what}: {error}");
                return Verdict::Found;
            }
        };
        let found = contents(&log);
        let was_cut = log.was_cut(1).expect("readable");
        assert_eq!(was_cut, log.was_cut(UNSEEN).expect("readable"));
        if found == self.whole {
            return if was_cut { Verdict::Cut } else { Verdict::Same };
        }
        assert!(was_cut && found == self.before_last, "{what}: {found:?}");
        Verdict::Cut
    }
}

#[test]
fn every_flipped_bit_is_found_or_harmless() {
    let sample = sample();
    let files = sample.disk.files();
    let last = files.iter().rev().find(|(path, _)| path.extension().is_some());
    let last = last.expect("a segment").0.clone();
    let mut counts = BTreeMap::new();
    for (path, bytes) in &files {
        for bit in 0..bytes * 8 {
            let disk = sample.disk.duplicate(bit);
            disk.flip_bit(path, bit);
            let what = format!("bit {bit} of {}", path.display());
            let verdict = sample.judge(&disk, &what);
            assert!(verdict != Verdict::Cut || *path == last, "{what} is cut");
            *counts.entry(format!("{verdict:?}")).or_insert(0) += 1;
        }
    }
    let least = |verdict: &str, count| counts.get(verdict).is_some_and(|found| *found > count);
    let known = least("Found", 50_000) && least("Cut", 5_000) && least("Same", 5_000);
    assert!(known, "{counts:?}");
}

#[test]
fn every_truncation_is_found_or_harmless() {
    let sample = sample();
    for (path, bytes) in sample.disk.files() {
        for length in 0..bytes {
            let disk = sample.disk.duplicate(length);
            let file = disk.process().open(&path).expect("there");
            file.set_len(length).expect("shorter");
            file.sync().expect("synced");
            disk.kill();
            let what = format!("{} cut to {length}", path.display());
            let verdict = sample.judge(&disk, &what);
            let wanted = if path.ends_with("reserve") { Verdict::Same } else { Verdict::Found };
            // The zeros after a seal mean nothing.
            let sealed = !path.ends_with("0000000003.segment") && verdict == Verdict::Same;
            assert!(verdict == wanted || sealed, "{what}: {verdict:?}");
        }
    }
}

fn segment(number: u32) -> PathBuf {
    PathBuf::from(format!("/log/{number:010}.segment"))
}

fn content(disk: &SimulatedDisk, path: &Path) -> Vec<u8> {
    read_up_to(&*disk.process().open(path).expect("there"), 0, usize::MAX).expect("readable")
}

fn replace(disk: &SimulatedDisk, path: &Path, bytes: &[u8]) {
    let process = disk.process();
    process.remove(path).expect("there");
    let file = process.create(path).expect("made");
    file.write_at(0, bytes).expect("written");
    file.sync().expect("synced");
    process.sync_directory(Path::new("/log")).expect("synced");
    disk.kill();
}

#[test]
fn a_missing_segment_is_missed() {
    let sample = sample();
    for number in 1..=3 {
        let disk = sample.disk.duplicate(1);
        disk.process().remove(&segment(number)).expect("there");
        let error = open(&disk).expect_err("one is missing");
        let path = segment(number);
        assert!(matches!(&error, SegmentLogError::Missing { path: at } if *at == path), "{error}");
    }
    let disk = sample.disk.duplicate(1);
    for number in 1..=3 {
        disk.process().remove(&segment(number)).expect("there");
    }
    let error = open(&disk).expect_err("all are missing");
    assert!(matches!(error, SegmentLogError::Missing { .. }), "{error}");
}

#[test]
fn swapped_segments_are_seen() {
    let sample = sample();
    for (one, other) in [(1, 2), (2, 3), (1, 3)] {
        let disk = sample.disk.duplicate(1);
        let (first, second) = (content(&disk, &segment(one)), content(&disk, &segment(other)));
        replace(&disk, &segment(one), &second);
        replace(&disk, &segment(other), &first);
        assert_eq!(sample.judge(&disk, "swapped"), Verdict::Found);
    }
}

#[test]
fn an_older_copy_of_a_segment_is_seen() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk).expect("opens");
    put(&log, 1, 1, 500);
    let early = content(&disk, &segment(1));
    for index in 2..=8 {
        put(&log, 1, index, 1000);
    }
    drop(log);
    disk.kill();
    let late = content(&disk, &segment(1));
    replace(&disk, &segment(1), &early);
    let error = open(&disk).expect_err("an older copy");
    assert!(matches!(error, SegmentLogError::Damaged { .. }), "{error}");
    replace(&disk, &segment(1), &late);
    open(&disk).expect("the right one");
}

/// Two logs of one node that went different ways have whole segments that do not fit together.
#[test]
fn a_segment_of_another_past_is_seen() {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk).expect("opens");
    put(&log, 1, 1, 500);
    drop(log);
    disk.kill();
    let past = disk.duplicate(2);
    for (disk, bytes) in [(&disk, 1000), (&past, 1001)] {
        let log = open(disk).expect("opens");
        (2..=8).for_each(|index| put(&log, 1, index, bytes));
    }
    for number in 1..=2 {
        let mixed = disk.duplicate(3);
        replace(&mixed, &segment(number), &content(&past, &segment(number)));
        let error = open(&mixed).expect_err("of another past");
        assert!(matches!(error, SegmentLogError::Damaged { .. }), "{error}");
    }
}

#[test]
fn what_is_not_this_log_is_refused_by_name() {
    let sample = sample();
    let other = SegmentLogOptions { log_id: 43, ..options() };
    let error = SegmentLog::open(sample.disk.process(), "/log", other).expect_err("another's");
    assert!(matches!(error, SegmentLogError::OtherLog { found: 42, expected: 43, .. }), "{error}");

    let mut bytes = content(&sample.disk, &segment(3));
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&crc);
    assert!(SegmentHeader::parse(&bytes).is_err());
    let disk = sample.disk.duplicate(1);
    replace(&disk, &segment(3), &bytes);
    let error = open(&disk).expect_err("of a later release");
    assert!(matches!(error, SegmentLogError::UnknownFormat { found: 9, .. }), "{error}");

    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("other"), b"x").expect("written");
    let error = SegmentLog::open(Arc::new(FileDisk), dir.path(), options());
    assert!(matches!(error, Err(SegmentLogError::NotALog { .. })), "{error:?}");
    let wrong = SegmentLogOptions { segment_bytes: 1, ..options() };
    let error = SegmentLog::open(Arc::new(FileDisk), dir.path(), wrong);
    assert!(matches!(error, Err(SegmentLogError::Options(_))), "{error:?}");
}

/// Damages the last batch of a log.
fn tear(disk: &SimulatedDisk, number: u32) {
    let bytes = content(disk, &segment(number));
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("not empty");
    disk.flip_bit(&segment(number), last as u64 * 8);
}

#[test]
fn a_cut_is_remembered_for_each_group_until_it_is_cleared() {
    let sample = sample();
    tear(&sample.disk, 3);
    let cut = |log: &SegmentLog, group| log.was_cut(group).expect("readable");
    {
        let log = open(&sample.disk).expect("opens");
        assert!(cut(&log, 1) && cut(&log, 2) && cut(&log, UNSEEN));
        write(&log, |done| log.clear_cut(2, done));
        assert!(cut(&log, 1) && !cut(&log, 2));
        // Until the segment with the cut is gone.
        for index in 5..40 {
            put(&log, 1, index, 1000);
            write(&log, |done| log.purge(1, index, Vec::new(), done));
        }
        assert!(sample.disk.files()[0].0 > segment(5));
    }
    sample.disk.power_cut();
    let log = open(&sample.disk).expect("opens");
    assert!(cut(&log, 1) && !cut(&log, 2) && cut(&log, UNSEEN));
    drop(log);
    // Another cut concerns everybody again.
    let last = sample.disk.files().len() - 2;
    let (path, _) = sample.disk.files()[last].clone();
    let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
    tear(&sample.disk, number.expect("a segment"));
    let log = open(&sample.disk).expect("opens");
    assert!(cut(&log, 1) && cut(&log, 2));
}

#[test]
fn a_cut_survives_a_crash_at_every_change_of_its_making() {
    let sample = sample();
    tear(&sample.disk, 3);
    for change in 0.. {
        let mut died = false;
        for dice in 0..20 {
            let disk = sample.disk.duplicate(100 * change + dice);
            disk.die_after(change);
            died = open(&disk).is_err();
            disk.power_cut();
            let log = open(&disk).expect("opens");
            assert_eq!(contents(&log), sample.before_last, "change {change}");
            assert!(log.was_cut(1).expect("readable"), "change {change}, dice {dice}");
            append_one(&log);
        }
        if !died {
            assert!(change > 5, "{change} changes");
            return;
        }
    }
}

fn append_one(log: &SegmentLog) {
    put(log, 1, 5, 10);
    assert_eq!(log.last(1).expect("readable").map(|entry| entry.index), Some(5));
}

/// Damage below a running log is an error of the read, never other bytes.
#[test]
fn an_entry_that_does_not_read_back_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = SegmentLogOptions { tail_bytes_max: 0, ..small() };
    let log = SegmentLog::open(Arc::new(FileDisk), dir.path(), options).expect("opens");
    append(&log, 1, 1..3, "a");
    let file = FileDisk.open(&dir.path().join("0000000001.segment")).expect("there");
    let mut bytes = [0; 200];
    file.read_at(SEGMENT_HEADER_BYTES as u64, &mut bytes).expect("readable");
    let at = bytes.windows(3).position(|three| three == b"a-2").expect("the second entry");
    file.write_at((SEGMENT_HEADER_BYTES + at) as u64, b"b").expect("written");
    let error = log.read(1, 1..3, usize::MAX).expect_err("damaged");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("0000000001.segment"), "{error}");
    assert_eq!(log.read(1, 1..2, usize::MAX).expect("sound").len(), 1);
}
