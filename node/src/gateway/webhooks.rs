//! Webhooks.

use axum::Json as AxumJson;
use axum::extract::State;
use rotary_proto::effect::PendingEffect;
use rotary_proto::plan::WebhookPlan;
use rotary_proto::query::WebhookView;
use rotary_proto::web::Secret;
use rotary_proto::{Command, EffectId, SiteId, WebhookId};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids, Json, Key, Query};
use crate::gateway::list::{Changed, Consistency, Page, Reading, limit};
use crate::gateway::problem::Problem;
use crate::gateway::queues::{Version, version};
use crate::gateway::sites::unmade;

/// A plan with what its messages are signed with.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWebhook {
    plan: WebhookPlan,
    #[serde(default)]
    secret: Option<Secret>,
}

/// `PUT /v1/sites/{site}/webhooks/{webhook}`
pub(crate) async fn put(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids((site, webhook)): Ids<(SiteId, WebhookId)>,
    Key(key): Key,
    Json(NewWebhook { secret, plan }): Json<NewWebhook>,
) -> Result<Changed<Version>, Problem> {
    let command = Command::PutWebhook { webhook, plan, secret };
    let decided = doors.ask(&claims, key, site, command).await?;
    Ok(decided.answer(version))
}

/// `GET /v1/sites/{site}/webhooks`
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(site): Ids<SiteId>,
    Query(reading): Query<Reading>,
) -> Result<AxumJson<Page<WebhookView>>, Problem> {
    permit(&claims, Action::Oversee(site))?;
    let views = doors.shard_to_read(site, reading.consistency).await?.read().webhook_views(site);
    views.map(|views| AxumJson(Page::whole(views))).ok_or_else(|| unmade(site))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EffectsQuery {
    after: Option<EffectId>,
    limit: Option<usize>,
    #[serde(default)]
    consistency: Consistency,
}

/// `GET /v1/sites/{site}/effects`
pub(crate) async fn effects(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(site): Ids<SiteId>,
    Query(query): Query<EffectsQuery>,
) -> Result<AxumJson<Page<PendingEffect, EffectId>>, Problem> {
    permit(&claims, Action::Oversee(site))?;
    let limit = limit(query.limit)?;
    let shard = doors.shard_to_read(site, query.consistency).await?;
    let data = shard.read().effects(site, query.after, limit).ok_or_else(|| unmade(site))?;
    let next = data.last().filter(|_| data.len() == limit).map(|effect| effect.id);
    Ok(AxumJson(Page { data, next }))
}
