//! Snapshots of the directory: a view, its chunks, and the way back.
//!
//! ```text
//! Head, Replicas*, Node*, Tenant*, Site*, ApiKey*, User*, Floor*, Outcome*, Audit*, JoinToken*,
//! End
//! ```
//!
//! Outcomes come oldest first, everything else in the order of its ids.
//!
//! [`Directory::freeze`] shares the directory's maps and costs a few pointers; the first change of
//! each map after that copies it. How many sites each shard has is counted anew. Nothing that is
//! read is believed: numbers out of order, a shard without replicas, a node of a kind that it
//! cannot be, a site without its tenant or shard, a credential of something that does not exist, an
//! outcome that comes twice, another count or digest are errors.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rotary_proto::snapshot::{self, ChunkError, Machine, Reader};
use rotary_proto::{
    ApiKeyId, FIRST_LOGIC, JoinTokenId, LogicVersions, Name, NodeId, PrincipalId, RequestId,
    ShardId, SiteId, Stamp, TenantId, UnfitBuild, UserId, limits,
};
use serde::{Deserialize, Serialize};

use crate::audit::{Audit, AuditRecord};
use crate::command::DirectoryOutcome;
use crate::credentials::{ApiKey, Credentials, User};
use crate::joins::{JoinToken, Joins, check_shape};
use crate::moves::{MOVES_MAX, SiteMoving};
use crate::nodes::{Announced, NodeKind, Replicas, check_members};
use crate::shards::Founding;
use crate::state::{Directory, SHARDS_MAX, TENANTS_MAX};
use crate::upgrade::Upgrade;
use crate::window::{Kept, Window};

/// A directory as it was when it was frozen.
#[derive(Debug, Clone)]
pub struct Frozen {
    shards: u32,
    principals: u32,
    last_stamp: Stamp,
    replicas: Arc<Replicas>,
    nodes: Arc<BTreeMap<NodeId, Announced>>,
    voteless: Arc<BTreeSet<NodeId>>,
    draining: Arc<BTreeSet<NodeId>>,
    founding: Arc<BTreeMap<ShardId, Founding>>,
    moving: Arc<BTreeMap<SiteId, SiteMoving>>,
    last_move: u64,
    last_core: u64,
    upgrade: Upgrade,
    tenants: Arc<BTreeMap<TenantId, Name>>,
    sites: Arc<BTreeMap<SiteId, (ShardId, Name)>>,
    credentials: Arc<Credentials>,
    window: Arc<Window>,
    audit: Arc<Audit>,
    joins: Arc<Joins>,
}

