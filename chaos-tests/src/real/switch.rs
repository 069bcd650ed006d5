//! The switch: every packet between nodes and clients passes here.
//!
//! Pure: a packet and the time go in, and packets with the time at which they are to be delivered
//! come out. `driver` has the descriptors and the clock. Each directed link has a [`Policy`], a
//! stream of chance of its own and counters of what the policy did, so that a fault can show that
//! it bit.
//!
//! Times are microseconds since the switch began, sizes bytes of IP packets.

mod driver;
mod link;
mod packet;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;

pub use driver::{Driver, Handle};
pub use link::{Counts, Policy};
use link::{Fate, Link};

/// Packets on their way through all links, at most; what comes then is dropped and counted.
const PACKETS_MAX: usize = 65_536;

/// A directed link: from, to.
pub type Way = (Ipv4Addr, Ipv4Addr);

/// A packet to be delivered: due time, order of arrival, port, bytes.
type Delivery = Reverse<(u64, u64, usize, Vec<u8>)>;

/// All links between some addresses.
#[derive(Debug)]
pub struct Switch {
    seed: u64,
    ports: BTreeMap<Ipv4Addr, usize>,
    links: BTreeMap<Way, Link>,
    queue: BinaryHeap<Delivery>,
    arrived: u64,
    stray: u64,
}

impl Switch {
    /// A switch with nothing in it. `ports` says which device each address is behind; `seed` fixes
    /// every coin.
    pub fn new(seed: u64, ports: BTreeMap<Ipv4Addr, usize>) -> Self {
        Self { seed, ports, links: BTreeMap::new(), queue: BinaryHeap::new(), arrived: 0, stray: 0 }
    }

    /// Takes a packet that a host sent.
    pub fn offer(&mut self, now: u64, packet: Vec<u8>) {
        let known = packet::addresses(&packet);
        let Some((way, port)) =
            known.and_then(|way| self.ports.get(&way.1).map(|port| (way, *port)))
        else {
            self.stray += 1;
            return;
        };
        let full = self.queue.len() >= PACKETS_MAX;
        let link = self.link(way);
        if full {
            return link.overflow();
        }
        let fates = link.pass(now, packet);
        self.queue_all(port, fates);
    }

    /// The next packet that is to be delivered by now, and the port of its receiver.
    pub fn due(&mut self, now: u64) -> Option<(usize, Vec<u8>)> {
        self.next_due().filter(|at| *at <= now)?;
        self.queue.pop().map(|Reverse((_, _, port, packet))| (port, packet))
    }

    /// When the next packet is to be delivered.
    pub fn next_due(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    /// Packets on their way, those that are held included.
    pub fn len(&self) -> usize {
        self.queue.len() + self.links.values().map(Link::held).sum::<usize>()
    }

    /// Whether no packet is on its way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Packets from or to nobody, which went nowhere.
    pub fn stray(&self) -> u64 {
        self.stray
    }

    /// Sets a link's policy. A hold that ends lets go of all that was held, in order.
    pub fn set(&mut self, now: u64, way: Way, policy: Policy) {
        let Some(&port) = self.ports.get(&way.1) else { return };
        let released = self.link(way).set(now, policy);
        self.queue_all(port, released);
    }

    /// The policy of a link.
    pub fn policy(&self, way: Way) -> Policy {
        self.links.get(&way).map(|link| link.policy.clone()).unwrap_or_default()
    }

    /// Makes every link whole.
    pub fn heal(&mut self, now: u64) {
        let ways: Vec<Way> = self.links.keys().copied().collect();
        for way in ways {
            self.set(now, way, Policy::default());
        }
    }

    /// What a link's policy did so far.
    pub fn counts(&self, way: Way) -> Counts {
        self.links.get(&way).map(|link| link.counts).unwrap_or_default()
    }

    /// What all links' policies did so far.
    pub fn all_counts(&self) -> impl Iterator<Item = (Way, Counts)> {
        self.links.iter().map(|(way, link)| (*way, link.counts))
    }

    fn link(&mut self, way: Way) -> &mut Link {
        self.links.entry(way).or_insert_with(|| Link::new(self.seed, way))
    }

    fn queue_all(&mut self, port: usize, fates: impl IntoIterator<Item = Fate>) {
        for Fate { at, packet } in fates {
            self.arrived += 1;
            self.queue.push(Reverse((at, self.arrived, port, packet)));
        }
    }
}

#[cfg(test)]
#[path = "switch/tests.rs"]
mod tests;
