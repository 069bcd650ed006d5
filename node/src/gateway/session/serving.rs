//! A session with a connection, whatever that is: from its first frame to its end.
//!
//! A WebSocket brings frames both ways. A stream brings only the gateway's; its client's come as
//! requests of their own, to any node. What a session needs of either is a [`Speaker`] and a
//! [`Listener`]; everything else is the same for both.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use metrics::{counter, gauge};
use rotary_proto::frame::{ClientFrame, Mode, ServerFrame};
use rotary_proto::limits::SESSION_WINDOW_COMMANDS_MAX;
use tokio::sync::mpsc;

use crate::feed::viewer_of;
use crate::gateway::doors::Doors;
use crate::gateway::identity::expect_unrevoked;
use crate::gateway::problem::Problem;
use crate::gateway::session::commands::Numbered;
use crate::gateway::session::handshake::{self, Attached, Begun};
use crate::gateway::session::pulse::Pulse;
use crate::gateway::session::{End, commands, farewell, feed};
use crate::gateway::token::{Claims, unix_s};
use crate::telemetry::names;

/// How long after a change of the directory it is looked whether what a session was begun with is
/// still good: it outlives the revocation, as this node has applied it, by no more than that.
const LOOK_AT_CREDENTIAL: Duration = Duration::from_secs(1);
/// Frames waiting for the writer.
const FRAMES_MAX: usize = 64;

/// The half of a connection that goes to the client.
pub(crate) trait Speaker {
    /// Writes a frame, unless the client takes none.
    async fn write(&mut self, frame: Written) -> Result<(), Closed>;
    /// Says why the connection ends, if somebody is there to hear it.
    async fn bye(&mut self, end: &End);
}

/// The half of a connection that comes from the client.
pub(super) trait Listener {
    /// Waits until the client is gone, while its session is being attached.
    async fn gone(&mut self);
    /// Deals with what comes until the connection ends.
    async fn listen(
        &mut self,
        doors: &Doors,
        attached: &Attached,
        asked: mpsc::Sender<Numbered>,
        out: &Outbox,
    ) -> End;
    /// The same for a board, which asks for nothing.
    async fn attend(&mut self, doors: &Doors, out: &Outbox) -> End;
}

/// A frame as it is written.
pub(crate) struct Written {
    /// The dense number, where the frame has one.
    pub(crate) seq: Option<u64>,
    pub(crate) text: Utf8Bytes,
}

impl From<&ServerFrame> for Written {
    fn from(frame: &ServerFrame) -> Self {
        let seq = match frame {
            ServerFrame::Event(event) => Some(event.seq),
            ServerFrame::Board(board) => Some(board.seq),
            _ => None,
        };
        Self { seq, text: text_of(frame) }
    }
}

/// A frame as it is sent.
pub(crate) fn text_of(frame: &ServerFrame) -> Utf8Bytes {
    serde_json::to_string(frame).expect("frames are plain data").into()
}

/// The queue of frames to the client, and the dense number of the last event in it.
pub(crate) struct Outbox {
    frames: mpsc::Sender<Written>,
    pub(super) pulse: Arc<Pulse>,
}

/// The connection's writer is gone.
#[derive(Debug)]
pub(crate) struct Closed;

impl Outbox {
    /// An empty queue, and the end that is to be written.
    pub(super) fn new(pulse: Arc<Pulse>) -> (Self, mpsc::Receiver<Written>) {
        let (frames, outgoing) = mpsc::channel(FRAMES_MAX);
        (Self { frames, pulse }, outgoing)
    }

    /// Sends a frame, waiting for room.
    pub(crate) async fn send(&self, frame: &ServerFrame) -> Result<(), Closed> {
        self.frames.send(Written::from(frame)).await.map_err(|_| Closed)
    }

    /// The number of the last event.
    pub(crate) fn seq(&self) -> u64 {
        self.pulse.seq()
    }

    /// Numbers the next event.
    pub(crate) fn next_seq(&self) -> u64 {
        self.pulse.next_seq()
    }

