//! The configuration file of a new node.

use std::fmt::Write as _;

use rotary_proto::Name;

use super::MadeNode;
use crate::config::PeerNode;

/// What a gateway-only node knows of its cluster.
pub(super) struct Core<'a> {
    pub(super) id: &'a str,
    pub(super) peers: &'a [PeerNode],
}

/// What differs from the defaults, and where to read of the rest.
pub(super) fn config(shards: u32, node: &MadeNode, core: &Core<'_>) -> String {
    let shards = format!("shards = {shards}\n");
    file("Node", "data_dir = \"data\"\n", &shards, node, core)
}

/// The same of a gateway-only node, whose sessions may resume at `others` when it is to go.
pub(super) fn gateway(core: &Core<'_>, node: &MadeNode, others: &[String]) -> String {
    let mut text = file("Gateway-only node", "role = \"gateway\"\n", "", node, core);
    if !others.is_empty() {
        let written = write!(text, "\n[gateway]\nothers = {others:?}\n");
        written.expect("writing to a string does not fail");
    }
    text
}

/// What fails together with the node, as its file says it.
fn zone_key(zone: Option<&Name>) -> String {
    zone.map_or_else(String::new, |zone| format!("zone = {:?}\n", zone.as_str()))
}

fn file(kind: &str, own: &str, shards: &str, node: &MadeNode, core: &Core<'_>) -> String {
    let mut text = format!(
        "# {kind} {number} of cluster {id}. Every other key has its default: see \
        config/rotary.toml.\n\
         \n\
         [node]\nid = {number}\n{own}{zone}\
         \n\
         [listen]\npublic = \"{public}\"\npeer = \"{peer}\"\n\
         \n\
         [cluster]\nid = \"{id}\"\n{shards}",
        id = core.id,
        number = node.node.0,
        zone = zone_key(node.zone.as_ref()),
        public = node.public,
        peer = node.peer,
    );
    for PeerNode { id, peer, public } in core.peers {
        let written = write!(
            text,
            "\n[[cluster.peers]]\nid = {id}\npeer = \"{peer}\"\npublic = \"{public}\"\n"
        );
        written.expect("writing to a string does not fail");
    }
    text
}
