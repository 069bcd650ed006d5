//! What the directory is asked, what it answers, and what became true.

use rotary_proto::{Name, PrincipalId, RequestId, ShardId, SiteId, TenantId};
use serde::{Deserialize, Serialize};

/// One entry of the directory's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    /// Whose request it is and under which key; absent for the cluster itself.
    pub origin: Option<(PrincipalId, RequestId)>,
    /// What is asked.
    pub command: DirectoryCommand,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryCommand {
    /// Says how many data shards there are: `sh_1` to `sh_<shards>`. Only the first one counts.
    Found {
        /// How many; at least 1.
        shards: u32,
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
}

/// Why a command was refused. The order of the variants is their precedence.
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
}

impl DirectoryRefusal {
    /// The stable word that the API uses.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::OutcomeForgotten => "outcome-forgotten",
            Self::BadValue { .. } | Self::ShardUnknown { .. } => "bad-value",
            Self::NotFounded => "unavailable",
            Self::TenantUnknown => "not-found",
            Self::LimitReached { .. } => "limit-reached",
        }
    }
}

/// What became true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryEvent {
    /// The number of data shards was set.
    Founded {
        /// How many.
        shards: u32,
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
}
