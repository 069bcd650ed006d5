//! Tenants.

use axum::Json as AxumJson;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use rotary_directory::{DirectoryCommand, DirectoryDone};
use rotary_proto::{Name, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Json, Key};
use crate::gateway::list::Page;
use crate::gateway::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    name: Name,
}

#[derive(Serialize)]
pub(crate) struct TenantJson {
    tenant: TenantId,
    name: Name,
}

/// `POST /v1/tenants`
pub(crate) async fn create(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Key(key): Key,
    Json(NewTenant { name }): Json<NewTenant>,
) -> Result<Response, Problem> {
    permit(&claims, Action::CreateTenant)?;
    let command = DirectoryCommand::CreateTenant { name };
    let decided = doors.ask_directory(&claims, key, command).await?;
    let DirectoryDone::Tenant(tenant) = decided.done else {
        return Err(Problem::other_request());
    };
    Ok(decided.answer(StatusCode::CREATED, |_| json!({ "tenant": tenant })))
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
