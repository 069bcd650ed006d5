//! Mails of real nodes, handed to a relay over real sockets while the node that sends dies at every
//! stage. The relay keeps a ledger of what it took, by `Message-ID`: nothing is in it twice, and
//! what the cluster says of each mail agrees with it.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper::Method;
use nodes::{Nodes, done, eventually, tenant_and_site};
use rotary_client::{Api, Notice, Session, SessionConfig};
use rotary_proto::frame::CommandReply;
use rotary_proto::{AgentId, Command, Declared, Event, ItemId, Outcome, SiteId};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Where the relay can hold a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before the answer to EHLO: nothing is logged.
    Hello,
    /// Before the answer to MAIL: it has begun.
    Mail,
    /// Before the answer to DATA.
    Data,
    /// When some of the mail has come, and the dot has not.
    Words,
    /// When it is taken, before the answer.
    Taken,
}

/// A client that is held: the node, counted from 1, and what lets it go on.
type Held = (usize, oneshot::Sender<()>);

/// The world outside: a relay.
#[derive(Default)]
struct Relay {
    /// Mails that were taken: `Message-ID` and all of it.
    ledger: Mutex<Vec<(String, String)>>,
    holds: Mutex<Vec<(Stage, oneshot::Sender<Held>)>>,
    /// What recipients are answered; yes when there is nothing left.
    answers: Mutex<VecDeque<&'static str>>,
    /// Clients that hung up in the middle of a mail.
    cut: AtomicUsize,
}

/// A client that comes as far as it is held at.
async fn came(held: oneshot::Receiver<Held>) -> Held {
    let held = tokio::time::timeout(nodes::LIMIT, held).await;
    held.expect("a client in time").expect("the relay lives")
}

impl Relay {
    async fn start() -> (Arc<Self>, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let relay = Arc::new(Self::default());
        let serving = relay.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let relay = serving.clone();
                tokio::spawn(async move { relay.serve(socket).await });
            }
        });
        (relay, port)
    }

    /// Holds the next client that comes that far.
    fn hold(&self, stage: Stage) -> oneshot::Receiver<Held> {
        let (to, held) = oneshot::channel();
        self.holds.lock().expect("not poisoned").push((stage, to));
        held
    }

    async fn at(&self, stage: Stage, node: usize) {
        let hold = {
            let mut holds = self.holds.lock().expect("not poisoned");
            let place = holds.iter().position(|(at, _)| *at == stage);
            place.map(|place| holds.remove(place).1)
        };
        if let Some(hold) = hold {
            let (release, released) = oneshot::channel();
            if hold.send((node, release)).is_ok() {
                // Dropping it is letting go as well.
                let _ = released.await;
            }
        }
    }

    /// Speaks SMTP with one client until it is gone.
    async fn serve(&self, socket: TcpStream) -> Option<()> {
        let mut socket = BufReader::new(socket);
        let (mut node, mut mail, mut in_mail) = (0, String::new(), false);
        socket.write_all(b"220 relay\r\n").await.ok()?;
        loop {
            let mut line = String::new();
            if socket.read_line(&mut line).await.unwrap_or(0) == 0 {
                self.cut.fetch_add(usize::from(in_mail), Ordering::Relaxed);
                return None;
            }
            if in_mail && line != ".\r\n" {
                let first = mail.is_empty();
                mail.push_str(&line);
                if first {
                    self.at(Stage::Words, node).await;
                }
                continue;
            }
            let answer = match line.trim_end().split([' ', ':']).next()? {
                "EHLO" => {
                    node = line.trim_end().rsplit('-').next()?.parse().ok()?;
                    self.at(Stage::Hello, node).await;
                    "250 relay"
                }
                "MAIL" => {
                    self.at(Stage::Mail, node).await;
                    "250 ok"
                }
                "RCPT" => self.answers.lock().expect("mine").pop_front().unwrap_or("250 ok"),
                "DATA" => {
                    self.at(Stage::Data, node).await;
                    in_mail = true;
                    "354 go"
                }
                "." => {
                    in_mail = false;
                    self.take(std::mem::take(&mut mail));
                    self.at(Stage::Taken, node).await;
                    "250 taken"
                }
                _ => "250 ok",
            };
            socket.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
        }
    }

    fn take(&self, mail: String) {
        let id = mail.lines().find_map(|line| line.strip_prefix("Message-ID: "));
        let id = id.expect("it has an id").to_owned();
        self.ledger.lock().expect("not poisoned").push((id, mail));
    }

    fn taken(&self) -> Vec<(String, String)> {
        self.ledger.lock().expect("not poisoned").clone()
    }
}

/// A cluster with a site and an agent who serves an e-mail conversation.
struct Floor {
    nodes: Nodes,
    api: Api,
    agent: Api,
    conversation: String,
    /// Keeps the agent at work.
    _session: tokio::task::JoinHandle<()>,
}

