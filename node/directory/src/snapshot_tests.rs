//! Snapshots of the directory at any point of random histories, damaged ones, and their bytes.

use std::fmt::Write as _;
use std::path::PathBuf;

use proptest::prelude::*;
use rotary_proto::Wall;
use rotary_proto::snapshot::{HEADER_BYTES, mend};

use super::*;
use crate::joins::tests::{join_token, taken};
use crate::nodes::tests::announced;
use crate::state::tests::{any_entry, members};
use crate::{Credential, DirectoryCommand, DirectoryEntry, Grant};

fn restore(chunks: &[Vec<u8>]) -> Result<Directory, RestoreError> {
    chunks.iter().try_fold(Restore::new(), |restore, chunk| restore.chunk(chunk))?.finish()
}

fn chunks(directory: &Directory) -> Vec<Vec<u8>> {
    directory.freeze().chunks().collect()
}

proptest! {
    #[test]
    fn a_restored_directory_goes_on_as_the_original(
        entries in proptest::collection::vec((any_entry(), any::<bool>()), 0..60),
    ) {
        let mut directory = Directory::new();
        let mut twins: Vec<(Directory, Frozen, Vec<Vec<u8>>)> = Vec::new();
        for (index, ((stamp, entry), frozen)) in (1u64..).zip(entries) {
            if frozen {
                let view = directory.freeze();
                let chunks: Vec<_> = view.chunks().collect();
                let twin = restore(&chunks).expect("what was frozen can be restored");
                prop_assert_eq!(&twin, &directory);
                prop_assert_eq!(twin.digest(), view.digest());
                twins.push((twin, view, chunks));
            }
            let applied = directory.apply(index, Stamp(stamp), entry.clone());
            for (twin, ..) in &mut twins {
                prop_assert_eq!(&twin.apply(index, Stamp(stamp), entry.clone()), &applied);
            }
        }
        for (twin, view, chunks) in twins {
            prop_assert_eq!(&twin, &directory);
            prop_assert!(view.chunks().eq(chunks), "a frozen view changed");
        }
    }

    #[test]
    fn what_is_wrong_behind_a_good_sum_never_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut chunk = chunks(&eventful()).remove(0);
        for (at, byte) in changes {
            let at = HEADER_BYTES + at.index(chunk.len() - HEADER_BYTES);
            chunk[at] ^= byte;
        }
        mend(0, &mut chunk);
        if let Ok(restored) = restore(&[chunk]) {
            prop_assert_eq!(restore(&chunks(&restored)), Ok(restored));
        }
    }
}

