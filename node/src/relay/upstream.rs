//! A session's connection to a core node, through a tunnel: of the kind that its client has.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderValue, Request, StatusCode};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rotary_proto::frame::PROTOCOL;
use rotary_transport::Tunnel;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::relay::events::{EVENT_BYTES_MAX, Events, Said};

/// A core node that takes no bytes for this long is left.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes read at once, as at a core node.
const READ_BYTES: usize = 4 * 1024;

/// What connects a client with a gateway-only node, and that with a core node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A WebSocket.
    Socket,
    /// A stream of server-sent events.
    Stream,
}

/// A connection with a session's first frame on its way.
pub(super) enum Upstream {
    Socket(Box<WebSocketStream<Tunnel>>),
    Stream { body: Incoming, events: Events },
}

impl Upstream {
    /// Opens a connection and says the first frame.
    ///
    /// # Errors
    /// What went wrong, for people.
    pub(super) async fn open(kind: Kind, tunnel: Tunnel, first: String) -> Result<Self, String> {
        match kind {
            Kind::Socket => open_socket(tunnel, first).await,
            Kind::Stream => open_stream(tunnel, first).await,
        }
    }

    /// What the core node says next; `None` for no more than that it is there.
    ///
    /// # Errors
    /// Why nothing more will come.
    pub(super) async fn next(&mut self) -> Result<Option<String>, String> {
        match self {
            Self::Socket(socket) => next_message(socket).await,
            Self::Stream { body, events } => next_event(body, events).await,
        }
    }

    /// Says something that the client said.
    ///
    /// # Errors
    /// Why it was not taken.
    pub(super) async fn write(&mut self, text: String) -> Result<(), String> {
        let Self::Socket(socket) = self else {
            return Err("the client of a stream says nothing on it".to_owned());
        };
        let sent = tokio::time::timeout(WRITE_PATIENCE, socket.send(Message::text(text))).await;
        let sent = sent.map_err(|_| "the core node takes no bytes".to_owned())?;
        sent.map_err(|error| error.to_string())
    }

    /// Asks whether the core node is there. Who has a stream says so unasked.
    ///
    /// # Errors
    /// Why it was not taken.
    pub(super) async fn ping(&mut self, text: String) -> Result<(), String> {
        match self {
            Self::Socket(_) => self.write(text).await,
            Self::Stream { .. } => Ok(()),
        }
    }
}

async fn open_socket(tunnel: Tunnel, first: String) -> Result<Upstream, String> {
    let mut request =
        "ws://rotary/v1/session".into_client_request().expect("a fixed address is one");
    let protocol = HeaderValue::from_static(PROTOCOL);
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(EVENT_BYTES_MAX))
        .max_frame_size(Some(EVENT_BYTES_MAX));
    let shaken = tokio_tungstenite::client_async_with_config(request, tunnel, Some(config)).await;
    let (mut socket, _) = shaken.map_err(|error| error.to_string())?;
    socket.send(Message::text(first)).await.map_err(|error| error.to_string())?;
    Ok(Upstream::Socket(Box::new(socket)))
}

async fn open_stream(tunnel: Tunnel, first: String) -> Result<Upstream, String> {
    let said = |error: hyper::Error| error.to_string();
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(tunnel)).await;
    let (mut sender, connection) = shaken.map_err(said)?;
    // It ends with the answer, or says there why not.
    tokio::spawn(async move { drop(connection.await) });
    let request = Request::post("/v1/session/stream")
        .header(HOST, "rotary")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(first)))
        .expect("a fixed address is one");
    let answer = sender.send_request(request).await.map_err(said)?;
    if answer.status() != StatusCode::OK {
        return Err(format!("the core node answers {}", answer.status()));
    }
    Ok(Upstream::Stream { body: answer.into_body(), events: Events::default() })
}

async fn next_message(socket: &mut WebSocketStream<Tunnel>) -> Result<Option<String>, String> {
    match socket.next().await {
        None | Some(Ok(Message::Close(_))) => Err("the tunnel ended".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
        Some(Ok(Message::Text(text))) => Ok(Some(text.to_string())),
        Some(Ok(_)) => Ok(None),
    }
}

async fn next_event(body: &mut Incoming, events: &mut Events) -> Result<Option<String>, String> {
    loop {
        match events.next()? {
            Some(Said::Frame(text)) => return Ok(Some(text)),
            Some(Said::Nothing) => return Ok(None),
            None => {}
        }
        let piece = body.frame().await.ok_or("the tunnel ended")?;
        if let Ok(bytes) = piece.map_err(|error| error.to_string())?.into_data() {
            events.take(&bytes)?;
        }
    }
}
