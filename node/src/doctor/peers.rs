//! What can be seen of the nodes of the cluster: each by its HTTP API, whose answer says which
//! node it is, which build, and what time it has; and by UDP, with a handshake of its own.

use std::net::UdpSocket;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use rotary_client::http::{Answer, Http, Outgoing};
use rotary_client::{Gateway, Method, Network, Trust};
use rotary_proto::NodeId;
use rotary_transport::{Certificates, ProbeError, probe};

use crate::build;
use crate::config::{Config, PeerNode};
use crate::doctor::Finding;
use crate::gateway::health::{BUILD_HEADER, NODE_HEADER, WALL_HEADER};
use crate::gateway::token::unix_ms;

/// Clocks that differ by more make people misread what happened when.
const OFFSET_MAX_MS: u64 = 1_000;

/// What a node's HTTP API said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    node: String,
    build: String,
    /// How far its clock is ahead of ours.
    ahead_ms: i64,
    /// How wrong that can be: half the time that the answer took.
    unsure_ms: u64,
}

impl Told {
    /// How far its clock is ahead of ours, in milliseconds.
    pub(super) fn ahead_ms(&self) -> i64 {
        self.ahead_ms
    }
}

/// Looks at every node, this one included, at once.
pub(super) async fn look(config: &Config, trust: &Trust, patience: Duration) -> Vec<Finding> {
    let tls = &config.tls;
    let ours = Certificates::load(&tls.ca_file, &tls.cert_file, &tls.key_file).ok();
    let looks = config.cluster.peers.iter().map(|peer| {
        let ours = ours.as_ref();
        async move {
            let told = ask(peer, trust, patience).await;
            if peer.id == config.node.id {
                return this_node(config, peer, &told);
            }
            let reached = match ours {
                Some(ours) => Some(probe(ours, NodeId(peer.id), peer.peer, patience).await),
                None => None,
            };
            judge(peer, &told, reached)
        }
    });
    join_all(looks).await.into_iter().flatten().collect()
}

/// Asks a node who it is.
pub(super) async fn ask(
    peer: &PeerNode,
    trust: &Trust,
    patience: Duration,
) -> Result<Told, String> {
    let gateway: Gateway = peer.public.parse().map_err(|error| format!("{error}"))?;
    let request = Outgoing {
        method: Method::GET,
        path: "/livez",
        token: "",
        key: None,
        min_index: None,
        body: Bytes::new(),
    };
    let asked = unix_ms();
    let answer = Http::new(patience, trust, &Network::Tcp).send(&gateway, request, patience).await;
    let answered = unix_ms();
    read(&answer.map_err(|error| error.to_string())?, asked, answered)
        .ok_or_else(|| format!("{gateway} is no node of Rotary"))
}

fn read(answer: &Answer, asked: u64, answered: u64) -> Option<Told> {
    let wall: u64 = answer.header(WALL_HEADER)?.parse().ok()?;
    let unsure_ms = answered.saturating_sub(asked).div_ceil(2);
    Some(Told {
        node: answer.header(NODE_HEADER)?.to_owned(),
        build: answer.header(BUILD_HEADER)?.to_owned(),
        ahead_ms: wall.cast_signed().saturating_sub((asked + unsure_ms).cast_signed()),
        unsure_ms,
    })
}

/// What is wrong with another node, or that it is well.
fn judge(
    peer: &PeerNode,
    told: &Result<Told, String>,
    reached: Option<Result<Duration, ProbeError>>,
) -> Vec<Finding> {
    let of = NodeId(peer.id);
    let mut found = Vec::new();
    match (told, &reached) {
        (Ok(_), Some(Err(error))) => {
            found.push(Finding::failure("udp-blocked", of, error.to_string()));
        }
        (Err(why), Some(Ok(_))) => {
            let detail = format!("peers reach it, clients do not at {}: {why}", peer.public);
            found.push(Finding::failure("address-wrong", of, detail));
        }
        (Err(why), _) => found.push(Finding::failure("peer-unreachable", of, why.clone())),
        (Ok(_), _) => {}
    }
    if let Ok(told) = told {
        found.extend(differing(peer, told));
    }
    if found.is_empty() {
        let took = reached.and_then(Result::ok).unwrap_or_default().as_secs_f64() * 1e3;
        let ahead = told.as_ref().map_or(0, |told| told.ahead_ms);
        found.push(Finding::good(of, format!("UDP in {took:.1} ms, clock {ahead:+} ms")));
    }
    found
}

