//! The directory's state, and the one way to change it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rotary_proto::{Name, NodeId, PrincipalId, ShardId, SiteId, Stamp, TenantId, limits};

use crate::FIRST_PRINCIPAL;
use crate::audit::{self, Asked, Audit};
use crate::command::{
    DirectoryAnswer, DirectoryCommand, DirectoryDone, DirectoryEntry, DirectoryEvent,
    DirectoryOutcome, DirectoryRefusal,
};
use crate::credentials::{ApiKey, Credentials};
use crate::joins::{JoinToken, Joins};
use crate::moves::SiteMoving;
use crate::nodes::{Announced, Replicas, check_members, everywhere};
use crate::shards::Founding;
use crate::upgrade::Upgrade;
use crate::window::{Kept, Known, Window};

/// Most tenants of one cluster.
pub(crate) const TENANTS_MAX: usize = 65_536;
/// Most data shards of one cluster.
pub(crate) const SHARDS_MAX: u32 = 1_024;

/// What one entry came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// For its proposer.
    pub answer: DirectoryAnswer,
    /// What became true.
    pub events: Vec<DirectoryEvent>,
}

/// A tenant as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    /// Which.
    pub tenant: TenantId,
    /// What people call it.
    pub name: Name,
}

/// A site as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteRow {
    /// Which.
    pub site: SiteId,
    /// Where it lives.
    pub shard: ShardId,
    /// What people call it.
    pub name: Name,
}

/// Everything the directory knows. What can be large is shared with frozen views until it changes,
/// and then copied: a directory changes rarely.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Data shards `sh_1` to this; 0 before the cluster is founded.
    pub(crate) shards: u32,
    /// Of the directory and every data shard; empty before the cluster is founded.
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) nodes: Arc<BTreeMap<NodeId, Announced>>,
    /// Core nodes that are to have no vote.
    pub(crate) voteless: Arc<BTreeSet<NodeId>>,
    /// Nodes that are to be empty.
    pub(crate) draining: Arc<BTreeSet<NodeId>>,
    /// Data shards that have no beginning yet.
    pub(crate) founding: Arc<BTreeMap<ShardId, Founding>>,
    /// The highest number that a core node ever had.
    pub(crate) last_core: u64,
    pub(crate) upgrade: Upgrade,
    pub(crate) tenants: Arc<BTreeMap<TenantId, Name>>,
    pub(crate) sites: Arc<BTreeMap<SiteId, (ShardId, Name)>>,
    /// Sites that are to live elsewhere.
    pub(crate) moving: Arc<BTreeMap<SiteId, SiteMoving>>,
    /// How many moves were asked for.
    pub(crate) last_move: u64,
    /// How many sites each data shard has; every data shard has an entry. Derived.
    pub(crate) placed: BTreeMap<ShardId, u32>,
    /// The last principal's number, beside [`FIRST_PRINCIPAL`].
    pub(crate) principals: u32,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) window: Arc<Window>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) joins: Arc<Joins>,
    pub(crate) last_stamp: Stamp,
}

impl Directory {
    /// A directory that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one entry. The stamp is clamped to be strictly rising.
    pub fn apply(&mut self, index: u64, stamp: Stamp, entry: DirectoryEntry) -> Applied {
        self.advance(stamp);
        if let Some(key) = entry.origin {
            match self.window.look(key) {
                Known::Answered(Kept { outcome, index }) => {
                    let answer = DirectoryAnswer { outcome, repeated: true, index };
                    return Applied { answer, events: Vec::new() };
                }
                Known::Forgotten => return refused(index, DirectoryRefusal::OutcomeForgotten),
                Known::New => {}
            }
        }
        let told = entry.asked.zip(audit::told(&entry.command));
        let (outcome, events) = match self.execute(entry.command, entry.asked) {
            Ok((done, events)) => (DirectoryOutcome::Done(done), events),
            Err(refusal) => (DirectoryOutcome::Refused(refusal), Vec::new()),
        };
        // A refusal that asks to come again is no answer to who comes again.
        let settled = !matches!(
            outcome,
            DirectoryOutcome::Refused(
                DirectoryRefusal::NotFounded | DirectoryRefusal::ShardNotFounded { .. }
            )
        );
        if let Some((asked, told)) = told.filter(|_| settled) {
            self.record(asked, told, &outcome);
        }
        if let Some(key) = entry.origin.filter(|_| settled) {
            let kept = Kept { outcome: outcome.clone(), index };
            Arc::make_mut(&mut self.window).keep(self.last_stamp, key, kept);
        }
        Applied { answer: DirectoryAnswer { outcome, repeated: false, index }, events }
    }

    /// Applies an entry whose bytes are not a command of this build.
    pub fn refuse_malformed(&mut self, index: u64, stamp: Stamp) -> Applied {
        self.advance(stamp);
        refused(index, DirectoryRefusal::Malformed)
    }

