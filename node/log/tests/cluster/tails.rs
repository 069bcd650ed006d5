//! Logs that lost their tail, or all of it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rotary_log::{LogError, doubt_note};
use rotary_proto::{NodeId, ShardId};
use rotary_storage::LogStore as _;

use crate::world::{World, eventually};
use crate::{SHARD, assert_each_once, propose_many};

/// A shard that is made after the others.
const LATER: ShardId = ShardId(7);

/// The last segment of a node's log, and where its last byte that is not zero is.
fn tail(world: &World, node: u64) -> io::Result<(PathBuf, u64)> {
    let mut last = None;
    let mut paths: Vec<PathBuf> = Vec::new();
    for found in fs::read_dir(world.path(node).join("log"))? {
        paths.push(found?.path());
    }
    paths.sort();
    for path in paths {
        let bytes = fs::read(&path)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte != 0) {
            last = Some((path, at as u64));
        }
    }
    last.ok_or_else(|| io::Error::other("the log is empty"))
}

fn write(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(path).expect("there");
    file.write_all_at(bytes, at).expect("written");
}

/// What a batch leaves whose write was interrupted.
fn tear(world: &World, node: u64) {
    let (path, at) = tail(world, node).expect("a log");
    write(&path, at + 700, &[0x5a; 100]);
}

fn is_cut(world: &World, node: u64) -> bool {
    world.nodes[&node].log.status(SHARD).expect("known").cut
}

