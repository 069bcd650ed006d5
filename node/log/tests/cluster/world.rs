//! A cluster of real nodes in one process: real sockets, real TLS, real disks.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use rotary_log::{Chunks, Door, Fatal, Frozen, Log, LogConfig, LogStores, Machine, Records};
use rotary_proto::codec::{self, Limit};
use rotary_proto::{NodeId, ShardId, Stamp, Wall};
use rotary_storage::{FileDisk, Notes, SegmentLog, SegmentLogOptions, Snapshots};
use rotary_transport::{Certificates, ClusterAuthority, Handler, Lane, Transport, TransportConfig};
use tempfile::TempDir;

/// Nothing in these tests takes nearly as long.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// What a machine has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) entries: Vec<(u64, Stamp, Vec<u8>)>,
    pub(crate) ticks: Vec<Stamp>,
    pub(crate) through: u64,
    /// Snapshots that its state came from.
    pub(crate) installed: u64,
    /// Who its log says that the members are.
    pub(crate) members: Vec<NodeId>,
    /// What it handed to somebody who writes.
    records: Vec<(u64, Vec<u8>)>,
    deadline: Option<Stamp>,
}

/// Records what it applies. `after <ms>` asks for a tick that long after; `panic` panics; `lie
/// <node>` makes the replica of that node apply something else, `forge <node>` makes it write
/// something else down.
struct Recorder(Arc<Mutex<Seen>>, NodeId);

impl Recorder {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().expect("not poisoned")
    }
}

impl Machine for Recorder {
    fn apply(&mut self, index: u64, stamp: Stamp, _: Wall, payload: &[u8]) -> Vec<u8> {
        assert_ne!(payload, b"panic", "expected by the test");
        let mut seen = self.seen();
        if payload == b"tick" {
            seen.ticks.push(stamp);
            seen.deadline = None;
        } else if let Some(ms) = payload.strip_prefix(b"after ") {
            let ms = String::from_utf8_lossy(ms).parse().expect("milliseconds");
            seen.deadline = Some(stamp.plus_ms(ms));
        }
        let lie = format!("lie {}", self.1.0);
        let text = if payload == lie.as_bytes() { b"truth" } else { payload };
        seen.entries.push((index, stamp, text.to_vec()));
        let forged = payload == format!("forge {}", self.1.0).as_bytes();
        seen.records.push((index, if forged { b"forged".to_vec() } else { payload.to_vec() }));
        [b"done ".as_slice(), payload].concat()
    }

    fn applied(&mut self, through: u64) {
        self.seen().through = through;
    }

    fn next_deadline(&self) -> Option<Stamp> {
        self.seen().deadline
    }

    fn tick(&self) -> Vec<u8> {
        b"tick".to_vec()
    }

    fn last_stamp(&self) -> Stamp {
        self.seen().entries.last().map_or(Stamp::ZERO, |(_, stamp, _)| *stamp)
    }

    fn refuse_poisoned(&mut self, index: u64, stamp: Stamp, payload: &[u8]) -> Vec<u8> {
        let text = [b"poisoned ", payload].concat();
        let mut seen = self.seen();
        seen.entries.push((index, stamp, text.clone()));
        seen.records.push((index, text));
        b"refused".to_vec()
    }

    fn digest(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.seen().entries.hash(&mut hasher);
        hasher.finish()
    }

    fn set_members(&mut self, members: &[NodeId]) {
        self.seen().members = members.to_vec();
    }

    fn records(&self) -> Arc<dyn Records> {
        Arc::new(Written(self.0.clone()))
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        let seen = self.seen();
        Box::new(FrozenEntries(seen.entries.clone(), seen.deadline))
    }

    fn install(&mut self, _: u64, chunks: &mut Chunks<'_>) -> Result<(), String> {
        let mut entries = Vec::new();
        let mut deadline = None;
        for chunk in chunks {
            let chunk = chunk.map_err(|error| error.to_string())?;
            let (index, stamp, until, text): (u64, Stamp, Option<Stamp>, Vec<u8>) =
                codec::decode(&chunk, Limit::Entry).map_err(|error| error.to_string())?;
            deadline = until;
            entries.push((index, stamp, text));
        }
        let mut seen = self.seen();
        seen.records = entries.iter().map(|(index, _, text)| (*index, text.clone())).collect();
        (seen.entries, seen.deadline, seen.installed) = (entries, deadline, seen.installed + 1);
        Ok(())
    }
}

/// What a recorder wrote down.
struct Written(Arc<Mutex<Seen>>);

impl Records for Written {
    fn digest_at(&self, index: u64) -> Option<u64> {
        let seen = self.0.lock().expect("not poisoned");
        let mut hasher = std::hash::DefaultHasher::new();
        let through = seen.records.iter().filter(|(at, _)| *at <= index);
        through.for_each(|record| record.hash(&mut hasher));
        Some(hasher.finish())
    }
}

/// An entry a chunk.
struct FrozenEntries(Vec<(u64, Stamp, Vec<u8>)>, Option<Stamp>);

