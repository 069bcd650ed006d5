//! Frames from the client, until there are no more or one is wrong.

use std::pin::Pin;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures::StreamExt;
use futures::stream::{Peekable, SplitStream};
use rotary_proto::ConversationId;
use rotary_proto::command::Subject;
use rotary_proto::frame::{ClientFrame, PROTOCOL, ServerFrame, Signal};
use rotary_proto::limits::SESSION_FRAME_BYTES_MAX;
use rotary_proto::query::Stage;
use tokio::sync::mpsc;

use crate::gateway::doors::Doors;
use crate::gateway::session::End;
use crate::gateway::session::commands::Numbered;
use crate::gateway::session::handshake::Attached;
use crate::gateway::session::serving::Outbox;
use crate::hint::SignalHint;

/// The receiving half of a socket.
pub(crate) type Incoming = Peekable<SplitStream<WebSocket>>;

/// Waits until the client is gone. A frame that comes early stays to be read, and then there is
/// no telling any more what comes after it.
pub(crate) async fn gone(socket: &mut Incoming) {
    loop {
        match Pin::new(&mut *socket).peek().await {
            None | Some(Ok(Message::Close(_))) => return,
            Some(Err(error)) if !broken(error).said => return,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(_) => return std::future::pending().await,
        }
        socket.next().await;
    }
}

/// Takes the next frame, or says why there is none.
pub(crate) async fn next(socket: &mut Incoming, silence: Duration) -> Result<ClientFrame, End> {
    loop {
        let Ok(message) = tokio::time::timeout(silence, socket.next()).await else {
            let detail = format!("nothing was heard for {} ms", silence.as_millis());
            return Err(End::resume("silent", detail));
        };
        match message {
            None | Some(Ok(Message::Close(_))) => return Err(End::gone()),
            Some(Err(error)) => return Err(broken(&error)),
            Some(Ok(Message::Text(text))) => return parse(&text),
            Some(Ok(Message::Binary(_))) => {
                return Err(End::never("malformed", "frames are JSON texts, not binary"));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
        }
    }
}

fn broken(error: &axum::Error) -> End {
    let text = error.to_string();
    if text.contains("too long") || text.contains("too large") || text.contains("capacity") {
        let detail = format!("a frame has at most {SESSION_FRAME_BYTES_MAX} bytes");
        return End::never("too-large", detail);
    }
    if text.contains("UTF-8") || text.contains("utf-8") {
        return End::never("malformed", "frames are JSON texts in UTF-8");
    }
    End::gone()
}

fn parse(text: &str) -> Result<ClientFrame, End> {
    let sized = ClientFrame::check_size(text.len());
    sized.map_err(|error| End::never("too-large", error.to_string()))?;
    serde_json::from_str(text)
        .map_err(|error| End::never("malformed", format!("not a frame of {PROTOCOL}: {error}")))
}

/// Deals with frames until the socket ends.
pub(crate) async fn run(
    doors: &Doors,
    attached: &Attached,
    socket: &mut Incoming,
    commands: mpsc::Sender<Numbered>,
    out: &Outbox,
) -> End {
    let silence = Duration::from_millis(doors.heartbeat_ms * 3);
    loop {
        let frame = match next(socket, silence).await {
            Ok(frame) => frame,
            Err(end) => return end,
        };
        let sent = match frame {
            ClientFrame::Cmd { site, number, acknowledged, command, traceparent } => {
                let command = *command;
                let numbered = Numbered { site, number, acknowledged, command, traceparent };
                if commands.try_send(numbered).is_err() {
                    let detail = "too many commands without results; at most 64 are allowed";
                    return End::resume("protocol", detail);
                }
                Ok(())
            }
            ClientFrame::Ping { t } => out.send(&ServerFrame::Pong { t, seq: out.seq() }).await,
            ClientFrame::Signal { conversation, signal } => {
                if attached.places.iter().any(|place| place.site == conversation.site) {
                    tell(doors, attached.subject, conversation, signal);
                }
                Ok(())
            }
            // What has been seen is said again in a resume; nothing is kept for it here.
            ClientFrame::Ack { .. } => Ok(()),
            ClientFrame::Bye {} => return End::good_bye(),
            ClientFrame::Start { .. } | ClientFrame::Resume { .. } => {
                return End::never("protocol", "the session is on already");
            }
        };
        if sent.is_err() {
            return End::gone();
        }
    }
}

/// Deals with a board's frames until its socket ends.
pub(crate) async fn attend(doors: &Doors, socket: &mut Incoming, out: &Outbox) -> End {
    let silence = Duration::from_millis(doors.heartbeat_ms * 3);
    loop {
        let sent = match next(socket, silence).await {
            Ok(ClientFrame::Ping { t }) => out.send(&ServerFrame::Pong { t, seq: out.seq() }).await,
            Ok(ClientFrame::Ack { .. } | ClientFrame::Signal { .. }) => Ok(()),
            Ok(ClientFrame::Bye {}) => return End::good_bye(),
            Ok(_) => return End::never("protocol", ONLY_LOOKS),
            Err(end) => return end,
        };
        if sent.is_err() {
            return End::gone();
        }
    }
}

/// Why a board may not say something.
pub(super) const ONLY_LOOKS: &str = "a board looks at figures and asks for nothing";

/// Passes a signal on, here and to the other nodes, if the conversation is the sender's.
pub(super) fn tell(doors: &Doors, subject: Subject, conversation: ConversationId, signal: Signal) {
    let Some(shard) = doors.replica.shard_of(conversation.site) else { return };
    let Some(view) = shard.read().conversation_view(conversation) else { return };
    let agent = match (subject, view.stage) {
        (Subject::Agent(agent), Stage::Assigned { agent: serves, .. }) if agent == serves => {
            Some(agent)
        }
        (Subject::Customer(customer), _) if view.customer == Some(customer) => None,
        _ => return,
    };
    doors.registry.signal(conversation, agent, signal);
    doors.hints.signal(SignalHint { conversation, agent, signal });
}
