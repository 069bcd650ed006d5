//! Data shards that are made while the cluster serves.

use axum::extract::State;
use rotary_directory::DirectoryCommand;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Json, Key};
use crate::gateway::identity::change;
use crate::gateway::list::{Changed, Nothing};
use crate::gateway::problem::Problem;

/// How many data shards there are to be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shards {
    /// No fewer than there are, and at most 1 024.
    shards: u32,
}

/// `PUT /v1/cluster/shards`
pub(crate) async fn add(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Key(key): Key,
    Json(Shards { shards }): Json<Shards>,
) -> Result<Changed<Nothing>, Problem> {
    permit(&claims, Action::ChangeNodes)?;
    change(&doors, &claims, key, DirectoryCommand::AddShards { shards }).await
}
