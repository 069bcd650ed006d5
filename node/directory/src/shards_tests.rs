//! Shards that are made later, each rule as one story.

use rotary_proto::{Name, TenantId};

use super::*;
use crate::command::{DirectoryCommand, DirectoryOutcome};
use crate::nodes::NodeKind;
use crate::nodes::tests::announced;
use crate::state::tests::{ask, members};

const OK: DirectoryOutcome = DirectoryOutcome::Done(DirectoryDone::Ok);

fn founded(shards: u32) -> Directory {
    let mut directory = Directory::new();
    ask(&mut directory, DirectoryCommand::Found { shards, members: members(3) });
    directory
}

fn add(directory: &mut Directory, shards: u32) -> DirectoryOutcome {
    ask(directory, DirectoryCommand::AddShards { shards })
}

fn begin(directory: &mut Directory, shard: u32) -> DirectoryOutcome {
    ask(directory, DirectoryCommand::ShardFounded { shard: ShardId(shard) })
}

fn site(directory: &mut Directory, shard: Option<u32>) -> DirectoryOutcome {
    let (tenant, name) = (TenantId(1), Name::new("north").expect("valid"));
    let shard = shard.map(ShardId);
    ask(directory, DirectoryCommand::CreateSite { tenant, name, shard })
}

/// Which shards wait for their beginning, from whom, and whether there may have been one.
fn waiting(directory: &Directory) -> Vec<(u32, Option<u64>, bool)> {
    let of = |(shard, founding): (ShardId, &Founding)| {
        (shard.0, founding.founder(shard).map(|node| node.0), founding.again)
    };
    directory.founding().map(of).collect()
}

#[test]
fn shards_are_added_until_there_are_so_many_and_never_taken_away() {
    let mut directory = Directory::new();
    let early = DirectoryOutcome::Refused(DirectoryRefusal::NotFounded);
    assert_eq!(add(&mut directory, 4), early);
    let mut directory = founded(2);
    for wrong in [0, 1, SHARDS_MAX + 1] {
        let refused = add(&mut directory, wrong);
        let bad = matches!(refused, DirectoryOutcome::Refused(DirectoryRefusal::BadValue { .. }));
        assert!(bad, "{wrong}: {refused:?}");
    }
    assert_eq!((add(&mut directory, 2), waiting(&directory)), (OK, vec![]));
    assert_eq!(add(&mut directory, 4), OK);
    assert_eq!((directory.shards(), add(&mut directory, 4)), (4, OK));
    assert_eq!(waiting(&directory), [(3, Some(1), false), (4, Some(2), false)]);
    assert_eq!(directory.replicas(ShardId(4)), Some(&members(3)));
    assert_eq!(directory.replicas(ShardId(5)), None);
}

#[test]
fn no_site_lives_in_a_shard_without_a_beginning() {
    let mut directory = founded(1);
    ask(&mut directory, DirectoryCommand::CreateTenant { name: Name::new("acme").expect("valid") });
    let lives = |outcome: DirectoryOutcome| match outcome {
        DirectoryOutcome::Done(DirectoryDone::Site { shard, .. }) => shard.0,
        other => panic!("{other:?}"),
    };
    add(&mut directory, 2);
    assert_eq!(lives(site(&mut directory, None)), 1, "the only one that has begun");
    let not_yet = DirectoryRefusal::ShardNotFounded { shard: ShardId(2) };
    assert_eq!(site(&mut directory, Some(2)), DirectoryOutcome::Refused(not_yet));
    assert_eq!((begin(&mut directory, 2), begin(&mut directory, 2)), (OK, OK));
    assert_eq!(waiting(&directory), []);
    assert_eq!(lives(site(&mut directory, None)), 2, "it has the fewest");
}

#[test]
fn another_founds_what_the_first_may_have_begun() {
    let mut directory = founded(1);
    add(&mut directory, 3);
    assert_eq!(waiting(&directory), [(2, Some(3), false), (3, Some(1), false)]);
    assert_eq!(ask(&mut directory, DirectoryCommand::Release { node: NodeId(3) }), OK);
    // Node 1, which is there still, may have begun shard 3.
    assert_eq!(waiting(&directory), [(2, Some(1), true), (3, Some(2), true)]);
    let admit = |node, instead_of: u64| DirectoryCommand::Admit {
        node: NodeId(node),
        announced: announced(NodeKind::Core, "1"),
        instead_of: Some(NodeId(instead_of)),
    };
    ask(&mut directory, admit(4, 1));
    ask(&mut directory, admit(5, 2));
    assert_eq!(waiting(&directory), [(2, Some(4), true), (3, Some(5), true)], "none is left");
}

#[test]
fn who_founds_a_shard_alone_goes_on_when_somebody_else_leaves() {
    let mut directory = founded(1);
    add(&mut directory, 7);
    ask(&mut directory, DirectoryCommand::Release { node: NodeId(3) });
    let again: Vec<(u32, bool)> = waiting(&directory).iter().map(|it| (it.0, it.2)).collect();
    // Of three, then of two: shards 6 and 7 keep their founders, nodes 1 and 2.
    let expected = [(2, true), (3, true), (4, true), (5, true), (6, false), (7, false)];
    assert_eq!(again, expected);
}
