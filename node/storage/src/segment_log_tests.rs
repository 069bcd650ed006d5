//! What the segment log promises on sound disks: the contract, survival, batching, bounds.

use std::path::Path;
use std::sync::mpsc::channel;

use super::*;
use crate::contract::{all, append, durably, entry};
use crate::disk::FileDisk;
use crate::simulated_disk::SimulatedDisk;

/// Short segments, so that tests see many.
fn small() -> SegmentLogOptions {
    SegmentLogOptions {
        log_id: 42,
        segment_bytes: 4096,
        step_bytes: 1024,
        reserve_bytes: 2048,
        free_bytes_min: 0,
        ..SegmentLogOptions::default()
    }
}

fn open(path: &Path, options: SegmentLogOptions) -> SegmentLog {
    SegmentLog::open(Arc::new(FileDisk), path, options).expect("opens")
}

/// A log without a thread of its own, and a thread that pumps it when it asks for that.
fn with_pump(disk: Arc<dyn Disk>, options: SegmentLogOptions, run: impl FnOnce(&SegmentLog)) {
    let (sender, receiver) = channel();
    let wake = Arc::new(move || sender.send(()).expect("the pump outlives the log"));
    let options = SegmentLogOptions { drive: Drive::Manual(wake), ..options };
    let log = Arc::new(SegmentLog::open(disk, "/log", options).expect("opens"));
    let pumped = Arc::downgrade(&log);
    let pump = std::thread::spawn(move || {
        for () in receiver {
            if let Some(log) = pumped.upgrade() {
                log.pump();
            }
        }
    });
    run(&log);
    drop(log);
    pump.join().expect("the pump ends with the log");
}

#[test]
fn keeps_the_contract() {
    let dir = tempfile::tempdir().expect("a directory");
    crate::contract::check(&open(dir.path(), SegmentLogOptions::default()));
}

#[test]
fn keeps_the_contract_with_short_segments_and_a_tail_of_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path(), SegmentLogOptions { tail_bytes_max: 0, ..small() });
    crate::contract::check(&log);
    assert!(log.stats().disk_reads > 0);
}

#[test]
fn keeps_the_contract_when_somebody_else_drives() {
    with_pump(SimulatedDisk::new(1).process(), small(), |log| crate::contract::check(log));
}

#[test]
fn what_was_acknowledged_is_there_after_a_drop_without_flush() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let log = open(dir.path(), small());
        append(&log, 1, 0..100, "a");
        durably(|done| log.truncate_after(1, Some(49), done));
        append(&log, 1, 50..60, "b");
        log.save_lazily(1, "committed", b"c".to_vec());
        durably(|done| log.save_vote(1, b"vote".to_vec(), done));
        durably(|done| log.purge(1, 9, b"mark".to_vec(), done));
    }
    let log = open(dir.path(), small());
    let head = (10..50).map(|i| entry(i, "a"));
    let wanted: Vec<_> = head.chain((50..60).map(|i| entry(i, "b"))).collect();
    assert_eq!(all(&log, 1), wanted);
    assert_eq!(log.last(1).expect("readable"), Some(entry(59, "b")));
    assert_eq!(log.vote(1).expect("readable"), Some(b"vote".to_vec()));
    assert_eq!(log.purged(1).expect("readable"), Some((9, b"mark".to_vec())));
    assert_eq!(log.saved(1, "committed").expect("readable"), Some(b"c".to_vec()));
    assert!(!log.was_cut(1).expect("readable"));
    append(&log, 1, 60..61, "c");
}

#[test]
fn writes_of_many_groups_share_syncs() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path(), SegmentLogOptions::default());
    let (sender, receiver) = channel();
    for index in 0..200 {
        for group in 0..8 {
            let sender = sender.clone();
            let done: Done = Box::new(move |result| sender.send(result).expect("waited for"));
            log.append(group, vec![entry(index, "x")], done);
        }
    }
    for _ in 0..1600 {
        receiver.recv().expect("called").expect("durable");
    }
    let stats = log.stats();
    assert_eq!((stats.operations, stats.entries, stats.syncs), (1600, 1600, stats.batches));
    assert!(stats.syncs < 400, "{} syncs for 1600 appends", stats.syncs);
    assert_eq!(stats.disk_reads, 0);
}

#[test]
#[should_panic(expected = "leaves a hole")]
fn a_hole_is_a_bug() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path(), small());
    append(&log, 1, 0..2, "a");
    log.append(1, vec![entry(5, "a")], Box::new(|_| {}));
}
