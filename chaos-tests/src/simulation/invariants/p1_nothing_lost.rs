//! P1: nothing acknowledged is lost.
//!
//! Every answer a client gets names an entry; that entry has been applied, is the client's own
//! command, and stays in the log at that place to the end, through crashes of a minority and
//! through loss of power on all nodes. A conversation whose opening was acknowledged was opened.

use std::collections::{BTreeMap, BTreeSet};

use rotary_proto::{ConversationId, Event, Outcome, ShardCommand};
use xxhash_rust::xxh3::xxh3_64;

use super::{Findings, Seen};
use crate::simulation::history::Acknowledged;
use crate::simulation::story::Story;

/// What must be there at the end.
#[derive(Default)]
pub(crate) struct NothingLost {
    /// The hash of the payload acknowledged at each (shard, index).
    owed: BTreeMap<(u32, u64), u64>,
    opened: BTreeSet<ConversationId>,
    acknowledged_opens: BTreeSet<ConversationId>,
}

impl NothingLost {
    pub(crate) fn applied(&mut self, seen: &Seen<'_>) {
        for record in seen.events {
            if let Event::Opened { conversation, .. } = record.event {
                self.opened.insert(conversation);
            }
        }
    }

    pub(crate) fn acknowledged(
        &mut self,
        told: &Acknowledged<'_>,
        story: &Story,
        found: &mut Findings,
    ) {
        let (operation, index) = (told.operation, told.index);
        let entry = story.entry(index).map(|entry| entry.payload.as_slice());
        if entry != Some(&operation.payload) {
            let there = if entry.is_some() { "another command" } else { "nothing" };
            let what = &operation.label;
            found.breach("P1", format!("{what} was acknowledged at {index}: {there} is there"));
        }
        self.owed.insert((operation.shard, index), xxh3_64(&operation.payload));
        if let Outcome::Done(_) = told.answer.outcome
            && let Some(conversation) = opens(&operation.payload)
        {
            self.acknowledged_opens.insert(conversation);
        }
    }

    pub(crate) fn end(&self, stories: &[Story], found: &mut Findings) {
        for ((shard, index), hash) in &self.owed {
            let entry = stories[*shard as usize].entry(*index);
            if entry.is_none_or(|entry| xxh3_64(&entry.payload) != *hash) {
                found.breach("P1", format!("what was acknowledged at {index} is gone"));
            }
        }
        for conversation in self.acknowledged_opens.difference(&self.opened) {
            found.breach("P1", format!("{conversation} was acknowledged and never opened"));
        }
    }
}

fn opens(payload: &[u8]) -> Option<ConversationId> {
    match crate::simulation::machine::decode(payload)? {
        ShardCommand::Site(envelope) => match envelope.command {
            rotary_proto::Command::Open { conversation, .. } => Some(conversation),
            _ => None,
        },
        _ => None,
    }
}
