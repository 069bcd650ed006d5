//! Intents: everything that can be asked of a shard.
//!
//! A command carries who asks ([`Actor`]), where it came from ([`Origin`], which makes a retry
//! recognisable) and what is wanted ([`Command`]). A door has authenticated the actor; the
//! distributor checks again what that actor may do to which entity, because only it knows whose a
//! conversation is at that entry.

use serde::{Deserialize, Serialize};

use crate::attachment::Attachment;
use crate::bot::{BotAnswer, BotPlan};
use crate::effect::{EffectOutcome, EffectStart};
use crate::ids::{
    AgentId, ConversationId, CustomerId, DispositionId, EffectId, GatewayId, NodeId, OfferId,
    PrincipalId, QueueId, ReasonId, RequestId, SessionId, ShardId, SiteId, SkillId, WebhookId,
};
#[cfg(doc)]
use crate::limits;
use crate::mail::MailParty;
use crate::plan::{AgentProfile, Declared, QueuePlan, RequiredSkill, SiteSettings, WebhookPlan};
use crate::values::{Attributes, BadValue, Channel, Item, Name, Priority, Sealed};
use crate::web::Secret;

/// One entry of a shard's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one is decoded at a time, and most are the largest")]
pub enum ShardCommand {
    /// Something asked of one site.
    Site(Envelope),
    /// Makes an empty site. Asked of a site that exists, it changes nothing.
    CreateSite {
        /// The new site.
        site: SiteId,
        /// Its settings.
        settings: SiteSettings,
    },
    /// A gateway lives: its sessions in this shard live on.
    RenewLease {
        /// Which run of which gateway.
        gateway: GatewayId,
    },
    /// Time has come for what was due. Proposed by the leader's ticker.
    Tick,
    /// Behaviour changes from this entry on, on every replica alike.
    RaiseVersion {
        /// The logic version; lower than the present one changes nothing.
        version: u32,
    },
    /// The replicas that live and have caught up, as the leader sees them: whoever performs effects
    /// is one of these.
    SetView {
        /// Which; the same as before change nothing.
        replicas: Vec<NodeId>,
    },
    /// A replica's journal is on its disk up to there, from its beginning or its retention's.
    JournalMark {
        /// Whose replica.
        node: NodeId,
        /// The log index up to which it is; lower than an earlier one changes nothing.
        index: u64,
    },
    /// A step of a site's way from one shard to another.
    Move(SiteMove),
}

/// A step of a site's way from one shard to another. Each is an entry of the log of one of the two.
///
/// The site *departs* from where it lives: it does nothing more there, its clock stands still. The
/// shard that *expects* it is given its state in parts, and with the last one the site lives on
/// there. Then the first shard *forgets* it. A site whose parts were not taken *returns*, after the
/// other shard has said for good that this departure comes to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteMove {
    /// Where it lives: the site stops, to go on in another shard.
    Depart {
        /// Which.
        site: SiteId,
        /// Where it is to live.
        to: ShardId,
        /// The number that this departure is to have: one more than the site has departed before.
        departed: u64,
    },
    /// Where it departed: it lives on here after all. Only once the other shard has declined it.
    Return {
        /// Which.
        site: SiteId,
        /// The number of its departure; of another one, nothing is done.
        departed: u64,
    },
    /// Where it departed: it lives in the other shard by now.
    Forget {
        /// Which.
        site: SiteId,
        /// The number of its departure; of another one, nothing is done.
        departed: u64,
    },
    /// Where it is to live: parts will come. What came before of the same site is dropped.
    Expect {
        /// Which.
        site: SiteId,
        /// Where it departed.
        from: ShardId,
        /// The number of its departure, counted over the site's life.
        departed: u64,
    },
    /// Where it is to live: a part of its state.
    Take(SitePart),
    /// Where it is to live: no departure up to that number is taken any more.
    Decline {
        /// Which.
        site: SiteId,
        /// The number of its departure.
        departed: u64,
    },
    /// Where it lives: what happened to it before it came is on the disks of a quorum.
    Settle {
        /// Which.
        site: SiteId,
        /// The number of the departure by which it came; of another one, nothing is done.
        departed: u64,
    },
    /// Where it is to live: all parts have come, and the site lives on here.
    Arrive {
        /// Which.
        site: SiteId,
        /// The index of the entry by which it is expected.
        attempt: u64,
        /// How many parts there are.
        parts: u32,
    },
}

