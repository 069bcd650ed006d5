//! Shards whose sessions would be better off on another node, looked at once for all sessions: a
//! node with thousands of them has one timer for it, and they wake when something changes.

use std::collections::BTreeSet;
use std::time::Duration;

use rotary_proto::ShardId;
use rotary_proto::limits::FEED_HEARTBEAT_MS;
use tokio::sync::watch;

use crate::gateway::doors::Doors;

/// The shards that this node is behind in, as it was seen last.
pub(crate) struct Behind(watch::Sender<BTreeSet<ShardId>>);

impl Default for Behind {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeSet::new()))
    }
}

impl Behind {
    /// Waits until this node is behind in one of those shards; which.
    pub(super) async fn in_any(&self, shards: &[ShardId]) -> ShardId {
        let mut changes = self.0.subscribe();
        let of = |behind: &BTreeSet<ShardId>| shards.iter().find(|id| behind.contains(id)).copied();
        let found = changes.wait_for(|behind| of(behind).is_some()).await;
        found.ok().and_then(|behind| of(&behind)).expect("the sender lives, and one is behind")
    }

    fn note(&self, behind: BTreeSet<ShardId>) {
        self.0.send_if_modified(|before| {
            let changed = *before != behind;
            *before = behind;
            changed
        });
    }
}

/// Looks as long as the node runs.
pub(crate) async fn watch(doors: Doors) {
    loop {
        tokio::time::sleep(Duration::from_millis(FEED_HEARTBEAT_MS)).await;
        let shards = doors.replica.shard_ids().into_iter();
        doors.behind.note(shards.filter(|id| doors.is_behind(*id)).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_reads_a_shard_hears_that_it_is_behind() {
        let behind = Behind::default();
        behind.note([ShardId(3)].into());
        assert_eq!(behind.in_any(&[ShardId(1), ShardId(3)]).await, ShardId(3));
        let (mine, both) = ([ShardId(1)], [ShardId(1), ShardId(3)].into());
        let waits = behind.in_any(&mine);
        tokio::pin!(waits);
        assert!(futures::poll!(&mut waits).is_pending(), "another shard is none of its business");
        behind.note(both);
        assert_eq!(waits.await, ShardId(1));
    }
}
