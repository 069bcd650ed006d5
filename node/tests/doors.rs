//! Bad input at the doors of a real node: each has its name, and none does harm.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod wire;

use futures::SinkExt;
use hyper::Method;
use nodes::{Nodes, done, tenant_and_site};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use wire::{connect, forged, frame, get, post, send};

#[tokio::test]
async fn bad_http_is_refused_by_name() {
    let mut nodes = Nodes::init(1, 1);
    nodes.start_all().await;
    bodies(&nodes).await;
    tokens(&nodes).await;
    routes(&nodes).await;
    keys(&nodes).await;
    tenants(&nodes).await;
    duplicates(&nodes).await;
    assert!(nodes.stop(1).success());
}

async fn bodies(nodes: &Nodes) {
    let token = nodes.token.clone();
    let code = async |body: &[u8]| {
        let answer = post(nodes, "/v1/tenants", &token, "", body).await;
        (answer.status, answer.code())
    };
    for body in ["{", "[]", "{\"name\":", "{\"name\":\"a\"} x", "\u{0}", "{\"name\":1}"] {
        assert_eq!(code(body.as_bytes()).await, (400, "malformed".to_owned()), "{body}");
    }
    assert_eq!(code(b"{\"name\":\"a\",\"color\":1}").await.0, 400);
    assert_eq!(code(b"\xff\xfe").await, (400, "malformed".to_owned()));
    assert_eq!(code("[".repeat(100_000).as_bytes()).await.0, 400);
    let large = vec![b' '; rotary_proto::limits::HTTP_BODY_BYTES_MAX + 1];
    assert_eq!(code(&large).await, (413, "too-large".to_owned()));
    let chunked = format!(
        "POST /v1/tenants HTTP/1.1\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked"
    );
    let chunk = [b"ffffff\r\n".as_slice(), &vec![b' '; 0xff_ffff]].concat();
    assert_eq!(send(nodes, &chunked, &chunk).await.code(), "too-large");
    let plain = format!(
        "POST /v1/tenants HTTP/1.1\r\nauthorization: Bearer {token}\r\ncontent-type: text/plain\
         \r\ncontent-length: 2"
    );
    assert_eq!(send(nodes, &plain, b"{}").await.code(), "unsupported-media-type");
    let broken = post(nodes, "/v1/tenants", &token, "", b"{\"name").await;
    assert!(broken.body.contains("the body is not the JSON that belongs here"), "{}", broken.body);
    let long = "x".repeat(rotary_proto::limits::HTTP_HEADER_BYTES_MAX);
    let headers = send(nodes, &format!("GET /livez HTTP/1.1\r\nmore: {long}"), b"").await;
    assert_eq!((headers.status, headers.code().as_str()), (431, "too-large"));
    truncated(nodes).await;
    let named = post(nodes, "/v1/tenants", &token, "", b"{\"name\":7}").await;
    assert!(named.body.contains("name: invalid type"), "{}", named.body);
}

/// A body that ends before its announced length.
async fn truncated(nodes: &Nodes) {
    let mut socket = TcpStream::connect(nodes.gateways[0].authority()).await.expect("it listens");
    let request = format!(
        "POST /v1/tenants HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 50\r\n\r\n{{\"name\":",
        nodes.token
    );
    socket.write_all(request.as_bytes()).await.expect("writable");
    socket.shutdown().await.expect("open");
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("the body broke off"), "{text}");
}

async fn tokens(nodes: &Nodes) {
    let none = send(nodes, "GET /v1/tenants HTTP/1.1", b"").await;
    assert_eq!((none.status, none.code().as_str()), (401, "token-missing"));
    assert_eq!(get(nodes, "/v1/tenants", "abc").await.code(), "token-malformed");
    assert_eq!(get(nodes, "/v1/tenants", &forged(&nodes.token)).await.code(), "token-forged");
    let basic = send(nodes, "GET /v1/tenants HTTP/1.1\r\nauthorization: Basic eDp5", b"").await;
    assert_eq!(basic.code(), "token-malformed");
    let body = json!({"role": "administrator", "ttl_s": 1});
    let short = done(&nodes.admin(1), Method::POST, "/v1/tokens", body).await;
    let short = short["token"].as_str().expect("a text").to_owned();
    nodes::eventually("it expires", async || {
        let answer = get(nodes, "/v1/tenants", &short).await;
        (answer.status != 200).then(|| assert_eq!(answer.code(), "token-expired"))
    })
    .await;
}