/// A part of the state of a site on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SitePart {
    /// Which site's.
    pub site: SiteId,
    /// The index of the entry by which it is expected.
    pub attempt: u64,
    /// Dense from 0. Parts may come out of order by less than [`limits::PARTS_AHEAD_MAX`].
    pub number: u32,
    /// Whether a chunk of the state ends with it.
    pub ends_chunk: bool,
    /// The bytes, at most [`limits::PART_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

impl SiteMove {
    /// Which site it is about.
    pub const fn site(&self) -> SiteId {
        match self {
            Self::Depart { site, .. }
            | Self::Return { site, .. }
            | Self::Forget { site, .. }
            | Self::Expect { site, .. }
            | Self::Decline { site, .. }
            | Self::Settle { site, .. }
            | Self::Arrive { site, .. } => *site,
            Self::Take(part) => part.site,
        }
    }
}

/// A command with its sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Where it is to be applied.
    pub site: SiteId,
    /// What makes a retry of it recognisable.
    pub origin: Origin,
    /// Who asks.
    pub actor: Actor,
    /// What is asked.
    pub command: Command,
}

/// What makes a retry recognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A command of a session, numbered densely from 1 within (session, site).
    Session {
        /// Which session.
        session: SessionId,
        /// Its number.
        sequence: u64,
        /// The client has the outcomes of all commands up to this number: they may be forgotten.
        acknowledged: u64,
    },
    /// An HTTP request with its `Idempotency-Key`.
    Request {
        /// Whose credential; windows are kept per principal.
        principal: PrincipalId,
        /// The key.
        request: RequestId,
    },
    /// The cluster itself. Such commands do nothing when repeated.
    Internal,
}

/// Who asks, as the door authenticated them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The cluster itself.
    System,
    /// Sets up the site.
    Administrator(PrincipalId),
    /// Oversees agents and queues; may also open and close conversations for integrations.
    Supervisor(PrincipalId),
    /// Serves customers.
    Agent(AgentId),
    /// Is served.
    Customer(CustomerId),
}

/// Whom a session serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// An agent's screen.
    Agent(AgentId),
    /// A customer's widget.
    Customer(CustomerId),
    /// A supervisor's or integration's connection.
    Principal(PrincipalId),
}

