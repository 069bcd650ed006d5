//! Core nodes that come and go, each rule as one story.

use super::*;
use crate::command::{DirectoryCommand, DirectoryOutcome};
use crate::nodes::tests::announced;
use crate::state::tests::{ask, members};

const OK: DirectoryOutcome = DirectoryOutcome::Done(DirectoryDone::Ok);

fn founded(nodes: u64) -> Directory {
    let mut directory = Directory::new();
    ask(&mut directory, DirectoryCommand::Found { shards: 2, members: members(nodes) });
    directory
}

fn admit(node: u64, instead_of: Option<u64>) -> DirectoryCommand {
    let announced = announced(NodeKind::Core, "1");
    DirectoryCommand::Admit { node: NodeId(node), announced, instead_of: instead_of.map(NodeId) }
}

fn release(node: u64) -> DirectoryCommand {
    DirectoryCommand::Release { node: NodeId(node) }
}

fn vote(node: u64, votes: bool) -> DirectoryCommand {
    DirectoryCommand::SetVote { node: NodeId(node), votes }
}

/// Who votes and who follows without, in every shard.
fn seats(directory: &Directory) -> (Vec<u64>, Vec<u64>) {
    let numbers = |nodes: &BTreeSet<NodeId>| nodes.iter().map(|node| node.0).collect();
    let of = |shard| directory.seats(ShardId(shard)).expect("a shard");
    let first = of(0);
    assert!((1..=2).all(|shard| of(shard) == first), "all shards alike");
    assert_eq!(directory.seats(ShardId(3)), None);
    (numbers(&first.voters), numbers(&first.learners))
}

fn refused(outcome: DirectoryOutcome) -> DirectoryRefusal {
    match outcome {
        DirectoryOutcome::Refused(refusal) => refusal,
        DirectoryOutcome::Done(done) => panic!("{done:?}"),
    }
}

#[test]
fn a_node_comes_and_another_goes() {
    let mut directory = founded(3);
    assert_eq!(ask(&mut directory, admit(4, None)), OK);
    assert_eq!(seats(&directory), (vec![1, 2, 3, 4], vec![]));
    assert_eq!(ask(&mut directory, release(2)), OK);
    assert_eq!(seats(&directory), (vec![1, 3, 4], vec![]));
    assert_eq!(ask(&mut directory, admit(5, Some(1))), OK);
    assert_eq!(seats(&directory), (vec![3, 4, 5], vec![]));
    assert!(!directory.keeps_replicas(NodeId(1)) && directory.keeps_replicas(NodeId(5)));
}

#[test]
fn a_number_is_never_used_again() {
    let mut directory = founded(3);
    let used =
        |node, next| DirectoryRefusal::NodeNumberUsed { node: NodeId(node), next: NodeId(next) };
    assert_eq!(refused(ask(&mut directory, admit(3, None))), used(3, 4));
    ask(&mut directory, admit(7, None));
    assert_eq!(refused(ask(&mut directory, admit(5, None))), used(5, 8));
    ask(&mut directory, release(7));
    ask(&mut directory, DirectoryCommand::Forget { node: NodeId(7) });
    assert_eq!(refused(ask(&mut directory, admit(7, None))), used(7, 8), "gone, and not forgotten");
    assert_eq!(directory.last_core(), NodeId(7));
    let gateway = announced(NodeKind::Gateway, "1");
    let announce = DirectoryCommand::Announce { node: NodeId(9), announced: gateway };
    assert_eq!(ask(&mut directory, announce), OK);
    assert_eq!(refused(ask(&mut directory, admit(9, None))), used(9, 10), "a gateway has it");
    assert_eq!(ask(&mut directory, admit(8, None)), OK);
}

#[test]
fn five_have_a_vote_unless_somebody_says_otherwise() {
    let mut directory = founded(3);
    (4..=6).for_each(|node| assert_eq!(ask(&mut directory, admit(node, None)), OK));
    assert_eq!(seats(&directory), (vec![1, 2, 3, 4, 5], vec![6]));
    assert_eq!(ask(&mut directory, vote(6, true)), OK);
    assert_eq!(ask(&mut directory, vote(1, false)), OK);
    assert_eq!(seats(&directory), (vec![2, 3, 4, 5, 6], vec![1]));
    ask(&mut directory, admit(7, Some(1)));
    assert_eq!(seats(&directory).1, [7], "who replaces one without a vote has none");
    ask(&mut directory, admit(8, Some(2)));
    assert_eq!(seats(&directory), (vec![3, 4, 5, 6, 8], vec![7]));
    (9..=13).for_each(|node| assert_eq!(ask(&mut directory, admit(node, None)), OK));
    for node in 9..=12 {
        assert_eq!(ask(&mut directory, vote(node, true)), OK);
    }
    let full = DirectoryRefusal::LimitReached { limit: "voters_max".to_owned() };
    assert_eq!(refused(ask(&mut directory, vote(13, true))), full);
}

