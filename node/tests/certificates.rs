//! Certificates between nodes that are replaced while the cluster serves.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::path::{Path, PathBuf};

use hyper::Method;
use nodes::{Nodes, done, eventually, rotary, said, tenant_and_site, text};
use rotary_client::{Notice, Session, SessionConfig};
use rotary_proto::event::DeclaredWhy;
use rotary_proto::frame::{CommandReply, Mode};
use rotary_proto::{AgentId, Command, Declared, Event, Outcome, SiteId};
use serde_json::{Value, json};

const CORES: usize = 3;
const NODES: usize = 4;
/// What a node logs when it has taken up all that its files have.
const TAKEN_UP: [&str; 3] = [
    "the authorities of tls.ca_file are believed",
    "other nodes are shown the new certificate",
    "no other authority is believed than those of tls.ca_file",
];

/// An agent of one node, who is never to be signed out and misses nothing. A busy machine may cost
/// the socket; `an_authority_is_exchanged_while_nodes_speak` sees that certificates do not.
struct Agent {
    number: u32,
    session: Session,
    site: SiteId,
    welcomes: Vec<Mode>,
    /// Numbers of the events that came.
    seen: Vec<u64>,
}

impl Agent {
    async fn start(nodes: &Nodes, site: SiteId, number: u32, place: usize) -> Self {
        let body = json!({"role": "agent", "site": site, "agent": AgentId(number), "ttl_s": 3600});
        let made = done(&nodes.admin(1), Method::POST, "/v1/tokens", body).await;
        let token = made["token"].as_str().expect("a text").to_owned();
        let config = SessionConfig::new(vec![nodes.gateways[place - 1].clone()], token);
        let session = Session::start(config).expect("it starts");
        let mut agent = Self { number, session, site, welcomes: Vec::new(), seen: Vec::new() };
        agent.declare(Declared::Ready).await;
        agent
    }

    /// Declares something, and reads on until that is seen.
    async fn declare(&mut self, declared: Declared) {
        let command = Command::Declare { agent: AgentId(self.number), declared };
        let (commander, site) = (self.session.commander(), self.site);
        let asked = tokio::spawn(async move { commander.send(site, command).await });
        loop {
            let notice = tokio::time::timeout(nodes::LIMIT, self.session.next_event()).await;
            match notice.expect("in time").expect("the session lives") {
                Notice::Event(frame) => {
                    self.seen.push(frame.seq);
                    match frame.event {
                        Event::AgentDeclared { why: DeclaredWhy::SessionLost, .. } => {
                            panic!("agent {} was signed out", self.number)
                        }
                        Event::AgentDeclared { declared: now, .. } if now == declared => break,
                        _ => {}
                    }
                }
                Notice::Welcome(welcomed) => self.welcomes.push(welcomed.mode),
                Notice::Ended(end) => panic!("the session ended: {end:?}"),
                _ => {}
            }
        }
        let answer = asked.await.expect("it ends").expect("the session lives");
        assert!(matches!(answer.result, CommandReply::Outcome(Outcome::Done(_))), "{answer:?}");
    }
}

async fn agents(nodes: &Nodes) -> Vec<Agent> {
    let api = nodes.admin(1);
    let (_, site) = tenant_and_site(&api, "acme", json!({"name": "north"})).await;
    let mut agents = Vec::new();
    for place in 1..=NODES {
        let number = place as u32;
        let path = format!("/v1/sites/{site}/agents/{}", AgentId(number));
        done(&api, Method::PUT, &path, json!({"name": {"text": "Lin"}})).await;
        agents.push(Agent::start(nodes, site.parse().expect("an id"), number, place).await);
    }
    agents
}