async fn routes(nodes: &Nodes) {
    let token = nodes.token.clone();
    assert_eq!(get(nodes, "/v1/nothing", &token).await.code(), "not-found");
    assert_eq!(get(nodes, "/v1/sites/qu_1", &token).await.code(), "bad-value");
    assert_eq!(get(nodes, "/v1/sites/st_9.9", &token).await.code(), "site-unknown");
    assert_eq!(get(nodes, "/v1/session", &token).await.code(), "malformed");
    let wrong = send(nodes, "DELETE /v1/tenants HTTP/1.1", b"").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (405, "method-not-allowed"));
    assert_eq!(get(nodes, "/livez", "").await.status, 200);
    let metrics = get(nodes, "/metrics", "").await.body;
    for name in ["rotary_build_info", "rotary_raft_leader", "rotary_journal_durable_index"] {
        assert!(metrics.contains(name), "{name}");
    }
    assert!(get(nodes, "/", "").await.body.contains("<main"), "the status page");
}

async fn keys(nodes: &Nodes) {
    let token = nodes.token.clone();
    let with = async |key: &str, body: &[u8]| {
        let more = format!("\r\nidempotency-key: {key}");
        post(nodes, "/v1/tenants", &token, &more, body).await
    };
    let body = b"{\"name\":\"once\"}";
    for key in ["1", "00000000-0000-4000-8000-000000000000"] {
        assert_eq!(with(key, body).await.code(), "bad-value", "{key}");
    }
    // It may be this node's clock that is wrong: another one may take the key.
    let ahead = with("ffffffff-ffff-7fff-bfff-ffffffffffff", body).await;
    assert_eq!((ahead.status, ahead.code().as_str()), (503, "unavailable"));
    let key = uuid::Uuid::now_v7().to_string();
    let (first, again) = (with(&key, body).await, with(&key, body).await);
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    assert!(!first.head.contains("rotary-repeated"), "{}", first.head);
    assert!(again.head.contains("rotary-repeated: true"), "{}", again.head);
    assert!(again.head.contains("rotary-index: sh_0:"), "{}", again.head);
}

/// An id that somebody chose is taken once, and a second time under another key refused by name.
async fn duplicates(nodes: &Nodes) {
    let api = nodes.admin(1);
    let (_, site) = tenant_and_site(&api, "green", json!({"name": "green"})).await;
    let plan = json!({"name": "sales"});
    done(&api, Method::PUT, &format!("/v1/sites/{site}/queues/qu_1"), plan).await;
    let conversation = format!("cv_{}.{:032x}", &site["st_".len()..], 1);
    let body = json!({"conversation": conversation, "queue": "qu_1", "channel": "chat"});
    let path = format!("/v1/sites/{site}/conversations");
    let opened = done(&api, Method::POST, &path, body.clone()).await;
    assert_eq!(opened["conversation"], json!(conversation));
    let again = post(nodes, &path, &nodes.token, "", body.to_string().as_bytes()).await;
    assert_eq!((again.status, again.code().as_str()), (409, "conversation-exists"));
}

async fn tenants(nodes: &Nodes) {
    let api = nodes.admin(1);
    let mut sites = Vec::new();
    for name in ["red", "blue"] {
        sites.push(tenant_and_site(&api, name, json!({"name": name})).await);
    }
    let body = json!({"role": "administrator", "tenant": sites[0].0, "ttl_s": 600});
    let red = done(&api, Method::POST, "/v1/tokens", body).await;
    let red = red["token"].as_str().expect("a text");
    assert_eq!(get(nodes, &format!("/v1/sites/{}", sites[0].1), red).await.status, 200);
    for path in ["", "/queues", "/agents", "/skills", "/conversations", "/events"] {
        let answer = get(nodes, &format!("/v1/sites/{}{path}", sites[1].1), red).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "other-tenant"), "{path}");
    }
    let listed = get(nodes, "/v1/sites", red).await.body;
    assert!(listed.contains(&sites[0].1) && !listed.contains(&sites[1].1), "{listed}");
    let wider = json!({"role": "administrator", "ttl_s": 60}).to_string();
    let wider = post(nodes, "/v1/tokens", red, "", wider.as_bytes()).await;
    assert_eq!((wider.status, wider.code().as_str()), (403, "not-allowed"));
}

