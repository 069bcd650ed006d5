//! Keeps the connections to one peer alive, and hands out its lanes.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quinn::{ClientConfig, Connection, Endpoint, VarInt};
use rotary_proto::NodeId;
use rotary_proto::wire::Lane;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;

use crate::authority::server_name;
use crate::certificates::peer_of;
use crate::endpoint::Dialling;
use crate::lane::{CallError, Wire};
use crate::stats::{Counters, count};
use crate::tunnel::Tunnel;

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The byte that opens a stream and says which lane it is.
pub(crate) fn lane_byte(lane: Lane) -> u8 {
    match lane {
        Lane::Raft => 1,
        Lane::Live => 2,
        Lane::Bulk => 3,
        Lane::Heartbeat => 4,
    }
}

pub(crate) fn lane_of(byte: u8) -> Option<Lane> {
    Lane::ALL.into_iter().find(|lane| lane_byte(*lane) == byte)
}

pub(crate) fn priority(lane: Lane) -> i32 {
    match lane {
        Lane::Heartbeat => 30,
        Lane::Raft => 20,
        Lane::Live => 5,
        Lane::Bulk => 0,
    }
}

/// One lane to one peer: its open stream, if there is one.
type Slot = watch::Sender<Option<Arc<Wire>>>;

/// A peer, as seen by those who call it.
#[derive(Debug)]
pub(crate) struct Peer {
    address: watch::Sender<SocketAddr>,
    slots: [Slot; 4],
    /// The connection that carries tunnels, once one was wanted.
    tunnels: Mutex<Option<Connection>>,
    /// Somebody wants a connection: cuts the rest between attempts short.
    wanted: [Notify; 2],
}

/// What dialling needs.
#[derive(Debug, Clone)]
pub(crate) struct Dialler {
    pub(crate) endpoint: Endpoint,
    pub(crate) cluster: String,
    /// What it is done with at present: certificates may be replaced.
    pub(crate) dialling: Arc<RwLock<Dialling>>,
    pub(crate) counters: Arc<Counters>,
}

impl Dialler {
    fn with(&self, kind: impl Fn(&Dialling) -> &ClientConfig) -> ClientConfig {
        kind(&self.dialling.read().unwrap_or_else(PoisonError::into_inner)).clone()
    }
}

/// Connections differ by what they carry: heartbeats, raft and live together, bulk alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Fast,
    Bulk,
}

impl Class {
    pub(crate) const ALL: [Self; 2] = [Self::Fast, Self::Bulk];

    fn of(lane: Lane) -> Self {
        if lane == Lane::Bulk { Self::Bulk } else { Self::Fast }
    }

    fn lanes(self) -> &'static [Lane] {
        match self {
            Self::Fast => &[Lane::Heartbeat, Lane::Raft, Lane::Live],
            Self::Bulk => &[Lane::Bulk],
        }
    }
}