/// A directory with something of everything.
// long: one row a command.
fn eventful() -> Directory {
    let mut directory = Directory::new();
    let name = |text: &str| Name::new(text).expect("valid");
    let commands = [
        DirectoryCommand::Found { shards: 3, members: members(3) },
        DirectoryCommand::Announce { node: NodeId(1), announced: announced(NodeKind::Core, "1") },
        DirectoryCommand::Announce {
            node: NodeId(7),
            announced: announced(NodeKind::Gateway, "2"),
        },
        DirectoryCommand::Admit {
            node: NodeId(4),
            announced: announced(NodeKind::Core, "1"),
            instead_of: None,
        },
        DirectoryCommand::Admit {
            node: NodeId(8),
            announced: announced(NodeKind::Core, "2"),
            instead_of: Some(NodeId(1)),
        },
        DirectoryCommand::SetVote { node: NodeId(4), votes: false },
        DirectoryCommand::SetDraining { node: NodeId(3), drains: true },
        DirectoryCommand::AddShards { shards: 5 },
        DirectoryCommand::ShardFounded { shard: ShardId(5) },
        DirectoryCommand::Release { node: NodeId(2) },
        DirectoryCommand::Announce { node: NodeId(3), announced: announced(NodeKind::Core, "2") },
        DirectoryCommand::Finalize { version: 2 },
        DirectoryCommand::RaiseVersion { version: 2 },
        DirectoryCommand::CreateTenant { name: name("acme") },
        DirectoryCommand::CreateTenant { name: name("bank") },
        DirectoryCommand::CreateSite { tenant: TenantId(1), name: name("north"), shard: None },
        DirectoryCommand::CreateSite {
            tenant: TenantId(2),
            name: name("south"),
            shard: Some(ShardId(3)),
        },
        DirectoryCommand::MoveSite { site: SiteId::new(1, 1), to: ShardId(2) },
        DirectoryCommand::MoveSite { site: SiteId::new(2, 1), to: ShardId(2) },
        DirectoryCommand::MoveFailed {
            site: SiteId::new(2, 1),
            number: 2,
            why: "it was full".to_owned(),
        },
        DirectoryCommand::CreatePrincipal { tenant: Some(TenantId(1)) },
        DirectoryCommand::CreateApiKey {
            grant: Grant::Supervisor { tenant: TenantId(1), site: Some(SiteId::new(1, 1)) },
            name: name("wallboard"),
            hash: [7; 32],
            created: Wall(1_700_000_000_000),
            expires: Some(Wall(1_800_000_000_000)),
        },
        DirectoryCommand::FoundUser { login: name("admin"), hash: "$argon2id$x".to_owned() },
        DirectoryCommand::CreateSite { tenant: TenantId(9), name: name("none"), shard: None },
        join_token(9, NodeKind::Core),
        join_token(20, NodeKind::Gateway),
        DirectoryCommand::TakeJoinToken {
            token: JoinTokenId(1),
            node: NodeId(9),
            hash: [9; 32],
            taken: taken(5),
        },
    ];
    for (index, command) in (1u64..).zip(commands) {
        let key = (PrincipalId(1), RequestId(u128::from(index) << 80));
        let stamp = Stamp::from_ms(index * 120_000);
        let asked = Some(crate::Asked {
            principal: PrincipalId(1),
            credential: Some(Credential::FirstUser),
            tenant: None,
            address: Some([192, 0, 2, 1].into()),
            node: NodeId(1),
            wall: Wall(1_700_000_000_000 + index),
        });
        directory.apply(index, stamp, DirectoryEntry { origin: Some(key), asked, command });
    }
    directory
}

#[test]
fn a_changed_byte_is_refused_wherever_it_is() {
    let mut chunk = chunks(&eventful()).remove(0);
    for at in 0..chunk.len() {
        chunk[at] ^= 1 << (at % 8);
        assert!(restore(&[chunk.clone()]).is_err(), "byte {at}");
        chunk[at] ^= 1 << (at % 8);
        assert!(restore(&[chunk[..at].to_vec()]).is_err(), "cut to {at}");
    }
    assert_eq!(restore(&[chunk]), Ok(eventful()));
    assert_eq!(restore(&[]), Err(ChunkError::Truncated { chunks: 0 }.into()));
}

/// Chunks of records under good sums.
fn refused(records: Vec<Record>) -> RestoreError {
    let chunks: Vec<_> = snapshot::chunks(Machine::Directory, records.into_iter()).collect();
    restore(&chunks).expect_err("it is refused")
}

