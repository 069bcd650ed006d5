//! Gateway-only nodes before a real cluster: whatever core node dies, their clients do not notice.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use hyper::Method;
use nodes::{Nodes, done, eventually, rotary, tenant_and_site};
use rotary_client::{Notice, Session, SessionConfig};
use rotary_proto::frame::{CommandReply, EventFrame, Mode};
use rotary_proto::{Command, Declared, Event, Outcome, SiteId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The gateway-only node, counted from 1.
const GATEWAY: usize = 4;

/// An agent whose client knows the gateway-only node alone.
struct Agent {
    session: Session,
    site: SiteId,
    seen: Vec<EventFrame>,
    welcomes: Vec<Mode>,
}

impl Agent {
    async fn start(nodes: &Nodes, site: SiteId) -> Self {
        let api = nodes.admin(1);
        let body = json!({"role": "agent", "site": site, "agent": "ag_1", "ttl_s": 3600});
        let made = done(&api, Method::POST, "/v1/tokens", body).await;
        let token = made["token"].as_str().expect("a text").to_owned();
        let config = SessionConfig::new(vec![nodes.gateways[GATEWAY - 1].clone()], token);
        let session = Session::start(config).expect("there is a gateway");
        Self { session, site, seen: Vec::new(), welcomes: Vec::new() }
    }

    /// Declares something, and reads on until that is seen.
    async fn declare(&mut self, declared: Declared) {
        let agent = rotary_proto::AgentId(1);
        let command = Command::Declare { agent, declared };
        let commander = self.session.commander();
        let site = self.site;
        let asked = tokio::spawn(async move { commander.send(site, command).await });
        loop {
            let notice = tokio::time::timeout(nodes::LIMIT, self.session.next_event()).await;
            match notice.expect("in time") {
                Some(Notice::Event(frame)) => {
                    let stated = matches!(
                        &frame.event,
                        Event::AgentDeclared { declared: now, .. } if *now == declared
                    );
                    self.seen.push(*frame);
                    if stated {
                        break;
                    }
                }
                Some(Notice::Welcome(welcomed)) => self.welcomes.push(welcomed.mode),
                Some(Notice::Lost { why, .. }) => panic!("the client noticed: {why}"),
                Some(Notice::Ended(end)) => panic!("the session ended: {end:?}"),
                Some(_) => {}
                None => panic!("the session is gone"),
            }
        }
        let answer = asked.await.expect("it ends").expect("the session lives");
        assert!(matches!(answer.result, CommandReply::Outcome(Outcome::Done(_))), "{answer:?}");
    }
}

async fn site(nodes: &Nodes) -> SiteId {
    let api = nodes.admin(GATEWAY);
    let (_, site) = tenant_and_site(&api, "acme", json!({"name": "north"})).await;
    let profile = json!({"name": {"text": "Lin"}});
    done(&api, Method::PUT, &format!("/v1/sites/{site}/agents/ag_1"), profile).await;
    site.parse().expect("an id")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_at_a_gateway_outlives_every_core_node_in_turn() {
    let mut nodes = Nodes::init_before(3, 1, 2);
    nodes.start_all().await;
    let site = site(&nodes).await;
    let mut agent = Agent::start(&nodes, site).await;
    agent.declare(Declared::Ready).await;
    for dead in 1..=3 {
        nodes.kill(dead);
        agent.declare(Declared::SignedOut).await;
        agent.declare(Declared::Ready).await;
        nodes.start(dead);
        nodes.ready(&nodes.gateways[dead - 1].clone()).await;
    }
    assert_eq!(agent.welcomes, [Mode::New], "one socket all along");
    let numbers: Vec<u64> = agent.seen.iter().map(|frame| frame.seq).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let metrics = nodes.admin(GATEWAY).fetch("/metrics").await.expect("readable");
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")))?;
        line.split(' ').next_back()?.parse::<f64>().ok()
    };
    assert!(value("rotary_relay_moves_total").is_some_and(|moves| moves >= 1.0), "{text}");
    assert_eq!(value("rotary_relay_sessions"), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_pass_through_whichever_core_node_is_there() {
    let mut nodes = Nodes::init_before(3, 1, 1);
    nodes.start_all().await;
    let api = nodes.admin(GATEWAY);
    let site = site(&nodes).await;
    for dead in 1..=3 {
        nodes.kill(dead);
        // Writes carry keys, so that the client and the gateway may both send them again.
        let path = format!("/v1/sites/{site}/skills/sk_{dead}");
        done(&api, Method::PUT, &path, json!({"name": "french"})).await;
        let path = format!("/v1/sites/{site}/skills?consistency=linearizable");
        let skills: Value = api.read(&path).await.expect("readable");
        assert_eq!(skills["data"].as_array().map(Vec::len), Some(dead), "{skills}");
        nodes.start(dead);
        nodes.ready(&nodes.gateways[dead - 1].clone()).await;
    }
    // It says what a core node says, of what is not there and of who may not.
    let gone = api.read::<Value>("/v1/nowhere").await.expect_err("nothing is there");
    assert!(gone.to_string().contains("not-found"), "{gone}");
    let stranger = nodes.api("nobody").only(&nodes.gateways[GATEWAY - 1]);
    let refused = stranger.read::<Value>("/v1/sites").await.expect_err("nobody");
    assert!(refused.to_string().contains("token-malformed"), "{refused}");
    assert!(nodes.stop(GATEWAY).success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_is_added_to_a_cluster_that_runs_and_waits_for_one_that_does_not() {
    let mut nodes = Nodes::init(1, 1);
    let base = nodes::free_base(1);
    let added = rotary()
        .args(["cluster", "add-gateway", "--public", &format!("127.0.0.1:{base}")])
        .args(["--peer", &format!("127.0.0.1:{}", base + 2), "--dir"])
        .arg(nodes.dir.path())
        .output()
        .expect("it runs");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let said = String::from_utf8_lossy(&added.stdout).into_owned();
    assert!(said.contains("node-2/rotary.toml"), "{said}");
    nodes.admit(format!("http://127.0.0.1:{base}").parse().expect("an address"));
    nodes.start(2);
    let live = eventually("it lives", async || get(&nodes, "/livez").await.ok()).await;
    assert!(live.ends_with("live\n"), "{live}");
    let reason = get(&nodes, "/readyz").await.expect("it lives");
    assert!(reason.contains(" 503 ") && reason.contains("no core node answers"), "{reason}");
    let refused = get(&nodes, "/v1/sites").await.expect("it lives");
    assert!(refused.contains(" 503 ") && refused.contains("\"unavailable\""), "{refused}");
    nodes.start(1);
    nodes.ready(&nodes.gateways[1].clone()).await;
    site_exists(&nodes).await;
}

/// What the second node answers, whatever its status.
async fn get(nodes: &Nodes, path: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(nodes.gateways[1].authority()).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn site_exists(nodes: &Nodes) {
    let (_, site) = tenant_and_site(&nodes.admin(2), "acme", json!({"name": "north"})).await;
    let shown: Value = nodes.admin(1).read(&format!("/v1/sites/{site}")).await.expect("readable");
    assert_eq!(shown["settings"]["name"], "north", "{shown}");
}
