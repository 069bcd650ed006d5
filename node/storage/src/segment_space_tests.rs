//! A disk that fills up: refused at the door, then the reserve, then the end; and back again.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use super::tests::small;
use super::*;
use crate::contract::{all, durably};
use crate::fatal::{EXIT_STORAGE, Fatal};
use crate::simulated_disk::SimulatedDisk;

fn has_reserve(disk: &SimulatedDisk) -> bool {
    disk.files().iter().any(|(path, _)| path == Path::new("/log/reserve"))
}

/// Appends entry after entry until one is refused; returns how many were accepted.
fn fill(log: &SegmentLog, from: u64) -> u64 {
    for index in from.. {
        let (sender, receiver) = channel();
        let done: Done = Box::new(move |result| sender.send(result).expect("waited for"));
        log.append(1, vec![LogEntry { index, bytes: vec![7; 500].into() }], done);
        log.pump();
        if receiver.recv().expect("called").is_err() {
            return index - from;
        }
    }
    unreachable!("the disk is full at some time")
}

#[test]
fn a_full_disk_gives_up_the_reserve_first_and_then_the_process() {
    let disk = SimulatedDisk::new(1);
    let ends = Arc::new(Mutex::new(Vec::new()));
    let sink = ends.clone();
    let fatal = Fatal::with(move |code, reason| {
        sink.lock().expect("sound").push((code, reason.to_owned()));
    });
    let drive = Drive::Manual(Arc::new(|| {}));
    let options = SegmentLogOptions { fatal, drive, reserve_bytes: 20_000, ..small() };
    let log = SegmentLog::open(disk.process(), "/log", options).expect("opens");
    assert!(has_reserve(&disk));
    disk.set_capacity(disk.used_bytes() + 10_000);
    let accepted = fill(&log, 1);
    // 10 000 bytes that were free, and 20 000 of the reserve, in segments with some slack.
    assert!((35..58).contains(&accepted), "{accepted} accepted");
    assert!(!has_reserve(&disk));
    let ends = ends.lock().expect("sound");
    assert_eq!((ends.len(), ends[0].0), (1, EXIT_STORAGE));
    assert!(ends[0].1.contains("no space is left in /log"), "{}", ends[0].1);
    drop(log);
    disk.kill();
    disk.set_capacity(u64::MAX);
    let log = SegmentLog::open(disk.process(), "/log", small()).expect("opens");
    let kept = all(&log, 1).len() as u64;
    assert!(kept == accepted || kept == accepted + 1, "{kept} of {accepted}");
}

#[test]
fn low_space_is_told_and_ends_when_space_returns() {
    let disk = SimulatedDisk::new(1);
    let wakes = Arc::new(AtomicU64::new(0));
    let woken = wakes.clone();
    let drive = Drive::Manual(Arc::new(move || {
        woken.fetch_add(1, Ordering::Relaxed);
    }));
    let (reserve_bytes, free_bytes_min) = (20_000, 50_000);
    let options = SegmentLogOptions { drive, reserve_bytes, free_bytes_min, ..small() };
    let log = SegmentLog::open(disk.process(), "/log", options).expect("opens");
    assert_eq!(log.space(), Space::Ok);
    disk.set_capacity(disk.used_bytes() + 5_000);
    let vote = || {
        durably(|done| {
            log.save_vote(1, vec![1; 500], done);
            log.pump();
        });
    };
    while log.space() == Space::Ok {
        vote();
    }
    // The reserve is there until it is needed.
    let Space::Low { free, wanted } = log.space() else { panic!("low") };
    assert!(free < wanted && wanted == free_bytes_min + log_missing(&disk, reserve_bytes));
    while has_reserve(&disk) {
        vote();
    }
    vote();
    assert_eq!(
        log.space(),
        Space::Low {
            free: disk.process().free_bytes(Path::new("/log")).expect("known"),
            wanted: free_bytes_min + reserve_bytes,
        }
    );
    disk.set_capacity(disk.used_bytes() + 100_000);
    let before = wakes.load(Ordering::Relaxed);
    assert!(matches!(log.space(), Space::Low { .. }));
    assert_eq!(wakes.load(Ordering::Relaxed), before + 1, "somebody is to pump");
    assert!(log.pump());
    assert_eq!((log.space(), has_reserve(&disk)), (Space::Ok, true));
}

