//! Under which keys an event is found.
//!
//! ```text
//! c site(8) conversation(16)      every event of a conversation
//! p site(8) conversation(16)      those of them that say who and what took part
//! v site(8) 0 agent(4)            every event that an agent may see
//! v site(8) 1 customer(16)        every event that a customer may see
//! t site(8) wall(8)               the last event of a conversation
//! q site(8) queue(4) wall(8)      the same, by each queue that it was in
//! a site(8) agent(4) wall(8)      the same, by each agent who served
//! u site(8) customer(16) wall(8)  the same, by who was served
//! b site(8) blob(32) conversation(16)  an item of the conversation that names the blob
//! ```

use std::collections::BTreeSet;

use rotary_proto::codec::{self, Limit};
use rotary_proto::event::Viewer;
use rotary_proto::{
    AgentId, Attachment, BlobId, ConversationId, CustomerId, Event, EventRecord, QueueId, SiteId,
    Wall,
};
use rotary_storage::{Earlier, JournalRecord, KeyList, Keys, LookupError};

/// The keys of events.
pub(crate) struct EventKeys<'a> {
    /// What tells of a conversation in the shards that its site lived in before an event.
    pub(crate) before: &'a Before<'a>,
}

/// Gives the events that say who and what took part in a conversation, of those before a sequence
/// that another shard's journal has.
pub(crate) type Before<'a> =
    dyn Fn(ConversationId, u64) -> Result<Vec<EventRecord>, LookupError> + Send + Sync + 'a;

impl Keys for EventKeys<'_> {
    fn keys(&self, record: &JournalRecord, earlier: &Earlier<'_>) -> Result<KeyList, LookupError> {
        let Ok(event) = codec::decode::<EventRecord>(&record.bytes, Limit::Entry) else {
            // A reader of the journal is told; here there is nothing to find it by.
            return Ok(Vec::new());
        };
        let site = event.site;
        let mut keys: KeyList = event.event.conversation().map(story).into_iter().collect();
        keys.extend(Parts::told_by(&event.event).map(parts));
        keys.extend(named_by(&event));
        let agents: BTreeSet<AgentId> = event.audience.agents.iter().copied().collect();
        keys.extend(agents.into_iter().filter_map(|agent| viewer(site, Viewer::Agent(agent))));
        let customer = event.audience.customer.map(Viewer::Customer);
        keys.extend(customer.and_then(|customer| viewer(site, customer)));
        if let Event::Closed { conversation, .. } = &event.event {
            let story = earlier(&parts(*conversation))?;
            let story = story.iter().filter_map(|r| codec::decode(&r.bytes, Limit::Entry).ok());
            let mut story: Vec<EventRecord> = story.collect();
            // A stream of a site that came from elsewhere begins later than the site.
            if event.sequence > record.sequence {
                story.extend((self.before)(*conversation, event.sequence)?);
            }
            keys.extend(closed_keys(site, &Parts::of(&story), event.wall));
        }
        Ok(keys)
    }
}

/// Who and what a conversation had to do with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) queues: BTreeSet<QueueId>,
    pub(crate) agents: BTreeSet<AgentId>,
    pub(crate) customer: Option<CustomerId>,
}

impl Parts {
    /// The conversation that an event says something of this about.
    fn told_by(event: &Event) -> Option<ConversationId> {
        match event {
            Event::Opened { conversation, .. }
            | Event::Queued { conversation, .. }
            | Event::Assigned { conversation, .. } => Some(*conversation),
            _ => None,
        }
    }

    /// Those of a story.
    pub(crate) fn of(story: &[EventRecord]) -> Self {
        let mut parts = Self::default();
        for record in story {
            match &record.event {
                Event::Opened { customer, .. } => parts.customer = *customer,
                Event::Queued { queue, .. } => {
                    parts.queues.insert(*queue);
                }
                Event::Assigned { agent, .. } => {
                    parts.agents.insert(*agent);
                }
                _ => {}
            }
        }
        parts
    }
}

