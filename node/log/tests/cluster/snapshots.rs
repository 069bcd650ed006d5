//! Snapshots, and replicas that must start from one.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rotary_log::Fatal;
use rotary_proto::ShardId;

use crate::world::{Forgets, World, eventually};
use crate::{SHARD, assert_each_once, propose_many};

/// Small enough that a few dozen commands make a snapshot due.
const BYTES_MIN: u64 = 2_000;

type Ends = Arc<Mutex<Vec<(i32, String)>>>;

async fn world() -> (World, Ends) {
    let ends = Ends::default();
    let sink = ends.clone();
    let fatal = Fatal::with(move |code, reason| {
        sink.lock().expect("not poisoned").push((code, reason.to_owned()));
    });
    let forgets = Forgets { after_bytes: BYTES_MIN, ..Forgets::default() };
    (World::start_with(3, 1, fatal, forgets).await, ends)
}

fn installed(world: &World, node: u64) -> u64 {
    world.nodes[&node].log.counters(SHARD).expect("known").snapshots_installed
}

/// Waits until a node has a snapshot at or beyond `index`.
async fn snapshot_at(world: &World, node: u64, index: u64) {
    eventually("a snapshot is taken", || {
        let counters = world.nodes[&node].log.counters(SHARD).expect("known");
        (counters.snapshot_index >= index).then_some(())
    })
    .await;
}

/// Proposes a few commands at a time, so that no replica falls so far behind that it is sent a
/// snapshot, in which there is nothing of what it did wrong.
async fn propose_in_step(world: &World, numbers: std::ops::Range<usize>) {
    for first in numbers.clone().step_by(10) {
        propose_many(world, SHARD, first..numbers.end.min(first + 10)).await;
        let nodes = world.nodes.values();
        let status = |node: &crate::world::Node| node.log.status(SHARD).expect("known");
        let last = nodes.clone().map(|node| status(node).last_index).max();
        eventually("all have applied it", || {
            nodes.clone().all(|node| Some(status(node).applied_index) >= last).then_some(())
        })
        .await;
    }
}

/// The snapshot file of a node.
fn file(world: &World, node: u64) -> PathBuf {
    let directory = world.path(node).join("snapshots/group-0");
    let names = fs::read_dir(directory).expect("there");
    let mut files: Vec<PathBuf> = names.map(|found| found.expect("listed").path()).collect();
    files.retain(|path| path.extension().is_some_and(|kind| kind == "snapshot"));
    files.sort();
    files.pop().expect("a snapshot")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_replica_starts_from_its_snapshot() {
    let (mut world, _) = world().await;
    propose_many(&world, SHARD, 0..300).await;
    for node in 1..=3 {
        snapshot_at(&world, node, 100).await;
    }
    for node in 1..=3 {
        world.kill(node).await;
    }
    for node in 1..=3 {
        world.start_node(node).await;
    }
    propose_many(&world, SHARD, 300..330).await;
    assert_each_once(&world.agreed(SHARD, 330).await, 330);
    for node in world.nodes.values() {
        assert_eq!(node.seen[&SHARD].lock().expect("not poisoned").installed, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_too_far_behind_gets_the_snapshot() {
    let (mut world, _) = world().await;
    propose_many(&world, SHARD, 0..50).await;
    let away = world.leader(SHARD).await % 3 + 1;
    world.kill(away).await;
    world.led().await;
    propose_many(&world, SHARD, 50..600).await;
    let leader = world.leader(SHARD).await;
    eventually("the log is forgotten", || {
        let status = world.nodes[&leader].log.status(SHARD).expect("known");
        (status.forgotten_index > 100).then_some(())
    })
    .await;
    world.start_node(away).await;
    assert_each_once(&world.agreed(SHARD, 600).await, 600);
    eventually("it was installed", || (installed(&world, away) > 0).then_some(())).await;
    // What it got outlives a restart.
    world.kill(away).await;
    world.start_node(away).await;
    propose_many(&world, SHARD, 600..620).await;
    assert_each_once(&world.agreed(SHARD, 620).await, 620);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_replaced_by_another_replicas() {
    let (mut world, _) = world().await;
    propose_many(&world, SHARD, 0..300).await;
    snapshot_at(&world, 2, 100).await;
    world.kill(2).await;
    let path = file(&world, 2);
    let mut bytes = fs::read(&path).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, bytes).expect("written");
    world.start_node(2).await;
    propose_many(&world, SHARD, 300..320).await;
    assert_each_once(&world.agreed(SHARD, 320).await, 320);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_panics_is_refused_after_the_restart() {
    let (mut world, ends) = world().await;
    world.propose(1, SHARD, "before").await;
    let log = world.nodes[&1].log.clone();
    let proposal = tokio::spawn(async move { log.propose(SHARD, "panic").await });
    eventually("every replica has applied it", || {
        let ended = ends.lock().expect("not poisoned").len();
        // The panic itself, and the guard of the task that dies of it.
        (ended == 6).then_some(())
    })
    .await;
    drop(proposal.await.expect("ends"));
    for node in 1..=3 {
        world.kill(node).await;
    }
    for node in 1..=3 {
        world.start_node(node).await;
    }
    world.propose(2, SHARD, "after").await;
    let entries = world.agreed(SHARD, 3).await;
    let texts: Vec<&[u8]> = entries.iter().map(|(_, _, text)| text.as_slice()).collect();
    assert_eq!(texts, [b"before".as_slice(), b"poisoned panic", b"after"]);
    let notes = fs::read_dir(world.path(1).join("notes")).expect("there");
    assert_eq!(notes.count(), 1, "the case is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_differs_from_the_others_is_rebuilt() {
    let (mut world, ends) = world().await;
    world.propose(1, SHARD, "lie 3").await;
    propose_in_step(&world, 0..1_100).await;
    let (code, reason) = eventually("the third replica ends", || {
        ends.lock().expect("not poisoned").first().cloned()
    })
    .await;
    assert_eq!(code, rotary_storage::EXIT_DIVERGED, "{reason}");
    assert!(reason.contains("differs from a majority at index 1024"), "{reason}");
    world.kill(3).await;
    ends.lock().expect("not poisoned").clear();
    world.led().await;
    propose_many(&world, SHARD, 1_100..2_200).await;
    // A log that begins with the lie would have it told once more.
    eventually("the others have forgotten the lie", || {
        let status = |node| world.nodes[&node].log.status(SHARD).expect("known");
        [1, 2].into_iter().all(|node| status(node).forgotten_index > 100).then_some(())
    })
    .await;
    world.start_node(3).await;
    assert_each_once(&world.agreed(ShardId(0), 2_201).await, 2_201);
    assert_eq!(*ends.lock().expect("not poisoned"), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_wrote_down_something_else_is_found_though_its_state_is_the_same() {
    let (world, ends) = world().await;
    world.propose(1, SHARD, "forge 2").await;
    propose_in_step(&world, 0..1_100).await;
    let (code, reason) = eventually("the second replica ends", || {
        ends.lock().expect("not poisoned").first().cloned()
    })
    .await;
    assert_eq!(code, rotary_storage::EXIT_DIVERGED, "{reason}");
    assert!(reason.contains("differs from a majority at index 1024"), "{reason}");
    assert!(world.path(2).join("notes").join(format!("rebuild-{}", SHARD.0)).exists());
}
