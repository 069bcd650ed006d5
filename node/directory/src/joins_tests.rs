//! The rules of join tokens, each as one story.

use super::*;
use crate::audit::tests::asked;
use crate::command::{DirectoryCommand, DirectoryEntry, DirectoryOutcome};
use crate::nodes::tests::announced;
use crate::state::tests::{ask, founded, members};

/// Puts a folder of a node under a token, which is good for a minute.
pub(crate) fn join_token(node: u64, kind: NodeKind) -> DirectoryCommand {
    DirectoryCommand::CreateJoinToken {
        node: NodeId(node),
        kind,
        hash: [node as u8; 32],
        sealed: vec![7; 40],
        ttl_ms: 60_000,
        created: Wall(1_700_000_000_000),
    }
}

/// A machine that is told from others by a number.
pub(crate) fn taken(by: u8) -> Taken {
    Taken { by: [by; 32], address: Some([192, 0, 2, by].into()), wall: Wall(1_700_000_000_001) }
}

fn take(token: u32, node: u64, hash: u8, by: u8) -> DirectoryCommand {
    let (token, node) = (JoinTokenId(token), NodeId(node));
    DirectoryCommand::TakeJoinToken { token, node, hash: [hash; 32], taken: taken(by) }
}

fn revoke(token: u32, node: u64) -> DirectoryCommand {
    DirectoryCommand::RevokeJoinToken { token: JoinTokenId(token), node: NodeId(node) }
}

fn made(token: u32) -> DirectoryOutcome {
    DirectoryOutcome::Done(DirectoryDone::JoinToken(JoinTokenId(token)))
}

fn was_taken(token: u32, node: u64) -> DirectoryOutcome {
    let (token, node) = (JoinTokenId(token), NodeId(node));
    DirectoryOutcome::Refused(DirectoryRefusal::JoinTokenTaken { token, node })
}

fn is_over(token: u32) -> DirectoryOutcome {
    let token = JoinTokenId(token);
    DirectoryOutcome::Refused(DirectoryRefusal::JoinTokenOver { token })
}

const OK: DirectoryOutcome = DirectoryOutcome::Done(DirectoryDone::Ok);
const UNKNOWN: DirectoryOutcome = DirectoryOutcome::Refused(DirectoryRefusal::JoinTokenUnknown);
const CORE: NodeKind = NodeKind::Core;

#[test]
fn one_machine_gets_the_folder_and_gets_it_again() {
    let mut directory = founded(1);
    assert_eq!(ask(&mut directory, join_token(4, CORE)), made(1));
    assert_eq!(ask(&mut directory, take(1, 4, 9, 1)), UNKNOWN, "not its proof");
    assert_eq!(ask(&mut directory, take(1, 5, 4, 1)), UNKNOWN, "not its node");
    assert_eq!(ask(&mut directory, take(2, 4, 4, 1)), UNKNOWN);
    assert_eq!(ask(&mut directory, take(0, 4, 4, 1)), UNKNOWN);
    assert_eq!(ask(&mut directory, take(1, 4, 4, 1)), OK);
    assert_eq!(ask(&mut directory, take(1, 4, 4, 1)), OK, "it died before it had written it");
    assert_eq!(ask(&mut directory, take(1, 4, 4, 2)), was_taken(1, 4));
    assert_eq!(directory.join_token(JoinTokenId(1)).expect("made").taken, Some(taken(1)));
}

#[test]
fn a_token_ends_with_its_time_and_its_folder_with_it() {
    let mut directory = founded(1);
    ask(&mut directory, join_token(4, CORE));
    ask(&mut directory, take(1, 4, 4, 1));
    let until = directory.join_token(JoinTokenId(1)).expect("made").until;
    let mut at = |stamp, command| {
        let entry = DirectoryEntry { origin: None, asked: None, command };
        directory.apply(9, stamp, entry).answer.outcome
    };
    assert_eq!(at(Stamp(until.0 - 1), take(1, 4, 4, 1)), OK);
    assert_eq!(at(until, take(1, 4, 4, 1)), is_over(1));
    assert!(directory.join_tokens().next().is_none());
    assert_eq!(ask(&mut directory, join_token(4, CORE)), made(2));
}

#[test]
fn another_token_of_a_node_is_made_until_a_machine_has_its_folder() {
    let mut directory = founded(1);
    ask(&mut directory, join_token(4, CORE));
    assert_eq!(ask(&mut directory, join_token(4, CORE)), made(2));
    assert_eq!(ask(&mut directory, take(1, 4, 4, 1)), is_over(1));
    assert_eq!(ask(&mut directory, take(2, 4, 4, 1)), OK);
    assert_eq!(ask(&mut directory, join_token(4, CORE)), was_taken(2, 4));
    assert_eq!(ask(&mut directory, revoke(2, 5)), UNKNOWN);
    assert_eq!(ask(&mut directory, revoke(2, 4)), OK);
    assert_eq!(ask(&mut directory, revoke(2, 4)), OK);
    assert_eq!(ask(&mut directory, revoke(7, 4)), UNKNOWN);
    assert_eq!(ask(&mut directory, take(2, 4, 4, 1)), is_over(2));
    assert_eq!(ask(&mut directory, join_token(4, CORE)), made(3));
}

