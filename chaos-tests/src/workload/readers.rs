//! Readers of the event feed, and the reading back of everything.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use rotary_client::{Api, ApiError, Gateway, Patience};
use rotary_proto::event::Author;
use rotary_proto::ids::{NodeId, ShardId};
use rotary_proto::query::{ConversationView, SiteView, Stage};
use rotary_proto::{ConversationId, Cursor, Event as ProtoEvent, ItemId, SiteId, Stamp};
use serde::Deserialize;

use super::world::World;
use super::{DriveError, LONG_PATIENCE};
use crate::history::{Digest, Event, Fact, Record, Recorder};

/// Rows asked for at once.
const PAGE: usize = 1_000;
/// How long a reader waits when there is nothing new.
const PAUSE: Duration = Duration::from_millis(200);
/// How many pages a reader takes from one gateway before it moves on.
const PAGES: u64 = 5;
/// Numbers of the readers that read back, so that they are none of those who followed.
const BACK: u64 = 1_000_000;
/// How long a gateway may take to catch up with the others.
const CATCH_UP: Duration = Duration::from_secs(60);
/// How long one gateway is waited for by those who can ask another.
const SHORT_PATIENCE: Patience =
    Patience { attempt: Duration::from_secs(2), total: Duration::from_millis(1) };
/// Transcripts that are read at once.
const AT_ONCE: usize = 8;

#[derive(Deserialize)]
struct Row {
    cursor: Place,
    index: u64,
    stamp: Stamp,
    event: ProtoEvent,
}

/// A cursor in full, or its sequence alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Place {
    Cursor(Cursor),
    Sequence(u64),
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Row>,
    through: u64,
}

impl Row {
    fn event(&self, site: SiteId) -> Event {
        let sequence = match self.cursor {
            Place::Cursor(cursor) => cursor.sequence,
            Place::Sequence(sequence) => sequence,
        };
        let (index, stamp, digest) = (self.index, self.stamp, Digest::of(&self.event));
        Event { site, sequence, index, stamp, digest, fact: Fact::from(&self.event) }
    }
}

