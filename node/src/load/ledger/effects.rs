//! Which command left which trace in a site's events.

use std::collections::BTreeMap;

use rotary_proto::event::{Author, EndReason, OfferEnd};
use rotary_proto::outcome::Done;
use rotary_proto::{Actor, Command, ConversationId, Event, SiteId};

use super::history::Op;
use super::readings::{FeedEvent, NodeReading};

/// A node's events, found by conversation.
#[derive(Debug)]
pub(crate) struct Effects<'a> {
    /// In order of the log within each conversation.
    pub conversations: BTreeMap<ConversationId, Vec<&'a FeedEvent>>,
    /// By site, in order of the log.
    pub sites: &'a BTreeMap<SiteId, Vec<FeedEvent>>,
}

impl<'a> Effects<'a> {
    /// What a node told, sorted.
    pub(crate) fn of(reading: &'a NodeReading) -> Self {
        let mut conversations: BTreeMap<ConversationId, Vec<&FeedEvent>> = BTreeMap::new();
        for record in reading.sites.values().flatten() {
            if let Some(conversation) = record.event.conversation() {
                conversations.entry(conversation).or_default().push(record);
            }
        }
        Self { conversations, sites: &reading.sites }
    }

    /// The events of a conversation.
    pub(crate) fn conversation(&self, conversation: ConversationId) -> &[&'a FeedEvent] {
        self.conversations.get(&conversation).map_or(&[], Vec::as_slice)
    }

    /// The events that can be the effect of that command; `None` if it leaves none that can be
    /// told apart.
    pub(crate) fn traces(&self, op: &Op) -> Option<Vec<&'a FeedEvent>> {
        let conversation = op.command.conversation()?;
        let events = self.conversation(conversation).iter();
        Some(events.filter(|record| is_effect(op, &record.event)).copied().collect())
    }
}

/// Whether an event is what that command does when it is done.
fn is_effect(op: &Op, event: &Event) -> bool {
    match (&*op.command, event) {
        (Command::Open { .. }, Event::Opened { .. })
        | (Command::Requeue { .. }, Event::Queued { .. }) => true,
        (Command::Accept { offer, .. }, Event::Assigned { offer: taken, agent, .. }) => {
            offer == taken && op.actor == Actor::Agent(*agent)
        }
        (Command::Decline { offer, .. }, Event::OfferEnded { offer: gone, agent, why, .. }) => {
            let declined = *why == OfferEnd::Declined;
            offer == gone && declined && op.actor == Actor::Agent(*agent)
        }
        (Command::Post { item, .. }, Event::Posted { item: posted, author, .. }) => {
            item.id == *posted && wrote(op.actor, *author)
        }
        (Command::Hold { .. }, Event::Held { agent, .. }) => op.actor == Actor::Agent(*agent),
        (Command::Retrieve { .. }, Event::Retrieved { agent, expired, .. }) => {
            !expired && op.actor == Actor::Agent(*agent)
        }
        (Command::Close { .. }, Event::Ended { why, .. }) => match op.actor {
            Actor::Agent(_) => *why == EndReason::Agent,
            _ => *why == EndReason::Supervisor,
        },
        (Command::Abandon { .. }, Event::Ended { why, .. }) => {
            matches!(why, EndReason::Abandoned | EndReason::Customer)
        }
        (Command::WrapUp { disposition, .. }, Event::Closed { disposition: said, expired, .. }) => {
            disposition == said && !expired
        }
        _ => false,
    }
}

/// Whether that author is how an item of that actor is signed.
fn wrote(actor: Actor, author: Author) -> bool {
    match (actor, author) {
        (Actor::Customer(_), Author::Customer) => true,
        (Actor::Agent(agent), Author::Agent(signed)) => agent == signed,
        (Actor::Administrator(_) | Actor::Supervisor(_) | Actor::System, Author::System) => true,
        _ => false,
    }
}

/// Whether what was acknowledged says the same as its effect.
pub(crate) fn says(done: Option<Done>, event: &Event) -> bool {
    match (done, event) {
        (Some(Done::Posted { ordinal }), Event::Posted { ordinal: placed, .. }) => {
            ordinal == *placed
        }
        (Some(Done::Accepted { offer, leg }), Event::Assigned { offer: o, leg: l, .. }) => {
            offer == *o && leg == *l
        }
        _ => true,
    }
}

/// What became of a command whose outcome nobody knew, by reading: whether it was done. `None` if
/// its effect cannot be told from others'.
///
/// Only sound once nothing of it can still be on its way.
pub(crate) fn settle(op: &Op, effects: &Effects<'_>) -> Option<bool> {
    match &*op.command {
        Command::Open { .. }
        | Command::Accept { .. }
        | Command::Decline { .. }
        | Command::Post { .. }
        | Command::Close { .. }
        | Command::Abandon { .. }
        | Command::WrapUp { .. } => effects.traces(op).map(|traces| !traces.is_empty()),
        // What an agent declares is a state, and holding is one: only the last word counts, and
        // the feeds of all replicas agree on it.
        Command::Declare { .. } | Command::Hold { .. } | Command::Retrieve { .. } => Some(false),
        _ => None,
    }
}
