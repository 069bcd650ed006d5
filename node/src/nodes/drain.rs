//! A node that is to be empty, by the directory's word: its sessions go elsewhere one after the
//! other and none begin here, it hands on what it leads ([`crate::nodes::seats`]), and performs no
//! effects ([`crate::view`]). Requests are answered as before until it stops.

use std::fmt::Write as _;

use rotary_directory::Directory;
use rotary_proto::{NodeId, ShardId};

use crate::gateway::doors::Doors;
use crate::replica::Replica;

/// Whether sessions are to leave a core node: it drains, or is to keep nothing any more.
pub(crate) fn is_to_be_left(replica: &Replica, node: NodeId) -> bool {
    is_left(&replica.directory(), node)
}

/// The same, as that directory says.
pub(crate) fn is_left(directory: &Directory, node: NodeId) -> bool {
    directory.is_draining(node) || (directory.shards() > 0 && !directory.keeps_replicas(node))
}

/// Has this node's sessions leave while the directory wants that, as long as the node runs.
pub(crate) async fn follow(doors: Doors) {
    let mut changes = doors.replica.directory_changes();
    let mut before = false;
    loop {
        let leaves = is_to_be_left(&doors.replica, doors.node);
        if leaves != before {
            let sessions = doors.sessions.count();
            tracing::info!(leaves, sessions, "whether sessions are to go elsewhere");
            doors.sessions.leaving.drain(leaves, sessions);
        }
        before = leaves;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// What is still on a node that drains; `None` once it is empty.
pub(crate) fn remains(sessions: u32, leads: &[ShardId], performs: &[ShardId]) -> Option<String> {
    let mut said = String::new();
    let mut say = |what: &str, of: &str| {
        let comma = if said.is_empty() { "" } else { ", " };
        write!(said, "{comma}{what}{of}").expect("a string takes what is written");
    };
    match sessions {
        0 => {}
        1 => say("1 session", ""),
        many => say(&many.to_string(), " sessions"),
    }
    let list = |shards: &[ShardId]| {
        let names: Vec<String> = shards.iter().map(ShardId::to_string).collect();
        names.join(" ")
    };
    if !leads.is_empty() {
        say("leads ", &list(leads));
    }
    if !performs.is_empty() {
        say("performs effects of ", &list(performs));
    }
    (!said.is_empty()).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_named() {
        let shards = [ShardId(0), ShardId(3)];
        assert_eq!(remains(0, &[], &[]), None);
        assert_eq!(remains(1, &[], &[]).as_deref(), Some("1 session"));
        let all = remains(1_532, &shards, &shards[1..]);
        let expected = "1532 sessions, leads sh_0 sh_3, performs effects of sh_3";
        assert_eq!(all.as_deref(), Some(expected));
        assert_eq!(remains(0, &[], &shards).as_deref(), Some("performs effects of sh_0 sh_3"));
    }
}
