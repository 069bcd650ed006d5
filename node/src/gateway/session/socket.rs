//! A socket from its upgrade to its end.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use metrics::{counter, gauge};
use rotary_proto::NodeId;
use rotary_proto::frame::{Mode, PROTOCOL, ServerFrame};
use rotary_proto::limits::{SESSION_FRAME_BYTES_MAX, SESSION_WINDOW_COMMANDS_MAX};
use tokio::sync::{mpsc, watch};

use crate::feed::viewer_of;
use crate::gateway::doors::Doors;
use crate::gateway::identity::expect_unrevoked;
use crate::gateway::login::CameFrom;
use crate::gateway::problem::Problem;
use crate::gateway::session::handshake::{self, Attached};
use crate::gateway::session::reader::Incoming;
use crate::gateway::session::{End, commands, farewell, feed, reader};
use crate::gateway::token::{Claims, unix_s};
use crate::telemetry::names;

/// Bytes read at once. The library clears as many before every read, and keeps them per socket, so
/// they are a few frames' worth and not the 128 KiB that it would take.
const READ_BYTES: usize = 4 * 1024;

/// A first frame comes within this time.
pub(crate) const FIRST_FRAME: Duration = Duration::from_secs(10);
/// A client that takes no bytes for this long is gone.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a good-bye may take to be sent.
const BYE_PATIENCE: Duration = Duration::from_secs(1);
/// How long after `goaway` a session is closed.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);
/// How long after a change of the directory it is looked whether what a session was begun with is
/// still good: it outlives the revocation, as this node has applied it, by no more than that.
const LOOK_AT_CREDENTIAL: Duration = Duration::from_secs(1);
/// Frames waiting for the writer.
const FRAMES_MAX: usize = 64;

/// The queue of frames to the client, and the dense number of the last event in it.
pub(crate) struct Outbox {
    frames: mpsc::Sender<Utf8Bytes>,
    seq: AtomicU64,
}

/// The socket's writer is gone.
#[derive(Debug)]
pub(crate) struct Closed;

impl Outbox {
    /// Sends a frame, waiting for room.
    pub(crate) async fn send(&self, frame: &ServerFrame) -> Result<(), Closed> {
        self.frames.send(text_of(frame)).await.map_err(|_| Closed)
    }

    /// The number of the last event.
    pub(crate) fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// Numbers the next event.
    pub(crate) fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The last number was not used after all.
    pub(crate) fn take_seq_back(&self) {
        self.seq.fetch_sub(1, Ordering::AcqRel);
    }
}

