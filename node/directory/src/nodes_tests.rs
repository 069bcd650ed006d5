//! The rules of nodes and replicas, each as one story.

use super::*;
use crate::command::{DirectoryCommand, DirectoryOutcome};
use crate::state::tests::{ask, members, name};

pub(crate) fn announced(kind: NodeKind, build: &str) -> Announced {
    Announced {
        kind,
        peer: ([192, 0, 2, 1], 7_082).into(),
        public: "https://acd.example:7080".to_owned(),
        build: name(build),
        logic: LogicVersions { oldest: 1, newest: 2 },
        zone: None,
    }
}

fn announce(node: u64, announced: Announced) -> DirectoryCommand {
    DirectoryCommand::Announce { node: NodeId(node), announced }
}

fn forget(node: u64) -> DirectoryCommand {
    DirectoryCommand::Forget { node: NodeId(node) }
}

fn gateway(node: u64, build: &str) -> DirectoryCommand {
    announce(node, announced(NodeKind::Gateway, build))
}

fn core(node: u64) -> DirectoryCommand {
    announce(node, announced(NodeKind::Core, "1"))
}

/// A directory of nodes 1 to 3 with two data shards.
fn founded() -> Directory {
    let mut directory = Directory::new();
    ask(&mut directory, DirectoryCommand::Found { shards: 2, members: members(3) });
    directory
}

const OK: DirectoryOutcome = DirectoryOutcome::Done(DirectoryDone::Ok);

fn refused(refusal: DirectoryRefusal) -> DirectoryOutcome {
    DirectoryOutcome::Refused(refusal)
}

fn is_bad(outcome: DirectoryOutcome, wanted: &str) -> bool {
    matches!(
        outcome,
        DirectoryOutcome::Refused(DirectoryRefusal::BadValue { field, .. }) if field == wanted
    )
}

#[test]
fn every_shard_has_its_replicas_from_the_founding_on() {
    let directory = founded();
    let all: Vec<(ShardId, &BTreeSet<NodeId>)> = directory.all_replicas().collect();
    let three = members(3);
    assert_eq!(all, [0, 1, 2].map(|shard| (ShardId(shard), &three)));
    assert_eq!(directory.replicas(ShardId(3)), None);
    assert!(directory.keeps_replicas(NodeId(3)) && !directory.keeps_replicas(NodeId(4)));
}

#[test]
fn members_that_no_shard_can_have_are_refused() {
    let zero = BTreeSet::from([NodeId(0), NodeId(1)]);
    for wrong in [members(0), members(MEMBERS_PER_SHARD_MAX as u64 + 1), zero] {
        let found = DirectoryCommand::Found { shards: 1, members: wrong };
        assert!(is_bad(ask(&mut Directory::new(), found), "members"));
    }
}

#[test]
fn an_announcement_is_kept_and_an_unchanged_one_changes_nothing() {
    let mut directory = founded();
    let entry = |command| crate::DirectoryEntry { origin: None, asked: None, command };
    let stamp = directory.last_stamp();
    let first = directory.apply(5, stamp, entry(gateway(4, "1")));
    let event = DirectoryEvent::NodeAnnounced {
        node: NodeId(4),
        announced: announced(NodeKind::Gateway, "1"),
    };
    assert_eq!(first.events, [event]);
    let again = directory.apply(6, stamp, entry(gateway(4, "1")));
    assert_eq!((again.answer.outcome, again.events), (OK, vec![]));
    let newer = directory.apply(7, stamp, entry(gateway(4, "2")));
    assert_eq!(newer.events.len(), 1);
    assert_eq!(directory.node(NodeId(4)).expect("known").build, name("2"));
    assert_eq!(directory.nodes().count(), 1);
}

#[test]
fn who_keeps_replicas_is_a_core_node_and_nobody_else() {
    let mut directory = founded();
    assert!(is_bad(ask(&mut directory, gateway(1, "1")), "kind"));
    assert!(is_bad(ask(&mut directory, core(4)), "kind"));
    assert_eq!(ask(&mut directory, core(1)), OK);
    let early = ask(&mut Directory::new(), core(1));
    assert_eq!(early, refused(DirectoryRefusal::NotFounded));
}

#[test]
fn what_cannot_be_announced_is_refused_by_name() {
    let mut directory = founded();
    let with = |change: &dyn Fn(&mut Announced)| {
        let mut announced = announced(NodeKind::Gateway, "1");
        change(&mut announced);
        announce(4, announced)
    };
    for public in [String::new(), "a b".to_owned(), "é".to_owned(), "x".repeat(2_049)] {
        let wrong = with(&|announced| announced.public.clone_from(&public));
        assert!(is_bad(ask(&mut directory, wrong), "public"), "{public}");
    }
    for (oldest, newest) in [(0, 1), (2, 1)] {
        let wrong = with(&|announced| announced.logic = LogicVersions { oldest, newest });
        assert!(is_bad(ask(&mut directory, wrong), "logic"), "{oldest} {newest}");
    }
    assert!(is_bad(ask(&mut directory, gateway(0, "1")), "node"));
    assert_eq!(directory.nodes().count(), 0);
}

#[test]
fn a_gateway_is_forgotten_and_comes_back_and_a_core_node_is_not() {
    let mut directory = founded();
    assert_eq!(ask(&mut directory, forget(4)), refused(DirectoryRefusal::NodeUnknown));
    ask(&mut directory, gateway(4, "1"));
    assert_eq!(ask(&mut directory, forget(4)), OK);
    assert_eq!(directory.node(NodeId(4)), None);
    assert_eq!(ask(&mut directory, gateway(4, "1")), OK);
    ask(&mut directory, core(1));
    for core in [1, 2] {
        let keeps = DirectoryRefusal::KeepsReplicas { node: NodeId(core) };
        assert_eq!(ask(&mut directory, forget(core)), refused(keeps), "announced or not");
    }
    assert_eq!(directory.nodes().count(), 2);
}

#[test]
fn gateways_are_bounded_and_leave_room_for_every_core_node() {
    let mut directory = founded();
    let last = NODES_MAX as u64;
    for node in 4..=last {
        assert_eq!(ask(&mut directory, gateway(node, "1")), OK);
    }
    let full = refused(DirectoryRefusal::LimitReached { limit: "nodes_max".to_owned() });
    assert_eq!(ask(&mut directory, gateway(last + 1, "1")), full);
    assert_eq!(ask(&mut directory, gateway(last, "2")), OK, "one that is known may change");
    for node in 1..=3 {
        assert_eq!(ask(&mut directory, core(node)), OK);
    }
    assert_eq!(directory.nodes().count(), NODES_MAX);
    ask(&mut directory, forget(4));
    assert_eq!(ask(&mut directory, gateway(last + 1, "1")), OK);
}
