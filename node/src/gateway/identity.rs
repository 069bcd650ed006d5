//! From what a client shows to who it is: a token that was signed, or an API key.
//!
//! Every node answers from its own replica of the directory, so a revocation holds on a node from
//! the moment at which that has applied it. A key that is shown a moment after another node made it
//! is waited for; one that is wrong is waited for as long, so that nobody learns which exist.

use std::time::Duration;

use rotary_directory::{ApiKey, Credential, Grant};
use rotary_proto::{AgentId, ApiKeyId, PrincipalId, SiteId, TenantId};

use crate::gateway::doors::Doors;
use crate::gateway::problem::Problem;
use crate::gateway::secret::{Secret, is_key, read_key, same};
use crate::gateway::token::{Claims, Role, TokenError, unix_ms};

/// How long a key that is not known here is waited for.
const KEY_PATIENCE: Duration = Duration::from_millis(500);
/// When what never expires does: the last second of the year 9999.
const NEVER_S: u64 = 253_402_300_799;

/// Who shows that token or API key.
///
/// # Errors
/// Why it is not taken.
pub(crate) async fn identify(doors: &Doors, text: &str) -> Result<Claims, TokenError> {
    let claims = if is_key(text) {
        let (id, secret) = read_key(text).ok_or(TokenError::Malformed)?;
        holder(doors, id, &secret).await?
    } else {
        doors.tokens.check(text)?
    };
    expect_unrevoked(doors, &claims)?;
    Ok(claims)
}

/// Refuses what was signed for a credential that is revoked.
///
/// # Errors
/// [`TokenError::Revoked`].
pub(crate) fn expect_unrevoked(doors: &Doors, claims: &Claims) -> Result<(), TokenError> {
    match claims.by {
        Some(credential) if doors.replica.directory().is_revoked(credential) => {
            Err(TokenError::Revoked)
        }
        _ => Ok(()),
    }
}

async fn holder(doors: &Doors, id: ApiKeyId, secret: &Secret) -> Result<Claims, TokenError> {
    let hash = secret.hash();
    let right = |key: &&ApiKey| same(&key.hash, &hash);
    let look = |directory: &rotary_directory::Directory| {
        directory.api_key(id).filter(right).map(claims_of_key(id))
    };
    let claims = doors.replica.find(KEY_PATIENCE, look).await.ok_or(TokenError::Forged)?;
    if unix_ms() / 1_000 >= claims.exp { Err(TokenError::Expired) } else { Ok(claims) }
}

fn claims_of_key(id: ApiKeyId) -> impl Fn(&ApiKey) -> Claims {
    move |key| {
        let exp = key.expires.map_or(NEVER_S, |wall| wall.0 / 1_000);
        claims_of(&key.grant, key.principal, Credential::ApiKey(id), exp)
    }
}

/// What the holder of a credential may claim.
pub(crate) fn claims_of(grant: &Grant, principal: PrincipalId, by: Credential, exp: u64) -> Claims {
    let (role, agent) = role_of(grant);
    let (tenant, site, customer, by) = (grant.tenant(), grant.site(), None, Some(by));
    Claims { role, tenant, site, agent, customer, principal, by, exp }
}

/// What a request for a credential asks for.
///
/// # Errors
/// `bad-value` where the parts do not fit together.
pub(crate) fn grant_of(
    role: Role,
    tenant: Option<TenantId>,
    site: Option<SiteId>,
    agent: Option<AgentId>,
) -> Result<Grant, Problem> {
    let wrong = |field: &str, rule: &str| Problem::bad_value(format!("{field}: {rule}"));
    let tenant = tenant.or(site.map(|site| site.tenant));
    if site.is_some_and(|site| Some(site.tenant) != tenant) {
        return Err(wrong("site", "it belongs to another tenant"));
    }
    if agent.is_some() != (role == Role::Agent) {
        return Err(wrong("agent", "the role agent needs it, no other takes it"));
    }
    match (role, tenant, site, agent) {
        (Role::Administrator, ..) => Ok(Grant::Administrator { tenant, site }),
        (Role::Supervisor, Some(tenant), ..) => Ok(Grant::Supervisor { tenant, site }),
        (Role::Supervisor, ..) => Err(wrong("tenant", "supervisors belong to one")),
        (Role::Agent, _, Some(site), Some(agent)) => Ok(Grant::Agent { site, agent }),
        (Role::Agent, ..) => Err(wrong("site", "agents belong to one")),
        (Role::Customer, ..) => Err(wrong("role", "customers come with tokens: POST /v1/tokens")),
    }
}

/// The role of a grant, and as which agent.
pub(crate) fn role_of(grant: &Grant) -> (Role, Option<AgentId>) {
    match *grant {
        Grant::Administrator { .. } => (Role::Administrator, None),
        Grant::Supervisor { .. } => (Role::Supervisor, None),
        Grant::Agent { agent, .. } => (Role::Agent, Some(agent)),
    }
}