#[test]
fn somebody_always_has_a_vote() {
    let mut directory = founded(1);
    let last = DirectoryRefusal::LastVoter { node: NodeId(1) };
    assert_eq!(refused(ask(&mut directory, release(1))), last);
    assert_eq!(refused(ask(&mut directory, vote(1, false))), last);
    ask(&mut directory, admit(2, None));
    ask(&mut directory, vote(2, false));
    assert_eq!(refused(ask(&mut directory, release(1))), last, "the other one has none");
    assert_eq!(ask(&mut directory, admit(3, Some(1))), OK, "but it can be replaced");
    assert_eq!(seats(&directory), (vec![3], vec![2]));
}

#[test]
fn what_cannot_be_admitted_or_released_is_refused_by_name() {
    let mut directory = founded(3);
    let gateway = announced(NodeKind::Gateway, "1");
    let as_gateway =
        DirectoryCommand::Admit { node: NodeId(4), announced: gateway.clone(), instead_of: None };
    let bad = refused(ask(&mut directory, as_gateway));
    assert!(matches!(bad, DirectoryRefusal::BadValue { field, .. } if field == "kind"));
    assert_eq!(refused(ask(&mut directory, release(4))), DirectoryRefusal::NodeUnknown);
    assert_eq!(refused(ask(&mut directory, admit(5, Some(4)))), DirectoryRefusal::NodeUnknown);
    let announce = DirectoryCommand::Announce { node: NodeId(4), announced: gateway };
    ask(&mut directory, announce);
    let none = DirectoryRefusal::KeepsNoReplicas { node: NodeId(4) };
    for wrong in [release(4), vote(4, true), admit(5, Some(4))] {
        assert_eq!(refused(ask(&mut directory, wrong)), none);
    }
    let early = refused(ask(&mut Directory::new(), admit(1, None)));
    assert_eq!(early, DirectoryRefusal::NotFounded);
}

#[test]
fn who_was_released_is_told_so_and_may_be_forgotten() {
    let mut directory = founded(3);
    ask(&mut directory, admit(4, Some(3)));
    let back = announced(NodeKind::Core, "2");
    let announce = DirectoryCommand::Announce { node: NodeId(3), announced: back };
    let told = refused(ask(&mut directory, announce));
    assert!(matches!(told, DirectoryRefusal::BadValue { field, .. } if field == "kind"));
    assert_eq!(
        ask(&mut directory, DirectoryCommand::Forget { node: NodeId(4) }),
        DirectoryOutcome::Refused(DirectoryRefusal::KeepsReplicas { node: NodeId(4) })
    );
}

#[test]
fn nodes_are_bounded() {
    let mut directory = founded(3);
    let most = MEMBERS_PER_SHARD_MAX as u64;
    (4..=most).for_each(|node| assert_eq!(ask(&mut directory, admit(node, None)), OK));
    let full = DirectoryRefusal::LimitReached { limit: "nodes_max".to_owned() };
    assert_eq!(refused(ask(&mut directory, admit(most + 1, None))), full);
    assert_eq!(directory.nodes().count(), most as usize - 3, "the first three are not announced");
}

#[test]
fn another_cluster_s_nodes_take_the_place_of_all() {
    let mut directory = founded(3);
    ask(&mut directory, admit(4, None));
    ask(&mut directory, vote(4, false));
    ask(&mut directory, DirectoryCommand::SetDraining { node: NodeId(2), drains: true });
    ask(&mut directory, DirectoryCommand::AddShards { shards: 3 });
    let numbers = |of: &[u64]| of.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
    let none = directory.rehome(&BTreeSet::new());
    assert!(matches!(none, Err(DirectoryRefusal::BadValue { .. })), "{none:?}");
    let many = directory.rehome(&members(VOTERS_MAX as u64 + 1));
    assert!(matches!(many, Err(DirectoryRefusal::LimitReached { .. })), "{many:?}");
    assert_eq!(directory.rehome(&numbers(&[1, 2, 9])), Ok(()));
    for shard in (0..=3).map(ShardId) {
        let seats = directory.seats(shard).expect("a shard");
        assert_eq!((seats.voters, seats.learners), (numbers(&[1, 2, 9]), BTreeSet::new()));
    }
    assert_eq!((directory.nodes().count(), directory.last_core()), (0, NodeId(9)));
    assert!(!directory.is_draining(NodeId(2)), "what it was to the other cluster is forgotten");
    let founding: Vec<_> = directory.founding().collect();
    assert_eq!(founding.len(), 1);
    assert_eq!((founding[0].0, &founding[0].1.voters), (ShardId(3), &numbers(&[1, 2, 9])));
}
