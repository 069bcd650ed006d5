//! Facts: what applying a command made true.
//!
//! Events are written to each replica's journal in the order of the log, and everything that
//! anybody sees is read from there. Each has a dense sequence within its site and the audience it
//! had at that moment, so that who may see it is a function of the event and the viewer alone.

use serde::{Deserialize, Serialize};

use crate::bot::BotPlan;
use crate::command::Subject;
use crate::effect::{EffectOutcome, EffectTarget};
use crate::ids::{
    AgentId, ConversationId, CustomerId, DispositionId, EffectId, GatewayId, ItemId, OfferId,
    QueueId, ReasonId, SessionId, ShardId, SiteId, SkillId, WebhookId,
};
use crate::mail::MailParty;
use crate::plan::{AgentProfile, Declared, QueuePlan, SiteSettings, Strategy, WebhookPlan};
use crate::stamp::{Stamp, Wall};
use crate::values::{Attributes, Body, Channel, Name, Priority, Sealed};

/// An event with its place and its audience.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventRecord {
    /// Where it happened.
    pub site: SiteId,
    /// Its number within the site, dense from 1.
    pub sequence: u64,
    /// The log index of the entry that caused it.
    pub index: u64,
    /// Shard time of that entry.
    pub stamp: Stamp,
    /// Wall time of that entry, for people.
    pub wall: Wall,
    /// Who may see it.
    pub audience: Audience,
    /// What happened.
    pub event: Event,
}

/// A place in a site's events: everything up to `sequence` has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Which site.
    pub site: SiteId,
    /// The last sequence seen; 0 is the beginning.
    pub sequence: u64,
}

/// Who may see an event, beside supervisors and boards, who see all of their site.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Audience {
    /// Agents concerned at that moment.
    pub agents: Vec<AgentId>,
    /// The customer concerned, where it is for their eyes.
    pub customer: Option<CustomerId>,
    /// The queue it belongs to, for boards.
    pub queue: Option<QueueId>,
}

/// Whoever reads a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Viewer {
    /// Sees all of the site.
    Supervisor,
    /// Sees what concerned them.
    Agent(AgentId),
    /// Sees what concerned them and was for their eyes.
    Customer(CustomerId),
}

