//! What happened at a site, as far as a judge reads it: smaller than the event, and its own.
//!
//! Two ways lead here, and give the same: from an [`EventRecord`], which a simulation has, and from
//! an [`EventFrame`] or a row of the event feed, which clients of the API have. What a judge does
//! not read of an event is in its [`Digest`], so that two readers who were told different things
//! are found out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rotary_proto::command::Subject;
use rotary_proto::effect::{EffectOutcome, EffectTarget};
use rotary_proto::event::{
    Author, DeclaredWhy, EffectEnd, EndReason, EventRecord, OfferEnd, QueuedWhy, SessionLoss, Topic,
};
use rotary_proto::frame::EventFrame;
use rotary_proto::ids::{
    AgentId, CustomerId, EffectId, ItemId, OfferId, QueueId, SessionId, ShardId, SkillId, WebhookId,
};
use rotary_proto::plan::RequiredSkill;
use rotary_proto::{
    Capacity, Channel, ConversationId, Declared, Event as ProtoEvent, Priority, SiteId, Stamp,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A whole event as one number, equal for equal events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub u64);

impl Digest {
    /// Of that event.
    pub fn of(event: &ProtoEvent) -> Self {
        // An event is plain data, so it always has a JSON form; an empty one would only make two
        // unreadable events equal.
        Self(xxhash_rust::xxh3::xxh3_64(&serde_json::to_vec(event).unwrap_or_default()))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(de::Error::custom)
    }
}

/// A fact with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Where it happened.
    pub site: SiteId,
    /// Its number within the site, dense from 1.
    pub sequence: u64,
    /// The log index of the entry that caused it.
    pub index: u64,
    /// Shard time of that entry, in microseconds.
    pub stamp: Stamp,
    /// All of it as a number.
    pub digest: Digest,
    /// What happened.
    pub fact: Fact,
}

impl From<&EventRecord> for Event {
    fn from(record: &EventRecord) -> Self {
        let EventRecord { site, sequence, index, stamp, .. } = *record;
        let digest = Digest::of(&record.event);
        Self { site, sequence, index, stamp, digest, fact: Fact::from(&record.event) }
    }
}