/// `GET /v1/session`
pub(crate) async fn upgrade(
    State(doors): State<Doors>,
    CameFrom(address): CameFrom,
    upgrade: WebSocketUpgrade,
) -> Response {
    if doors.sessions.is_stopping() {
        return Problem::unavailable("this node is stopping; use another").into_response();
    }
    if !doors.sessions.has_room() {
        return Problem::all_sessions().into_response();
    }
    match prepare(upgrade) {
        Ok(upgrade) => upgrade.on_upgrade(move |socket| serve(doors, address, socket)),
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
    let (protocol, build) = (PROTOCOL.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    ServerFrame::Hello { node, protocol, heartbeat_ms, build }
}

async fn serve(doors: Doors, address: IpAddr, socket: WebSocket) {
    let (mut sink, stream) = socket.split();
    let mut stream = stream.peekable();
    let hello = hello(doors.node, doors.heartbeat_ms);
    if write(&mut sink, text_of(&hello)).await.is_err() {
        return;
    }
    let first = match reader::next(&mut stream, FIRST_FRAME).await {
        Ok(first) => first,
        Err(end) => return say_bye(&mut sink, &end).await,
    };
    let attached = match handshake::attach(&doors, first, reader::gone(&mut stream)).await {
        Ok(attached) => attached,
        Err(end) => {
            if end.code.starts_with("token-") {
                doors.logins.note_stranger(address);
            }
            return say_bye(&mut sink, &end).await;
        }
    };
    let kind = attached.holder.role.kind();
    gauge!(names::SESSIONS, "kind" => kind).increment(1);
    counter!(names::SESSION_RESUMES, "mode" => mode_word(attached.mode)).increment(1);
    let end = converse(&doors, &attached, &mut sink, &mut stream).await;
    gauge!(names::SESSIONS, "kind" => kind).decrement(1);
    say_bye(&mut sink, &end).await;
    leave(&doors, attached, &end).await;
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::New => "new",
        Mode::Replayed => "replayed",
        Mode::Snapshot => "snapshot",
    }
}

/// Runs the session's parts side by side until the first of them ends.
async fn converse(
    doors: &Doors,
    attached: &Attached,
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut Incoming,
) -> End {
    let (frames, mut outgoing) = mpsc::channel(FRAMES_MAX);
    let out = Outbox { frames, seq: AtomicU64::new(attached.seq) };
    let (asked, queue) = mpsc::channel(SESSION_WINDOW_COMMANDS_MAX);
    if out.send(&handshake::welcome(doors, attached)).await.is_err() {
        return End::gone();
    }
    let writer = async {
        while let Some(frame) = outgoing.recv().await {
            if write(sink, frame).await.is_err() {
                return End::gone();
            }
        }
        End::gone()
    };
    let say = async |frame| drop(out.send(&frame).await);
    tokio::select! {
        biased;
        end = stopping(doors.sessions.watch_stop(), say) => end,
        end = expiry(attached.holder.exp) => end,
        end = revocation(doors, &attached.holder) => end,
        end = attached.telling.failure() => end,
        end = reader::run(doors, attached, stream, asked, &out) => end,
        end = commands::run(doors, attached, queue, &out) => end,
        end = feed::run(doors, attached, &out) => end,
        end = writer => end,
    }
}

/// Asks the client to leave when the node stops, and closes a moment later.
pub(crate) async fn stopping(
    mut stop: watch::Receiver<bool>,
    say: impl AsyncFnOnce(ServerFrame),
) -> End {
    if stop.wait_for(|stopping| *stopping).await.is_err() {
        return End::resume("stopping", "this node is stopping; resume elsewhere");
    }
    let reconnect_within_ms = LEAVE_PATIENCE.as_millis() as u64 / 2;
    say(ServerFrame::Goaway { reason: "stopping".to_owned(), reconnect_within_ms }).await;
    tokio::time::sleep(LEAVE_PATIENCE).await;
    End::resume("stopping", "this node is stopping; resume elsewhere")
}

/// Ends the socket when its holder's token expires.
async fn expiry(exp: u64) -> End {
    tokio::time::sleep(Duration::from_secs(exp.saturating_sub(unix_s()))).await;
    End::restart("token-expired", "the token has expired; start again with a new one")
}

/// Ends the socket when what its holder came in with is revoked.
async fn revocation(doors: &Doors, holder: &Claims) -> End {
    if holder.by.is_none() {
        return std::future::pending().await;
    }
    let mut changes = doors.replica.directory_changes();
    loop {
        if let Err(error) = expect_unrevoked(doors, holder) {
            return End::never(error.word(), error.to_string());
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(LOOK_AT_CREDENTIAL).await;
        changes.mark_unchanged();
    }
}

/// A frame as it is sent.
pub(crate) fn text_of(frame: &ServerFrame) -> Utf8Bytes {
    serde_json::to_string(frame).expect("frames are plain data").into()
}

/// Sends a text, unless the client takes none.
pub(crate) async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    text: Utf8Bytes,
) -> Result<(), Closed> {
    let sent = tokio::time::timeout(WRITE_PATIENCE, sink.send(Message::Text(text))).await;
    sent.map_err(|_| Closed)?.map_err(|_| Closed)
}

/// Says why the socket ends, if somebody is there to hear it.
pub(crate) async fn say_bye(sink: &mut SplitSink<WebSocket, Message>, end: &End) {
    counter!(names::SESSION_BYES, "code" => end.code).increment(1);
    if !end.said {
        return;
    }
    let bye = async {
        // Whoever is gone needs no good-bye.
        let _ = sink.send(Message::Text(text_of(&end.frame()))).await;
        let _ = sink.send(Message::Close(None)).await;
    };
    let _ = tokio::time::timeout(BYE_PATIENCE, bye).await;
}

/// Tells actors and log that the socket is gone, unless the session is served by another one.
async fn leave(doors: &Doors, attached: Attached, end: &End) {
    let viewer = viewer_of(attached.subject);
    for place in &attached.places {
        doors.registry.leave(place.site, viewer, &place.standing);
    }
    attached.telling.stop().await;
    farewell::tell(doors, &attached.served, &attached.places, attached.actor, end.over).await;
}
