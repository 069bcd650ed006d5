//! Clients' connections, which clients themselves can break: what is possible on any cluster.
//!
//! Every connection to a gateway goes through a task that carries its bytes both ways and looks at
//! the gateway's `Policy`. It can be reset, held, or read so slowly that the gateway's own buffers
//! fill. What was done is counted, since only what was done can have bitten.
//!
//! Deliberately absent: TLS, which clients' pools carry over TCP alone.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rotary_client::Gateway;
use rotary_client::network::{Dial, Wire};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::cluster::{Cluster, ClusterError};
use super::nemesis::{Damage, Kind, pick};

/// How long an attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(2);
/// Bytes that are carried at a time.
const CARRIED_BYTES: usize = 16 * 1024;
/// Bytes that a slow reader reads at a time, and how long it rests between.
const SLOW_BYTES: usize = 256;
const SLOW_REST: Duration = Duration::from_millis(100);

/// What happens on connections to a gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Policy {
    /// How often connections were reset.
    resets: u64,
    /// Whether bytes are held.
    held: bool,
    /// Whether what the gateway says is read slowly.
    slow: bool,
}

/// What happened on connections to a gateway.
#[derive(Debug, Default)]
struct Counts {
    /// Connections that were reset.
    reset: AtomicU64,
    /// Bytes that were held.
    held: AtomicU64,
    /// Bytes that were read slowly.
    slow: AtomicU64,
}

/// The connections to one gateway.
#[derive(Debug)]
struct Line {
    authority: String,
    policy: watch::Sender<Policy>,
    counts: Counts,
}

/// The connections to all gateways; clones are the same.
#[derive(Debug, Clone)]
pub struct Wires(Arc<[Arc<Line>]>);

impl Wires {
    /// Connections that nothing happens to.
    ///
    /// # Errors
    /// A gateway that is reached over TLS.
    pub fn new(gateways: &[Gateway]) -> Result<Self, String> {
        if let Some(secret) = gateways.iter().find(|gateway| gateway.is_tls()) {
            return Err(format!("{secret}: clients' connections over TLS cannot be broken"));
        }
        let line = |gateway: &Gateway| {
            let (policy, counts) = (watch::Sender::default(), Counts::default());
            Arc::new(Line { authority: gateway.authority().to_owned(), policy, counts })
        };
        Ok(Self(gateways.iter().map(line).collect()))
    }

    /// Breaks connections to one gateway or to all, whichever chance says. `kind` must be one that
    /// [`Kind::is_of_clients`].
    pub(crate) fn begin(&self, kind: Kind, chance: &mut StdRng) -> Broken {
        let all: Vec<usize> = (0..self.0.len()).collect();
        let one = pick(chance, &all).filter(|_| chance.random_bool(0.5));
        let places: BTreeSet<usize> = one.map_or_else(|| all.into_iter().collect(), |n| [n].into());
        let wires = self.clone();
        let broken = Broken { kind, places, wires, before: 0 };
        let broken = Broken { before: broken.count(), ..broken };
        broken.change(|policy| match kind {
            Kind::ClientsStall => policy.held = true,
            Kind::ClientsSlow => policy.slow = true,
            _ => policy.resets += 1,
        });
        broken
    }
}

/// Connections that something happens to, until it is mended.
#[derive(Debug)]
pub(crate) struct Broken {
    kind: Kind,
    places: BTreeSet<usize>,
    wires: Wires,
    before: u64,
}

impl Broken {
    /// The gateways, counted from 0.
    pub(crate) fn places(&self) -> &BTreeSet<usize> {
        &self.places
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.places.iter().map(|place| &*self.wires.0[*place])
    }

    fn change(&self, how: impl Fn(&mut Policy)) {
        self.lines().for_each(|line| line.policy.send_modify(&how));
    }

    fn count(&self) -> u64 {
        let of = |line: &Line| match self.kind {
            Kind::ClientsStall => line.counts.held.load(Ordering::Relaxed),
            Kind::ClientsSlow => line.counts.slow.load(Ordering::Relaxed),
            _ => line.counts.reset.load(Ordering::Relaxed),
        };
        self.lines().map(of).sum()
    }

    /// What shows that it bit.
    pub(crate) fn evidence(&self) -> Option<String> {
        let what = match self.kind {
            Kind::ClientsStall => "bytes were held",
            Kind::ClientsSlow => "bytes were read slowly",
            _ => "connections were reset",
        };
        let done = self.count() - self.before;
        (done > 0).then(|| format!("{done} {what}"))
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        self.change(|policy| match self.kind {
            Kind::ClientsStall => policy.held = false,
            Kind::ClientsSlow => policy.slow = false,
            _ => {}
        });
    }
}

impl Damage for Broken {
    fn bite(&mut self, _: &mut Cluster) -> Option<String> {
        self.evidence()
    }

    fn mend(&mut self, _: &mut Cluster) -> Result<(), ClusterError> {
        self.end();
        Ok(())
    }
}

impl Dial for Wires {
    fn dial(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        let line = self.0.iter().find(|line| line.authority == authority).cloned();
        let authority = authority.to_owned();
        Box::pin(async move {
            let connected = tokio::time::timeout(CONNECT, TcpStream::connect(&authority));
            let stream = connected.await.map_err(|_| io::ErrorKind::TimedOut)??;
            stream.set_nodelay(true)?;
            // A gateway that nobody named is left alone.
            let Some(line) = line else { return Ok(Box::new(stream) as Box<dyn Wire>) };
            let (client, near) = tokio::io::duplex(CARRIED_BYTES);
            tokio::spawn(carry(line, near, stream));
            Ok(Box::new(client) as Box<dyn Wire>)
        })
    }
}

