//! What is recorded, what is not, and how much of it is kept.

use rotary_proto::{Name, RequestId, Stamp};

use super::*;
use crate::DirectoryEntry;
use crate::state::tests::founded;

/// Somebody who asks.
pub(crate) fn asked(principal: u32) -> Asked {
    Asked {
        principal: PrincipalId(principal),
        credential: None,
        tenant: None,
        address: Some([192, 0, 2, 7].into()),
        node: NodeId(1),
        wall: Wall(1_000),
    }
}

fn ask(
    directory: &mut Directory,
    command: DirectoryCommand,
    key: Option<u128>,
) -> DirectoryOutcome {
    let stamp = directory.last_stamp().plus_ms(1);
    let origin = key.map(|key| (PrincipalId(1), RequestId(key)));
    let entry = DirectoryEntry { origin, asked: Some(asked(1)), command };
    directory.apply(1, stamp, entry).answer.outcome
}

/// Action, target and outcome of every record.
fn told(directory: &Directory) -> Vec<(String, AuditTarget, String)> {
    let row = |record: &AuditRecord| (record.action.clone(), record.target, record.outcome.clone());
    directory.audit_after(0).map(|(_, record)| row(record)).collect()
}

fn row(action: &str, target: AuditTarget, outcome: &str) -> (String, AuditTarget, String) {
    (action.to_owned(), target, outcome.to_owned())
}

fn name(text: &str) -> Name {
    Name::new(text).expect("valid")
}

#[test]
fn what_people_ask_is_recorded_with_what_it_came_to() {
    let mut directory = founded(1);
    let before = directory.audit_last();
    assert_eq!(before, 0, "what nodes say themselves is not recorded");
    ask(&mut directory, DirectoryCommand::SetDraining { node: NodeId(2), drains: true }, None);
    ask(&mut directory, DirectoryCommand::SetDraining { node: NodeId(9), drains: true }, None);
    ask(&mut directory, DirectoryCommand::CreateTenant { name: name("bank") }, None);
    let note = |outcome: &str| DirectoryCommand::Note {
        action: "back_up".to_owned(),
        target: AuditTarget::Shard(ShardId(1)),
        outcome: outcome.to_owned(),
    };
    ask(&mut directory, note("done"), None);
    ask(&mut directory, note("not-allowed"), None);
    let wanted = [
        row("drain_node", AuditTarget::Node(NodeId(2)), "done"),
        row("drain_node", AuditTarget::Node(NodeId(9)), "not-found"),
        row("create_tenant", AuditTarget::Tenant(TenantId(2)), "done"),
        row("back_up", AuditTarget::Shard(ShardId(1)), "done"),
        row("back_up", AuditTarget::Shard(ShardId(1)), "not-allowed"),
    ];
    assert_eq!(told(&directory), wanted);
    let numbers: Vec<u64> = directory.audit_after(2).map(|(number, _)| number).collect();
    assert_eq!(numbers, [3, 4, 5]);
}

#[test]
fn a_retry_is_recorded_once() {
    let mut directory = founded(1);
    let command = || DirectoryCommand::CreateTenant { name: name("bank") };
    for _ in 0..3 {
        ask(&mut directory, command(), Some(1 << 80));
    }
    assert_eq!(told(&directory).len(), 1);
}

#[test]
fn a_note_that_is_none_is_refused() {
    let mut directory = founded(1);
    let note = |action: &str| DirectoryCommand::Note {
        action: action.to_owned(),
        target: AuditTarget::Cluster,
        outcome: "done".to_owned(),
    };
    for action in ["", "Lin Meier", &"x".repeat(41)] {
        let refused = ask(&mut directory, note(action), None);
        assert!(matches!(refused, DirectoryOutcome::Refused(_)), "{action:?}: {refused:?}");
    }
    let entry = DirectoryEntry { origin: None, asked: None, command: note("back_up") };
    let nobody = directory.apply(1, Stamp::from_ms(1_000_000), entry).answer.outcome;
    assert!(matches!(nobody, DirectoryOutcome::Refused(_)), "somebody did it: {nobody:?}");
    assert_eq!(told(&directory), []);
}

#[test]
fn what_was_refused_drives_out_nothing_that_was_done() {
    let mut directory = founded(1);
    let note = |outcome: &str| DirectoryCommand::Note {
        action: "back_up".to_owned(),
        target: AuditTarget::Cluster,
        outcome: outcome.to_owned(),
    };
    ask(&mut directory, note("done"), None);
    for _ in 0..=AUDIT_REFUSED_MAX {
        ask(&mut directory, note("not-allowed"), None);
    }
    assert_eq!(told(&directory).len(), 1 + AUDIT_REFUSED_MAX);
    assert_eq!(told(&directory)[0].2, "done");
    for _ in 0..AUDIT_DONE_MAX {
        ask(&mut directory, note("done"), None);
    }
    assert_eq!(told(&directory).len(), AUDIT_DONE_MAX + AUDIT_REFUSED_MAX);
    let first = directory.audit_after(0).next().expect("there are many");
    assert_eq!(first.0, 3, "the oldest of each goes first");
    assert_eq!(directory.audit_last(), (2 + AUDIT_REFUSED_MAX + AUDIT_DONE_MAX) as u64);
}