impl From<&EventFrame> for Event {
    fn from(frame: &EventFrame) -> Self {
        let EventFrame { cursor, index, stamp, .. } = *frame;
        let (site, sequence, digest) = (cursor.site, cursor.sequence, Digest::of(&frame.event));
        Self { site, sequence, index, stamp, digest, fact: Fact::from(&frame.event) }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are those of the events of the same names")]
pub enum Fact {
    /// A queue was made or replaced; as far as it decides who is offered what, and when things end.
    QueueSet {
        queue: QueueId,
        version: u32,
        skills: Vec<RequiredSkill>,
        priority: Priority,
        offer_ms: u64,
        decline_delay_ms: u64,
        wait_max_ms: u64,
        wrap_up_ms: u64,
    },
    /// An agent was made or replaced.
    AgentSet { agent: AgentId, version: u32, skills: BTreeMap<SkillId, u8>, capacity: Capacity },
    /// A session began or returned.
    SessionAttached { session: SessionId, subject: Subject },
    /// A session's connection was lost.
    SessionLost { session: SessionId, subject: Subject, why: SessionLoss },
    /// A session is over.
    SessionEnded { session: SessionId, subject: Subject },
    /// A webhook was made or replaced.
    WebhookSet {
        webhook: WebhookId,
        version: u32,
        topics: BTreeSet<Topic>,
        give_up_ms: u64,
        enabled: bool,
    },
    /// A message of a webhook's is over.
    MessageEnded {
        effect: EffectId,
        webhook: WebhookId,
        sequence: u64,
        outcome: EffectOutcome,
        why: EffectEnd,
        attempts: u32,
    },
    /// An agent's declared state changed.
    AgentDeclared { agent: AgentId, declared: Declared, why: DeclaredWhy },
    /// A customer arrived.
    Opened { conversation: ConversationId, channel: Channel, customer: Option<CustomerId> },
    /// A conversation took its place in a queue.
    Queued {
        conversation: ConversationId,
        queue: QueueId,
        priority: Priority,
        since: Stamp,
        until: Stamp,
        why: QueuedWhy,
    },
    /// A conversation was proposed to an agent.
    Offered {
        conversation: ConversationId,
        offer: OfferId,
        agent: AgentId,
        queue: QueueId,
        channel: Channel,
        until: Stamp,
    },
    /// An offer ended without an assignment.
    OfferEnded { conversation: ConversationId, offer: OfferId, agent: AgentId, why: OfferEnd },
    /// An agent took a conversation.
    Assigned { conversation: ConversationId, offer: OfferId, agent: AgentId, leg: u32 },
    /// The customer was put on hold.
    Held { conversation: ConversationId, agent: AgentId },
    /// The hold ended.
    Retrieved { conversation: ConversationId, agent: AgentId, expired: bool },
    /// A message or note was added.
    Posted { conversation: ConversationId, item: ItemId, ordinal: u32, author: Author, note: bool },
    /// An assignment ended, and the conversation goes back to a queue.
    Released { conversation: ConversationId, agent: AgentId, why: QueuedWhy },
    /// The customer's part is over.
    Ended { conversation: ConversationId, why: EndReason },
    /// The agent has time for what comes after.
    WrapUpStarted { conversation: ConversationId, agent: AgentId, until: Stamp },
    /// Nothing more will happen to it.
    Closed { conversation: ConversationId, agent: Option<AgentId>, expired: bool },
    /// The site goes on in another shard, with that entry of its log.
    SiteMoved { from: ShardId, to: ShardId },
    /// Something that no judge reads.
    Other { conversation: Option<ConversationId> },
}

impl Fact {
    /// The conversation it is about, if it is about one.
    pub const fn conversation(&self) -> Option<ConversationId> {
        match self {
            Self::Opened { conversation, .. }
            | Self::Queued { conversation, .. }
            | Self::Offered { conversation, .. }
            | Self::OfferEnded { conversation, .. }
            | Self::Assigned { conversation, .. }
            | Self::Held { conversation, .. }
            | Self::Retrieved { conversation, .. }
            | Self::Posted { conversation, .. }
            | Self::Released { conversation, .. }
            | Self::Ended { conversation, .. }
            | Self::WrapUpStarted { conversation, .. }
            | Self::Closed { conversation, .. } => Some(*conversation),
            Self::Other { conversation } => *conversation,
            _ => None,
        }
    }

    /// The agent it names: who must be shown it.
    pub const fn agent(&self) -> Option<AgentId> {
        match self {
            Self::AgentDeclared { agent, .. }
            | Self::Offered { agent, .. }
            | Self::OfferEnded { agent, .. }
            | Self::Assigned { agent, .. }
            | Self::Held { agent, .. }
            | Self::Retrieved { agent, .. }
            | Self::Released { agent, .. }
            | Self::WrapUpStarted { agent, .. } => Some(*agent),
            Self::Closed { agent, .. } => *agent,
            _ => None,
        }
    }

    /// What webhooks are told it as, if they are told of such.
    pub const fn topic(&self) -> Option<Topic> {
        Some(match self {
            Self::Opened { .. } => Topic::Opened,
            Self::Queued { .. } => Topic::Queued,
            Self::Offered { .. } => Topic::Offered,
            Self::OfferEnded { .. } => Topic::OfferEnded,
            Self::Assigned { .. } => Topic::Assigned,
            Self::Released { .. } => Topic::Released,
            Self::Posted { .. } => Topic::Posted,
            Self::Ended { .. } => Topic::Ended,
            Self::Closed { .. } => Topic::Closed,
            _ => return None,
        })
    }

    /// A word for it, for tables and pictures.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::QueueSet { .. } => "queue-set",
            Self::AgentSet { .. } => "agent-set",
            Self::WebhookSet { .. } => "webhook-set",
            Self::MessageEnded { .. } => "message-ended",
            Self::SessionAttached { .. } => "session-attached",
            Self::SessionLost { .. } => "session-lost",
            Self::SessionEnded { .. } => "session-ended",
            Self::AgentDeclared { .. } => "agent-declared",
            Self::Opened { .. } => "opened",
            Self::Queued { .. } => "queued",
            Self::Offered { .. } => "offered",
            Self::OfferEnded { .. } => "offer-ended",
            Self::Assigned { .. } => "assigned",
            Self::Held { .. } => "held",
            Self::Retrieved { .. } => "retrieved",
            Self::Posted { .. } => "posted",
            Self::Released { .. } => "released",
            Self::Ended { .. } => "ended",
            Self::WrapUpStarted { .. } => "wrap-up-started",
            Self::Closed { .. } => "closed",
            Self::SiteMoved { .. } => "site-moved",
            Self::Other { .. } => "other",
        }
    }
}

