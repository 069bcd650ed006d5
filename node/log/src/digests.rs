//! Replicas compare what they made of the same entries.
//!
//! Every replica keeps the digests of its state at indexes that are multiples of
//! [`LogConfig::digest_entries`](crate::LogConfig), each with one of what its machine had recorded
//! by then. The latter may be worked out beside the shard and so be known a moment later
//! ([`Records`]); until then the pair is not compared. Every few seconds each asks the others for
//! theirs and looks at the newest index that a majority of the members knows. If a majority agrees
//! on another digest than this replica's, this replica is wrong: it notes that it must be rebuilt
//! and ends its process. If the digests differ and no majority agrees, nobody knows who is right:
//! an alarm rings and everyone goes on, since stopping would end the service without ending the
//! doubt.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rotary_proto::NodeId;
use rotary_storage::EXIT_DIVERGED;
use rotary_transport::{Lane, Transport};

use crate::door::about;
use crate::machine::Records;
use crate::shard::Shard;
use crate::types::{decode, encode};

/// The transport service that answers with a replica's digests.
pub const SERVICE_DIGEST: u8 = 6;

/// Digests that a replica keeps.
const KEPT: usize = 64;
const ASK_TTL: Duration = Duration::from_secs(2);

/// What is compared at an index: digests of the state, and of what was recorded.
pub(crate) type Pair = (u64, u64);

/// Digests by index, rising: of the state, and of what was recorded once that is known.
#[derive(Debug, Default)]
pub(crate) struct Digests(VecDeque<(u64, u64, Option<u64>)>);

impl Digests {
    pub(crate) fn push(&mut self, index: u64, state: u64) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((index, state, None));
    }

    /// The indexes that lack what was recorded.
    fn incomplete(&self) -> Vec<u64> {
        let lacking = self.0.iter().filter(|(_, _, records)| records.is_none());
        lacking.map(|(index, ..)| *index).collect()
    }

    fn complete(&mut self, index: u64, records: u64) {
        let found = self.0.iter_mut().find(|(at, ..)| *at == index);
        found.into_iter().for_each(|(_, _, place)| *place = Some(records));
    }

    /// Another state has taken the place of the one that these are of.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Those that are whole.
    fn pairs(&self) -> Vec<(u64, Pair)> {
        let whole = self.0.iter().filter_map(|(index, state, records)| {
            let pair = (*state, (*records)?);
            Some((*index, pair))
        });
        whole.collect()
    }
}

/// What a comparison shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No index is known to enough replicas, or all that know it agree.
    Agreed,
    /// A majority has another digest at this index.
    Wrong(u64),
    /// Digests differ at this index, and no majority agrees.
    Doubtful(u64),
}

/// Compares this replica's digests with those of others, of `members` in all.
pub(crate) fn compare<D: Copy + Ord>(
    mine: &[(u64, D)],
    others: &[Vec<(u64, D)>],
    members: usize,
) -> Verdict {
    let quorum = members / 2 + 1;
    for (index, digest) in mine.iter().rev() {
        let at = |all: &Vec<(u64, D)>| {
            let place = all.binary_search_by_key(index, |(index, _)| *index).ok()?;
            Some(all[place].1)
        };
        let theirs: Vec<D> = others.iter().filter_map(at).collect();
        if theirs.len() + 1 < quorum {
            continue;
        }
        if theirs.iter().all(|other| other == digest) {
            return Verdict::Agreed;
        }
        let mut counts = BTreeMap::from([(*digest, 1)]);
        for other in theirs {
            *counts.entry(other).or_insert(0) += 1;
        }
        let majority = counts.into_iter().find(|(_, count)| *count >= quorum);
        return match majority {
            Some((agreed, _)) if agreed == *digest => Verdict::Agreed,
            Some(_) => Verdict::Wrong(*index),
            None => Verdict::Doubtful(*index),
        };
    }
    Verdict::Agreed
}

/// The name of the note that a replica must be rebuilt.
pub(crate) fn rebuild_note(group: u32) -> String {
    format!("rebuild-{group}")
}

/// A replica's digests, the missing halves filled in as far as they are known.
async fn known(shard: &Shard) -> Vec<(u64, Pair)> {
    let applied = shard.applied.clone();
    let fill = move || {
        let incomplete = applied.lock_digests().incomplete();
        let records: &dyn Records = &*applied.records;
        for index in incomplete {
            if let Some(digest) = records.digest_at(index) {
                applied.lock_digests().complete(index, digest);
            }
        }
        let pairs = applied.lock_digests().pairs();
        Ok(pairs)
    };
    shard.snapshots.blocking.run(fill).await.unwrap_or_default()
}

