//! A conversation as routing knows it: where it is in its life, and its place in line.
//!
//! ```text
//!      open             match             accept              close            wrap-up
//!    ------> Waiting ----------> Offered ----------> Assigned ------> WrapUp ----------> gone
//!              ^  ^                 |                    |
//!              |  +-----------------+ declined, expired, |
//!              |                      withdrawn          |
//!              +-----------------------------------------+ requeued, agent lost, signed out
//! ```
//!
//! In a queue that has a bot it begins in `SelfService`, and waits when it is handed over (`bot`).
//!
//! A customer who leaves, or waits too long, goes from `Waiting` or `Offered` straight to gone, as
//! does an assignment in a queue without wrap-up.
//!
//! Words and names are not here: hot state holds item ids and counts.

use rotary_proto::event::{EndReason, OfferEnd};
use rotary_proto::ids::{AgentId, CustomerId, EffectId, ItemId, OfferId, QueueId};
use rotary_proto::limits;
use rotary_proto::plan::RequiredSkill;
use rotary_proto::{Channel, Priority, Stamp};
use serde::{Deserialize, Serialize};

/// A place in line: the lowest is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    /// `Priority::MAX` minus the priority's level.
    pub(crate) urgency: u8,
    /// When the waiting began, moved back by what was waited before.
    pub(crate) since: Stamp,
    /// Ties end in the id.
    pub(crate) unique: u128,
}

/// A live conversation's hot state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Conversation {
    /// How it travels.
    pub(crate) channel: Channel,
    /// Who is served, if known.
    pub(crate) customer: Option<CustomerId>,
    /// Where it waits, or came from.
    pub(crate) queue: QueueId,
    /// How soon it is served.
    pub(crate) priority: Priority,
    /// What it requires beyond what its queue does.
    pub(crate) skills: Vec<RequiredSkill>,
    /// What it required when it took its place, the queue's skills included.
    pub(crate) required: Vec<RequiredSkill>,
    /// The slot of its class while it waits or is on offer. Derived.
    #[serde(skip)]
    pub(crate) class: u32,
    /// When it was opened: its place after an involuntary return.
    pub(crate) opened: Stamp,
    /// The time that orders it in line.
    pub(crate) since: Stamp,
    /// When the present wait began.
    pub(crate) entered: Stamp,
    /// What it waited before the present wait, in microseconds.
    pub(crate) waited_us: u64,
    /// When its longest wait ends.
    pub(crate) wait_until: Stamp,
    /// Where it is in its life.
    pub(crate) stage: Stage,
    /// How many assignments it has had.
    pub(crate) legs: u32,
    /// How many items it has.
    pub(crate) items: u32,
    /// The newest items' ids, oldest first.
    pub(crate) recent: Vec<ItemId>,
    /// The newest item of each of the two agents who wrote last, newest first.
    pub(crate) answers: Vec<(AgentId, u32)>,
    /// Who declined it, until when that holds; oldest first.
    pub(crate) declines: Vec<(AgentId, Stamp)>,
    /// How the last offer ended that did not become an assignment.
    pub(crate) last_offer: Option<(OfferId, OfferEnd)>,
    /// Its mails, where what agents write is mailed.
    pub(crate) mail: Option<MailThread>,
    /// Turns of its bot that wait for their answers, oldest first.
    pub(crate) turns: Vec<EffectId>,
    /// When the alarm for the end of its stage rings.
    #[serde(skip)]
    pub(crate) alarm: Option<Stamp>,
    /// When the alarm for declines that no longer hold rings, if it is set.
    #[serde(skip)]
    pub(crate) declines_alarm: Option<Stamp>,
}

/// The mails of a conversation, as far as routing keeps them: whom it is with is in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MailThread {
    /// The sequence of the event that says whom it is with.
    pub(crate) opened: u64,
    /// The last mail, which the next one refers to.
    pub(crate) last: Option<EffectId>,
}

