//! Sessions without a WebSocket, on real nodes: what the stream brings and what requests to other
//! nodes say are one session, whatever dies.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;
#[path = "support/stream.rs"]
mod stream;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod wire;

use std::time::Duration;

use hyper::Method;
use nodes::{Nodes, done, eventually, tenant_and_site};
use rotary_client::Gateway;
use serde_json::{Value, json};
use stream::{Stream, post, say};

const CUSTOMER: &str = "cu_00000000000000000000000000000007";

/// An agent without a WebSocket.
struct Agent {
    gateways: Vec<Gateway>,
    site: String,
    resume_token: String,
    /// The cursor of its snapshot.
    begun_at: Value,
    stream: Stream,
    /// Every event that came, whichever node it came from.
    seen: Vec<Value>,
    pings: tokio::task::JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.pings.abort();
    }
}

/// Says now and then, to one gateway after the other, that the client is there.
fn ping(gateways: Vec<Gateway>, resume_token: String) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        for gateway in gateways.iter().cycle() {
            let (gateway, token) = (gateway.clone(), resume_token.clone());
            let ack = [json!({"type": "ack", "seq": 0})];
            // One that is dead hears nothing.
            let _ = tokio::spawn(async move { post(&gateway, &token, &ack).await.status }).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
}

/// Begins or resumes with that frame; nothing if the node cannot serve it yet.
async fn begin(gateway: &Gateway, first: &Value) -> Option<(Stream, Value)> {
    let mut stream = Stream::open(gateway, first).await;
    let welcome = stream.frame().await;
    if welcome["code"] == "behind" {
        return None;
    }
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    Some((stream, welcome))
}

impl Agent {
    /// Begins at the first of those gateways.
    async fn start(nodes: &Nodes, gateways: &[usize], site: &str) -> Self {
        let body = json!({"role": "agent", "site": site, "agent": "ag_1", "ttl_s": 3600});
        let made = done(&nodes.admin(1), Method::POST, "/v1/tokens", body).await;
        let gateways: Vec<Gateway> =
            gateways.iter().map(|node| nodes.gateways[node - 1].clone()).collect();
        let first = json!({"type": "start", "token": made["token"]});
        let (mut stream, welcome) =
            eventually("the node can serve it", async || begin(&gateways[0], &first).await).await;
        assert_eq!(welcome["mode"], "new");
        let snapshot = stream.frame().await;
        assert_eq!(snapshot["type"], "snapshot");
        let begun_at = snapshot["cursor"].clone();
        let resume_token = welcome["resume_token"].as_str().expect("a text").to_owned();
        let pings = ping(gateways.clone(), resume_token.clone());
        Self {
            gateways,
            site: site.to_owned(),
            resume_token,
            begun_at,
            stream,
            seen: Vec::new(),
            pings,
        }
    }

    /// What to resume with.
    fn resume(&self, unacknowledged: &[u64]) -> Value {
        let (seq, cursor) = match self.seen.last() {
            Some(last) => (last["seq"].clone(), last["cursor"].clone()),
            None => (json!(0), self.begun_at.clone()),
        };
        let of_site = |number: &u64| json!({"site": self.site, "number": number});
        json!({"type": "resume", "resume_token": self.resume_token, "cursors": [cursor],
            "seq": seq,
            "unacknowledged": unacknowledged.iter().map(of_site).collect::<Vec<_>>()})
    }

    /// Goes on at another of its gateways, counted from 0. Gives the welcome.
    async fn go_on_at(&mut self, gateway: usize, unacknowledged: &[u64]) -> Value {
        let resume = self.resume(unacknowledged);
        let (stream, welcome) = eventually("the node can serve it", async || {
            begin(&self.gateways[gateway], &resume).await
        })
        .await;
        self.stream = stream;
        welcome
    }

