//! A gateway-only node from its start to its end: doors, and tunnels to the core nodes.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use rotary_proto::NodeId;
use rotary_proto::wire::Lane;
use rotary_transport::{Handler, Transport};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::gateway::token::unix_ms;
use crate::nodes::{self, Runs};
use crate::relay::Relay;
use crate::relay::presence::{Identity, keep_saying, leave};
use crate::server::admin::AdminDoor;
use crate::server::doorstep::Doorstep;
use crate::server::peer_tls::{self, PeerTls};
use crate::server::reload::Reload;
use crate::server::{self, LEAVE, ServerOptions, StartError, running};
use crate::telemetry::LogLevel;

/// Nobody asks a gateway-only node for anything.
pub(crate) struct Deaf;

impl Handler for Deaf {
    fn handle(
        &self,
        _: NodeId,
        _: Lane,
        service: u8,
        _: Bytes,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        async move { Err(format!("a gateway-only node has no service {service}")) }.boxed()
    }
}

/// Runs until the node is told to stop.
///
/// # Errors
/// [`StartError`].
pub(super) async fn run(
    config: Config,
    options: ServerOptions,
    level: LogLevel,
    metrics: PrometheusHandle,
) -> Result<(), StartError> {
    let (certificates, begun) = peer_tls::read(&config)?;
    let (listener, tls) = server::listen(&config).await?;
    let admin = AdminDoor::take(&config).await?;
    let at = admin.as_ref().map(|door| door.address);
    let public = listener.local_addr().map_err(StartError::Io)?;
    let address = config.listen.peer;
    let transport = Transport::start(server::transport(&config, certificates), Arc::new(Deaf))
        .map_err(|source| StartError::Peer { address, source })?;
    let transport = Arc::new(transport);
    let peer = transport.local_address().map_err(StartError::Io)?;
    let peers = PeerTls::new(transport.clone(), &config, begun);
    let (origin, config_read) = (options.origin.clone(), config.clone());
    let reload = Reload { origin, config: config_read, level, tls: tls.clone(), peers };
    tokio::spawn(reload.keep());
    let tls = tls.map(|tls| tls.config());
    let doorstep = Doorstep::at(listener, tls, config.gateway.connections_per_address_max);
    let doorstep = doorstep.map_err(StartError::Io)?;
    let identity =
        Identity { run: unix_ms(), announced: nodes::announced(&config, peer, Runs::this_build()) };
    let serving = Serving::start(&config, transport, doorstep, identity, metrics);
    if let Some(admin) = admin {
        serving.open_admin(admin);
    }
    server::tell_ready(&config, &options, (public, peer, at))?;
    let why = server::until_stopped(options.exit_with_stdin).await;
    tracing::info!(why, "stopping");
    serving.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// A gateway-only node that serves.
pub(crate) struct Serving {
    relay: Relay,
    identity: Identity,
    /// Says that it is here.
    here: JoinHandle<()>,
    closing: watch::Sender<bool>,
}

impl Serving {
    /// Opens the doors, and says to the core nodes that this node is here.
    pub(crate) fn start(
        config: &Config,
        transport: Arc<Transport>,
        doorstep: Doorstep,
        identity: Identity,
        metrics: PrometheusHandle,
    ) -> Self {
        let relay = Relay::start(config, transport, metrics);
        let here = tokio::spawn(keep_saying(relay.clone(), identity.clone()));
        let (closing, closed) = watch::channel(false);
        tokio::spawn(running::serve(doorstep, relay.router(), closed));
        Self { relay, identity, here, closing }
    }

    /// Lets those in who run the node.
    fn open_admin(&self, door: AdminDoor) {
        door.open(self.relay.admin_router(), self.closing.subscribe());
    }

    /// Sends clients elsewhere, and says good-bye to the core nodes.
    async fn stop(self) {
        self.here.abort();
        leave(&self.relay, &self.identity).await;
        self.relay.stop(LEAVE).await;
        self.closing.send_replace(true);
    }
}