/// Where a conversation is in its life. Every stage has a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// With the bot of its queue.
    SelfService {
        /// When silence ends it.
        until: Stamp,
    },
    /// In line, until `wait_until`.
    Waiting,
    /// Proposed to an agent, its place kept.
    Offered {
        /// The offer.
        offer: OfferId,
        /// To whom.
        agent: AgentId,
        /// When it ends by itself.
        until: Stamp,
        /// What its agent was told; `until` is sooner while no session of theirs lives.
        promised: Stamp,
    },
    /// With an agent.
    Assigned {
        /// Who serves.
        agent: AgentId,
        /// When silence or length ends it.
        until: Stamp,
        /// When the hold ends by itself, while held.
        held: Option<Stamp>,
    },
    /// The customer is gone.
    WrapUp {
        /// Who served.
        agent: AgentId,
        /// When it ends by itself.
        until: Stamp,
    },
}

impl Stage {
    /// The agent whose capacity it uses.
    pub(crate) const fn agent(self) -> Option<AgentId> {
        match self {
            Self::SelfService { .. } | Self::Waiting => None,
            Self::Offered { agent, .. }
            | Self::Assigned { agent, .. }
            | Self::WrapUp { agent, .. } => Some(agent),
        }
    }
}

impl Conversation {
    /// Its place in line.
    pub(crate) const fn place(&self, unique: u128) -> Place {
        Place { urgency: Priority::MAX - self.priority.level(), since: self.since, unique }
    }

    /// Why it ends when its customer wants no more: who was not served yet gives up.
    pub(crate) const fn ended_by_customer(&self) -> EndReason {
        match self.stage {
            Stage::SelfService { .. } | Stage::Assigned { .. } => EndReason::Customer,
            _ => EndReason::Abandoned,
        }
    }

    /// Whether its assignment ends after a length, not after silence.
    pub(crate) const fn is_timed_by_length(&self) -> bool {
        matches!(self.channel, Channel::Voice | Channel::Email | Channel::Task)
    }

    /// When something must happen to it.
    pub(crate) fn due(&self) -> Stamp {
        match self.stage {
            Stage::Waiting => self.wait_until,
            Stage::SelfService { until }
            | Stage::Offered { until, .. }
            | Stage::WrapUp { until, .. } => until,
            Stage::Assigned { until, held, .. } => held.map_or(until, |held| held.min(until)),
        }
    }

    /// When the first decline in force ends.
    pub(crate) fn declines_due(&self) -> Option<Stamp> {
        self.declines.iter().map(|(_, until)| *until).min()
    }

    /// Whether that agent declined it and the delay is not over.
    pub(crate) fn is_declined_by(&self, agent: AgentId) -> bool {
        self.declines.iter().any(|(who, _)| *who == agent)
    }

    /// Remembers a decline; the oldest is forgotten at the bound.
    pub(crate) fn decline(&mut self, agent: AgentId, until: Stamp) {
        self.declines.retain(|(who, _)| *who != agent);
        if self.declines.len() >= limits::DECLINES_PER_CONVERSATION_MAX {
            self.declines.remove(0);
        }
        self.declines.push((agent, until));
    }

    /// How long it has waited in all, in microseconds.
    pub(crate) fn waited_us(&self, now: Stamp) -> u64 {
        match self.stage {
            Stage::Waiting | Stage::Offered { .. } => {
                self.waited_us.saturating_add(now.micros_since(self.entered))
            }
            Stage::SelfService { .. } | Stage::Assigned { .. } | Stage::WrapUp { .. } => {
                self.waited_us
            }
        }
    }

    /// Whether an item of that id is among the newest.
    pub(crate) fn knows_item(&self, item: ItemId) -> bool {
        self.recent.contains(&item)
    }

    /// Counts an item in, and gives its ordinal.
    pub(crate) fn add_item(&mut self, item: ItemId, agent: Option<AgentId>) -> u32 {
        self.items += 1;
        if self.recent.len() >= limits::ITEMS_REMEMBERED_MAX {
            self.recent.remove(0);
        }
        self.recent.push(item);
        if let Some(agent) = agent {
            self.answers.retain(|(who, _)| *who != agent);
            self.answers.insert(0, (agent, self.items));
            self.answers.truncate(2);
        }
        self.items
    }

    /// The newest item that an agent other than `author` wrote.
    pub(crate) fn answer_of_another(&self, author: Option<AgentId>) -> Option<u32> {
        let others = self.answers.iter().filter(|(who, _)| Some(*who) != author);
        others.map(|(_, ordinal)| *ordinal).max()
    }
}
