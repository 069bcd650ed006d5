//! Tenants.

use axum::Json as AxumJson;
use axum::extract::State;
use rotary_directory::{DirectoryCommand, DirectoryDone};
use rotary_proto::{Name, TenantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Json, Key};
use crate::gateway::list::{Made, Page};
use crate::gateway::problem::Problem;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    name: Name,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Tenant")]
pub(crate) struct TenantJson {
    tenant: TenantId,
    name: Name,
}

/// A tenant that was made.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NewTenantId {
    tenant: TenantId,
}

/// `POST /v1/tenants`
pub(crate) async fn create(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Key(key): Key,
    Json(NewTenant { name }): Json<NewTenant>,
) -> Result<Made<NewTenantId>, Problem> {
    permit(&claims, Action::CreateTenant)?;
    let command = DirectoryCommand::CreateTenant { name };
    let decided = doors.ask_directory(&claims, key, command).await?;
    let DirectoryDone::Tenant(tenant) = decided.done else {
        return Err(Problem::other_request());
    };
    Ok(decided.answer(|_| NewTenantId { tenant }))
}

/// `GET /v1/tenants`
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(claims): Caller,
) -> Result<AxumJson<Page<TenantJson>>, Problem> {
    permit(&claims, Action::ListPlaces)?;
    let directory = doors.replica.directory();
    let seen = directory.tenants().filter(|row| claims.tenant.is_none_or(|own| own == row.tenant));
    let rows = seen.map(|row| TenantJson { tenant: row.tenant, name: row.name });
    Ok(AxumJson(Page::whole(rows.collect())))
}
