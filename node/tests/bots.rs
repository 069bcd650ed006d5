//! Bots over real sockets: a queue's bot serves chats while the nodes that ask it die, and hands
//! them over. The bot is what docs/api/bots.md shows, in Rust: it keeps books by turn.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::Method;
use nodes::{Nodes, done, eventually, tenant_and_site};
use ring::hmac;
use rotary_client::Api;
use rotary_proto::{CustomerId, ItemId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

const SECRET: [u8; 32] = [9; 32];

/// A turn as the bot got it: its id, what the customer said, and whether the signature was good.
#[derive(Debug, Clone)]
struct Got {
    id: String,
    words: String,
    signed: bool,
}

/// Lets a bot's answer go.
type Release = oneshot::Sender<()>;

#[derive(Default)]
struct Bot {
    got: Mutex<Vec<Got>>,
    /// Words whose answers are held back.
    holds: Mutex<Vec<(String, oneshot::Sender<Release>)>>,
}

impl Bot {
    async fn start() -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let bot = Arc::new(Self::default());
        let serving = bot.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let bot = serving.clone();
                tokio::spawn(async move { bot.serve(socket).await });
            }
        });
        (bot, address)
    }

    /// Holds the next turn in which a customer says that.
    fn hold(&self, words: &str) -> oneshot::Receiver<Release> {
        let (to, held) = oneshot::channel();
        self.holds.lock().expect("not poisoned").push((words.to_owned(), to));
        held
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().expect("not poisoned").clone()
    }

    /// One turn on one connection.
    async fn serve(&self, mut socket: TcpStream) -> Option<()> {
        let (headers, body) = read(&mut socket).await?;
        let turn: Value = serde_json::from_str(&body).ok()?;
        let posted = &turn["data"]["event"]["posted"];
        let words = posted["body"]["text"]["text"].as_str()?.to_owned();
        let id = headers.get("webhook-id")?.clone();
        let signed = turn["type"] == "bot.turn" && is_signed(&headers, &body);
        self.got.lock().expect("not poisoned").push(Got { id, words: words.clone(), signed });
        let hold = {
            let mut holds = self.holds.lock().expect("not poisoned");
            let place = holds.iter().position(|(held, ..)| *held == words);
            place.map(|place| holds.remove(place).1)
        };
        if let Some(hold) = hold {
            let (release, released) = oneshot::channel();
            if hold.send(release).is_ok() {
                // Dropping it is letting go as well.
                let _ = released.await;
            }
        }
        let (status, answer) = match words.as_str() {
            "agent" => ("200 OK", json!({"then": {"hand_over": {"queue": "qu_2"}}}).to_string()),
            "bye" => {
                ("200 OK", json!({"messages": [{"text": "bye"}], "then": "close"}).to_string())
            }
            "break" => ("200 OK", "<html>".to_owned()),
            "lost" => ("404 Not Found", String::new()),
            "silent" => std::future::pending().await,
            words => {
                ("200 OK", json!({"messages": [{"text": format!("you said {words}")}]}).to_string())
            }
        };
        let length = answer.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close");
        socket.write_all(format!("{head}\r\n\r\n{answer}").as_bytes()).await.ok()
    }
}

fn is_signed(headers: &BTreeMap<String, String>, body: &str) -> bool {
    let signed = format!("{}.{}.{body}", headers["webhook-id"], headers["webhook-timestamp"]);
    let signature = headers["webhook-signature"].strip_prefix("v1,").unwrap_or_default();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
    hmac::verify(&key, signed.as_bytes(), &BASE64.decode(signature).unwrap_or_default()).is_ok()
}

async fn read(socket: &mut TcpStream) -> Option<(BTreeMap<String, String>, String)> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
            let headers: BTreeMap<String, String> =
                headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
            if body.len() >= headers.get("content-length")?.parse().ok()? {
                return Some((headers, body.to_owned()));
            }
        }
        match socket.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

/// A cluster with a site, a queue with a bot, and one without.
struct Floor {
    nodes: Nodes,
    api: Api,
    site: String,
}

impl Floor {
    async fn start(url: &str, turn_ms: u64) -> Self {
        let mut nodes = Nodes::init(3, 1);
        for node in 1..=3 {
            nodes.configure(node, "[webhooks]\nallow_private = true");
        }
        nodes.start_all().await;
        let api = nodes.api(&nodes.token);
        let (_, site) = tenant_and_site(&api, "acme", json!({"name": "north"})).await;
        for queue in ["qu_1", "qu_2"] {
            let path = format!("/v1/sites/{site}/queues/{queue}");
            done(&api, Method::PUT, &path, json!({"name": queue})).await;
        }
        let secret = format!("whsec_{}", BASE64.encode(SECRET));
        let body = json!({"plan": {"url": url, "turn_ms": turn_ms}, "secret": secret});
        done(&api, Method::PUT, &format!("/v1/sites/{site}/queues/qu_1/bot"), body).await;
        Self { nodes, api, site }
    }

    /// A customer's own API.
    async fn customer(&self, number: u128) -> Api {
        let (site, customer) = (&self.site, CustomerId(number));
        let body = json!({"role": "customer", "site": site, "customer": customer, "ttl_s": 36_000});
        let token = done(&self.api, Method::POST, "/v1/tokens", body).await;
        self.nodes.api(token["token"].as_str().expect("a text"))
    }

    async fn open(&self, customer: &Api, words: &str) -> String {
        let body = json!({"queue": "qu_1", "channel": "chat", "item": item(words)});
        let path = format!("/v1/sites/{}/conversations", self.site);
        let opened = done(customer, Method::POST, &path, body).await;
        opened["conversation"].as_str().expect("a text").to_owned()
    }

