//! Refusals: the deterministic noes, in order of precedence.
//!
//! A refusal is part of the replicated history: the same command meets the same refusal on every
//! replica, and a retry gets it again. Where several apply, the first in the order of this file
//! wins, which tests check against an independent listing.

use serde::{Deserialize, Serialize};

use crate::event::OfferEnd;
use crate::ids::ShardId;

/// Why a command was refused. The order of the variants is their precedence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The bytes of the entry are not a command of this build.
    #[error("the command could not be read: are the versions alike?")]
    Malformed,
    /// There is no such site in this shard.
    #[error("there is no such site here; create it first, or check the id")]
    SiteUnknown,
    /// The site is frozen after a fault and waits for a fixed version.
    #[error("the site is frozen after a fault; an operator must lift it")]
    SiteFrozen,
    /// The outcome of this command, if it was ever applied, is no longer known.
    #[error("too old to know whether this was done already; look before you send it anew")]
    OutcomeForgotten,
    /// More commands are unacknowledged than a session may have.
    #[error("too many commands of this session are unacknowledged; acknowledge outcomes first")]
    WindowFull,
    /// The command's session is not attached to this site.
    #[error("this session is not known here; start a new one")]
    SessionUnknown,
    /// Who asks may not do this.
    #[error("{actor} may not do this")]
    NotAllowed {
        /// The role of who asked.
        actor: String,
    },
    /// A value breaks its bound.
    #[error("{field}: {rule}")]
    BadValue {
        /// Which value.
        field: String,
        /// What is allowed.
        rule: String,
    },
    /// The command names another site than the one it was sent to.
    #[error("the conversation belongs to another site")]
    WrongSite,
    /// There is no such queue.
    #[error("there is no such queue in this site")]
    QueueUnknown,
    /// There is no such agent.
    #[error("there is no such agent in this site")]
    AgentUnknown,
    /// There is no such skill.
    #[error("there is no such skill in this site")]
    SkillUnknown,
    /// There is no such not-ready reason.
    #[error("there is no such not-ready reason in this site")]
    ReasonUnknown,
    /// There is no such disposition.
    #[error("there is no such disposition in this site")]
    DispositionUnknown,
    /// The session belongs to somebody else.
    #[error("this session serves somebody else")]
    SessionTaken,
    /// A conversation of that id exists or existed.
    #[error("a conversation of this id exists already")]
    ConversationExists,
    /// The conversation is over.
    #[error("the conversation is over")]
    ConversationClosed,
    /// There is no such conversation.
    #[error("there is no such conversation in this site")]
    ConversationUnknown,
    /// The offer is not the one that stands.
    #[error("the offer is gone{}", why.map_or(String::new(), |why| format!(": {}", why.word())))]
    OfferGone {
        /// How it ended, where that is still known.
        why: Option<OfferEnd>,
    },
    /// The conversation is another agent's or customer's.
    #[error("the conversation is not yours")]
    NotYours,
    /// The agent must declare themselves first.
    #[error("the agent is signed out; declare ready or not ready first")]
    AgentSignedOut,
    /// No session of the agent lives.
    #[error("the agent has no live session; attach one first")]
    AgentAway,
    /// The conversation is not with an agent.
    #[error("the conversation is not assigned")]
    NotAssigned,
    /// The conversation is on hold already.
    #[error("the conversation is on hold already")]
    AlreadyHeld,
    /// The conversation is not on hold.
    #[error("the conversation is not on hold")]
    NotHeld,
    /// The conversation is not in wrap-up.
    #[error("the conversation is not in wrap-up")]
    NotInWrapUp,
    /// The queue demands a disposition.
    #[error("this queue demands a disposition")]
    DispositionRequired,
    /// An item of that id is in the conversation.
    #[error("an item of this id is in the conversation already")]
    ItemExists,
    /// Another agent has answered since.
    #[error("another agent wrote item {ordinal}; read it, then send with seen_to {ordinal}")]
    AnswerUnseen {
        /// The item that the author has not seen.
        ordinal: u32,
    },
    /// A post on this channel must say what its author has seen.
    #[error("an agent's post on this channel must carry seen_to")]
    SeenToRequired,
    /// No bot serves the conversation.
    #[error("no bot serves the conversation")]
    NotInSelfService,
    /// The effect is over, or not this owner's to begin or to end.
    #[error("the effect is over, or another's to perform")]
    EffectFenced,
    /// A bound of the site is reached.
    #[error("{limit} is reached")]
    LimitReached {
        /// The bound, as `limits.rs` names it.
        limit: String,
    },
    /// The site has left this shard. No other refusal is possible then: its state is elsewhere.
    #[error("the site lives in {shard}, or is on its way there")]
    SiteAway {
        /// Where it is to be asked.
        shard: ShardId,
    },
}

