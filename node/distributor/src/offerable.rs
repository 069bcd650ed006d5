//! Who may be offered what: the one definition (promise P4).
//!
//! Matching answers this question through its indexes; checks and explanations ask it here, pair
//! by pair.

use rotary_proto::ids::AgentId;

use crate::conversation::{Conversation, Stage};
use crate::site::Site;

/// What keeps a conversation from being offered to an agent; the first that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// It is not in line.
    NotWaiting,
    /// The agent lacks a required skill, or its level.
    Skills,
    /// The agent is not ready, or has no live session.
    NotRoutable,
    /// The agent has no room for its channel.
    NoRoom,
    /// The agent declined it, and the delay is not over.
    Declined,
}

/// What keeps `conversation` from being offered to `agent` in `site`; `None` if nothing does.
pub(crate) fn obstacle(
    site: &Site,
    conversation: &Conversation,
    agent: AgentId,
) -> Option<Obstacle> {
    if conversation.stage != Stage::Waiting {
        return Some(Obstacle::NotWaiting);
    }
    let Some(known) = site.agents.get(agent) else { return Some(Obstacle::NotRoutable) };
    if !known.has_skills(&conversation.required) {
        Some(Obstacle::Skills)
    } else if !site.is_routable(known) {
        Some(Obstacle::NotRoutable)
    } else if !known.has_room(conversation.channel) {
        Some(Obstacle::NoRoom)
    } else if conversation.is_declined_by(agent) {
        Some(Obstacle::Declined)
    } else {
        None
    }
}
