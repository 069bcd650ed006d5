//! From what a client shows to who it is: a token that was signed, or an API key.
//!
//! Every node answers from its own replica of the directory, so a revocation holds on a node from
//! the moment at which that has applied it. A key that is shown a moment after another node made it
//! is waited for; one that is wrong is waited for as long, so that nobody learns which exist.

use std::time::Duration;

use rotary_directory::{ApiKey, Credential, Directory, DirectoryCommand, DirectoryDone, Grant};
use rotary_proto::{AgentId, ApiKeyId, PrincipalId, RequestId, SiteId, TenantId};

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::{DIRECTORY_PATIENCE, Doors};
use crate::gateway::list::{Changed, Nothing};
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
    let look = |directory: &Directory| directory.api_key(id).filter(right).map(claims_of_key(id));
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
    Claims { role, tenant, site, agent, customer, principal, by, exp, address: None }
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
    let tenant = tenant_of(role, tenant, site, agent)?;
    match (role, tenant, site, agent) {
        (Role::Administrator, ..) => Ok(Grant::Administrator { tenant, site }),
        (Role::Supervisor, Some(tenant), ..) => Ok(Grant::Supervisor { tenant, site }),
        (Role::Supervisor, ..) => Err(wrong("tenant", "supervisors belong to one")),
        (Role::Agent, _, Some(site), Some(agent)) => Ok(Grant::Agent { site, agent }),
        (Role::Agent, ..) => Err(wrong("site", "agents belong to one")),
        (Role::Customer | Role::Board, ..) => {
            Err(wrong("role", "customers and boards come with tokens: POST /v1/tokens"))
        }
    }
}

/// The tenant that a credential or token is to be of, where role, site and agent fit to it.
///
/// # Errors
/// `bad-value` where they do not.
pub(crate) fn tenant_of(
    role: Role,
    tenant: Option<TenantId>,
    site: Option<SiteId>,
    agent: Option<AgentId>,
) -> Result<Option<TenantId>, Problem> {
    let tenant = tenant.or(site.map(|site| site.tenant));
    if site.is_some_and(|site| Some(site.tenant) != tenant) {
        return Err(wrong("site", "it belongs to another tenant"));
    }
    if agent.is_some() != (role == Role::Agent) {
        return Err(wrong("agent", "the role agent needs it, no other takes it"));
    }
    Ok(tenant)
}

/// The refusal of a field.
pub(crate) fn wrong(field: &str, rule: &str) -> Problem {
    Problem::bad_value(format!("{field}: {rule}"))
}

/// Makes sure that somebody may change a credential; one that they may not is not there for them.
///
/// # Errors
/// `not-allowed`; `not-found` with what `missing` says.
pub(crate) async fn may_handle(
    doors: &Doors,
    claims: &Claims,
    grant: impl Fn(&Directory) -> Option<Grant>,
    missing: impl FnOnce() -> String,
) -> Result<(), Problem> {
    permit(claims, Action::ListCredentials)?;
    let ours = doors.replica.find(DIRECTORY_PATIENCE, |directory| {
        permit(claims, Action::HandleCredential(&grant(directory)?)).ok()
    });
    ours.await.ok_or_else(|| Problem::not_found(missing()))
}

/// Changes a credential.
///
/// # Errors
/// What the directory refuses.
pub(crate) async fn change(
    doors: &Doors,
    claims: &Claims,
    key: RequestId,
    command: DirectoryCommand,
) -> Result<Changed<Nothing>, Problem> {
    let decided = doors.ask_directory(claims, key, command).await?;
    if decided.done != DirectoryDone::Ok {
        return Err(Problem::other_request());
    }
    Ok(decided.answer(|_| Nothing {}))
}

/// The role of a grant, and as which agent.
pub(crate) fn role_of(grant: &Grant) -> (Role, Option<AgentId>) {
    match *grant {
        Grant::Administrator { .. } => (Role::Administrator, None),
        Grant::Supervisor { .. } => (Role::Supervisor, None),
        Grant::Agent { agent, .. } => (Role::Agent, Some(agent)),
    }
}