impl Floor {
    async fn start(port: u16) -> Self {
        let mut nodes = Nodes::init(3, 1);
        for node in 1..=3 {
            let relay = format!("relay = \"127.0.0.1:{port}\"\ntls = \"off\"");
            nodes.configure(node, &format!("[mail]\n{relay}\nhello = \"node-{node}\""));
        }
        nodes.start_all().await;
        let api = nodes.api(&nodes.token);
        let settings = json!({
            "name": "north", "agent_grace_ms": 900_000, "mail_from": "help@north.example",
        });
        let (_, site) = tenant_and_site(&api, "acme", settings).await;
        let plan = json!({"name": "mail", "offer_ms": 900_000});
        done(&api, Method::PUT, &format!("/v1/sites/{site}/queues/qu_1"), plan).await;
        let profile = json!({"name": {"text": "Lin"}});
        done(&api, Method::PUT, &format!("/v1/sites/{site}/agents/ag_1"), profile).await;
        let body = json!({"role": "agent", "site": site, "agent": "ag_1", "ttl_s": 36_000});
        let token = done(&api, Method::POST, "/v1/tokens", body).await;
        let token = token["token"].as_str().expect("a text").to_owned();
        let config = SessionConfig::new(nodes.gateways.clone(), token.clone());
        let mut session = Session::start(config).expect("there are gateways");
        let site_id: SiteId = site.parse().expect("an id");
        let body = json!({
            "queue": "qu_1", "channel": "email",
            "mail": {
                "address": {"text": "ana@example.com"}, "subject": {"text": "Where is it?"},
                "message_id": {"text": "<1@example.com>"},
            },
        });
        let path = format!("/v1/sites/{site}/conversations");
        let opened = done(&api, Method::POST, &path, body).await;
        let conversation = opened["conversation"].as_str().expect("a text").to_owned();
        let ready = Command::Declare { agent: AgentId(1), declared: Declared::Ready };
        ask(&session, site_id, ready).await;
        loop {
            let Some(Notice::Event(frame)) = session.next_event().await else { continue };
            if let Event::Offered { conversation, offer, .. } = frame.event {
                ask(&session, site_id, Command::Accept { conversation, offer }).await;
                break;
            }
        }
        let agent = nodes.api(&token);
        let _session = tokio::spawn(async move { while session.next_event().await.is_some() {} });
        Self { nodes, api, agent, conversation, _session }
    }

    /// What the agent writes; its ordinal.
    async fn say(&self, words: &str) -> u64 {
        let item =
            json!({"id": ItemId(rotary_client::unique()), "body": {"text": {"text": words}}});
        let body = json!({"item": item, "seen_to": 0});
        let path = format!("/v1/conversations/{}/messages", self.conversation);
        let posted = done(&self.agent, Method::POST, &path, body).await;
        posted["ordinal"].as_u64().expect("a number")
    }

    /// Each message's words and what became of it, as the agent sees them.
    async fn deliveries(&self) -> Option<BTreeMap<String, String>> {
        let path = format!("/v1/conversations/{}/messages", self.conversation);
        let page: Value = self.agent.read(&path).await.ok()?;
        let row = |row: &Value| {
            let words = row["body"]["text"]["text"].as_str()?.to_owned();
            Some((words, row["delivery"].as_str()?.to_owned()))
        };
        page["data"].as_array()?.iter().map(row).collect()
    }

    async fn delivered(&self, words: &str) -> String {
        eventually("an outcome", async || {
            let delivery = self.deliveries().await?.get(words)?.clone();
            (delivery != "pending").then_some(delivery)
        })
        .await
    }

    /// Starts a node again, and waits until it may own effects: one that comes into the view while
    /// a mail is begun leaves that unknown.
    async fn restart(&mut self, node: usize) {
        self.nodes.start(node);
        self.nodes.ready(&self.nodes.gateways[node - 1].clone()).await;
        let all = "[nd_1, nd_2, nd_3]";
        eventually("all are in the view", async || (self.view()? == all).then_some(())).await;
    }

    /// The replicas that live, by what a leader last said of them.
    fn view(&self) -> Option<String> {
        let told = (1..=3).flat_map(|node| {
            let log = self.nodes.log(node);
            let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
            lines.collect::<Vec<Value>>()
        });
        let views = told.filter(|line| line["message"] == "these replicas live");
        let last = views.max_by_key(|line| line["timestamp"].as_str().map(str::to_owned))?;
        last["replicas"].as_str().map(str::to_owned)
    }

    /// The outcomes of each mail, by its effect's id, as a supervisor traces them; and which
    /// message it carries.
    async fn outcomes(&self) -> BTreeMap<String, (String, Vec<String>)> {
        let path = format!("/v1/conversations/{}/trace", self.conversation);
        let trace: Value = self.api.read(&path).await.expect("readable");
        let mut found = BTreeMap::<String, (String, Vec<String>)>::new();
        for row in trace["data"].as_array().expect("a list") {
            let (posted, ended) = (&row["event"]["posted"], &row["event"]["effect_ended"]);
            if let Some(id) = posted["mail"].as_str() {
                let words = posted["body"]["text"]["text"].as_str().unwrap_or_default();
                found.entry(id.to_owned()).or_default().0 = words.to_owned();
            }
            if let Some(id) = ended["effect"].as_str() {
                let outcome = ended["outcome"].as_str().expect("a word").to_owned();
                found.entry(id.to_owned()).or_default().1.push(outcome);
            }
        }
        found
    }

