//! Tells the other replicas how far this node's journals are on its disk.
//!
//! A mark is an entry of the shard's log, which whoever calls knows how to write. It is logged when
//! something was recorded since the last one, so that an idle shard, in which marks and leases are
//! all that happens, becomes quiet. A replica that lacks history from before a snapshot logs none:
//! what a quorum has marked must be found on a quorum's disks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rotary_proto::{ShardId, limits};
use rotary_storage::{ChainHash, Journal, JournalHead};

use crate::history::ShardsOf;

/// What a node tells of its journal.
pub struct Marks {
    /// The node's journal.
    pub journal: Arc<Journal>,
    /// The shards that have a journal.
    pub shards: ShardsOf,
}

impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marks").field("shards", &(self.shards)()).finish_non_exhaustive()
    }
}

/// What this node has told of each of its shards.
#[derive(Debug, Default)]
struct Told(BTreeMap<ShardId, ChainHash>);

impl Told {
    /// Whether a journal whose durable head that is has something new; `marked` is what the state
    /// has of this node, `None` if the node is no member.
    fn is_due(&self, shard: ShardId, head: JournalHead, marked: Option<u64>) -> bool {
        let told = self.0.get(&shard).copied().unwrap_or_default();
        head.hash != told && marked.is_some_and(|marked| marked < head.index)
    }
}

impl Marks {
    /// Has marks logged, as long as the node runs. `marked` gives the index that a shard's state
    /// has of this node, `None` if the node is no member. `log` logs that this node's journal is
    /// durable up to an index; what it says was not done is tried again at the next round.
    pub async fn keep_logged<L: Future<Output = bool>>(
        self,
        marked: impl Fn(ShardId) -> Option<u64>,
        log: impl Fn(ShardId, u64) -> L,
    ) {
        let mut told = Told::default();
        loop {
            tokio::time::sleep(Duration::from_millis(limits::JOURNAL_MARK_MS)).await;
            let logged = self.due(&told, &marked).into_iter().map(|(shard, head)| {
                let logged = log(shard, head.index);
                async move { logged.await.then_some((shard, head.hash)) }
            });
            let logged = futures::future::join_all(logged).await;
            told.0.extend(logged.into_iter().flatten());
        }
    }

    fn due(
        &self,
        told: &Told,
        marked: impl Fn(ShardId) -> Option<u64>,
    ) -> Vec<(ShardId, JournalHead)> {
        let shards = (self.shards)().into_iter();
        let whole = shards.filter(|shard| self.journal.missing(shard.0).is_none());
        let heads = whole.map(|shard| (shard, self.journal.durable_head(shard.0)));
        heads.filter(|(shard, head)| told.is_due(*shard, *head, marked(*shard))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(1);

    fn head(index: u64, story: u8) -> JournalHead {
        JournalHead { index, hash: ChainHash([story; 32]) }
    }

    #[test]
    fn what_is_new_is_told_once() {
        let mut told = Told::default();
        assert!(told.is_due(SHARD, head(10, 1), Some(0)));
        told.0.insert(SHARD, head(10, 1).hash);
        assert!(!told.is_due(SHARD, head(12, 1), Some(10)), "two entries, and nothing recorded");
        assert!(told.is_due(SHARD, head(13, 2), Some(10)));
        assert!(told.is_due(ShardId(2), head(13, 1), Some(10)), "another shard");
    }

    #[test]
    fn nothing_is_told_of_an_empty_journal_or_by_a_stranger() {
        let told = Told::default();
        assert!(!told.is_due(SHARD, head(10, 0), Some(0)), "nothing was recorded");
        assert!(!told.is_due(SHARD, head(10, 1), None), "no member");
        assert!(!told.is_due(SHARD, head(10, 1), Some(10)), "told before a restart");
    }
}
