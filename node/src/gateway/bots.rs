//! Bots, and handing over from them.

use axum::extract::State;
use rotary_proto::bot::BotPlan;
use rotary_proto::web::Secret;
use rotary_proto::{Command, ConversationId, QueueId, SiteId};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids, Json, Key};
use crate::gateway::list::{Changed, Nothing};
use crate::gateway::problem::Problem;
use crate::gateway::queues::{Version, version};

/// A plan, or none, with what its turns are signed with.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBot {
    plan: Option<BotPlan>,
    #[serde(default)]
    secret: Option<Secret>,
}

#[derive(Deserialize, JsonSchema)]
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
) -> Result<Changed<Version>, Problem> {
    let command = Command::PutBot { queue, plan, secret };
    let decided = doors.ask(&claims, key, site, command).await?;
    Ok(decided.answer(version))
}

/// `POST /v1/conversations/{id}/hand-over`
pub(crate) async fn hand_over(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(conversation): Ids<ConversationId>,
    Key(key): Key,
    Json(HandOverBody { queue }): Json<HandOverBody>,
) -> Result<Changed<Nothing>, Problem> {
    let command = Command::HandOver { conversation, queue };
    let decided = doors.ask(&claims, key, conversation.site, command).await?;
    Ok(decided.answer(|_| Nothing {}))
}
