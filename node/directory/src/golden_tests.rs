//! The bytes of what the directory's log has, and of what its answers are, compared with a golden
//! file. See `proto/golden/README.md`.

use std::fmt::Debug;
use std::path::PathBuf;

use rotary_proto::codec::{self, Limit};
use rotary_proto::{
    AgentId, ApiKeyId, JoinTokenId, LogicVersions, Name, NodeId, PrincipalId, RequestId, ShardId,
    SiteId, TenantId, UserId, Wall,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::joins::tests::{join_token, taken};
use crate::nodes::tests::announced;
use crate::state::tests::members;
use crate::{
    Asked, AuditTarget, Credential, DirectoryAnswer, DirectoryCommand, DirectoryDone,
    DirectoryEntry, DirectoryOutcome, DirectoryRefusal, Grant, NodeKind,
};

#[path = "../../../proto/tests/golden/kept.rs"]
mod kept;
#[path = "../../../proto/tests/golden/samples.rs"]
mod variants;

use kept::{Sample, from_hex, hex, same, settle};
use variants::samples;

fn value<T: Serialize + DeserializeOwned + Debug + PartialEq + 'static>(
    name: &str,
    value: &T,
) -> Sample {
    let read = |text: &str| -> Result<T, String> {
        codec::decode(&from_hex(text)?, Limit::Entry).map_err(|error| error.to_string())
    };
    let today = hex(&codec::encode(value, Limit::Entry).expect("small"));
    assert_eq!(read(&today).as_ref(), Ok(value), "{name}");
    Sample::new(name, today, move |then, today| same(&read(then)?, &read(today)?))
}

fn values<T: Serialize + DeserializeOwned + Debug + PartialEq + 'static>(
    prefix: &str,
    all: Vec<(&'static str, T)>,
) -> Vec<Sample> {
    all.iter().map(|(variant, sample)| value(&format!("{prefix}::{variant}"), sample)).collect()
}

fn name(text: &str) -> Name {
    Name::new(text).expect("valid")
}

const NODE: NodeId = NodeId(70_000);
const TENANT: TenantId = TenantId(3);
const HASH: [u8; 32] = [9; 32];
const AT: Wall = Wall(1_700_000_000_000);

fn grants() -> Vec<(&'static str, Grant)> {
    let site = SiteId::new(3, 300);
    samples!(Grant {
        Administrator => Grant::Administrator { tenant: Some(TENANT), site: Some(site) },
        Supervisor => Grant::Supervisor { tenant: TENANT, site: None },
        Agent => Grant::Agent { site, agent: AgentId(7) },
    })
}

fn grant() -> Grant {
    Grant::Administrator { tenant: Some(TENANT), site: None }
}

fn commands() -> Vec<(&'static str, DirectoryCommand)> {
    type Asks = DirectoryCommand;
    let hash = || "$argon2id$x".to_owned();
    let announced = || announced(NodeKind::Core, "1.2");
    samples!(Asks {
        Found => Asks::Found { shards: 300, members: members(3) },
        Announce => Asks::Announce { node: NODE, announced: announced() },
        Forget => Asks::Forget { node: NODE },
        Admit => Asks::Admit { node: NODE, announced: announced(), instead_of: Some(NodeId(2)) },
        Release => Asks::Release { node: NODE },
        SetVote => Asks::SetVote { node: NODE, votes: true },
        SpreadVotes => Asks::SpreadVotes { count: Some(5) },
        SetDraining => Asks::SetDraining { node: NODE, drains: true },
        CreateTenant => Asks::CreateTenant { name: name("acme") },
        CreateSite => {
            Asks::CreateSite { tenant: TENANT, name: name("north"), shard: Some(ShardId(4)) }
        },
        CreatePrincipal => Asks::CreatePrincipal { tenant: Some(TENANT) },
        CreateApiKey => Asks::CreateApiKey {
            grant: grant(),
            name: name("wallboard"),
            hash: HASH,
            created: AT,
            expires: Some(Wall(1_800_000_000_000)),
        },
        RevokeApiKey => Asks::RevokeApiKey { key: ApiKeyId(6) },
        CreateUser => Asks::CreateUser { grant: grant(), login: name("ana"), hash: hash() },
        FoundUser => Asks::FoundUser { login: name("admin"), hash: hash() },
        SetPassword => Asks::SetPassword { user: UserId(8), hash: hash() },
        SetDisabled => Asks::SetDisabled { user: UserId(8), disabled: true },
        Note => Asks::Note {
            action: "back_up".to_owned(),
            target: AuditTarget::Shard(ShardId(4)),
            outcome: "done".to_owned(),
        },
        Finalize => Asks::Finalize { version: 2 },
        AbortUpgrade => Asks::AbortUpgrade,
        RaiseVersion => Asks::RaiseVersion { version: 2 },
        CreateJoinToken => join_token(9, NodeKind::Gateway),
        TakeJoinToken => Asks::TakeJoinToken {
            token: JoinTokenId(5),
            node: NODE,
            hash: HASH,
            taken: taken(5),
        },
        RevokeJoinToken => Asks::RevokeJoinToken { token: JoinTokenId(5), node: NODE },
        AddShards => Asks::AddShards { shards: 300 },
        ShardFounded => Asks::ShardFounded { shard: ShardId(4) },
        MoveSite => Asks::MoveSite { site: SiteId::new(3, 300), to: ShardId(4) },
        CancelMove => Asks::CancelMove { site: SiteId::new(3, 300) },
        SiteMoved => Asks::SiteMoved { site: SiteId::new(3, 300), to: ShardId(4) },
        MoveFailed => {
            Asks::MoveFailed { site: SiteId::new(3, 300), number: 7, why: "full".to_owned() }
        },
    })
}

