//! Conversations: opening, reading, writing to and ending them.

use axum::Json as AxumJson;
use axum::extract::State;
use axum::http::StatusCode;
use rotary_proto::plan::RequiredSkill;
use rotary_proto::query::{ConversationView, Stage};
use rotary_proto::values::Item;
use rotary_proto::{
    Attributes, Channel, Command, ConversationId, CustomerId, DispositionId, Done, EventRecord,
    MailParty, Priority, QueueId, Refusal, Sealed, ShardId, SiteId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::archive::over;
use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::events::read_story;
use crate::gateway::extract::{Caller, Ids, Json, Key, Query};
use crate::gateway::list::{Changed, Consistency, Made, Nothing, Page, Paging, Reading, limit};
use crate::gateway::problem::Problem;
use crate::gateway::sites::unmade;
use crate::gateway::token::{Claims, Role};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenBody {
    #[serde(default)]
    conversation: Option<ConversationId>,
    queue: QueueId,
    channel: Channel,
    #[serde(default)]
    priority: Option<Priority>,
    #[serde(default)]
    skills: Vec<RequiredSkill>,
    #[serde(default)]
    customer: Option<CustomerId>,
    #[serde(default)]
    attributes: Attributes,
    #[serde(default)]
    item: Option<Item>,
    #[serde(default)]
    mail: Option<Box<MailParty>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostBody {
    item: Item,
    #[serde(default)]
    note: bool,
    #[serde(default)]
    seen_to: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequeueBody {
    #[serde(default)]
    queue: Option<QueueId>,
    #[serde(default)]
    priority: Option<Priority>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrapUpBody {
    #[serde(default)]
    disposition: Option<DispositionId>,
    #[serde(default)]
    note: Option<Sealed>,
}

/// A conversation that was opened.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Opened {
    conversation: ConversationId,
}

/// `POST /v1/sites/{site}/conversations`
///
/// A conversation without an id gets the request's key for one, so that a retry names the same.
pub(crate) async fn open(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(site): Ids<SiteId>,
    Key(key): Key,
    Json(body): Json<OpenBody>,
) -> Result<Made<Opened>, Problem> {
    let conversation = body.conversation.unwrap_or(ConversationId::new(site, key.0));
    let customer = body.customer.or(claims.customer);
    let OpenBody { queue, channel, priority, skills, attributes, item, mail, .. } = body;
    let command = Command::Open {
        conversation,
        queue,
        channel,
        priority,
        skills,
        customer,
        attributes,
        item,
        mail,
    };
    let decided = doors.ask(&claims, key, site, command).await?;
    Ok(decided.answer(|_| Opened { conversation }))
}

/// `GET /v1/sites/{site}/conversations`
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(site): Ids<SiteId>,
    Query(paging): Query<Paging>,
) -> Result<AxumJson<Page<ConversationView>>, Problem> {
    let limit = limit(paging.limit)?;
    let after = paging.after.map(|text| text.parse::<ConversationId>()).transpose();
    let after = after.map_err(|error| Problem::bad_value(format!("after: {error}")))?;
    if let (Role::Customer, Some(customer)) = (claims.role, claims.customer) {
        permit(&claims, Action::SeeNames(site))?;
        let shard = doors.shard_to_read(site, paging.consistency).await?;
        let mut data = shard.read().customer_conversations(site, customer);
        data.retain(|view| after.is_none_or(|after| view.conversation > after));
        data.truncate(limit);
        return Ok(page(data, limit));
    }
    permit(&claims, Action::Oversee(site))?;
    let shard = doors.shard_to_read(site, paging.consistency).await?;
    let views = shard.read().conversation_views(site, after.map(|id| id.unique), limit);
    Ok(page(views.ok_or_else(|| unmade(site))?, limit))
}

fn page(data: Vec<ConversationView>, limit: usize) -> AxumJson<Page<ConversationView>> {
    let next = data.last().filter(|_| data.len() == limit);
    let next = next.map(|view| view.conversation.to_string());
    AxumJson(Page { data, next })
}

/// A conversation that the asker may see, live or over.
pub(crate) async fn find(
    doors: &Doors,
    claims: &Claims,
    id: ConversationId,
    consistency: Consistency,
) -> Result<ConversationView, Problem> {
    // Whether it exists is not told before it is known that the site is the asker's.
    permit(claims, Action::SeeConversation(id.site, None))?;
    let shard = doors.shard_to_read(id.site, consistency).await?;
    let hot = shard.read().conversation_view(id);
    let view = match hot {
        Some(view) if view.stage != Stage::Closed => view,
        _ => {
            let story = read_story(doors, id, usize::MAX).await?;
            over(id, &story).or(hot).ok_or_else(|| missing(doors, shard.id, id, &story))?
        }
    };
    permit(claims, Action::SeeConversation(id.site, Some(&view)))?;
    Ok(view)
}

/// Why a conversation cannot be shown that is not live: there is none, or only its end is left.
pub(crate) fn missing(
    doors: &Doors,
    shard: ShardId,
    id: ConversationId,
    story: &[EventRecord],
) -> Problem {
    if !story.is_empty() {
        return forgotten(id);
    }
    let mut unknown = Problem::from(Refusal::ConversationUnknown);
    if doors.replica.journal().first_index(shard.0) > 0 {
        unknown.detail.push_str(", or it is older than what this cluster keeps");
    }
    unknown
}

/// There was such a conversation, and what it began with has been dropped.
pub(crate) fn forgotten(id: ConversationId) -> Problem {
    let detail = format!("the beginning of {id} is older than what this cluster keeps");
    Problem::new(StatusCode::GONE, "forgotten", detail)
}

/// `GET /v1/conversations/{id}`
pub(crate) async fn show(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(id): Ids<ConversationId>,
    Query(reading): Query<Reading>,
) -> Result<AxumJson<ConversationView>, Problem> {
    find(&doors, &claims, id, reading.consistency).await.map(AxumJson)
}

/// `POST /v1/conversations/{id}/messages`
pub(crate) async fn post(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(conversation): Ids<ConversationId>,
    Key(key): Key,
    Json(PostBody { item, note, seen_to }): Json<PostBody>,
) -> Result<Made<Ordinal>, Problem> {
    let command = Command::Post { conversation, item, note, seen_to };
    let decided = doors.ask(&claims, key, conversation.site, command).await?;
    Ok(decided.answer(ordinal))
}

/// Where an item came.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Ordinal {
    /// Its place in the conversation, from 1; absent where the key was used for something else
    /// before.
    #[serde(skip_serializing_if = "Option::is_none")]
    ordinal: Option<u32>,
}

fn ordinal(done: Done) -> Ordinal {
    match done {
        Done::Posted { ordinal } => Ordinal { ordinal: Some(ordinal) },
        _ => Ordinal { ordinal: None },
    }
}

/// Something to do to a conversation that needs no words.
pub(crate) trait Deed {
    /// The command that does it.
    fn command(conversation: ConversationId) -> Command;
}

macro_rules! deed {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        pub(crate) struct $name;
        impl Deed for $name {
            fn command(conversation: ConversationId) -> Command {
                Command::$name { conversation }
            }
        }
    };
}

