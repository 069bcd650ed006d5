//! Sessions without a WebSocket, against a gateway whose answers the test gives.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures::stream;
use rotary_proto::frame::{ClientFrame, CommandReply, Mode, Retry, ServerFrame};
use rotary_proto::{NodeId, Outcome};
use serde_json::{Value, json};

use super::posts::{FRAMES_BYTES, batch};
use super::*;
use crate::session::tests::{SITE, declare, event, notice, result, sequence, welcome, welcomed};

/// What each stream says in turn, what each post is answered in turn, and all that was said.
#[derive(Default)]
struct Script {
    /// What an upgrade is answered with; 400 if not said.
    upgrade: Option<StatusCode>,
    streams: VecDeque<Vec<ServerFrame>>,
    /// Frames, or a status.
    posts: VecDeque<Result<Vec<ServerFrame>, StatusCode>>,
    /// What pongs say was sent.
    sent: u64,
    said: Vec<Value>,
}

type Shared = Arc<Mutex<Script>>;

/// A gateway behind something that takes no upgrade: streams stay open once they said their part.
async fn gateway(script: Shared) -> Gateway {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let gateway = format!("http://{}", listener.local_addr().expect("bound"));
    let app = Router::new()
        .route("/v1/session", get(upgraded))
        .route("/v1/session/stream", post(opened))
        .route("/v1/session/frames", post(posted))
        .with_state(script);
    tokio::spawn(async move { axum::serve(listener, app).await });
    gateway.parse().expect("an address")
}

async fn upgraded(State(script): State<Shared>) -> StatusCode {
    script.lock().expect("sound").upgrade.unwrap_or(StatusCode::BAD_REQUEST)
}

async fn opened(State(script): State<Shared>, first: String) -> Response {
    let frames = {
        let mut script = script.lock().expect("sound");
        script.said.push(serde_json::from_str(&first).expect("JSON"));
        script.streams.pop_front().expect("another stream")
    };
    let (node, heartbeat_ms) = (NodeId(1), 1_000);
    let (protocol, build) = ("rotary.v1".to_owned(), "fake".to_owned());
    let mut text = String::from(":\n\n");
    let hello = ServerFrame::Hello { node, protocol, heartbeat_ms, build };
    for frame in std::iter::once(hello).chain(frames) {
        text.push_str(&format!("data: {}\n\n", serde_json::to_string(&frame).expect("plain")));
    }
    // Cut anywhere, as a network does.
    let pieces = text.into_bytes().chunks(100).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let pieces = stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
    let body = stream::StreamExt::chain(pieces, stream::pending());
    Body::from_stream(body).into_response()
}

async fn posted(State(script): State<Shared>, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let mut script = script.lock().expect("sound");
    let mut answers = Vec::new();
    for frame in body["frames"].as_array().expect("a list") {
        match serde_json::from_value(frame.clone()).expect("a frame") {
            ClientFrame::Ping { t } => {
                answers.push(json!({"type": "pong", "t": t, "seq": script.sent}));
            }
            ClientFrame::Ack { .. } => {}
            _ => {
                script.said.push(frame.clone());
                match script.posts.pop_front().expect("another answer") {
                    Ok(frames) => answers.extend(frames.iter().map(|frame| json!(frame))),
                    Err(status) => {
                        let problem = json!({"code": "protocol", "detail": "not there"});
                        return (status, problem.to_string()).into_response();
                    }
                }
            }
        }
    }
    json!({"frames": answers}).to_string().into_response()
}

fn outcome(number: u64, repeated: bool) -> rotary_proto::frame::CommandResult {
    result(number, repeated, CommandReply::Outcome(Outcome::Done(rotary_proto::Done::Ok)))
}

fn start(gateway: &Gateway, over: Over) -> Session {
    let config = SessionConfig::new(vec![gateway.clone()], "token".to_owned());
    Session::start(SessionConfig { over, ..config }).expect("a gateway")
}

#[tokio::test]
async fn where_sockets_are_refused_a_stream_and_posts_do() {
    let script = Shared::default();
    {
        let mut script = script.lock().expect("sound");
        script.streams.push_back(vec![welcome(Mode::New, 0, &[]), event(1, 5)]);
        script.posts.push_back(Ok(vec![ServerFrame::Result(outcome(1, false))]));
        let (code, detail) = ("session-ended".to_owned(), String::new());
        script.posts.push_back(Ok(vec![ServerFrame::Bye {
            code,
            detail,
            retry: Retry::Restart,
            after_ms: None,
        }]));
    }
    let gateway = gateway(Arc::clone(&script)).await;
    let mut session = start(&gateway, Over::Either);
    assert_eq!(welcomed(&mut session).await.mode, Mode::New);
    assert_eq!(sequence(&mut session).await, 5);
    let commander = session.commander();
    assert_eq!(commander.send(SITE, declare()).await, Ok(outcome(1, false)));
    commander.bye().await;
    assert_eq!(notice(&mut session).await, Notice::Ended(End::Bye));
    let said = script.lock().expect("sound").said.clone();
    let kinds: Vec<&Value> = said.iter().map(|frame| &frame["type"]).collect();
    assert_eq!(kinds, ["start", "cmd", "bye"]);
}

