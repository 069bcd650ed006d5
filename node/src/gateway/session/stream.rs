//! A session's connection as a stream of server-sent events, for clients behind whatever breaks
//! WebSockets: `POST /v1/session/stream`.
//!
//! The request's body is the first frame; the answer's body brings the gateway's frames, one an
//! event, for as long as the session is served here. What the client has to say comes in requests
//! of its own, to any node ([`crate::gateway::session::posted`]). They are its signs of life, too:
//! that a connection takes bytes proves nothing of who is behind a proxy.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures::stream;
use rotary_proto::frame::ClientFrame;
use tokio::sync::mpsc;

use crate::gateway::doors::Doors;
use crate::gateway::extract::Json;
use crate::gateway::login::CameFrom;
use crate::gateway::openapi::{Answers, Draft};
use crate::gateway::problem::Problem;
use crate::gateway::session::End;
use crate::gateway::session::commands::Numbered;
use crate::gateway::session::handshake::Attached;
use crate::gateway::session::serving::{
    Closed, Listener, Outbox, Speaker, Written, closed_or_full, serve,
};
use crate::gateway::session::socket::{BYE_PATIENCE, WRITE_PATIENCE, hello};

/// The media type of the answer.
const EVENT_STREAM: &str = "text/event-stream";
/// Frames between the session and the connection, beside those that wait in the session's queue.
const AHEAD_MAX: usize = 1;
/// A line that says nothing but that somebody is there.
const COMMENT: &[u8] = b":\n\n";

/// `POST /v1/session/stream`
pub(crate) async fn open(
    State(doors): State<Doors>,
    CameFrom(address): CameFrom,
    Json(first): Json<ClientFrame>,
) -> Result<EventStream, Problem> {
    if let Some(problem) = closed_or_full(&doors) {
        return Err(problem);
    }
    let (events, answer) = EventStream::new(Duration::from_millis(doors.heartbeat_ms));
    tokio::spawn(run(doors, address, first, events));
    Ok(answer)
}

async fn run(doors: Doors, address: IpAddr, first: ClientFrame, events: ToStream) {
    let mut speaker = events.clone();
    let hello = hello(doors.node, doors.heartbeat_ms);
    if speaker.write(Written::from(&hello)).await.is_ok() {
        serve(doors, address, first, &mut speaker, &mut FarEnd(events)).await;
    }
}

/// Writes frames as events.
#[derive(Clone)]
pub(crate) struct ToStream(mpsc::Sender<Bytes>);

impl ToStream {
    /// Waits until nobody takes events any more.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

impl Speaker for ToStream {
    async fn write(&mut self, frame: Written) -> Result<(), Closed> {
        let sent = self.0.send_timeout(event(&frame), WRITE_PATIENCE).await;
        sent.map_err(|_| Closed)
    }

    async fn bye(&mut self, end: &End) {
        // Whoever is gone needs no good-bye.
        let _ = self.0.send_timeout(event(&Written::from(&end.frame())), BYE_PATIENCE).await;
    }
}

/// Knows whether there is still a connection; nothing comes from it.
struct FarEnd(ToStream);

impl Listener for FarEnd {
    async fn gone(&mut self) {
        self.0.closed().await;
    }

    async fn listen(
        &mut self,
        doors: &Doors,
        _: &Attached,
        asked: mpsc::Sender<Numbered>,
        out: &Outbox,
    ) -> End {
        // Nobody asks here; that is no reason to end.
        let _asked = asked;
        self.attend(doors, out).await
    }

    async fn attend(&mut self, doors: &Doors, out: &Outbox) -> End {
        let patience = Duration::from_millis(doors.heartbeat_ms * 3);
        tokio::select! {
            () = self.0.closed() => End::gone(),
            end = out.pulse.silence(patience) => end,
        }
    }
}

/// A frame as an event. Its text is one line: JSON has no line breaks of its own.
fn event(frame: &Written) -> Bytes {
    let id = frame.seq.map_or_else(String::new, |seq| format!("id: {seq}\n"));
    format!("{id}data: {}\n\n", frame.text.as_str()).into()
}

/// The answer: events, and a comment wherever there is none for a heartbeat.
pub(crate) struct EventStream {
    events: mpsc::Receiver<Bytes>,
    pause: Duration,
}

impl EventStream {
    /// A stream with a comment wherever nothing is said for `pause`, and who writes to it.
    pub(crate) fn new(pause: Duration) -> (ToStream, Self) {
        let (sender, events) = mpsc::channel(AHEAD_MAX);
        (ToStream(sender), Self { events, pause })
    }

    /// What is sent next; nothing after the last event.
    async fn next(&mut self) -> Option<Bytes> {
        let event = tokio::time::timeout(self.pause, self.events.recv()).await;
        event.unwrap_or(Some(Bytes::from_static(COMMENT)))
    }
}

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        let headers = [
            (CONTENT_TYPE.as_str(), EVENT_STREAM),
            (CACHE_CONTROL.as_str(), "no-store"),
            // Proxies that would rather have a whole answer first are told to pass it on.
            ("x-accel-buffering", "no"),
        ];
        let events = stream::unfold(self, |mut events| async move {
            let next = events.next().await?;
            Some((Ok::<_, Infallible>(next), events))
        });
        (headers, Body::from_stream(events)).into_response()
    }
}

impl Answers for EventStream {
    fn describe(draft: &mut Draft<'_>) {
        draft.text(200, EVENT_STREAM, "Frames, one an event, for as long as the session is on.");
    }
}

#[cfg(test)]
mod tests {
    use rotary_proto::NodeId;
    use rotary_proto::frame::ServerFrame;

    use super::*;

    #[tokio::test]
    async fn frames_are_events_and_silence_is_a_comment() {
        let (mut speaker, mut answer) = EventStream::new(Duration::from_millis(1));
        assert_eq!(answer.next().await.as_deref(), Some(COMMENT));
        answer.pause = Duration::from_secs(60);
        let pong = ServerFrame::Pong { t: 1, seq: 2 };
        speaker.write(Written::from(&pong)).await.expect("somebody reads");
        let text = "data: {\"type\":\"pong\",\"t\":1,\"seq\":2}\n\n";
        assert_eq!(answer.next().await.as_deref(), Some(text.as_bytes()));
        let numbered = Written { seq: Some(7), text: "{}".into() };
        assert_eq!(event(&numbered), "id: 7\ndata: {}\n\n");
        drop(speaker);
        assert_eq!(answer.next().await, None);
    }

    #[tokio::test]
    async fn whoever_hangs_up_is_gone() {
        let (mut speaker, answer) = EventStream::new(Duration::from_secs(60));
        let mut far = FarEnd(speaker.clone());
        drop(answer);
        far.gone().await;
        assert!(speaker.write(Written::from(&hello(NodeId(1), 1))).await.is_err());
    }
}
