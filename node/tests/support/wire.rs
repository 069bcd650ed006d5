//! Requests and frames by hand, with whatever is wrong with them.

use futures::StreamExt;
use rotary_client::Gateway;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::nodes::{LIMIT, Nodes};

/// An answer: status, headers and body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The problem's code, once it is sure that it is a problem in its whole shape.
    pub(crate) fn code(&self) -> String {
        let problem: Value = serde_json::from_str(&self.body).expect(&self.body);
        assert!(self.head.contains("application/problem+json"), "{}", self.head);
        assert_eq!(problem["status"], self.status, "{}", self.body);
        let code = problem["code"].as_str().expect("a code").to_owned();
        assert_eq!(problem["type"], format!("/runbook/{code}"));
        assert_eq!(problem["outcome"], "definite");
        assert!(!problem["detail"].as_str().expect("a detail").is_empty());
        code
    }
}

/// Sends a request by hand, with whatever is wrong with it.
pub(crate) async fn send(nodes: &Nodes, head: &str, body: &[u8]) -> Answer {
    send_to(&nodes.gateways[0], head, body).await
}

/// The same, to a gateway of one's choice.
pub(crate) async fn send_to(gateway: &Gateway, head: &str, body: &[u8]) -> Answer {
    let mut socket = TcpStream::connect(gateway.authority()).await.expect("it listens");
    let request = format!("{head}\r\nhost: x\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("writable");
    // A node that has heard enough may answer before it has read all.
    let _ = socket.write_all(body).await;
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

pub(crate) async fn post(
    nodes: &Nodes,
    path: &str,
    token: &str,
    more: &str,
    body: &[u8],
) -> Answer {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\
         \r\ncontent-length: {length}{more}"
    );
    send(nodes, &head, body).await
}

pub(crate) async fn get(nodes: &Nodes, path: &str, token: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nauthorization: Bearer {token}");
    send(nodes, &head, b"").await
}

/// A token with another signature.
pub(crate) fn forged(token: &str) -> String {
    let (claims, signature) = token.rsplit_once('.').expect("three parts");
    let other = if signature.starts_with('A') { "B" } else { "A" };
    format!("{claims}.{other}{}", &signature[1..])
}

pub(crate) type Socket = WebSocketStream<TcpStream>;

/// A socket to the first gateway, greeted.
pub(crate) async fn connect(nodes: &Nodes) -> Socket {
    connect_to(&nodes.gateways[0]).await
}

/// A socket to a gateway, greeted.
pub(crate) async fn connect_to(gateway: &Gateway) -> Socket {
    let authority = gateway.authority();
    let tcp = TcpStream::connect(authority).await.expect("it listens");
    let url = format!("ws://{authority}/v1/session");
    let mut request = url.into_client_request().expect("a request");
    let protocol = "rotary.v1".parse().expect("a header");
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let (mut socket, _) = tokio_tungstenite::client_async(request, tcp).await.expect("it upgrades");
    assert_eq!(frame(&mut socket).await["type"], "hello");
    socket
}

/// The next frame.
pub(crate) async fn frame(socket: &mut Socket) -> Value {
    loop {
        let message = tokio::time::timeout(LIMIT, socket.next()).await.expect("a frame");
        match message.expect("the socket is open").expect("readable") {
            Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
            Message::Close(_) => panic!("closed without a bye"),
            _ => {}
        }
    }
}

/// Asks a gateway something with a body, as the holder of a token. A GET has no body: what a node
/// leaves unread may cut its answer short.
pub(crate) async fn ask(
    gateway: &Gateway,
    method: &str,
    path: &str,
    token: &str,
    more: &str,
    body: &Value,
) -> Answer {
    let body = if method == "GET" { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nauthorization: Bearer {token}\
         \r\ncontent-type: application/json\r\ncontent-length: {}{more}",
        body.len()
    );
    send_to(gateway, &head, body.as_bytes()).await
}
