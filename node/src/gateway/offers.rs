//! Offers: what an agent answers to one.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use rotary_proto::{Command, ConversationId, Done, OfferId, ReasonId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids, Json, Key};
use crate::gateway::list::Nothing;
use crate::gateway::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeclineBody {
    #[serde(default)]
    reason: Option<ReasonId>,
}

fn leg(done: Done) -> Value {
    match done {
        Done::Accepted { leg, .. } => json!({ "leg": leg }),
        _ => json!({}),
    }
}

/// `POST /v1/conversations/{id}/offers/{offer}/accept`
pub(crate) async fn accept(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids((conversation, offer)): Ids<(ConversationId, OfferId)>,
    Key(key): Key,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Response, Problem> {
    let command = Command::Accept { conversation, offer };
    let decided = doors.ask(&claims, key, conversation.site, command).await?;
    Ok(decided.answer(StatusCode::OK, leg))
}

/// `POST /v1/conversations/{id}/offers/{offer}/decline`
pub(crate) async fn decline(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids((conversation, offer)): Ids<(ConversationId, OfferId)>,
    Key(key): Key,
    Json(DeclineBody { reason }): Json<DeclineBody>,
) -> Result<Response, Problem> {
    let command = Command::Decline { conversation, offer, reason };
    let decided = doors.ask(&claims, key, conversation.site, command).await?;
    Ok(decided.answer(StatusCode::OK, leg))
}
