//! A session without a WebSocket: its stream, and what its client posts.

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rotary_client::Gateway;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::nodes::LIMIT;
use crate::wire::{Answer, ask};

/// A session's stream, until it is dropped.
pub(crate) struct Stream {
    body: Incoming,
    text: String,
}

/// An event: the id, if it has one, and the frame.
pub(crate) type Said = (Option<u64>, Value);

impl Stream {
    /// Begins with that frame.
    pub(crate) async fn open(gateway: &Gateway, first: &Value) -> Self {
        let tcp = TcpStream::connect(gateway.authority()).await.expect("it listens");
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await;
        let (mut sender, connection) = shaken.expect("HTTP");
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::post("/v1/session/stream")
            .header("host", "x")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(first.to_string())))
            .expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut stream = Self { body: answer.into_body(), text: String::new() };
        assert_eq!(stream.frame().await["type"], "hello");
        stream
    }

    /// The next event; nothing once the stream has ended, however it did.
    pub(crate) async fn next(&mut self) -> Option<Said> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let said = read(event);
                self.text = rest.to_owned();
                if said.is_some() {
                    return said;
                }
                continue;
            }
            let piece = tokio::time::timeout(LIMIT, self.body.frame()).await.expect("a word");
            let bytes = piece?.ok()?.into_data().ok()?;
            self.text.push_str(str::from_utf8(&bytes).expect("ASCII"));
        }
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Value {
        self.next().await.expect("the stream goes on").1
    }

    /// Waits until the stream has ended, and gives all that it said until then.
    pub(crate) async fn rest(&mut self) -> Vec<Value> {
        let mut rest = Vec::new();
        while let Some((_, frame)) = self.next().await {
            rest.push(frame);
        }
        rest
    }
}

fn read(event: &str) -> Option<Said> {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
    let id = field("id: ").map(|id| id.parse().expect("a number"));
    Some((id, serde_json::from_str(field("data: ")?).expect("JSON")))
}

/// Posts frames.
pub(crate) async fn post(gateway: &Gateway, resume_token: &str, frames: &[Value]) -> Answer {
    let body = json!({"frames": frames});
    ask(gateway, "POST", "/v1/session/frames", resume_token, "", &body).await
}

/// Posts frames that must be taken, and gives what is answered.
pub(crate) async fn say(gateway: &Gateway, resume_token: &str, frames: &[Value]) -> Vec<Value> {
    let answer = post(gateway, resume_token, frames).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
    answer["frames"].as_array().expect("a list").clone()
}
