//! A session's connection as a WebSocket, from its upgrade to its end.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use rotary_proto::NodeId;
use rotary_proto::frame::{PROTOCOL, ServerFrame};
use rotary_proto::limits::SESSION_FRAME_BYTES_MAX;
use tokio::sync::mpsc;

use crate::gateway::doors::Doors;
use crate::gateway::login::CameFrom;
use crate::gateway::problem::Problem;
use crate::gateway::session::End;
use crate::gateway::session::commands::Numbered;
use crate::gateway::session::handshake::Attached;
use crate::gateway::session::reader::{self, Incoming};
use crate::gateway::session::serving::{
    Closed, Listener, Outbox, Speaker, Written, closed_or_full, say_bye, serve, text_of,
};

/// Bytes read at once. The library clears as many before every read, and keeps them per socket, so
/// they are a few frames' worth and not the 128 KiB that it would take.
const READ_BYTES: usize = 4 * 1024;

/// A first frame comes within this time.
pub(crate) const FIRST_FRAME: Duration = Duration::from_secs(10);
/// A client that takes no bytes for this long is gone.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a good-bye may take to be sent.
pub(super) const BYE_PATIENCE: Duration = Duration::from_secs(1);

/// The sending half of a socket.
type Outgoing = SplitSink<WebSocket, Message>;

/// `GET /v1/session`
pub(crate) async fn upgrade(
    State(doors): State<Doors>,
    CameFrom(address): CameFrom,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Some(problem) = closed_or_full(&doors) {
        return problem.into_response();
    }
    match prepare(upgrade) {
        Ok(upgrade) => upgrade.on_upgrade(move |socket| greet(doors, address, socket)),
        Err(problem) => problem.into_response(),
    }
}

/// Takes an upgrade to our protocol, within our bounds.
///
/// # Errors
/// A problem for a client that does not offer the protocol.
pub(crate) fn prepare(upgrade: WebSocketUpgrade) -> Result<WebSocketUpgrade, Problem> {
    let upgrade = upgrade.protocols([PROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        let detail = format!("offer the sub-protocol {PROTOCOL}: Sec-WebSocket-Protocol");
        return Err(Problem::malformed(detail));
    }
    Ok(upgrade
        .read_buffer_size(READ_BYTES)
        .max_message_size(SESSION_FRAME_BYTES_MAX)
        .max_frame_size(SESSION_FRAME_BYTES_MAX))
}

/// The first frame on every socket.
pub(crate) fn hello(node: NodeId, heartbeat_ms: u64) -> ServerFrame {
    let (protocol, build) = (PROTOCOL.to_owned(), crate::build::name().to_owned());
    ServerFrame::Hello { node, protocol, heartbeat_ms, build }
}

async fn greet(doors: Doors, address: IpAddr, socket: WebSocket) {
    let (mut sink, stream) = socket.split();
    let mut stream = stream.peekable();
    let hello = hello(doors.node, doors.heartbeat_ms);
    if write(&mut sink, text_of(&hello)).await.is_err() {
        return;
    }
    match reader::next(&mut stream, FIRST_FRAME).await {
        Ok(first) => serve(doors, address, first, &mut sink, &mut stream).await,
        Err(end) => say_bye(&mut sink, &end).await,
    }
}

impl Speaker for Outgoing {
    async fn write(&mut self, frame: Written) -> Result<(), Closed> {
        write(self, frame.text).await
    }

    async fn bye(&mut self, end: &End) {
        let bye = async {
            // Whoever is gone needs no good-bye.
            let _ = self.send(Message::Text(text_of(&end.frame()))).await;
            let _ = self.send(Message::Close(None)).await;
        };
        let _ = tokio::time::timeout(BYE_PATIENCE, bye).await;
    }
}

impl Listener for Incoming {
    async fn gone(&mut self) {
        reader::gone(self).await;
    }

    async fn listen(
        &mut self,
        doors: &Doors,
        attached: &Attached,
        asked: mpsc::Sender<Numbered>,
        out: &Outbox,
    ) -> End {
        reader::run(doors, attached, self, asked, out).await
    }

    async fn attend(&mut self, doors: &Doors, out: &Outbox) -> End {
        reader::attend(doors, self, out).await
    }
}

/// Sends a text, unless the client takes none.
pub(crate) async fn write(sink: &mut Outgoing, text: Utf8Bytes) -> Result<(), Closed> {
    let sent = tokio::time::timeout(WRITE_PATIENCE, sink.send(Message::Text(text))).await;
    sent.map_err(|_| Closed)?.map_err(|_| Closed)
}
