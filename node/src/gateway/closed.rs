//! Conversations that are over, by queue, agent, customer and time.

use axum::Json as AxumJson;
use axum::extract::State;
use rotary_proto::query::ConversationView;
use rotary_proto::{AgentId, CustomerId, QueueId, SiteId, Wall};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::archive::{ClosedCursor, ClosedFilter, ClosedRow};
use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::events::blocking;
use crate::gateway::extract::{Caller, Query};
use crate::gateway::list::{Consistency, Page, limit};
use crate::gateway::problem::Problem;
use crate::gateway::token::{Claims, Role};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClosedQuery {
    site: Option<SiteId>,
    queue: Option<QueueId>,
    agent: Option<AgentId>,
    customer: Option<CustomerId>,
    #[serde(default)]
    from: u64,
    to: Option<u64>,
    after: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    consistency: Consistency,
}

/// A conversation that is over, and when it closed.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ClosedConversation")]
pub(crate) struct ClosedJson {
    #[serde(flatten)]
    view: ConversationView,
    closed: Wall,
}

/// `GET /v1/conversations`
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Query(query): Query<ClosedQuery>,
) -> Result<AxumJson<Page<ClosedJson>>, Problem> {
    let limit = limit(query.limit)?;
    let after = query.after.as_deref().map(str::parse::<ClosedCursor>).transpose();
    let after = after.map_err(|error| Problem::bad_value(format!("after: {error}")))?;
    let site = query.site.or(claims.site);
    let site = site.ok_or_else(|| Problem::bad_value("site: say whose conversations"))?;
    let filter = allowed(&claims, site, &query)?;
    doors.shard_to_read(site, query.consistency).await?;
    let replica = doors.replica.clone();
    let page = blocking(move || replica.closed(site, &filter, after, limit)).await?;
    let row = |ClosedRow { view, closed }: ClosedRow| ClosedJson { view, closed };
    let data = page.rows.into_iter().map(row).collect();
    Ok(AxumJson(Page { data, next: page.next.map(|next| next.to_string()) }))
}

/// What is asked for, as far as the asker may: agents and customers see their own.
fn allowed(claims: &Claims, site: SiteId, query: &ClosedQuery) -> Result<ClosedFilter, Problem> {
    let (mut agent, mut customer) = (query.agent, query.customer);
    match claims.role {
        Role::Agent if agent.is_none() || agent == claims.agent => {
            permit(claims, Action::SeeNames(site))?;
            agent = claims.agent;
        }
        Role::Customer if customer.is_none() || customer == claims.customer => {
            permit(claims, Action::SeeNames(site))?;
            customer = claims.customer;
        }
        _ => permit(claims, Action::Oversee(site))?,
    }
    let nobody = claims.role == Role::Agent && agent.is_none()
        || claims.role == Role::Customer && customer.is_none();
    if nobody {
        return Err(Problem::not_allowed("the token says nobody's name"));
    }
    let (from, to) = (Wall(query.from), query.to.map(Wall));
    Ok(ClosedFilter { queue: query.queue, agent, customer, from, to })
}
