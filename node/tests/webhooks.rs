//! Webhooks of real nodes, told over real sockets while nodes die.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::Method;
use nodes::{Nodes, done, eventually, tenant_and_site};
use ring::hmac;
use rotary_client::Api;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SECRET: [u8; 32] = [7; 32];

/// A message as an endpoint got it.
#[derive(Debug, Clone)]
struct Got {
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Got {
    fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Checks the signature as a receiver would.
    fn is_signed(&self) -> bool {
        let signed = format!("{}.{}.{}", self.id(), self.headers["webhook-timestamp"], self.body);
        let signature = self.headers["webhook-signature"].strip_prefix("v1,").unwrap_or_default();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
        let given = BASE64.decode(signature).unwrap_or_default();
        hmac::verify(&key, signed.as_bytes(), &given).is_ok()
    }
}

/// Endpoints outside: `/good` takes everything after a moment, `/dead` never answers, `/flaky`
/// refuses each message the first time.
struct Outside {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Outside {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let into = got.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, into.clone()));
            }
        });
        Self { address, got }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn got(&self, path: &str) -> Vec<Got> {
        let got = self.got.lock().expect("not poisoned");
        got.iter().filter(|got| got.path == path).cloned().collect()
    }
}

async fn serve(mut socket: TcpStream, into: Arc<Mutex<Vec<Got>>>) {
    let Some(got) = read(&mut socket).await else { return };
    let again = {
        let mut all = into.lock().expect("not poisoned");
        let again = all.iter().any(|other| other.id() == got.id());
        all.push(got.clone());
        again
    };
    let status = match got.path.as_str() {
        "/good" => {
            tokio::time::sleep(Duration::from_millis(100)).await;
            "204 No Content"
        }
        "/flaky" if again => "200 OK",
        "/flaky" => "503 Service Unavailable",
        _ => std::future::pending().await,
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    // Whoever asked may be dead.
    let _ = socket.write_all(answer.as_bytes()).await;
}

async fn read(socket: &mut TcpStream) -> Option<Got> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let path = head.split(' ').nth(1)?.to_owned();
            let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
            let headers: BTreeMap<String, String> =
                headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
            let length: usize = headers.get("content-length")?.parse().ok()?;
            if body.len() >= length {
                return Some(Got { path, headers, body: body.to_owned() });
            }
        }
        match socket.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

/// A cluster with a site and its queue.
async fn start() -> (Nodes, Api, String) {
    let mut nodes = Nodes::init(3, 1);
    for node in 1..=3 {
        nodes.configure(node, "[webhooks]\nallow_private = true");
    }
    nodes.start_all().await;
    let api = nodes.api(&nodes.token);
    let (_, site) = tenant_and_site(&api, "acme", json!({"name": "north"})).await;
    done(&api, Method::PUT, &format!("/v1/sites/{site}/queues/qu_1"), json!({"name": "q"})).await;
    (nodes, api, site)
}

async fn webhook(api: &Api, site: &str, id: &str, url: &str, topics: &[&str], enabled: bool) {
    let plan = json!({"name": id, "url": url, "topics": topics, "enabled": enabled});
    let secret = format!("whsec_{}", BASE64.encode(SECRET));
    let body = json!({"plan": plan, "secret": secret});
    done(api, Method::PUT, &format!("/v1/sites/{site}/webhooks/{id}"), body).await;
}

async fn open(api: &Api, site: &str) -> String {
    let path = format!("/v1/sites/{site}/conversations");
    let opened = done(api, Method::POST, &path, json!({"queue": "qu_1", "channel": "chat"})).await;
    opened["conversation"].as_str().expect("a text").to_owned()
}

/// Messages that wait for a webhook, as some node sees it.
async fn pending(api: &Api, site: &str, id: &str) -> Option<u64> {
    let views: Value = api.read(&format!("/v1/sites/{site}/webhooks")).await.ok()?;
    let views = views["data"].as_array()?.clone();
    views.iter().find(|view| view["webhook"] == id)?["pending"].as_u64()
}

