//! A node with everything that serves: doors, sessions, actors, effects.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rotary::simulated::{self, Application as Done, DIRECTORY, Parts, Witness};
use rotary_client::network::Dial;
use rotary_log::{Log, LogConfig, LogStores};
use rotary_proto::codec::{self, Limit};
use rotary_proto::{LogicVersions, ShardId, Stamp};
use rotary_storage::{Disk, Journal};
use rotary_transport::{Datagrams, Handler, TransportConfig};

use crate::simulation::bugs::PlantedDoor;
use crate::simulation::history::Ms;
use crate::simulation::machine;
use crate::simulation::machine::directory::decode as decode_directory;
use crate::simulation::observer::{Application, DirectoryApplication, Observer};

/// The secret of a world's tokens.
pub(crate) const SECRET: &[u8] = b"everybody in this world may know it";

/// The node of a process, once it has started.
pub(crate) type Doors = Arc<OnceLock<Arc<simulated::Node>>>;

/// What a process is started with.
pub(crate) struct Start {
    pub(crate) node: usize,
    /// Data shards in the end.
    pub(crate) shards: u32,
    pub(crate) begins_with: u32,
    pub(crate) log: LogConfig,
    pub(crate) network: Arc<dyn Datagrams>,
    pub(crate) transport: TransportConfig,
    pub(crate) stores: LogStores,
    pub(crate) journal: Arc<Journal>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) outside: Arc<dyn Dial>,
    pub(crate) door: Arc<PlantedDoor>,
    pub(crate) run: u64,
    pub(crate) retention_ms: Option<Ms>,
    pub(crate) logic: LogicVersions,
    pub(crate) observer: Observer,
    pub(crate) doors: Doors,
    pub(crate) started: Arc<OnceLock<Arc<Log>>>,
}

impl Start {
    /// Starts a node, which then runs by itself.
    pub(crate) async fn go(self) -> Result<(), String> {
        let witness = Sight { node: self.node, shards: self.shards, observer: self.observer };
        let door = self.door;
        let parts = Parts {
            shards: self.begins_with,
            log: self.log,
            network: self.network,
            transport: self.transport,
            stores: self.stores,
            journal: self.journal,
            outside: self.outside,
            disk: self.disk,
            between: Some(Box::new(move |handler| Arc::new(Between { handler, door }))),
            secret: SECRET.to_vec(),
            run: self.run,
            retention: self.retention_ms.map(Duration::from_millis),
            logic: self.logic,
            witness: Arc::new(witness),
        };
        let node = Arc::new(simulated::Node::start(parts).await?);
        drop(self.started.set(node.log().clone()));
        drop(self.doors.set(node));
        Ok(())
    }
}

/// Stands between a node and what others ask of it.
struct Between {
    handler: Arc<dyn Handler>,
    door: Arc<PlantedDoor>,
}

impl Handler for Between {
    fn handle(
        &self,
        from: rotary_proto::NodeId,
        lane: rotary_transport::Lane,
        service: u8,
        payload: bytes::Bytes,
    ) -> futures::future::BoxFuture<'static, Result<Vec<u8>, String>> {
        let (answer, door) = (self.handler.handle(from, lane, service, payload), self.door.clone());
        Box::pin(async move { answer.await.map(|answer| door.answer(service, answer)) })
    }

    fn tunnel(&self, from: rotary_proto::NodeId, tunnel: rotary_transport::Tunnel) {
        self.handler.tunnel(from, tunnel);
    }
}

/// Tells the observer what a node's machines do. Its data shards are numbered from 0, and the
/// directory comes behind them.
struct Sight {
    node: usize,
    shards: u32,
    observer: Observer,
}

impl Witness for Sight {
    fn applied(&self, done: &Done<'_>) {
        let Done { index, payload, answer, events, state } = *done;
        self.observer.applied(&Application {
            node: self.node,
            shard: state.id().0 - 1,
            index,
            stamp: state.last_stamp(),
            payload,
            command: machine::decode(payload).as_ref(),
            answer,
            events,
            state,
            digest: state.digest(),
        });
    }

    fn decided(&self, index: u64, stamp: Stamp, payload: &[u8], answer: &[u8], digest: u128) {
        let answer = codec::decode(answer, Limit::Entry).expect("a machine gave it");
        self.observer.applied_directory(&DirectoryApplication {
            node: self.node,
            shard: self.shards,
            index,
            stamp,
            payload,
            entry: decode_directory(payload).as_ref(),
            answer: &answer,
            digest,
        });
    }

    fn installed(&self, shard: ShardId, index: u64, digest: u128) {
        let shard = if shard == DIRECTORY { self.shards } else { shard.0 - 1 };
        self.observer.installed(self.node, shard, index, digest);
    }
}