impl Peer {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let slots = std::array::from_fn(|_| watch::Sender::new(None));
        let wanted = std::array::from_fn(|_| Notify::new());
        let tunnels = Mutex::new(None);
        Self { address: watch::Sender::new(address), slots, tunnels, wanted }
    }

    pub(crate) fn move_to(&self, address: SocketAddr) {
        self.address.send_replace(address);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        *self.address.borrow()
    }

    fn slot(&self, lane: Lane) -> &Slot {
        &self.slots[(lane_byte(lane) - 1) as usize]
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.slot(Lane::Live).borrow().as_ref().is_some_and(|wire| wire.is_open())
    }

    /// The lane's open stream, waiting up to `ttl` for one.
    pub(crate) async fn wire(&self, lane: Lane, ttl: Duration) -> Result<Arc<Wire>, CallError> {
        let open = |wire: &Option<Arc<Wire>>| wire.as_ref().is_some_and(|wire| wire.is_open());
        let mut slot = self.slot(lane).subscribe();
        if let Some(wire) = slot.borrow_and_update().clone()
            && wire.is_open()
        {
            return Ok(wire);
        }
        self.wanted[Class::of(lane) as usize].notify_one();
        let found = tokio::time::timeout(ttl, slot.wait_for(open)).await;
        match found {
            Ok(Ok(wire)) => Ok(wire.clone().expect("waited for an open one")),
            Ok(Err(_)) => Err(CallError::NotSent("the transport is closed".to_owned())),
            Err(_) => {
                let (address, ms) = (*self.address.borrow(), ttl.as_millis());
                Err(CallError::NotSent(format!("no connection to {address} within {ms} ms")))
            }
        }
    }

    /// Connects, serves, reconnects: for as long as the task lives.
    pub(crate) async fn keep_connected(&self, class: Class, node: NodeId, dialler: Dialler) {
        let mut backoff = BACKOFF_MIN;
        loop {
            if class == Class::Bulk {
                self.wanted[class as usize].notified().await;
            }
            let began = Instant::now();
            match self.connect(class, node, &dialler).await {
                Ok(connection) => {
                    backoff = BACKOFF_MIN;
                    count(&dialler.counters.connects, 1);
                    let reason = self.serve(class, &connection, &dialler.counters).await;
                    tracing::debug!(peer = %node, ?class, reason, "connection lost");
                }
                Err(reason) => {
                    count(&dialler.counters.connect_failures, 1);
                    tracing::debug!(peer = %node, ?class, reason, "cannot connect");
                }
            }
            // Never more often than the shortest pause, however much it is wanted.
            tokio::time::sleep_until(began + BACKOFF_MIN).await;
            if class == Class::Fast {
                let wanted = self.wanted[class as usize].notified();
                drop(tokio::time::timeout_at(began + backoff, wanted).await);
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }

    /// Opens a tunnel, over a connection that is made if there is none. Whoever comes while it is
    /// being made waits for it.
    pub(crate) async fn tunnel(&self, node: NodeId, dialler: &Dialler) -> Result<Tunnel, String> {
        let connection = {
            let mut open = self.tunnels.lock().await;
            match &*open {
                Some(connection) if connection.close_reason().is_none() => connection.clone(),
                _ => {
                    let with = dialler.with(|dialling| &dialling.tunnels);
                    let made = self.dial(with, node, dialler).await?;
                    open.insert(made).clone()
                }
            }
        };
        Tunnel::open(&connection).await
    }

    pub(crate) fn break_tunnels(&self) {
        // While one is being made there is none to break.
        if let Ok(mut open) = self.tunnels.try_lock()
            && let Some(connection) = open.take()
        {
            connection.close(VarInt::from_u32(4), b"taken for lost");
        }
    }

    async fn connect(
        &self,
        class: Class,
        node: NodeId,
        dialler: &Dialler,
    ) -> Result<Connection, String> {
        let with = dialler.with(|dialling| match class {
            Class::Fast => &dialling.fast,
            Class::Bulk => &dialling.bulk,
        });
        self.dial(with, node, dialler).await
    }

    async fn dial(
        &self,
        with: ClientConfig,
        node: NodeId,
        dialler: &Dialler,
    ) -> Result<Connection, String> {
        let (address, name) = (*self.address.borrow(), server_name(&dialler.cluster, node));
        let connecting = dialler.endpoint.connect_with(with, address, &name);
        let connection = connecting.map_err(|error| error.to_string())?;
        let connection = connection.await.map_err(|error| error.to_string())?;
        match peer_of(&connection) {
            Some((cluster, found)) if cluster == dialler.cluster && found == node => Ok(connection),
            found => {
                connection.close(VarInt::from_u32(1), b"not the node that was dialled");
                Err(format!("{address} is {found:?}, not {node}"))
            }
        }
    }

    /// Opens the lanes and serves them until one breaks, which ends the connection.
    async fn serve(
        &self,
        class: Class,
        connection: &Connection,
        counters: &Arc<Counters>,
    ) -> String {
        let mut lanes = Vec::new();
        for lane in class.lanes() {
            let mut streams = match connection.open_bi().await {
                Ok(streams) => streams,
                Err(error) => return error.to_string(),
            };
            // An error here is an error of the stream, which its first use reports.
            drop(streams.0.set_priority(priority(*lane)));
            if let Err(error) = streams.0.write_all(&[lane_byte(*lane)]).await {
                return error.to_string();
            }
            let (wire, frames) = Wire::new();
            self.slot(*lane).send_replace(Some(wire.clone()));
            let ended = Ended { wire: wire.clone(), slot: self.slot(*lane) };
            lanes.push(Box::pin(async move {
                let _ended = ended;
                wire.run(frames, streams, counters.clone()).await;
            }));
        }
        futures::future::select_all(lanes).await;
        let reason = connection.close_reason();
        connection.close(VarInt::from_u32(0), b"a lane ended");
        reason.map_or_else(|| "a lane ended".to_owned(), |reason| reason.to_string())
    }
}

/// However serving a lane ends, nobody goes on waiting on it.
struct Ended<'a> {
    wire: Arc<Wire>,
    slot: &'a Slot,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.wire.end("the connection was lost");
        self.slot.send_replace(None);
    }
}
