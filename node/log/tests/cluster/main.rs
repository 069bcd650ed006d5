//! What a cluster's log promises, on three nodes with real sockets and real disks.

mod batches;
mod members;
mod reads;
mod snapshots;
mod starts;
mod tails;
mod world;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use rotary_log::{Fatal, ProposeError, Role};
use rotary_proto::limits::ENTRY_BYTES_MAX;
use rotary_proto::{NodeId, ShardId, Stamp};
use world::{Forgets, LIMIT, World, eventually};

const SHARD: ShardId = ShardId(0);

/// Commands `from..to`, on every node in turn, up to 64 at once.
async fn propose_many(world: &World, shard: ShardId, range: std::ops::Range<usize>) {
    let nodes: Vec<u64> = world.nodes.keys().copied().collect();
    let proposals = range.map(|number| {
        let node = nodes[number % nodes.len()];
        async move { world.propose(node, shard, &format!("command {number}")).await }
    });
    futures::stream::iter(proposals).buffer_unordered(64).collect::<Vec<_>>().await;
}

fn assert_each_once(entries: &[(u64, Stamp, Vec<u8>)], count: usize) {
    let mut commands: Vec<&[u8]> = entries.iter().map(|(_, _, bytes)| bytes.as_slice()).collect();
    commands.sort_unstable();
    commands.dedup();
    assert_eq!((commands.len(), entries.len()), (count, count));
}