fn closed_keys(site: SiteId, parts: &Parts, wall: Wall) -> KeyList {
    let queues = parts.queues.iter().map(|queue| By::Queue(*queue));
    let agents = parts.agents.iter().map(|agent| By::Agent(*agent));
    let customer = parts.customer.map(By::Customer);
    let all = [By::Time].into_iter().chain(queues).chain(agents).chain(customer);
    all.map(|by| closed(site, by, wall)).collect()
}

/// What conversations that are over are listed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// When they closed, and nothing else.
    Time,
    /// A queue that they were in.
    Queue(QueueId),
    /// An agent who served.
    Agent(AgentId),
    /// Who was served.
    Customer(CustomerId),
}

fn key(kind: u8, site: SiteId, more: &[u8], wall: Option<Wall>) -> Vec<u8> {
    let wall = wall.map(|wall| wall.0.to_be_bytes());
    let wall = wall.as_ref().map_or(&[][..], |wall| wall);
    [&[kind], site.key().to_be_bytes().as_slice(), more, wall].concat()
}

/// The key of a conversation's events.
pub(crate) fn story(conversation: ConversationId) -> Vec<u8> {
    key(b'c', conversation.site, &conversation.unique.to_be_bytes(), None)
}

/// The key of those that say who and what took part: few, however much was written.
pub(crate) fn parts(conversation: ConversationId) -> Vec<u8> {
    key(b'p', conversation.site, &conversation.unique.to_be_bytes(), None)
}

/// The key of what a viewer may see; none for those who see everything.
pub(crate) fn viewer(site: SiteId, viewer: Viewer) -> Option<Vec<u8>> {
    let more = match viewer {
        Viewer::Supervisor => return None,
        Viewer::Agent(agent) => [&[0], agent.0.to_be_bytes().as_slice()].concat(),
        Viewer::Customer(customer) => [&[1], customer.0.to_be_bytes().as_slice()].concat(),
    };
    Some(key(b'v', site, &more, None))
}

/// The keys of the blobs that an event names.
fn named_by(record: &EventRecord) -> BTreeSet<Vec<u8>> {
    let Event::Posted { conversation, body, .. } = &record.event else { return BTreeSet::new() };
    let key = |attachment: &Attachment| named(record.site, attachment.blob, conversation.unique);
    body.attachments.iter().map(key).collect()
}

/// The key of a conversation's items that name a blob of its site.
pub(crate) fn named(site: SiteId, blob: BlobId, unique: u128) -> Vec<u8> {
    let more = [blob.0.as_slice(), &unique.to_be_bytes()].concat();
    key(b'b', site, &more, None)
}

/// The first and the last of all such keys.
pub(crate) fn all_named() -> (Vec<u8>, Vec<u8>) {
    let last = SiteId::new(u32::MAX, u32::MAX);
    let first = named(SiteId::default(), BlobId([0; 32]), 0);
    (first, named(last, BlobId([255; 32]), u128::MAX))
}

/// Which blob of which site such a key is about.
pub(crate) fn read_named(key: &[u8]) -> Option<(SiteId, BlobId)> {
    let (site, rest) = key.strip_prefix(b"b")?.split_first_chunk::<8>()?;
    let (blob, _) = rest.split_first_chunk::<32>()?;
    Some((SiteId::from_key(u64::from_be_bytes(*site)), BlobId(*blob)))
}

/// The key of a conversation that closed then.
pub(crate) fn closed(site: SiteId, by: By, wall: Wall) -> Vec<u8> {
    match by {
        By::Time => key(b't', site, &[], Some(wall)),
        By::Queue(queue) => key(b'q', site, &queue.0.to_be_bytes(), Some(wall)),
        By::Agent(agent) => key(b'a', site, &agent.0.to_be_bytes(), Some(wall)),
        By::Customer(customer) => key(b'u', site, &customer.0.to_be_bytes(), Some(wall)),
    }
}