    /// The last number was not used after all.
    pub(crate) fn take_seq_back(&self) {
        self.pulse.take_seq_back();
    }
}

/// Why no session can begin here at all.
pub(super) fn closed_or_full(doors: &Doors) -> Option<Problem> {
    let full = || (!doors.sessions.has_room()).then(Problem::all_sessions);
    doors.sessions.leaving.refusal().or_else(full)
}

/// Serves a session from its first frame until its connection ends.
pub(super) async fn serve(
    doors: Doors,
    address: IpAddr,
    first: ClientFrame,
    speaker: &mut impl Speaker,
    listener: &mut impl Listener,
) {
    let attached = match handshake::begin(&doors, first, listener.gone()).await {
        Ok(Begun::Attached(attached)) => *attached,
        Ok(Begun::Board(board)) => return board.serve(&doors, speaker, listener).await,
        Err(end) => {
            if end.code.starts_with("token-") {
                doors.logins.note_stranger(address);
            }
            return say_bye(speaker, &end).await;
        }
    };
    let kind = attached.holder.role.kind();
    gauge!(names::SESSIONS, "kind" => kind).increment(1);
    counter!(names::SESSION_RESUMES, "mode" => mode_word(attached.mode)).increment(1);
    let end = converse(&doors, &attached, speaker, listener).await;
    gauge!(names::SESSIONS, "kind" => kind).decrement(1);
    say_bye(speaker, &end).await;
    leave(&doors, attached, &end).await;
}

/// Says why a connection ends.
pub(crate) async fn say_bye(speaker: &mut impl Speaker, end: &End) {
    counter!(names::SESSION_BYES, "code" => end.code).increment(1);
    if end.said {
        speaker.bye(end).await;
    }
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
    speaker: &mut impl Speaker,
    listener: &mut impl Listener,
) -> End {
    let (out, outgoing) = Outbox::new(attached.served.pulse.clone());
    let (asked, queue) = mpsc::channel(SESSION_WINDOW_COMMANDS_MAX);
    if out.send(&handshake::welcome(doors, attached)).await.is_err() {
        return End::gone();
    }
    tokio::select! {
        biased;
        end = leave_taken(doors, &out, &attached.holder) => end,
        end = attached.telling.failure() => end,
        end = listener.listen(doors, attached, asked, &out) => end,
        end = commands::run(doors, attached, queue, &out) => end,
        end = feed::run(doors, attached, &out) => end,
        end = written(speaker, outgoing) => end,
    }
}

/// Writes what there is to be written, until nobody takes it.
pub(crate) async fn written(
    speaker: &mut impl Speaker,
    mut outgoing: mpsc::Receiver<Written>,
) -> End {
    while let Some(frame) = outgoing.recv().await {
        if speaker.write(frame).await.is_err() {
            break;
        }
    }
    End::gone()
}

/// Waits until the node wants to be left, or the holder's credential is good no more.
pub(super) async fn leave_taken(doors: &Doors, out: &Outbox, holder: &Claims) -> End {
    let say = async |frame| drop(out.send(&frame).await);
    tokio::select! {
        biased;
        end = doors.sessions.leaving.turn(say) => end,
        end = expiry(holder.exp) => end,
        end = revocation(doors, holder) => end,
    }
}

/// Ends the connection when its holder's token expires.
async fn expiry(exp: u64) -> End {
    tokio::time::sleep(Duration::from_secs(exp.saturating_sub(unix_s()))).await;
    End::restart("token-expired", "the token has expired; start again with a new one")
}

/// Ends the connection when what its holder came in with is revoked.
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

/// Tells actors and log that the connection is gone, unless the session is served by another one.
async fn leave(doors: &Doors, attached: Attached, end: &End) {
    attached.served.pulse.is_gone();
    let viewer = viewer_of(attached.subject);
    for place in &attached.places {
        doors.registry.leave(place.site, viewer, &place.standing);
    }
    attached.telling.stop().await;
    farewell::tell(doors, &attached.served, &attached.places, attached.actor, end.over).await;
}
