//! A client's socket or stream on a gateway-only node, and the core node behind it.
//!
//! Three things run side by side, and whichever ends first ends the socket: a *pump* takes the
//! client's frames and answers its pings, a *writer* owns the sending half, and the *line* carries
//! frames between the client and one core node after the other. When a core node is lost, asks to
//! be left or is behind, the session is resumed through another; the client notices nothing but
//! the time that takes. A stream has no pump: what its client says comes as requests, which are
//! passed on like all others.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use metrics::{counter, gauge};
use rotary_proto::NodeId;
use rotary_proto::frame::{ClientFrame, ServerFrame};
use rotary_proto::limits::HTTP_BODY_BYTES_MAX;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::gateway::session::End;
use crate::gateway::session::reader::{self, Incoming};
use crate::gateway::session::serving::{self, Speaker, Written};
use crate::gateway::session::socket::{self, FIRST_FRAME};
use crate::gateway::session::stream::{EventStream, ToStream};
use crate::relay::Relay;
use crate::relay::forward::{forward, too_large};
use crate::relay::line::{Line, Step};
use crate::relay::upstream::{Kind, Upstream};
use crate::server::Address;
use crate::telemetry::names;

/// Frames waiting in either direction.
const FRAMES_MAX: usize = 64;
/// How long a session that begins may look for a core node: less than its client waits.
const BEGIN_PATIENCE: Duration = Duration::from_millis(2_500);
/// How long one that was on may.
const RETURN_PATIENCE: Duration = Duration::from_secs(15);
/// How long a core node may take for a handshake, and for its first word after that.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(1);
const WELCOME_PATIENCE: Duration = Duration::from_millis(2_200);
/// How frames begin that have a number.
const NUMBERED: [&str; 2] = ["{\"type\":\"event\"", "{\"type\":\"board\""];
/// Pause between two attempts.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// `GET /v1/session` at a gateway-only node.
pub(super) async fn upgrade(
    State(relay): State<Relay>,
    ConnectInfo(Address(client)): ConnectInfo<Address>,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Some(problem) = relay.full() {
        return problem.into_response();
    }
    match socket::prepare(upgrade) {
        Ok(upgrade) => upgrade.on_upgrade(move |socket| serve(relay, client, socket)),
        Err(problem) => problem.into_response(),
    }
}

async fn serve(relay: Relay, client: SocketAddr, socket: WebSocket) {
    let _counted = relay.count_in();
    let (mut sink, stream) = socket.split();
    let mut stream = stream.peekable();
    let hello = socket::hello(relay.node, relay.heartbeat_ms);
    if socket::write(&mut sink, serving::text_of(&hello)).await.is_err() {
        return;
    }
    let first = match reader::next(&mut stream, FIRST_FRAME).await {
        Ok(first @ (ClientFrame::Start { .. } | ClientFrame::Resume { .. })) => first,
        Ok(_) => {
            let end = End::never("protocol", "the first frame is `start` or `resume`");
            return serving::say_bye(&mut sink, &end).await;
        }
        Err(end) => return serving::say_bye(&mut sink, &end).await,
    };
    gauge!(names::RELAY_SESSIONS).increment(1);
    let (way, outgoing) = Way::new(&relay, client, Kind::Socket);
    let (asked, mut asks) = mpsc::channel(FRAMES_MAX);
    let line = Line::new(first, relay.gateways.clone());
    let writer = serving::written(&mut sink, outgoing);
    let end = tokio::select! {
        biased;
        end = relay.left(&way.to_client) => end,
        end = way.pump(&mut stream, asked) => end,
        end = way.carry(line, &mut asks) => end,
        end = writer => end,
    };
    gauge!(names::RELAY_SESSIONS).decrement(1);
    serving::say_bye(&mut sink, &end).await;
}

/// `POST /v1/session/stream` at a gateway-only node.
pub(super) async fn stream(
    State(relay): State<Relay>,
    address: ConnectInfo<Address>,
    request: Request,
) -> Response {
    if let Some(problem) = relay.full() {
        return problem.into_response();
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, HTTP_BODY_BYTES_MAX).await else { return too_large() };
    match serde_json::from_slice(&body) {
        Ok(first @ (ClientFrame::Start { .. } | ClientFrame::Resume { .. })) => {
            let pause = Duration::from_millis(relay.heartbeat_ms);
            let (events, answer) = EventStream::new(pause);
            tokio::spawn(serve_stream(relay, address.0.0, first, events));
            answer.into_response()
        }
        // A core node says what is wrong with it.
        _ => {
            let request = Request::from_parts(parts, Body::from(body));
            forward(State(relay), address, request).await
        }
    }
}

