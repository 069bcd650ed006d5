//! A gateway-only node: doors without a replica.
//!
//! It ends clients' TLS and holds their sockets; everything else is done by core nodes, to which it
//! passes requests and sessions through tunnels. It keeps nothing that matters: when it dies its
//! clients resume elsewhere, and when a core node dies it resumes its clients' sessions through
//! another, without their doing ([`line::Line`]). It has no data directory, no vote and no secret
//! of tokens, and any number of them can stand before a cluster
//! (`docs/decisions/0018-gateways-relay.md`).
//!
//! What is deliberately absent: any decision about who may do what. A core node makes it, with the
//! client's address as the gateway tells it.

mod cores;
mod events;
mod forward;
pub(crate) mod greeting;
mod line;
pub(crate) mod presence;
mod session;
mod turnstile;
mod upload;
mod upstream;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use rotary_proto::limits::SESSIONS_PER_GATEWAY_MAX;
use rotary_proto::{NodeId, Stamp};
use rotary_transport::{Transport, Tunnel};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::debug::{About, Report};
use crate::gateway::health::{METRICS_MEDIA, liveness, not_measured_here};
use crate::gateway::problem::Problem;
use crate::gateway::runbook;
use crate::gateway::session::End;
use crate::gateway::session::leaving::Leaving;
use crate::gateway::session::serving::Written;
use crate::nodes::roster::Roster;
use crate::relay::cores::Cores;
use crate::relay::turnstile::Turnstile;
use crate::telemetry::measure_process;

/// How long a core node may take to open a tunnel.
const TUNNEL_PATIENCE: Duration = Duration::from_millis(500);

/// What the doors of a gateway-only node share.
pub(crate) struct Inner {
    node: NodeId,
    heartbeat_ms: u64,
    /// The most bytes that an upload may have.
    upload_bytes_max: u64,
    /// Where clients are told that they may resume, beside where they are.
    gateways: Vec<String>,
    transport: Arc<Transport>,
    cores: Arc<Cores>,
    roster: Arc<Roster>,
    sockets: AtomicUsize,
    turnstile: Turnstile,
    leaving: Leaving,
    /// Up to when those knew who said whether sessions are to leave.
    told: Mutex<Stamp>,
    metrics: PrometheusHandle,
    about: About,
}

/// A handle to [`Inner`].
#[derive(Clone)]
pub(crate) struct Relay(Arc<Inner>);

impl Deref for Relay {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// A socket that is counted, for as long as this lives.
struct Counted(Relay);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Relay {
    /// Begins to watch the core nodes.
    pub(crate) fn start(
        config: &Config,
        transport: Arc<Transport>,
        metrics: PrometheusHandle,
    ) -> Self {
        let roster = Roster::of(config);
        Self(Arc::new(Inner {
            node: NodeId(config.node.id),
            heartbeat_ms: config.session.heartbeat_ms,
            upload_bytes_max: config.blobs.upload_bytes_max,
            gateways: config.gateway.others.clone(),
            cores: Cores::watch(&transport, roster.clone()),
            roster,
            transport,
            sockets: AtomicUsize::new(0),
            turnstile: Turnstile::default(),
            leaving: Leaving::default(),
            told: Mutex::new(Stamp::ZERO),
            metrics,
            about: About::of(config),
        }))
    }

    /// The doors.
    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(show_metrics))
            .route("/v1/session", get(session::upgrade))
            .route("/v1/session/stream", post(session::stream))
            .fallback(forward::forward)
            .with_state(self.clone())
    }

    /// The door of those who run the node.
    pub(crate) fn admin_router(&self) -> Router {
        Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(measured))
            .route("/debug", get(report))
            .route("/runbook/{code}", get(runbook::show))
            .with_state(self.clone())
    }

    /// Tells every session that the node stops, and waits until they are gone or `patience` ends.
    pub(crate) async fn stop(&self, patience: Duration) {
        self.leaving.stop(self.sockets.load(Ordering::Relaxed), patience);
        let deadline = tokio::time::Instant::now() + patience;
        while self.sockets.load(Ordering::Relaxed) > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.transport.close().await;
    }

    /// Opens a tunnel for a client's connection.
    async fn tunnel(&self, core: NodeId, client: SocketAddr) -> Result<Tunnel, String> {
        let opened = self.transport.tunnel(core, TUNNEL_PATIENCE).await;
        let mut tunnel = opened.map_err(|error| error.to_string())?;
        greeting::write(&mut tunnel, client).await.map_err(|error| error.to_string())?;
        Ok(tunnel)
    }

    /// Why no session can begin here.
    fn full(&self) -> Option<Problem> {
        let full = self.sockets.load(Ordering::Relaxed) >= SESSIONS_PER_GATEWAY_MAX;
        self.leaving.refusal().or_else(|| full.then(Problem::all_sessions))
    }

    fn count_in(&self) -> Counted {
        self.sockets.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    /// A core node said whether sessions are to go elsewhere, as it knew at that time. What one
    /// says that knew less than another is old.
    fn told(&self, drains: bool, stamp: Stamp) {
        let mut latest = self.told.lock().expect("nothing panics under this lock");
        if stamp >= *latest {
            *latest = stamp;
            self.leaving.drain(drains, self.sockets.load(Ordering::Relaxed));
        }
    }

    /// Asks the client to leave when the node wants to be left, and closes a moment later.
    async fn left(&self, to_client: &mpsc::Sender<Written>) -> End {
        let say = async |frame| drop(to_client.send(Written::from(&frame)).await);
        self.leaving.turn(say).await
    }
}

async fn livez(State(relay): State<Relay>) -> impl IntoResponse {
    liveness(relay.node)
}

async fn readyz(State(relay): State<Relay>) -> (StatusCode, String) {
    if let Some(why) = relay.leaving.reason() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    }
    match relay.cores.pick(None) {
        Some(_) => (StatusCode::OK, "ready\n".to_owned()),
        None => {
            let silent = "no core node answers: see cluster.peers, and whether UDP gets through\n";
            (StatusCode::SERVICE_UNAVAILABLE, silent.to_owned())
        }
    }
}

async fn show_metrics(state: State<Relay>) -> Result<impl IntoResponse, Problem> {
    if !state.0.about.metrics_are_public() {
        return Err(not_measured_here());
    }
    Ok(measured(state).await)
}

async fn report(State(relay): State<Relay>) -> Json<Report> {
    Json(relay.about.report().await)
}

async fn measured(State(relay): State<Relay>) -> impl IntoResponse {
    measure_process();
    ([(CONTENT_TYPE, METRICS_MEDIA)], relay.metrics.render())
}
