//! What other nodes ask of this one, given to whom it concerns.

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use rotary_log::{Door, Log, SERVICE_HISTORY, answer_history};
use rotary_proto::NodeId;
use rotary_proto::codec::{self, Limit};
use rotary_proto::wire::Lane;
use rotary_storage::Journal;
use rotary_transport::{Handler, Tunnel};

use crate::actor::Registry;
use crate::blobs::{Blobs, SERVICE_BLOB};
use crate::gateway::doors::Doors;
use crate::gateway::session::Sessions;
use crate::hint::{Freshness, SERVICE_BEAT, SERVICE_HEAR, SERVICE_SIGNAL, SignalHint, answer_beat};
use crate::nodes::roster::{self, SERVICE_ROSTER};
use crate::nodes::{self, SERVICE_PRESENT, SERVICE_SEEN};
use crate::relay::greeting;
use crate::server::doorstep::BackDoor;

/// Answers requests of other nodes. What they are for is started after the transport that brings
/// them, so it is put in later; until then they are refused. The log opens its own door.
#[derive(Default)]
pub(crate) struct NodeHandler {
    pub(crate) door: Door,
    log: OnceLock<Arc<Log>>,
    freshness: OnceLock<Arc<Freshness>>,
    registry: OnceLock<Arc<Registry>>,
    journal: OnceLock<Arc<Journal>>,
    blobs: OnceLock<Arc<Blobs>>,
    back_door: OnceLock<BackDoor>,
    sessions: OnceLock<Arc<Sessions>>,
    doors: OnceLock<Doors>,
}

impl NodeHandler {
    /// The log has started.
    pub(crate) fn set_log(&self, log: Arc<Log>) {
        assert!(self.log.set(log).is_ok(), "a node starts its log once");
    }

    /// Signs of life are being collected.
    pub(crate) fn set_freshness(&self, freshness: Arc<Freshness>) {
        assert!(self.freshness.set(freshness).is_ok(), "a node collects signs of life once");
    }

    /// The blobs can be shared.
    pub(crate) fn set_blobs(&self, blobs: Arc<Blobs>) {
        assert!(self.blobs.set(blobs).is_ok(), "a node opens its blobs once");
    }

    /// The doors are open.
    pub(crate) fn set_back_door(&self, door: BackDoor) {
        assert!(self.back_door.set(door).is_ok(), "a node opens its doors once");
    }

    /// The actors have started, and the journal is open.
    pub(crate) fn set_records(&self, registry: Arc<Registry>, journal: Arc<Journal>) {
        assert!(self.registry.set(registry).is_ok(), "a node starts its actors once");
        assert!(self.journal.set(journal).is_ok(), "a node opens its journal once");
    }

    /// Sessions may begin.
    pub(crate) fn set_sessions(&self, sessions: Arc<Sessions>) {
        assert!(self.sessions.set(sessions).is_ok(), "a node begins to serve sessions once");
    }

    /// The doors have all that they need.
    pub(crate) fn set_doors(&self, doors: Doors) {
        assert!(self.doors.set(doors).is_ok(), "a node has its doors once");
    }

    fn hear(&self, payload: &[u8]) -> Result<Vec<u8>, String> {
        let session = codec::decode(payload, Limit::Entry).map_err(|error| error.to_string())?;
        let heard = self.sessions.get().and_then(|sessions| sessions.hear(session));
        codec::encode(&heard, Limit::Entry).map_err(|error| error.to_string())
    }

    fn signal(&self, payload: &[u8]) -> Result<Vec<u8>, String> {
        let hint: SignalHint =
            codec::decode(payload, Limit::Entry).map_err(|error| error.to_string())?;
        if let Some(registry) = self.registry.get() {
            registry.signal(hint.conversation, hint.agent, hint.signal);
        }
        Ok(Vec::new())
    }
}

impl Handler for NodeHandler {
    fn handle(
        &self,
        from: NodeId,
        _lane: Lane,
        service: u8,
        payload: bytes::Bytes,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let starting = || Err("this node is starting".to_owned());
        let log = self.log.get().cloned();
        match service {
            service if Door::serves(service) => {
                let door = self.door.clone();
                async move { door.handle(service, payload).await }.boxed()
            }
            SERVICE_BEAT => {
                let beat = match (log, self.freshness.get()) {
                    (Some(log), Some(freshness)) => answer_beat(&log, freshness),
                    _ => starting(),
                };
                async move { beat }.boxed()
            }
            SERVICE_HISTORY => {
                let journal = self.journal.get().cloned();
                async move {
                    let journal = journal.ok_or("this node is starting")?;
                    let read = move || answer_history(&journal, &payload);
                    let read = crate::blocking::run(read).await;
                    read.unwrap_or_else(|error| Err(error.to_string()))
                }
                .boxed()
            }
            SERVICE_BLOB => {
                let blobs = self.blobs.get().cloned();
                async move { blobs.ok_or("this node is starting")?.answer(from, payload).await }
                    .boxed()
            }
            SERVICE_SIGNAL => {
                let signalled = self.signal(&payload);
                async move { signalled }.boxed()
            }
            SERVICE_HEAR => {
                let heard = self.hear(&payload);
                async move { heard }.boxed()
            }
            SERVICE_PRESENT => {
                let doors = self.doors.get().cloned();
                async move {
                    let doors = doors.ok_or("this node is starting")?;
                    nodes::announce::answer_present(doors, from, &payload).await
                }
                .boxed()
            }
            SERVICE_ROSTER => {
                let told = |doors: &Doors| roster::answer(&doors.roster);
                let roster = self.doors.get().map_or_else(starting, told);
                async move { roster }.boxed()
            }
            SERVICE_SEEN => {
                let seen = self.doors.get().map_or_else(starting, nodes::answer_seen);
                async move { seen }.boxed()
            }
            other => async move { Err(format!("service {other} is not known here")) }.boxed(),
        }
    }

    fn tunnel(&self, from: NodeId, mut tunnel: Tunnel) {
        // Who comes before the doors are open tries another node.
        let Some(door) = self.back_door.get().cloned() else { return };
        tokio::spawn(async move {
            match greeting::read(&mut tunnel).await {
                Ok(address) => door.admit(tunnel, address).await,
                Err(error) => tracing::debug!(%from, %error, "a tunnel did not say whose it is"),
            }
        });
    }
}