    /// What the cluster says and what the relay took agree.
    async fn assert_sound(&self, relay: &Relay) {
        let taken = relay.taken();
        let count = |id: &str| {
            let id = format!("<{id}@north.example>");
            taken.iter().filter(|(taken, _)| *taken == id).count()
        };
        let outcomes = self.outcomes().await;
        for (id, (words, ended)) in &outcomes {
            let said = format!("{id} {words:?} {ended:?}, taken {} times", count(id));
            assert!(count(id) <= 1, "{said}");
            match ended.as_slice() {
                [outcome] if outcome == "sent" => assert_eq!(count(id), 1, "{said}"),
                [outcome] if outcome == "not_sent" => assert_eq!(count(id), 0, "{said}"),
                [outcome] => assert_eq!(outcome, "unknown", "{said}"),
                _ => panic!("{said}"),
            }
        }
        let known = taken
            .iter()
            .all(|(taken, _)| outcomes.keys().any(|id| *taken == format!("<{id}@north.example>")));
        assert!(known, "{taken:?}");
    }
}

async fn ask(session: &Session, site: SiteId, command: Command) {
    let word = command.word();
    let answer = session.commander().send(site, command).await.expect("the session lives");
    assert!(matches!(answer.result, CommandReply::Outcome(Outcome::Done(_))), "{word}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_is_taken_once_wherever_its_sender_dies() {
    let (relay, port) = Relay::start().await;
    let mut floor = Floor::start(port).await;
    floor.say("quiet").await;
    assert_eq!(floor.delivered("quiet").await, "sent");

    // Before it began: whoever owns it next sends it.
    let held = relay.hold(Stage::Hello);
    floor.say("hello").await;
    let (node, _release) = came(held).await;
    floor.nodes.kill(node);
    assert_eq!(floor.delivered("hello").await, "sent");
    floor.restart(node).await;

    // From its beginning on nobody sends it again.
    for (stage, words) in [(Stage::Mail, "mail"), (Stage::Data, "data"), (Stage::Taken, "taken")] {
        let held = relay.hold(stage);
        floor.say(words).await;
        let (node, _release) = came(held).await;
        floor.nodes.kill(node);
        assert_eq!(floor.delivered(words).await, "unknown");
        floor.restart(node).await;
    }

    // In the middle of it: without a quorum the dot is not written.
    let (held, words) = (relay.hold(Stage::Data), relay.hold(Stage::Words));
    floor.say("words").await;
    let (node, release) = came(held).await;
    let others: Vec<usize> = (1..=3).filter(|other| *other != node).collect();
    others.iter().for_each(|other| floor.nodes.pause(*other, true));
    release.send(()).expect("it waits");
    let (_, _release) = came(words).await;
    floor.nodes.kill(node);
    others.iter().for_each(|other| floor.nodes.pause(*other, false));
    assert_eq!(floor.delivered("words").await, "unknown");
    floor.restart(node).await;

    floor.say("end").await;
    assert_eq!(floor.delivered("end").await, "sent");
    floor.assert_sound(&relay).await;
    let taken: Vec<String> = relay.taken().into_iter().map(|(_, mail)| mail).collect();
    assert_eq!(taken.len(), 4, "quiet, hello, taken, end: {taken:?}");
    assert!(taken[0].contains("In-Reply-To: <1@example.com>\r\n"), "{}", taken[0]);
    assert!(taken[1].contains("References: <1@example.com>\r\n <ef_"), "{}", taken[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_no_is_certain_and_a_later_is_tried_again() {
    let (relay, port) = Relay::start().await;
    let floor = Floor::start(port).await;
    relay.answers.lock().expect("mine").extend(["451 later", "250 ok", "550 nobody"]);
    floor.say("later").await;
    assert_eq!(floor.delivered("later").await, "sent");
    floor.say("nobody").await;
    assert_eq!(floor.delivered("nobody").await, "not_sent");

    // A node that hears of no leader for longer than the fence says no dot, and tries again.
    let held = relay.hold(Stage::Data);
    let words = relay.hold(Stage::Words);
    floor.say("cut off").await;
    let (node, release) = came(held).await;
    let others: Vec<usize> = (1..=3).filter(|other| *other != node).collect();
    others.iter().for_each(|other| floor.nodes.pause(*other, true));
    release.send(()).expect("it waits");
    let (_, release) = came(words).await;
    drop(release);
    eventually("it hangs up", async || (relay.cut.load(Ordering::Relaxed) > 0).then_some(())).await;
    assert_eq!(relay.taken().len(), 1, "only the first");
    others.iter().for_each(|other| floor.nodes.pause(*other, false));
    let came = floor.delivered("cut off").await;
    assert!(came == "sent" || came == "unknown", "{came}");
    floor.assert_sound(&relay).await;
}