/// Writes down the next page of a site's feed; how far it went.
async fn page(
    api: &Api,
    recorder: &Recorder,
    (site, reader): (SiteId, u64),
    after: u64,
) -> Result<u64, ApiError> {
    let path = format!("/v1/sites/{site}/events?after={after}&limit={PAGE}&viewer=supervisor");
    let page: Page = api.read(&path).await?;
    let gateway = api.gateways().first().map(ToString::to_string).unwrap_or_default();
    for row in &page.data {
        let (at_ms, gateway, event) = (recorder.now_ms(), gateway.clone(), row.event(site));
        let mut record = Record::Fed { at_ms, reader, gateway, event };
        while let Some(back) = recorder.try_record(record) {
            record = back;
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(page.through.max(after))
}

/// Follows a site's feed from gateway to gateway, for as long as it is polled.
pub(super) async fn follow(api: Api, recorder: Recorder, site: SiteId, reader: u64) {
    let (mut after, mut turn) = (0, reader);
    loop {
        let place = (turn / PAGES) as usize % api.gateways().len();
        let gateway = api.gateways()[place].clone();
        turn += 1;
        let api = api.only(&gateway).patient(SHORT_PATIENCE);
        match page(&api, &recorder, (site, reader), after).await {
            Ok(through) if through > after => after = through,
            Ok(_) => tokio::time::sleep(PAUSE).await,
            Err(_) => {
                turn += PAGES;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[derive(Deserialize)]
struct Cluster {
    shards: Vec<Led>,
}

#[derive(Deserialize)]
struct Led {
    shard: ShardId,
    leader: Option<NodeId>,
    term: u64,
}

/// Writes down who leads each shard whenever that changes, as the gateways tell it, for as long as
/// it is polled. A gateway that was cut off may tell of the past, so the highest term counts.
pub(super) async fn watch_leaders(api: Api, recorder: Recorder) {
    let mut known: BTreeMap<ShardId, (u64, Option<NodeId>)> = BTreeMap::new();
    for turn in 0_usize.. {
        let gateway = api.gateways()[turn % api.gateways().len()].clone();
        let api = api.only(&gateway).patient(SHORT_PATIENCE);
        for led in api.read::<Cluster>("/v1/cluster").await.map_or(Vec::new(), |c| c.shards) {
            let before = known.get(&led.shard).copied().unwrap_or_default();
            if led.term > before.0 || (led.term == before.0 && before.1.is_none()) {
                known.insert(led.shard, (led.term, led.leader));
                if led.leader != before.1 {
                    let node = led.leader.map_or_else(String::new, |node| node.to_string());
                    recorder.leader(led.shard, &node);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads every site's feed and the transcripts back, from every gateway on its own.
pub(super) async fn read_back(
    world: &World,
    recorder: &Recorder,
    conversations: &[ConversationId],
) -> Result<(), DriveError> {
    let api = world.api.patient(LONG_PATIENCE);
    let mut reader = BACK;
    for site in &world.sites {
        let mut end = 0;
        for gateway in api.gateways() {
            let path = format!("/v1/sites/{}?consistency=linearizable", site.site);
            match api.only(gateway).read::<SiteView>(&path).await {
                Ok(view) => end = end.max(view.sequence),
                Err(error) => unread(recorder, gateway, &error),
            }
        }
        for gateway in api.gateways() {
            reader += 1;
            if let Err(error) = whole(&api, recorder, gateway, (site.site, reader), end).await {
                unread(recorder, gateway, &error);
            }
        }
    }
    for gateway in api.gateways() {
        let api = api.only(gateway);
        let read =
            |id: &ConversationId| transcript(api.clone(), recorder.clone(), gateway.clone(), *id);
        let mut read =
            futures::stream::iter(conversations.iter().map(read)).buffer_unordered(AT_ONCE);
        while let Some(done) = read.next().await {
            if let Err(error) = done {
                unread(recorder, gateway, &error);
            }
        }
    }
    Ok(())
}

/// A gateway that cannot be read back leaves the run unknown.
fn unread(recorder: &Recorder, gateway: &Gateway, error: &ApiError) {
    recorder.mark(&format!("unread {gateway}: {error}"));
}

async fn whole(
    api: &Api,
    recorder: &Recorder,
    gateway: &Gateway,
    (site, reader): (SiteId, u64),
    end: u64,
) -> Result<(), ApiError> {
    let (api, begun, mut after) = (api.only(gateway), Instant::now(), 0);
    while after < end {
        let through = page(&api, recorder, (site, reader), after).await?;
        if through == after {
            if begun.elapsed() > CATCH_UP {
                return Err(ApiError::Unreachable(format!("{site} stands at {after} of {end}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
        after = through;
    }
    let (at_ms, gateway) = (recorder.now_ms(), gateway.to_string());
    recorder.record(Record::FedThrough { at_ms, reader, gateway, site, sequence: after });
    Ok(())
}

#[derive(Deserialize)]
struct Message {
    ordinal: u32,
    item: ItemId,
    author: Author,
}

#[derive(Deserialize)]
struct Messages {
    data: Vec<Message>,
    next: Option<u32>,
}

/// Writes down a conversation as one gateway shows it.
async fn transcript(
    api: Api,
    recorder: Recorder,
    gateway: Gateway,
    conversation: ConversationId,
) -> Result<(), ApiError> {
    let read = api.read::<ConversationView>(&format!("/v1/conversations/{conversation}")).await;
    let closed = match read {
        Ok(view) => Some(view.stage == Stage::Closed),
        Err(ApiError::Refused(refused)) if refused.status == 404 => None,
        Err(error) => return Err(error),
    };
    let (mut items, mut after) = (Vec::new(), closed.map(|_| 0));
    while let Some(from) = after {
        let path = format!("/v1/conversations/{conversation}/messages?after={from}&limit={PAGE}");
        let page: Messages = api.read(&path).await?;
        items.extend(page.data.iter().map(|row| (row.ordinal, row.item, row.author)));
        after = page.next;
    }
    let (at_ms, gateway) = (recorder.now_ms(), gateway.to_string());
    recorder.record(Record::Transcript { at_ms, gateway, conversation, closed, items });
    Ok(())
}
