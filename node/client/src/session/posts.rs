//! A session's line without a WebSocket: what the gateway says is a stream of events, and what the
//! client says is posted.
//!
//! Commands have a lane of their own: one may wait for the log while pings are answered. A post
//! without an answer breaks the line, and the resume that follows asks for what was not seen.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use rotary_proto::frame::{ClientFrame, Retry, ServerFrame};
use rotary_proto::limits::SESSION_WINDOW_COMMANDS_MAX;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::dial::{DialError, FRAME_BYTES_MAX};
use super::events::Events;
use super::{SessionConfig, WAITING_POSTS_MAX};
use crate::gateway::Gateway;
use crate::http::{Answer, Http, Outgoing};

/// Most frames of one post.
const FRAMES_MAX: usize = SESSION_WINDOW_COMMANDS_MAX;
/// Bytes of frames in one post, unless a single one has more; the gateway takes twice as many.
pub(super) const FRAMES_BYTES: usize = 64 * 1024;
/// How long a post of commands may take: they wait for the log, one after the other. That the
/// gateway is there is found out by pings, which have a lane of their own.
const COMMANDS_PATIENCE: Duration = Duration::from_secs(30);
/// How long what is written may take to go out once the session is over.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// The stream and the two lanes of posts.
pub(super) struct Posts {
    body: Incoming,
    events: Events,
    lanes: Option<Lanes>,
    http: Http,
    gateway: Gateway,
    silence: Duration,
}

struct Lanes {
    commands: mpsc::Sender<String>,
    rest: mpsc::Sender<String>,
    answers: mpsc::Receiver<Result<ServerFrame, String>>,
    /// They end with what sends to them, or with this.
    posters: JoinSet<()>,
}

impl Posts {
    /// Opens the stream with its first frame.
    pub(super) async fn open(
        config: &SessionConfig,
        gateway: &Gateway,
        first: &ClientFrame,
    ) -> Result<Self, DialError> {
        let http = Http::new(config.connect, &config.trust, &config.network);
        let body = serde_json::to_vec(first).map_err(|error| error.to_string())?;
        let request = post("/v1/session/stream", "", body);
        let (status, body) = http.open(gateway, request).await.map_err(|e| e.to_string())?;
        if status != StatusCode::OK {
            return Err(format!("the stream was answered with {status}").into());
        }
        let (events, gateway) = (Events::new(FRAME_BYTES_MAX), gateway.clone());
        Ok(Self { body, events, lanes: None, http, gateway, silence: config.silence })
    }

    /// From here on there is a session to post for.
    pub(super) fn welcomed(&mut self, resume_token: &str) {
        let (tell, answers) = mpsc::channel(FRAMES_MAX);
        let mut posters = JoinSet::new();
        let mut lane = |patience| {
            let (frames, waiting) = mpsc::channel(WAITING_POSTS_MAX);
            let (http, gateway) = (self.http.clone(), self.gateway.clone());
            let (token, tell) = (resume_token.to_owned(), tell.clone());
            posters.spawn(Poster { http, gateway, token, patience, tell }.run(waiting));
            frames
        };
        let commands = lane(COMMANDS_PATIENCE);
        let rest = lane(self.silence.max(Duration::from_secs(1)));
        self.lanes = Some(Lanes { commands, rest, answers, posters });
    }

    /// The next frame, from the stream or from an answer. What a dropped call has read is kept.
    pub(super) async fn read(&mut self) -> Result<ServerFrame, String> {
        loop {
            if let Some(text) = self.events.take().map_err(|error| error.to_string())? {
                return serde_json::from_str(&text)
                    .map_err(|error| format!("a frame that cannot be read: {error}"));
            }
            let piece = match &mut self.lanes {
                None => self.body.frame().await,
                Some(lanes) => tokio::select! {
                    biased;
                    answer = lanes.answers.recv() => {
                        return answer.unwrap_or_else(|| Err("nothing can be posted".to_owned()));
                    }
                    piece = self.body.frame() => piece,
                },
            };
            let frame = piece.ok_or("the stream ended")?.map_err(|error| error.to_string())?;
            if let Ok(bytes) = frame.into_data() {
                self.events.push(&bytes);
            }
        }
    }

