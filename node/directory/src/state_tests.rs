//! The directory's rules, each as one story, and replay as a property.

use proptest::prelude::*;
use rotary_proto::{ApiKeyId, JoinTokenId, RequestId, UserId, Wall};

use super::*;
use crate::audit::tests::asked;
use crate::joins::tests::{join_token, taken};
use crate::nodes::tests::announced;
use crate::{Grant, NodeKind};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}

/// Nodes 1 to `count`.
pub(crate) fn members(count: u64) -> BTreeSet<NodeId> {
    (1..=count).map(NodeId).collect()
}

fn found(shards: u32) -> DirectoryCommand {
    DirectoryCommand::Found { shards, members: members(3) }
}

fn internal(command: DirectoryCommand) -> DirectoryEntry {
    DirectoryEntry { origin: None, asked: None, command }
}

fn site(tenant: u32, shard: Option<u32>) -> DirectoryCommand {
    let (tenant, name, shard) = (TenantId(tenant), name("north"), shard.map(ShardId));
    DirectoryCommand::CreateSite { tenant, name, shard }
}

/// Applies a command at the next index and gives its outcome.
pub(crate) fn ask(directory: &mut Directory, command: DirectoryCommand) -> DirectoryOutcome {
    let stamp = directory.last_stamp().plus_ms(1);
    directory.apply(1, stamp, internal(command)).answer.outcome
}

pub(crate) fn founded(shards: u32) -> Directory {
    let mut directory = Directory::new();
    ask(&mut directory, found(shards));
    ask(&mut directory, DirectoryCommand::CreateTenant { name: name("acme") });
    directory
}

fn placed(number: u32, shard: u32) -> DirectoryOutcome {
    let done = DirectoryDone::Site { site: SiteId::new(1, number), shard: ShardId(shard) };
    DirectoryOutcome::Done(done)
}

#[test]
fn a_site_goes_where_there_are_fewest_and_the_lowest_id_breaks_ties() {
    let mut directory = founded(3);
    assert_eq!(ask(&mut directory, site(1, None)), placed(1, 1));
    assert_eq!(ask(&mut directory, site(1, Some(2))), placed(2, 2));
    assert_eq!(ask(&mut directory, site(1, None)), placed(3, 3));
    assert_eq!(ask(&mut directory, site(1, None)), placed(4, 1));
    assert_eq!(directory.shard_of(SiteId::new(1, 2)), Some(ShardId(2)));
    let rows: Vec<u32> = directory.sites(Some(TenantId(1))).map(|row| row.shard.0).collect();
    assert_eq!(rows, [1, 2, 3, 1]);
}

#[test]
fn who_is_told_to_come_again_may_come_with_the_same_key() {
    let mut directory = Directory::new();
    let origin = Some((PrincipalId(1), RequestId(7 << 80)));
    let make = |index, directory: &mut Directory| {
        let entry = DirectoryEntry { origin, asked: None, command: site(1, None) };
        directory.apply(index, Stamp::from_ms(index), entry).answer
    };
    let early = make(1, &mut directory);
    assert_eq!(early.outcome, DirectoryOutcome::Refused(DirectoryRefusal::NotFounded));
    ask(&mut directory, found(2));
    ask(&mut directory, DirectoryCommand::CreateTenant { name: name("acme") });
    let made = make(20, &mut directory);
    assert_eq!((made.outcome, made.repeated), (placed(1, 1), false));
    assert!(make(21, &mut directory).repeated);
}

#[test]
fn refusals_come_in_order() {
    let mut directory = Directory::new();
    let refused = DirectoryOutcome::Refused;
    assert_eq!(ask(&mut directory, site(9, Some(9))), refused(DirectoryRefusal::NotFounded));
    ask(&mut directory, found(2));
    assert_eq!(ask(&mut directory, site(9, Some(9))), refused(DirectoryRefusal::TenantUnknown));
    ask(&mut directory, DirectoryCommand::CreateTenant { name: name("acme") });
    let unknown = DirectoryRefusal::ShardUnknown { shards: 2 };
    assert_eq!(ask(&mut directory, site(1, Some(9))), refused(unknown.clone()));
    assert_eq!(ask(&mut directory, site(1, Some(0))), refused(unknown));
}

#[test]
fn a_cluster_is_founded_once() {
    let mut directory = founded(3);
    let again = ask(&mut directory, found(7));
    assert_eq!(again, DirectoryOutcome::Done(DirectoryDone::Ok));
    assert_eq!(directory.shards(), 3);
    let none = ask(&mut Directory::new(), found(0));
    assert!(matches!(none, DirectoryOutcome::Refused(DirectoryRefusal::BadValue { .. })));
}

#[test]
fn a_retry_gets_the_first_answer_and_changes_nothing() {
    let mut directory = founded(1);
    let key = Some((PrincipalId(4), RequestId(9 << 80)));
    let entry = DirectoryEntry {
        origin: key,
        asked: None,
        command: DirectoryCommand::CreatePrincipal { tenant: None },
    };
    let first = directory.apply(10, Stamp(100), entry.clone());
    assert_eq!(first.events.len(), 1);
    let again = directory.apply(11, Stamp(101), entry);
    assert_eq!(again.answer, DirectoryAnswer { repeated: true, ..first.answer });
    assert_eq!(again.events, []);
}

#[test]
fn the_first_new_principal_is_not_the_first_administrator() {
    let mut directory = founded(1);
    let outcome = ask(&mut directory, DirectoryCommand::CreatePrincipal { tenant: None });
    let next = PrincipalId(FIRST_PRINCIPAL.0 + 1);
    assert_eq!(outcome, DirectoryOutcome::Done(DirectoryDone::Principal(next)));
}

