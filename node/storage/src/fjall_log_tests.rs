//! What the durable log promises beyond the contract: survival, batching, a bounded tail.

use std::sync::mpsc::channel;

use super::*;
use crate::contract::{all, append, durably, entry};

fn open(path: &Path) -> FjallLog {
    FjallLog::open(path, FjallLogOptions::default()).expect("opens")
}

#[test]
fn keeps_the_contract() {
    let dir = tempfile::tempdir().expect("a directory");
    crate::contract::check(&open(dir.path()));
}

#[test]
fn keeps_the_contract_with_a_tail_of_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = FjallLogOptions { tail_bytes_max: 0, ..FjallLogOptions::default() };
    let log = FjallLog::open(dir.path(), options).expect("opens");
    crate::contract::check(&log);
    assert!(log.stats().disk_reads > 0);
}

#[test]
fn what_was_acknowledged_is_there_after_a_drop_without_flush() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let log = open(dir.path());
        append(&log, 1, 0..100, "a");
        durably(|done| log.truncate_after(1, Some(49), done));
        append(&log, 1, 50..60, "b");
        log.save_lazily(1, "committed", b"c".to_vec());
        durably(|done| log.save_vote(1, b"vote".to_vec(), done));
        durably(|done| log.purge(1, 9, b"mark".to_vec(), done));
    }
    let log = open(dir.path());
    let head = (10..50).map(|i| entry(i, "a"));
    let wanted: Vec<_> = head.chain((50..60).map(|i| entry(i, "b"))).collect();
    assert_eq!(all(&log, 1), wanted);
    assert_eq!(log.last(1).expect("readable"), Some(entry(59, "b")));
    assert_eq!(log.vote(1).expect("readable"), Some(b"vote".to_vec()));
    assert_eq!(log.purged(1).expect("readable"), Some((9, b"mark".to_vec())));
    assert_eq!(log.saved(1, "committed").expect("readable"), Some(b"c".to_vec()));
    append(&log, 1, 60..61, "c");
}

#[test]
fn writes_of_many_groups_share_syncs() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = open(dir.path());
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
    let options = FjallLogOptions { fatal: Fatal::with(|_, _| {}), ..FjallLogOptions::default() };
    let log = FjallLog::open(dir.path(), options).expect("opens");
    // A drop would meet the poisoned lock, and panic while panicking.
    let log = std::mem::ManuallyDrop::new(log);
    append(&*log, 1, 0..2, "a");
    log.append(1, vec![entry(5, "a")], Box::new(|_| {}));
}

#[test]
fn interleaved_operations_come_to_what_they_do_in_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = FjallLogOptions { tail_bytes_max: 500, ..FjallLogOptions::default() };
    let log = FjallLog::open(dir.path(), options).expect("opens");
    crate::contract::check_interleaving(&log, 7);
}

#[test]
fn reopened_it_is_what_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    crate::contract::check_reopened(&|| Box::new(open(dir.path())), 3);
}
