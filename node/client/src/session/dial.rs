//! Opening a session's line: TCP, the WebSocket handshake or a stream, `hello`, then `welcome`.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use rotary_proto::NodeId;
use rotary_proto::frame::{ClientFrame, PROTOCOL, Retry, ServerFrame};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::posts::Posts;
use super::{Over, SessionConfig};
use crate::gateway::Gateway;
use crate::network::Wire;

/// Bytes read at once: the library clears as many before every read.
const READ_BYTES: usize = 16 * 1024;

/// The largest frame that is read: a supervisor's snapshot of a whole site.
pub(super) const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// An open WebSocket.
type Socket = WebSocketStream<Stream>;

/// What carries a session's frames.
pub(super) enum Line {
    Socket(Box<Socket>),
    Posts(Box<Posts>),
}

impl Line {
    /// Sends one frame.
    pub(super) async fn write(&mut self, frame: &ClientFrame) -> Result<(), String> {
        match self {
            Self::Socket(socket) => write(socket, frame).await,
            Self::Posts(posts) => posts.write(frame),
        }
    }

    /// Reads one frame. Nothing is lost with a call that is dropped.
    pub(super) async fn read(&mut self) -> Result<ServerFrame, String> {
        match self {
            Self::Socket(socket) => read(socket).await,
            Self::Posts(posts) => posts.read().await,
        }
    }

    /// Sees to it that what was written goes out.
    pub(super) async fn close(&mut self) {
        match self {
            Self::Socket(socket) => drop(socket.as_mut().close(None).await),
            Self::Posts(posts) => posts.close().await,
        }
    }
}

/// A connection, with TLS or without.
type Stream = Box<dyn Wire>;

/// A line on which a session is on.
pub(super) struct Dialled {
    pub(super) line: Line,
    pub(super) node: NodeId,
    pub(super) welcome: ServerFrame,
}

/// Why a session is not on.
pub(super) enum DialError {
    /// This gateway cannot; another may.
    Failed(String),
    /// What answers there speaks HTTP, but opens no WebSocket.
    NoSocket(String),
    /// The gateway gave its reason.
    Bye { code: String, detail: String, retry: Retry, after_ms: Option<u64> },
}

impl From<String> for DialError {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// Opens a line that way and sends `first`, a start or a resume.
pub(super) async fn dial(
    config: &SessionConfig,
    gateway: &Gateway,
    over: Over,
    first: &ClientFrame,
) -> Result<Dialled, DialError> {
    let opening = async {
        let mut line = match over {
            Over::Stream => Line::Posts(Box::new(Posts::open(config, gateway, first).await?)),
            Over::Socket | Over::Either => Line::Socket(Box::new(open(gateway, config).await?)),
        };
        let node = match line.read().await? {
            ServerFrame::Hello { node, .. } => node,
            ServerFrame::Bye { code, detail, retry, after_ms } => {
                return Err(DialError::Bye { code, detail, retry, after_ms });
            }
            other => return Err(format!("{other:?} instead of a hello").into()),
        };
        Ok((line, node))
    };
    let (mut line, node) = within(config.connect, "connection", opening).await?;
    let welcoming = async {
        if let Line::Socket(_) = line {
            line.write(first).await?;
        }
        match line.read().await? {
            ServerFrame::Bye { code, detail, retry, after_ms } => {
                Err(DialError::Bye { code, detail, retry, after_ms })
            }
            welcome @ ServerFrame::Welcome { .. } => Ok(welcome),
            other => Err(format!("{other:?} instead of a welcome").into()),
        }
    };
    let welcome = within(config.welcome, "welcome", welcoming).await?;
    if let (Line::Posts(posts), ServerFrame::Welcome { resume_token, .. }) = (&mut line, &welcome) {
        posts.welcomed(resume_token);
    }
    Ok(Dialled { line, node, welcome })
}

async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, DialError>>,
) -> Result<T, DialError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(format!("no {what} within {} ms", limit.as_millis()).into()),
    }
}

async fn connect(gateway: &Gateway, config: &SessionConfig) -> Result<Stream, String> {
    let stream = config.network.connect(gateway.authority()).await.map_err(|e| e.to_string())?;
    if !gateway.is_tls() {
        return Ok(stream);
    }
    let host = ServerName::try_from(gateway.host().to_owned()).map_err(|e| e.to_string())?;
    let connector = TlsConnector::from(config.trust.config().clone());
    let stream = connector.connect(host, stream).await.map_err(|e| e.to_string())?;
    Ok(Box::new(stream))
}

async fn open(gateway: &Gateway, config: &SessionConfig) -> Result<Socket, DialError> {
    let stream = connect(gateway, config).await?;
    // The connection is there already: the scheme only names the host.
    let url = format!("ws://{}/v1/session", gateway.authority());
    let mut request = url.into_client_request().map_err(|e| e.to_string())?;
    let protocol = HeaderValue::from_static(PROTOCOL);
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    let shaken = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
    shaken.map(|(socket, _)| socket).map_err(|error| match opens_no_socket(&error) {
        true => DialError::NoSocket(error.to_string()),
        false => DialError::Failed(error.to_string()),
    })
}

/// Whether what answered speaks HTTP and takes no upgrade, for good. A gateway that has too much to
/// do, stops or dies answers something else, or nothing to its end.
fn opens_no_socket(error: &Error) -> bool {
    match error {
        Error::Http(answer) => !matches!(answer.status().as_u16(), 429 | 500 | 502..=504),
        Error::Protocol(fault) => !matches!(fault, ProtocolError::HandshakeIncomplete),
        _ => false,
    }
}

/// Sends one frame.
async fn write(socket: &mut Socket, frame: &ClientFrame) -> Result<(), String> {
    let text = serde_json::to_string(frame).map_err(|error| error.to_string())?;
    socket.send(Message::text(text)).await.map_err(|error| error.to_string())
}

/// Reads one frame, over anything that is not one.
async fn read(socket: &mut Socket) -> Result<ServerFrame, String> {
    loop {
        let message = match socket.next().await {
            None => return Err("the socket closed".to_owned()),
            Some(Err(error)) => return Err(error.to_string()),
            Some(Ok(message)) => message,
        };
        match message {
            Message::Text(text) => {
                return serde_json::from_str(&text)
                    .map_err(|error| format!("a frame that cannot be read: {error}"));
            }
            Message::Close(_) => return Err("the gateway closed the socket".to_owned()),
            _ => {}
        }
    }
}