deed!(Hold, "Puts the customer on hold.");
deed!(Retrieve, "Ends the hold.");
deed!(Close, "Ends it for the agent.");
deed!(Abandon, "Ends it for the customer.");

/// `POST /v1/conversations/{id}/hold` and its like
pub(crate) async fn perform<D: Deed>(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(conversation): Ids<ConversationId>,
    Key(key): Key,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Changed<Nothing>, Problem> {
    let decided = doors.ask(&claims, key, conversation.site, D::command(conversation)).await?;
    Ok(decided.answer(|_| Nothing {}))
}

/// `POST /v1/conversations/{id}/requeue`
pub(crate) async fn requeue(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(conversation): Ids<ConversationId>,
    Key(key): Key,
    Json(RequeueBody { queue, priority }): Json<RequeueBody>,
) -> Result<Changed<Nothing>, Problem> {
    let command = Command::Requeue { conversation, queue, priority };
    let decided = doors.ask(&claims, key, conversation.site, command).await?;
    Ok(decided.answer(|_| Nothing {}))
}

/// `POST /v1/conversations/{id}/wrap-up`
pub(crate) async fn wrap_up(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(conversation): Ids<ConversationId>,
    Key(key): Key,
    Json(WrapUpBody { disposition, note }): Json<WrapUpBody>,
) -> Result<Changed<Nothing>, Problem> {
    let command = Command::WrapUp { conversation, disposition, note };
    let decided = doors.ask(&claims, key, conversation.site, command).await?;
    Ok(decided.answer(|_| Nothing {}))
}