/// The outcomes of a webhook's effects, by the effects' ids.
async fn outcomes(api: &Api, site: &str, id: &str) -> BTreeMap<String, Vec<String>> {
    let (mut after, mut found) = (0, BTreeMap::<String, Vec<String>>::new());
    loop {
        let path = format!("/v1/sites/{site}/events?after={after}&limit=200");
        let page: Value = api.read(&path).await.expect("readable");
        for row in page["data"].as_array().expect("a list") {
            let ended = &row["event"]["effect_ended"];
            if ended["target"]["webhook"] == id {
                let text = |key: &str| ended[key].as_str().unwrap_or_default().to_owned();
                found.entry(text("effect")).or_default().push(text("outcome"));
            }
        }
        let through = page["through"].as_u64().expect("a number");
        if through == after {
            return found;
        }
        after = through;
    }
}

fn told_of(got: &[Got], topic: &str) -> BTreeSet<String> {
    let messages = got.iter().map(Got::json).filter(|message| message["type"] == topic);
    let event = topic.rsplit('.').next().expect("a word").to_owned();
    let id = |message: Value| {
        message["data"]["event"][&event]["conversation"].as_str().map(str::to_owned)
    };
    messages.filter_map(id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_told_under_one_id_each_whoever_dies() {
    let outside = Outside::start().await;
    let (mut nodes, api, site) = start().await;
    let topics = ["conversation.opened", "conversation.ended"];
    webhook(&api, &site, "wh_1", &outside.url("/good"), &topics, true).await;
    webhook(&api, &site, "wh_2", &outside.url("/dead"), &topics[..1], true).await;
    let mut opened = BTreeSet::new();
    for round in 0..6 {
        for _ in 0..8 {
            opened.insert(open(&api, &site).await);
        }
        // Some messages are on their way, some wait, of some the outcome is not logged.
        let victim = round % 3 + 1;
        nodes.kill(victim);
        let id = opened.last().expect("some are open").clone();
        done(&api, Method::POST, &format!("/v1/conversations/{id}/close"), json!({})).await;
        opened.insert(open(&api, &site).await);
        nodes.start(victim);
        nodes.ready(&nodes.gateways[victim - 1].clone()).await;
    }
    eventually("everything is told", async || {
        (pending(&api, &site, "wh_1").await? == 0).then_some(())
    })
    .await;
    let got = outside.got("/good");
    assert!(got.iter().all(Got::is_signed));
    assert_eq!(told_of(&got, "conversation.opened"), opened);
    assert!(!told_of(&got, "conversation.ended").is_empty());
    let mut bodies = BTreeMap::<&str, BTreeSet<&str>>::new();
    for got in &got {
        bodies.entry(got.id()).or_default().insert(&got.body);
    }
    assert!(bodies.values().all(|bodies| bodies.len() == 1), "one id is one message");
    let ended = outcomes(&api, &site, "wh_1").await;
    assert!(ended.values().all(|outcomes| outcomes == &["sent"]), "{ended:?}");
    assert_eq!(
        ended.keys().map(String::as_str).collect::<Vec<_>>(),
        bodies.into_keys().collect::<Vec<_>>()
    );
    // The dead one has delayed nobody, and keeps everything.
    assert_eq!(pending(&api, &site, "wh_2").await, Some(opened.len() as u64));
    assert!(outcomes(&api, &site, "wh_2").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_tried_again_and_what_is_switched_off_is_given_up() {
    let outside = Outside::start().await;
    let (_nodes, api, site) = start().await;
    let topics = ["conversation.opened"];
    webhook(&api, &site, "wh_1", &outside.url("/flaky"), &topics, true).await;
    webhook(&api, &site, "wh_2", &outside.url("/dead"), &topics, true).await;
    open(&api, &site).await;
    eventually("the second attempt", async || {
        (pending(&api, &site, "wh_1").await? == 0).then_some(())
    })
    .await;
    let got = outside.got("/flaky");
    assert_eq!(got.len(), 2);
    assert_eq!((got[0].id(), &got[0].body), (got[1].id(), &got[1].body));
    assert_eq!(outcomes(&api, &site, "wh_1").await.into_values().collect::<Vec<_>>(), [["sent"]]);
    webhook(&api, &site, "wh_2", &outside.url("/dead"), &topics, false).await;
    eventually("it is given up", async || (pending(&api, &site, "wh_2").await? == 0).then_some(()))
        .await;
    let ended = outcomes(&api, &site, "wh_2").await;
    assert_eq!(ended.into_values().collect::<Vec<_>>(), [["not_sent"]]);
}