#[test]
fn records_that_contradict_each_other_are_refused() {
    let head = |shards| Record::Head {
        upgrade: Upgrade::default(),
        shards,
        principals: 0,
        last_key: 2,
        last_stamp: Stamp(7),
        floor_unix_ms: 0,
        last_core: 1,
        last_audit: 2,
        last_join: 2,
        voteless: Cow::Owned(BTreeSet::new()),
        draining: Cow::Owned(BTreeSet::new()),
        founding: Cow::Owned(BTreeMap::new()),
        moving: Cow::Owned(BTreeMap::new()),
        last_move: 0,
    };
    let name = || Cow::Owned(Name::new("name").expect("valid"));
    let tenant = |number| Record::Tenant(TenantId(number), name());
    let site = |shard| Record::Site(SiteId::new(1, 1), ShardId(shard), name());
    let end = |counts| Record::End { counts, digest: 5 };
    assert_eq!(refused(vec![]), RestoreError::Count);
    assert_eq!(refused(vec![head(1)]), RestoreError::Count);
    assert_eq!(refused(vec![tenant(1)]), RestoreError::OutOfOrder { kind: 3 });
    assert_eq!(refused(vec![head(1), head(1)]), RestoreError::OutOfOrder { kind: 0 });
    assert_eq!(refused(vec![head(0), end([0; 10])]), RestoreError::Digest);
    assert_eq!(refused(vec![head(0), tenant(1), end([0; 10])]), RestoreError::Count);
    let inconsistent = |error| matches!(error, RestoreError::Inconsistent { .. });
    assert!(inconsistent(refused(vec![head(SHARDS_MAX + 1)])));
    assert!(inconsistent(refused(vec![head(1), tenant(2)])));
    assert!(inconsistent(refused(vec![head(1), site(1)])));
    assert!(inconsistent(refused(vec![head(1), tenant(1), site(2)])));
    assert!(inconsistent(refused(vec![head(1), tenant(1), site(1), site(1)])));
    let grant = |tenant: u32| Grant::Administrator { tenant: Some(TenantId(tenant)), site: None };
    let key = |id, tenant| {
        let (principal, created) = (PrincipalId(2), Wall(1));
        let (hash, expires, revoked) = ([1; 32], None, false);
        let (grant, name) = (grant(tenant), Name::new("key").expect("valid"));
        let key = ApiKey { grant, name, principal, hash, created, expires, revoked };
        Record::ApiKey(ApiKeyId(id), Cow::Owned(key))
    };
    let user = |id| {
        let (principal, hash) = (PrincipalId(2), "$".to_owned());
        let (grant, login) = (grant(1), Name::new("ana").expect("valid"));
        let user = User { grant, login, principal, hash, disabled: false, epoch: 0 };
        Record::User(UserId(id), Cow::Owned(user))
    };
    assert!(inconsistent(refused(vec![head(1), tenant(1), key(3, 1)])));
    assert!(inconsistent(refused(vec![head(1), tenant(1), key(1, 2)])));
    assert!(inconsistent(refused(vec![head(1), tenant(1), key(1, 1), key(1, 1)])));
    assert!(inconsistent(refused(vec![head(1), user(1)])));
    assert!(inconsistent(refused(vec![head(1), tenant(1), user(2)])));
    assert!(inconsistent(refused(vec![head(1), tenant(1), user(1), user(2)])));
    let floor = |principal| Record::Floor(PrincipalId(principal), 5);
    assert!(inconsistent(refused(vec![head(1), floor(2), floor(2)])));
    let record = |number, action: &str| {
        let (asked, target) = (crate::audit::tests::asked(1), crate::AuditTarget::Cluster);
        let (action, outcome) = (action.to_owned(), "done".to_owned());
        Record::Audit(number, Cow::Owned(AuditRecord { asked, action, target, outcome }))
    };
    assert!(inconsistent(refused(vec![head(1), record(3, "drain_node")])));
    assert!(inconsistent(refused(vec![head(1), record(2, "drain_node"), record(1, "drain_node")])));
    assert!(inconsistent(refused(vec![head(1), record(1, "Lin Meier")])));
    let late = vec![head(1), tenant(1), site(1), tenant(2)];
    assert_eq!(refused(late), RestoreError::OutOfOrder { kind: 3 });
}