/// Sends a message, and gives code and retry of the `bye` that comes.
async fn bye(nodes: &Nodes, messages: Vec<Message>) -> (String, String) {
    let mut socket = connect(nodes).await;
    for message in messages {
        socket.send(message).await.expect("writable");
    }
    loop {
        let frame = frame(&mut socket).await;
        if frame["type"] == "bye" {
            let text = |key: &str| frame[key].as_str().expect("a text").to_owned();
            return (text("code"), text("retry"));
        }
    }
}

#[tokio::test]
async fn bad_frames_end_with_a_bye_by_name() {
    let mut nodes = Nodes::init(3, 1);
    nodes.start_all().await;
    let api = nodes.admin(1);
    let tenant = done(&api, Method::POST, "/v1/tenants", json!({"name": "acme"})).await;
    let body = json!({"tenant": tenant["tenant"], "settings": {"name": "north"}});
    let site = done(&api, Method::POST, "/v1/sites", body).await;
    let (site, token) = (site["site"].clone(), nodes.token.clone());

    let never = |code: &str| (code.to_owned(), "never".to_owned());
    let text = |value: Value| Message::text(value.to_string());
    let start = || text(json!({"type": "start", "token": token}));
    let cmd = |command: Value| {
        text(json!({"type": "cmd", "site": site, "number": 1, "command": command}))
    };
    let away = json!({"site": "st_99.1", "sequence": 1});
    let ours = json!({"role": "administrator", "tenant": tenant["tenant"], "ttl_s": 600});
    let ours = done(&api, Method::POST, "/v1/tokens", ours).await["token"].clone();
    let large = " ".repeat(rotary_proto::limits::SESSION_FRAME_BYTES_MAX + 1);
    let attach = json!({"detach": {"session": format!("se_{:032x}", 1), "gateway": "gw_1.1",
        "ended": true}});
    let table = [
        (vec![Message::text("{")], never("malformed")),
        (vec![Message::text("{\"type\":\"login\"}")], never("malformed")),
        (vec![Message::binary(vec![1, 2])], never("malformed")),
        (vec![Message::text(large)], never("too-large")),
        (vec![text(json!({"type": "ping", "t": 1}))], never("protocol")),
        (vec![Message::text("{\"type\":\"sta")], never("malformed")),
        (vec![text(json!({"type": "start", "token": token, "more": 1}))], never("malformed")),
        (vec![text(json!({"type": "start", "token": "x"}))], never("token-malformed")),
        (vec![text(json!({"type": "start", "token": forged(&token)}))], never("token-forged")),
        (
            vec![text(json!({"type": "start", "token": token, "cursors": [away]}))],
            never("site-unknown"),
        ),
        (
            vec![text(json!({"type": "start", "token": ours, "cursors": [away]}))],
            never("other-tenant"),
        ),
        (vec![start(), start()], never("protocol")),
        (vec![start(), text(json!({"type": "ack", "seq": 1, "more": 1}))], never("malformed")),
        (vec![start(), cmd(attach)], never("protocol")),
        (
            vec![text(json!({"type": "resume", "resume_token": token, "cursors": [], "seq": 0}))],
            never("token-malformed"),
        ),
    ];
    for (messages, expected) in table {
        let shown = format!("{messages:?}").chars().take(120).collect::<String>();
        assert_eq!(bye(&nodes, messages).await, expected, "{shown}");
    }
    let short = json!({"role": "administrator", "tenant": tenant["tenant"], "ttl_s": 2});
    let short = done(&api, Method::POST, "/v1/tokens", short).await;
    let brief = text(json!({"type": "start", "token": short["token"]}));
    let expired = bye(&nodes, vec![brief]).await;
    assert_eq!(expired.0, "token-expired");
    taken_over(&nodes, start()).await;
    results_at_resume(&nodes, start(), &site).await;
    assert!(nodes.stop(1).success());
}

