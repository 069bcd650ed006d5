//! What an administrator does to the list of nodes.

use axum::extract::State;
use rotary_directory::DirectoryCommand;
use rotary_proto::NodeId;

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids, Json, Key};
use crate::gateway::identity::change;
use crate::gateway::list::{Changed, Nothing};
use crate::gateway::problem::Problem;

/// `DELETE /v1/nodes/{node}`
pub(crate) async fn forget(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(node): Ids<NodeId>,
    Key(key): Key,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Changed<Nothing>, Problem> {
    permit(&claims, Action::ForgetNode)?;
    change(&doors, &claims, key, DirectoryCommand::Forget { node }).await
}
