//! Where a node's configuration and the directory differ.
//!
//! A node that differs goes on: it votes, and by the time it can know, its vote may be what the
//! cluster lives on. Safety does not depend on the configuration, because who votes is in each
//! shard's log. But whom it beats for, whom it fetches from and which shards it keeps do, so
//! somebody must mend it.

use std::collections::BTreeSet;

use rotary_directory::Directory;
use rotary_proto::{NodeId, ShardId};

/// What differs and how to mend it; `None` where nothing does, or nothing is known yet.
pub(crate) fn disagreement(
    members: &BTreeSet<NodeId>,
    shards: u32,
    directory: &Directory,
) -> Option<String> {
    if directory.shards() == 0 {
        return None;
    }
    if shards != directory.shards() {
        return Some(format!(
            "cluster.shards is {shards}, and the cluster was founded with {}: set it to that and \
             start the node again",
            directory.shards()
        ));
    }
    let differs = |(shard, nodes): (ShardId, &BTreeSet<NodeId>)| {
        let missing = list(nodes.difference(members));
        let foreign = list(members.difference(nodes));
        let what = match (missing.as_str(), foreign.as_str()) {
            ("", "") => return None,
            (missing, "") => format!("does not name {missing}"),
            ("", foreign) => format!("names {foreign} too"),
            (missing, foreign) => format!("names {foreign}, and does not name {missing}"),
        };
        Some(format!(
            "replicas of {shard} are on {}, and cluster.peers {what}: give every node the \
             [[cluster.peers]] of the others and start it again",
            list(nodes.iter())
        ))
    };
    directory.all_replicas().find_map(differs)
}

fn list<'a>(nodes: impl Iterator<Item = &'a NodeId>) -> String {
    nodes.map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use rotary_directory::{DirectoryCommand, DirectoryEntry};
    use rotary_proto::Stamp;

    use super::*;

    fn nodes(numbers: &[u64]) -> BTreeSet<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn what_differs_is_named_with_its_cure() {
        let mut directory = Directory::new();
        assert_eq!(disagreement(&nodes(&[9]), 5, &directory), None, "nothing is known yet");
        let command = DirectoryCommand::Found { shards: 2, members: nodes(&[1, 2, 3]) };
        directory.apply(1, Stamp(1), DirectoryEntry { origin: None, command });
        let told = |numbers: &[u64], shards| disagreement(&nodes(numbers), shards, &directory);
        assert_eq!(told(&[1, 2, 3], 2), None);
        let of_shards = told(&[1, 2, 3], 8).expect("it differs");
        assert!(of_shards.contains("cluster.shards is 8") && of_shards.contains("with 2"));
        let fewer = told(&[1, 2], 2).expect("it differs");
        assert!(fewer.contains("sh_0 are on nd_1, nd_2, nd_3"), "{fewer}");
        assert!(fewer.contains("does not name nd_3: give every node"), "{fewer}");
        let more = told(&[1, 2, 3, 4], 2).expect("it differs");
        assert!(more.contains("names nd_4 too: give"), "{more}");
        let other = told(&[1, 2, 4], 2).expect("it differs");
        assert!(other.contains("names nd_4, and does not name nd_3: give"), "{other}");
    }
}
