//! Logs that lost their tail, or all of it.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rotary_log::doubt_note;

use crate::world::{World, eventually};
use crate::{SHARD, assert_each_once, propose_many};

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