/// What is asked of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Replaces the site's settings.
    PutSite {
        /// The new settings.
        settings: SiteSettings,
    },
    /// Names a skill.
    PutSkill {
        /// Which.
        skill: SkillId,
        /// Its name.
        name: Name,
    },
    /// Names a reason for being not ready.
    PutReason {
        /// Which.
        reason: ReasonId,
        /// Its name.
        name: Name,
    },
    /// Names a disposition.
    PutDisposition {
        /// Which.
        disposition: DispositionId,
        /// Its name.
        name: Name,
    },
    /// Makes or replaces a queue.
    PutQueue {
        /// Which.
        queue: QueueId,
        /// How it works from here on. Items that wait keep their deadlines.
        plan: QueuePlan,
    },
    /// Makes or replaces an agent.
    PutAgent {
        /// Which.
        agent: AgentId,
        /// Who they are. A smaller capacity takes effect as conversations end.
        profile: AgentProfile,
    },
    /// Makes or replaces a webhook.
    PutWebhook {
        /// Which.
        webhook: WebhookId,
        /// What it is told, and where. What waits to be told keeps its deadline.
        plan: WebhookPlan,
        /// What its messages are signed with from here on; the present one if absent.
        secret: Option<Secret>,
    },
    /// Gives a queue a bot, changes it, or takes it away.
    PutBot {
        /// Which queue's.
        queue: QueueId,
        /// Where it is; without it the queue has none. Conversations that it serves at the time
        /// are handed over when their customers write next.
        plan: Option<BotPlan>,
        /// What its turns are signed with from here on; the present one if absent.
        secret: Option<Secret>,
    },
    /// A bot has answered a turn, which is its outcome.
    EndTurn {
        /// Which; one that is over changes nothing.
        effect: EffectId,
        /// How often it was tried.
        attempts: u32,
        /// The HTTP status.
        status: u16,
        /// What it says and wants.
        answer: Box<BotAnswer>,
    },
    /// A customer whom a bot serves, or a supervisor for them, wants an agent.
    HandOver {
        /// The conversation.
        conversation: ConversationId,
        /// In which queue, if a supervisor says so; the present one if absent.
        queue: Option<QueueId>,
    },
    /// A *once* effect begins: from here on nobody but this run of this owner may do it.
    StartEffect {
        /// Which.
        effect: EffectId,
        /// Who, under which view. It must be the owner under the present one.
        start: EffectStart,
    },
    /// An effect came out.
    EndEffect {
        /// Which; one that is over changes nothing.
        effect: EffectId,
        /// How.
        outcome: EffectOutcome,
        /// How often it was tried.
        attempts: u32,
        /// What the other side said last, if it said anything: an HTTP status.
        status: Option<u16>,
        /// Under which beginning that was, for a *once* effect that had one. Who did not begin it
        /// may say one thing only: that nobody can know.
        start: Option<EffectStart>,
    },
    /// A session begins, or returns on this or another gateway.
    Attach {
        /// Which session.
        session: SessionId,
        /// Whom it serves; never changes.
        subject: Subject,
        /// Where its socket is.
        gateway: GatewayId,
    },
    /// A session's socket is gone, or its client said good-bye.
    Detach {
        /// Which session.
        session: SessionId,
        /// The gateway that lost it; ignored if the session lives on another one.
        gateway: GatewayId,
        /// Whether the client said good-bye; a lost socket may return.
        ended: bool,
    },
    /// An agent says whether they want conversations.
    Declare {
        /// Which agent.
        agent: AgentId,
        /// What they say.
        declared: Declared,
    },
    /// A customer arrives.
    Open {
        /// The new conversation's id.
        conversation: ConversationId,
        /// Where it waits.
        queue: QueueId,
        /// How it travels.
        channel: Channel,
        /// How soon it is served; the queue's default if absent.
        priority: Option<Priority>,
        /// What it requires of an agent beyond what the queue requires.
        #[serde(default)]
        skills: Vec<RequiredSkill>,
        /// Who arrives, if known.
        customer: Option<CustomerId>,
        /// Declared, non-personal facts.
        #[serde(default)]
        attributes: Attributes,
        /// The first message, if there is one.
        item: Option<Item>,
        /// Whom it is with, on the channel e-mail: what agents write there is mailed to them.
        #[serde(default)]
        mail: Option<Box<MailParty>>,
    },
    /// An agent takes an offer.
    Accept {
        /// The conversation offered.
        conversation: ConversationId,
        /// The offer; any other one is gone.
        offer: OfferId,
    },
    /// An agent turns an offer down.
    Decline {
        /// The conversation offered.
        conversation: ConversationId,
        /// The offer; any other one is gone.
        offer: OfferId,
        /// Why, for reports.
        reason: Option<ReasonId>,
    },
    /// A message or note is added.
    Post {
        /// Where.
        conversation: ConversationId,
        /// What.
        item: Item,
        /// Whether the customer must not see it.
        #[serde(default)]
        note: bool,
        /// The ordinal of the last item the author has seen; refused if another agent has
        /// answered since. E-mail and task posts of agents must carry it.
        seen_to: Option<u32>,
    },
    /// The agent puts the customer on hold.
    Hold {
        /// Which conversation.
        conversation: ConversationId,
    },
    /// The agent is back.
    Retrieve {
        /// Which conversation.
        conversation: ConversationId,
    },
    /// A waiting or assigned conversation goes to the end of what it has not yet waited for.
    Requeue {
        /// Which conversation.
        conversation: ConversationId,
        /// Where to; its present queue if absent.
        queue: Option<QueueId>,
        /// Its new priority; the present one if absent.
        priority: Option<Priority>,
    },
    /// The agent or a supervisor ends it.
    Close {
        /// Which conversation.
        conversation: ConversationId,
    },
    /// The customer ends it, or leaves before being served.
    Abandon {
        /// Which conversation.
        conversation: ConversationId,
    },
    /// The agent has finished what comes after the conversation.
    WrapUp {
        /// Which conversation.
        conversation: ConversationId,
        /// How it went.
        disposition: Option<DispositionId>,
        /// What the next agent should know.
        note: Option<Sealed>,
    },
}