/// Everybody at work leaves and comes back, in the sessions that they have.
async fn work(agents: &mut [Agent]) {
    for agent in agents.iter_mut() {
        agent.declare(Declared::SignedOut).await;
        agent.declare(Declared::Ready).await;
        let resumed = agent.welcomes[1..].iter().all(|mode| *mode == Mode::Replayed);
        assert!(resumed, "agent {}: {:?}", agent.number, agent.welcomes);
        let dense = (1..=agent.seen.len() as u64).collect::<Vec<_>>();
        assert_eq!(agent.seen, dense, "agent {} missed something", agent.number);
    }
}

/// `rotary cluster`, on the folder of the nodes.
fn cluster(folder: &Path, args: &[&str]) -> String {
    let mut command = rotary();
    command.arg("cluster").args(args).arg("--dir").arg(folder);
    let output = command.output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{args:?}: {:?}", said(&output));
    told
}

fn tls(nodes: &Nodes, node: usize) -> PathBuf {
    nodes.dir.path().join(format!("node-{node}/tls"))
}

/// What `cluster init` made, in another folder, as far as certificates need it.
fn elsewhere(nodes: &Nodes) -> tempfile::TempDir {
    let (from, to) = (nodes.dir.path(), tempfile::tempdir().expect("a directory"));
    std::fs::create_dir(to.path().join("authority")).expect("writable");
    for name in ["authority/ca.pem", "authority/ca.key"] {
        std::fs::copy(from.join(name), to.path().join(name)).expect("writable");
    }
    for node in 1..=NODES {
        let folder = to.path().join(format!("node-{node}"));
        copy(&tls(nodes, node), &folder.join("tls"));
        std::fs::copy(nodes.config(node), folder.join("rotary.toml")).expect("writable");
    }
    to
}

/// Copies what a node shows, and whom it believes.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("writable");
    for name in ["ca.pem", "node.key", "node.pem"] {
        std::fs::write(to.join(name), std::fs::read(from.join(name)).expect("readable"))
            .expect("writable");
    }
}

/// Waits until every node has logged that line so many times.
async fn taken_up(nodes: &Nodes, line: &str, times: usize) {
    for node in 1..=NODES {
        let what = format!("node {node}: {line}");
        eventually(&what, async || (nodes.log(node).matches(line).count() >= times).then_some(()))
            .await;
    }
}

