//! What the nodes of a world share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rotary_proto::NodeId;
use rotary_transport::{Certificates, ClusterAuthority, NodePem, seed_secrets};

use crate::simulation::bugs::Bug;
use crate::simulation::gates;
use crate::simulation::history::Ms;
use crate::simulation::network::{Network, address};
use crate::simulation::node::id_of;
use crate::simulation::observer::Observer;
use crate::simulation::random::Random;
use crate::simulation::wires::Wires;

/// Of a thousand worlds of whole nodes, so many begin with a shard too few.
const GROWS_PERMILLE: u64 = 400;
/// Of a thousand worlds, so many have journals with a retention.
const RETENTION_PERMILLE: u64 = 400;

/// What the nodes of a world share.
pub(crate) struct Cluster {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// Gateway-only nodes, numbered behind the nodes.
    pub(crate) gates: usize,
    /// Data shards, as many as there are in the end.
    pub(crate) shards: usize,
    /// As many as it begins with.
    pub(crate) begins_with: usize,
    has_directory: bool,
    /// Whether nodes have doors, and all that is behind them.
    pub(crate) whole: bool,
    pub(crate) bug: Option<Bug>,
    /// Bytes of entries that make a snapshot due.
    pub(super) snapshot_bytes_min: u64,
    /// Entries kept behind a snapshot.
    pub(super) snapshot_entries_kept: u64,
    /// Entries from one compared digest to the next.
    pub(super) digest_entries: u64,
    /// How long journals keep records, in ms; none for ever.
    pub(crate) retention_ms: Option<Ms>,
    pub(crate) network: Network,
    /// Between clients and the nodes' doors.
    pub(crate) wires: Wires,
    pub(crate) observer: Observer,
    authority: ClusterAuthority,
    certificates: Vec<NodePem>,
    pub(super) now_ms: Arc<AtomicU64>,
}

impl Cluster {
    pub(crate) fn new(
        seed: u64,
        nodes: usize,
        (shards, has_directory): (usize, bool),
        whole: bool,
        bug: Option<Bug>,
        keep_all: bool,
    ) -> Self {
        seed_secrets(Random::salted(seed, "secrets").next());
        let authority = ClusterAuthority::create("simulated").expect("a good id");
        let issue = |node| authority.issue(id_of(node)).expect("the authority signs");
        let gates = if whole { gates::of_world(seed) } else { 0 };
        let certificates = (0..nodes + gates).map(issue).collect();
        let mut random = Random::salted(seed, "snapshots");
        let mut retention = Random::salted(seed, "retention");
        let keeps_ms = retention.between(10_000, 30_000);
        let mut growth = Random::salted(seed, "shards");
        let grows = whole && shards > 1 && growth.permille(GROWS_PERMILLE);
        let drops = retention.permille(RETENTION_PERMILLE) || bug == Some(Bug::RetentionUnbounded);
        Self {
            seed,
            nodes,
            gates,
            shards,
            begins_with: shards - usize::from(grows),
            has_directory: has_directory || whole,
            whole,
            bug,
            snapshot_bytes_min: random.between(8, 256) * 1024,
            snapshot_entries_kept: random.between(0, 200),
            // What clients are to read back must be there.
            retention_ms: (drops && !keep_all && !whole).then_some(keeps_ms),
            digest_entries: Random::salted(seed, "digests").between(8, 128),
            network: Network::new(seed, nodes + gates),
            wires: Wires::new(seed, nodes + gates),
            observer: Observer::new(nodes, shards, u32::from(whole)),
            authority,
            certificates,
            now_ms: Arc::default(),
        }
    }

    /// The group of the directory, if there is one: behind those of the data shards, or before
    /// them where nodes are whole.
    pub(crate) fn directory(&self) -> Option<u32> {
        let group = if self.whole { 0 } else { self.shards as u32 };
        self.has_directory.then_some(group)
    }

    /// Whether a data shard is made after its beginning.
    pub(crate) fn grows(&self) -> bool {
        self.begins_with < self.shards
    }

    /// The groups of the data shards, in the order of their stories.
    pub(crate) fn data_groups(&self) -> impl Iterator<Item = u32> + use<> {
        let first = u32::from(self.whole);
        first..first + self.shards as u32
    }

    /// Every group, in the order of stories: the directory is the last.
    pub(super) fn story_groups(&self) -> impl Iterator<Item = u32> + use<> {
        let directory = if self.whole { 0 } else { self.shards as u32 };
        self.data_groups().chain([directory])
    }

    /// How many groups every node has a replica of.
    pub(crate) fn groups(&self) -> u32 {
        self.shards as u32 + u32::from(self.has_directory)
    }

    pub(crate) fn certificates(&self, node: usize) -> Result<Certificates, String> {
        let (ca, pem) = (&self.authority, &self.certificates[node]);
        let read = Certificates::from_pem(ca.certificate_pem(), &pem.certificate, &pem.key);
        read.map_err(|error| error.to_string())
    }

    /// Where the nodes that have replicas are.
    pub(crate) fn peers(&self) -> BTreeMap<NodeId, SocketAddr> {
        (0..self.nodes).map(|node| (id_of(node), address(node))).collect()
    }

    /// Everybody who has doors.
    pub(crate) fn doors(&self) -> impl Iterator<Item = usize> + use<> {
        0..self.nodes + self.gates
    }

    /// Moves the time that wall clocks and the observer read.
    pub(crate) fn move_to(&self, now_ms: Ms) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
        self.observer.lock().now_ms = now_ms;
        self.network.deliver(now_ms);
    }
}