#[tokio::test]
async fn a_post_without_an_answer_is_asked_about_at_the_resume() {
    let script = Shared::default();
    {
        let mut script = script.lock().expect("sound");
        script.streams.push_back(vec![welcome(Mode::New, 0, &[]), event(1, 5)]);
        script.posts.push_back(Err(StatusCode::SERVICE_UNAVAILABLE));
        script
            .streams
            .push_back(vec![welcome(Mode::Replayed, 1, &[outcome(1, true)]), event(2, 6)]);
    }
    let gateway = gateway(Arc::clone(&script)).await;
    let mut session = start(&gateway, Over::Stream);
    welcomed(&mut session).await;
    assert_eq!(sequence(&mut session).await, 5);
    assert_eq!(session.commander().send(SITE, declare()).await, Ok(outcome(1, true)));
    assert_eq!(welcomed(&mut session).await.mode, Mode::Replayed);
    assert_eq!(sequence(&mut session).await, 6);
    let said = script.lock().expect("sound").said.clone();
    let resume = said.last().expect("a resume");
    assert_eq!(resume["unacknowledged"], json!([{"site": SITE, "number": 1}]), "{resume}");
    assert_eq!((&resume["type"], &resume["seq"]), (&json!("resume"), &json!(1)));
}

#[tokio::test]
async fn sockets_alone_are_not_exchanged_for_streams() {
    let script = Shared::default();
    let gateway = gateway(Arc::clone(&script)).await;
    let mut session = start(&gateway, Over::Socket);
    let Some(Notice::Lost { why, .. }) = session.next_event().await else { panic!("not lost") };
    assert!(why.contains("400"), "{why}");
    assert!(script.lock().expect("sound").said.is_empty());
}

#[tokio::test]
async fn a_gateway_that_is_full_is_not_one_without_sockets() {
    let script = Shared::default();
    script.lock().expect("sound").upgrade = Some(StatusCode::SERVICE_UNAVAILABLE);
    let gateway = gateway(Arc::clone(&script)).await;
    let mut session = start(&gateway, Over::Either);
    for _ in 0..2 {
        let Some(Notice::Lost { why, .. }) = session.next_event().await else { panic!("not lost") };
        assert!(why.contains("503"), "{why}");
    }
    assert!(script.lock().expect("sound").said.is_empty(), "no stream was tried");
}

#[tokio::test]
async fn what_no_gateway_takes_ends_the_session() {
    let script = Shared::default();
    {
        let mut script = script.lock().expect("sound");
        script.streams.push_back(vec![welcome(Mode::New, 0, &[])]);
        script.posts.push_back(Err(StatusCode::BAD_REQUEST));
    }
    let gateway = gateway(Arc::clone(&script)).await;
    let mut session = start(&gateway, Over::Stream);
    welcomed(&mut session).await;
    let unknown = session.commander().send(SITE, declare()).await;
    assert_eq!(unknown, Err(CommandError::Unknown));
    let (code, detail) = ("protocol".to_owned(), "not there".to_owned());
    let end = End::Closed { code, detail, restart: false };
    assert_eq!(notice(&mut session).await, Notice::Ended(end));
}

#[tokio::test]
async fn a_stream_that_is_held_back_is_left() {
    let script = Shared::default();
    {
        let mut script = script.lock().expect("sound");
        script.streams.push_back(vec![welcome(Mode::New, 0, &[]), event(1, 5)]);
        script.streams.push_back(vec![welcome(Mode::Replayed, 1, &[]), event(2, 6)]);
        script.sent = 2;
    }
    let gateway = gateway(Arc::clone(&script)).await;
    let mut session = start(&gateway, Over::Stream);
    welcomed(&mut session).await;
    assert_eq!(sequence(&mut session).await, 5);
    let Some(Notice::Lost { why, .. }) = session.next_event().await else { panic!("not lost") };
    assert!(why.contains("events up to 2 were sent"), "{why}");
    assert_eq!(welcomed(&mut session).await.mode, Mode::Replayed);
    assert_eq!(sequence(&mut session).await, 6);
}

#[test]
fn a_post_takes_what_fits() {
    let (tell, mut waiting) = mpsc::channel(128);
    let frame = |bytes: usize| "x".repeat(bytes);
    for bytes in [30_000, 30_000, 10, 10] {
        tell.try_send(frame(bytes)).expect("room");
    }
    let (body, held) = batch(frame(10), &mut waiting);
    assert!(body.len() <= FRAMES_BYTES + 2, "{}", body.len());
    assert_eq!((body.matches(',').count(), held.map(|held| held.len())), (4, None));
    for bytes in [60_000, 60_000] {
        tell.try_send(frame(bytes)).expect("room");
    }
    let (body, held) = batch(frame(10), &mut waiting);
    assert_eq!((body.matches(',').count(), held.map(|held| held.len())), (1, Some(60_000)));
}
