//! What the directory is asked, what it answers, and what became true.

use std::collections::BTreeSet;

use rotary_proto::{
    ApiKeyId, JoinTokenId, LogicVersions, Name, NodeId, PrincipalId, RequestId, ShardId, SiteId,
    TenantId, UserId, Wall,
};
use serde::{Deserialize, Serialize};

use crate::audit::{Asked, AuditTarget};
use crate::credentials::Grant;
use crate::joins::Taken;
use crate::nodes::{Announced, NodeKind};

/// One entry of the directory's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    /// Whose request it is and under which key; absent for the cluster itself.
    pub origin: Option<(PrincipalId, RequestId)>,
    /// Who asks, for the record; absent for what nodes say themselves.
    pub asked: Option<Asked>,
    /// What is asked.
    pub command: DirectoryCommand,
}

/// What is asked. The log has these as they stand here, so new ones come last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryCommand {
    /// Says how many data shards there are, `sh_1` to `sh_<shards>`, and who keeps replicas of
    /// them and of the directory. Only the first one counts.
    Found {
        /// How many; at least 1.
        shards: u32,
        /// The core nodes; each keeps a replica of every shard.
        members: BTreeSet<NodeId>,
    },
    /// Says what a node is and where, if that differs from what is known.
    Announce {
        /// Which.
        node: NodeId,
        /// What it says of itself.
        announced: Announced,
    },
    /// Forgets a node that is gone and keeps no replica.
    Forget {
        /// Which.
        node: NodeId,
    },
    /// Takes in a core node, which is to keep a replica of every shard.
    Admit {
        /// Which; no core node ever had the number.
        node: NodeId,
        /// What it is and where.
        announced: Announced,
        /// Whose place it takes, if it takes one.
        instead_of: Option<NodeId>,
    },
    /// Lets a core node go: it is to keep no replica.
    Release {
        /// Which.
        node: NodeId,
    },
    /// Gives a core node a vote in every shard, or takes it away.
    SetVote {
        /// Which.
        node: NodeId,
        /// Whether it is to vote.
        votes: bool,
    },
    /// Gives votes to nodes of as many zones as there are, and takes others' votes away.
    SpreadVotes {
        /// How many votes there are to be; as many as there are, if absent.
        count: Option<u32>,
    },
    /// Has a node emptied of sessions, leaders and effects, or lets it serve again.
    SetDraining {
        /// Which.
        node: NodeId,
        /// Whether it is to be empty.
        drains: bool,
    },
    /// Makes a tenant.
    CreateTenant {
        /// What people call it.
        name: Name,
    },
    /// Makes a site of a tenant and places it.
    CreateSite {
        /// Whose it is.
        tenant: TenantId,
        /// What people call it.
        name: Name,
        /// Where it is to live; chosen by the directory if absent.
        shard: Option<ShardId>,
    },
    /// Gives a number to a new holder of a credential.
    CreatePrincipal {
        /// Whose it is; absent for one that is above tenants.
        tenant: Option<TenantId>,
    },
    /// Makes an API key.
    CreateApiKey {
        /// What its holder may be.
        grant: Grant,
        /// What people call it.
        name: Name,
        /// SHA-256 of its secret.
        hash: [u8; 32],
        /// When it was asked for, by the clock of the gateway.
        created: Wall,
        /// When it stops being good, if ever; gateways judge it.
        expires: Option<Wall>,
    },
    /// Makes an API key useless for good.
    RevokeApiKey {
        /// Which.
        key: ApiKeyId,
    },
    /// Makes a user.
    CreateUser {
        /// What they may be.
        grant: Grant,
        /// What they sign in as; no other user of the same tenant has it.
        login: Name,
        /// What their password is judged by: a PHC string.
        hash: String,
    },
    /// Makes the first administrator of the cluster, unless there was ever a user above tenants.
    FoundUser {
        /// What they sign in as.
        login: Name,
        /// What their password is judged by: a PHC string.
        hash: String,
    },
    /// Gives a user another password, and ends every token of theirs.
    SetPassword {
        /// Whose.
        user: UserId,
        /// What the password is judged by: a PHC string.
        hash: String,
    },
    /// Lets a user sign in or not, and ends every token of theirs if that changes.
    SetDisabled {
        /// Whom.
        user: UserId,
        /// Whether they may not.
        disabled: bool,
    },
    /// Records what somebody did elsewhere, or was refused before it came here.
    Note {
        /// What, as a word.
        action: String,
        /// To what.
        target: AuditTarget,
        /// `done`, or the word of the refusal.
        outcome: String,
    },
    /// Says which version of the logic the cluster is to act by.
    Finalize {
        /// Which; every node known can apply it.
        version: u32,
    },
    /// Takes back what was said and has not become true.
    AbortUpgrade,
    /// Has the directory itself act by the next version, and with it lets every shard be raised to
    /// that.
    RaiseVersion {
        /// Which.
        version: u32,
    },
    /// Puts a new node's folder, sealed, under a join token.
    CreateJoinToken {
        /// Whose folder it is; no core node ever had the number.
        node: NodeId,
        /// What the node is to be.
        kind: NodeKind,
        /// SHA-256 of the token's proof.
        hash: [u8; 32],
        /// The folder.
        sealed: Vec<u8>,
        /// How long the token is good for, in milliseconds of shard time.
        ttl_ms: u64,
        /// When it was asked for, by the clock of the gateway.
        created: Wall,
    },
    /// Gives the folder to the machine that shows the proof.
    TakeJoinToken {
        /// Under which token it is.
        token: JoinTokenId,
        /// Whose folder it is.
        node: NodeId,
        /// SHA-256 of what was shown.
        hash: [u8; 32],
        /// Which machine it is.
        taken: Taken,
    },
    /// Makes a join token useless, and drops the folder.
    RevokeJoinToken {
        /// Which.
        token: JoinTokenId,
        /// Whose folder it is.
        node: NodeId,
    },
    /// Has data shards made until there are so many.
    AddShards {
        /// How many there are to be.
        shards: u32,
    },
    /// Notes that a new shard has a leader.
    ShardFounded {
        /// Which.
        shard: ShardId,
    },
    /// Has a site live in another data shard.
    MoveSite {
        /// Which.
        site: SiteId,
        /// Where it is to live.
        to: ShardId,
    },
    /// Lets a site live where it is after all, unless it is there already.
    CancelMove {
        /// Which.
        site: SiteId,
    },
    /// Notes that a site lives where it was to live.
    SiteMoved {
        /// Which.
        site: SiteId,
        /// Where it lives.
        to: ShardId,
    },
    /// Notes that a site is to stay where it is.
    MoveFailed {
        /// Which.
        site: SiteId,
        /// Which order that was; nothing is done if another was given since.
        number: u64,
        /// Why.
        why: String,
    },
}