    /// What the bot has said in a conversation.
    async fn said(&self, id: &str) -> Option<Vec<String>> {
        let page: Value = self.api.read(&format!("/v1/conversations/{id}/messages")).await.ok()?;
        let rows = page["data"].as_array()?.iter().filter(|row| row["author"] == "bot");
        rows.map(|row| row["body"]["text"]["text"].as_str().map(str::to_owned)).collect()
    }

    async fn stage(&self, id: &str) -> Option<(Value, Value)> {
        let view: Value = self.api.read(&format!("/v1/conversations/{id}")).await.ok()?;
        Some((view["stage"].clone(), view["queue"].clone()))
    }

    async fn reaches(&self, id: &str, stage: &str, queue: Option<&str>) {
        eventually(stage, async || {
            let (found, of) = self.stage(id).await?;
            (found == stage && queue.is_none_or(|queue| of == queue)).then_some(())
        })
        .await;
    }

    /// The outcomes of a conversation's turns, by their ids.
    async fn outcomes(&self, id: &str) -> BTreeMap<String, Vec<String>> {
        let trace: Value =
            self.api.read(&format!("/v1/conversations/{id}/trace")).await.expect("readable");
        let mut found = BTreeMap::<String, Vec<String>>::new();
        for row in trace["data"].as_array().expect("a list") {
            let ended = &row["event"]["effect_ended"];
            if let (Some(id), Some(outcome)) = (ended["effect"].as_str(), ended["outcome"].as_str())
            {
                found.entry(id.to_owned()).or_default().push(outcome.to_owned());
            }
        }
        found
    }
}

fn item(words: &str) -> Value {
    json!({"id": ItemId(rotary_client::unique()), "body": {"text": {"text": words}}})
}

async fn say(customer: &Api, id: &str, words: &str) {
    let path = format!("/v1/conversations/{id}/messages");
    done(customer, Method::POST, &path, json!({"item": item(words)})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_answers_in_order_whoever_asks_it_dies() {
    let (bot, address) = Bot::start().await;
    let mut floor = Floor::start(&format!("http://{address}/turn"), 300_000).await;
    let customer = floor.customer(1).await;
    let id = floor.open(&customer, "hello").await;
    let mut expected = vec!["you said hello".to_owned()];
    eventually("an answer", async || (floor.said(&id).await? == expected).then_some(())).await;
    // Whoever owns the turn dies while the bot thinks; one of the three is the owner.
    for round in 1..=3 {
        let (first, second) = (format!("first {round}"), format!("second {round}"));
        let held = bot.hold(&first);
        say(&customer, &id, &first).await;
        let release = held.await.expect("a turn");
        say(&customer, &id, &second).await;
        floor.nodes.kill(round);
        drop(release);
        expected.extend([format!("you said {first}"), format!("you said {second}")]);
        eventually("answers", async || (floor.said(&id).await? == expected).then_some(())).await;
        floor.nodes.start(round);
        floor.nodes.ready(&floor.nodes.gateways[round - 1].clone()).await;
    }
    let got = bot.got();
    assert!(got.iter().all(|got| got.signed), "{got:?}");
    let mut order: Vec<&str> = got.iter().map(|got| got.words.as_str()).collect();
    order.dedup();
    let said: Vec<&str> = expected.iter().filter_map(|s| s.strip_prefix("you said ")).collect();
    assert_eq!(order, said, "in their order, one at a time");
    let mut ids = BTreeMap::<&str, &str>::new();
    assert!(got.iter().all(|got| *ids.entry(&got.id).or_insert(&got.words) == got.words));
    let outcomes = floor.outcomes(&id).await;
    assert!(outcomes.values().all(|outcomes| outcomes == &["sent"]), "{outcomes:?}");
    assert_eq!(outcomes.len(), said.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_stuck_with_a_bot() {
    let (_bot, address) = Bot::start().await;
    let floor = Floor::start(&format!("http://{address}/turn"), 5_000).await;
    let mut customers = Vec::new();
    for number in 1..=6 {
        customers.push(floor.customer(number).await);
    }
    // A bot that is silent towards one answers the others.
    let silent = floor.open(&customers[0], "silent").await;
    let asks = floor.open(&customers[1], "agent").await;
    let ends = floor.open(&customers[2], "bye").await;
    let wrong = floor.open(&customers[3], "break").await;
    let lost = floor.open(&customers[4], "lost").await;
    let stays = floor.open(&customers[5], "hi").await;
    floor.reaches(&asks, "waiting", Some("qu_2")).await;
    floor.reaches(&ends, "closed", None).await;
    assert_eq!(floor.said(&ends).await, Some(vec!["bye".to_owned()]));
    floor.reaches(&wrong, "waiting", Some("qu_1")).await;
    floor.reaches(&lost, "waiting", Some("qu_1")).await;
    eventually("an answer", async || (floor.said(&stays).await? == ["you said hi"]).then_some(()))
        .await;
    assert_eq!(floor.stage(&stays).await.map(|(stage, _)| stage), Some(json!("self_service")));
    done(&customers[5], Method::POST, &format!("/v1/conversations/{stays}/hand-over"), json!({}))
        .await;
    floor.reaches(&stays, "waiting", Some("qu_1")).await;
    floor.reaches(&silent, "waiting", Some("qu_1")).await;
    let ended: Vec<Vec<String>> = floor.outcomes(&silent).await.into_values().collect();
    assert!(ended == [["unknown"]] || ended == [["not_sent"]], "{ended:?}");
}
