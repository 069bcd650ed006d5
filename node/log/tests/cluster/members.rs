//! Members that come and go.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rotary_log::{ChangeError, Follower, Members, next_change};
use rotary_proto::NodeId;

use crate::world::{Forgets, LIMIT, World};
use crate::{SHARD, assert_each_once, propose_many};

fn nodes(numbers: &[u64]) -> BTreeSet<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

fn members(world: &World, node: u64) -> Members {
    world.nodes[&node].log.members(SHARD).expect("known")
}

/// Takes one step on whoever leads; whether there is nothing more to do.
async fn step(world: &World, voters: &BTreeSet<NodeId>) -> bool {
    let leader = world.leader(SHARD).await;
    let log = &world.nodes[&leader].log;
    let Some(followers) = log.followers(SHARD) else { return false };
    let last = log.status(SHARD).expect("known").applied_index;
    let caught_up = |node| followers.iter().any(|f: &Follower| f.node == node && f.matched >= last);
    let actual = members(world, leader);
    match next_change(&actual, voters, &BTreeSet::new(), caught_up) {
        Some(change) => {
            // Whoever led may lead no longer: the next step is taken where that shows.
            let _ = log.change_members(SHARD, change).await;
            false
        }
        None => actual.voters == *voters && actual.learners.is_empty() && !actual.changing,
    }
}

pub(crate) async fn reach(world: &World, voters: &[u64]) {
    let (began, voters) = (Instant::now(), nodes(voters));
    while !step(world, &voters).await {
        assert!(
            began.elapsed() < LIMIT,
            "in vain: {:?}",
            members(world, world.leader(SHARD).await)
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_takes_the_place_of_another_and_has_everything() {
    let forgets = Forgets { after_bytes: 4_096, but_entries: 5 };
    let mut world = World::start_with(3, 1, rotary_log::Fatal::exit(), forgets).await;
    propose_many(&world, SHARD, 0..300).await;
    let leader = world.leader(SHARD).await;
    let gone = leader % 3 + 1;
    world.kill(gone).await;
    let new = world.start_another().await;
    let stays: Vec<u64> = (1..=3).filter(|node| *node != gone).chain([new]).collect();
    reach(&world, &stays).await;
    propose_many(&world, SHARD, 300..350).await;
    assert_each_once(&world.agreed(SHARD, 350).await, 350);
    assert_eq!(members(&world, new).voters, nodes(&stays));
    assert_eq!(world.nodes[&new].seen[&SHARD].lock().expect("whole").members.len(), 3);
    // Its vote counts: with it and one of the others there is a leader.
    world.kill(leader).await;
    propose_many(&world, SHARD, 350..360).await;
    assert_each_once(&world.agreed(SHARD, 360).await, 360);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_can_be_dismissed_and_admitted_again() {
    let mut world = World::start(3, 1).await;
    let new = world.start_another().await;
    let leader = world.leader(SHARD).await;
    let others: Vec<u64> = (1..=3).filter(|node| *node != leader).chain([new]).collect();
    reach(&world, &others).await;
    propose_many(&world, SHARD, 0..20).await;
    // Who has no vote hands on what it leads, a moment after.
    let mut view = world.nodes[&leader].log.watch_leader(SHARD).expect("known");
    let handed_on = view.wait_for(|view| !view.is_self);
    tokio::time::timeout(LIMIT, handed_on).await.expect("in time").expect("it runs");
    reach(&world, &[1, 2, 3, new]).await;
    propose_many(&world, SHARD, 20..40).await;
    assert_each_once(&world.agreed(SHARD, 40).await, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_its_leader_left_half_done_is_finished_by_another() {
    for round in 0..3 {
        let mut world = World::start(3, 1).await;
        let (new, leader) = (world.start_another().await, world.leader(SHARD).await);
        let stays: Vec<u64> = (1..=3).filter(|node| *node != leader).chain([new]).collect();
        let wanted = nodes(&stays);
        while members(&world, leader).learners.is_empty() {
            step(&world, &wanted).await;
        }
        let log = world.nodes[&leader].log.clone();
        let change = rotary_log::Change::Voters(wanted.clone());
        let asked = tokio::spawn(async move { log.change_members(SHARD, change).await });
        tokio::time::sleep(Duration::from_millis(2 * round)).await;
        world.kill(leader).await;
        asked.abort();
        reach(&world, &stays).await;
        propose_many(&world, SHARD, 0..20).await;
        assert_each_once(&world.agreed(SHARD, 20).await, 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_refused_where_it_cannot_be_taken() {
    let world = World::start(3, 1).await;
    let leader = world.leader(SHARD).await;
    let admit = || rotary_log::Change::Admit(nodes(&[4]));
    let follower = &world.nodes[&(leader % 3 + 1)].log;
    assert_eq!(follower.change_members(SHARD, admit()).await, Err(ChangeError::NotLeader));
    let stranger = rotary_log::Change::Voters(nodes(&[1, 2, 4]));
    let refused = world.nodes[&leader].log.change_members(SHARD, stranger).await;
    assert!(matches!(refused, Err(ChangeError::Refused(_))), "{refused:?}");
    let voter = rotary_log::Change::Dismiss(nodes(&[leader % 3 + 1]));
    let refused = world.nodes[&leader].log.change_members(SHARD, voter).await;
    assert!(matches!(refused, Err(ChangeError::Refused(_))), "{refused:?}");
    assert_eq!(members(&world, leader).voters, nodes(&[1, 2, 3]));
}
