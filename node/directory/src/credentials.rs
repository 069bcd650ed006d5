//! Who may come in, and as what: API keys and users.
//!
//! Neither a key nor a password is here, only what tells whether one is right: the SHA-256 of a
//! key's secret, which is random and needs nothing slower, and the argon2id hash of a password,
//! made at the door so that applying stays cheap and alike on every replica.
//!
//! A token that was signed for one of these names it ([`Credential`]), so that it ends with it: a
//! key once revoked is useless for good, and each change of a user's password or leave begins an
//! *epoch* of theirs, to which tokens of the one before do not belong.

use std::collections::BTreeMap;
use std::sync::Arc;

use rotary_proto::{
    AgentId, ApiKeyId, JoinTokenId, Name, PrincipalId, SiteId, TenantId, UserId, Wall, limits,
};
use serde::{Deserialize, Serialize};

use crate::command::{DirectoryDone, DirectoryEvent, DirectoryRefusal};
use crate::state::{Directory, limit};

type Done = Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal>;

/// What the holder of a credential may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grant {
    /// Sets up the cluster, a tenant or a site.
    Administrator {
        /// Whose; absent for the whole cluster.
        tenant: Option<TenantId>,
        /// The one site, if it is one.
        site: Option<SiteId>,
    },
    /// Oversees a tenant or a site.
    Supervisor {
        /// Whose.
        tenant: TenantId,
        /// The one site, if it is one.
        site: Option<SiteId>,
    },
    /// Serves customers.
    Agent {
        /// Where.
        site: SiteId,
        /// As whom.
        agent: AgentId,
    },
}

impl Grant {
    /// Whose it is; absent for the whole cluster's.
    pub fn tenant(&self) -> Option<TenantId> {
        match *self {
            Self::Administrator { tenant, .. } => tenant,
            Self::Supervisor { tenant, .. } => Some(tenant),
            Self::Agent { site, .. } => Some(site.tenant),
        }
    }

    /// The one site, if it is one.
    pub fn site(&self) -> Option<SiteId> {
        match *self {
            Self::Administrator { site, .. } | Self::Supervisor { site, .. } => site,
            Self::Agent { site, .. } => Some(site),
        }
    }
}

/// An API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// What its holder may be.
    pub grant: Grant,
    /// What people call it.
    pub name: Name,
    /// The number of its holder.
    pub principal: PrincipalId,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// When it was asked for.
    pub created: Wall,
    /// When it stops being good, if ever.
    pub expires: Option<Wall>,
    /// Whether it is useless for good.
    pub revoked: bool,
}

/// Somebody who signs in with a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// What they may be.
    pub grant: Grant,
    /// What they sign in as.
    pub login: Name,
    /// Their number as a holder of credentials.
    pub principal: PrincipalId,
    /// What their password is judged by: a PHC string.
    pub hash: String,
    /// Whether they may not sign in.
    pub disabled: bool,
    /// How often password or leave have changed.
    pub epoch: u32,
}

/// What a token was signed for, beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// An API key.
    ApiKey(ApiKeyId),
    /// A user, as they were.
    User {
        /// Who.
        user: UserId,
        /// In which epoch of theirs.
        epoch: u32,
    },
    /// The first user above tenants, as they were made: what is signed before they are there.
    FirstUser,
    /// A join token, by which nobody signs anything.
    JoinToken(JoinTokenId),
}

/// Every credential that is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// The last key's number; those below it that are absent were revoked.
    pub(crate) last_key: u32,
    pub(crate) keys: BTreeMap<ApiKeyId, ApiKey>,
    pub(crate) users: BTreeMap<UserId, User>,
    /// Who signs in as what. Derived.
    logins: BTreeMap<(Option<TenantId>, Name), UserId>,
}

impl Credentials {
    /// Keeps a user under the next number; whether nobody of the tenant had the login.
    pub(crate) fn add_user(&mut self, user: User) -> bool {
        let id = UserId(self.users.len() as u32 + 1);
        let login = (user.grant.tenant(), user.login.clone());
        let new = self.logins.insert(login, id).is_none();
        self.users.insert(id, user);
        new
    }

