//! Once everything is healed the cluster converges and serves.
//!
//! Every node that may run applies the same entries within a bound, and conversations opened from
//! then on reach an agent within a bound.

use std::collections::BTreeMap;

use rotary_proto::{ConversationId, Event};

use super::Findings;
use crate::simulation::history::Ms;
use crate::simulation::story::Story;

/// How long the cluster may take to agree after the last heal.
pub(crate) const CONVERGE_MS_MAX: Ms = 30_000;
/// How long a conversation may take to reach an agent after that.
pub(crate) const SERVE_MS_MAX: Ms = 90_000;

/// The conversations that must reach somebody.
#[derive(Default)]
pub(crate) struct Liveness {
    waiting: BTreeMap<ConversationId, Ms>,
    read: Vec<usize>,
}

impl Liveness {
    /// A conversation that was asked for at that time.
    pub(crate) fn expect(&mut self, conversation: ConversationId, now_ms: Ms) {
        self.waiting.insert(conversation, now_ms);
    }

    /// Takes those off that have reached an agent; whether none is left.
    pub(crate) fn served(&mut self, stories: &[Story]) -> bool {
        self.read.resize(stories.len(), 0);
        for (story, read) in stories.iter().zip(&mut self.read) {
            for record in &story.events()[*read..] {
                if let Event::Assigned { conversation, .. } = record.event {
                    self.waiting.remove(&conversation);
                }
            }
            *read = story.events().len();
        }
        self.waiting.is_empty()
    }

    /// What has waited for too long.
    pub(crate) fn check(&self, now_ms: Ms, found: &mut Findings) {
        for (conversation, since) in &self.waiting {
            if now_ms - since > SERVE_MS_MAX {
                let what = format!("{conversation} waits since {since}, {now_ms} is now");
                found.breach("serve", what);
            }
        }
    }
}