/// One record. Variants are append-only from the first tagged release on.
#[derive(Debug, Serialize, Deserialize)]
enum Record<'a> {
    /// What there is one of.
    Head {
        upgrade: Upgrade,
        shards: u32,
        principals: u32,
        last_key: u32,
        last_stamp: Stamp,
        floor_unix_ms: u64,
        last_core: u64,
        last_audit: u64,
        last_join: u32,
        voteless: Cow<'a, BTreeSet<NodeId>>,
        draining: Cow<'a, BTreeSet<NodeId>>,
        founding: Cow<'a, BTreeMap<ShardId, Founding>>,
        moving: Cow<'a, BTreeMap<SiteId, SiteMoving>>,
        last_move: u64,
    },
    /// Who keeps replicas of a shard, from the directory's on.
    Replicas(ShardId, Cow<'a, BTreeSet<NodeId>>),
    /// A node.
    Node(NodeId, Cow<'a, Announced>),
    /// A tenant; they are numbered densely.
    Tenant(TenantId, Cow<'a, Name>),
    /// A site and where it lives.
    Site(SiteId, ShardId, Cow<'a, Name>),
    /// An API key.
    ApiKey(ApiKeyId, Cow<'a, ApiKey>),
    /// A user; they are numbered densely.
    User(UserId, Cow<'a, User>),
    /// Up to which time requests of a principal are forgotten.
    Floor(PrincipalId, u64),
    /// An answered request.
    Outcome {
        at: Stamp,
        principal: PrincipalId,
        request: RequestId,
        outcome: Cow<'a, DirectoryOutcome>,
        index: u64,
    },
    /// What somebody did, under its number.
    Audit(u64, Cow<'a, AuditRecord>),
    /// A new node's folder that waits.
    JoinToken(JoinTokenId, Cow<'a, JoinToken>),
    /// The last: how many there are of each kind between, and the digest of the state.
    End { counts: [u64; 10], digest: u128 },
}

impl Record<'_> {
    const fn kind(&self) -> u8 {
        match self {
            Self::Head { .. } => 0,
            Self::Replicas(..) => 1,
            Self::Node(..) => 2,
            Self::Tenant(..) => 3,
            Self::Site(..) => 4,
            Self::ApiKey(..) => 5,
            Self::User(..) => 6,
            Self::Floor(..) => 7,
            Self::Outcome { .. } => 8,
            Self::Audit(..) => 9,
            Self::JoinToken(..) => 10,
            Self::End { .. } => END,
        }
    }
}

const END: u8 = 11;

impl Directory {
    /// A view of the directory as it is, for a snapshot.
    pub fn freeze(&self) -> Frozen {
        Frozen {
            shards: self.shards,
            principals: self.principals,
            last_stamp: self.last_stamp,
            replicas: self.replicas.clone(),
            nodes: self.nodes.clone(),
            voteless: self.voteless.clone(),
            draining: self.draining.clone(),
            founding: self.founding.clone(),
            moving: self.moving.clone(),
            last_move: self.last_move,
            last_core: self.last_core,
            upgrade: self.upgrade,
            tenants: self.tenants.clone(),
            sites: self.sites.clone(),
            credentials: self.credentials.clone(),
            window: self.window.clone(),
            audit: self.audit.clone(),
            joins: self.joins.clone(),
        }
    }

    /// A digest of everything that later entries can depend on: a walk over all of it. Equal on
    /// every replica at equal index.
    pub fn digest(&self) -> u128 {
        self.freeze().digest()
    }
}

impl Frozen {
    /// The stamp of the last entry that is in it.
    pub const fn last_stamp(&self) -> Stamp {
        self.last_stamp
    }

    /// The digest of the state that it holds, as [`Directory::digest`] gives it.
    pub fn digest(&self) -> u128 {
        snapshot::digest_of(self.records())
    }

    /// The snapshot as chunks of at most [`limits::SNAPSHOT_CHUNK_BYTES_MAX`], each made when it is
    /// asked for.
    pub fn chunks(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let (keys, users) = (self.credentials.keys.len(), self.credentials.users.len());
        let outcomes = self.window.outcomes().count();
        let places = [self.replicas.len(), self.nodes.len(), self.tenants.len(), self.sites.len()];
        let [replicas, nodes, tenants, sites] = places;
        let floors = self.window.floors().len();
        let audit = self.audit.len();
        let joins = self.joins.tokens.len();
        let lengths =
            [replicas, nodes, tenants, sites, keys, users, floors, outcomes, audit, joins];
        let end = Record::End { counts: lengths.map(|len| len as u64), digest: self.digest() };
        snapshot::chunks(Machine::Directory, self.records().chain(std::iter::once(end)))
    }

    /// Every record but the last.
    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let head = Record::Head {
            upgrade: self.upgrade,
            shards: self.shards,
            principals: self.principals,
            last_key: self.credentials.last_key,
            last_stamp: self.last_stamp,
            floor_unix_ms: self.window.shared_floor_unix_ms(),
            last_core: self.last_core,
            last_audit: self.audit.last,
            last_join: self.joins.last,
            voteless: Cow::Borrowed(&self.voteless),
            draining: Cow::Borrowed(&self.draining),
            founding: Cow::Borrowed(&self.founding),
            moving: Cow::Borrowed(&self.moving),
            last_move: self.last_move,
        };
        let (replicas, nodes) = (self.replicas.iter(), self.nodes.iter());
        let tenants = self.tenants.iter();
        let sites = self.sites.iter();
        let (keys, users) = (self.credentials.keys.iter(), self.credentials.users.iter());
        let audit = self.audit.records_from(0);
        let joins = self.joins.tokens.iter();
        let floors = self.window.floors();
        let outcomes =
            self.window.outcomes().map(|(at, (principal, request), kept)| Record::Outcome {
                at,
                principal,
                request,
                outcome: Cow::Borrowed(&kept.outcome),
                index: kept.index,
            });
        std::iter::once(head)
            .chain(replicas.map(|(shard, nodes)| Record::Replicas(*shard, Cow::Borrowed(nodes))))
            .chain(nodes.map(|(id, node)| Record::Node(*id, Cow::Borrowed(node))))
            .chain(tenants.map(|(tenant, name)| Record::Tenant(*tenant, Cow::Borrowed(name))))
            .chain(sites.map(|(id, (shard, name))| Record::Site(*id, *shard, Cow::Borrowed(name))))
            .chain(keys.map(|(id, key)| Record::ApiKey(*id, Cow::Borrowed(key))))
            .chain(users.map(|(id, user)| Record::User(*id, Cow::Borrowed(user))))
            .chain(floors.map(|(principal, floor)| Record::Floor(principal, floor)))
            .chain(outcomes)
            .chain(audit.map(|(number, record)| Record::Audit(number, Cow::Borrowed(record))))
            .chain(joins.map(|(id, token)| Record::JoinToken(*id, Cow::Borrowed(token))))
    }
}

/// Why chunks are not a snapshot that can be installed. Another snapshot, or this one fetched anew,
/// may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A chunk is not the next one.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The directory acts by a version of the logic that this build cannot apply.
    #[error(transparent)]
    Unfit(#[from] UnfitBuild),
    /// A record where its kind may not be.
    #[error("a record of kind {kind} is out of order")]
    OutOfOrder {
        /// The kind, as its place in the order of kinds.
        kind: u8,
    },
    /// Records contradict each other or break a bound.
    #[error("{detail}")]
    Inconsistent {
        /// What is wrong.
        detail: &'static str,
    },
    /// Not as many records as the last one says.
    #[error("records are missing, or there are too many")]
    Count,
    /// The state has another digest than the one that was frozen.
    #[error("the directory has another digest")]
    Digest,
}

/// A directory on its way back from chunks.
#[derive(Debug)]
pub struct Restore {
    reader: Reader,
    building: Building,
}

#[derive(Debug)]
struct Building {
    can: LogicVersions,
    directory: Directory,
    window: Window,
    last: Option<u8>,
    counts: [u64; 10],
}

impl Default for Restore {
    fn default() -> Self {
        Self::new()
    }
}

impl Restore {
    /// Nothing read so far, whichever version the directory acts by.
    pub fn new() -> Self {
        Self::fitting(LogicVersions { oldest: FIRST_LOGIC, newest: u32::MAX })
    }

    /// The same for a build that can apply those versions of the logic, and takes no other.
    pub fn fitting(can: LogicVersions) -> Self {
        let (directory, window, last, counts) = Default::default();
        let building = Building { can, directory, window, last, counts };
        Self { reader: Reader::new(Machine::Directory), building }
    }

    /// Takes the next chunk. A refused one ends the restoration.
    ///
    /// # Errors
    /// [`RestoreError`] naming what is wrong. Bytes never panic.
    pub fn chunk(mut self, bytes: &[u8]) -> Result<Self, RestoreError> {
        self.reader.read(bytes, |record| self.building.take(record))?;
        Ok(self)
    }

    /// The directory, if all of it has come.
    ///
    /// # Errors
    /// [`RestoreError`] where chunks are missing.
    pub fn finish(self) -> Result<Directory, RestoreError> {
        self.reader.finish()?;
        let Building { directory, last, .. } = self.building;
        if last == Some(END) { Ok(directory) } else { Err(RestoreError::Count) }
    }
}

impl Building {
    /// Counts a record that comes in its turn.
    fn expect(&mut self, kind: u8) -> Result<(), RestoreError> {
        let in_order = match self.last {
            None => kind == 0,
            Some(last) => kind > 0 && kind >= last && last != END,
        };
        if !in_order {
            return Err(RestoreError::OutOfOrder { kind });
        }
        self.last = Some(kind);
        if let Some(count) = self.counts.get_mut(usize::from(kind.wrapping_sub(1))) {
            *count += 1;
        }
        Ok(())
    }

    // long: one arm a kind of record, and nothing else.
    fn take(&mut self, record: Record) -> Result<(), RestoreError> {
        self.expect(record.kind())?;
        let directory = &mut self.directory;
        match record {
            Record::Head {
                upgrade,
                shards,
                principals,
                last_key,
                last_stamp,
                floor_unix_ms,
                last_core,
                last_audit,
                last_join,
                voteless,
                draining,
                founding,
                moving,
                last_move,
            } => {
                directory.restore_upgrade(upgrade, self.can)?;
                is(shards <= SHARDS_MAX, "there are more data shards than there may be")?;
                is(principals < u32::MAX, "there are more principals than there are numbers")?;
                directory.placed = (1..=shards).map(|shard| (ShardId(shard), 0)).collect();
                (directory.shards, directory.principals) = (shards, principals);
                Arc::make_mut(&mut directory.credentials).last_key = last_key;
                directory.last_stamp = last_stamp;
                directory.last_core = last_core;
                Arc::make_mut(&mut directory.audit).last = last_audit;
                Arc::make_mut(&mut directory.joins).last = last_join;
                directory.voteless = Arc::new(voteless.into_owned());
                directory.draining = Arc::new(draining.into_owned());
                directory.founding = Arc::new(founding.into_owned());
                directory.moving = Arc::new(moving.into_owned());
                directory.last_move = last_move;
                self.window = Window::forgotten_up_to(floor_unix_ms);
                Ok(())
            }
            Record::Replicas(shard, nodes) => directory.restore_replicas(shard, nodes.into_owned()),
            Record::Node(node, announced) => directory.restore_node(node, announced.into_owned()),
            Record::Tenant(tenant, name) => {
                let next = directory.tenants.len() + 1;
                let fine = tenant.0 as usize == next && next <= TENANTS_MAX;
                is(fine, "tenants are not numbered densely, or are too many")?;
                Arc::make_mut(&mut directory.tenants).insert(tenant, name.into_owned());
                Ok(())
            }
            Record::Site(site, shard, name) => directory.restore_site(site, shard, &name),
            Record::ApiKey(id, key) => directory.restore_api_key(id, key.into_owned()),
            Record::User(id, user) => directory.restore_user(id, user.into_owned()),
            Record::Floor(principal, floor) => {
                let fine = self.window.restore_floor(principal, floor);
                is(fine, "floors of requests are out of order, or too many")
            }
            Record::Outcome { at, principal, request, outcome, index } => {
                let kept = Kept { outcome: outcome.into_owned(), index };
                let new = self.window.restore(at, (principal, request), kept);
                is(new, "an outcome comes twice, or is one too many")
            }
            Record::Audit(number, record) => {
                let fine = Arc::make_mut(&mut directory.audit).restore(number, record.into_owned());
                is(fine, "records of what people did are out of order, or too many")
            }
            Record::JoinToken(id, token) => directory.restore_join_token(id, token.into_owned()),
            Record::End { counts, digest } => {
                directory.window = Arc::new(std::mem::take(&mut self.window));
                directory.check_replicas()?;
                directory.check_moves()?;
                if counts != self.counts {
                    return Err(RestoreError::Count);
                }
                if directory.digest() == digest { Ok(()) } else { Err(RestoreError::Digest) }
            }
        }
    }
}

impl Directory {
    fn check_moves(&self) -> Result<(), RestoreError> {
        let fine = |(site, moving): (&SiteId, &SiteMoving)| {
            let known = self.sites.contains_key(site) && self.placed.contains_key(&moving.to);
            known && moving.is_valid() && moving.number <= self.last_move
        };
        let few = self.moving.len() <= MOVES_MAX;
        is(few && self.moving.iter().all(fine), "sites are on a way that there is not")
    }

    fn restore_upgrade(
        &mut self,
        upgrade: Upgrade,
        can: LogicVersions,
    ) -> Result<(), RestoreError> {
        let version = upgrade.acts_by;
        if !can.include(version) {
            return Err(UnfitBuild { version, can }.into());
        }
        self.upgrade = upgrade;
        is(upgrade.is_valid(), "the versions of the logic are out of order")
    }

    fn restore_replicas(
        &mut self,
        shard: ShardId,
        nodes: BTreeSet<NodeId>,
    ) -> Result<(), RestoreError> {
        let next = self.replicas.len();
        let fine = shard.0 as usize == next
            && (1..=self.shards).contains(&shard.0.max(1))
            && check_members(&nodes).is_ok();
        is(fine, "replicas are of no shard, out of order, or as many as no shard can have")?;
        Arc::make_mut(&mut self.replicas).insert(shard, nodes);
        Ok(())
    }

    /// Every shard that there is has replicas.
    fn check_replicas(&self) -> Result<(), RestoreError> {
        let wanted = if self.shards == 0 { 0 } else { self.shards as usize + 1 };
        is(self.replicas.len() == wanted, "a shard has no replicas")?;
        let cores = self.replicas.values().flatten();
        let numbered = cores.clone().all(|node| node.0 <= self.last_core);
        is(numbered, "a core node has a number that was never given")?;
        let keeps = self.voteless.iter().all(|node| self.keeps_replicas(*node));
        is(keeps, "a node without replicas is said to have no vote")?;
        let is_node = |node: &NodeId| self.keeps_replicas(*node) || self.node(*node).is_some();
        is(self.draining.iter().all(is_node), "a node drains that is not there")?;
        let there = |(shard, founding): (&ShardId, &Founding)| {
            (1..=self.shards).contains(&shard.0) && founding.is_valid()
        };
        is(self.founding.iter().all(there), "a shard is to begin that is not there")?;
        let votes = cores.clone().any(|node| !self.voteless.contains(node));
        is(votes || wanted == 0, "nobody has a vote")
    }

    fn restore_node(&mut self, node: NodeId, announced: Announced) -> Result<(), RestoreError> {
        let last = self.nodes.last_key_value().map_or(NodeId(0), |(last, _)| *last);
        let room = announced.kind == NodeKind::Core || self.gateways() < self.gateways_max();
        // Who kept replicas once may be there still.
        let released = announced.kind == NodeKind::Core && node.0 <= self.last_core;
        let known = self.check_announced(node, &announced).is_ok()
            || (released && announced.check().is_ok());
        let fine = last < node && known && room;
        is(fine, "nodes are out of order, of a kind that they cannot be, or too many")?;
        Arc::make_mut(&mut self.nodes).insert(node, announced);
        Ok(())
    }

    fn restore_site(
        &mut self,
        site: SiteId,
        shard: ShardId,
        name: &Name,
    ) -> Result<(), RestoreError> {
        let last = self.sites.last_key_value().map(|(last, _)| *last);
        let fine = last.is_none_or(|last| last < site)
            && self.tenants.contains_key(&site.tenant)
            && (1..=limits::SITES_PER_TENANT_MAX).contains(&(site.number as usize));
        is(fine, "sites are out of order, of no tenant, or too many")?;
        let placed = self.placed.get_mut(&shard);
        let placed = placed.filter(|placed| (**placed as usize) < limits::SITES_PER_SHARD_MAX);
        let placed = placed
            .ok_or(RestoreError::Inconsistent { detail: "a site is in no shard, or a full one" })?;
        *placed += 1;
        Arc::make_mut(&mut self.sites).insert(site, (shard, name.clone()));
        Ok(())
    }

    fn restore_api_key(&mut self, id: ApiKeyId, key: ApiKey) -> Result<(), RestoreError> {
        let last = self.credentials.keys.last_key_value().map_or(0, |(last, _)| last.0);
        let fine = (last + 1..=self.credentials.last_key).contains(&id.0)
            && self.check_grant(&key.grant).is_ok()
            && self.credentials.keys.len() < limits::API_KEYS_MAX;
        is(fine, "API keys are out of order, of nobody, or too many")?;
        Arc::make_mut(&mut self.credentials).keys.insert(id, key);
        Ok(())
    }

    fn restore_join_token(
        &mut self,
        id: JoinTokenId,
        token: JoinToken,
    ) -> Result<(), RestoreError> {
        let last = self.joins.tokens.last_key_value().map_or(0, |(last, _)| last.0);
        let fine = (last + 1..=self.joins.last).contains(&id.0)
            && check_shape(&token).is_ok()
            && token.until > self.last_stamp
            && self.joins.tokens.len() < limits::JOIN_TOKENS_MAX;
        is(fine, "join tokens are out of order, over, or too many")?;
        Arc::make_mut(&mut self.joins).tokens.insert(id, token);
        Ok(())
    }

    fn restore_user(&mut self, id: UserId, user: User) -> Result<(), RestoreError> {
        let count = self.credentials.users.len();
        let fine = id.0 as usize == count + 1
            && self.check_grant(&user.grant).is_ok()
            && user.hash.len() <= limits::PASSWORD_HASH_BYTES_MAX
            && count < limits::USERS_MAX;
        is(fine, "users are not numbered densely, of nobody, or too many")?;
        let new = Arc::make_mut(&mut self.credentials).add_user(user);
        is(new, "two users have one login")
    }
}

const fn is(fine: bool, detail: &'static str) -> Result<(), RestoreError> {
    if fine { Ok(()) } else { Err(RestoreError::Inconsistent { detail }) }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
