//! How far a reader of a site has come.

use rotary_proto::event::Viewer;
use rotary_proto::{Cursor, EventRecord, SiteId};

/// A reader's place in a site's events. It only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    viewer: Viewer,
    cursor: Cursor,
}

impl Position {
    /// A reader who has seen everything up to `sequence`.
    pub(crate) fn after(viewer: Viewer, site: SiteId, sequence: u64) -> Self {
        Self { viewer, cursor: Cursor { site, sequence } }
    }

    /// The last sequence passed.
    pub(crate) fn sequence(&self) -> u64 {
        self.cursor.sequence
    }

    /// Passes an event, and says whether the reader is to see it: not if it was passed before, and
    /// not if it is for other eyes.
    pub(crate) fn pass(&mut self, record: &EventRecord) -> bool {
        assert_eq!(record.site, self.cursor.site, "a position is in one site");
        if record.sequence <= self.cursor.sequence {
            return false;
        }
        self.cursor.sequence = record.sequence;
        record.audience.admits(self.viewer)
    }

    /// Passes everything up to a sequence: nothing of it was for this reader.
    pub(crate) fn reach(&mut self, sequence: u64) {
        self.cursor.sequence = self.cursor.sequence.max(sequence);
    }

    /// Takes back the passing of an event that could not be shown after all.
    pub(crate) fn step_back(&mut self, record: &EventRecord) {
        assert_eq!(record.sequence, self.cursor.sequence, "only the last passing is taken back");
        self.cursor.sequence = record.sequence - 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rotary_proto::{AgentId, Audience, Event, Name, SkillId, Stamp, Wall};

    use super::*;

    const SITE: SiteId = SiteId::new(1, 1);

    fn record(sequence: u64, agents: &[u32]) -> EventRecord {
        let agents = agents.iter().map(|agent| AgentId(*agent)).collect();
        EventRecord {
            site: SITE,
            sequence,
            index: sequence,
            stamp: Stamp(sequence),
            wall: Wall(0),
            audience: Audience { agents, ..Audience::default() },
            event: Event::SkillSet { skill: SkillId(1), name: Name::new("x").expect("valid") },
        }
    }

    proptest! {
        /// The journal grows while a reader catches up; live events begin anywhere before the
        /// place where reading ends. The union is the journal filtered by audience, in order.
        #[test]
        fn catching_up_and_going_live_shows_each_visible_event_once(
            audiences in proptest::collection::vec(proptest::collection::vec(0u32..3, 0..3), 1..60),
            start in 0usize..60, joined in 0usize..60, read in 0usize..60, page in 1usize..9,
        ) {
            let journal: Vec<EventRecord> =
                (1u64..).zip(&audiences).map(|(at, agents)| record(at, agents)).collect();
            let start = start.min(journal.len());
            // Joining the actor, then reading to the end of what is there by then.
            let joined = joined.clamp(start, journal.len());
            let read = read.clamp(joined, journal.len());
            let viewer = Viewer::Agent(AgentId(1));
            let mut position = Position::after(viewer, SITE, start as u64);
            let mut seen = Vec::new();
            for page in journal[start..read].chunks(page) {
                seen.extend(page.iter().filter(|record| position.pass(record)).map(|r| r.sequence));
            }
            let live = journal[joined..].iter().filter(|record| record.audience.admits(viewer));
            seen.extend(live.filter(|record| position.pass(record)).map(|r| r.sequence));
            let expected: Vec<u64> = journal[start..].iter()
                .filter(|record| record.audience.admits(viewer)).map(|r| r.sequence).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
