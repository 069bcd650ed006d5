//! The public listener: TCP, TLS where there is a certificate, and a bound of connections.
//!
//! Connections are counted from their first byte on, in all and by address; one too many is closed
//! at once. A handshake has its own task and a time limit, so that who is slow at it delays nobody.
//! This machine's own addresses are not bounded: a proxy may be there, with everybody behind it.
//! Connections that a gateway-only node passes on come in beside them; that node counts them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rotary_proto::limits::SESSIONS_PER_GATEWAY_MAX;
use rotary_transport::Tunnel;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a TLS handshake may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// Connections in all: every session that there may be, and requests beside them.
const CONNECTIONS_MAX: usize = SESSIONS_PER_GATEWAY_MAX + 16_384;
/// Connections that wait to be served.
const READY_MAX: usize = 64;
/// A client that takes no bytes for this long is gone.
const UNTAKEN: Duration = Duration::from_secs(20);
/// A client that says nothing for this long is asked whether it is there.
const QUIET: Duration = Duration::from_secs(60);
/// Pause after a failure to accept: it is most likely that there are too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl Connected<IncomingStream<'_, Doorstep>> for Address {
    fn connect_info(stream: IncomingStream<'_, Doorstep>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Accepts connections.
pub(crate) struct Doorstep {
    ready: mpsc::Receiver<(Wire, SocketAddr)>,
    done: mpsc::Sender<(Wire, SocketAddr)>,
    local: SocketAddr,
    /// What is not accepted from yet.
    closed: Option<(TcpListener, Option<TlsAcceptor>, usize)>,
}

/// Where connections come in that another node passes on.
#[derive(Clone)]
pub(crate) struct BackDoor(mpsc::WeakSender<(Wire, SocketAddr)>);

impl BackDoor {
    /// Lets a connection in, as coming from that address.
    pub(crate) async fn admit(&self, tunnel: Tunnel, address: SocketAddr) {
        if let Some(done) = self.0.upgrade() {
            let wire = Wire { stream: Stream::Tunnel(Box::new(tunnel)), _guest: None };
            // The doors may be closed by now.
            let _ = done.send((wire, address)).await;
        }
    }

    /// The same of a connection on a simulated network.
    #[cfg(feature = "simulated")]
    pub(crate) async fn admit_any(&self, stream: Box<dyn AnyStream>, address: SocketAddr) {
        if let Some(done) = self.0.upgrade() {
            let wire = Wire { stream: Stream::Any(stream), _guest: None };
            // The doors may be closed by now.
            let _ = done.send((wire, address)).await;
        }
    }
}

/// A connection of whatever network.
#[cfg(feature = "simulated")]
pub trait AnyStream: AsyncRead + AsyncWrite + Send + Unpin {}

#[cfg(feature = "simulated")]
impl<T: AsyncRead + AsyncWrite + Send + Unpin> AnyStream for T {}

impl Doorstep {
    /// Is to accept what comes to `listener`, over TLS if that is configured, once it is
    /// [opened](Self::open).
    ///
    /// # Errors
    /// That of a listener without an address.
    pub(super) fn at(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        per_address_max: usize,
    ) -> io::Result<Self> {
        let local = listener.local_addr()?;
        let (done, ready) = mpsc::channel(READY_MAX);
        let closed = Some((listener, tls.map(TlsAcceptor::from), per_address_max));
        Ok(Self { ready, done, local, closed })
    }

    /// Accepts from here on.
    pub(super) fn open(&mut self) {
        let Some((listener, tls, per_address_max)) = self.closed.take() else { return };
        let guests = Arc::new(Guests::new(per_address_max));
        tokio::spawn(accept(listener, tls, guests, self.done.clone()));
    }

    /// Has a back door only.
    #[cfg(feature = "simulated")]
    pub(crate) fn behind(local: SocketAddr) -> Self {
        let (done, ready) = mpsc::channel(READY_MAX);
        Self { ready, done, local, closed: None }
    }

    /// Where connections come in that another node passes on.
    pub(crate) fn back_door(&self) -> BackDoor {
        BackDoor(self.done.downgrade())
    }
}

impl Listener for Doorstep {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // The accepting task lives as long as this does, unless the runtime ends.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    guests: Arc<Guests>,
    done: mpsc::Sender<(Wire, SocketAddr)>,
) {
    loop {
        let accepted = tokio::select! {
            () = done.closed() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Some(guest) = guests.admit(address.ip()) else {
            tracing::debug!(%address, "one connection too many");
            continue;
        };
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, "a socket is as the system has it");
        }
        let (tls, done) = (tls.clone(), done.clone());
        tokio::spawn(async move {
            if let Some(stream) = greet(stream, tls).await {
                // The doors may be closed by now.
                let wire = Wire { stream, _guest: Some(guest) };
                let _ = done.send((wire, address)).await;
            }
        });
    }
}

