//! One conversation is one trace, over every node that had a part in it.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::SinkExt;
use hyper::Method;
use nodes::{Nodes, done, eventually, tenant_and_site};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use wire::{ask, connect_to, frame};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const CALLERS_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A span with the node that told it.
#[derive(Debug, Clone)]
struct Span {
    node: String,
    span: Value,
}

impl Span {
    fn text(&self, field: &str) -> &str {
        self.span[field].as_str().expect(field)
    }

    fn number(&self, field: &str) -> u64 {
        self.text(field).parse().expect("a number as a text")
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        let all = self.span["attributes"].as_array().expect("attributes");
        all.iter().find(|one| one["key"] == name)?["value"]["stringValue"].as_str()
    }
}

/// A collector of traces: takes whatever comes as OTLP over HTTP.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

impl Collector {
    async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let collector = self.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let collector = collector.clone();
                tokio::spawn(async move { collector.serve(socket).await });
            }
        });
        base
    }

    /// Answers what comes on one connection, until it ends.
    async fn serve(&self, mut socket: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(head) = head {
                let text = String::from_utf8(bytes[..head].to_vec()).expect("a head");
                assert!(text.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{text}");
                assert!(text.contains("content-type: application/json"), "{text}");
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                let end = head + 4 + length.expect("a length").parse::<usize>().expect("a number");
                if bytes.len() >= end {
                    self.take(&bytes[head + 4..end]);
                    bytes.drain(..end);
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                    socket.write_all(answer).await.expect("writable");
                    continue;
                }
            }
            match socket.read_buf(&mut bytes).await {
                Ok(read) if read > 0 => {}
                _ => return,
            }
        }
    }

    fn take(&self, body: &[u8]) {
        let message: Value = serde_json::from_slice(body).expect("JSON");
        let resource = &message["resourceSpans"][0];
        let attributes = resource["resource"]["attributes"].as_array().expect("attributes");
        let node = attributes.iter().find(|one| one["key"] == "service.instance.id");
        let node = node.expect("a node")["value"]["stringValue"].as_str().expect("a text");
        let spans = resource["scopeSpans"][0]["spans"].as_array().expect("spans");
        let with = |span: &Value| Span { node: node.to_owned(), span: span.clone() };
        self.0.lock().expect("whole").extend(spans.iter().map(with));
    }

    /// The spans of a trace so far.
    fn of(&self, trace: &str) -> Vec<Span> {
        let all = self.0.lock().expect("whole");
        all.iter().filter(|span| span.text("traceId") == trace).cloned().collect()
    }
}

/// A site with a queue and an agent; the agent's token.
async fn furnish(nodes: &Nodes) -> (String, String) {
    let admin = nodes.admin(1);
    let (_, site) = tenant_and_site(&admin, "Blue", json!({"name": "Lobby"})).await;
    let plan = json!({"name": "Sales", "offer_ms": 600_000});
    done(&admin, Method::PUT, &format!("/v1/sites/{site}/queues/qu_1"), plan).await;
    let profile = json!({"name": {"text": "Ana"}});
    done(&admin, Method::PUT, &format!("/v1/sites/{site}/agents/ag_1"), profile).await;
    let wanted = json!({"role": "agent", "site": site, "agent": "ag_1", "ttl_s": 3_600});
    let token = done(&admin, Method::POST, "/v1/tokens", wanted).await;
    (site, token["token"].as_str().expect("a text").to_owned())
}

/// A customer arrives at the first node, an agent at the second one accepts.
async fn serve(nodes: &Nodes, site: &str, agent: &str, conversation: &str) {
    let mut socket = connect_to(&nodes.gateways[1]).await;
    let start = json!({"type": "start", "token": agent});
    socket.send(Message::text(start.to_string())).await.expect("it takes frames");
    let ready = json!({"declare": {"agent": "ag_1", "declared": "ready"}});
    let ready = json!({"type": "cmd", "site": site, "number": 1, "command": ready});
    socket.send(Message::text(ready.to_string())).await.expect("it takes frames");
    while frame(&mut socket).await["number"] != 1 {}
    let open = json!({"conversation": conversation, "queue": "qu_1", "channel": "chat"});
    let path = format!("/v1/sites/{site}/conversations");
    let more = format!("\r\ntraceparent: {CALLER}");
    let opened = ask(&nodes.gateways[0], "POST", &path, &nodes.token, &more, &open).await;
    assert_eq!(opened.status, 201, "{}", opened.body);
    let offer = loop {
        let came = frame(&mut socket).await;
        if let Some(offer) = came["event"]["offered"]["offer"].as_str() {
            break offer.to_owned();
        }
    };
    let accept = json!({"accept": {"conversation": conversation, "offer": offer}});
    let accept = json!({"type": "cmd", "site": site, "number": 2, "acknowledged": 1,
        "command": accept, "traceparent": CALLER});
    socket.send(Message::text(accept.to_string())).await.expect("it takes frames");
    while frame(&mut socket).await["number"] != 2 {}
}

