//! The door: one transport per node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use quinn::{Endpoint, VarInt};
use rotary_proto::NodeId;
use rotary_proto::limits::WIRE_FRAME_BYTES_MAX;
use rotary_proto::wire::{HEADER_BYTES, Lane};
use tokio::task::JoinHandle;

use crate::certificates::{CertificateError, Certificates};
use crate::datagrams::Datagrams;
use crate::endpoint::{self, BindError, Dialling};
use crate::lane::CallError;
use crate::peer::{Class, Dialler, Peer};
use crate::probe::{ProbeError, probe};
use crate::serve::Server;
use crate::stats::{Counters, TransportStats};
use crate::tunnel::Tunnel;

/// Bytes that one request or answer may have.
pub const PAYLOAD_BYTES_MAX: usize = WIRE_FRAME_BYTES_MAX - HEADER_BYTES;

/// A call waits this long for a connection that is being made; a peer that takes longer is down,
/// and its callers should hear so while they can still ask another.
const CONNECT_WAIT_MAX: Duration = Duration::from_millis(50);

/// Answers requests of other nodes, and of this one to itself.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. An `Err` reaches the caller as [`CallError::Failed`], and so does a
    /// panic. Requests run concurrently, in no promised order.
    fn handle(
        &self,
        from: NodeId,
        lane: Lane,
        service: u8,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>>;

    /// Takes a stream of bytes that another node has opened. Whoever has no use for it drops it.
    fn tunnel(&self, from: NodeId, tunnel: Tunnel) {
        let _ = (from, tunnel);
    }
}

/// What a transport is started with.
#[derive(Debug)]
pub struct TransportConfig {
    /// This node; its certificate must be issued to it.
    pub node: NodeId,
    /// The UDP address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the other nodes listen. An entry for this node is passed over.
    pub peers: BTreeMap<NodeId, SocketAddr>,
    /// Who this node is and whom it believes.
    pub certificates: Certificates,
}

/// A node's connections to its peers. Dropping it closes them at once.
pub struct Transport {
    node: NodeId,
    endpoint: Endpoint,
    /// Where a simulated network has one.
    seed: Option<[u8; 32]>,
    dialler: Dialler,
    server: Server,
    state: Mutex<State>,
}