#[test]
fn join_tokens_that_cannot_be_are_refused() {
    let head = || Record::Head {
        upgrade: Upgrade::default(),
        shards: 1,
        principals: 0,
        last_key: 0,
        last_stamp: Stamp(7),
        floor_unix_ms: 0,
        last_core: 1,
        last_audit: 0,
        last_join: 2,
        voteless: Cow::Owned(BTreeSet::new()),
        draining: Cow::Owned(BTreeSet::new()),
        founding: Cow::Owned(BTreeMap::new()),
        moving: Cow::Owned(BTreeMap::new()),
        last_move: 0,
    };
    let join = |id, until, bytes| {
        let (node, kind, principal) = (NodeId(9), NodeKind::Core, PrincipalId(1));
        let (hash, sealed, created) = ([9; 32], vec![7; bytes], Wall(1));
        let (ttl_ms, until, taken) = (limits::JOIN_TTL_MIN_MS, Stamp(until), None);
        let token =
            JoinToken { node, kind, principal, hash, sealed, created, ttl_ms, until, taken };
        Record::JoinToken(JoinTokenId(id), Cow::Owned(token))
    };
    let inconsistent = |joins: Vec<Record<'static>>| {
        let error = refused([head()].into_iter().chain(joins).collect());
        assert!(matches!(error, RestoreError::Inconsistent { .. }), "{error}");
    };
    inconsistent(vec![join(3, 8, 1)]);
    inconsistent(vec![join(1, 7, 1)]);
    inconsistent(vec![join(1, 8, 0)]);
    inconsistent(vec![join(1, 8, limits::JOIN_FOLDER_BYTES_MAX + 1)]);
    inconsistent(vec![join(1, 8, 1), join(1, 8, 1)]);
    assert_eq!(refused(vec![head(), join(1, 8, 1)]), RestoreError::Count);
}

#[test]
fn a_build_takes_no_snapshot_that_it_cannot_apply() {
    let directory = eventful();
    assert_eq!(directory.upgrade(), Upgrade { acts_by: 2, wanted: 2 });
    let given = |oldest, newest| {
        let restore = Restore::fitting(LogicVersions { oldest, newest });
        let restore = chunks(&directory).iter().try_fold(restore, |r, chunk| r.chunk(chunk))?;
        restore.finish().map(|directory| directory.upgrade().acts_by)
    };
    assert_eq!((given(1, 2), given(2, 9)), (Ok(2), Ok(2)));
    for (oldest, newest) in [(1, 1), (3, 4)] {
        let can = LogicVersions { oldest, newest };
        assert_eq!(given(oldest, newest), Err(UnfitBuild { version: 2, can }.into()));
    }
}

#[test]
fn versions_out_of_order_are_refused() {
    for (acts_by, wanted) in [(0, 1), (2, 1)] {
        let head = Record::Head {
            upgrade: Upgrade { acts_by, wanted },
            shards: 0,
            principals: 0,
            last_key: 0,
            last_stamp: Stamp(7),
            floor_unix_ms: 0,
            last_core: 0,
            last_audit: 0,
            last_join: 2,
            voteless: Cow::Owned(BTreeSet::new()),
            draining: Cow::Owned(BTreeSet::new()),
            founding: Cow::Owned(BTreeMap::new()),
            moving: Cow::Owned(BTreeMap::new()),
            last_move: 0,
        };
        let end = Record::End { counts: [0; 10], digest: 5 };
        let error = refused(vec![head, end]);
        let wrong = matches!(error, RestoreError::Inconsistent { .. } | RestoreError::Unfit(_));
        assert!(wrong, "{acts_by} {wanted}: {error}");
    }
}