/// Carries the bytes of a connection until one end is over, or it is reset.
async fn carry(line: Arc<Line>, near: DuplexStream, mut far: TcpStream) {
    let mut policy = line.policy.subscribe();
    let resets = policy.borrow_and_update().resets;
    let is_reset = {
        let (from_gateway, to_gateway) = far.split();
        let (from_client, to_client) = tokio::io::split(near);
        let up = way(&line, from_client, to_gateway, false);
        let down = way(&line, from_gateway, to_client, true);
        let reset = async { policy.wait_for(|now| now.resets != resets).await.is_ok() };
        let over = async { drop(tokio::try_join!(up, down)) };
        tokio::select! {
            biased;
            reset = reset => reset,
            () = over => false,
        }
    };
    if is_reset {
        line.counts.reset.fetch_add(1, Ordering::Relaxed);
        // Without it the gateway would hear of an orderly end.
        let _told_so_or_not = rustix::net::sockopt::set_socket_linger(&far, Some(Duration::ZERO));
    }
}

/// One direction. `down` is what the gateway says.
async fn way(
    line: &Line,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    down: bool,
) -> io::Result<()> {
    let mut policy = line.policy.subscribe();
    let mut buffer = vec![0; CARRIED_BYTES];
    loop {
        let slow = down && policy.borrow_and_update().slow;
        let most = if slow { SLOW_BYTES } else { CARRIED_BYTES };
        let read = from.read(&mut buffer[..most]).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        if policy.borrow_and_update().held {
            line.counts.held.fetch_add(read as u64, Ordering::Relaxed);
            // The sender of policies lives as long as the line.
            drop(policy.wait_for(|policy| !policy.held).await);
        }
        if slow {
            line.counts.slow.fetch_add(read as u64, Ordering::Relaxed);
            tokio::time::sleep(SLOW_REST).await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::real::nemesis::chance;

    /// A gateway that sends back what it gets, the wires to it, and how each connection ended.
    async fn echo() -> (Wires, String, JoinHandle<Vec<io::Result<u64>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let authority = listener.local_addr().expect("bound").to_string();
        let ends = tokio::spawn(async move {
            let mut ends = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.expect("one comes");
                let (mut from, mut to) = stream.split();
                ends.push(tokio::io::copy(&mut from, &mut to).await);
            }
            ends
        });
        let gateway = format!("http://{authority}").parse().expect("an address");
        (Wires::new(&[gateway]).expect("no TLS"), authority, ends)
    }

    async fn trip(wire: &mut Box<dyn Wire>, bytes: usize) -> io::Result<()> {
        wire.write_all(&vec![7; bytes]).await?;
        wire.read_exact(&mut vec![0; bytes]).await.map(drop)
    }

    #[tokio::test]
    async fn connections_are_reset_and_only_those_that_were_there() {
        let (wires, authority, ends) = echo().await;
        let mut wire = wires.dial(&authority).await.expect("connected");
        trip(&mut wire, 100_000).await.expect("carried");
        let broken = wires.begin(Kind::ClientsReset, &mut chance(1, "wires"));
        assert!(trip(&mut wire, 1).await.is_err());
        assert_eq!(broken.evidence().as_deref(), Some("1 connections were reset"));
        broken.end();
        let mut next = wires.dial(&authority).await.expect("connected");
        trip(&mut next, 1).await.expect("carried");
        drop(next);
        let ends = ends.await.expect("it ends well");
        let first = ends[0].as_ref().expect_err("not an orderly end").kind();
        assert_eq!(first, io::ErrorKind::ConnectionReset);
        assert!(ends[1].is_ok(), "{ends:?}");
    }

    #[tokio::test]
    async fn bytes_are_held_until_it_is_mended() {
        let (wires, authority, _ends) = echo().await;
        let mut wire = wires.dial(&authority).await.expect("connected");
        let broken = wires.begin(Kind::ClientsStall, &mut chance(1, "wires"));
        assert_eq!(broken.evidence(), None, "nothing was held yet");
        wire.write_all(b"word").await.expect("it is taken");
        while broken.evidence().is_none() {
            tokio::task::yield_now().await;
        }
        broken.end();
        wire.read_exact(&mut [0; 4]).await.expect("it came after all");
        assert_eq!(broken.evidence().as_deref(), Some("4 bytes were held"));
    }

    #[tokio::test]
    async fn slow_readers_read_little_at_a_time() {
        let (wires, authority, _ends) = echo().await;
        let mut wire = wires.dial(&authority).await.expect("connected");
        let broken = wires.begin(Kind::ClientsSlow, &mut chance(1, "wires"));
        // The direction to the client may read once more before it looks at the policy.
        trip(&mut wire, 1).await.expect("carried");
        let began = std::time::Instant::now();
        trip(&mut wire, 4 * SLOW_BYTES).await.expect("carried");
        assert!(began.elapsed() >= 3 * SLOW_REST, "{:?}", began.elapsed());
        assert!(broken.evidence().is_some_and(|words| words.ends_with("bytes were read slowly")));
    }

    #[test]
    fn tls_is_refused_by_name() {
        let gateway = "https://example.org:443".parse().expect("an address");
        let refused = Wires::new(&[gateway]).expect_err("it cannot be broken");
        assert!(refused.contains("https://example.org:443"), "{refused}");
    }
}