/// A resume brings the first results of the commands that it names, and of no others.
async fn results_at_resume(nodes: &Nodes, start: Message, site: &Value) {
    let mut first = connect(nodes).await;
    first.send(start).await.expect("writable");
    let welcome = frame(&mut first).await;
    assert_eq!(welcome["results"], json!([]));
    let snapshot = frame(&mut first).await;
    let mut results = Vec::new();
    for number in 1..=3 {
        let unknown =
            format!("cv_{}.{number:032x}", site.as_str().expect("a text")[3..].to_owned());
        let command = json!({"close": {"conversation": unknown}});
        let command = json!({"type": "cmd", "site": site, "number": number, "command": command});
        first.send(Message::text(command.to_string())).await.expect("writable");
        let result = loop {
            let frame = frame(&mut first).await;
            if frame["type"] == "result" {
                break frame;
            }
        };
        assert_eq!(result["repeated"], false, "{result}");
        results.push(result);
    }
    let named: Vec<Value> =
        [2, 3, 4].map(|number| json!({"site": site, "number": number})).to_vec();
    let resume = json!({"type": "resume", "resume_token": welcome["resume_token"], "seq": 0,
        "cursors": [snapshot["cursor"]], "unacknowledged": named});
    let mut second = connect(nodes).await;
    second.send(Message::text(resume.to_string())).await.expect("writable");
    let again = frame(&mut second).await;
    for result in &mut results {
        result.as_object_mut().expect("an object").remove("type");
        result["repeated"] = json!(true);
    }
    assert_eq!(again["results"], json!(results[1..]), "{again}");
}

/// A session that is resumed on another socket leaves the first; one that said good-bye is over.
async fn taken_over(nodes: &Nodes, start: Message) {
    let mut first = connect(nodes).await;
    first.send(start).await.expect("writable");
    let welcome = frame(&mut first).await;
    assert_eq!((&welcome["type"], &welcome["mode"]), (&json!("welcome"), &json!("new")));
    let snapshot = frame(&mut first).await;
    let resume = json!({"type": "resume", "resume_token": welcome["resume_token"], "seq": 0,
        "cursors": [snapshot["cursor"]]});
    let mut second = connect(nodes).await;
    second.send(Message::text(resume.to_string())).await.expect("writable");
    let again = frame(&mut second).await;
    assert_eq!((&again["mode"], &again["session"]), (&json!("replayed"), &welcome["session"]));
    loop {
        let frame = frame(&mut first).await;
        if frame["type"] == "bye" {
            assert_eq!(frame["code"], "taken-over");
            break;
        }
    }
    let pinged = json!({"type": "ping", "t": 5}).to_string();
    second.send(Message::text(pinged)).await.expect("writable");
    while frame(&mut second).await["type"] != "pong" {}
    second.send(Message::text("{\"type\":\"bye\"}")).await.expect("writable");
    while frame(&mut second).await["type"] != "bye" {}
    let mut third = connect(nodes).await;
    third.send(Message::text(resume.to_string())).await.expect("writable");
    // It may be welcomed before this node knows.
    let over = loop {
        let frame = frame(&mut third).await;
        if frame["type"] == "bye" {
            break frame;
        }
    };
    assert_eq!((&over["code"], &over["retry"]), (&json!("session-ended"), &json!("restart")));
}

#[tokio::test]
async fn a_disk_without_room_takes_no_new_work_and_says_so() {
    let mut nodes = Nodes::init(1, 1);
    // More than any disk has: the node believes that its own is nearly full.
    nodes.configure(1, &format!("[log]\nfree_bytes_min = {}", i64::MAX));
    nodes.start(1);
    let token = nodes.token.clone();
    let said = nodes::eventually("it serves", async || {
        TcpStream::connect(nodes.gateways[0].authority()).await.ok()?;
        let answer = get(&nodes, "/readyz", "").await;
        // The shards find their leaders first.
        (answer.body.lines().count() == 1).then_some(answer)
    })
    .await;
    assert_eq!(said.status, 503);
    assert!(said.body.contains("takes no new work"), "{}", said.body);
    let api = nodes.admin(1);
    let metrics = get(&nodes, "/metrics", "").await.body;
    assert!(metrics.lines().any(|line| line == "rotary_disk_full 1"), "{metrics}");
    let tenant = done(&api, Method::POST, "/v1/tenants", json!({"name": "acme"})).await;
    let body = json!({"tenant": tenant["tenant"], "settings": {"name": "main"}});
    let site = done(&api, Method::POST, "/v1/sites", body).await;
    let path = format!("/v1/sites/{}/queues/qu_1", site["site"].as_str().expect("an id"));
    let body = json!({"name": "sales"}).to_string();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\
         \r\ncontent-length: {}",
        body.len()
    );
    let refused = send(&nodes, &head, body.as_bytes()).await;
    assert_eq!((refused.status, refused.code().as_str()), (507, "storage-full"));
}
