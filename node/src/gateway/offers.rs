//! Offers: what an agent answers to one.

use axum::extract::State;
use rotary_proto::{Command, ConversationId, Done, OfferId, ReasonId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids, Json, Key};
use crate::gateway::list::{Changed, Nothing};
use crate::gateway::problem::Problem;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeclineBody {
    #[serde(default)]
    reason: Option<ReasonId>,
}

/// What came of an offer.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Leg {
    /// Counts the conversation's assignments, from 1; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    leg: Option<u32>,
}

fn leg(done: Done) -> Leg {
    match done {
        Done::Accepted { leg, .. } => Leg { leg: Some(leg) },
        _ => Leg { leg: None },
    }
}

/// `POST /v1/conversations/{id}/offers/{offer}/accept`
pub(crate) async fn accept(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids((conversation, offer)): Ids<(ConversationId, OfferId)>,
    Key(key): Key,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Changed<Leg>, Problem> {
    let command = Command::Accept { conversation, offer };
    let decided = doors.ask(&claims, key, conversation.site, command).await?;
    Ok(decided.answer(leg))
}

/// `POST /v1/conversations/{id}/offers/{offer}/decline`
pub(crate) async fn decline(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids((conversation, offer)): Ids<(ConversationId, OfferId)>,
    Key(key): Key,
    Json(DeclineBody { reason }): Json<DeclineBody>,
) -> Result<Changed<Leg>, Problem> {
    let command = Command::Decline { conversation, offer, reason };
    let decided = doors.ask(&claims, key, conversation.site, command).await?;
    Ok(decided.answer(leg))
}
