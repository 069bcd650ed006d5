//! Where a node's configuration and the directory differ.
//!
//! `cluster.peers` is only where a node begins: who keeps the shards is in the directory, and
//! changes there. How many shards there are was said when the cluster was founded, and more may
//! have been made since: a node that is to keep more than there are would begin some on its own.

use rotary_directory::Directory;

/// What differs and how to mend it; `None` where nothing does, or nothing is known yet.
pub(crate) fn disagreement(shards: u32, directory: &Directory) -> Option<String> {
    let there = directory.shards();
    (there > 0 && there < shards).then(|| {
        format!(
            "cluster.shards is {shards}, and the cluster has {there}: set it to what the other \
             nodes have and start the node again; more are made with `rotary cluster set-shards`"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rotary_directory::{DirectoryCommand, DirectoryEntry};
    use rotary_proto::{NodeId, Stamp};

    use super::*;

    #[test]
    fn what_differs_is_named_with_its_cure() {
        let mut directory = Directory::new();
        assert_eq!(disagreement(5, &directory), None, "nothing is known yet");
        let members = BTreeSet::from([1, 2, 3].map(NodeId));
        let command = DirectoryCommand::Found { shards: 2, members };
        directory.apply(1, Stamp(1), DirectoryEntry { origin: None, asked: None, command });
        assert_eq!(disagreement(2, &directory), None);
        assert_eq!(disagreement(1, &directory), None, "one was made since this node was set up");
        let told = disagreement(8, &directory).expect("it differs");
        assert!(
            told.contains("cluster.shards is 8") && told.contains("cluster has 2: set it"),
            "{told}"
        );
    }
}