fn targets() -> Vec<(&'static str, AuditTarget)> {
    samples!(AuditTarget {
        Cluster => AuditTarget::Cluster,
        Node => AuditTarget::Node(NODE),
        Shard => AuditTarget::Shard(ShardId(4)),
        Tenant => AuditTarget::Tenant(TENANT),
        Site => AuditTarget::Site(SiteId::new(3, 300)),
        ApiKey => AuditTarget::ApiKey(ApiKeyId(6)),
        User => AuditTarget::User(UserId(8)),
        Principal => AuditTarget::Principal(PrincipalId(300)),
    })
}

fn credentials() -> Vec<(&'static str, Credential)> {
    samples!(Credential {
        ApiKey => Credential::ApiKey(ApiKeyId(6)),
        User => Credential::User { user: UserId(8), epoch: 300 },
        FirstUser => Credential::FirstUser,
        JoinToken => Credential::JoinToken(JoinTokenId(5)),
    })
}

fn done() -> Vec<(&'static str, DirectoryDone)> {
    type Done = DirectoryDone;
    let principal = PrincipalId(300);
    samples!(Done {
        Ok => Done::Ok,
        Tenant => Done::Tenant(TENANT),
        Site => Done::Site { site: SiteId::new(3, 300), shard: ShardId(4) },
        Principal => Done::Principal(principal),
        ApiKey => Done::ApiKey { key: ApiKeyId(6), principal },
        User => Done::User { user: UserId(8), principal },
        JoinToken => Done::JoinToken(JoinTokenId(5)),
    })
}

fn refusals() -> Vec<(&'static str, DirectoryRefusal)> {
    type No = DirectoryRefusal;
    let can = LogicVersions { oldest: 1, newest: 2 };
    let (field, rule) = ("shards".to_owned(), "1 to 9".to_owned());
    samples!(No {
        Malformed => No::Malformed,
        OutcomeForgotten => No::OutcomeForgotten,
        BadValue => No::BadValue { field, rule },
        NotFounded => No::NotFounded,
        TenantUnknown => No::TenantUnknown,
        SiteUnknown => No::SiteUnknown,
        ApiKeyUnknown => No::ApiKeyUnknown,
        UserUnknown => No::UserUnknown,
        NodeUnknown => No::NodeUnknown,
        KeepsReplicas => No::KeepsReplicas { node: NODE },
        KeepsNoReplicas => No::KeepsNoReplicas { node: NODE },
        NodeNumberUsed => No::NodeNumberUsed { node: NODE, next: NodeId(70_001) },
        LastVoter => No::LastVoter { node: NODE },
        LastServing => No::LastServing { node: NODE },
        BuildUnfit => No::BuildUnfit { node: NODE, can, version: 3 },
        UpgradeBlocked => No::UpgradeBlocked { version: 3, nodes: members(2) },
        UpgradeFinal => No::UpgradeFinal { version: 3 },
        LoginTaken => No::LoginTaken,
        ShardUnknown => No::ShardUnknown { shards: 8 },
        LimitReached => No::LimitReached { limit: "tenants_max".to_owned() },
        JoinTokenUnknown => No::JoinTokenUnknown,
        JoinTokenOver => No::JoinTokenOver { token: JoinTokenId(5) },
        JoinTokenTaken => No::JoinTokenTaken { token: JoinTokenId(5), node: NODE },
        ShardNotFounded => No::ShardNotFounded { shard: ShardId(4) },
        SiteMoving => No::SiteMoving { shard: ShardId(4) },
    })
}

fn entry() -> DirectoryEntry {
    let asked = Asked {
        principal: PrincipalId(300),
        credential: Some(Credential::FirstUser),
        tenant: Some(TENANT),
        address: Some([192, 0, 2, 1].into()),
        node: NodeId(1),
        wall: AT,
    };
    let origin = Some((PrincipalId(300), RequestId(0x0190_163d_8694_739b_af5a_1e1b_57f0_2a01)));
    DirectoryEntry { origin, asked: Some(asked), command: DirectoryCommand::AbortUpgrade }
}

#[test]
fn what_the_log_has_and_answers_are_in_the_golden_file() {
    let done_outcome = DirectoryOutcome::Done(DirectoryDone::Ok);
    let outcomes = samples!(DirectoryOutcome {
        Done => done_outcome.clone(),
        Refused => DirectoryOutcome::Refused(DirectoryRefusal::NotFounded),
    });
    let answer = DirectoryAnswer { outcome: done_outcome, repeated: true, index: 70_000 };
    let mut all = vec![value("DirectoryEntry", &entry()), value("DirectoryAnswer", &answer)];
    all.extend(values("DirectoryCommand", commands()));
    all.extend(values("Grant", grants()));
    all.extend(values("AuditTarget", targets()));
    all.extend(values("Credential", credentials()));
    all.extend(values("DirectoryOutcome", outcomes));
    all.extend(values("DirectoryDone", done()));
    all.extend(values("DirectoryRefusal", refusals()));
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let released = crates.join("../../proto/golden/released");
    let path = crates.join("golden/entries.txt");
    settle(&path, (&released, "directory_entries.txt"), &all);
}
