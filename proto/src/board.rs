//! Figures of a site for those who see figures alone: how much waits where, and how many agents
//! there are for it. No person is in them.

use serde::{Deserialize, Serialize};

use crate::event::Cursor;
use crate::ids::QueueId;
use crate::values::Name;

/// A site's figures as of a cursor. The latest are the ones that count: who missed some missed
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub struct BoardFrame {
    /// Dense within the session, from 1.
    pub seq: u64,
    /// Which site, and what of it is counted.
    pub cursor: Cursor,
    /// Whether every queue is named; otherwise those are whose figures are other than before.
    pub whole: bool,
    /// The site's agents.
    pub agents: BoardAgents,
    /// Queues, in order of their ids.
    pub queues: Vec<BoardQueue>,
}

/// A queue's figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardQueue {
    /// Which.
    pub queue: QueueId,
    /// Its name.
    pub name: Name,
    /// Conversations with its bot.
    pub self_service: u64,
    /// Conversations waiting, none of them offered.
    pub waiting: u64,
    /// How long the one that has waited longest has waited.
    pub oldest_wait_ms: u64,
    /// Conversations on offer.
    pub offered: u64,
    /// Conversations with agents.
    pub assigned: u64,
    /// Conversations whose agents are in wrap-up.
    pub wrap_up: u64,
}

/// How many agents of a site do what; each agent is counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoardAgents {
    /// Ready, and holding nothing.
    pub idle: u64,
    /// Holding conversations, offers included.
    pub busy: u64,
    /// At work, wanting nothing and holding nothing.
    pub not_ready: u64,
    /// At work as far as they said, without a live session.
    pub away: u64,
    /// Not at work.
    pub signed_out: u64,
}
