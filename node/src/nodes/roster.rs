//! The core nodes as this node knows them at the moment.
//!
//! A configuration says where to begin. Once the directory knows the cluster, core nodes are those
//! that it wants to keep replicas, and those that still do ([`follow`]); a gateway-only node, which
//! has no directory, asks one of them ([`learn`]). Whoever speaks to all of them asks here, each
//! time, or has a task for each ([`for_each`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rotary_log::{Log, Members};
use rotary_proto::NodeId;
use rotary_proto::codec::{self, Limit};
use rotary_proto::wire::Lane;
use rotary_transport::Transport;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::gateway::doors::Peer;
use crate::replica::Replica;

/// The transport service that answers which core nodes there are.
pub(crate) const SERVICE_ROSTER: u8 = 14;

/// How often the directory is looked at.
const LOOK: Duration = Duration::from_millis(300);
/// How often a gateway-only node asks.
const ASK: Duration = Duration::from_secs(2);

/// The core nodes.
#[derive(Debug)]
pub(crate) struct Roster {
    node: NodeId,
    known: watch::Sender<Arc<BTreeMap<NodeId, Peer>>>,
}

impl Roster {
    /// Those that the configuration names.
    pub(crate) fn of(config: &Config) -> Arc<Self> {
        let peers = config.cluster.peers.iter().map(|peer| Peer {
            node: NodeId(peer.id),
            url: peer.public.clone(),
            peer: peer.peer.to_string(),
        });
        let known = Arc::new(peers.map(|peer| (peer.node, peer)).collect());
        let node = NodeId(config.node.id);
        Arc::new(Self { node, known: watch::Sender::new(known) })
    }

    /// All of them, in order of their numbers.
    pub(crate) fn peers(&self) -> Arc<BTreeMap<NodeId, Peer>> {
        self.known.borrow().clone()
    }

    /// Their numbers.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.known.borrow().keys().copied().collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.known.borrow().len()
    }

    /// All but this one.
    pub(crate) fn others(&self) -> Vec<NodeId> {
        self.known.borrow().keys().copied().filter(|node| *node != self.node).collect()
    }

    /// Whether that is one of them.
    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.known.borrow().contains_key(&node)
    }

    /// Every change.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<BTreeMap<NodeId, Peer>>> {
        self.known.subscribe()
    }

    /// Takes these for the core nodes; whether that is new.
    fn set(&self, peers: BTreeMap<NodeId, Peer>) -> bool {
        self.known.send_if_modified(|known| {
            let is_new = **known != peers;
            if is_new {
                *known = Arc::new(peers);
            }
            is_new
        })
    }
}

/// Keeps a roster and the transport's addresses as the directory has them, as long as the node
/// runs.
pub(crate) async fn follow(
    roster: Arc<Roster>,
    replica: Arc<Replica>,
    log: Arc<Log>,
    transport: Arc<Transport>,
) {
    loop {
        tokio::time::sleep(LOOK).await;
        let before = roster.peers();
        if let Some(now) = known(&before, &replica, &log) {
            adopt(&roster, &transport, now);
        }
    }
}

/// Takes these for the core nodes, and lets the transport know where they are.
fn adopt(roster: &Roster, transport: &Transport, now: BTreeMap<NodeId, Peer>) {
    let before = roster.peers();
    if !roster.set(now.clone()) {
        return;
    }
    let names: Vec<String> = now.keys().map(NodeId::to_string).collect();
    tracing::info!(nodes = names.join(", "), "these are the core nodes");
    for (node, peer) in &now {
        if let Ok(address) = peer.peer.parse::<SocketAddr>() {
            transport.set_peer(*node, address);
        }
    }
    for gone in before.keys().filter(|node| !now.contains_key(node)) {
        transport.remove_peer(*gone);
    }
}

/// What a core node answers to [`SERVICE_ROSTER`].
pub(crate) fn answer(roster: &Roster) -> Result<Vec<u8>, String> {
    let peers = roster.peers();
    let rows: Vec<(NodeId, &str, &str)> =
        peers.values().map(|peer| (peer.node, &*peer.peer, &*peer.url)).collect();
    codec::encode(&rows, Limit::Wire).map_err(|error| error.to_string())
}

/// Keeps a gateway-only node's roster as core nodes that live have theirs, as long as it runs.
pub(crate) async fn learn(
    roster: Arc<Roster>,
    transport: Arc<Transport>,
    live: impl Fn() -> Vec<NodeId>,
) {
    for turn in 0_usize.. {
        tokio::time::sleep(ASK).await;
        let live = live();
        let Some(core) = live.get(turn % live.len().max(1)) else { continue };
        let asked = transport.call(*core, Lane::Live, SERVICE_ROSTER, Vec::new(), ASK).await;
        let Ok(answer) = asked else { continue };
        let read = codec::decode::<Vec<(NodeId, String, String)>>(&answer, Limit::Wire);
        let rows = read.unwrap_or_default().into_iter();
        let peers: BTreeMap<NodeId, Peer> =
            rows.map(|(node, peer, url)| (node, Peer { node, url, peer })).collect();
        // Who was let go does not know any more who the others are.
        if peers.contains_key(core) {
            adopt(&roster, &transport, peers);
        }
    }
}

/// A task that ends with this.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Has a task for each core node, this one included, for as long as it is one. Ends with the
/// roster.
pub(crate) async fn for_each<F>(roster: &Roster, run: impl Fn(NodeId) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut changes = roster.watch();
    let mut tasks: BTreeMap<NodeId, Task> = BTreeMap::new();
    loop {
        let peers = changes.borrow_and_update().clone();
        tasks.retain(|node, _| peers.contains_key(node));
        for node in peers.keys() {
            tasks.entry(*node).or_insert_with(|| Task(tokio::spawn(run(*node))));
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Who is to keep replicas, and who still does; `None` while the directory knows nothing.
fn known(
    before: &BTreeMap<NodeId, Peer>,
    replica: &Replica,
    log: &Log,
) -> Option<BTreeMap<NodeId, Peer>> {
    let directory = replica.directory();
    let wanted = directory.all_replicas().flat_map(|(_, nodes)| nodes.iter().copied());
    let mut nodes: BTreeSet<NodeId> = wanted.collect();
    if nodes.is_empty() {
        return None;
    }
    let members = log.shards().into_iter().filter_map(|shard| log.members(shard));
    nodes.extend(members.flat_map(|members: Members| members.all().collect::<Vec<_>>()));
    let peer = |node: NodeId| match directory.node(node) {
        Some(announced) => {
            let (url, peer) = (announced.public.clone(), announced.peer.to_string());
            Some((node, Peer { node, url, peer }))
        }
        // It has not said yet who it is.
        None => Some((node, before.get(&node)?.clone())),
    };
    Some(nodes.into_iter().filter_map(peer).collect())
}
