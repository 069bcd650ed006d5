//! The configuration file of a new node.

use std::fmt::Write as _;

use super::{MadeNode, Plan};

/// What differs from the defaults, and where to read of the rest.
pub(super) fn config(plan: &Plan, id: &str, node: &MadeNode, nodes: &[MadeNode]) -> String {
    let mut text = format!(
        "# Node {number} of cluster {id}. Every other key has its default: see \
        config/rotary.toml.\n\
         \n\
         [node]\nid = {number}\ndata_dir = \"data\"\n\
         \n\
         [listen]\npublic = \"{public}\"\npeer = \"{peer}\"\n\
         \n\
         [cluster]\nid = \"{id}\"\nshards = {shards}\n",
        number = node.node.0,
        public = node.public,
        peer = node.peer,
        shards = plan.shards,
    );
    for peer in nodes {
        let (number, address, url) = (peer.node.0, peer.peer, &peer.url);
        let written = write!(
            text,
            "\n[[cluster.peers]]\nid = {number}\npeer = \"{address}\"\npublic = \"{url}\"\n"
        );
        written.expect("writing to a string does not fail");
    }
    text
}
