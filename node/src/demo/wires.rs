//! The wires between the nodes of a demo, which can be cut.
//!
//! Each node is told that the others listen at ports of this process, one for each pair, and what
//! comes there is carried on to where they do listen. A cut wire carries nothing, in neither
//! direction and without a word, as a network does that has lost a link. What clients send to a
//! node is no business of these wires: a node that is cut off is still reached by them.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use rotary_proto::NodeId;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// The largest datagram there is.
const DATAGRAM_MAX: usize = 65_536;
/// Senders that one wire knows; a node is one, and another one after each restart.
const SENDERS_MAX: usize = 64;

/// Nodes that nobody reaches.
type CutOff = Arc<RwLock<BTreeSet<NodeId>>>;

/// All wires of a demo.
#[derive(Default)]
pub(super) struct Wires {
    cut_off: CutOff,
    carriers: JoinSet<()>,
}

impl Wires {
    /// Lays the wire from one node to the `peer` address of another, from a port of this process,
    /// and writes that port into the first one's configuration.
    ///
    /// # Errors
    /// A port that is taken, or a configuration without that peer.
    pub(super) async fn lay(
        &mut self,
        (from, config): (NodeId, &Path),
        (to, peer): (NodeId, u16),
        port: u16,
    ) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(config)?;
        let wired = with_peer(&text, to, port);
        let wired = wired.with_context(|| format!("{}: {to} is no peer", config.display()))?;
        std::fs::write(config, wired)?;
        let listening = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).await;
        let listening = listening.with_context(|| format!("UDP port {port}"))?;
        let wire = Wire {
            listening: Arc::new(listening),
            to: (Ipv4Addr::LOCALHOST, peer).into(),
            ends: [from, to],
            cut_off: Arc::clone(&self.cut_off),
        };
        self.carriers.spawn(wire.carry());
        Ok(())
    }

    /// Cuts a node off from the others, or joins it to them again; which of both.
    pub(super) fn toggle(&self, node: NodeId) -> bool {
        let mut cut_off = self.cut_off.write().unwrap_or_else(PoisonError::into_inner);
        let cut = cut_off.insert(node);
        if !cut {
            cut_off.remove(&node);
        }
        cut
    }

    /// Who is cut off.
    pub(super) fn cut_off(&self) -> BTreeSet<NodeId> {
        self.cut_off.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Joins everybody again.
    pub(super) fn join_all(&self) {
        self.cut_off.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The configuration with that port for a peer, as `rotary cluster` writes its table: the id, and
/// then the address.
fn with_peer(text: &str, peer: NodeId, port: u16) -> Option<String> {
    let head = format!("[[cluster.peers]]\nid = {}\npeer = \"", peer.0);
    let (before, rest) = text.split_once(&head)?;
    let (_, after) = rest.split_once('"')?;
    Some(format!("{before}{head}127.0.0.1:{port}\"{after}"))
}

/// The wire from one node to another, and back.
struct Wire {
    listening: Arc<UdpSocket>,
    to: SocketAddr,
    ends: [NodeId; 2],
    cut_off: CutOff,
}

impl Wire {
    async fn carry(self) {
        let wire = Arc::new(self);
        let (mut ways, mut back) = (HashMap::<SocketAddr, Arc<UdpSocket>>::new(), JoinSet::new());
        let mut datagram = vec![0; DATAGRAM_MAX];
        loop {
            let Ok((length, sender)) = wire.listening.recv_from(&mut datagram).await else {
                continue;
            };
            if wire.is_cut() {
                continue;
            }
            if !ways.contains_key(&sender) {
                if ways.len() >= SENDERS_MAX {
                    ways.clear();
                    back.abort_all();
                }
                let Ok(way) = wire.open().await else { continue };
                let way = Arc::new(way);
                back.spawn(Arc::clone(&wire).answer(Arc::clone(&way), sender));
                ways.insert(sender, way);
            }
            // Nobody may listen there, as on any network.
            let _ = ways[&sender].send(&datagram[..length]).await;
        }
    }

    async fn open(&self) -> io::Result<UdpSocket> {
        let way = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        way.connect(self.to).await?;
        Ok(way)
    }

    async fn answer(self: Arc<Self>, way: Arc<UdpSocket>, sender: SocketAddr) {
        let mut datagram = vec![0; DATAGRAM_MAX];
        loop {
            // An error is that nobody listens there at present.
            let Ok(length) = way.recv(&mut datagram).await else { continue };
            if !self.is_cut() {
                let _ = self.listening.send_to(&datagram[..length], sender).await;
            }
        }
    }

    fn is_cut(&self) -> bool {
        let cut_off = self.cut_off.read().unwrap_or_else(PoisonError::into_inner);
        self.ends.iter().any(|end| cut_off.contains(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a word and waits for it to come back, for as long as `limit_ms`.
    async fn echoes(from: &UdpSocket, to: u16, word: &[u8], limit_ms: u64) -> bool {
        from.send_to(word, (Ipv4Addr::LOCALHOST, to)).await.expect("sent");
        let mut answer = [0; 64];
        let limit = std::time::Duration::from_millis(limit_ms);
        loop {
            match tokio::time::timeout(limit, from.recv(&mut answer)).await {
                Ok(Ok(length)) if &answer[..length] == word => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    #[tokio::test]
    async fn a_wire_carries_both_ways_until_it_is_cut() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = dir.path().join("rotary.toml");
        let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let peer = far.local_addr().expect("bound").port();
        tokio::spawn(async move {
            let mut word = [0; 64];
            while let Ok((length, from)) = far.recv_from(&mut word).await {
                let _ = far.send_to(&word[..length], from).await;
            }
        });
        let free = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = free.local_addr().expect("bound").port();
        drop(free);
        let table = |port| format!("[[cluster.peers]]\nid = 2\npeer = \"127.0.0.1:{port}\"\n");
        std::fs::write(&config, table(peer)).expect("written");
        let mut wires = Wires::default();
        let (one, other) = ((NodeId(1), config.as_path()), (NodeId(2), peer));
        wires.lay(one, other, port).await.expect("laid");
        let written = std::fs::read_to_string(&config).expect("there");
        assert_eq!(written, table(port));
        assert!(wires.lay(one, (NodeId(3), peer), port).await.is_err(), "it is no peer");

        let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        assert!(echoes(&near, port, b"one", 60_000).await);
        assert!(wires.toggle(NodeId(2)));
        assert!(!echoes(&near, port, b"two", 50).await);
        assert_eq!(wires.cut_off(), [NodeId(2)].into());
        assert!(!wires.toggle(NodeId(2)));
        assert!(echoes(&near, port, b"three", 60_000).await);
        wires.toggle(NodeId(1));
        wires.join_all();
        assert!(echoes(&near, port, b"four", 60_000).await);
    }
}
