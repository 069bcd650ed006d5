//! What connections are opened over: TCP, or a network that somebody else makes.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower_service::Service;

/// A connection: bytes both ways, in order.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Opens connections on a network of its own, as simulations have one.
pub trait Dial: Send + Sync {
    /// Connects to a `host:port`, of a gateway or of whatever else is called.
    fn dial(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Wire>>>;
}

/// What connections are opened over.
#[derive(Clone, Default)]
pub enum Network {
    /// The operating system's.
    #[default]
    Tcp,
    /// Another one.
    Other(Arc<dyn Dial>),
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "Tcp",
            Self::Other(_) => "Other",
        })
    }
}

impl Network {
    /// Connects to a gateway's `host:port`.
    pub(crate) async fn connect(&self, authority: &str) -> io::Result<Box<dyn Wire>> {
        match self {
            Self::Tcp => {
                let stream = TcpStream::connect(authority).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Other(dial) => dial.dial(authority).await,
        }
    }
}

/// Another network as HTTP clients see it, of which hyper's is one.
#[derive(Clone)]
pub struct Dialler(pub Arc<dyn Dial>);

impl Service<Uri> for Dialler {
    type Response = Dialled;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Dialled>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let authority = to.authority().map(|to| to.as_str().to_owned()).unwrap_or_default();
        let dialled = self.0.dial(&authority);
        Box::pin(async move { Ok(Dialled(TokioIo::new(dialled.await?))) })
    }
}

/// A connection of another network, as HTTP clients see it.
pub struct Dialled(TokioIo<Box<dyn Wire>>);

impl Connection for Dialled {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Dialled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl Write for Dialled {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