    /// Goes on at whichever of its gateways can: what served it could not keep up.
    async fn go_on(&mut self) {
        let resume = self.resume(&[]);
        let mut gateways = self.gateways.iter().cycle();
        let (stream, welcome) = eventually("a node that can", async || {
            let gateway = gateways.next().expect("there are some");
            tokio::net::TcpStream::connect(gateway.authority()).await.ok()?;
            begin(gateway, &resume).await
        })
        .await;
        assert_eq!(welcome["mode"], "replayed", "{welcome}");
        self.stream = stream;
    }

    /// Asks one of its gateways, counted from 0, for something that must be done.
    async fn ask(&mut self, gateway: usize, number: u64, command: Value) -> Value {
        let result = self.outcome(gateway, number, command).await;
        assert!(result["result"]["outcome"].get("done").is_some(), "{result}");
        result
    }

    /// What the log says to a command.
    async fn outcome(&mut self, gateway: usize, number: u64, command: Value) -> Value {
        let cmd = json!({"type": "cmd", "site": self.site, "number": number, "command": command});
        let begun = tokio::time::Instant::now();
        let result = loop {
            let answer =
                post(&self.gateways[gateway], &self.resume_token, std::slice::from_ref(&cmd)).await;
            let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
            let result = &answer["frames"][0];
            if result["result"].get("outcome").is_some() {
                break result.clone();
            }
            assert!(begun.elapsed() < nodes::LIMIT, "never: somebody leads; {answer}");
            if result["result"]["not_applied"]["code"] == "behind" {
                self.go_on().await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!((&result["type"], &result["number"]), (&json!("result"), &json!(number)));
        result
    }

    /// Reads on until that event comes, and gives it.
    async fn event(&mut self, kind: &str) -> Value {
        loop {
            let (id, frame) = self.stream.next().await.expect("the stream goes on");
            if frame["type"] == "bye" && frame["code"] == "behind" {
                self.go_on().await;
                continue;
            }
            assert_eq!(frame["type"], "event", "{frame}");
            assert_eq!(id, frame["seq"].as_u64(), "the id is the dense number");
            self.seen.push(frame.clone());
            if frame["event"].get(kind).is_some() {
                return frame["event"][kind].clone();
            }
        }
    }

    /// Every event once, in order.
    fn expect_whole(&self) {
        let numbers: Vec<u64> =
            self.seen.iter().filter_map(|frame| frame["seq"].as_u64()).collect();
        assert_eq!(numbers, (1..=self.seen.len() as u64).collect::<Vec<_>>());
        let places = self.seen.iter().map(|frame| frame["cursor"]["sequence"].as_u64());
        let places: Vec<Option<u64>> = places.collect();
        assert!(places.is_sorted_by(|one, next| one < next), "{places:?}");
    }

    fn count(&self, kind: &str) -> usize {
        self.seen.iter().filter(|frame| frame["event"].get(kind).is_some()).count()
    }
}

async fn site(nodes: &Nodes) -> String {
    let api = nodes.admin(1);
    let (_, site) = tenant_and_site(&api, "acme", json!({"name": "north"})).await;
    let put = async |path: &str, body| {
        done(&api, Method::PUT, &format!("/v1/sites/{site}{path}"), body).await;
    };
    // However long a busy machine takes.
    put("/settings", json!({"name": "north", "agent_grace_ms": 600_000})).await;
    put("/queues/qu_1", json!({"name": "Sales", "offer_ms": 600_000})).await;
    put("/agents/ag_1", json!({"name": {"text": "Lin"}})).await;
    site
}

async fn open(nodes: &Nodes, node: usize, site: &str) {
    let body = json!({"queue": "qu_1", "channel": "chat", "customer": CUSTOMER});
    done(&nodes.admin(node), Method::POST, &format!("/v1/sites/{site}/conversations"), body).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_while_the_node_that_streams_it_dies() {
    let mut nodes = Nodes::init(3, 1);
    nodes.start_all().await;
    let site = site(&nodes).await;
    let mut agent = Agent::start(&nodes, &[1, 2, 3], &site).await;
    agent.ask(1, 1, json!({"declare": {"agent": "ag_1", "declared": "ready"}})).await;
    open(&nodes, 3, &site).await;
    let offered = agent.event("offered").await;
    let accept = json!({"accept": {"conversation": offered["conversation"],
        "offer": offered["offer"]}});
    let first = agent.ask(1, 2, accept.clone()).await;
    assert_eq!(first["repeated"], false);
    // Before it has heard of its own accept, the node is gone.
    nodes.kill(1);
    agent.stream.rest().await;
    let again = agent.ask(2, 2, accept).await;
    assert_eq!((&again["repeated"], &again["position"]), (&json!(true), &first["position"]));
    let welcome = agent.go_on_at(1, &[1, 2, 3]).await;
    assert_eq!(welcome["mode"], "replayed", "{welcome}");
    let results = welcome["results"].as_array().expect("a list");
    let known: Vec<&Value> = results.iter().map(|result| &result["number"]).collect();
    assert_eq!(known, [1, 2], "the third was never sent");
    agent.event("assigned").await;
    let item = json!({"id": format!("it_{:032x}", 9), "body": {"text": {"text": "Hello"}}});
    let conversation = &offered["conversation"];
    agent.ask(2, 3, json!({"post": {"conversation": conversation, "item": item}})).await;
    agent.event("posted").await;
    agent.ask(1, 4, json!({"close": {"conversation": conversation}})).await;
    agent.event("wrap_up_started").await;
    agent.expect_whole();
    assert_eq!((agent.count("offered"), agent.count("assigned")), (1, 1));
    // Good-bye, said to the node that has not the stream, is heard on the stream.
    let gateway = agent.gateways[2].clone();
    let said = say(&gateway, &agent.resume_token, &[json!({"type": "bye"})]).await;
    assert_eq!((&said[0]["type"], &said[0]["code"]), (&json!("bye"), &json!("session-ended")));
    let rest = agent.stream.rest().await;
    assert_eq!(rest.last().expect("a bye")["code"], "session-ended", "{rest:?}");
    let ended = say(&gateway, &agent.resume_token, &[json!({"type": "ping", "t": 1})]).await;
    assert_eq!(
        (&ended[0]["code"], &ended[0]["retry"]),
        (&json!("session-ended"), &json!("restart"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_heard_is_gone_and_who_is_taken_over_is_told() {
    let mut nodes = Nodes::init(2, 1);
    nodes.start_all().await;
    let site = site(&nodes).await;
    let mut agent = Agent::start(&nodes, &[1, 2], &site).await;
    agent.ask(1, 1, json!({"declare": {"agent": "ag_1", "declared": "ready"}})).await;
    agent.event("agent_declared").await;
    // A ping is answered by whichever node it comes to with what the stream has sent.
    let last = agent.seen.len();
    for gateway in &agent.gateways {
        let said = say(gateway, &agent.resume_token, &[json!({"type": "ping", "t": 7})]).await;
        assert_eq!(said, [json!({"type": "pong", "t": 7, "seq": last})]);
    }
    let resume = agent.resume(&[]);
    let (second, welcome) =
        eventually("the second can", async || begin(&agent.gateways[1], &resume).await).await;
    assert_eq!(welcome["mode"], "replayed");
    let mut first = std::mem::replace(&mut agent.stream, second);
    let rest = first.rest().await;
    assert_eq!(rest.last().expect("a bye")["code"], "taken-over", "{rest:?}");
    agent.pings.abort();
    let rest = agent.stream.rest().await;
    let bye = rest.last().expect("a bye");
    assert_eq!((&bye["code"], &bye["retry"]), (&json!("silent"), &json!("resume")), "{rest:?}");
    let ping = [json!({"type": "ping", "t": 8})];
    let gateway = &agent.gateways[0];
    let unserved = eventually("nobody has the stream", async || {
        let said = say(gateway, &agent.resume_token, &ping).await.pop().expect("an answer");
        (said["type"] == "bye").then_some(said)
    });
    let unserved = unserved.await;
    assert_eq!((&unserved["code"], &unserved["retry"]), (&json!("behind"), &json!("resume")));
    // What it asks for in the meantime is not refused for good, but not done either.
    let declare = json!({"declare": {"agent": "ag_1", "declared": "signed_out"}});
    let cmd = [json!({"type": "cmd", "site": site, "number": 2, "command": declare})];
    let path = format!("/v1/sites/{site}/agents/ag_1");
    eventually("the first node knows of the loss", async || {
        let shown: Value = nodes.admin(1).read(&path).await.expect("readable");
        (shown["link"] == "lost").then_some(())
    })
    .await;
    let waits = say(gateway, &agent.resume_token, &cmd).await.pop().expect("a result");
    assert_eq!(waits["result"]["not_applied"]["code"], "behind", "{waits}");
    agent.pings = ping_of(&agent);
    assert_eq!(agent.go_on_at(0, &[]).await["mode"], "replayed");
    agent.ask(1, 2, json!({"declare": {"agent": "ag_1", "declared": "signed_out"}})).await;
    agent.event("agent_declared").await;
    agent.expect_whole();
}

fn ping_of(agent: &Agent) -> tokio::task::JoinHandle<()> {
    ping(agent.gateways.clone(), agent.resume_token.clone())
}

/// The gateway-only node, counted from 1.
const GATEWAY: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_at_a_gateway_outlives_every_core_node_in_turn() {
    let mut nodes = Nodes::init_before(3, 1, 1);
    nodes.start_all().await;
    let site = site(&nodes).await;
    let mut agent = Agent::start(&nodes, &[GATEWAY], &site).await;
    let mut number = 0;
    // A command that overtakes the return of its session is done nevertheless.
    for dead in 1..=3 {
        nodes.kill(dead);
        for declared in ["ready", "signed_out"] {
            let declare = json!({"declare": {"agent": "ag_1", "declared": declared}});
            number += 1;
            agent.ask(0, number, declare).await;
            agent.event("agent_declared").await;
        }
        nodes.start(dead);
        nodes.ready(&nodes.gateways[dead - 1].clone()).await;
    }
    agent.expect_whole();
    assert_eq!(agent.count("agent_declared"), 6);
    assert!(nodes.stop(GATEWAY).success());
    let rest = agent.stream.rest().await;
    let told: Vec<&Value> = rest.iter().map(|frame| &frame["type"]).collect();
    assert_eq!(told, ["goaway", "bye"], "{rest:?}");
}

#[tokio::test]
async fn what_cannot_be_said_there_is_refused_whole() {
    let mut nodes = Nodes::init(1, 1);
    nodes.start_all().await;
    let site = site(&nodes).await;
    let agent = Agent::start(&nodes, &[1], &site).await;
    let gateway = &nodes.gateways[0];
    let declare = json!({"declare": {"agent": "ag_1", "declared": "ready"}});
    let cmd = json!({"type": "cmd", "site": site, "number": 1, "command": declare});
    let elsewhere = json!({"type": "cmd", "site": "st_9.9", "number": 1, "command": declare});
    let attach = json!({"attach": {"session": "se_00000000000000000000000000000001",
        "subject": {"agent": "ag_1"}, "gateway": "gw_1.1"}});
    let attach = json!({"type": "cmd", "site": site, "number": 2, "command": attach});
    let start = json!({"type": "start", "token": "x"});
    for (wrong, code) in [(elsewhere, "protocol"), (attach, "protocol"), (start, "protocol")] {
        let answer = post(gateway, &agent.resume_token, &[cmd.clone(), wrong]).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{}", answer.body);
    }
    let many = vec![json!({"type": "ack", "seq": 1}); 65];
    for (frames, code) in [(&many[..], "bad-value"), (&[][..], "bad-value")] {
        let answer = post(gateway, &agent.resume_token, frames).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{}", answer.body);
    }
    let bearer = post(gateway, &nodes.token, std::slice::from_ref(&cmd)).await;
    assert_eq!((bearer.status, bearer.code().as_str()), (401, "token-malformed"));
    // None of these did what came before what was wrong.
    let result = say(gateway, &agent.resume_token, &[cmd]).await.pop().expect("a result");
    assert_eq!(result["repeated"], false, "{result}");
}
