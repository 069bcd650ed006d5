//! Tunnels: streams of bytes from one node to another, each on its own.
//!
//! A node that only stands at the door passes each of its clients' connections on through one. They
//! share a connection of their own, so that a busy door delays no lane, and it is dialled when it
//! is first needed. How long a tunnel lives is for its two ends to say; when the connection between
//! the nodes is lost, all of its tunnels break at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use quinn::{Connection, RecvStream, SendStream, VarInt};
use rotary_proto::limits::TUNNELS_PER_PEER_MAX;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The byte that opens a stream and says that it is a tunnel.
pub(crate) const TUNNEL_BYTE: u8 = 5;

/// One end of a stream of bytes. Dropping it ends what it writes as if it were whole, and refuses
/// what it has not read.
#[derive(Debug)]
pub struct Tunnel {
    send: SendStream,
    receive: RecvStream,
}

impl Tunnel {
    pub(crate) fn new(send: SendStream, receive: RecvStream) -> Self {
        Self { send, receive }
    }

    /// Opens one on a connection, and says so to the other end.
    pub(crate) async fn open(connection: &Connection) -> Result<Self, String> {
        let (mut send, receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
        send.write_all(&[TUNNEL_BYTE]).await.map_err(|error| error.to_string())?;
        Ok(Self { send, receive })
    }
}

/// Lets the other end of a connection open as many tunnels as there may be.
pub(crate) fn allow(connection: &Connection) {
    let max = u32::try_from(TUNNELS_PER_PEER_MAX).expect("a bound of thousands");
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(max));
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.receive), context, buffer)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.send), context)
    }
}