    fn advance(&mut self, stamp: Stamp) {
        let next = stamp.after(self.last_stamp);
        assert!(next > self.last_stamp, "shard time rises with every entry");
        self.last_stamp = next;
        self.end_joins();
    }

    /// The stamp of the last entry applied.
    pub fn last_stamp(&self) -> Stamp {
        self.last_stamp
    }

    /// How many data shards there are; 0 before the cluster is founded.
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// Where a site lives.
    pub fn shard_of(&self, site: SiteId) -> Option<ShardId> {
        self.sites.get(&site).map(|(shard, _)| *shard)
    }

    /// Whether there is such a tenant.
    pub fn has_tenant(&self, tenant: TenantId) -> bool {
        self.tenants.contains_key(&tenant)
    }

    /// All tenants, in order of their ids.
    pub fn tenants(&self) -> impl Iterator<Item = TenantRow> {
        self.tenants.iter().map(|(tenant, name)| TenantRow { tenant: *tenant, name: name.clone() })
    }

    /// All sites, or those of one tenant, in order of their ids.
    pub fn sites(&self, tenant: Option<TenantId>) -> impl Iterator<Item = SiteRow> {
        let ours = move |site: &SiteId| tenant.is_none_or(|tenant| site.tenant == tenant);
        self.sites.iter().filter(move |(site, _)| ours(site)).map(|(site, (shard, name))| SiteRow {
            site: *site,
            shard: *shard,
            name: name.clone(),
        })
    }

    fn execute(
        &mut self,
        command: DirectoryCommand,
        asked: Option<Asked>,
    ) -> Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal> {
        match command {
            DirectoryCommand::Found { shards, members } => self.found(shards, members),
            DirectoryCommand::Announce { node, announced } => self.announce(node, announced),
            DirectoryCommand::Forget { node } => self.forget(node),
            DirectoryCommand::Admit { node, announced, instead_of } => {
                self.admit(node, announced, instead_of)
            }
            DirectoryCommand::Release { node } => self.release(node),
            DirectoryCommand::SetVote { node, votes } => self.set_vote(node, votes),
            DirectoryCommand::SpreadVotes { count } => self.spread_votes(count),
            DirectoryCommand::AddShards { shards } => self.add_shards(shards),
            DirectoryCommand::ShardFounded { shard } => self.shard_founded(shard),
            DirectoryCommand::SetDraining { node, drains } => self.set_draining(node, drains),
            DirectoryCommand::CreateTenant { name } => self.create_tenant(name),
            DirectoryCommand::CreateSite { tenant, name, shard } => {
                self.create_site(tenant, name, shard)
            }
            DirectoryCommand::CreatePrincipal { tenant } => self.create_principal(tenant),
            DirectoryCommand::CreateApiKey { grant, name, hash, created, expires } => {
                let (principal, revoked) = (PrincipalId(0), false);
                let draft = ApiKey { grant, name, principal, hash, created, expires, revoked };
                self.create_api_key(draft)
            }
            DirectoryCommand::RevokeApiKey { key } => self.revoke_api_key(key),
            DirectoryCommand::CreateUser { grant, login, hash } => {
                self.create_user(grant, login, hash)
            }
            DirectoryCommand::FoundUser { login, hash } => self.found_user(login, hash),
            DirectoryCommand::SetPassword { user, hash } => self.set_password(user, hash),
            DirectoryCommand::SetDisabled { user, disabled } => self.set_disabled(user, disabled),
            DirectoryCommand::Note { action, target, outcome } => {
                self.take_note(asked, action, target, outcome)
            }
            DirectoryCommand::Finalize { version } => self.finalize(version),
            DirectoryCommand::AbortUpgrade => self.abort_upgrade(),
            DirectoryCommand::RaiseVersion { version } => self.raise_version(version),
            DirectoryCommand::CreateJoinToken { node, kind, hash, sealed, ttl_ms, created } => {
                let (principal, until, taken) = Default::default();
                let draft = JoinToken {
                    node,
                    kind,
                    principal,
                    hash,
                    sealed,
                    created,
                    ttl_ms,
                    until,
                    taken,
                };
                self.create_join_token(draft, asked)
            }
            DirectoryCommand::TakeJoinToken { token, node, hash, taken } => {
                self.take_join_token((token, node), &hash, taken)
            }
            DirectoryCommand::RevokeJoinToken { token, node } => {
                self.revoke_join_token(token, node)
            }
            DirectoryCommand::MoveSite { site, to } => self.move_site(site, to),
            DirectoryCommand::CancelMove { site } => self.cancel_move(site),
            DirectoryCommand::SiteMoved { site, to } => self.site_moved(site, to),
            DirectoryCommand::MoveFailed { site, number, why } => {
                self.move_failed(site, number, &why)
            }
        }
    }