    /// The API keys of that tenant, or of none.
    fn keys_of(&self, tenant: Option<TenantId>) -> impl Iterator<Item = (&ApiKeyId, &ApiKey)> {
        self.keys.iter().filter(move |(_, key)| key.grant.tenant() == tenant)
    }

    fn users_of(&self, tenant: Option<TenantId>) -> usize {
        self.users.values().filter(|user| user.grant.tenant() == tenant).count()
    }

    /// Whose place a new key of a tenant takes: nobody's, or that of its oldest revoked one where
    /// it has as many as it may.
    fn room(&self, tenant: Option<TenantId>) -> Result<Option<ApiKeyId>, DirectoryRefusal> {
        if self.keys_of(tenant).count() >= limits::API_KEYS_PER_TENANT_MAX {
            let oldest = self.keys_of(tenant).find(|(_, key)| key.revoked).map(|(id, _)| *id);
            return oldest.map(Some).ok_or_else(|| limit("api_keys_per_tenant_max"));
        }
        if self.keys.len() >= limits::API_KEYS_MAX {
            return Err(limit("api_keys_max"));
        }
        Ok(None)
    }
}

impl Directory {
    /// Every API key, in order of their ids; the oldest revoked ones may be forgotten.
    pub fn api_keys(&self) -> impl Iterator<Item = (ApiKeyId, &ApiKey)> {
        self.credentials.keys.iter().map(|(id, key)| (*id, key))
    }

    /// An API key, unless it is forgotten or was never made.
    pub fn api_key(&self, id: ApiKeyId) -> Option<&ApiKey> {
        self.credentials.keys.get(&id)
    }

    /// Every user, in order of their ids.
    pub fn users(&self) -> impl Iterator<Item = (UserId, &User)> {
        self.credentials.users.iter().map(|(id, user)| (*id, user))
    }

    /// Whether there was ever a user above tenants.
    pub fn has_own_users(&self) -> bool {
        self.users().any(|(_, user)| user.grant.tenant().is_none())
    }

    /// A user.
    pub fn user(&self, id: UserId) -> Option<&User> {
        self.credentials.users.get(&id)
    }

    /// Who signs in as that, to a tenant or to none.
    pub fn user_of(&self, tenant: Option<TenantId>, login: &Name) -> Option<(UserId, &User)> {
        let id = *self.credentials.logins.get(&(tenant, login.clone()))?;
        Some((id, self.user(id)?))
    }

    /// Whether that credential was good once and is no more, as far as this directory knows: what
    /// is newer than the directory is not revoked.
    pub fn is_revoked(&self, credential: Credential) -> bool {
        match credential {
            Credential::ApiKey(id) => {
                id.0 <= self.credentials.last_key && self.api_key(id).is_none_or(|key| key.revoked)
            }
            Credential::User { user, epoch } => {
                self.user(user).is_some_and(|user| user.epoch > epoch)
            }
            Credential::FirstUser => {
                let first = self.users().find(|(_, user)| user.grant.tenant().is_none());
                first.is_some_and(|(_, user)| user.epoch > 0)
            }
            Credential::JoinToken(id) => self.is_join_over(id),
        }
    }

    /// Refuses a grant of what does not exist, or does not fit together.
    pub(crate) fn check_grant(&self, grant: &Grant) -> Result<(), DirectoryRefusal> {
        let (tenant, site) = (grant.tenant(), grant.site());
        if tenant.is_some_and(|tenant| !self.has_tenant(tenant)) {
            return Err(DirectoryRefusal::TenantUnknown);
        }
        match site {
            Some(site) if Some(site.tenant) != tenant => {
                let rule = "it belongs to another tenant".to_owned();
                Err(DirectoryRefusal::BadValue { field: "site".to_owned(), rule })
            }
            Some(site) if self.shard_of(site).is_none() => Err(DirectoryRefusal::SiteUnknown),
            _ => Ok(()),
        }
    }