impl Frozen for FrozenEntries {
    fn chunks(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(self.0.iter().map(|(index, stamp, text)| {
            codec::encode(&(index, stamp, self.1, text), Limit::Entry).expect("small")
        }))
    }
}

/// Nodes that are cut off: requests between them and the others fail, whoever asks.
type CutOff = Arc<Mutex<BTreeSet<NodeId>>>;

/// A node's door, at the end of a line that may be cut.
struct Line {
    node: NodeId,
    cut_off: CutOff,
    door: Door,
}

impl Handler for Line {
    fn handle(
        &self,
        from: NodeId,
        _: Lane,
        service: u8,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let (node, cut_off, door) = (self.node, self.cut_off.clone(), self.door.clone());
        Box::pin(async move {
            let is_cut = || {
                let cut_off = cut_off.lock().expect("not poisoned");
                cut_off.contains(&from) != cut_off.contains(&node)
            };
            let cut = || Err("the line is cut".to_owned());
            if is_cut() {
                return cut();
            }
            let answer = door.handle(service, payload).await;
            // An answer is lost like a request.
            if is_cut() { cut() } else { answer }
        })
    }
}

pub(crate) struct Node {
    pub(crate) log: Arc<Log>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) seen: BTreeMap<ShardId, Arc<Mutex<Seen>>>,
}

impl Node {
    pub(crate) fn entries(&self, shard: ShardId) -> Vec<(u64, Stamp, Vec<u8>)> {
        self.seen[&shard].lock().expect("not poisoned").entries.clone()
    }
}

/// When the logs of a world are forgotten.
#[derive(Clone, Copy)]
pub(crate) struct Forgets {
    /// Once so much was applied since the last snapshot, in bytes.
    pub(crate) after_bytes: u64,
    /// How many of the entries that the snapshot stands for are kept.
    pub(crate) but_entries: u64,
}

impl Default for Forgets {
    fn default() -> Self {
        Self { after_bytes: u64::MAX, but_entries: 10 }
    }
}

pub(crate) struct World {
    pub(crate) nodes: BTreeMap<u64, Node>,
    pub(crate) shards: Vec<ShardId>,
    pub(crate) fatal: Fatal,
    forgets: Forgets,
    cut_off: CutOff,
    authority: ClusterAuthority,
    addresses: BTreeMap<NodeId, SocketAddr>,
    founders: Vec<NodeId>,
    directory: TempDir,
}

impl World {
    /// Nodes 1 to `nodes`, each with a replica of shards 0 to `shards - 1`, founded and led.
    pub(crate) async fn start(nodes: u64, shards: u32) -> Self {
        Self::start_with(nodes, shards, Fatal::exit(), Forgets::default()).await
    }

    pub(crate) async fn start_with(
        nodes: u64,
        shards: u32,
        fatal: Fatal,
        forgets: Forgets,
    ) -> Self {
        let sockets: Vec<(NodeId, UdpSocket)> = (1..=nodes)
            .map(|node| (NodeId(node), UdpSocket::bind("127.0.0.1:0").expect("a port")))
            .collect();
        let address =
            |(node, socket): &(NodeId, UdpSocket)| (*node, socket.local_addr().expect("bound"));
        let addresses: BTreeMap<NodeId, SocketAddr> = sockets.iter().map(address).collect();
        drop(sockets);
        let mut world = Self {
            nodes: BTreeMap::new(),
            shards: (0..shards).map(ShardId).collect(),
            fatal,
            forgets,
            cut_off: CutOff::default(),
            authority: ClusterAuthority::create("test").expect("a good id"),
            founders: addresses.keys().copied().collect(),
            addresses,
            directory: tempfile::tempdir().expect("a directory"),
        };
        for node in 1..=nodes {
            world.start_node(node).await;
        }
        world.led().await;
        world
    }

    pub(crate) fn path(&self, node: u64) -> PathBuf {
        self.directory.path().join(node.to_string())
    }

    /// Starts a node on whatever its directory holds.
    pub(crate) async fn start_node(&mut self, node: u64) {
        let started = self.node(node).await;
        self.nodes.insert(node, started);
    }

    async fn transport(&self, id: NodeId, door: &Door) -> Arc<Transport> {
        let transport = eventually("the port is free", || {
            let pem = self.authority.issue(id).expect("signs");
            let ca = self.authority.certificate_pem();
            let certificates = Certificates::from_pem(ca, &pem.certificate, &pem.key);
            let config = TransportConfig {
                node: id,
                listen: self.addresses[&id],
                peers: self.addresses.clone(),
                certificates: certificates.expect("fits"),
            };
            let (cut_off, door) = (self.cut_off.clone(), door.clone());
            Transport::start(config, Arc::new(Line { node: id, cut_off, door })).ok()
        });
        Arc::new(transport.await)
    }

