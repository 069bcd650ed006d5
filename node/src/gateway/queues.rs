//! Queues.

use axum::Json as AxumJson;
use axum::extract::State;
use rotary_proto::query::QueueView;
use rotary_proto::{Command, Done, QueueId, QueuePlan, SiteId};
use schemars::JsonSchema;
use serde::Serialize;

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids, Json, Key, Query};
use crate::gateway::list::{Changed, Page, Reading};
use crate::gateway::problem::Problem;
use crate::gateway::sites::unmade;

/// What storing a plan or profile says.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Version {
    /// Counts the versions of this plan or profile, from 1; absent where the key was used for
    /// something else before.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
}

/// The version that was stored.
pub(crate) fn version(done: Done) -> Version {
    match done {
        Done::Stored { version } => Version { version: Some(version) },
        _ => Version { version: None },
    }
}

/// `PUT /v1/sites/{site}/queues/{queue}`
pub(crate) async fn put(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids((site, queue)): Ids<(SiteId, QueueId)>,
    Key(key): Key,
    Json(plan): Json<QueuePlan>,
) -> Result<Changed<Version>, Problem> {
    let decided = doors.ask(&claims, key, site, Command::PutQueue { queue, plan }).await?;
    Ok(decided.answer(version))
}

/// `GET /v1/sites/{site}/queues/{queue}`
pub(crate) async fn show(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids((site, queue)): Ids<(SiteId, QueueId)>,
    Query(reading): Query<Reading>,
) -> Result<AxumJson<QueueView>, Problem> {
    permit(&claims, Action::Oversee(site))?;
    let view = doors.shard_to_read(site, reading.consistency).await?.read().queue_view(site, queue);
    view.map(AxumJson).ok_or_else(|| Problem::from(rotary_proto::Refusal::QueueUnknown))
}

/// `GET /v1/sites/{site}/queues`
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(site): Ids<SiteId>,
    Query(reading): Query<Reading>,
) -> Result<AxumJson<Page<QueueView>>, Problem> {
    permit(&claims, Action::Oversee(site))?;
    let views = doors.shard_to_read(site, reading.consistency).await?.read().queue_views(site);
    views.map(|views| AxumJson(Page::whole(views))).ok_or_else(|| unmade(site))
}
