//! Reads that must see everything that was acknowledged.

use std::time::Instant;

use rotary_log::ReadError;
use rotary_proto::ShardId;

use crate::SHARD;
use crate::world::{LIMIT, World};

/// Reads on a node, as soon as it can, what it has of the shard.
async fn read(world: &World, node: u64) -> Vec<Vec<u8>> {
    let node = &world.nodes[&node];
    let index = node.log.read_index_with_retry(SHARD, Instant::now() + LIMIT).await;
    let index = index.expect("it is led, and applied in time");
    // Without waiting: once the index is there, so is the state.
    let entries = node.entries(SHARD);
    assert!(node.seen[&SHARD].lock().expect("not poisoned").through >= index);
    entries.into_iter().map(|(_, _, text)| text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_acknowledged_every_other_reads() {
    let world = World::start(3, 1).await;
    for number in 0..60 {
        let (writer, reader) = (number % 3 + 1, (number / 3) % 3 + 1);
        let text = format!("command {number}");
        let index = world.propose(writer, SHARD, &text).await;
        let entries = read(&world, reader).await;
        assert_eq!(entries.last(), Some(&text.into_bytes()), "written at {index} on {writer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_does_not_answer() {
    let world = World::start(3, 1).await;
    world.propose(1, SHARD, "before").await;
    let deposed = world.leader(SHARD).await;
    let other = deposed % 3 + 1;
    assert_eq!(read(&world, deposed).await, [b"before"]);
    world.cut_off(&[deposed]);
    // At once, while it has every reason to call itself the leader still.
    let refused = world.nodes[&deposed].log.read_index(SHARD).await;
    let refused = refused.expect_err("nobody confirms it");
    assert!(matches!(refused, ReadError::Late(_) | ReadError::NotLeader { .. }), "{refused}");
    world.propose(other, SHARD, "after").await;
    assert_eq!(read(&world, other).await, [b"before".as_slice(), b"after"]);
    // It has not heard of it, and must not say that it knows everything.
    assert_eq!(world.nodes[&deposed].entries(SHARD).len(), 1);
    let refused = world.nodes[&deposed].log.read_index(SHARD).await.expect_err("it is deposed");
    assert!(matches!(refused, ReadError::Late(_) | ReadError::NotLeader { .. }), "{refused}");
    world.cut_off(&[]);
    assert_eq!(read(&world, deposed).await, [b"before".as_slice(), b"after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_cut_off_does_not_answer() {
    let world = World::start(3, 1).await;
    let follower = world.leader(SHARD).await % 3 + 1;
    read(&world, follower).await;
    world.cut_off(&[follower]);
    world.nodes[&follower].log.read_index(SHARD).await.expect_err("it cannot ask the leader");
    world.cut_off(&[]);
    read(&world, follower).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_share_rounds() {
    let world = World::start(3, 1).await;
    world.propose(1, SHARD, "one").await;
    for node in 1..=3 {
        read(&world, node).await;
        let log = &world.nodes[&node].log;
        let before = log.counters(SHARD).expect("known");
        let indexes = (0..500).map(|_| log.read_index_with_retry(SHARD, Instant::now() + LIMIT));
        for index in futures::future::join_all(indexes).await {
            index.expect("read in time");
        }
        let after = log.counters(SHARD).expect("known");
        let (reads, rounds) = (after.reads - before.reads, after.read_rounds - before.read_rounds);
        assert!(reads >= 500 && rounds <= reads / 10, "{rounds} rounds for {reads} reads");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_without_a_leader_says_so() {
    let mut world = World::start(3, 1).await;
    let error = world.nodes[&1].log.read_index(ShardId(9)).await;
    assert_eq!(error, Err(ReadError::NoShard(ShardId(9))));
    for node in [2, 3] {
        world.kill(node).await;
    }
    let error = world.nodes[&1].log.read_index(SHARD).await.expect_err("it is alone");
    assert!(!matches!(error, ReadError::NoShard(_) | ReadError::Stopped), "{error}");
    let deadline = Instant::now() + std::time::Duration::from_millis(300);
    world.nodes[&1].log.read_index_with_retry(SHARD, deadline).await.expect_err("it is alone");
    let log = world.nodes[&1].log.clone();
    world.kill(1).await;
    assert_eq!(log.read_index(SHARD).await, Err(ReadError::Stopped));
}
