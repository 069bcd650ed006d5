//! What a node tells somebody who looks for a fault, for administrators of the whole cluster.

use axum::Json;
use axum::extract::State;

use rotary_directory::AuditTarget;

use crate::debug::Report;
use crate::gateway::audit;
use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::Caller;
use crate::gateway::problem::Problem;

/// `GET /debug`, for those who run the node.
pub(crate) async fn report(State(doors): State<Doors>) -> Json<Report> {
    Json(doors.about.report().await)
}

/// `GET /v1/debug`
pub(crate) async fn show(
    State(doors): State<Doors>,
    Caller(claims): Caller,
) -> Result<Json<Report>, Problem> {
    permit(&claims, Action::Debug)?;
    audit::note(&doors, &claims, ("debug", AuditTarget::Node(doors.node)), "done");
    Ok(Json(doors.about.report().await))
}