/// Answers with a replica's digests.
pub(crate) async fn answer(shard: &Shard) -> Result<Vec<u8>, String> {
    encode(&known(shard).await).map_err(|error| error.to_string())
}

/// Asks the other members for their digests and acts on what they show.
pub(crate) async fn check(shard: &Shard, members: &[NodeId], transport: &Transport) {
    let others = members.iter().filter(|node| **node != transport.node());
    let asked = others.map(|node| async move {
        let group = about(shard.id);
        let call = transport.call(*node, Lane::Live, SERVICE_DIGEST, group, ASK_TTL);
        decode::<Vec<(u64, Pair)>>(&call.await.ok()?).ok()
    });
    let answers = futures::future::join_all(asked).await;
    let others: Vec<Vec<(u64, Pair)>> = answers.into_iter().flatten().collect();
    // A replica without a vote is one more that compares.
    let count = members.len() + usize::from(!members.contains(&transport.node()));
    match compare(&known(shard).await, &others, count) {
        Verdict::Agreed => shard.applied.counters.doubtful_index.store(0, Ordering::Relaxed),
        Verdict::Doubtful(index) => {
            shard.applied.counters.doubtful_index.store(index, Ordering::Relaxed);
            tracing::error!(
                code = "replicas-differ",
                shard = %shard.id, index,
                "replicas differ and no majority agrees"
            );
        }
        Verdict::Wrong(index) => {
            let reason = format!(
                "the replica of {} differs from a majority at index {index}; it is rebuilt from \
                 the others at the next start",
                shard.id
            );
            shard.applied.end_for_rebuild(EXIT_DIVERGED, &reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minority_is_wrong_and_a_tie_is_doubtful() {
        let mine = [(1024, 5), (2048, 6)];
        let same = vec![(1024, 5), (2048, 6)];
        let other = vec![(1024, 5), (2048, 9)];
        let third = vec![(2048, 8)];
        let of = |others: &[&Vec<(u64, u64)>]| {
            let others: Vec<_> = others.iter().map(|other| (*other).clone()).collect();
            compare(&mine, &others, 3)
        };
        assert_eq!(of(&[&same, &same]), Verdict::Agreed);
        assert_eq!(of(&[&same, &other]), Verdict::Agreed, "the majority stays");
        assert_eq!(of(&[&other, &other]), Verdict::Wrong(2048));
        assert_eq!(of(&[&other, &third]), Verdict::Doubtful(2048));
        assert_eq!(of(&[&other]), Verdict::Doubtful(2048), "one against one");
    }

    #[test]
    fn the_newest_index_that_a_quorum_knows_is_compared() {
        let mine = [(1024, 5), (2048, 6)];
        assert_eq!(compare(&mine, &[], 3), Verdict::Agreed);
        assert_eq!(compare(&mine, &[vec![(1024, 4)], vec![(1024, 4)]], 3), Verdict::Wrong(1024));
        assert_eq!(compare(&mine, &[vec![(512, 1)]], 3), Verdict::Agreed);
        assert_eq!(compare(&mine, &[], 1), Verdict::Agreed);
    }

    #[test]
    fn only_the_newest_are_kept() {
        let mut digests = Digests::default();
        for index in 0..KEPT as u64 + 3 {
            digests.push(index, index);
        }
        assert_eq!((digests.0.len(), digests.incomplete()[0]), (KEPT, 3));
    }

    #[test]
    fn a_pair_is_told_when_both_are_known() {
        let mut digests = Digests::default();
        digests.push(1024, 5);
        digests.push(2048, 6);
        assert_eq!((digests.incomplete(), digests.pairs()), (vec![1024, 2048], vec![]));
        digests.complete(2048, 70);
        digests.complete(4096, 90);
        assert_eq!((digests.incomplete(), digests.pairs()), (vec![1024], vec![(2048, (6, 70))]));
        digests.clear();
        digests.complete(1024, 60);
        assert_eq!(digests.pairs(), []);
    }

    #[test]
    fn equal_states_with_other_records_are_told_apart() {
        let mine = [(1024, (5, 50))];
        let other = vec![(1024, (5, 51))];
        assert_eq!(compare(&mine, &[other.clone(), other.clone()], 3), Verdict::Wrong(1024));
        assert_eq!(compare(&mine, &[other, mine.to_vec()], 3), Verdict::Agreed);
    }
}