fn assert_rising(entries: &[(u64, Stamp, Vec<u8>)]) {
    let rises = entries.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1);
    assert!(rises, "indexes and stamps must rise");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_shards_apply_the_same_on_every_replica() {
    let world = World::start(3, 4).await;
    for shard in &world.shards {
        let founder = u64::from(shard.0 % 3 + 1);
        assert_eq!(world.leader(*shard).await, founder, "leaders are spread");
    }
    let shards = world.shards.iter().map(|shard| propose_many(&world, *shard, 0..250));
    futures::future::join_all(shards).await;
    for shard in &world.shards {
        let entries = world.agreed(*shard, 250).await;
        assert_each_once(&entries, 250);
        assert_rising(&entries);
        let leader = &world.nodes[&world.leader(*shard).await];
        let status = leader.log.status(*shard).expect("known");
        assert_eq!((status.role, status.applied_index), (Role::Leader, status.last_index));
        let through = leader.seen[shard].lock().expect("not poisoned").through;
        assert!(through >= entries.last().expect("some").0);
        let counters = leader.log.counters(*shard).expect("known");
        assert!(counters.batches < counters.proposed, "{counters:?}");
    }
    let mut forwarded = 0;
    for node in world.nodes.values() {
        let stats = node.log.store_stats();
        assert!(stats.syncs < stats.entries, "one sync serves many entries: {stats:?}");
        for shard in &world.shards {
            forwarded += node.log.counters(*shard).expect("known").forwarded;
        }
    }
    assert!(forwarded >= 600, "two thirds were proposed where the leader is not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_and_catches_up() {
    let mut world = World::start(3, 2).await;
    propose_many(&world, SHARD, 0..100).await;
    let killed = world.leader(SHARD).await;
    let before = world.nodes[&killed].log.status(SHARD).expect("known");
    world.kill(killed).await;
    propose_many(&world, SHARD, 100..200).await;
    let next = world.leader(SHARD).await;
    assert_ne!(next, killed);
    assert!(world.nodes[&next].log.status(SHARD).expect("known").term > before.term);
    let without = world.agreed(SHARD, 200).await;
    assert_rising(&without);
    world.start_node(killed).await;
    propose_many(&world, SHARD, 200..250).await;
    let entries = world.agreed(SHARD, 250).await;
    assert_each_once(&entries, 250);
    assert_rising(&entries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_after_all_were_killed() {
    let mut world = World::start(3, 2).await;
    propose_many(&world, SHARD, 0..150).await;
    let before = world.agreed(SHARD, 150).await;
    for node in 1..=3 {
        world.kill(node).await;
    }
    for node in 1..=3 {
        world.start_node(node).await;
    }
    world.led().await;
    let after = world.agreed(SHARD, 150).await;
    assert_eq!(after.len(), 150);
    assert!(after == before, "the same entries, with the same stamps");
    propose_many(&world, SHARD, 150..160).await;
    assert_rising(&world.agreed(SHARD, 160).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_ticks_when_shard_time_reaches_the_deadline() {
    let mut world = World::start(3, 1).await;
    world.propose(1, SHARD, "after 150").await;
    let entries = world.agreed(SHARD, 2).await;
    let waited = entries[1].1.ms_since(entries[0].1);
    assert_eq!(entries[1].2, b"tick");
    assert!(waited >= 150, "ticked after {waited} ms");
    // A deadline outlives its leader, and the time without one does not count.
    world.propose(2, SHARD, "after 400").await;
    world.kill(world.leader(SHARD).await).await;
    let entries = world.agreed(SHARD, 4).await;
    assert_rising(&entries);
    assert!(entries[3].1.ms_since(entries[2].1) >= 400);
    for node in world.nodes.values() {
        assert_eq!(node.seen[&SHARD].lock().expect("not poisoned").ticks.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_one_keeps_time_by_itself() {
    let world = World::start(1, 1).await;
    let log = &world.nodes[&1].log;
    world.propose(1, SHARD, "command").await;
    let from = log.shard_time(SHARD).expect("known");
    // Longer than a lease, beyond which a leader without a quorum stops counting.
    let later = from.plus_ms(3_000);
    eventually("shard time runs on", || log.shard_time(SHARD).filter(|now| *now >= later)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shard_time_stands_still_without_a_quorum() {
    let mut world = World::start(3, 1).await;
    world.propose(1, SHARD, "one").await;
    let leader = world.leader(SHARD).await;
    for node in (1..=3).filter(|node| *node != leader) {
        world.kill(node).await;
    }
    let log = world.nodes[&leader].log.clone();
    let time = || log.shard_time(SHARD).expect("known");
    // The lease is 600 ms; once it has lapsed, two readings far apart are equal.
    let began = Instant::now();
    let mut last = time();
    loop {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let next = time();
        if next == last {
            break;
        }
        assert!(next > last && began.elapsed() < LIMIT);
        last = next;
    }
    let refused = log.propose(SHARD, "two").await.expect_err("no quorum");
    assert!(refused.is_definite(), "{refused}");
    for node in (1..=3).filter(|node| *node != leader) {
        world.start_node(node).await;
    }
    world.propose(leader, SHARD, "three").await;
    let entries = world.agreed(SHARD, 2).await;
    assert_eq!(entries.len(), 2, "what was refused is not in the log");
    assert_rising(&entries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_say_what_they_mean() {
    let mut world = World::start(3, 1).await;
    let leader = world.leader(SHARD).await;
    let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
    let follower = &world.nodes[&others[0]].log;
    let error = follower.propose(SHARD, vec![0; ENTRY_BYTES_MAX + 1]).await;
    assert!(matches!(error, Err(ProposeError::TooLarge { .. })), "{error:?}");
    let error = follower.propose(ShardId(9), "nowhere").await;
    assert_eq!(error, Err(ProposeError::NoShard(ShardId(9))));
    let (largest, deadline) = (vec![7; ENTRY_BYTES_MAX], Instant::now() + LIMIT);
    let largest = follower.propose_with_retry(SHARD, largest, deadline, false).await.expect("fits");
    assert_eq!(largest.answer.len(), ENTRY_BYTES_MAX + 5);
    // The follower asks for the leader at once, and is not answered by another.
    eventually("the follower knows the leader", || {
        let view = world.nodes[&others[0]].log.watch_leader(SHARD)?;
        let view = *view.borrow();
        (view.leader == Some(NodeId(leader))).then_some(())
    })
    .await;
    for node in [leader, others[1]] {
        world.kill(node).await;
    }
    let deadline = Instant::now() + Duration::from_millis(500);
    let log = &world.nodes[&others[0]].log;
    let error = log.propose_with_retry(SHARD, "late", deadline, false).await.expect_err("alone");
    let named =
        error.is_definite() || error == ProposeError::Unknown("the deadline has passed".into());
    assert!(named, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_hands_leadership_on() {
    let mut world = World::start(3, 3).await;
    propose_many(&world, SHARD, 0..30).await;
    let stopped = world.leader(SHARD).await;
    let node = world.nodes.remove(&stopped).expect("it runs");
    node.log.stop().await.expect("stops");
    // Long before an election could have been due, another one leads.
    world.led().await;
    node.transport.close().await;
    drop(node);
    propose_many(&world, SHARD, 30..60).await;
    assert_each_once(&world.agreed(SHARD, 60).await, 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_applying_is_fatal() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let sink = ends.clone();
    let fatal = Fatal::with(move |code, reason| {
        sink.lock().expect("not poisoned").push((code, reason.to_owned()));
    });
    let world = World::start_with(1, 1, fatal, Forgets::default()).await;
    world.propose(1, SHARD, "fine").await;
    let log = world.nodes[&1].log.clone();
    let proposal = tokio::spawn(async move { log.propose(SHARD, "panic").await });
    let ended = eventually("the process would have ended", || {
        ends.lock().expect("not poisoned").first().cloned()
    })
    .await;
    assert_eq!(ended.0, rotary_storage::EXIT_PANIC);
    assert!(ended.1.starts_with("the machine of sh_0 panicked at index "), "{}", ended.1);
    let outcome = proposal.await.expect("ends").expect_err("nobody applied it");
    assert!(!outcome.is_definite(), "{outcome}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_gather_while_others_are_being_committed() {
    let world = World::start(3, 1).await;
    let leader = world.leader(SHARD).await;
    let log = &world.nodes[&leader].log;
    let before = (log.store_stats().syncs, log.counters(SHARD).expect("known"));
    let deadline = Instant::now() + LIMIT;
    let propose =
        |number| log.propose_with_retry(SHARD, format!("command {number}"), deadline, false);
    let mut proposals: FuturesUnordered<_> = (0..2_000).map(propose).collect();
    while let Some(proposed) = proposals.next().await {
        proposed.expect("refusals are repeated, and none is of unknown outcome");
    }
    let after = (log.store_stats().syncs, log.counters(SHARD).expect("known"));
    let (syncs, batches) = (after.0 - before.0, after.1.batches - before.1.batches);
    assert!(syncs < 500, "{syncs} syncs for 2000 commands");
    assert!(batches < 500, "{batches} batches of 2000 commands");
    assert_each_once(&world.agreed(SHARD, 2_000).await, 2_000);
}