/// Lets small frames not wait for each other, and finds out about clients that are gone without a
/// word: those that are told something within [`UNTAKEN`], the others once they are asked.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt;
        sockopt::set_tcp_user_timeout(stream, UNTAKEN.as_millis() as u32)?;
        sockopt::set_tcp_keepidle(stream, QUIET)?;
        sockopt::set_tcp_keepintvl(stream, UNTAKEN)?;
        sockopt::set_socket_keepalive(stream, true)?;
    }
    Ok(())
}

/// Shakes hands, where that is the way here.
async fn greet(stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Stream> {
    let Some(tls) = tls else { return Some(Stream::Plain(stream)) };
    match tokio::time::timeout(HANDSHAKE_PATIENCE, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// Who is connected, by address: an entry for each address with a connection.
struct Guests {
    open: Mutex<Open>,
    per_address_max: usize,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection that is counted, for as long as this lives.
struct Guest {
    guests: Arc<Guests>,
    address: IpAddr,
}

impl Guests {
    fn new(per_address_max: usize) -> Self {
        Self { open: Mutex::default(), per_address_max }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("nothing panics under this lock")
    }

    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Guest> {
        let address = address.to_canonical();
        let mut open = self.open();
        let here = open.by_address.get(&address).copied().unwrap_or(0);
        let too_many = here >= self.per_address_max && !address.is_loopback();
        if too_many || open.all >= CONNECTIONS_MAX {
            return None;
        }
        open.all += 1;
        *open.by_address.entry(address).or_default() += 1;
        Some(Guest { guests: self.clone(), address })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut open = self.guests.open();
        open.all -= 1;
        if let Some(here) = open.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// A connection that is served.
pub(crate) struct Wire {
    stream: Stream,
    _guest: Option<Guest>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Tunnel(Box<Tunnel>),
    #[cfg(feature = "simulated")]
    Any(Box<dyn AnyStream>),
}

/// Passes a call on to whichever stream it is.
macro_rules! pass_on {
    ($wire:ident, $stream:ident => $call:expr) => {
        match &mut $wire.get_mut().stream {
            Stream::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Tls(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
            Stream::Tunnel(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
            #[cfg(feature = "simulated")]
            Stream::Any(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        pass_on!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        pass_on!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pass_on!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pass_on!(self, stream => stream.poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        pass_on!(self, stream => stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
            Stream::Tunnel(stream) => stream.is_write_vectored(),
            #[cfg(feature = "simulated")]
            Stream::Any(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_gets_them_back() {
        let guests = Arc::new(Guests::new(2));
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mapped = "::ffff:192.0.2.1".parse().expect("an address");
        let first = guests.admit(one).expect("room");
        let _second = guests.admit(mapped).expect("room");
        assert!(guests.admit(one).is_none() && guests.admit(mapped).is_none());
        assert!(guests.admit(other).is_some(), "others have their own");
        drop(first);
        assert!(guests.admit(one).is_some());
        assert_eq!(guests.open().by_address.len(), 1, "who is gone is forgotten");
    }

    #[test]
    fn this_machine_is_not_bounded_but_counted() {
        let guests = Arc::new(Guests::new(1));
        let here = IpAddr::from([127, 0, 0, 1]);
        let all: Vec<Guest> = (0..5).filter_map(|_| guests.admit(here)).collect();
        assert_eq!((all.len(), guests.open().all), (5, 5));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_client_that_is_gone_without_a_word_is_found_out() {
        use rustix::net::sockopt;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut doorstep = Doorstep::at(listener, None, 1).expect("it listens");
        doorstep.open();
        let _client = TcpStream::connect(address).await.expect("it listens");
        let (wire, _) = doorstep.accept().await;
        let Stream::Plain(stream) = &wire.stream else { panic!("no TLS is configured") };
        let untaken = sockopt::tcp_user_timeout(stream).expect("a socket");
        assert_eq!(Duration::from_millis(untaken.into()), UNTAKEN);
        assert!(sockopt::socket_keepalive(stream).expect("a socket"));
        assert_eq!(sockopt::tcp_keepidle(stream).expect("a socket"), QUIET);
    }

    #[tokio::test]
    async fn what_is_accepted_is_served_with_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut doorstep = Doorstep::at(listener, None, 1).expect("it listens");
        doorstep.open();
        let mut client = TcpStream::connect(address).await.expect("it listens");
        let (mut served, from) = doorstep.accept().await;
        assert_eq!(from, client.local_addr().expect("connected"));
        tokio::io::AsyncWriteExt::write_all(&mut client, b"x").await.expect("open");
        let read = tokio::io::AsyncReadExt::read_u8(&mut served).await;
        assert_eq!(read.expect("a byte"), b'x');
    }
}