/// What the proposer of an entry is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryAnswer {
    /// What the command came to.
    pub outcome: DirectoryOutcome,
    /// Whether this is the kept outcome of an earlier entry.
    pub repeated: bool,
    /// The log index at which the outcome was first given.
    pub index: u64,
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryOutcome {
    /// It was done.
    Done(DirectoryDone),
    /// It was refused, and changed nothing.
    Refused(DirectoryRefusal),
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryDone {
    /// Nothing more to say.
    Ok,
    /// A tenant was made.
    Tenant(TenantId),
    /// A site was made.
    Site {
        /// Its id.
        site: SiteId,
        /// Where it lives.
        shard: ShardId,
    },
    /// A principal got its number.
    Principal(PrincipalId),
    /// An API key was made.
    ApiKey {
        /// Its id.
        key: ApiKeyId,
        /// The number of its holder.
        principal: PrincipalId,
    },
    /// A user was made.
    User {
        /// Their id.
        user: UserId,
        /// Their number as a holder of credentials.
        principal: PrincipalId,
    },
    /// A join token was made.
    JoinToken(JoinTokenId),
}

/// Why a command was refused. Of several the one is told that is checked first; answers are kept in
/// snapshots, so new ones come last here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum DirectoryRefusal {
    /// The bytes of the entry are not a command of this build.
    #[error("the command could not be read: are the versions alike?")]
    Malformed,
    /// The outcome of this request, if it was ever executed, is no longer known.
    #[error("too old to know whether this was done already; look before you send it anew")]
    OutcomeForgotten,
    /// A value breaks its bound.
    #[error("{field}: {rule}")]
    BadValue {
        /// Which value.
        field: String,
        /// What is allowed.
        rule: String,
    },
    /// Nobody has said yet how many shards there are.
    #[error("the cluster is not founded yet; try again in a moment")]
    NotFounded,
    /// There is no such tenant.
    #[error("there is no such tenant")]
    TenantUnknown,
    /// There is no such site.
    #[error("there is no such site")]
    SiteUnknown,
    /// There is no such API key.
    #[error("there is no such API key")]
    ApiKeyUnknown,
    /// There is no such user.
    #[error("there is no such user")]
    UserUnknown,
    /// There is no such node.
    #[error("there is no such node; GET /v1/cluster lists those that there are")]
    NodeUnknown,
    /// A node that keeps replicas cannot be forgotten.
    #[error("{node} keeps replicas: decommission it first, or replace it")]
    KeepsReplicas {
        /// Which.
        node: NodeId,
    },
    /// A node that keeps no replicas has none to give up, and no vote.
    #[error("{node} keeps no replicas")]
    KeepsNoReplicas {
        /// Which.
        node: NodeId,
    },
    /// A node has, or had, that number.
    #[error("the number of {node} is used, and never used again: take {next}")]
    NodeNumberUsed {
        /// Which.
        node: NodeId,
        /// The first that no node has had.
        next: NodeId,
    },
    /// Nobody else has a vote.
    #[error("nobody but {node} has a vote: let another node have one first")]
    LastVoter {
        /// Which.
        node: NodeId,
    },
    /// Nobody else with a vote serves.
    #[error(
        "{node} is the only core node with a vote that does not drain: undrain another one first"
    )]
    LastServing {
        /// Which.
        node: NodeId,
    },
    /// A node's build cannot apply what the cluster acts by.
    #[error(
        "{node} runs a build that can apply versions {can} of the logic, and the cluster acts by \
         version {version}: install a build that can apply it"
    )]
    BuildUnfit {
        /// Which node.
        node: NodeId,
        /// What its build can apply.
        can: LogicVersions,
        /// What the cluster acts by.
        version: u32,
    },
    /// Not every node can apply what the cluster is to act by.
    #[error(
        "not every node can apply version {version} of the logic: upgrade {}, or let go of what is \
         gone (`rotary upgrade check`)",
        list(nodes)
    )]
    UpgradeBlocked {
        /// The version.
        version: u32,
        /// Those that cannot, or have not said what they can.
        nodes: BTreeSet<NodeId>,
    },
    /// What was asked for would take back what is final.
    #[error(
        "the cluster acts by version {version} of the logic, and there is no way back from that: \
         what was written since is read by builds that can apply it, and by no other"
    )]
    UpgradeFinal {
        /// What the cluster acts by.
        version: u32,
    },
    /// Another user of the tenant signs in as that.
    #[error("another user has that login; choose another")]
    LoginTaken,
    /// There is no such data shard.
    #[error("there is no such data shard; sh_1 to sh_{shards} exist")]
    ShardUnknown {
        /// How many there are.
        shards: u32,
    },
    /// A bound is reached.
    #[error("{limit} is reached")]
    LimitReached {
        /// The bound, by name.
        limit: String,
    },
    /// There is no such join token, or what was shown is not its proof.
    #[error(
        "no join token of this cluster is like that: copy the whole command, or have another token \
         made (`rotary cluster tokens create`)"
    )]
    JoinTokenUnknown,
    /// The join token is good no more.
    #[error(
        "{token} has ended or was revoked: have another one made (`rotary cluster tokens create`)"
    )]
    JoinTokenOver {
        /// Which.
        token: JoinTokenId,
    },
    /// A machine has the folder already.
    #[error(
        "{token} was used: a machine has the folder of {node}. If that machine is not to be it, \
         revoke the token and have another one made (`rotary cluster tokens revoke {token}`)"
    )]
    JoinTokenTaken {
        /// With which token.
        token: JoinTokenId,
        /// Whose folder.
        node: NodeId,
    },
    /// Nothing can live in a data shard yet.
    #[error("{shard} is being made; try again in a moment, or name no shard")]
    ShardNotFounded {
        /// Which.
        shard: ShardId,
    },
    /// A site is on its way to another shard.
    #[error("it is on its way to {shard}: wait until it is there, or cancel that first")]
    SiteMoving {
        /// Where.
        shard: ShardId,
    },
}