impl Audience {
    /// Whether that viewer may see the event.
    pub fn admits(&self, viewer: Viewer) -> bool {
        match viewer {
            Viewer::Supervisor => true,
            Viewer::Agent(agent) => self.agents.contains(&agent),
            Viewer::Customer(customer) => self.customer == Some(customer),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A site was made or its settings replaced.
    SiteSet {
        /// The settings.
        settings: SiteSettings,
    },
    /// A skill was named.
    SkillSet {
        /// Which.
        skill: SkillId,
        /// Its name.
        name: Name,
    },
    /// A not-ready reason was named.
    ReasonSet {
        /// Which.
        reason: ReasonId,
        /// Its name.
        name: Name,
    },
    /// A disposition was named.
    DispositionSet {
        /// Which.
        disposition: DispositionId,
        /// Its name.
        name: Name,
    },
    /// A queue was made or replaced.
    QueueSet {
        /// Which.
        queue: QueueId,
        /// The plan's version, from 1.
        version: u32,
        /// The plan.
        plan: QueuePlan,
    },
    /// An agent was made or replaced.
    AgentSet {
        /// Which.
        agent: AgentId,
        /// The profile's version, from 1.
        version: u32,
        /// The profile.
        profile: AgentProfile,
    },
    /// A webhook was made or replaced. Its secret is shown to nobody.
    WebhookSet {
        /// Which.
        webhook: WebhookId,
        /// The plan's version, from 1.
        version: u32,
        /// The plan.
        plan: WebhookPlan,
    },
    /// A queue got a bot, another one, or none. Its secret is shown to nobody.
    BotSet {
        /// Which queue.
        queue: QueueId,
        /// The plan's version, from 1.
        version: u32,
        /// The plan, if there is a bot.
        plan: Option<BotPlan>,
    },
    /// Something that had to be done outside is over.
    EffectEnded {
        /// Which effect.
        effect: EffectId,
        /// The conversation it belonged to.
        conversation: ConversationId,
        /// Whom it was for.
        target: EffectTarget,
        /// The sequence of the event that wanted it.
        sequence: u64,
        /// How it came out.
        outcome: EffectOutcome,
        /// Why, if nobody outside said so.
        why: EffectEnd,
        /// How often it was tried, as far as the last performer knows.
        attempts: u32,
        /// What the other side said last: an HTTP status.
        status: Option<u16>,
    },
    /// A session began or returned.
    SessionAttached {
        /// Which.
        session: SessionId,
        /// Whom it serves.
        subject: Subject,
        /// Where its socket is.
        gateway: GatewayId,
    },
    /// A session's socket was lost; it may return.
    SessionLost {
        /// Which.
        session: SessionId,
        /// Whom it served.
        subject: Subject,
        /// How it was lost.
        why: SessionLoss,
    },
    /// A session is over.
    SessionEnded {
        /// Which.
        session: SessionId,
        /// Whom it served.
        subject: Subject,
    },
    /// An agent's declared state changed.
    AgentDeclared {
        /// Which agent.
        agent: AgentId,
        /// What holds from here on.
        declared: Declared,
        /// Whose doing it was.
        why: DeclaredWhy,
    },
    /// A customer arrived.
    Opened {
        /// The new conversation.
        conversation: ConversationId,
        /// How it travels.
        channel: Channel,
        /// Who arrived, if known.
        customer: Option<CustomerId>,
        /// Declared facts.
        attributes: Attributes,
        /// Whom it is with, where what agents write is mailed.
        mail: Option<Box<MailParty>>,
    },
    /// A queue's bot serves a conversation, until it is handed over or ends.
    SelfServiceStarted {
        /// Which conversation.
        conversation: ConversationId,
        /// Whose bot.
        queue: QueueId,
    },
    /// A conversation took its place in a queue.
    Queued {
        /// Which conversation.
        conversation: ConversationId,
        /// Which queue.
        queue: QueueId,
        /// Its priority there.
        priority: Priority,
        /// The time that orders it among its equals; earlier than now by what it has waited.
        since: Stamp,
        /// When its longest wait ends.
        until: Stamp,
        /// Why it took its place.
        why: QueuedWhy,
    },
    /// A conversation was proposed to an agent.
    Offered {
        /// Which conversation.
        conversation: ConversationId,
        /// The offer.
        offer: OfferId,
        /// To whom.
        agent: AgentId,
        /// Its queue at that moment.
        queue: QueueId,
        /// How it travels, so that a screen can ring rightly.
        channel: Channel,
        /// When the offer ends by itself.
        until: Stamp,
        /// Why this agent and this conversation.
        decision: Decision,
    },
    /// An offer ended without an assignment.
    OfferEnded {
        /// Which conversation.
        conversation: ConversationId,
        /// The offer.
        offer: OfferId,
        /// To whom it was made.
        agent: AgentId,
        /// How it ended.
        why: OfferEnd,
    },
    /// An agent took a conversation.
    Assigned {
        /// Which conversation.
        conversation: ConversationId,
        /// The offer that was accepted.
        offer: OfferId,
        /// Who serves.
        agent: AgentId,
        /// Counts the conversation's assignments, from 1.
        leg: u32,
    },
    /// The customer was put on hold.
    Held {
        /// Which conversation.
        conversation: ConversationId,
        /// By whom.
        agent: AgentId,
    },
    /// The hold ended.
    Retrieved {
        /// Which conversation.
        conversation: ConversationId,
        /// By whom.
        agent: AgentId,
        /// Whether the hold ran out instead.
        expired: bool,
    },
    /// A message or note was added.
    Posted {
        /// Where.
        conversation: ConversationId,
        /// Its id.
        item: ItemId,
        /// Its place in the conversation, dense from 1.
        ordinal: u32,
        /// Who wrote it.
        author: Author,
        /// Whether the customer must not see it.
        note: bool,
        /// What it says.
        body: Body,
        /// The effect that mails it to the customer, if one does.
        mail: Option<EffectId>,
    },
    /// An assignment ended without ending the conversation, which goes back to a queue.
    Released {
        /// Which conversation.
        conversation: ConversationId,
        /// Who served.
        agent: AgentId,
        /// Why.
        why: QueuedWhy,
    },
    /// The customer's part is over.
    Ended {
        /// Which conversation.
        conversation: ConversationId,
        /// How it ended.
        why: EndReason,
    },
    /// The agent has time for what comes after.
    WrapUpStarted {
        /// Which conversation.
        conversation: ConversationId,
        /// Who served.
        agent: AgentId,
        /// When wrap-up ends by itself.
        until: Stamp,
    },
    /// Nothing more will happen to it.
    Closed {
        /// Which conversation.
        conversation: ConversationId,
        /// The agent who wrapped up, if one served last.
        agent: Option<AgentId>,
        /// How it went, if the agent said so.
        disposition: Option<DispositionId>,
        /// What the agent noted.
        note: Option<Sealed>,
        /// Whether wrap-up ran out.
        expired: bool,
    },
    /// The site lives on in another shard from here on. Its clock stood still on the way.
    SiteMoved {
        /// Where it was.
        from: ShardId,
        /// Where it is.
        to: ShardId,
    },
}

impl Event {
    /// The conversation it is about, if it is about one. That a webhook was told is about none.
    pub const fn conversation(&self) -> Option<ConversationId> {
        match self {
            Self::Opened { conversation, .. }
            | Self::SelfServiceStarted { conversation, .. }
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
            | Self::Closed { conversation, .. }
            | Self::EffectEnded {
                conversation,
                target: EffectTarget::Mail { .. } | EffectTarget::Turn(_),
                ..
            } => Some(*conversation),
            _ => None,
        }
    }

    /// What a webhook would call it, and the conversation it belongs to, if webhooks can be told
    /// of it.
    pub const fn topic(&self) -> Option<(Topic, ConversationId)> {
        match self {
            Self::Opened { conversation, .. } => Some((Topic::Opened, *conversation)),
            Self::Queued { conversation, .. } => Some((Topic::Queued, *conversation)),
            Self::Offered { conversation, .. } => Some((Topic::Offered, *conversation)),
            Self::OfferEnded { conversation, .. } => Some((Topic::OfferEnded, *conversation)),
            Self::Assigned { conversation, .. } => Some((Topic::Assigned, *conversation)),
            Self::Released { conversation, .. } => Some((Topic::Released, *conversation)),
            Self::Posted { conversation, .. } => Some((Topic::Posted, *conversation)),
            Self::Ended { conversation, .. } => Some((Topic::Ended, *conversation)),
            Self::Closed { conversation, .. } => Some((Topic::Closed, *conversation)),
            _ => None,
        }
    }
}

/// What ended an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EffectEnd {
    /// Its performer said how it came out.
    Performed,
    /// Its time was over.
    Expired,
    /// As many waited for the same endpoint as may.
    Overflow,
    /// What it was for is over.
    Withdrawn,
}

/// What a webhook can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Topic {
    /// A customer arrived.
    #[serde(rename = "conversation.opened")]
    Opened,
    /// A conversation took its place in a queue.
    #[serde(rename = "conversation.queued")]
    Queued,
    /// A conversation was proposed to an agent.
    #[serde(rename = "conversation.offered")]
    Offered,
    /// An offer ended without an assignment.
    #[serde(rename = "conversation.offer_ended")]
    OfferEnded,
    /// An agent took a conversation.
    #[serde(rename = "conversation.assigned")]
    Assigned,
    /// An agent gave a conversation back to a queue.
    #[serde(rename = "conversation.released")]
    Released,
    /// A message or note was added.
    #[serde(rename = "conversation.posted")]
    Posted,
    /// The customer's part is over.
    #[serde(rename = "conversation.ended")]
    Ended,
    /// Nothing more will happen to a conversation.
    #[serde(rename = "conversation.closed")]
    Closed,
}