    /// A node that runs on whatever its directory holds.
    pub(crate) async fn node(&self, node: u64) -> Node {
        let (id, door) = (NodeId(node), Door::new());
        let transport = self.transport(id, &door).await;
        let store = self.store(node).await;
        let mut seen = BTreeMap::new();
        let mut machines = Vec::new();
        for shard in &self.shards {
            let state = Arc::new(Mutex::new(Seen::default()));
            seen.insert(*shard, state.clone());
            machines.push((*shard, Box::new(Recorder(state, id)) as Box<dyn Machine>));
        }
        let snapshots = &self.path(node).join("snapshots");
        let snapshots = Snapshots::open(Arc::new(FileDisk), snapshots, self.fatal.clone());
        let notes = Notes::open(Arc::new(FileDisk), &self.path(node).join("notes"));
        let stores = LogStores {
            log: Arc::new(store),
            snapshots: snapshots.expect("a directory"),
            notes: notes.expect("a directory"),
        };
        let config = LogConfig {
            fatal: self.fatal.clone(),
            snapshot_bytes_min: self.forgets.after_bytes,
            snapshot_entries_kept: self.forgets.but_entries,
            digest_interval: Duration::from_millis(100),
            ..LogConfig::new(id, self.founders.iter().copied())
        };
        let log = Log::start(config, stores, transport.clone(), &door, machines).await;
        let log = Arc::new(log.expect("starts"));
        for shard in &self.shards {
            log.initialize(*shard).await.expect("founded, or nothing to do");
        }
        Node { log, transport, seen }
    }

    /// Starts a node that keeps nothing yet, and is known to those that run.
    pub(crate) async fn start_another(&mut self) -> u64 {
        let node = self.addresses.keys().last().expect("there are some").0 + 1;
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound");
        drop(socket);
        self.addresses.insert(NodeId(node), address);
        self.start_node(node).await;
        self.nodes.values().for_each(|other| other.transport.set_peer(NodeId(node), address));
        node
    }

    /// The log of a node that does not run.
    pub(crate) async fn store(&self, node: u64) -> SegmentLog {
        eventually("the store is free", || {
            let options = SegmentLogOptions {
                log_id: u128::from(node),
                free_bytes_min: 0,
                reserve_bytes: 0,
                ..SegmentLogOptions::default()
            };
            SegmentLog::open(Arc::new(FileDisk), self.path(node).join("log"), options).ok()
        })
        .await
    }

    /// Starts a replica of one more shard on every node that runs; nobody founds it.
    pub(crate) async fn add(&mut self, shard: ShardId) {
        for (node, running) in &mut self.nodes {
            let state = Arc::new(Mutex::new(Seen::default()));
            running.seen.insert(shard, state.clone());
            let machine = Box::new(Recorder(state, NodeId(*node)));
            running.log.add(shard, machine).await.expect("added");
        }
    }

    /// Cuts these nodes, together, off from the others; none to mend it.
    pub(crate) fn cut_off(&self, nodes: &[u64]) {
        *self.cut_off.lock().expect("not poisoned") = nodes.iter().copied().map(NodeId).collect();
    }

    /// Takes a node away as a crash does: nothing is handed on, nothing is flushed.
    pub(crate) async fn kill(&mut self, node: u64) {
        let node = self.nodes.remove(&node).expect("it runs");
        node.log.halt().await;
        node.transport.close().await;
    }

    /// Waits until every shard has a leader among the running nodes.
    pub(crate) async fn led(&self) {
        for shard in &self.shards {
            self.leader(*shard).await;
        }
    }

    /// The leader of the highest term.
    pub(crate) async fn leader(&self, shard: ShardId) -> u64 {
        eventually("a leader", || {
            let mut views = Vec::new();
            for (node, running) in &self.nodes {
                let view = running.log.watch_leader(shard).expect("known");
                let view = *view.borrow();
                views.push((view.term, view.is_self, *node));
            }
            let (_, leads, node) = views.into_iter().max()?;
            leads.then_some(node)
        })
        .await
    }

    /// Proposes on a node until it succeeds.
    pub(crate) async fn propose(&self, node: u64, shard: ShardId, text: &str) -> u64 {
        let log = &self.nodes[&node].log;
        let deadline = Instant::now() + LIMIT;
        let proposed = log.propose_with_retry(shard, text.to_owned(), deadline, true).await;
        let proposed = proposed.expect("succeeds in time");
        assert_eq!(proposed.answer, format!("done {text}").into_bytes());
        proposed.index
    }

    /// Waits until every running replica has applied the same, `count` commands at least.
    pub(crate) async fn agreed(&self, shard: ShardId, count: usize) -> Vec<(u64, Stamp, Vec<u8>)> {
        let began = Instant::now();
        loop {
            let mut all = self.nodes.values().map(|node| node.entries(shard));
            if let Some(first) = all.next().filter(|first| first.len() >= count)
                && all.all(|other| other == first)
            {
                return first;
            }
            let stand = || self.nodes.iter().map(|(id, node)| (id, node.log.status(shard)));
            let late = began.elapsed() >= LIMIT;
            assert!(!late, "waited in vain until all agree: {:#?}", stand().collect::<Vec<_>>());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Tries until it gets something.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(began.elapsed() < LIMIT, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