/// What is wrong with the other nodes as one sees them with its files.
fn ills(nodes: &Nodes, node: usize) -> Vec<(String, String)> {
    let config = nodes.config(node);
    let looked = rotary().args(["doctor", "-o", "json", "--config"]).arg(config).output();
    let looked = looked.expect("it runs");
    let found: Value = serde_json::from_slice(&looked.stdout).expect("JSON");
    let found = found["data"].as_array().expect("a list").iter();
    let bad = found.filter(|found| found["grade"] == "failure");
    let text = |found: &Value, key: &str| found[key].as_str().unwrap_or_default().to_owned();
    bad.map(|found| (text(found, "of"), text(found, "detail"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_is_exchanged_and_nobody_is_signed_out() {
    let mut nodes = Nodes::init_before(3, 1, 2);
    nodes.start_all().await;
    let mut agents = agents(&nodes).await;
    let old = nodes.dir.path().join("old");
    let first = text(&tls(&nodes, 1).join("ca.pem"));

    let told = cluster(nodes.dir.path(), &["rotate-authority", "begin"]);
    assert!(told.contains("rotate-authority switch") && told.contains("node-4/tls"), "{told}");
    taken_up(&nodes, TAKEN_UP[0], 1).await;
    work(&mut agents).await;
    copy(&tls(&nodes, 3), &old);

    cluster(nodes.dir.path(), &["rotate-authority", "switch", "--days", "400"]);
    taken_up(&nodes, TAKEN_UP[1], 1).await;
    work(&mut agents).await;
    let remaining = nodes.admin(2).fetch("/metrics").await.expect("measured");
    let remaining = String::from_utf8_lossy(&remaining.body).into_owned();
    let line = "rotary_certificate_remaining_seconds{certificate=\"node\"} ";
    let left = remaining.lines().find_map(|text| text.strip_prefix(line)).expect(&remaining);
    let days = left.parse::<f64>().expect("a number") / 86_400.0;
    assert!((399.0..400.0).contains(&days), "{days}");

    cluster(nodes.dir.path(), &["rotate-authority", "finish"]);
    taken_up(&nodes, TAKEN_UP[2], 1).await;
    work(&mut agents).await;
    assert!(!text(&tls(&nodes, 1).join("ca.pem")).contains(first.trim()));
    for node in 1..=CORES {
        assert_eq!(ills(&nodes, node), [], "node {node} shakes hands with every other");
    }
    // A restarted node has nothing but its files.
    assert!(nodes.stop(2).success());
    nodes.start(2);
    let second = nodes.gateways[1].clone();
    nodes.ready(&second).await;

    // Certificates of the old authority are worth nothing any more.
    let new = nodes.dir.path().join("new");
    copy(&tls(&nodes, 3), &new);
    nodes.kill(3);
    copy(&old, &tls(&nodes, 3));
    let refused = ills(&nodes, 3);
    let by = |node: &str| refused.iter().any(|(of, why)| of == node && why.contains("refused"));
    assert!(by("nd_1") && by("nd_2"), "{refused:?}");
    copy(&new, &tls(&nodes, 3));
    nodes.start(3);
    let third = nodes.gateways[2].clone();
    nodes.ready(&third).await;
    assert_eq!(ills(&nodes, 3), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_cut_a_node_off_waits_until_it_does_not() {
    let mut nodes = Nodes::init_before(3, 1, 1);
    nodes.start_all().await;
    let mut agents = agents(&nodes).await;
    let kept = |node: usize| nodes.dir.path().join(format!("kept-{node}"));
    let ready = |node: usize| nodes.dir.path().join(format!("ready-{node}"));
    let all = 1..=NODES;
    all.clone().for_each(|node| copy(&tls(&nodes, node), &kept(node)));
    // Made elsewhere: the nodes see nothing of it.
    let elsewhere = elsewhere(&nodes);
    for step in ["begin", "switch", "finish"] {
        cluster(elsewhere.path(), &["rotate-authority", step]);
    }
    let made = |node: usize| elsewhere.path().join(format!("node-{node}/tls"));
    all.clone().for_each(|node| copy(&made(node), &ready(node)));
    let waits = |node: usize, why: &str| {
        let log = nodes.log(node);
        let mut lines = log.lines().filter(|line| line.contains("certificate-refused"));
        lines.any(|line| line.contains(why))
    };

    // Another's key, and another's certificate.
    std::fs::copy(kept(2).join("node.key"), tls(&nodes, 1).join("node.key")).expect("writable");
    nodes.signal(1, "HUP");
    eventually("the key is another's", async || waits(1, "do not fit together").then_some(()))
        .await;
    copy(&kept(2), &tls(&nodes, 1));
    nodes.signal(1, "HUP");
    eventually("the certificate is another's", async || {
        waits(1, "is the certificate of nd_2").then_some(())
    })
    .await;

    // Its last files, while nobody else has any: it believes both, and shows what it showed.
    copy(&ready(1), &tls(&nodes, 1));
    nodes.signal(1, "HUP");
    eventually("the others would not believe", async || {
        waits(1, "does not shake hands with it yet").then_some(())
    })
    .await;
    assert!(nodes.log(1).contains(TAKEN_UP[0]) && !nodes.log(1).contains(TAKEN_UP[1]));
    work(&mut agents).await;
    for node in 2..=NODES {
        copy(&ready(node), &tls(&nodes, node));
    }
    for line in TAKEN_UP {
        taken_up(&nodes, line, 1).await;
    }
    work(&mut agents).await;
    for node in 1..=CORES {
        assert_eq!(ills(&nodes, node), [], "node {node} shakes hands with every other");
    }
}
