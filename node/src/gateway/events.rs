//! What this node's own replica has recorded: a site's events, a conversation's story and words.

use std::collections::BTreeMap;

use axum::Json as AxumJson;
use axum::extract::State;
use axum::http::StatusCode;
use rotary_proto::effect::EffectOutcome;
use rotary_proto::event::{Author, Viewer};
use rotary_proto::query::Stage;
use rotary_proto::{
    Body, ConversationId, Cursor, EffectId, Event, EventRecord, ItemId, SiteId, Stamp, Wall,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::archive::over;
use crate::feed::Position;
use crate::gateway::authority::{Action, permit, viewer};
use crate::gateway::conversations::{find, forgotten, missing};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids, Query};
use crate::gateway::health::NODE_HEADER;
use crate::gateway::list::{Consistency, Page, Reading, limit};
use crate::gateway::problem::Problem;
use crate::gateway::token::{Claims, Role};
use crate::replica::ReadError;

/// Events that one question may look through.
const LOOK_MAX: usize = 8_192;

/// An event as the API shows it: without its audience.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EventRow")]
pub(crate) struct EventJson {
    cursor: Cursor,
    index: u64,
    stamp: Stamp,
    wall: Wall,
    event: Event,
}

impl From<EventRecord> for EventJson {
    fn from(record: EventRecord) -> Self {
        let EventRecord { site, sequence, index, stamp, wall, event, .. } = record;
        Self { cursor: Cursor { site, sequence }, index, stamp, wall, event }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    viewer: Option<String>,
    #[serde(default)]
    consistency: Consistency,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct EventsPage {
    data: Vec<EventJson>,
    through: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessagesQuery {
    #[serde(default)]
    after: u32,
    limit: Option<usize>,
    #[serde(default)]
    consistency: Consistency,
}

/// A message or note as the API shows it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Message")]
pub(crate) struct MessageJson {
    ordinal: u32,
    item: ItemId,
    author: Author,
    note: bool,
    body: Body,
    wall: Wall,
    /// How the mail came out that carries it to the customer, where one does; customers are not
    /// told.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Delivery>,
}

/// What became of the mail that carries a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Delivery {
    /// It waits to be sent, or is being sent.
    Pending,
    /// The relay took it.
    Sent,
    /// It was not sent, and will not be.
    NotSent,
    /// Nobody can know.
    Unknown,
}

impl From<EffectOutcome> for Delivery {
    fn from(outcome: EffectOutcome) -> Self {
        match outcome {
            EffectOutcome::Sent => Self::Sent,
            EffectOutcome::NotSent => Self::NotSent,
            EffectOutcome::Unknown => Self::Unknown,
        }
    }
}

fn read_viewer(text: &str) -> Result<Viewer, Problem> {
    let wrong = |_| {
        Problem::bad_value("viewer: `supervisor`, `agent:ag_1` or `customer:cu_<32 hex>` expected")
    };
    match text.split_once(':') {
        None if text == "supervisor" => Ok(Viewer::Supervisor),
        Some(("agent", id)) => id.parse().map(Viewer::Agent).map_err(wrong),
        Some(("customer", id)) => id.parse().map(Viewer::Customer).map_err(wrong),
        _ => Err(wrong("".parse::<SiteId>().expect_err("empty is no id"))),
    }
}

/// `GET /v1/sites/{site}/events`
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(site): Ids<SiteId>,
    Query(query): Query<EventsQuery>,
) -> Result<([(&'static str, String); 1], AxumJson<EventsPage>), Problem> {
    let wanted = query.viewer.as_deref().map(read_viewer).transpose()?;
    let viewer = wanted.unwrap_or_else(|| viewer(&claims));
    permit(&claims, Action::Read(site, viewer))?;
    let limit = limit(query.limit)?;
    doors.shard_to_read(site, query.consistency).await?;
    let replica = doors.replica.clone();
    let read = move || {
        let mut position = Position::after(viewer, site, query.after);
        let (mut data, mut looked) = (Vec::new(), 0);
        while data.len() < limit && looked < LOOK_MAX {
            let page = replica.page(viewer, site, position.sequence(), limit)?;
            if page.through == position.sequence() {
                break;
            }
            looked += page.events.len();
            for record in page.events {
                if data.len() < limit && position.pass(&record) {
                    data.push(EventJson::from(record));
                }
            }
            if data.len() < limit {
                position.reach(page.through);
            }
        }
        Ok::<_, ReadError>(EventsPage { data, through: position.sequence() })
    };
    let page = blocking(read).await?;
    Ok(([(NODE_HEADER, doors.node.to_string())], AxumJson(page)))
}

/// Reads from the journal, which may mean the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, Problem> {
    let read = crate::blocking::run(read).await;
    let read = read.map_err(|error| Problem::unavailable(error.to_string()))?;
    read.map_err(|error| match &error {
        ReadError::Indexing { .. } | ReadError::Behind { .. } => {
            Problem::unavailable(format!("{error}; ask another node, or this one later"))
                .after(1_000)
        }
        error if error.is_forgotten() => Problem::new(
            StatusCode::GONE,
            "forgotten",
            format!("{error}; begin there or from the present state"),
        ),
        error => {
            tracing::error!(code = "journal-unreadable", %error, "the journal cannot be read");
            Problem::unavailable("this node cannot read its journal; ask another node")
        }
    })
}

/// The events of a conversation that this node knows, in order.
pub(crate) async fn read_story(
    doors: &Doors,
    id: ConversationId,
    limit: usize,
) -> Result<Vec<EventRecord>, Problem> {
    doors.shard_of(id.site).await?;
    let replica = doors.replica.clone();
    blocking(move || replica.story(id, limit)).await
}

/// `GET /v1/conversations/{id}/trace`
pub(crate) async fn trace(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(id): Ids<ConversationId>,
    Query(reading): Query<Reading>,
) -> Result<AxumJson<Page<EventJson>>, Problem> {
    permit(&claims, Action::Oversee(id.site))?;
    let shard = doors.shard_to_read(id.site, reading.consistency).await?;
    let story = read_story(&doors, id, usize::MAX).await?;
    if story.is_empty() {
        let known = shard.read().conversation_view(id).is_some();
        return Err(if known { forgotten(id) } else { missing(&doors, shard.id, id, &story) });
    }
    Ok(AxumJson(Page::whole(story.into_iter().map(EventJson::from).collect())))
}

/// `GET /v1/conversations/{id}/messages`
pub(crate) async fn messages(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(id): Ids<ConversationId>,
    Query(query): Query<MessagesQuery>,
) -> Result<AxumJson<Page<MessageJson, u32>>, Problem> {
    let view = find(&doors, &claims, id, query.consistency).await?;
    let limit = limit(query.limit)?;
    let story = read_story(&doors, id, usize::MAX).await?;
    readable(&claims, id, view.stage, &story)?;
    let sees_notes = claims.role != Role::Customer;
    let ended = if sees_notes { ended(&story) } else { BTreeMap::new() };
    let messages = story.into_iter().filter_map(|record| message(record, &ended, sees_notes));
    let seen = messages.filter(|m| m.ordinal > query.after && (sees_notes || !m.note));
    let data: Vec<MessageJson> = seen.take(limit).collect();
    let next = data.last().filter(|_| data.len() == limit).map(|message| message.ordinal);
    Ok(AxumJson(Page { data, next }))
}

/// Whether the words of a conversation may be read, and the files that they name, where `story` is
/// what is left of its events.
pub(crate) fn readable(
    claims: &Claims,
    id: ConversationId,
    stage: Stage,
    story: &[EventRecord],
) -> Result<(), Problem> {
    if stage == Stage::Closed && over(id, story).is_none() {
        // That it was there is remembered for longer than what was said.
        return Err(forgotten(id));
    }
    served(claims, story)
}

/// An agent reads the words of conversations that were proposed to them, and of no others.
fn served(claims: &Claims, story: &[EventRecord]) -> Result<(), Problem> {
    let Some(agent) = claims.agent else { return Ok(()) };
    if story.iter().any(|record| record.audience.agents.contains(&agent)) {
        return Ok(());
    }
    Err(Problem::not_yours("the conversation was never proposed to you"))
}

/// How the mails of a conversation came out that are over.
fn ended(story: &[EventRecord]) -> BTreeMap<EffectId, EffectOutcome> {
    let ended = |record: &EventRecord| match &record.event {
        Event::EffectEnded { effect, outcome, .. } => Some((*effect, *outcome)),
        _ => None,
    };
    story.iter().filter_map(ended).collect()
}

fn message(
    record: EventRecord,
    ended: &BTreeMap<EffectId, EffectOutcome>,
    told: bool,
) -> Option<MessageJson> {
    match record.event {
        Event::Posted { item, ordinal, author, note, body, mail, .. } => {
            let outcome = |id| ended.get(&id).map_or(Delivery::Pending, |o| Delivery::from(*o));
            let delivery = mail.filter(|_| told).map(outcome);
            Some(MessageJson { ordinal, item, author, note, body, wall: record.wall, delivery })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rotary_proto::{AgentId, CustomerId};

    use super::*;

    #[test]
    fn a_viewer_has_three_texts() {
        assert_eq!(read_viewer("supervisor"), Ok(Viewer::Supervisor));
        assert_eq!(read_viewer("agent:ag_1"), Ok(Viewer::Agent(AgentId(1))));
        let customer = format!("customer:{}", CustomerId(7));
        assert_eq!(read_viewer(&customer), Ok(Viewer::Customer(CustomerId(7))));
        for text in ["", "agent", "agent:qu_1", "boss:ag_1", "supervisor:"] {
            assert_eq!(read_viewer(text).expect_err(text).code, "bad-value");
        }
    }
}