impl DirectoryRefusal {
    /// The stable word that the API uses.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::OutcomeForgotten => "outcome-forgotten",
            Self::BadValue { .. } | Self::ShardUnknown { .. } => "bad-value",
            Self::NotFounded | Self::ShardNotFounded { .. } => "unavailable",
            Self::TenantUnknown | Self::ApiKeyUnknown | Self::UserUnknown | Self::NodeUnknown => {
                "not-found"
            }
            Self::KeepsReplicas { .. } => "keeps-replicas",
            Self::KeepsNoReplicas { .. } => "keeps-no-replicas",
            Self::NodeNumberUsed { .. } => "node-number-used",
            Self::LastVoter { .. } => "last-voter",
            Self::LastServing { .. } => "last-serving",
            Self::BuildUnfit { .. } => "build-unfit",
            Self::UpgradeBlocked { .. } => "upgrade-blocked",
            Self::UpgradeFinal { .. } => "upgrade-final",
            Self::SiteUnknown => "site-unknown",
            Self::LoginTaken => "login-taken",
            Self::JoinTokenUnknown => "join-token-unknown",
            Self::JoinTokenOver { .. } => "join-token-over",
            Self::JoinTokenTaken { .. } => "join-token-taken",
            Self::LimitReached { .. } => "limit-reached",
            Self::SiteMoving { .. } => "site-moving",
        }
    }
}

