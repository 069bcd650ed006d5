//! The UDP socket and the QUIC settings: the one file to replace where there is no real network.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quinn::{
    AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, IdleTimeout, Runtime, TokioRuntime,
};
use quinn::{ClientConfig, Endpoint, EndpointConfig, ServerConfig, VarInt};
use ring::rand::SecureRandom;

use crate::certificates::{CertificateError, Certificates};
use crate::datagrams::{Datagrams, SeededIds, Socket};

/// Why a node cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("{address} is in use: stop the process that listens there, or change the address")]
    InUse {
        /// The address, UDP.
        address: SocketAddr,
    },
    /// The address cannot be bound for another reason.
    #[error("cannot listen on {address} (UDP): {source}; use an address of this machine")]
    Other {
        /// The address, UDP.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
}

/// A peer that falls silent for this long is gone, as far as QUIC is concerned.
const IDLE_TIMEOUT_MS: u32 = 1_500;
const KEEP_ALIVE: Duration = Duration::from_millis(250);
const INITIAL_RTT: Duration = Duration::from_millis(20);
const STREAMS_MAX: u32 = 64;
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Bytes on their way to one client.
const TUNNEL_WINDOW_BYTES: u32 = 256 * 1024;

/// A bound endpoint that both serves and dials.
pub(crate) fn bind(
    address: SocketAddr,
    certificates: &Certificates,
) -> Result<Endpoint, BindError> {
    let socket = UdpSocket::bind(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        _ => BindError::Other { address, source },
    })?;
    let wrapped = TokioRuntime.wrap_udp_socket(socket);
    let socket = wrapped.map_err(|source| BindError::Other { address, source })?;
    let config = endpoint_config(certificates.stable_secret());
    open(address, socket, config, certificates)
}

/// An endpoint on a network that is not the operating system's, with every random number that
/// QUIC draws coming from that network's seed.
pub(crate) fn over(
    network: Arc<dyn Datagrams>,
    certificates: &Certificates,
) -> Result<Endpoint, BindError> {
    let (address, seed) = (network.local_address(), network.seed());
    let mut config = endpoint_config(certificates.stable_secret());
    config.rng_seed(Some(seed)).cid_generator(move || Box::new(SeededIds::new(seed)));
    open(address, Arc::new(Socket(network)), config, certificates)
}

/// How connections are made, each kind in its way, with one certificate.
#[derive(Debug, Clone)]
pub(crate) struct Dialling {
    pub(crate) fast: ClientConfig,
    pub(crate) bulk: ClientConfig,
    pub(crate) tunnels: ClientConfig,
}

impl Dialling {
    /// With those certificates. Where there is a seed, the ids by which connections are begun
    /// depend on that alone.
    pub(crate) fn new(
        certificates: &Certificates,
        seed: Option<[u8; 32]>,
    ) -> Result<Self, CertificateError> {
        let (fast, bulk) = (client(certificates, true)?, client(certificates, false)?);
        let dialling = Self { fast, bulk, tunnels: tunnels(certificates)? };
        let Some(seed) = seed else { return Ok(dialling) };
        let Self { fast, bulk, tunnels } = dialling;
        Ok(Self {
            fast: seeded(fast, seed),
            bulk: seeded(bulk, seed.map(|byte| !byte)),
            tunnels: seeded(tunnels, seed.map(|byte| byte ^ 0x55)),
        })
    }
}

/// Makes the ids by which a connection is begun depend on the seed alone.
fn seeded(mut client: ClientConfig, seed: [u8; 32]) -> ClientConfig {
    let ids = Mutex::new(SeededIds::new(seed));
    let next = move || ids.lock().expect("no code panics while it holds this lock").generate_cid();
    client.initial_dst_cid_provider(Arc::new(next));
    client
}

fn open(
    address: SocketAddr,
    socket: Arc<dyn AsyncUdpSocket>,
    config: EndpointConfig,
    certificates: &Certificates,
) -> Result<Endpoint, BindError> {
    let (server, runtime) = (server(certificates)?, Arc::new(TokioRuntime));
    let endpoint = Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime);
    endpoint.map_err(|source| BindError::Other { address, source })
}

/// How those who dial are answered.
pub(crate) fn server(certificates: &Certificates) -> Result<ServerConfig, CertificateError> {
    let mut server = ServerConfig::with_crypto(Arc::new(certificates.server_config()?));
    server.transport_config(Arc::new(transport(true)));
    server.migration(false);
    Ok(server)
}

/// How to dial. Without `keep_alive` the connection ends by itself when it is not used.
pub(crate) fn client(
    certificates: &Certificates,
    keep_alive: bool,
) -> Result<ClientConfig, CertificateError> {
    let mut client = ClientConfig::new(Arc::new(certificates.client_config()?));
    client.transport_config(Arc::new(transport(keep_alive)));
    Ok(client)
}

/// How to dial a connection for tunnels.
fn tunnels(certificates: &Certificates) -> Result<ClientConfig, CertificateError> {
    let mut client = ClientConfig::new(Arc::new(certificates.client_config()?));
    let mut config = transport(true);
    config.stream_receive_window(VarInt::from_u32(TUNNEL_WINDOW_BYTES));
    client.transport_config(Arc::new(config));
    Ok(client)
}

/// A restarted node recognises packets meant for its predecessor and says so at once, which needs
/// the key of its resets to stay the same.
fn endpoint_config(secret: [u8; 32]) -> EndpointConfig {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
    let mut config = EndpointConfig::new(Arc::new(key));
    config.cid_generator(|| Box::new(RandomIds(ring::rand::SystemRandom::new())));
    config
}

/// Connection ids of 8 random bytes. QUIC's own generator signs its ids with a key of the process,
/// and so would drop, instead of reset, what was meant for a predecessor.
struct RandomIds(ring::rand::SystemRandom);

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; 8];
        self.0.fill(&mut id).expect("the operating system gives random bytes");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn transport(keep_alive: bool) -> quinn::TransportConfig {
    let mut config = quinn::TransportConfig::default();
    config
        .initial_rtt(INITIAL_RTT)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(keep_alive.then_some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        // More than all lanes of a connection can have on their way, so that none waits for bytes
        // of another: priorities order what is written, not who may write.
        .send_window(4 * u64::from(STREAM_WINDOW_BYTES))
        .datagram_receive_buffer_size(None);
    config
}
