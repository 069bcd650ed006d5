//! How far the replicas' journals are on their disks, as the replicas themselves have logged it.
//!
//! What is in the state alone may be forgotten once the story of it is safe: when a quorum of the
//! members has logged a mark at or beyond the entry that told it. Who the members are comes from
//! the log's own entries about them, so every replica knows the same ones at the same entry. A
//! shard that was told of no members counts everything as recorded.

use std::collections::BTreeMap;

use rotary_proto::ids::NodeId;
use rotary_proto::{Refusal, limits};

/// The members, each with the highest index that it has logged; 0 before its first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks(BTreeMap<NodeId, u64>);

impl Marks {
    /// Marks as a snapshot has them; `None` if they break a bound.
    pub(crate) fn restored(marks: BTreeMap<NodeId, u64>) -> Option<Self> {
        (marks.len() <= limits::MEMBERS_PER_SHARD_MAX).then_some(Self(marks))
    }

    /// The members and their marks.
    pub(crate) const fn all(&self) -> &BTreeMap<NodeId, u64> {
        &self.0
    }

    /// Replaces the members, of whom the first [`limits::MEMBERS_PER_SHARD_MAX`] count. Those who
    /// stay keep their marks.
    pub(crate) fn set_members(&mut self, members: impl IntoIterator<Item = NodeId>) {
        let mark = |node| (node, self.0.get(&node).copied().unwrap_or(0));
        let marks: BTreeMap<NodeId, u64> = members.into_iter().map(mark).collect();
        self.0 = marks.into_iter().take(limits::MEMBERS_PER_SHARD_MAX).collect();
    }

    /// Takes note of a mark that a member has logged in an entry of index `entry`.
    pub(crate) fn raise(&mut self, node: NodeId, index: u64, entry: u64) -> Result<(), Refusal> {
        let Some(mark) = self.0.get_mut(&node) else {
            return Err(Refusal::NotAllowed { actor: node.to_string() });
        };
        if index >= entry {
            let rule = format!("{index} is not below the index of its entry, {entry}");
            return Err(Refusal::BadValue { field: "index".to_owned(), rule });
        }
        *mark = index.max(*mark);
        Ok(())
    }

    /// The index up to which a quorum has everything on disk.
    pub(crate) fn recorded(&self) -> u64 {
        let mut marks: Vec<u64> = self.0.values().copied().collect();
        marks.sort_unstable_by(|one, other| other.cmp(one));
        marks.get(marks.len() / 2).copied().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u64) -> Marks {
        let mut marks = Marks::default();
        marks.set_members((1..=count).map(NodeId));
        marks
    }

    #[test]
    fn recorded_is_what_a_majority_has() {
        assert_eq!(Marks::default().recorded(), u64::MAX);
        let after: [&[u64]; 5] =
            [&[10], &[0, 10], &[0, 10, 20], &[0, 0, 10, 20], &[0, 0, 10, 20, 30]];
        for recorded in after {
            let mut marks = members(recorded.len() as u64);
            assert_eq!(marks.recorded(), 0);
            for (node, recorded) in (1..).zip(recorded) {
                marks.raise(NodeId(node), node * 10, 100).expect("a member");
                assert_eq!(marks.recorded(), *recorded, "{node} of {}", marks.all().len());
            }
        }
    }

    #[test]
    fn marks_rise_and_are_of_members() {
        let mut marks = members(3);
        marks.raise(NodeId(2), 7, 9).expect("a member");
        marks.raise(NodeId(2), 5, 10).expect("late, and without effect");
        assert_eq!(marks.all()[&NodeId(2)], 7);
        let stranger = marks.raise(NodeId(4), 7, 9).expect_err("no member");
        assert_eq!(stranger.word(), "not-allowed");
        let ahead = marks.raise(NodeId(2), 9, 9).expect_err("of the future");
        assert_eq!(ahead.word(), "bad-value");
        assert_eq!(marks.all()[&NodeId(2)], 7);
    }

    #[test]
    fn members_that_stay_keep_their_marks() {
        let mut marks = members(3);
        marks.raise(NodeId(2), 7, 9).expect("a member");
        marks.set_members([NodeId(2), NodeId(9)]);
        assert_eq!(marks.all(), &BTreeMap::from([(NodeId(2), 7), (NodeId(9), 0)]));
        marks.set_members((1..=99).map(NodeId));
        assert_eq!(marks.all().len(), limits::MEMBERS_PER_SHARD_MAX);
        assert_eq!(Marks::restored((0..65).map(|n| (NodeId(n), 0)).collect()), None);
    }
}
