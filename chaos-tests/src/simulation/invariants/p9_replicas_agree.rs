//! P9: replicas agree.
//!
//! Every replica applies the same entries in the same order, without a gap, whether for the first
//! time or again after a restart: equal index means equal stamp, payload, answer, events and state.

use super::{Findings, Made};
use crate::simulation::story::Story;

/// How far each replica has applied.
pub(crate) struct ReplicasAgree {
    applied: Vec<Vec<u64>>,
}

impl ReplicasAgree {
    pub(crate) fn new(nodes: usize, shards: usize) -> Self {
        Self { applied: vec![vec![0; shards]; nodes] }
    }

    pub(crate) fn started(&mut self, node: usize) {
        self.applied[node].fill(0);
    }

    pub(crate) fn applied_to(&self, node: usize, shard: u32) -> u64 {
        self.applied[node][shard as usize]
    }

    /// A snapshot's state is that of the last entry up to its index.
    pub(crate) fn installed(
        &mut self,
        (node, shard, index): (usize, u32, u64),
        digest: u128,
        story: &Story,
        found: &mut Findings,
    ) {
        let (last, told) = story.up_to(index).map_or((0, None), |(last, told)| (last, Some(told)));
        self.applied[node][shard as usize] = last;
        // Members are state, too, and change between commands: by entries that no machine is shown.
        if told.is_some_and(|told| last == index && told.digest != digest) {
            let place = format!("node {} shard {shard} index {index}", node + 1);
            found.breach("P9", format!("{place}: the snapshot has another state than the log"));
        }
    }

    pub(crate) fn applied(&mut self, seen: &Made<'_>, story: &Story, found: &mut Findings) {
        let before = &mut self.applied[seen.node][seen.shard as usize];
        let last = std::mem::replace(before, seen.index);
        let place = || format!("node {} shard {} index {}", seen.node + 1, seen.shard, seen.index);
        let expected = story.next(last);
        if seen.index <= last || expected.is_some_and(|index| index != seen.index) {
            let what = format!("{} was applied after {last}; {expected:?} is next", place());
            found.breach("P9", what);
        }
        let Some(told) = story.entry(seen.index) else { return };
        if told.payload != seen.payload {
            found.breach("P9", format!("{}: another command than elsewhere", place()));
        } else if told.hash != seen.hash {
            found.breach("P9", format!("{}: another stamp, answer or events", place()));
        } else if told.digest != seen.digest {
            found.breach("P9", format!("{}: another state than elsewhere", place()));
        }
    }

    pub(crate) fn end<'a>(
        &self,
        up: &[usize],
        stories: impl Iterator<Item = &'a Story>,
        found: &mut Findings,
    ) {
        for (shard, story) in stories.enumerate() {
            let last = story.last().map_or(0, |(index, _)| index);
            for node in up {
                let at = self.applied[*node][shard];
                if at != last {
                    let what = format!("node {} shard {shard}: at {at} of {last}", node + 1);
                    found.breach("P9", what);
                }
            }
        }
    }
}