impl Refusal {
    /// Its precedence: the lowest of those that apply wins. Equal for equal variants.
    pub const fn precedence(&self) -> u8 {
        match self {
            Self::Malformed => 0,
            Self::SiteUnknown => 1,
            Self::SiteFrozen => 2,
            Self::OutcomeForgotten => 3,
            Self::WindowFull => 4,
            Self::SessionUnknown => 5,
            Self::NotAllowed { .. } => 6,
            Self::BadValue { .. } => 7,
            Self::WrongSite => 8,
            Self::QueueUnknown => 9,
            Self::AgentUnknown => 10,
            Self::SkillUnknown => 11,
            Self::ReasonUnknown => 12,
            Self::DispositionUnknown => 13,
            Self::SessionTaken => 14,
            Self::ConversationExists => 15,
            Self::ConversationClosed => 16,
            Self::ConversationUnknown => 17,
            Self::OfferGone { .. } => 18,
            Self::NotYours => 19,
            Self::AgentSignedOut => 20,
            Self::AgentAway => 21,
            Self::NotAssigned => 22,
            Self::AlreadyHeld => 23,
            Self::NotHeld => 24,
            Self::NotInWrapUp => 25,
            Self::DispositionRequired => 26,
            Self::ItemExists => 27,
            Self::AnswerUnseen { .. } => 28,
            Self::SeenToRequired => 29,
            Self::NotInSelfService => 30,
            Self::EffectFenced => 31,
            Self::LimitReached { .. } => 32,
            Self::SiteAway { .. } => 33,
        }
    }

    /// The stable word that APIs, metrics and scripts use.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::SiteUnknown => "site-unknown",
            Self::SiteFrozen => "site-frozen",
            Self::OutcomeForgotten => "outcome-forgotten",
            Self::WindowFull => "window-full",
            Self::SessionUnknown => "session-unknown",
            Self::NotAllowed { .. } => "not-allowed",
            Self::BadValue { .. } => "bad-value",
            Self::WrongSite => "wrong-site",
            Self::QueueUnknown => "queue-unknown",
            Self::AgentUnknown => "agent-unknown",
            Self::SkillUnknown => "skill-unknown",
            Self::ReasonUnknown => "reason-unknown",
            Self::DispositionUnknown => "disposition-unknown",
            Self::SessionTaken => "session-taken",
            Self::ConversationExists => "conversation-exists",
            Self::ConversationClosed => "conversation-closed",
            Self::ConversationUnknown => "conversation-unknown",
            Self::OfferGone { .. } => "offer-gone",
            Self::NotYours => "not-yours",
            Self::AgentSignedOut => "agent-signed-out",
            Self::AgentAway => "agent-away",
            Self::NotAssigned => "not-assigned",
            Self::AlreadyHeld => "already-held",
            Self::NotHeld => "not-held",
            Self::NotInWrapUp => "not-in-wrap-up",
            Self::DispositionRequired => "disposition-required",
            Self::ItemExists => "item-exists",
            Self::AnswerUnseen { .. } => "answer-unseen",
            Self::SeenToRequired => "seen-to-required",
            Self::NotInSelfService => "not-in-self-service",
            Self::EffectFenced => "effect-fenced",
            Self::LimitReached { .. } => "limit-reached",
            Self::SiteAway { .. } => "site-away",
        }
    }
}

impl OfferEnd {
    /// The word that APIs and scripts use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::Expired => "expired",
            Self::AgentNotReady => "agent-not-ready",
            Self::AgentLost => "agent-lost",
            Self::CustomerLeft => "customer-left",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl From<crate::values::BadValue> for Refusal {
    fn from(bad: crate::values::BadValue) -> Self {
        Self::BadValue { field: bad.field.to_owned(), rule: bad.rule }
    }
}