#[test]
fn nodes_and_replicas_that_cannot_be_are_refused() {
    let nodes = |nodes: &[u64]| Cow::Owned(nodes.iter().copied().map(NodeId).collect());
    let with_draining = |shards, last_core, voteless: &[u64], draining: &[u64]| Record::Head {
        upgrade: Upgrade::default(),
        shards,
        principals: 0,
        last_key: 0,
        last_stamp: Stamp(7),
        floor_unix_ms: 0,
        last_core,
        last_audit: 0,
        last_join: 2,
        voteless: nodes(voteless),
        draining: nodes(draining),
        founding: Cow::Owned(BTreeMap::new()),
        moving: Cow::Owned(BTreeMap::new()),
        last_move: 0,
    };
    let of = |shards, last_core, voteless: &[u64]| with_draining(shards, last_core, voteless, &[]);
    let head = |shards| of(shards, 1, &[]);
    let replicas = |shard, count| Record::Replicas(ShardId(shard), Cow::Owned(members(count)));
    let node = |id, kind| Record::Node(NodeId(id), Cow::Owned(announced(kind, "1")));
    let end = || Record::End { counts: [2, 0, 0, 0, 0, 0, 0, 0, 0, 0], digest: 5 };
    let inconsistent = |records| {
        let error = refused(records);
        assert!(matches!(error, RestoreError::Inconsistent { .. }), "{error}");
    };
    let (core, gateway) = (NodeKind::Core, NodeKind::Gateway);
    let whole = || vec![head(1), replicas(0, 1), replicas(1, 1)];
    let with = |more: Record<'static>| whole().into_iter().chain([more]).collect::<Vec<_>>();
    assert_eq!(refused(with(end())), RestoreError::Digest);
    inconsistent(vec![head(1), end()]);
    inconsistent(vec![head(1), replicas(0, 1), end()]);
    inconsistent(vec![head(0), replicas(0, 1)]);
    inconsistent(vec![head(1), replicas(1, 1)]);
    inconsistent(vec![head(1), replicas(0, 0)]);
    inconsistent(with(replicas(2, 1)));
    inconsistent(with(node(1, gateway)));
    inconsistent(with(node(2, core)));
    inconsistent(with(node(0, gateway)));
    inconsistent(vec![head(0), node(2, gateway)]);
    let under = |head: Record<'static>| vec![head, replicas(0, 1), replicas(1, 1), end()];
    assert_eq!(refused(under(of(1, 1, &[]))), RestoreError::Digest);
    inconsistent(under(of(1, 0, &[])));
    inconsistent(under(of(1, 2, &[2])));
    inconsistent(under(of(1, 1, &[1])));
    assert_eq!(refused(under(with_draining(1, 1, &[], &[1]))), RestoreError::Digest);
    inconsistent(under(with_draining(1, 1, &[], &[2])));
    let twice = || whole().into_iter().chain([node(2, gateway), node(2, gateway)]);
    inconsistent(twice().collect());
    let many = (2..300).map(|id| node(id, gateway));
    inconsistent(whole().into_iter().chain(many).collect());
}

/// What every release wrote is restored.
#[test]
fn released_snapshots_in_golden_files_are_restored() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/golden/released");
    let versions = std::fs::read_dir(folder).into_iter().flatten();
    for path in versions.map(|version| version.expect("readable").path()) {
        let path = path.join("snapshot_directory.txt");
        let lines = std::fs::read_to_string(&path);
        let lines = lines.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let restored = restore(&chunks_of(&lines));
        restored.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

fn chunks_of(lines: &str) -> Vec<Vec<u8>> {
    let chunk = |line: &str| {
        let text = line.strip_prefix("chunk: ").expect("a chunk");
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
        (0..text.len()).step_by(2).map(byte).collect()
    };
    lines.lines().map(chunk).collect()
}

#[test]
fn the_golden_file_is_restored_and_a_changed_one_is_not() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/snapshot.txt");
    let mut chunks = chunks_of(&std::fs::read_to_string(golden).expect("readable"));
    assert_eq!(restore(&chunks).expect("whole").digest(), eventful().digest());
    *chunks[0].last_mut().expect("it has bytes") ^= 1;
    restore(&chunks).expect_err("it was changed");
}

/// The bytes of a snapshot are a format: a change of them must be a decision.
#[test]
fn the_bytes_are_those_of_the_golden_file() {
    let mut lines = String::new();
    for chunk in chunks(&eventful()) {
        lines.push_str("chunk: ");
        chunk.iter().for_each(|byte| write!(lines, "{byte:02x}").expect("a string grows"));
        lines.push('\n');
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/snapshot.txt");
    if std::env::var_os("ROTARY_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &lines).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        lines,
        "{}: a format changed. Until the first tagged release: run with ROTARY_BLESS=1 and commit \
         the file with the change. From then on: append a variant.",
        path.display()
    );
}