impl From<&ProtoEvent> for Fact {
    fn from(event: &ProtoEvent) -> Self {
        of_site(event)
            .or_else(|| of_conversation(event))
            .unwrap_or(Self::Other { conversation: event.conversation() })
    }
}

/// Facts of the site itself, of queues, agents, sessions and webhooks.
fn of_site(event: &ProtoEvent) -> Option<Fact> {
    Some(match event {
        ProtoEvent::QueueSet { queue, version, plan } => Fact::QueueSet {
            queue: *queue,
            version: *version,
            skills: plan.skills.clone(),
            priority: plan.priority,
            offer_ms: plan.offer_ms,
            decline_delay_ms: plan.decline_delay_ms,
            wait_max_ms: plan.wait_max_ms,
            wrap_up_ms: plan.wrap_up_ms,
        },
        ProtoEvent::AgentSet { agent, version, profile } => Fact::AgentSet {
            agent: *agent,
            version: *version,
            skills: profile.skills.clone(),
            capacity: profile.capacity,
        },
        ProtoEvent::SessionAttached { session, subject, .. } => {
            Fact::SessionAttached { session: *session, subject: *subject }
        }
        ProtoEvent::SessionLost { session, subject, why } => {
            Fact::SessionLost { session: *session, subject: *subject, why: *why }
        }
        ProtoEvent::SessionEnded { session, subject } => {
            Fact::SessionEnded { session: *session, subject: *subject }
        }
        ProtoEvent::AgentDeclared { agent, declared, why } => {
            Fact::AgentDeclared { agent: *agent, declared: *declared, why: *why }
        }
        ProtoEvent::SiteMoved { from, to } => Fact::SiteMoved { from: *from, to: *to },
        event => return of_webhook(event),
    })
}

fn of_webhook(event: &ProtoEvent) -> Option<Fact> {
    match event {
        ProtoEvent::WebhookSet { webhook, version, plan } => Some(Fact::WebhookSet {
            webhook: *webhook,
            version: *version,
            topics: plan.topics.clone(),
            give_up_ms: plan.give_up_ms,
            enabled: plan.enabled,
        }),
        ProtoEvent::EffectEnded { effect, target, sequence, outcome, why, attempts, .. } => {
            let EffectTarget::Webhook(webhook) = *target else { return None };
            let (effect, sequence, outcome) = (*effect, *sequence, *outcome);
            let (why, attempts) = (*why, *attempts);
            Some(Fact::MessageEnded { effect, webhook, sequence, outcome, why, attempts })
        }
        _ => None,
    }
}

/// Facts of conversations.
// long: one arm a kind of event, and nothing else.
fn of_conversation(event: &ProtoEvent) -> Option<Fact> {
    Some(match *event {
        ProtoEvent::Opened { conversation, channel, customer, .. } => {
            Fact::Opened { conversation, channel, customer }
        }
        ProtoEvent::Queued { conversation, queue, priority, since, until, why } => {
            Fact::Queued { conversation, queue, priority, since, until, why }
        }
        ProtoEvent::Offered { conversation, offer, agent, queue, channel, until, .. } => {
            Fact::Offered { conversation, offer, agent, queue, channel, until }
        }
        ProtoEvent::OfferEnded { conversation, offer, agent, why } => {
            Fact::OfferEnded { conversation, offer, agent, why }
        }
        ProtoEvent::Assigned { conversation, offer, agent, leg } => {
            Fact::Assigned { conversation, offer, agent, leg }
        }
        ProtoEvent::Held { conversation, agent } => Fact::Held { conversation, agent },
        ProtoEvent::Retrieved { conversation, agent, expired } => {
            Fact::Retrieved { conversation, agent, expired }
        }
        ProtoEvent::Posted { conversation, item, ordinal, author, note, .. } => {
            Fact::Posted { conversation, item, ordinal, author, note }
        }
        ProtoEvent::Released { conversation, agent, why } => {
            Fact::Released { conversation, agent, why }
        }
        ProtoEvent::Ended { conversation, why } => Fact::Ended { conversation, why },
        ProtoEvent::WrapUpStarted { conversation, agent, until } => {
            Fact::WrapUpStarted { conversation, agent, until }
        }
        ProtoEvent::Closed { conversation, agent, expired, .. } => {
            Fact::Closed { conversation, agent, expired }
        }
        _ => return None,
    })
}