async fn serve_stream(relay: Relay, client: SocketAddr, first: ClientFrame, events: ToStream) {
    let _counted = relay.count_in();
    let mut speaker = events.clone();
    let hello = socket::hello(relay.node, relay.heartbeat_ms);
    if speaker.write(Written::from(&hello)).await.is_err() {
        return;
    }
    gauge!(names::RELAY_SESSIONS).increment(1);
    let (way, outgoing) = Way::new(&relay, client, Kind::Stream);
    let (_asked, mut asks) = mpsc::channel(1);
    let line = Line::new(first, relay.gateways.clone());
    let writer = serving::written(&mut speaker, outgoing);
    let end = tokio::select! {
        biased;
        end = relay.left(&way.to_client) => end,
        () = events.closed() => End::gone(),
        end = way.carry(line, &mut asks) => end,
        end = writer => end,
    };
    gauge!(names::RELAY_SESSIONS).decrement(1);
    serving::say_bye(&mut speaker, &end).await;
}

/// What the parts of a socket or stream share.
struct Way<'a> {
    relay: &'a Relay,
    client: SocketAddr,
    kind: Kind,
    to_client: mpsc::Sender<Written>,
    /// The last event's number, for the answers to pings.
    seq: AtomicU64,
}

/// Why a core node is left.
enum Left {
    /// The session goes on through another.
    Core(String),
    /// The socket ends.
    End(End),
}

impl From<End> for Left {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl<'a> Way<'a> {
    fn new(relay: &'a Relay, client: SocketAddr, kind: Kind) -> (Self, mpsc::Receiver<Written>) {
        let (to_client, outgoing) = mpsc::channel(FRAMES_MAX);
        (Self { relay, client, kind, to_client, seq: AtomicU64::new(0) }, outgoing)
    }

    /// Takes the client's frames until there are no more.
    async fn pump(&self, stream: &mut Incoming, asked: mpsc::Sender<ClientFrame>) -> End {
        let silence = Duration::from_millis(self.relay.heartbeat_ms * 3);
        loop {
            let sent = match reader::next(stream, silence).await {
                Ok(ClientFrame::Ping { t }) => {
                    let pong = ServerFrame::Pong { t, seq: self.seq.load(Ordering::Acquire) };
                    self.to_client.send(Written::from(&pong)).await.is_ok()
                }
                Ok(frame) => asked.send(frame).await.is_ok(),
                Err(end) => return end,
            };
            if !sent {
                return End::gone();
            }
        }
    }

    /// Carries frames, through one core node after the other.
    async fn carry(&self, mut line: Line, asks: &mut mpsc::Receiver<ClientFrame>) -> End {
        let mut avoid = None;
        loop {
            let (core, mut upstream) = match self.reach(&mut line, avoid).await {
                Ok(reached) => reached,
                Err(end) => return end,
            };
            match self.through(&mut line, &mut upstream, asks).await {
                Left::End(end) => return end,
                Left::Core(why) => {
                    tracing::debug!(%core, why, "a session goes on through another core node");
                    counter!(names::RELAY_MOVES).increment(1);
                    avoid = Some(core);
                }
            }
        }
    }