    /// Has one frame posted.
    pub(super) fn write(&mut self, frame: &ClientFrame) -> Result<(), String> {
        let lanes = self.lanes.as_ref().ok_or("there is no session yet")?;
        let text = serde_json::to_string(frame).map_err(|error| error.to_string())?;
        let lane = match frame {
            ClientFrame::Cmd { .. } => &lanes.commands,
            _ => &lanes.rest,
        };
        lane.try_send(text).map_err(|_| "too much waits to be posted".to_owned())
    }

    /// Waits until what was written is posted.
    pub(super) async fn close(&mut self) {
        if let Some(Lanes { commands, rest, answers, mut posters }) = self.lanes.take() {
            drop((commands, rest, answers));
            let posted = async { while posters.join_next().await.is_some() {} };
            // What is not out by then is as lost as it would be with a socket.
            let _ = tokio::time::timeout(CLOSE_PATIENCE, posted).await;
        }
    }
}

/// The answer to a post.
#[derive(Deserialize)]
struct Said {
    frames: Vec<ServerFrame>,
}

struct Poster {
    http: Http,
    gateway: Gateway,
    token: String,
    patience: Duration,
    tell: mpsc::Sender<Result<ServerFrame, String>>,
}

impl Poster {
    /// Posts what waits, one request at a time, until one fails or nothing more will come.
    async fn run(self, mut waiting: mpsc::Receiver<String>) {
        let mut held = None;
        loop {
            let first = match held.take() {
                Some(first) => first,
                None => match waiting.recv().await {
                    Some(first) => first,
                    None => return,
                },
            };
            let (body, more) = batch(first, &mut waiting);
            held = more;
            // Nobody listens to the answers of what is said on leaving.
            match self.post(body).await {
                Ok(said) => {
                    for frame in said.frames {
                        let _ = self.tell.send(Ok(frame)).await;
                    }
                }
                Err(why) => {
                    let _ = self.tell.send(Err(why)).await;
                    return;
                }
            }
        }
    }

    async fn post(&self, body: String) -> Result<Said, String> {
        let request = post("/v1/session/frames", &self.token, body.into_bytes());
        let answer = self.http.send(&self.gateway, request, self.patience).await;
        let Answer { status, body, .. } = answer.map_err(|error| error.to_string())?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body)
                .map_err(|error| format!("an answer that cannot be read: {error}")),
            // It would be answered the same again.
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::PAYLOAD_TOO_LARGE => {
                Ok(Said { frames: vec![never(&body)] })
            }
            _ => {
                let text = String::from_utf8_lossy(&body);
                Err(format!("a post was answered with {status}: {text}"))
            }
        }
    }
}

/// A post of that frame and of those that wait and fit beside it; and one that waits and does not.
pub(super) fn batch(
    first: String,
    waiting: &mut mpsc::Receiver<String>,
) -> (String, Option<String>) {
    let mut body = format!("{{\"frames\":[{first}");
    let (mut frames, mut held) = (1, None);
    while frames < FRAMES_MAX {
        let Ok(next) = waiting.try_recv() else { break };
        if body.len() + next.len() > FRAMES_BYTES {
            held = Some(next);
            break;
        }
        body.push(',');
        body.push_str(&next);
        frames += 1;
    }
    body.push_str("]}");
    (body, held)
}

/// The end of a session that says what no gateway takes.
fn never(problem: &[u8]) -> ServerFrame {
    let problem: Value = serde_json::from_slice(problem).unwrap_or_default();
    let word = |field: &str| problem[field].as_str().unwrap_or_default().to_owned();
    let (code, detail) = (word("code"), word("detail"));
    ServerFrame::Bye { code, detail, retry: Retry::Never, after_ms: None }
}

fn post<'a>(path: &'a str, token: &'a str, body: Vec<u8>) -> Outgoing<'a> {
    let (key, min_index, body) = (None, None, Bytes::from(body));
    Outgoing { method: Method::POST, path, token, key, min_index, body }
}