impl Command {
    /// The conversation it is about, if it is about one.
    pub const fn conversation(&self) -> Option<ConversationId> {
        match self {
            Self::Open { conversation, .. }
            | Self::Accept { conversation, .. }
            | Self::Decline { conversation, .. }
            | Self::Post { conversation, .. }
            | Self::Hold { conversation }
            | Self::Retrieve { conversation }
            | Self::Requeue { conversation, .. }
            | Self::HandOver { conversation, .. }
            | Self::Close { conversation }
            | Self::Abandon { conversation }
            | Self::WrapUp { conversation, .. } => Some(*conversation),
            _ => None,
        }
    }

    /// What it names of attached files.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        let (one, several) = match self {
            Self::Open { item, .. } => (item.as_ref(), &[][..]),
            Self::Post { item, .. } => (Some(item), &[][..]),
            Self::EndTurn { answer, .. } => (None, answer.messages.as_slice()),
            _ => (None, &[][..]),
        };
        one.into_iter().chain(several).flat_map(|item| &item.body.attachments)
    }

    /// Whether what it says and names is within its bounds, as the shard will look again.
    ///
    /// # Errors
    /// [`BadValue`] naming the bound.
    pub fn check_bodies(&self) -> Result<(), BadValue> {
        match self {
            Self::Open { item, .. } => item.as_ref().map_or(Ok(()), |item| item.body.check()),
            Self::Post { item, .. } => item.body.check(),
            Self::EndTurn { answer, .. } => answer.check(),
            _ => Ok(()),
        }
    }

    /// The word that metrics and logs use.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::PutSite { .. } => "put_site",
            Self::PutSkill { .. } => "put_skill",
            Self::PutReason { .. } => "put_reason",
            Self::PutDisposition { .. } => "put_disposition",
            Self::PutQueue { .. } => "put_queue",
            Self::PutAgent { .. } => "put_agent",
            Self::PutWebhook { .. } => "put_webhook",
            Self::PutBot { .. } => "put_bot",
            Self::EndTurn { .. } => "end_turn",
            Self::HandOver { .. } => "hand_over",
            Self::StartEffect { .. } => "start_effect",
            Self::EndEffect { .. } => "end_effect",
            Self::Attach { .. } => "attach",
            Self::Detach { .. } => "detach",
            Self::Declare { .. } => "declare",
            Self::Open { .. } => "open",
            Self::Accept { .. } => "accept",
            Self::Decline { .. } => "decline",
            Self::Post { .. } => "post",
            Self::Hold { .. } => "hold",
            Self::Retrieve { .. } => "retrieve",
            Self::Requeue { .. } => "requeue",
            Self::Close { .. } => "close",
            Self::Abandon { .. } => "abandon",
            Self::WrapUp { .. } => "wrap_up",
        }
    }
}
