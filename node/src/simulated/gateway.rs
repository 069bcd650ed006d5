//! A gateway-only node in a world that somebody else makes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics_exporter_prometheus::PrometheusBuilder;
use rotary_proto::{LogicVersions, NodeId};
use rotary_transport::{Datagrams, Transport, TransportConfig};

use super::{AnyStream, ON, url};
use crate::config::{Config, PeerNode, Role};
use crate::nodes::{self, Runs};
use crate::relay::presence::Identity;
use crate::server::doorstep::{BackDoor, Doorstep};
use crate::server::gateway_only::{Deaf, Serving};

/// What a world gives to a gateway-only node that starts.
pub struct GatewayParts {
    /// Its end of the network between nodes.
    pub network: Arc<dyn Datagrams>,
    /// Whom it speaks to there, the core nodes, and as whom.
    pub transport: TransportConfig,
    /// Where its sessions are told that they may resume, beside where they are.
    pub others: Vec<String>,
    /// Which run of the node: another number at each start.
    pub run: u64,
    /// Which versions of the logic its build says that it can apply.
    pub logic: LogicVersions,
}

/// A gateway-only node that runs.
pub struct Gateway {
    back_door: BackDoor,
    _serving: Serving,
}

impl Gateway {
    /// Starts a gateway-only node. Dropping the runtime is the end of its process.
    ///
    /// # Errors
    /// What a gateway-only node that serves would end with.
    pub fn start(parts: GatewayParts) -> Result<Self, String> {
        ON.store(true, Ordering::Relaxed);
        let config = config(&parts);
        let peer = parts.transport.listen;
        let transport = Transport::start_over(parts.network, parts.transport, Arc::new(Deaf));
        let transport = Arc::new(transport.map_err(|error| error.to_string())?);
        let doorstep = Doorstep::behind(config.listen.public);
        let back_door = doorstep.back_door();
        let runs = Runs { logic: parts.logic, ..Runs::this_build() };
        let announced = nodes::announced(&config, peer, runs);
        let identity = Identity { run: parts.run, announced };
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let serving = Serving::start(&config, transport, doorstep, identity, metrics);
        Ok(Self { back_door, _serving: serving })
    }

    /// Lets a client's connection in.
    pub async fn admit(&self, stream: Box<dyn AnyStream>, address: SocketAddr) {
        self.back_door.admit_any(stream, address).await;
    }
}

fn config(parts: &GatewayParts) -> Config {
    let mut config = Config::default();
    let own = parts.transport.node;
    (config.node.id, config.node.role) = (own.0, Role::Gateway);
    config.cluster.id = "simulated".to_owned();
    let peers = parts.transport.peers.iter();
    let of =
        |(id, peer): (&NodeId, &SocketAddr)| PeerNode { id: id.0, peer: *peer, public: url(*id) };
    config.cluster.peers = peers.map(of).collect();
    config.gateway.public = url(own);
    config.gateway.others.clone_from(&parts.others);
    config
}
