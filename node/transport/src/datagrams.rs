//! A network that is not the operating system's, behind one small trait.
//!
//! A simulation carries datagrams itself: it delays, loses and reorders them. What it gives is a
//! [`Datagrams`] for each node and a seed; here it becomes the socket that QUIC expects.

use std::fmt::Debug;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, UdpPoller};

/// One node's end of a network that carries datagrams, perhaps.
pub trait Datagrams: Debug + Send + Sync + 'static {
    /// Sends a datagram. It may arrive late, twice or never.
    fn send(&self, to: SocketAddr, bytes: &[u8]);

    /// Takes the next datagram that has arrived: how many bytes of `into` it fills, and who sent
    /// it. A longer one is cut. Wakes the task of `cx` when there is one.
    fn poll_receive(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<(usize, SocketAddr)>;

    /// The address that others send to.
    fn local_address(&self) -> SocketAddr;

    /// What QUIC's random numbers and connection ids are derived from; it differs between any two
    /// starts of a node.
    fn seed(&self) -> [u8; 32];
}

/// The network as QUIC sees it.
#[derive(Debug)]
pub(crate) struct Socket(pub(crate) Arc<dyn Datagrams>);

/// Sending never waits.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.send(transmit.destination, transmit.contents);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), metas.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        self.0.poll_receive(cx, buffer).map(|(len, addr)| {
            *meta = RecvMeta { addr, len, stride: len, ..RecvMeta::default() };
            Ok(1)
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0.local_address())
    }
}

/// Connection ids in a sequence that depends on the seed alone.
pub(crate) struct SeededIds(u64);

impl SeededIds {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&seed[..8]);
        Self(u64::from_le_bytes(first))
    }
}

impl ConnectionIdGenerator for SeededIds {
    /// A step of SplitMix64 (Steele, Lea, Flood 2014), which visits every number once.
    fn generate_cid(&mut self) -> ConnectionId {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut id = self.0;
        id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ConnectionId::new(&(id ^ (id >> 31)).to_le_bytes())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}
