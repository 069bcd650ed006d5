//! Whether a node can be reached, asked from beside a transport: one handshake, a question that
//! proves that both sides were believed, and good-bye.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::{Connection, Endpoint, VarInt};
use rotary_proto::NodeId;
use rotary_proto::wire::Lane;

use crate::authority::server_name;
use crate::certificates::Certificates;
use crate::endpoint::{self, BindError};
use crate::lane::{CallError, Wire};
use crate::peer::lane_byte;

/// A service that no node has.
const NO_SERVICE: u8 = u8::MAX;

/// Why a node was not reached.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No UDP socket, or certificates that cannot be used.
    #[error(transparent)]
    Local(#[from] BindError),
    /// Nothing came back: no process listens there, or UDP is blocked on the way.
    #[error("nothing came back from {address} (UDP) within {limit_ms} ms")]
    Silent {
        /// Where it was sought.
        address: SocketAddr,
        /// How long was waited.
        limit_ms: u128,
    },
    /// Somebody is there who did not agree: another node, another cluster, another protocol.
    #[error("{address} (UDP) refused: {reason}")]
    Refused {
        /// Where it was sought.
        address: SocketAddr,
        /// What QUIC or TLS said.
        reason: String,
    },
}

/// Shakes hands with a node at an address, with the caller's own certificate, and hangs up. Gives
/// how long that took. It uses a port of its own and disturbs no transport.
///
/// # Errors
/// [`ProbeError`].
pub async fn probe(
    certificates: &Certificates,
    node: NodeId,
    address: SocketAddr,
    limit: Duration,
) -> Result<Duration, ProbeError> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let local = |source| ProbeError::Local(BindError::Other { address: any, source });
    let config = endpoint::client(certificates, true).map_err(BindError::from)?;
    let endpoint = Endpoint::client(any).map_err(local)?;
    let refused = |reason: String| ProbeError::Refused { address, reason };
    let began = Instant::now();
    let name = server_name(certificates.cluster(), node);
    let connecting = endpoint.connect_with(config, address, &name);
    let connecting = connecting.map_err(|error| refused(error.to_string()))?;
    let silent = || ProbeError::Silent { address, limit_ms: limit.as_millis() };
    let connection = match tokio::time::timeout(limit, connecting).await {
        Err(_) | Ok(Err(quinn::ConnectionError::TimedOut)) => return Err(silent()),
        Ok(Err(error)) => return Err(refused(error.to_string())),
        Ok(Ok(connection)) => connection,
    };
    // Whether the other side believed us is not in its half of the handshake, but in that it
    // answers.
    let believed = tokio::time::timeout(limit.saturating_sub(began.elapsed()), ask(&connection));
    match believed.await {
        Err(_) => return Err(silent()),
        Ok(Err(reason)) => return Err(refused(reason)),
        Ok(Ok(())) => {}
    }
    let took = began.elapsed();
    connection.close(VarInt::from_u32(0), b"probe");
    drop(tokio::time::timeout(Duration::from_millis(200), endpoint.wait_idle()).await);
    Ok(took)
}

/// Asks for a service that there is none of, and waits until the other side says so.
async fn ask(connection: &Connection) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| match connection.close_reason() {
        Some(reason) => reason.to_string(),
        None => error.to_string(),
    };
    let mut streams = connection.open_bi().await.map_err(|error| said(&error))?;
    let first = streams.0.write_all(&[lane_byte(Lane::Live)]).await;
    first.map_err(|error| said(&error))?;
    let (wire, frames) = Wire::new();
    let serving = wire.clone().run(frames, streams, Arc::default());
    tokio::select! {
        biased;
        answer = wire.call(NO_SERVICE, Bytes::new(), Duration::MAX) => match answer {
            Ok(_) | Err(CallError::Failed(_)) => Ok(()),
            Err(error) => Err(said(&error)),
        },
        () = serving => Err(said(&"it hung up")),
    }
}
