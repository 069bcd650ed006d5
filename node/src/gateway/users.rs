//! Users: people who sign in with a login and a password.

use axum::Json as AxumJson;
use axum::extract::State;
use rotary_directory::{Credential, DirectoryCommand, DirectoryDone, User};
use rotary_proto::{AgentId, Name, PrincipalId, SiteId, TenantId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids, Json, Key, Query};
use crate::gateway::identity::{change, claims_of, grant_of, may_handle, role_of};
use crate::gateway::list::{Changed, Made, Nothing, Page, limit};
use crate::gateway::login::{folded, wrong_password};
use crate::gateway::password::Password;
use crate::gateway::problem::Problem;
use crate::gateway::token::{Claims, Role};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    login: Name,
    password: Password,
    role: Role,
    #[serde(default)]
    tenant: Option<TenantId>,
    #[serde(default)]
    site: Option<SiteId>,
    #[serde(default)]
    agent: Option<AgentId>,
}

/// A user as lists show them.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "User")]
pub(crate) struct UserJson {
    user: UserId,
    login: Name,
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<SiteId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentId>,
    principal: PrincipalId,
    disabled: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsersQuery {
    after: Option<UserId>,
    limit: Option<usize>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    password: Password,
    #[serde(default)]
    current: Option<Password>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disabled {
    disabled: bool,
}

/// A user that was made.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NewUserId {
    user: UserId,
}

/// `POST /v1/users`
pub(crate) async fn create(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Key(key): Key,
    Json(body): Json<NewUser>,
) -> Result<Made<NewUserId>, Problem> {
    let NewUser { login, password, role, tenant, site, agent } = body;
    let grant = grant_of(role, tenant, site, agent)?;
    let nobody = Credential::User { user: UserId(0), epoch: 0 };
    permit(&claims, Action::Grant(&claims_of(&grant, PrincipalId(0), nobody, 0)))?;
    let login = folded(&login)?;
    let hash = doors.passwords.hash(password).await?;
    let command = DirectoryCommand::CreateUser { grant, login, hash };
    let decided = doors.ask_directory(&claims, key, command).await?;
    let DirectoryDone::User { user, .. } = decided.done else {
        return Err(Problem::other_request());
    };
    Ok(decided.answer(|_| NewUserId { user }))
}

/// `GET /v1/users`
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Query(query): Query<UsersQuery>,
) -> Result<AxumJson<Page<UserJson>>, Problem> {
    permit(&claims, Action::ListCredentials)?;
    let limit = limit(query.limit)?;
    let directory = doors.replica.directory();
    let after = directory.users().filter(|(id, _)| query.after.is_none_or(|after| *id > after));
    let may = |user: &User| permit(&claims, Action::HandleCredential(&user.grant)).is_ok();
    let seen = after.filter(|(_, user)| may(user));
    let data: Vec<UserJson> = seen.take(limit).map(row).collect();
    let next = data.last().filter(|_| data.len() == limit).map(|row| row.user.to_string());
    Ok(AxumJson(Page { data, next }))
}

fn row((id, user): (UserId, &User)) -> UserJson {
    let (role, agent) = role_of(&user.grant);
    UserJson {
        user: id,
        login: user.login.clone(),
        role,
        tenant: user.grant.tenant(),
        site: user.grant.site(),
        agent,
        principal: user.principal,
        disabled: user.disabled,
    }
}

/// `PUT /v1/users/{user}/password`
///
/// Users set their own if they know the one they have; administrators set others'.
pub(crate) async fn set_password(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(id): Ids<UserId>,
    Key(key): Key,
    Json(body): Json<NewPassword>,
) -> Result<Changed<Nothing>, Problem> {
    let NewPassword { password, current } = body;
    match claims.by {
        Some(Credential::User { user, .. }) if user == id => {
            let wanted = || Problem::bad_value("current: say the password that you have");
            confirm(&doors, id, current.ok_or_else(wanted)?).await?;
        }
        _ => handled(&doors, &claims, id).await?,
    }
    let hash = doors.passwords.hash(password).await?;
    change(&doors, &claims, key, DirectoryCommand::SetPassword { user: id, hash }).await
}

/// Makes sure that a user knows their own password: a token that was stolen is not enough.
async fn confirm(doors: &Doors, id: UserId, current: Password) -> Result<(), Problem> {
    doors.logins.allow(&id)?;
    let hash = doors.replica.directory().user(id).map(|user| user.hash.clone());
    if !doors.passwords.judge(current, hash).await? {
        return Err(wrong_password());
    }
    doors.logins.forgive(&id);
    Ok(())
}

/// `PUT /v1/users/{user}/disabled`
pub(crate) async fn set_disabled(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(id): Ids<UserId>,
    Key(key): Key,
    Json(Disabled { disabled }): Json<Disabled>,
) -> Result<Changed<Nothing>, Problem> {
    handled(&doors, &claims, id).await?;
    change(&doors, &claims, key, DirectoryCommand::SetDisabled { user: id, disabled }).await
}

/// Makes sure that somebody may change a user; one whom they may not is not there for them.
async fn handled(doors: &Doors, claims: &Claims, id: UserId) -> Result<(), Problem> {
    let missing = || format!("there is no user {id}");
    may_handle(doors, claims, |directory| Some(directory.user(id)?.grant), missing).await
}