fn list(nodes: &BTreeSet<NodeId>) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

/// What became true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryEvent {
    /// The number of data shards and their replicas were set.
    Founded {
        /// How many.
        shards: u32,
        /// Who keeps replicas of each.
        members: BTreeSet<NodeId>,
    },
    /// A node said something new of itself.
    NodeAnnounced {
        /// Which.
        node: NodeId,
        /// What it said.
        announced: Announced,
    },
    /// A node that keeps no replica was forgotten.
    NodeForgotten {
        /// Which.
        node: NodeId,
    },
    /// A core node was taken in.
    NodeAdmitted {
        /// Which.
        node: NodeId,
        /// What it is and where.
        announced: Announced,
        /// Whose place it takes.
        instead_of: Option<NodeId>,
        /// Whether it is to have a vote.
        votes: bool,
    },
    /// A core node is to keep no replica any more.
    NodeReleased {
        /// Which.
        node: NodeId,
    },
    /// A node is to be empty, or to serve again.
    DrainSet {
        /// Which.
        node: NodeId,
        /// Whether it is to be empty.
        drains: bool,
    },
    /// A core node is to have a vote, or none.
    VoteSet {
        /// Which.
        node: NodeId,
        /// Whether it is.
        votes: bool,
    },
    /// A tenant was made.
    TenantCreated {
        /// Its id.
        tenant: TenantId,
        /// Its name.
        name: Name,
    },
    /// A site was made.
    SiteCreated {
        /// Its id.
        site: SiteId,
        /// Its name.
        name: Name,
        /// Where it lives.
        shard: ShardId,
    },
    /// A principal got its number.
    PrincipalCreated {
        /// Its number.
        principal: PrincipalId,
        /// Whose it is.
        tenant: Option<TenantId>,
    },
    /// An API key was made.
    ApiKeyCreated {
        /// Its id.
        key: ApiKeyId,
        /// What its holder may be.
        grant: Grant,
    },
    /// An API key was made useless.
    ApiKeyRevoked {
        /// Its id.
        key: ApiKeyId,
    },
    /// A user was made.
    UserCreated {
        /// Their id.
        user: UserId,
        /// What they may be.
        grant: Grant,
    },
    /// A user's password or leave to sign in changed.
    UserChanged {
        /// Their id.
        user: UserId,
    },
    /// The version of the logic that the cluster is to act by was set.
    LogicWanted {
        /// Which.
        version: u32,
    },
    /// The directory acts by another version of the logic.
    LogicRaised {
        /// Which.
        version: u32,
    },
    /// Data shards are to be made.
    ShardsAdded {
        /// How many there are to be.
        shards: u32,
    },
    /// A new data shard has its beginning.
    ShardFounded {
        /// Which.
        shard: ShardId,
    },
    /// A new node's folder waits under a join token.
    JoinTokenCreated {
        /// Which.
        token: JoinTokenId,
        /// Whose folder.
        node: NodeId,
    },
    /// A machine has fetched a new node's folder.
    JoinTokenTaken {
        /// With which token.
        token: JoinTokenId,
        /// Whose folder.
        node: NodeId,
    },
    /// A join token was made useless.
    JoinTokenRevoked {
        /// Which.
        token: JoinTokenId,
        /// Whose folder waited under it.
        node: NodeId,
    },
    /// A site is to live in another data shard.
    SiteToMove {
        /// Which.
        site: SiteId,
        /// Where it lives.
        from: ShardId,
        /// Where it is to live.
        to: ShardId,
    },
    /// A site lives in another data shard.
    SiteMoved {
        /// Which.
        site: SiteId,
        /// Where it lived.
        from: ShardId,
        /// Where it lives.
        to: ShardId,
    },
    /// A site stays where it is.
    SiteStays {
        /// Which.
        site: SiteId,
        /// Why.
        why: String,
    },
}
