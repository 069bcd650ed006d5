//! P1: a closed conversation does not leave a replica's state before a quorum of the members has
//! its closing on disk, in their journals. So no node marks more than its own disk has, and what a
//! state believes to be recorded is never ahead of that.
//!
//! What is on disk is what each whole journal has said of itself, taken down outside of the nodes'
//! own accounts; that it outlives a loss of power is for P12 to show.

use std::collections::VecDeque;

use rotary_proto::{ConversationId, Event, Outcome, ShardCommand};
use rotary_storage::Journal;

use super::{Findings, Seen};

/// How far journals are durable, and what waits for it.
pub(crate) struct ClosingsRecorded {
    /// The journal's group of the first shard.
    first: u32,
    /// By node and shard.
    durable: Vec<Vec<u64>>,
    /// Of every shard, closed conversations that its state still knows, each with the index of the
    /// entry that closed it.
    closed: Vec<VecDeque<(ConversationId, u64)>>,
}

impl ClosingsRecorded {
    pub(crate) fn new(nodes: usize, shards: usize, first: u32) -> Self {
        Self { first, durable: vec![vec![0; shards]; nodes], closed: vec![VecDeque::new(); shards] }
    }

    /// Takes down how far a node's journals are on its disk.
    pub(crate) fn durable(&mut self, node: usize, journal: &Journal) {
        for (group, durable) in (self.first..).zip(&mut self.durable[node]) {
            if journal.missing(group).is_none() {
                *durable = journal.durable_index(group).max(*durable);
            }
        }
    }

    /// The index that a quorum of all nodes has on disk.
    fn quorum_has(&self, shard: usize) -> u64 {
        let mut durable: Vec<u64> = self.durable.iter().map(|shards| shards[shard]).collect();
        durable.sort_unstable_by(|one, other| other.cmp(one));
        durable[durable.len() / 2]
    }

    pub(crate) fn applied(&mut self, seen: &Seen<'_>, found: &mut Findings) {
        let shard = seen.made.shard as usize;
        self.marked(seen, found);
        let (recorded, quorum) = (seen.state.recorded(), self.quorum_has(shard));
        let place = || format!("shard {shard} index {}", seen.made.index);
        if recorded > quorum {
            let what = format!("the state says that a quorum has {recorded}; it has {quorum}");
            found.breach("P1", format!("{}: {what}", place()));
        }
        let closed = &mut self.closed[shard];
        for record in seen.events {
            if let Event::Closed { conversation, .. } = record.event {
                closed.push_back((conversation, seen.made.index));
            }
        }
        while let Some((conversation, index)) = closed.front().copied()
            && seen.state.conversation_view(conversation).is_none()
        {
            closed.pop_front();
            if index > quorum {
                let what = format!("{conversation} is gone, closed at {index}");
                found.breach("P1", format!("{}: {what}; a quorum has {quorum}", place()));
            }
        }
    }

    /// A mark is a promise of the node's own.
    fn marked(&self, seen: &Seen<'_>, found: &mut Findings) {
        let Some(ShardCommand::JournalMark { node, index }) = seen.command else { return };
        let shard = seen.made.shard as usize;
        let place = usize::try_from(node.0).ok().and_then(|id| id.checked_sub(1));
        let durable = place.and_then(|place| self.durable.get(place)).map_or(0, |all| all[shard]);
        if matches!(seen.answer.outcome, Outcome::Done(_)) && *index > durable {
            let what = format!("{node} marks {index}, with {durable} on its disk");
            found.breach("P1", format!("shard {shard} index {}: {what}", seen.made.index));
        }
    }
}
