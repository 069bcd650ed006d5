//! Datagrams between nodes: late, lost, twice, out of order, or cut off in one direction.
//!
//! Every pair of nodes has a link in each direction. A datagram is given a time of arrival when it
//! is sent; a link that is cut when it would arrive loses it. What a fault did to datagrams is
//! counted, so that a fault that struck nothing shows.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use rotary_transport::Datagrams;

use crate::simulation::random::Random;

const PORT: u16 = 7_000;
/// Datagrams that wait for a node which does not read; an operating system drops the rest.
const INBOX_MAX: usize = 2_048;

/// What one direction between two nodes does to datagrams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) cut: bool,
    pub(crate) delay_us: u64,
    pub(crate) jitter_us: u64,
    pub(crate) loss_permille: u64,
    pub(crate) twice_permille: u64,
}

impl Default for Link {
    fn default() -> Self {
        Self { cut: false, delay_us: 300, jitter_us: 700, loss_permille: 0, twice_permille: 0 }
    }
}

/// What links did to datagrams so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Struck {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) cut: u64,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    pub(crate) overtaken: u64,
}

struct Inner {
    random: Random,
    now_us: u64,
    links: Vec<Vec<Link>>,
    /// By arrival, then by number.
    flying: BTreeMap<(u64, u64), Datagram>,
    next: u64,
    /// The number of the newest datagram delivered on each link.
    newest: Vec<Vec<u64>>,
    inboxes: Vec<Inbox>,
    struck: Struck,
    /// Datagrams from and to each node that a cut dropped.
    cuts: Vec<u64>,
}

struct Datagram {
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Inbox {
    up: bool,
    waiting: VecDeque<(usize, Vec<u8>)>,
    reader: Option<Waker>,
}

/// The network; clones are the same network.
#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<Inner>>);

/// The address of a node.
pub(crate) fn address(node: usize) -> SocketAddr {
    let last = u8::try_from(node + 1).expect("a cluster has few nodes");
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), PORT))
}

fn node_at(address: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(address) = address else { return None };
    usize::from(address.ip().octets()[3]).checked_sub(1)
}

impl Network {
    /// A network without faults between so many nodes.
    pub(crate) fn new(seed: u64, nodes: usize) -> Self {
        let inner = Inner {
            random: Random::salted(seed, "network"),
            now_us: 0,
            links: vec![vec![Link::default(); nodes]; nodes],
            flying: BTreeMap::new(),
            next: 0,
            newest: vec![vec![0; nodes]; nodes],
            inboxes: (0..nodes).map(|_| Inbox::default()).collect(),
            struck: Struck::default(),
            cuts: vec![0; nodes],
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no code panics while it holds this lock")
    }

    /// Moves time to `now_ms` and hands out what has arrived by then.
    pub(crate) fn deliver(&self, now_ms: u64) {
        let inner = &mut *self.lock();
        inner.now_us = now_ms * 1_000;
        let later = inner.flying.split_off(&(inner.now_us + 1, 0));
        let due = std::mem::replace(&mut inner.flying, later);
        for ((_, number), datagram) in due {
            inner.arrive(number, datagram);
        }
    }

    /// A node's socket, from its start to its death. What waited for its predecessor is gone.
    pub(crate) fn socket(&self, node: usize, seed: u64) -> Arc<dyn Datagrams> {
        self.lock().inboxes[node] = Inbox { up: true, ..Inbox::default() };
        Arc::new(Socket { network: self.clone(), node, seed })
    }

    /// The node is gone: what is sent to it is lost.
    pub(crate) fn close(&self, node: usize) {
        self.lock().inboxes[node] = Inbox::default();
    }

    /// Changes the link from one node to another.
    pub(crate) fn edit(&self, from: usize, to: usize, edit: impl FnOnce(&mut Link)) {
        edit(&mut self.lock().links[from][to]);
    }

    /// Every link is whole.
    pub(crate) fn heal(&self) {
        for links in &mut self.lock().links {
            links.fill(Link::default());
        }
    }

    /// Whether datagrams pass in both directions.
    pub(crate) fn joined(&self, a: usize, b: usize) -> bool {
        let inner = self.lock();
        !inner.links[a][b].cut && !inner.links[b][a].cut
    }

    pub(crate) fn struck(&self) -> Struck {
        self.lock().struck
    }

    /// Datagrams from and to a node that a cut dropped.
    pub(crate) fn cuts(&self, node: usize) -> u64 {
        self.lock().cuts[node]
    }
}

impl Inner {
    fn send(&mut self, from: usize, to: usize, bytes: &[u8]) {
        let Some(link) = self.links[from].get(to).copied() else { return };
        self.struck.sent += 1;
        if self.random.permille(link.loss_permille) {
            self.struck.lost += 1;
            return;
        }
        self.fly(link, Datagram { from, to, bytes: bytes.to_vec() });
        if self.random.permille(link.twice_permille) {
            self.struck.twice += 1;
            self.fly(link, Datagram { from, to, bytes: bytes.to_vec() });
        }
    }