    fn found(
        &mut self,
        shards: u32,
        members: BTreeSet<NodeId>,
    ) -> Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal> {
        if !(1..=SHARDS_MAX).contains(&shards) {
            let rule = format!("1 to {SHARDS_MAX} data shards");
            return Err(DirectoryRefusal::BadValue { field: "shards".to_owned(), rule });
        }
        check_members(&members)?;
        if self.shards > 0 {
            return Ok((DirectoryDone::Ok, Vec::new()));
        }
        self.shards = shards;
        self.replicas = Arc::new(everywhere(shards, &members));
        self.last_core = members.last().map_or(0, |node| node.0);
        self.placed = (1..=shards).map(|shard| (ShardId(shard), 0)).collect();
        Ok((DirectoryDone::Ok, vec![DirectoryEvent::Founded { shards, members }]))
    }

    fn create_tenant(
        &mut self,
        name: Name,
    ) -> Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal> {
        if self.tenants.len() >= TENANTS_MAX {
            return Err(limit("tenants_max"));
        }
        let tenant = TenantId(self.tenants.len() as u32 + 1);
        let before = Arc::make_mut(&mut self.tenants).insert(tenant, name.clone());
        assert!(before.is_none(), "numbers of tenants are never used twice");
        Ok((DirectoryDone::Tenant(tenant), vec![DirectoryEvent::TenantCreated { tenant, name }]))
    }

    fn create_site(
        &mut self,
        tenant: TenantId,
        name: Name,
        shard: Option<ShardId>,
    ) -> Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal> {
        let shard = self.place(tenant, shard)?;
        let whole = SiteId { tenant, number: 0 }..=SiteId { tenant, number: u32::MAX };
        let last = self.sites.range(whole).next_back().map_or(0, |(site, _)| site.number);
        if last as usize >= limits::SITES_PER_TENANT_MAX {
            return Err(limit("sites_per_tenant_max"));
        }
        let coming = self.moving.values().filter(|moving| moving.to == shard).count();
        let placed = self.placed.get_mut(&shard).expect("a placement names an existing shard");
        if *placed as usize + coming >= limits::SITES_PER_SHARD_MAX {
            return Err(limit("sites_per_shard_max"));
        }
        *placed += 1;
        let site = SiteId { tenant, number: last + 1 };
        let before = Arc::make_mut(&mut self.sites).insert(site, (shard, name.clone()));
        assert!(before.is_none(), "numbers of sites are never used twice");
        let event = DirectoryEvent::SiteCreated { site, name, shard };
        Ok((DirectoryDone::Site { site, shard }, vec![event]))
    }

    /// Checks that a site may be made, and says where.
    fn place(&self, tenant: TenantId, named: Option<ShardId>) -> Result<ShardId, DirectoryRefusal> {
        let has_begun = |shard: &ShardId| !self.founding.contains_key(shard);
        let begun = self.placed.iter().filter(|(shard, _)| has_begun(shard));
        let fewest = begun.min_by_key(|(shard, sites)| (**sites, **shard));
        let (fewest, _) = fewest.ok_or(DirectoryRefusal::NotFounded)?;
        if !self.tenants.contains_key(&tenant) {
            return Err(DirectoryRefusal::TenantUnknown);
        }
        match named {
            Some(shard) if !has_begun(&shard) => Err(DirectoryRefusal::ShardNotFounded { shard }),
            Some(shard) if self.placed.contains_key(&shard) => Ok(shard),
            Some(_) => Err(DirectoryRefusal::ShardUnknown { shards: self.shards }),
            None => Ok(*fewest),
        }
    }

    fn create_principal(
        &mut self,
        tenant: Option<TenantId>,
    ) -> Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal> {
        if tenant.is_some_and(|tenant| !self.tenants.contains_key(&tenant)) {
            return Err(DirectoryRefusal::TenantUnknown);
        }
        let principal = self.next_principal()?;
        let event = DirectoryEvent::PrincipalCreated { principal, tenant };
        Ok((DirectoryDone::Principal(principal), vec![event]))
    }

    /// The number of a new holder of a credential.
    pub(crate) fn next_principal(&mut self) -> Result<PrincipalId, DirectoryRefusal> {
        let number = FIRST_PRINCIPAL.0.checked_add(self.principals + 1);
        let principal = PrincipalId(number.ok_or_else(|| limit("principals_max"))?);
        self.principals += 1;
        Ok(principal)
    }
}

fn refused(index: u64, refusal: DirectoryRefusal) -> Applied {
    let outcome = DirectoryOutcome::Refused(refusal);
    Applied { answer: DirectoryAnswer { outcome, repeated: false, index }, events: Vec::new() }
}

pub(crate) fn limit(name: &str) -> DirectoryRefusal {
    DirectoryRefusal::LimitReached { limit: name.to_owned() }
}

#[cfg(test)]
#[path = "state_tests.rs"]
pub(crate) mod tests;