async fn whole(world: &World, node: u64) {
    eventually("the log is whole again", || (!is_cut(world, node)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_replica_votes_once_it_has_caught_up() {
    let mut world = World::start(3, 1).await;
    propose_many(&world, SHARD, 0..50).await;
    let cut = world.leader(SHARD).await % 3 + 1;
    world.kill(cut).await;
    propose_many(&world, SHARD, 50..60).await;
    // Its last batch rots: something it had acknowledged is gone.
    let (path, at) = tail(&world, cut).expect("a log");
    write(&path, at, &[0xee]);
    world.start_node(cut).await;
    assert!(is_cut(&world, cut), "it is noticed");
    whole(&world, cut).await;
    // Its vote counts again: with it and without another one, a leader is found.
    let other = cut % 3 + 1;
    world.kill(other).await;
    propose_many(&world, SHARD, 60..70).await;
    assert_each_once(&world.agreed(SHARD, 70).await, 70);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_replica_learns_that_others_vote_by_now() {
    let mut world = World::start(3, 1).await;
    propose_many(&world, SHARD, 0..50).await;
    let stays = world.leader(SHARD).await;
    let (cut, gone) = (stays % 3 + 1, (stays + 1) % 3 + 1);
    world.kill(cut).await;
    let new = world.start_another().await;
    crate::members::reach(&world, &[stays, cut, new]).await;
    world.kill(gone).await;
    let (path, at) = tail(&world, cut).expect("a log");
    write(&path, at, &[0xee]);
    // Who is gone for good will never say anything, and need not.
    world.start_node(cut).await;
    assert!(is_cut(&world, cut), "it is noticed");
    whole(&world, cut).await;
    world.kill(stays).await;
    propose_many(&world, SHARD, 50..70).await;
    assert_each_once(&world.agreed(SHARD, 70).await, 70);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_replica_confirms_nobody_until_the_third_has_spoken() {
    let mut world = World::start(3, 1).await;
    propose_many(&world, SHARD, 0..50).await;
    let leader = world.leader(SHARD).await;
    let (cut, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    world.kill(cut).await;
    propose_many(&world, SHARD, 50..60).await;
    world.kill(third).await;
    let (path, at) = tail(&world, cut).expect("a log");
    write(&path, at, &[0xee]);
    world.start_node(cut).await;
    // As far as the two can know, the third leads by the vote that was lost.
    let lone = world.nodes[&leader].log.propose(SHARD, Bytes::from_static(b"lone")).await;
    assert!(lone.is_err(), "{lone:?}");
    assert!(is_cut(&world, cut));
    world.start_node(third).await;
    propose_many(&world, SHARD, 60..70).await;
    whole(&world, cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_are_cut_the_longest_log_leads() {
    let mut world = World::start(3, 1).await;
    propose_many(&world, SHARD, 0..50).await;
    let behind = world.leader(SHARD).await % 3 + 1;
    world.kill(behind).await;
    propose_many(&world, SHARD, 50..90).await;
    let nodes: Vec<u64> = world.nodes.keys().copied().collect();
    for node in nodes {
        world.kill(node).await;
    }
    for node in 1..=3 {
        tear(&world, node);
    }
    for node in 1..=3 {
        world.start_node(node).await;
        assert!(is_cut(&world, node));
    }
    propose_many(&world, SHARD, 90..100).await;
    assert_each_once(&world.agreed(SHARD, 100).await, 100);
    for node in 1..=3 {
        whole(&world, node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_log_that_is_noted_is_made_again_from_the_others() {
    let mut world = World::start(3, 1).await;
    propose_many(&world, SHARD, 0..50).await;
    // The founder: it must not found the shard a second time.
    let lost = 1;
    world.kill(lost).await;
    fs::write(world.path(lost).join("notes").join(doubt_note(SHARD)), "lost").expect("noted");
    fs::remove_dir_all(world.path(lost).join("log")).expect("lost");
    world.start_node(lost).await;
    propose_many(&world, SHARD, 50..60).await;
    assert_each_once(&world.agreed(SHARD, 60).await, 60);
    whole(&world, lost).await;
    assert!(!world.path(lost).join("notes").join(doubt_note(SHARD)).exists());
}

fn voters(nodes: &[u64]) -> BTreeSet<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

fn is_cut_in_later(world: &World, node: u64) -> bool {
    world.nodes[&node].log.status(LATER).expect("known").cut
}

/// Nodes 1 to 3, of which the first lost its log's tail, and has caught up since.
async fn once_cut() -> World {
    let mut world = World::start(3, 1).await;
    propose_many(&world, SHARD, 0..50).await;
    world.kill(1).await;
    tear(&world, 1);
    world.start_node(1).await;
    whole(&world, 1).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_never_was_on_a_node_lost_nothing_there() {
    let mut world = once_cut().await;
    world.nodes[&1].log.never_had(LATER).await.expect("noted");
    world.add(LATER).await;
    assert!(!is_cut_in_later(&world, 1));
    world.nodes[&1].log.found(LATER, &voters(&[1, 2, 3])).await.expect("founded");
    propose_many(&world, LATER, 0..20).await;
    assert_each_once(&world.agreed(LATER, 20).await, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_replica_founds_nothing_until_all_say_that_there_was_nothing() {
    let mut world = once_cut().await;
    world.cut_off(&[3]);
    world.add(LATER).await;
    assert!(is_cut_in_later(&world, 1), "nobody said that it never was there");
    let all = voters(&[1, 2, 3]);
    let unsure = world.nodes[&1].log.found(LATER, &all).await;
    assert!(matches!(unsure, Err(LogError::Unsure { .. })), "{unsure:?}");
    world.cut_off(&[]);
    eventually("the doubt has ended", || (!is_cut_in_later(&world, 1)).then_some(())).await;
    world.nodes[&1].log.found(LATER, &all).await.expect("founded");
    propose_many(&world, LATER, 0..20).await;
    assert_each_once(&world.agreed(LATER, 20).await, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_voted_for_a_founder_that_is_gone_begins_the_shard_again() {
    let mut world = World::start(3, 1).await;
    for node in 1..=3 {
        world.kill(node).await;
    }
    // The founder was elected by the other two, and is gone before they heard more of it.
    for node in [2, 3] {
        let store = world.store(node).await;
        let vote = store.vote(SHARD.0).expect("readable").expect("they voted");
        let (done, synced) = std::sync::mpsc::channel();
        store.save_vote(LATER.0, vote, Box::new(move |result| done.send(result).expect("awaited")));
        synced.recv().expect("answered").expect("written");
        drop(store);
        world.start_node(node).await;
    }
    world.add(LATER).await;
    let (log, left) = (world.nodes[&2].log.clone(), voters(&[2, 3]));
    let unsure = log.found(LATER, &left).await;
    assert!(matches!(unsure, Err(LogError::Unsure { .. })), "the founder may live: {unsure:?}");
    let unsure = log.found_again(LATER, &voters(&[1, 2, 3])).await;
    assert!(matches!(unsure, Err(LogError::Unsure { .. })), "one is silent: {unsure:?}");
    log.found_again(LATER, &left).await.expect("founded");
    propose_many(&world, LATER, 0..20).await;
    assert_each_once(&world.agreed(LATER, 20).await, 20);
    log.found_again(LATER, &left).await.expect("it has begun");
    assert_eq!(log.members(LATER).expect("known").voters, left);
}
