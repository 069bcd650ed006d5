//! Bots, and handing over from them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use rotary_proto::bot::BotPlan;
use rotary_proto::web::Secret;
use rotary_proto::{Command, ConversationId, QueueId, SiteId};
use serde::Deserialize;

use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids, Json, Key};
use crate::gateway::list::Nothing;
use crate::gateway::problem::Problem;
use crate::gateway::queues::version;

/// A plan, or none, with what its turns are signed with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBot {
    plan: Option<BotPlan>,
    #[serde(default)]
    secret: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HandOverBody {
    #[serde(default)]
    queue: Option<QueueId>,
}

/// `PUT /v1/sites/{site}/queues/{queue}/bot`
pub(crate) async fn put(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids((site, queue)): Ids<(SiteId, QueueId)>,
    Key(key): Key,
    Json(NewBot { plan, secret }): Json<NewBot>,
) -> Result<Response, Problem> {
    let command = Command::PutBot { queue, plan, secret };
    let decided = doors.ask(&claims, key, site, command).await?;
    Ok(decided.answer(StatusCode::OK, version))
}

/// `POST /v1/conversations/{id}/hand-over`
pub(crate) async fn hand_over(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(conversation): Ids<ConversationId>,
    Key(key): Key,
    Json(HandOverBody { queue }): Json<HandOverBody>,
) -> Result<Response, Problem> {
    let command = Command::HandOver { conversation, queue };
    let decided = doors.ask(&claims, key, conversation.site, command).await?;
    Ok(decided.answer(StatusCode::OK, |_| Nothing {}))
}