/// Others fill the disk, and this store writes nothing at all.
#[test]
fn a_disk_that_others_fill_is_told_without_a_write() {
    let disk = SimulatedDisk::new(1);
    let wakes = Arc::new(AtomicU64::new(0));
    let woken = wakes.clone();
    let drive = Drive::Manual(Arc::new(move || {
        woken.fetch_add(1, Ordering::Relaxed);
    }));
    let options = SegmentLogOptions { drive, free_bytes_min: 50_000, ..small() };
    let log = SegmentLog::open(disk.process(), "/log", options).expect("opens");
    let syncs = log.stats().syncs;
    let look = || {
        let before = wakes.load(Ordering::Relaxed);
        log.look_at_space();
        assert_eq!(wakes.load(Ordering::Relaxed), before + 1, "somebody is to pump");
        assert!(log.pump());
    };
    for _ in 0..2 {
        disk.set_capacity(disk.used_bytes() + 49_999);
        look();
        assert_eq!(log.space(), Space::Low { free: 49_999, wanted: 50_000 });
        disk.set_capacity(disk.used_bytes() + 50_000);
        look();
        assert_eq!(log.space(), Space::Ok);
    }
    assert_eq!(log.stats().syncs, syncs, "looking writes nothing");
}

fn log_missing(disk: &SimulatedDisk, reserve_bytes: u64) -> u64 {
    if has_reserve(disk) { 0 } else { reserve_bytes }
}

#[test]
fn a_log_opens_on_a_full_disk_and_takes_what_fits() {
    let disk = SimulatedDisk::new(1);
    let drive = Drive::Manual(Arc::new(|| {}));
    let fatal = Fatal::with(|_, _| {});
    let options = SegmentLogOptions { drive, fatal, ..small() };
    drop(SegmentLog::open(disk.process(), "/log", options.clone()).expect("opens"));
    disk.kill();
    disk.set_capacity(disk.used_bytes());
    let log = SegmentLog::open(disk.process(), "/log", options).expect("opens");
    assert!(fill(&log, 1) > 2);
}

#[test]
fn the_writer_thread_ends_the_process_and_answers_with_errors() {
    let disk = SimulatedDisk::new(1);
    let (sender, ends) = channel();
    let fatal = Fatal::with(move |code, _| sender.send(code).expect("waited for"));
    let options = SegmentLogOptions { fatal, ..small() };
    let log = SegmentLog::open(disk.process(), "/log", options).expect("opens");
    durably(|done| log.save_vote(1, b"one".to_vec(), done));
    disk.fail_sync(0);
    for _ in 0..2 {
        let (sender, receiver) = channel();
        let done: Done = Box::new(move |result| sender.send(result).expect("waited for"));
        log.save_vote(1, b"two".to_vec(), done);
        assert!(receiver.recv().expect("called").is_err());
    }
    assert!(log.flush().is_err());
    assert_eq!(ends.try_iter().collect::<Vec<_>>(), [EXIT_STORAGE]);
}

/// What was queued behind the batch that failed is not written either.
#[test]
fn nothing_is_acknowledged_after_a_failure() {
    let disk = SimulatedDisk::new(1);
    let fatal = Fatal::with(|_, _| {});
    let drive = Drive::Manual(Arc::new(|| {}));
    let options = SegmentLogOptions { fatal, drive, batch_bytes_max: 1, ..small() };
    let log = SegmentLog::open(disk.process(), "/log", options).expect("opens");
    let (sender, receiver) = channel();
    for number in 0..3 {
        let sender = sender.clone();
        let done: Done = Box::new(move |result| sender.send(result.is_ok()).expect("waited for"));
        log.save_vote(1, vec![number], done);
    }
    disk.fail_sync(1);
    while log.pump() {}
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [true, false, false]);
}