    /// Finds a core node that takes the session, and tells the client what there is to tell.
    async fn reach(
        &self,
        line: &mut Line,
        mut avoid: Option<NodeId>,
    ) -> Result<(NodeId, Upstream), End> {
        let patience = if line.is_on() { RETURN_PATIENCE } else { BEGIN_PATIENCE };
        let deadline = Instant::now() + patience;
        loop {
            let why = match self.relay.cores.pick(avoid) {
                None => "no core node answers this gateway".to_owned(),
                Some(core) => match self.pass(line, core).await {
                    Ok(upstream) => return Ok((core, upstream)),
                    Err(Left::End(end)) => return Err(end),
                    Err(Left::Core(why)) => {
                        avoid = Some(core);
                        why
                    }
                },
            };
            if Instant::now() + TRY_AGAIN >= deadline {
                return Err(End::resume("behind", why));
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    /// The same as [`Way::begin`], when it is this session's turn, if it comes back with many.
    async fn pass(&self, line: &mut Line, core: NodeId) -> Result<Upstream, Left> {
        let _place = match (line.is_on(), line.returns()) {
            (false, false) => None,
            (false, true) => Some(self.relay.turnstile.enter().await?),
            (true, _) => Some(self.relay.turnstile.stay().await),
        };
        self.begin(line, core).await
    }

    /// Begins or resumes the session at a core node.
    async fn begin(&self, line: &mut Line, core: NodeId) -> Result<Upstream, Left> {
        let shaking = async {
            let tunnel = self.relay.tunnel(core, self.client).await?;
            Upstream::open(self.kind, tunnel, text_of(&line.first_frame())).await
        };
        let shaken = tokio::time::timeout(HANDSHAKE_PATIENCE, shaking).await;
        let shaken = shaken.map_err(|_| Left::Core("no handshake in time".to_owned()))?;
        let mut upstream = shaken.map_err(Left::Core)?;
        let was_on = line.is_on();
        let welcoming = async {
            loop {
                let Some(text) = upstream.next().await.map_err(Left::Core)? else { continue };
                let hello = text.starts_with("{\"type\":\"hello\"");
                self.step(line, text).await?;
                if !hello {
                    return Ok::<(), Left>(());
                }
            }
        };
        let welcomed = tokio::time::timeout(WELCOME_PATIENCE, welcoming).await;
        welcomed.map_err(|_| Left::Core("no welcome in time".to_owned()))??;
        if was_on {
            for text in line.again() {
                upstream.write(text.clone()).await.map_err(Left::Core)?;
            }
        }
        Ok(upstream)
    }

    /// Carries frames through one core node until it is left.
    async fn through(
        &self,
        line: &mut Line,
        upstream: &mut Upstream,
        asks: &mut mpsc::Receiver<ClientFrame>,
    ) -> Left {
        let heartbeat = Duration::from_millis(self.relay.heartbeat_ms);
        let (mut heard, mut ping) = (Instant::now(), tokio::time::interval(heartbeat));
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                text = upstream.next() => {
                    heard = Instant::now();
                    match text {
                        Ok(Some(text)) => self.step(line, text).await,
                        Ok(None) => Ok(()),
                        Err(why) => Err(Left::Core(why)),
                    }
                }
                ask = asks.recv() => match ask {
                    Some(frame) => match line.asked(&frame) {
                        Ok(text) => upstream.write(text).await.map_err(Left::Core),
                        Err(end) => Err(end.into()),
                    },
                    None => Err(End::gone().into()),
                },
                _ = ping.tick() => {
                    let frame = ClientFrame::Ping { t: line.seq() };
                    match heard.elapsed() > 3 * heartbeat {
                        true => Err(Left::Core("the core node is silent".to_owned())),
                        false => upstream.ping(text_of(&frame)).await.map_err(Left::Core),
                    }
                }
            };
            if let Err(left) = done {
                return left;
            }
        }
    }

    /// Does what a frame of a core node asks for.
    async fn step(&self, line: &mut Line, text: String) -> Result<(), Left> {
        let step = line.said(text)?;
        self.seq.store(line.seq(), Ordering::Release);
        match step {
            Step::Leave(why) => Err(Left::Core(why)),
            Step::Say(texts) => {
                for text in texts {
                    let numbered = NUMBERED.iter().any(|start| text.starts_with(start));
                    let seq = numbered.then(|| line.seq());
                    let frame = Written { seq, text: text.into() };
                    let sent = self.to_client.send(frame).await;
                    sent.map_err(|_| Left::End(End::gone()))?;
                }
                Ok(())
            }
            Step::Last(text) => {
                // The core node's good-bye is the client's; there is none to add to it.
                let bye = serde_json::from_str::<ServerFrame>(&text);
                Err(Left::End(bye.ok().and_then(End::of_frame).unwrap_or_else(End::gone)))
            }
        }
    }
}

fn text_of(frame: &ClientFrame) -> String {
    serde_json::to_string(frame).expect("frames are plain data")
}
