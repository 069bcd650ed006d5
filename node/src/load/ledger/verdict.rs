//! What the checker found.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The offending ids, by kind. Every list must be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Acknowledged, and not found as it was acknowledged.
    pub lost: BTreeSet<String>,
    /// Found more often than asked for, or without having been asked for.
    pub duplicated: BTreeSet<String>,
    /// Messages in another order than they were acknowledged in.
    pub misordered: BTreeSet<String>,
    /// Conversations with two agents at once.
    pub double_assigned: BTreeSet<String>,
    /// Agents with more than they may hold.
    pub over_capacity: BTreeSet<String>,
    /// Streams with holes, repetitions or differences.
    pub gaps: BTreeSet<String>,
    /// Replicas that tell different stories.
    pub differing: BTreeSet<String>,
    /// Commands whose outcome is not known even at the end.
    pub unknown_unresolved: BTreeSet<String>,
    /// Conversations and offers that did not end.
    pub stuck: BTreeSet<String>,
    /// What was looked at.
    pub looked_at: LookedAt,
}

/// How much evidence a verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct LookedAt {
    /// Nodes whose feeds were read.
    pub nodes: usize,
    /// Events of every site, once.
    pub events: usize,
    /// Commands sent.
    pub commands: usize,
    /// Of these, acknowledged.
    pub acknowledged: usize,
    /// Of these, refused.
    pub refused: usize,
    /// Conversations acknowledged.
    pub conversations: usize,
    /// Messages acknowledged, first ones included.
    pub messages: usize,
    /// Streams of events received by sessions.
    pub streams: usize,
    /// Events received on them.
    pub received: usize,
    /// Times that a stream went on after a lost socket.
    pub resumed: usize,
    /// Of these, with a snapshot instead of what was missed.
    pub snapshots: usize,
}

impl Verdict {
    /// The lists with their names, in the order of reports.
    pub(crate) fn lists(&self) -> [(&'static str, &BTreeSet<String>); 9] {
        [
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("misordered", &self.misordered),
            ("double_assigned", &self.double_assigned),
            ("over_capacity", &self.over_capacity),
            ("gaps", &self.gaps),
            ("differing", &self.differing),
            ("unknown_unresolved", &self.unknown_unresolved),
            ("stuck", &self.stuck),
        ]
    }

    /// Whether every promise was kept.
    pub(crate) fn passes(&self) -> bool {
        self.lists().iter().all(|(_, list)| list.is_empty())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = &self.looked_at;
        writeln!(
            f,
            "verify: {} acknowledged conversations, {} acknowledged messages, {} commands ({} \
            refused)",
            at.conversations, at.messages, at.commands, at.refused
        )?;
        writeln!(
            f,
            "        {} events on each of {} nodes; {} streams, {} events received, {} resumes ({} \
            by snapshot)",
            at.events, at.nodes, at.streams, at.received, at.resumed, at.snapshots
        )?;
        let counts = self.lists().map(|(name, list)| format!("{name} {}", list.len()));
        writeln!(f, "        {}", counts.join(" | "))?;
        for (name, list) in self.lists() {
            for offence in list.iter().take(20) {
                writeln!(f, "        {name}: {offence}")?;
            }
            if list.len() > 20 {
                writeln!(f, "        {name}: and {} more", list.len() - 20)?;
            }
        }
        write!(f, "        {}", if self.passes() { "PASS" } else { "FAIL" })
    }
}