/// What a trace has once it is whole: each part, and on which nodes.
fn parts(spans: &[Span]) -> BTreeMap<String, BTreeSet<String>> {
    let mut parts = BTreeMap::<String, BTreeSet<String>>::new();
    for span in spans {
        let of = span.attribute("rotary.events").unwrap_or_default();
        let name = format!("{} {of}", span.text("name"));
        parts.entry(name.trim().to_owned()).or_default().insert(span.node.clone());
    }
    parts
}

fn on(nodes: &[&str]) -> BTreeSet<String> {
    nodes.iter().map(|node| (*node).to_owned()).collect()
}

#[tokio::test]
async fn one_trace_covers_every_node() {
    let collector = Collector::default();
    let base = collector.listen().await;
    let mut nodes = Nodes::init(3, 1);
    for node in 1..=3 {
        nodes.configure(node, &format!("[telemetry]\notlp = \"{base}\""));
    }
    nodes.start_all().await;
    let (site, agent) = furnish(&nodes).await;
    let unique = "0190163d8694739baf5a1e1b57f02a01";
    let conversation = format!("cv_{}.{unique}", &site["st_".len()..]);
    serve(&nodes, &site, &agent, &conversation).await;
    let all = on(&["nd_1", "nd_2", "nd_3"]);
    let spans = eventually("the trace is whole", async || {
        let spans = collector.of(unique);
        let parts = parts(&spans);
        let has = |name: &str, nodes: &BTreeSet<String>| parts.get(name) == Some(nodes);
        let applied = ["apply opened queued offered", "commit assigned", "apply assigned"];
        let whole = applied.iter().all(|name| has(name, &all))
            && has("open", &on(&["nd_1"]))
            && has("accept", &on(&["nd_2"]))
            && has("deliver offered", &on(&["nd_2"]));
        whole.then_some(spans)
    })
    .await;
    check(&spans, &conversation);
    // What has no trace of its own is in none, and the caller's own trace is the caller's.
    assert!(collector.of(CALLERS_TRACE).is_empty());
}

/// Everything hangs together, and what was asked for by somebody else says so.
fn check(spans: &[Span], conversation: &str) {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.text("spanId")).collect();
    assert_eq!(ids.len(), spans.len(), "every span has an id of its own");
    for span in spans {
        assert!(span.number("startTimeUnixNano") <= span.number("endTimeUnixNano"), "{span:?}");
        let parent = span.text("parentSpanId");
        let is_first = span.text("name") == "open";
        assert_eq!(parent.is_empty(), is_first, "{span:?}");
        assert!(is_first || ids.contains(parent), "{span:?}");
        let asked = ["open", "accept"].contains(&span.text("name"));
        let links = span.span["links"].as_array().expect("links");
        assert_eq!(links.len(), usize::from(asked), "{span:?}");
        if asked {
            assert_eq!(links[0]["traceId"], CALLERS_TRACE);
            assert_eq!(span.attribute("rotary.conversation"), Some(conversation));
            assert_eq!(span.attribute("rotary.result"), Some("done"));
        }
    }
    // Two nodes asked, and at most one of them leads: somebody forwarded to the leader.
    let forwarded = spans.iter().filter(|span| span.text("name") == "forward");
    let leaders: BTreeSet<_> = forwarded.map(|span| span.attribute("rotary.leader")).collect();
    assert!(!leaders.is_empty() && !leaders.contains(&None), "{leaders:?}");
}