impl Topic {
    /// The word that JSON uses.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opened => "conversation.opened",
            Self::Queued => "conversation.queued",
            Self::Offered => "conversation.offered",
            Self::OfferEnded => "conversation.offer_ended",
            Self::Assigned => "conversation.assigned",
            Self::Released => "conversation.released",
            Self::Posted => "conversation.posted",
            Self::Ended => "conversation.ended",
            Self::Closed => "conversation.closed",
        }
    }
}

/// How a session was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SessionLoss {
    /// Its gateway said that the socket is gone.
    Socket,
    /// Its gateway's lease ran out.
    Gateway,
}

/// Whose doing a declared state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeclaredWhy {
    /// The agent said so.
    Agent,
    /// A supervisor or administrator said so.
    Supervisor,
    /// An offer ran out without an answer.
    NotResponding,
    /// The last session was lost and its grace is over.
    SessionLost,
}

/// Why a conversation took its place in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum QueuedWhy {
    /// It was opened.
    Opened,
    /// Somebody moved it.
    Requeued,
    /// Its agent's last session was lost; it keeps the place of its first arrival.
    AgentLost,
    /// Its agent signed out; it keeps the place of its first arrival.
    AgentSignedOut,
    /// A bot served it before; it waits from here on.
    HandedOver,
}

