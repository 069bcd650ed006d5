//! Many commands proposed at once.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rotary_log::{ProposeError, Proposed};
use rotary_proto::ShardId;
use rotary_proto::limits::{ENTRY_BYTES_MAX, PROPOSAL_BATCH_MAX};

use crate::world::{LIMIT, Node, World, eventually};
use crate::{SHARD, assert_each_once};

fn command(number: usize) -> Bytes {
    Bytes::from(format!("command {number}"))
}

/// Three nodes, each of which has had a command committed, so that the leader has its quorum.
async fn world() -> World {
    let world = World::start(3, 1).await;
    for node in 1..=3 {
        world.propose(node, SHARD, &format!("first of {node}")).await;
    }
    world
}

/// Proposes as many times as nothing at all is committed for want of a leader.
async fn propose(node: &Node, commands: &[Bytes]) -> Vec<Result<Proposed, ProposeError>> {
    let began = Instant::now();
    loop {
        let outcomes = node.log.propose_many(SHARD, commands.to_vec()).await;
        let unled = |outcome: &Result<Proposed, ProposeError>| {
            use ProposeError::{NotLeader, TooLarge, Unreachable};
            matches!(outcome, Err(NotLeader { .. } | TooLarge { .. } | Unreachable { .. }))
        };
        if !outcomes.iter().all(unled) {
            return outcomes;
        }
        assert!(began.elapsed() < LIMIT, "{outcomes:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The answers are to these commands, in this order, and so is the log.
fn assert_in_order(outcomes: &[Proposed], numbers: impl Iterator<Item = usize>) {
    let answers: Vec<Vec<u8>> = numbers.map(|n| format!("done command {n}").into_bytes()).collect();
    assert!(outcomes.iter().map(|outcome| &outcome.answer).eq(&answers));
    assert!(outcomes.is_sorted_by(|a, b| a.index < b.index));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_a_batch_is_answered_in_order_on_any_node() {
    let world = world().await;
    let count = 2 * PROPOSAL_BATCH_MAX + 7;
    let mut from = 0;
    for node in world.nodes.values() {
        let commands: Vec<Bytes> = (from..from + count).map(command).collect();
        let outcomes = propose(node, &commands).await;
        let outcomes: Result<Vec<Proposed>, ProposeError> = outcomes.into_iter().collect();
        assert_in_order(&outcomes.expect("all are committed"), from..from + count);
        from += count;
    }
    assert_each_once(&world.agreed(SHARD, 3 + from).await, 3 + from);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_too_large_is_refused_alone() {
    let world = world().await;
    let (before, after) = (PROPOSAL_BATCH_MAX + 2, 3);
    let large = Bytes::from(vec![0; ENTRY_BYTES_MAX + 1]);
    for node in world.nodes.values() {
        let mut commands: Vec<Bytes> = (0..before).map(command).collect();
        commands.push(large.clone());
        commands.extend((before..before + after).map(command));
        let mut outcomes = propose(node, &commands).await;
        assert_eq!(outcomes.len(), before + 1 + after);
        let refused = outcomes.remove(before).expect_err("too large");
        let (bytes, bytes_max) = (ENTRY_BYTES_MAX + 1, ENTRY_BYTES_MAX);
        assert_eq!(refused, ProposeError::TooLarge { bytes, bytes_max });
        let outcomes: Result<Vec<Proposed>, ProposeError> = outcomes.into_iter().collect();
        assert_in_order(&outcomes.expect("the others are committed"), 0..before + after);
    }
    let count = 3 + 3 * (before + after);
    assert_eq!(world.agreed(SHARD, count).await.len(), count, "the large one is nowhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_commands_are_split_by_their_bytes() {
    let world = world().await;
    // A batch by their number, and several appends by their bytes.
    let commands = vec![Bytes::from(vec![b'x'; ENTRY_BYTES_MAX]); 40];
    for node in world.nodes.values() {
        let outcomes = propose(node, &commands).await;
        assert_eq!(outcomes.len(), 40);
        let whole = |outcome: &Result<Proposed, ProposeError>| {
            outcome.as_ref().is_ok_and(|done| done.answer.len() == ENTRY_BYTES_MAX + 5)
        };
        assert!(outcomes.iter().all(whole));
    }
    eventually("all are applied", || {
        let applied = world.nodes.values().all(|node| node.entries(SHARD).len() == 3 + 120);
        applied.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_proposed_is_nothing_answered() {
    let world = World::start(1, 1).await;
    let log = &world.nodes[&1].log;
    assert_eq!(log.propose_many(SHARD, Vec::new()).await, []);
    assert_eq!(log.propose_many(ShardId(9), Vec::new()).await, []);
    let nowhere = log.propose_many(ShardId(9), vec![command(0), command(1)]).await;
    assert_eq!(nowhere, vec![Err(ProposeError::NoShard(ShardId(9))); 2]);
    assert_eq!(log.counters(SHARD).expect("known").proposed, 0);
}
