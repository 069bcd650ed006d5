//! What the segment log promises on sound disks: the contract, survival, batching, bounds.

use std::path::Path;
use std::sync::mpsc::channel;

use super::*;
use crate::contract::{all, append, durably, entry};
use crate::disk::FileDisk;
use crate::simulated_disk::SimulatedDisk;

/// Short segments, so that tests see many.
pub(super) fn small() -> SegmentLogOptions {
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

#[test]
fn interleaved_operations_come_to_what_they_do_in_memory() {
    for seed in 0..20 {
        let options = SegmentLogOptions { tail_bytes_max: 500, ..small() };
        with_pump(SimulatedDisk::new(seed).process(), options, |log| {
            crate::contract::check_interleaving(log, seed);
        });
    }
    let dir = tempfile::tempdir().expect("a directory");
    crate::contract::check_interleaving(&open(dir.path(), small()), 7);
}

#[test]
fn reopened_it_is_what_it_was() {
    for seed in 0..5 {
        let dir = tempfile::tempdir().expect("a directory");
        crate::contract::check_reopened(&|| Box::new(open(dir.path(), small())), seed);
    }
}

#[test]
fn an_idle_group_does_not_hold_old_segments_back() {
    let simulated = SimulatedDisk::new(1);
    let mut most = 0;
    with_pump(simulated.process(), small(), |log| {
        append(log, 1, 1..4, "idle");
        durably(|done| log.save_vote(2, b"voted".to_vec(), done));
        durably(|done| log.purge(3, 7, b"mark".to_vec(), done));
        for index in 1..2000 {
            append(log, 4, index..index + 1, "busy");
            if index % 10 == 0 {
                durably(|done| log.purge(4, index - 5, Vec::new(), done));
            }
            most = most.max(simulated.files().len());
        }
    });
    // Four segments of one length, one that is being made or dropped, the reserve.
    assert!(most <= 7, "{most} files at once");
    assert!(simulated.files()[0].0 > *Path::new("/log/0000000010.segment"));
    let log = SegmentLog::open(simulated.process(), "/log", small()).expect("opens");
    assert_eq!(all(&log, 1), (1..4).map(|index| entry(index, "idle")).collect::<Vec<_>>());
    assert_eq!(log.vote(2).expect("readable"), Some(b"voted".to_vec()));
    assert_eq!(log.purged(3).expect("readable"), Some((7, b"mark".to_vec())));
    assert_eq!(all(&log, 4).len(), 1999 - 1985);
}

#[test]
fn nothing_blocks_for_room_when_nobody_pumps() {
    let options = SegmentLogOptions {
        queue_bytes_max: 1000,
        drive: Drive::Manual(Arc::new(|| {})),
        ..small()
    };
    let log = SegmentLog::open(SimulatedDisk::new(1).process(), "/log", options).expect("opens");
    let (sender, receiver) = channel();
    for index in 0..100 {
        let sender = sender.clone();
        let done: Done = Box::new(move |result| sender.send(result).expect("waited for"));
        log.append(1, vec![LogEntry { index, bytes: Arc::from([7; 100]) }], done);
        assert!(log.shared.lock().queue_bytes <= 1000 + 121);
    }
    assert!(receiver.try_iter().count() >= 90);
    log.flush().expect("flushes");
    assert!(!log.pump(), "nothing is left to do");
}

#[test]
fn what_nobody_has_reason_to_write_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path(), small());
    let (sender, receiver) = channel();
    let done = || -> Done {
        let sender = sender.clone();
        Box::new(move |result| sender.send(result).expect("waited for"))
    };
    log.save_vote(1, vec![0; VALUE_BYTES_MAX + 1], done());
    log.purge(1, 1, vec![0; VALUE_BYTES_MAX + 1], done());
    for _ in 0..2 {
        let refused = receiver.recv().expect("called").expect_err("too long");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
    log.save_lazily(1, "long", vec![0; VALUE_BYTES_MAX + 1]);
    assert_eq!(log.saved(1, "long").expect("readable"), None);
    assert_eq!((log.vote(1).ok(), log.purged(1).ok()), (Some(None), Some(None)));
}