#[test]
fn a_number_that_is_used_is_named_with_one_that_is_free() {
    let used = |node, next| {
        let (node, next) = (NodeId(node), NodeId(next));
        DirectoryOutcome::Refused(DirectoryRefusal::NodeNumberUsed { node, next })
    };
    let mut directory = Directory::new();
    let unfounded = DirectoryOutcome::Refused(DirectoryRefusal::NotFounded);
    assert_eq!(ask(&mut directory, join_token(4, CORE)), unfounded);
    ask(&mut directory, DirectoryCommand::Found { shards: 1, members: members(3) });
    assert_eq!(ask(&mut directory, join_token(3, CORE)), used(3, 4));
    assert_eq!(ask(&mut directory, join_token(3, NodeKind::Gateway)), used(3, 4));
    let announced = announced(NodeKind::Gateway, "1");
    ask(&mut directory, DirectoryCommand::Announce { node: NodeId(7), announced });
    assert_eq!(ask(&mut directory, join_token(7, CORE)), used(7, 8));
    assert_eq!(ask(&mut directory, join_token(7, NodeKind::Gateway)), made(1));
}

#[test]
fn what_breaks_a_bound_is_refused() {
    let mut directory = founded(1);
    let mut wrong = |change: &dyn Fn(&mut u64, &mut Vec<u8>, &mut u64)| {
        let (mut node, mut bytes, mut ttl) = (4, vec![1], 60_000);
        change(&mut node, &mut bytes, &mut ttl);
        let mut command = join_token(node, CORE);
        if let DirectoryCommand::CreateJoinToken { sealed, ttl_ms, .. } = &mut command {
            (*sealed, *ttl_ms) = (bytes, ttl);
        }
        match ask(&mut directory, command) {
            DirectoryOutcome::Refused(DirectoryRefusal::BadValue { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(wrong(&|node, _, _| *node = 0), "node");
    assert_eq!(wrong(&|_, sealed, _| sealed.clear()), "sealed");
    assert_eq!(wrong(&|_, sealed, _| sealed.resize(JOIN_FOLDER_BYTES_MAX + 1, 0)), "sealed");
    assert_eq!(wrong(&|_, _, ttl| *ttl = JOIN_TTL_MIN_MS - 1), "ttl_s");
    assert_eq!(wrong(&|_, _, ttl| *ttl = JOIN_TTL_MAX_MS + 1), "ttl_s");
}

#[test]
fn there_are_only_so_many() {
    let mut directory = founded(1);
    for node in 0..JOIN_TOKENS_MAX as u64 {
        assert_eq!(ask(&mut directory, join_token(10 + node, CORE)), made(node as u32 + 1));
    }
    let full = DirectoryOutcome::Refused(limit("join_tokens_max"));
    assert_eq!(ask(&mut directory, join_token(200, CORE)), full);
    let again = made(JOIN_TOKENS_MAX as u32 + 1);
    assert_eq!(ask(&mut directory, join_token(10, CORE)), again, "in place of its own");
}

#[test]
fn a_cluster_made_from_a_backup_has_no_folders_of_the_other_one() {
    let mut directory = founded(1);
    ask(&mut directory, join_token(4, CORE));
    directory.rehome(&members(1)).expect("one node");
    assert_eq!(ask(&mut directory, take(1, 4, 4, 1)), is_over(1));
    assert_eq!(ask(&mut directory, join_token(4, CORE)), made(2));
}

#[test]
fn who_made_and_who_took_it_is_recorded() {
    let mut directory = founded(1);
    for command in [join_token(4, CORE), take(1, 4, 4, 1), take(1, 4, 4, 2), revoke(1, 4)] {
        let stamp = directory.last_stamp().plus_ms(1);
        directory.apply(1, stamp, DirectoryEntry { origin: None, asked: Some(asked(3)), command });
    }
    let told: Vec<String> = directory
        .audit_after(0)
        .map(|(_, record)| format!("{} {:?} {}", record.action, record.target, record.outcome))
        .collect();
    assert_eq!(
        told,
        [
            "create_join_token Node(nd_4) done",
            "take_join_token Node(nd_4) done",
            "take_join_token Node(nd_4) join-token-taken",
            "revoke_join_token Node(nd_4) done",
        ]
    );
    assert!(directory.joins.tokens.is_empty());
}