/// A peer, and what keeps connected to it.
struct Known {
    peer: Arc<Peer>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Known {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[derive(Default)]
struct State {
    peers: BTreeMap<NodeId, Known>,
    tasks: Vec<JoinHandle<()>>,
    closed: bool,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Transport {
    /// Listens, and begins to connect to every peer. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `InUse`, `Other` for an address that cannot be bound; `Certificates` for ones that cannot
    /// be used.
    ///
    /// # Panics
    /// If the certificate is not issued to `config.node`.
    pub fn start(config: TransportConfig, handler: Arc<dyn Handler>) -> Result<Self, BindError> {
        let endpoint = endpoint::bind(config.listen, &config.certificates)?;
        Ok(Self::start_at(endpoint, None, config, handler)?)
    }

    /// The same on another network than the operating system's, whose address stands for
    /// `config.listen`.
    ///
    /// # Errors
    /// `Certificates` for ones that cannot be used, and `Other`.
    ///
    /// # Panics
    /// If the certificate is not issued to `config.node`.
    pub fn start_over(
        network: Arc<dyn Datagrams>,
        config: TransportConfig,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, BindError> {
        let seed = Some(network.seed());
        let endpoint = endpoint::over(network, &config.certificates)?;
        Ok(Self::start_at(endpoint, seed, config, handler)?)
    }

    fn start_at(
        endpoint: Endpoint,
        seed: Option<[u8; 32]>,
        config: TransportConfig,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, CertificateError> {
        let certificates = config.certificates;
        assert_eq!(certificates.node(), config.node, "the certificate is another node's");
        let counters = Arc::new(Counters::default());
        let cluster = certificates.cluster().to_owned();
        let dialler = Dialler {
            endpoint: endpoint.clone(),
            cluster: cluster.clone(),
            dialling: Arc::new(RwLock::new(Dialling::new(&certificates, seed)?)),
            counters: counters.clone(),
        };
        let server = Server { cluster, handler, counters };
        let accepting = tokio::spawn(server.clone().run(endpoint.clone()));
        let state = State { tasks: vec![accepting], ..State::default() };
        let (node, state) = (config.node, Mutex::new(state));
        let transport = Self { node, endpoint, seed, dialler, server, state };
        for (node, address) in config.peers {
            transport.set_peer(node, address);
        }
        Ok(transport)
    }

    /// Shows other certificates from here on, and believes whom they believe. Connections that
    /// stand go on with what they were made with.
    ///
    /// # Errors
    /// For certificates that cannot be used; those before stay.
    ///
    /// # Panics
    /// If they are another node's or another cluster's.
    pub fn replace_certificates(
        &self,
        certificates: &Certificates,
    ) -> Result<(), CertificateError> {
        let (cluster, node) = (certificates.cluster(), certificates.node());
        assert_eq!((cluster, node), (self.dialler.cluster.as_str(), self.node), "another's");
        let (server, dialling) =
            (endpoint::server(certificates)?, Dialling::new(certificates, self.seed)?);
        self.endpoint.set_server_config(Some(server));
        *self.dialler.dialling.write().unwrap_or_else(PoisonError::into_inner) = dialling;
        Ok(())
    }

    /// Shakes hands with every peer that is connected, with other certificates than those in use
    /// and beside the connections that stand, waiting up to `limit` for each. Names those that
    /// would not be believed, or do not believe. Who does not answer is not named.
    pub async fn try_certificates(
        &self,
        certificates: &Certificates,
        limit: Duration,
    ) -> Vec<(NodeId, String)> {
        let connected: Vec<(NodeId, SocketAddr)> = {
            let state = self.lock();
            let peers = state.peers.iter().filter(|(_, known)| known.peer.is_connected());
            peers.map(|(node, known)| (*node, known.peer.address())).collect()
        };
        let tries = connected.into_iter().map(async |(node, address)| {
            match probe(certificates, node, address, limit).await {
                Ok(_) | Err(ProbeError::Silent { .. }) => None,
                Err(error) => Some((node, error.to_string())),
            }
        });
        futures::future::join_all(tries).await.into_iter().flatten().collect()
    }

    /// Adds a peer, or notes that it listens elsewhere.
    pub fn set_peer(&self, node: NodeId, address: SocketAddr) {
        let mut state = self.lock();
        if node == self.node || state.closed {
            return;
        }
        if let Some(known) = state.peers.get(&node) {
            return known.peer.move_to(address);
        }
        let peer = Arc::new(Peer::new(address));
        let keep = |class| {
            let (peer, dialler) = (peer.clone(), self.dialler.clone());
            tokio::spawn(async move { peer.keep_connected(class, node, dialler).await })
        };
        let tasks = Class::ALL.map(keep).into();
        state.peers.insert(node, Known { peer, tasks });
    }

    /// Forgets a peer: nothing is sent to it any more, and its connection ends.
    pub fn remove_peer(&self, node: NodeId) {
        let known = self.lock().peers.remove(&node);
        if let Some(known) = known {
            known.peer.break_tunnels();
        }
    }

    /// Asks a node and waits up to `ttl` for its answer, no more than 50 ms of it for a
    /// connection. This node answers itself without a network.
    ///
    /// # Errors
    /// See [`CallError`]; only `Unknown` leaves open whether the peer acted, and `Failed` is for
    /// its service to interpret.
    pub async fn call(
        &self,
        to: NodeId,
        lane: Lane,
        service: u8,
        payload: impl Into<Bytes>,
        ttl: Duration,
    ) -> Result<Bytes, CallError> {
        let payload = payload.into();
        if payload.len() > PAYLOAD_BYTES_MAX {
            let (bytes, bytes_max) = (payload.len(), PAYLOAD_BYTES_MAX);
            return Err(CallError::TooLarge { bytes, bytes_max });
        }
        if to == self.node {
            return self.call_self(lane, service, payload, ttl).await;
        }
        let began = tokio::time::Instant::now();
        let peer = self.peer(to)?;
        let wire = peer.wire(lane, ttl.min(CONNECT_WAIT_MAX)).await?;
        wire.call(service, payload, ttl.saturating_sub(began.elapsed())).await
    }

    async fn call_self(
        &self,
        lane: Lane,
        service: u8,
        payload: Bytes,
        ttl: Duration,
    ) -> Result<Bytes, CallError> {
        let answer = self.server.answer(self.node, lane, service, payload);
        match tokio::time::timeout(ttl, answer).await {
            Ok(answer) => answer.map_err(CallError::Failed),
            Err(_) => Err(CallError::Unknown(format!("no answer within {} ms", ttl.as_millis()))),
        }
    }

    /// Opens a stream of bytes to a peer, waiting up to `ttl` for a connection.
    ///
    /// # Errors
    /// `NotSent`.
    pub async fn tunnel(&self, to: NodeId, ttl: Duration) -> Result<Tunnel, CallError> {
        let peer = self.peer(to)?;
        match tokio::time::timeout(ttl, peer.tunnel(to, &self.dialler)).await {
            Ok(opened) => opened.map_err(CallError::NotSent),
            Err(_) => {
                let detail = format!("no tunnel to {to} within {} ms", ttl.as_millis());
                Err(CallError::NotSent(detail))
            }
        }
    }

    /// Breaks every tunnel to a peer at once: it is taken for lost.
    pub fn break_tunnels(&self, to: NodeId) {
        if let Ok(peer) = self.peer(to) {
            peer.break_tunnels();
        }
    }

    fn peer(&self, node: NodeId) -> Result<Arc<Peer>, CallError> {
        let state = self.lock();
        if state.closed {
            return Err(CallError::NotSent("the transport is closed".to_owned()));
        }
        let unknown = || CallError::NotSent(format!("{node} is not a known peer"));
        state.peers.get(&node).map(|known| known.peer.clone()).ok_or_else(unknown)
    }

    /// Whether lanes to that peer are open at this moment. This node is always connected to
    /// itself.
    pub fn peer_connected(&self, node: NodeId) -> bool {
        node == self.node || self.peer(node).is_ok_and(|peer| peer.is_connected())
    }

    /// Every other node that it knows an address of.
    pub fn peers(&self) -> Vec<NodeId> {
        self.lock().peers.keys().copied().collect()
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The address that it listens on, with the port that was taken.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Counters since the start.
    pub fn stats(&self) -> TransportStats {
        self.server.counters.read()
    }

    /// Tells the peers goodbye and waits, up to a second, until they know.
    pub async fn close(&self) {
        self.stop();
        let idle = self.endpoint.wait_idle();
        drop(tokio::time::timeout(Duration::from_secs(1), idle).await);
    }

    fn stop(&self) {
        let tasks = {
            let mut state = self.lock();
            state.closed = true;
            state.peers.clear();
            std::mem::take(&mut state.tasks)
        };
        self.endpoint.close(VarInt::from_u32(0), b"closing");
        for task in tasks {
            task.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.stop();
    }
}
