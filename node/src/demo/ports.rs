//! Whether the ports of a demo are free, before anything is made.

use std::fmt;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use super::cluster::NODES;

/// How far apart proposed bases are.
const STEP: u16 = 100;

/// A port that somebody else has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortTaken {
    /// `TCP` or `UDP`.
    protocol: &'static str,
    port: u16,
    /// A base whose ports were free a moment ago.
    free: Option<u16>,
}

impl fmt::Display for PortTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, port, free } = self;
        write!(
            f,
            "{protocol} port {port} is in use, perhaps by another demo or cluster: stop that one, \
            or choose other ports: --port-base "
        )?;
        match free {
            Some(base) => write!(f, "{base}"),
            None => write!(f, "<port>"),
        }
    }
}

impl std::error::Error for PortTaken {}

/// The ports of node `number`, counted from 0, for clients (TCP) and for peers (UDP), as
/// `rotary cluster init` gives them.
fn ports(base: u16, number: u16) -> Option<(u16, u16)> {
    let public = base.checked_add(number.checked_mul(10)?)?;
    Some((public, public.checked_add(2)?))
}

/// Whether every port of `nodes` nodes is free at this moment. Ports beyond the last one there is
/// are left to `rotary cluster init` to refuse.
///
/// # Errors
/// [`PortTaken`] names the first one that is not, and a base that would do.
pub(super) fn expect_free(base: u16, nodes: u16) -> Result<(), PortTaken> {
    let Some((protocol, port)) = taken(base, nodes) else { return Ok(()) };
    let mut bases = (1..).map_while(|step: u16| base.checked_add(step.checked_mul(STEP)?));
    let free = bases.find(|base| ports(*base, nodes).is_some() && taken(*base, nodes).is_none());
    Err(PortTaken { protocol, port, free })
}

fn taken(base: u16, nodes: u16) -> Option<(&'static str, u16)> {
    let local = Ipv4Addr::LOCALHOST;
    (0..nodes).filter_map(|number| ports(base, number)).find_map(|(public, peer)| {
        if TcpListener::bind((local, public)).is_err() {
            return Some(("TCP", public));
        }
        // Above the peer's come those of its wires to the others.
        let mut wired = peer..=peer.saturating_add(NODES);
        let taken = wired.find(|port| UdpSocket::bind((local, *port)).is_err());
        taken.map(|port| ("UDP", port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_a_base_that_is_free() {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = tcp.local_addr().expect("bound").port();
        let base = port - 10;
        let found = expect_free(base, 3).expect_err("the second node's port is taken");
        assert_eq!((found.protocol, found.port), ("TCP", port));
        let free = found.free.expect("there are thousands of ports");
        assert!(found.to_string().ends_with(&format!("--port-base {free}")), "{found}");
        drop(tcp);
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = udp.local_addr().expect("bound").port();
        let found = expect_free(port - 2, 1).expect_err("the first node's peer port is taken");
        assert_eq!((found.protocol, found.port), ("UDP", port));
    }

    #[test]
    fn ports_end_at_the_last_one() {
        assert_eq!(ports(65_533, 0), Some((65_533, 65_535)));
        assert_eq!((ports(65_534, 0), ports(65_530, 1)), (None, None));
    }
}
