//! What can be read of a site: answers of the API, board and command line.
//!
//! A view is state at one log index of one replica. Durations are given instead of stamps where a
//! person reads them, because shard time means nothing outside of its shard.

use serde::{Deserialize, Serialize};

use crate::bot::BotPlan;
use crate::command::Subject;
use crate::ids::{
    AgentId, ConversationId, CustomerId, GatewayId, OfferId, QueueId, ReasonId, SessionId,
    WebhookId,
};
use crate::plan::{Capacity, Declared, QueuePlan, SiteSettings, WebhookPlan};
use crate::values::{Channel, Priority};

/// A queue and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QueueView {
    /// Which.
    pub queue: QueueId,
    /// The plan's version.
    pub version: u32,
    /// How it works.
    pub plan: QueuePlan,
    /// The queue's bot, if it has one.
    pub bot: Option<BotPlan>,
    /// Conversations with the bot.
    pub self_service: u64,
    /// Conversations waiting, none of them offered.
    pub waiting: u64,
    /// Conversations on offer.
    pub offered: u64,
    /// Conversations with agents.
    pub assigned: u64,
    /// Conversations whose agents are in wrap-up.
    pub wrap_up: u64,
    /// How long the one that has waited longest has waited.
    pub oldest_wait_ms: u64,
}

/// A webhook and what waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WebhookView {
    /// Which.
    pub webhook: WebhookId,
    /// The plan's version.
    pub version: u32,
    /// What it is told, and where.
    pub plan: WebhookPlan,
    /// Messages that its endpoint has not taken yet.
    pub pending: u64,
}

/// An agent and what they are doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentView {
    /// Which.
    pub agent: AgentId,
    /// The profile's version.
    pub version: u32,
    /// What they declared.
    pub declared: Declared,
    /// Whether a session of theirs lives.
    pub link: Link,
    /// Whether they can be offered something on some channel.
    pub routable: bool,
    /// What they may hold.
    pub capacity: Capacity,
    /// What they hold, pending offers included, by channel.
    pub load: [u8; 5],
    /// The conversations they hold, pending offers included.
    pub conversations: Vec<ConversationId>,
}

/// Whether any session of an agent or customer lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// There is no session.
    None,
    /// At least one socket lives.
    Up,
    /// Every socket is lost, and the grace is not over.
    Lost,
}

/// Where a conversation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// With the bot of its queue.
    SelfService,
    /// In its queue.
    Waiting,
    /// Proposed to an agent; its place in the queue is kept.
    Offered {
        /// The offer.
        offer: OfferId,
        /// To whom.
        agent: AgentId,
        /// How long the agent still has.
        remaining_ms: u64,
    },
    /// With an agent.
    Assigned {
        /// Who serves.
        agent: AgentId,
        /// Whether the customer is on hold.
        held: bool,
    },
    /// The customer is gone; the agent finishes.
    WrapUp {
        /// Who served.
        agent: AgentId,
        /// How long the agent still has.
        remaining_ms: u64,
    },
    /// Over. Only its id is still known here; its story is in the journal.
    Closed,
}

/// A conversation as hot state knows it: no words, no names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConversationView {
    /// Which.
    pub conversation: ConversationId,
    /// Where it is in its life.
    pub stage: Stage,
    /// Its queue; absent once closed.
    pub queue: Option<QueueId>,
    /// How it travels; absent once closed.
    pub channel: Option<Channel>,
    /// Its priority; absent once closed.
    pub priority: Option<Priority>,
    /// Who is served, if known.
    pub customer: Option<CustomerId>,
    /// How many items it has.
    pub items: u32,
    /// How many assignments it has had.
    pub legs: u32,
    /// How long it has waited in queues, all waits together.
    pub waited_ms: u64,
}

/// A site at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SiteView {
    /// Its settings.
    pub settings: SiteSettings,
    /// The last event sequence.
    pub sequence: u64,
    /// Whether it is frozen after a fault.
    pub frozen: bool,
    /// How many queues it has.
    pub queues: u64,
    /// How many agents it has.
    pub agents: u64,
    /// Agents that declared ready and have a live session.
    pub ready: u64,
    /// Live conversations.
    pub conversations: u64,
    /// Sessions, lost ones in their grace included.
    pub sessions: u64,
}

/// A session as a site knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SessionView {
    /// Which.
    pub session: SessionId,
    /// Whom it serves.
    pub subject: Subject,
    /// Whether its socket lives.
    pub link: Link,
    /// The gateway that has its socket, or had it last.
    pub gateway: GatewayId,
}

/// A reason's or disposition's name, or a skill's, with its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Named<T> {
    /// Which.
    pub id: T,
    /// Its name.
    pub name: String,
}

/// Named reasons, as the API lists them.
pub type Reasons = Vec<Named<ReasonId>>;