    fn fly(&mut self, link: Link, datagram: Datagram) {
        let at = self.now_us + link.delay_us + self.random.below(link.jitter_us + 1);
        self.next += 1;
        self.flying.insert((at, self.next), datagram);
    }

    fn arrive(&mut self, number: u64, datagram: Datagram) {
        let Datagram { from, to, bytes } = datagram;
        if self.links[from][to].cut {
            self.struck.cut += 1;
            self.cuts[from] += 1;
            self.cuts[to] += 1;
            return;
        }
        if !self.inboxes[to].up || self.inboxes[to].waiting.len() >= INBOX_MAX {
            return;
        }
        let newest = &mut self.newest[from][to];
        if number < *newest {
            self.struck.overtaken += 1;
        }
        *newest = number.max(*newest);
        self.struck.delivered += 1;
        let inbox = &mut self.inboxes[to];
        inbox.waiting.push_back((from, bytes));
        if let Some(reader) = inbox.reader.take() {
            reader.wake();
        }
    }
}

struct Socket {
    network: Network,
    node: usize,
    seed: u64,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Socket({})", self.node)
    }
}

impl Datagrams for Socket {
    fn send(&self, to: SocketAddr, bytes: &[u8]) {
        if let Some(to) = node_at(to) {
            self.network.lock().send(self.node, to, bytes);
        }
    }

    fn poll_receive(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<(usize, SocketAddr)> {
        let mut inner = self.network.lock();
        let inbox = &mut inner.inboxes[self.node];
        let Some((from, bytes)) = inbox.waiting.pop_front() else {
            inbox.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        Poll::Ready((count, address(from)))
    }

    fn local_address(&self) -> SocketAddr {
        address(self.node)
    }

    fn seed(&self) -> [u8; 32] {
        let mut random = Random::salted(self.seed, "quic");
        let mut seed = [0; 32];
        for part in seed.chunks_mut(8) {
            part.copy_from_slice(&random.next().to_le_bytes());
        }
        seed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &Arc<dyn Datagrams>) -> Vec<u8> {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut all, mut into) = (Vec::new(), [0; 16]);
        while let Poll::Ready((count, _)) = socket.poll_receive(&mut cx, &mut into) {
            all.extend_from_slice(&into[..count]);
        }
        all
    }

    #[test]
    fn a_cut_is_one_way_and_counted() {
        let network = Network::new(1, 2);
        let sockets = [network.socket(0, 1), network.socket(1, 2)];
        network.edit(0, 1, |link| link.cut = true);
        sockets[0].send(address(1), b"a");
        sockets[1].send(address(0), b"b");
        network.deliver(5);
        assert_eq!((received(&sockets[0]), received(&sockets[1])), (b"b".to_vec(), Vec::new()));
        assert_eq!((network.struck().cut, network.struck().delivered), (1, 1));
        assert!(!network.joined(0, 1));
        assert_eq!((network.cuts(0), network.cuts(1)), (1, 1));
    }

    #[test]
    fn jitter_overtakes_and_doubling_doubles() {
        let network = Network::new(1, 2);
        let sockets = [network.socket(0, 1), network.socket(1, 2)];
        network.edit(0, 1, |link| (link.jitter_us, link.twice_permille) = (9_000, 1_000));
        (0..20).for_each(|byte| sockets[0].send(address(1), &[byte]));
        network.deliver(100);
        let bytes = received(&sockets[1]);
        assert_eq!(bytes.len(), 40);
        assert!(!bytes.is_sorted() && network.struck().overtaken > 0);
    }

    #[test]
    fn a_node_that_is_gone_gets_nothing() {
        let network = Network::new(1, 2);
        let socket = network.socket(0, 1);
        socket.send(address(1), b"a");
        network.deliver(5);
        let late = network.socket(1, 2);
        network.deliver(9);
        assert_eq!(received(&late), Vec::<u8>::new());
    }
}
