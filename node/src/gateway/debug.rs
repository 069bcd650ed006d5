//! What a node tells somebody who looks for a fault, for administrators of the whole cluster.

use axum::Json;
use axum::extract::State;

use crate::debug::Report;
use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::Caller;
use crate::gateway::problem::Problem;

/// `GET /v1/debug`
pub(crate) async fn show(
    State(doors): State<Doors>,
    Caller(claims): Caller,
) -> Result<Json<Report>, Problem> {
    permit(&claims, Action::Debug)?;
    Ok(Json(doors.about.report().await))
}
