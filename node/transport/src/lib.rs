//! Moves opaque envelopes between the nodes of a cluster, on prioritised lanes.
//!
//! A node that has something to ask of another opens QUIC connections to it, with TLS on both
//! sides from the cluster's own authority ([`Certificates`]). On them it keeps one long-lived
//! stream per [`Lane`]: *heartbeat*, *raft* and *live* share a connection, with falling priority,
//! so that a heartbeat passes the megabytes that wait for the raft lane; *bulk* has a connection of
//! its own, because priorities alone do not keep a full send queue from delaying what follows it.
//! Requests carry an id and are answered in any order; everything that waits for a stream when its
//! writer wakes goes out in one write.
//!
//! [`Transport::call`] says exactly what a failure means ([`CallError`]): *not sent* (the peer
//! cannot have seen it), or *unknown* (it may have). Nothing is sent twice here; repeating is for
//! those who know whether it is safe.
//!
//! The parts: [`Transport`] is the door. `peer` keeps connections to one node alive, `lane` is the
//! asking end of a stream, `serve` the answering end, `framing` cuts streams into frames, and
//! `endpoint` is the only place that touches a UDP socket, so that a simulated network
//! ([`Datagrams`]) can take its place.
//!
//! What is deliberately absent: the meaning of a payload, the choice of a leader, retries, 0-RTT.

mod authority;
mod certificates;
mod datagrams;
mod endpoint;
mod framing;
mod lane;
mod peer;
mod probe;
#[cfg(feature = "seeded-secrets")]
mod seeded_secrets;
mod serve;
mod stats;
mod transport;
mod tunnel;
mod validity;

pub use authority::{ClusterAuthority, NodePem};
pub use certificates::{CertificateError, Certificates};
pub use datagrams::Datagrams;
pub use endpoint::BindError;
pub use lane::CallError;
pub use probe::{ProbeError, probe};
pub use rotary_proto::wire::Lane;
#[cfg(feature = "seeded-secrets")]
pub use seeded_secrets::seed_secrets;
pub use stats::TransportStats;
pub use transport::{Handler, PAYLOAD_BYTES_MAX, Transport, TransportConfig};
pub use tunnel::Tunnel;
pub use validity::chain_ends_s;