    /// Makes an API key; its holder's number is given to it in the same entry.
    pub(crate) fn create_api_key(&mut self, draft: ApiKey) -> Done {
        let grant = draft.grant;
        self.check_grant(&grant)?;
        let replaced = self.credentials.room(grant.tenant())?;
        let id = self.credentials.last_key.checked_add(1);
        let id = ApiKeyId(id.ok_or_else(|| limit("api_keys_ever_max"))?);
        let principal = self.next_principal()?;
        let credentials = Arc::make_mut(&mut self.credentials);
        credentials.last_key = id.0;
        if let Some(replaced) = replaced {
            credentials.keys.remove(&replaced);
        }
        let before = credentials.keys.insert(id, ApiKey { principal, ..draft });
        assert!(before.is_none(), "numbers of API keys are never used twice");
        let event = DirectoryEvent::ApiKeyCreated { key: id, grant };
        Ok((DirectoryDone::ApiKey { key: id, principal }, vec![event]))
    }

    /// Makes an API key useless; one that is already, stays so.
    pub(crate) fn revoke_api_key(&mut self, id: ApiKeyId) -> Done {
        match self.api_key(id) {
            None => Err(DirectoryRefusal::ApiKeyUnknown),
            Some(key) if key.revoked => Ok((DirectoryDone::Ok, Vec::new())),
            Some(_) => {
                let key = Arc::make_mut(&mut self.credentials).keys.get_mut(&id);
                key.expect("it was there a moment ago").revoked = true;
                Ok((DirectoryDone::Ok, vec![DirectoryEvent::ApiKeyRevoked { key: id }]))
            }
        }
    }

    /// Makes a user; their number as a holder is given to them in the same entry.
    pub(crate) fn create_user(&mut self, grant: Grant, login: Name, hash: String) -> Done {
        check_hash(&hash)?;
        self.check_grant(&grant)?;
        if self.user_of(grant.tenant(), &login).is_some() {
            return Err(DirectoryRefusal::LoginTaken);
        }
        if self.credentials.users_of(grant.tenant()) >= limits::USERS_PER_TENANT_MAX {
            return Err(limit("users_per_tenant_max"));
        }
        if self.credentials.users.len() >= limits::USERS_MAX {
            return Err(limit("users_max"));
        }
        let principal = self.next_principal()?;
        let user = User { grant, login, principal, hash, disabled: false, epoch: 0 };
        let new = Arc::make_mut(&mut self.credentials).add_user(user);
        assert!(new, "a login is given once");
        let user = UserId(self.credentials.users.len() as u32);
        let event = DirectoryEvent::UserCreated { user, grant };
        Ok((DirectoryDone::User { user, principal }, vec![event]))
    }

    /// Makes the first administrator, unless there was ever a user above tenants.
    pub(crate) fn found_user(&mut self, login: Name, hash: String) -> Done {
        if self.has_own_users() {
            return Ok((DirectoryDone::Ok, Vec::new()));
        }
        self.create_user(Grant::Administrator { tenant: None, site: None }, login, hash)
    }

    /// Gives a user another password.
    pub(crate) fn set_password(&mut self, id: UserId, hash: String) -> Done {
        check_hash(&hash)?;
        self.change_user(id, |user| user.hash = hash)
    }

    /// Lets a user sign in or not.
    pub(crate) fn set_disabled(&mut self, id: UserId, disabled: bool) -> Done {
        if self.user(id).is_some_and(|user| user.disabled == disabled) {
            return Ok((DirectoryDone::Ok, Vec::new()));
        }
        self.change_user(id, |user| user.disabled = disabled)
    }

    fn change_user(&mut self, id: UserId, change: impl FnOnce(&mut User)) -> Done {
        let before = self.user(id).ok_or(DirectoryRefusal::UserUnknown)?;
        let epoch = before.epoch.checked_add(1).ok_or_else(|| limit("user_epochs_max"))?;
        let user = Arc::make_mut(&mut self.credentials).users.get_mut(&id);
        let user = user.expect("they were there a moment ago");
        change(user);
        user.epoch = epoch;
        Ok((DirectoryDone::Ok, vec![DirectoryEvent::UserChanged { user: id }]))
    }
}

fn check_hash(hash: &str) -> Result<(), DirectoryRefusal> {
    if (1..=limits::PASSWORD_HASH_BYTES_MAX).contains(&hash.len()) {
        return Ok(());
    }
    let rule = format!("1 to {} bytes", limits::PASSWORD_HASH_BYTES_MAX);
    Err(DirectoryRefusal::BadValue { field: "hash".to_owned(), rule })
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
