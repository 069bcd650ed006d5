//! P1: a replica that was rebuilt has no vote before it has everything that the others had applied
//! when its log was set aside: with its vote, a leader could be elected that lacks some of it.

use rotary_log::Log;
use rotary_proto::ShardId;

use super::Findings;

/// What the replicas of a rebuilt node owe: an index for each shard.
#[derive(Debug, Clone)]
pub(crate) struct Owing(pub(crate) Vec<(ShardId, u64)>);

impl Owing {
    /// Looks at a node that runs again; whether it has caught up.
    pub(crate) fn check(&self, node: usize, log: &Log, found: &mut Findings) -> bool {
        let mut caught_up = true;
        for (shard, owed) in &self.0 {
            let Some(status) = log.status(*shard) else { continue };
            caught_up &= !status.cut;
            if !status.cut && status.applied_index < *owed {
                let place = format!("node {} {shard}", node + 1);
                let what = format!("at {} of {owed}", status.applied_index);
                found.breach("P1", format!("{place} was rebuilt, and votes {what}"));
            }
        }
        caught_up
    }
}