fn any_command() -> impl Strategy<Value = DirectoryCommand> {
    prop_oneof![
        (0u32..4, 0u64..4).prop_map(|(shards, count)| {
            DirectoryCommand::Found { shards, members: members(count) }
        }),
        any_of_nodes(),
        Just(DirectoryCommand::CreateTenant { name: name("acme") }),
        (0u32..4, proptest::option::of(0u32..5)).prop_map(|(tenant, shard)| site(tenant, shard)),
        proptest::option::of(0u32..3)
            .prop_map(|tenant| DirectoryCommand::CreatePrincipal { tenant: tenant.map(TenantId) }),
        any_credential(),
        any_join(),
    ]
}

fn any_of_nodes() -> impl Strategy<Value = DirectoryCommand> {
    let node = || (0u64..6).prop_map(NodeId);
    let kind = prop_oneof![Just(NodeKind::Core), Just(NodeKind::Gateway)];
    prop_oneof![
        (node(), kind, "[12]").prop_map(|(node, kind, build)| {
            DirectoryCommand::Announce { node, announced: announced(kind, &build) }
        }),
        node().prop_map(|node| DirectoryCommand::Forget { node }),
        (2u64..12, proptest::option::of(node())).prop_map(|(node, instead_of)| {
            let announced = announced(NodeKind::Core, "1");
            DirectoryCommand::Admit { node: NodeId(node), announced, instead_of }
        }),
        node().prop_map(|node| DirectoryCommand::Release { node }),
        (node(), any::<bool>()).prop_map(|(node, votes)| DirectoryCommand::SetVote { node, votes }),
        (node(), any::<bool>())
            .prop_map(|(node, drains)| DirectoryCommand::SetDraining { node, drains }),
    ]
}

fn any_credential() -> impl Strategy<Value = DirectoryCommand> {
    let hash = || "$argon2id$x".to_owned();
    let grant = |(tenant, number): (u32, Option<u32>)| {
        let site = number.map(|number| SiteId::new(tenant, number));
        Grant::Supervisor { tenant: TenantId(tenant), site }
    };
    let granted = || (0u32..3, proptest::option::of(1u32..3)).prop_map(grant);
    prop_oneof![
        (granted(), any::<u8>()).prop_map(|(grant, byte)| DirectoryCommand::CreateApiKey {
            grant,
            name: name("key"),
            hash: [byte; 32],
            created: Wall(5),
            expires: None,
        }),
        (1u32..4).prop_map(|key| DirectoryCommand::RevokeApiKey { key: ApiKeyId(key) }),
        (granted(), "[ab]").prop_map(move |(grant, login)| DirectoryCommand::CreateUser {
            grant,
            login: name(&login),
            hash: hash(),
        }),
        Just(DirectoryCommand::FoundUser { login: name("admin"), hash: hash() }),
        (1u32..4).prop_map(move |user| DirectoryCommand::SetPassword {
            user: UserId(user),
            hash: hash(),
        }),
        (1u32..4, any::<bool>()).prop_map(|(user, disabled)| DirectoryCommand::SetDisabled {
            user: UserId(user),
            disabled,
        }),
    ]
}

fn any_join() -> impl Strategy<Value = DirectoryCommand> {
    let id = || (1u32..4).prop_map(JoinTokenId);
    prop_oneof![
        (0u64..6, any::<bool>()).prop_map(|(node, core)| {
            join_token(node, if core { NodeKind::Core } else { NodeKind::Gateway })
        }),
        (id(), 0u64..6, 0u8..3).prop_map(|(token, node, by)| {
            let hash = [node as u8; 32];
            DirectoryCommand::TakeJoinToken { token, node: NodeId(node), hash, taken: taken(by) }
        }),
        (id(), 0u64..6).prop_map(|(token, node)| {
            DirectoryCommand::RevokeJoinToken { token, node: NodeId(node) }
        }),
    ]
}

pub(crate) fn any_entry() -> impl Strategy<Value = (u64, DirectoryEntry)> {
    let origin = proptest::option::of((1u32..3, 0u64..6));
    (0u64..400_000_000, origin, any_command()).prop_map(|(stamp, origin, command)| {
        let key = |(principal, ms): (u32, u64)| {
            (PrincipalId(principal), RequestId(u128::from(ms * 1_000) << 80))
        };
        (
            stamp,
            DirectoryEntry { origin: origin.map(key), asked: origin.map(|_| asked(1)), command },
        )
    })
}

proptest! {
    #[test]
    fn replaying_the_log_gives_the_same_state_answers_and_events(
        entries in proptest::collection::vec(any_entry(), 0..60),
    ) {
        let run = || {
            let mut directory = Directory::new();
            let applied: Vec<Applied> = (1u64..)
                .zip(entries.clone())
                .map(|(index, (stamp, entry))| directory.apply(index, Stamp(stamp), entry))
                .collect();
            (directory, applied)
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn a_shard_is_at_most_one_site_ahead_of_another_when_nobody_names_one(
        sites in 0usize..40, shards in 1u32..6,
    ) {
        let mut directory = founded(shards);
        for _ in 0..sites {
            ask(&mut directory, site(1, None));
        }
        let counts: Vec<u32> = directory.placed.values().copied().collect();
        let spread = counts.iter().max().zip(counts.iter().min()).map(|(most, least)| most - least);
        prop_assert!(spread <= Some(1), "{:?}", counts);
        prop_assert_eq!(counts.iter().sum::<u32>() as usize, sites);
    }
}
