//! API keys: credentials for programs, good until they expire or are revoked.

use axum::Json as AxumJson;
use axum::extract::State;
use rotary_directory::{ApiKey, Credential, DirectoryCommand, DirectoryDone};
use rotary_proto::{AgentId, ApiKeyId, Name, PrincipalId, SiteId, TenantId, Wall};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::{DIRECTORY_PATIENCE, Doors};
use crate::gateway::extract::{Caller, Ids, Json, Key, Query};
use crate::gateway::identity::{change, claims_of, grant_of, may_handle, role_of};
use crate::gateway::list::{Changed, Made, Nothing, Page, limit};
use crate::gateway::problem::Problem;
use crate::gateway::secret::{Secret, key_text, same};
use crate::gateway::token::{Role, unix_ms, unix_s};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApiKey {
    name: Name,
    role: Role,
    #[serde(default)]
    tenant: Option<TenantId>,
    #[serde(default)]
    site: Option<SiteId>,
    #[serde(default)]
    agent: Option<AgentId>,
    /// Seconds since 1970.
    #[serde(default)]
    expires_at: Option<u64>,
    #[serde(default)]
    secret: Option<Secret>,
}

/// An API key as lists show it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ApiKey")]
pub(crate) struct ApiKeyJson {
    api_key: ApiKeyId,
    name: Name,
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<SiteId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentId>,
    principal: PrincipalId,
    created: Wall,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    revoked: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKeysQuery {
    after: Option<ApiKeyId>,
    limit: Option<usize>,
}

/// A key that was made: the only answer with its secret.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ShownApiKey {
    api_key: ApiKeyId,
    /// Null where the gateway made the secret and this is the answer to a retry.
    key: Option<String>,
}

/// `POST /v1/api-keys`
///
/// A retry is answered with the same key where the client brought the secret; where the gateway
/// made it, it was in the first answer and is in no other.
pub(crate) async fn create(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Key(key): Key,
    Json(body): Json<NewApiKey>,
) -> Result<Made<ShownApiKey>, Problem> {
    let NewApiKey { name, role, tenant, site, agent, expires_at, secret } = body;
    let grant = grant_of(role, tenant, site, agent)?;
    let nobody = claims_of(&grant, PrincipalId(0), Credential::ApiKey(ApiKeyId(0)), 0);
    permit(&claims, Action::Grant(&nobody))?;
    if expires_at.is_some_and(|at| at <= unix_s()) {
        return Err(Problem::bad_value("expires_at: it has passed already"));
    }
    let expires = expires_at.map(|s| Wall(s.saturating_mul(1_000)));
    let secret = secret.map_or_else(Secret::random, Ok);
    let secret = secret.map_err(|error| Problem::unavailable(error.to_string()))?;
    let (hash, created) = (secret.hash(), Wall(unix_ms()));
    let command = DirectoryCommand::CreateApiKey { grant, name, hash, created, expires };
    let decided = doors.ask_directory(&claims, key, command).await?;
    let DirectoryDone::ApiKey { key: id, .. } = decided.done else {
        return Err(Problem::other_request());
    };
    // What is shown is what the directory kept: the secret of another attempt is not.
    let kept = doors.replica.find(DIRECTORY_PATIENCE, |directory| {
        directory.api_key(id).map(|kept| same(&kept.hash, &hash))
    });
    let shown = !decided.repeated || kept.await == Some(true);
    let text = shown.then(|| key_text(id, &secret));
    Ok(decided.answer(|_| ShownApiKey { api_key: id, key: text }))
}

/// `GET /v1/api-keys`
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Query(query): Query<ApiKeysQuery>,
) -> Result<AxumJson<Page<ApiKeyJson>>, Problem> {
    permit(&claims, Action::ListCredentials)?;
    let limit = limit(query.limit)?;
    let directory = doors.replica.directory();
    let after = directory.api_keys().filter(|(id, _)| query.after.is_none_or(|after| *id > after));
    let seen =
        after.filter(|(_, key)| permit(&claims, Action::HandleCredential(&key.grant)).is_ok());
    let data: Vec<ApiKeyJson> = seen.take(limit).map(row).collect();
    let next = data.last().filter(|_| data.len() == limit).map(|row| row.api_key.to_string());
    Ok(AxumJson(Page { data, next }))
}

fn row((api_key, key): (ApiKeyId, &ApiKey)) -> ApiKeyJson {
    let (role, agent) = role_of(&key.grant);
    ApiKeyJson {
        api_key,
        name: key.name.clone(),
        role,
        tenant: key.grant.tenant(),
        site: key.grant.site(),
        agent,
        principal: key.principal,
        created: key.created,
        expires_at: key.expires.map(|wall| wall.0 / 1_000),
        revoked: key.revoked,
    }
}

/// `DELETE /v1/api-keys/{key}`
pub(crate) async fn revoke(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(id): Ids<ApiKeyId>,
    Key(key): Key,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Changed<Nothing>, Problem> {
    let missing = || format!("there is no API key {id}");
    may_handle(&doors, &claims, |directory| Some(directory.api_key(id)?.grant), missing).await?;
    change(&doors, &claims, key, DirectoryCommand::RevokeApiKey { key: id }).await
}