/// How an offer ended without an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OfferEnd {
    /// The agent turned it down.
    Declined,
    /// Nobody answered in time.
    Expired,
    /// The agent is not ready, or signed out.
    AgentNotReady,
    /// The agent's last session was lost.
    AgentLost,
    /// The customer left.
    CustomerLeft,
    /// Somebody moved or closed the conversation.
    Withdrawn,
}

/// Who wrote an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// The customer.
    Customer,
    /// An agent.
    Agent(AgentId),
    /// A supervisor, an integration or the cluster.
    System,
    /// The bot of its queue.
    Bot,
}

/// How the customer's part ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The customer left, or said good-bye, before an agent served them.
    Abandoned,
    /// The customer ended it, or said good-bye.
    Customer,
    /// The agent ended it.
    Agent,
    /// A supervisor or integration ended it.
    Supervisor,
    /// The bot that served it ended it.
    Bot,
    /// The longest wait was over.
    WaitExpired,
    /// Nobody wrote for too long.
    Idle,
    /// The longest assignment was over.
    TooLong,
    /// The customer's session was lost and did not return.
    CustomerLost,
}

/// Why this agent got this conversation: what the full account is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Decision {
    /// What brought the match about.
    pub trigger: Trigger,
    /// The queue's strategy.
    pub strategy: Strategy,
    /// The version of the queue's plan.
    pub plan_version: u32,
    /// The winner's ordering key under that strategy; the lowest wins, then the lowest agent id.
    /// Longest idle: `[1 if anything is held, idle since]`. Most skilled: `[- sum of
    /// proficiencies, idle since]`.
    /// Least loaded: `[load in 1/27 720, idle since]`. Round robin: `[0, agent id]`.
    pub key: [i64; 2],
    /// How many free agents the conversation's requirement class had, the winner included.
    pub candidates: u32,
    /// How long the conversation had waited, in milliseconds.
    pub waited_ms: u64,
}

/// What brought a match about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The conversation came, and the agent was free.
    Arrival,
    /// The agent became free, and the conversation waited.
    AgentFree,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_admits_whom_it_names_and_every_supervisor() {
        let audience = Audience {
            agents: vec![AgentId(1)],
            customer: Some(CustomerId(7)),
            queue: Some(QueueId(1)),
        };
        assert!(audience.admits(Viewer::Supervisor));
        assert!(audience.admits(Viewer::Agent(AgentId(1))));
        assert!(!audience.admits(Viewer::Agent(AgentId(2))));
        assert!(audience.admits(Viewer::Customer(CustomerId(7))));
        assert!(!audience.admits(Viewer::Customer(CustomerId(8))));
        assert!(!Audience::default().admits(Viewer::Customer(CustomerId(0))));
    }
}