/// Where what a node says of itself is not what it should.
pub(super) fn differing(peer: &PeerNode, told: &Told) -> Vec<Finding> {
    let (of, mut found) = (NodeId(peer.id), Vec::new());
    if told.node != of.to_string() {
        let detail = format!("{} answers as {}", peer.public, told.node);
        found.push(Finding::failure("address-wrong", of, detail));
    }
    if told.build != build::name() {
        let ours = build::name();
        let detail = format!("it is version {}, this one {ours}", told.build);
        found.push(Finding::warning("version-mismatch", of, detail));
    }
    if told.ahead_ms.unsigned_abs().saturating_sub(told.unsure_ms) > OFFSET_MAX_MS {
        let detail = format!("its clock is {:+} ms from this one's", told.ahead_ms);
        found.push(Finding::warning("clock-offset", of, detail));
    }
    found
}

/// What is wrong with this node's own addresses. It may run, or be about to.
fn this_node(config: &Config, own: &PeerNode, told: &Result<Told, String>) -> Vec<Finding> {
    let of = NodeId(own.id);
    if let Ok(told) = told {
        let found = differing(own, told);
        let good = || vec![Finding::good(of, format!("runs, and answers at {}", own.public))];
        return if found.is_empty() { good() } else { found };
    }
    let tcp = std::net::TcpListener::bind(config.listen.public).map(drop);
    let udp = UdpSocket::bind(config.listen.peer).map(drop);
    let mut found = Vec::new();
    for (key, address, bound) in
        [("listen.public", config.listen.public, tcp), ("listen.peer", config.listen.peer, udp)]
    {
        match bound {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                let advertised = &own.public;
                let detail = format!("{key} {address} is in use; nobody answers at {advertised}");
                found.push(Finding::failure("address-in-use", of, detail));
            }
            Err(error) => {
                let detail = format!("{key} {address}: {error}");
                found.push(Finding::failure("address-unusable", of, detail));
            }
        }
    }
    if found.is_empty() {
        found.push(Finding::good(of, "does not run; its addresses are free"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> PeerNode {
        let public = "http://127.0.0.1:7080".to_owned();
        PeerNode { id: 2, peer: ([127, 0, 0, 1], 7082).into(), public }
    }

    fn well() -> Told {
        let build = build::name().to_owned();
        Told { node: "nd_2".to_owned(), build, ahead_ms: 40, unsure_ms: 5 }
    }

    fn codes(told: Result<Told, String>, reached: bool) -> Vec<&'static str> {
        let silent = || ProbeError::Silent { address: peer().peer, limit_ms: 1 };
        let reached = if reached { Ok(Duration::from_millis(1)) } else { Err(silent()) };
        judge(&peer(), &told, Some(reached)).into_iter().filter_map(|found| found.code).collect()
    }

    #[test]
    fn what_answers_and_what_does_not_tells_the_ill() {
        let gone = || Err("no connection".to_owned());
        assert!(codes(Ok(well()), true).is_empty());
        assert_eq!(codes(Ok(well()), false), ["udp-blocked"]);
        assert_eq!(codes(gone(), true), ["address-wrong"]);
        assert_eq!(codes(gone(), false), ["peer-unreachable"]);
        let other = Told { node: "nd_3".to_owned(), ..well() };
        assert_eq!(codes(Ok(other), true), ["address-wrong"]);
        assert_eq!(codes(Ok(Told { build: "9".to_owned(), ..well() }), true), ["version-mismatch"]);
    }

    #[test]
    fn a_clock_is_judged_by_what_is_sure() {
        let ahead = |ahead_ms, unsure_ms| codes(Ok(Told { ahead_ms, unsure_ms, ..well() }), true);
        assert!(ahead(1_000, 0).is_empty() && ahead(-1_000, 0).is_empty());
        assert_eq!(ahead(1_001, 0), ["clock-offset"]);
        assert_eq!(ahead(-1_001, 0), ["clock-offset"]);
        assert!(ahead(1_400, 400).is_empty(), "the answer took long");
    }
}
