//! Agents.

use axum::Json as AxumJson;
use axum::extract::State;
use rotary_proto::query::AgentView;
use rotary_proto::{AgentId, AgentProfile, Command, Declared, Refusal, SiteId};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids, Json, Key, Query};
use crate::gateway::list::{Changed, Nothing, Page, Paging, Reading, limit};
use crate::gateway::problem::Problem;
use crate::gateway::queues::{Version, version};
use crate::gateway::sites::unmade;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateBody {
    declared: Declared,
}

/// `PUT /v1/sites/{site}/agents/{agent}`
pub(crate) async fn put(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids((site, agent)): Ids<(SiteId, AgentId)>,
    Key(key): Key,
    Json(profile): Json<AgentProfile>,
) -> Result<Changed<Version>, Problem> {
    let decided = doors.ask(&claims, key, site, Command::PutAgent { agent, profile }).await?;
    Ok(decided.answer(version))
}

/// `PUT /v1/sites/{site}/agents/{agent}/state`
pub(crate) async fn declare(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids((site, agent)): Ids<(SiteId, AgentId)>,
    Key(key): Key,
    Json(StateBody { declared }): Json<StateBody>,
) -> Result<Changed<Nothing>, Problem> {
    let decided = doors.ask(&claims, key, site, Command::Declare { agent, declared }).await?;
    Ok(decided.answer(|_| Nothing {}))
}

/// `GET /v1/sites/{site}/agents/{agent}`
pub(crate) async fn show(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids((site, agent)): Ids<(SiteId, AgentId)>,
    Query(reading): Query<Reading>,
) -> Result<AxumJson<AgentView>, Problem> {
    permit(&claims, Action::SeeAgent(site, agent))?;
    let view = doors.shard_to_read(site, reading.consistency).await?.read().agent_view(site, agent);
    view.map(AxumJson).ok_or_else(|| Problem::from(Refusal::AgentUnknown))
}

/// `GET /v1/sites/{site}/agents`
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(site): Ids<SiteId>,
    Query(paging): Query<Paging>,
) -> Result<AxumJson<Page<AgentView>>, Problem> {
    permit(&claims, Action::Oversee(site))?;
    let limit = limit(paging.limit)?;
    let after = paging.after.map(|text| text.parse::<AgentId>()).transpose();
    let after = after.map_err(|error| Problem::bad_value(format!("after: {error}")))?;
    let shard = doors.shard_to_read(site, paging.consistency).await?;
    let views = shard.read().agent_views(site, after, limit);
    let data = views.ok_or_else(|| unmade(site))?;
    let next = data.last().filter(|_| data.len() == limit).map(|view| view.agent.to_string());
    Ok(AxumJson(Page { data, next }))
}
