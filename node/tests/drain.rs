//! Nodes that are emptied while they are used: whoever has a session there goes on elsewhere.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Output;

use hyper::Method;
use nodes::{Nodes, done, eventually, rotary, said, tenant_and_site};
use rotary_client::{Gateway, Notice, Session, SessionConfig};
use rotary_proto::frame::{CommandReply, Mode};
use rotary_proto::{AgentId, Command, Declared, Event, NodeId, Outcome, SiteId};
use serde_json::{Value, json};

/// The gateway-only node, counted from 1.
const GATEWAY: usize = 4;

/// An agent who tries gateways in the order of a list.
struct Agent {
    number: u32,
    session: Session,
    site: SiteId,
    /// Numbers of the events that came.
    seen: Vec<u64>,
    welcomes: Vec<(Mode, NodeId)>,
}

impl Agent {
    async fn start(nodes: &Nodes, site: SiteId, number: u32, places: &[usize]) -> Self {
        let agent = AgentId(number);
        let body = json!({"role": "agent", "site": site, "agent": agent, "ttl_s": 3600});
        let made = done(&nodes.admin(1), Method::POST, "/v1/tokens", body).await;
        let token = made["token"].as_str().expect("a text").to_owned();
        let gateways = places.iter().map(|place| nodes.gateways[place - 1].clone()).collect();
        let session = Session::start(SessionConfig::new(gateways, token)).expect("somewhere");
        let mut agent = Self { number, session, site, seen: Vec::new(), welcomes: Vec::new() };
        agent.declare(Declared::Ready).await;
        agent
    }

    /// What happens next; sockets that are lost are no news.
    async fn next(&mut self) -> Option<Event> {
        let notice = tokio::time::timeout(nodes::LIMIT, self.session.next_event()).await;
        match notice.expect("in time").expect("the session lives") {
            Notice::Event(frame) => {
                self.seen.push(frame.seq);
                return Some(frame.event);
            }
            Notice::Welcome(welcomed) => self.welcomes.push((welcomed.mode, welcomed.node)),
            Notice::Ended(end) => panic!("the session ended: {end:?}"),
            _ => {}
        }
        None
    }

    /// Declares something, and reads on until that is seen.
    async fn declare(&mut self, declared: Declared) {
        let command = Command::Declare { agent: AgentId(self.number), declared };
        let (commander, site) = (self.session.commander(), self.site);
        let asked = tokio::spawn(async move { commander.send(site, command).await });
        loop {
            let event = self.next().await;
            if matches!(event, Some(Event::AgentDeclared { declared: now, .. }) if now == declared)
            {
                break;
            }
        }
        let answer = asked.await.expect("it ends").expect("the session lives");
        assert!(matches!(answer.result, CommandReply::Outcome(Outcome::Done(_))), "{answer:?}");
    }

    /// Where its session is.
    fn place(&self) -> usize {
        let (_, node) = self.welcomes.last().expect("it was welcomed");
        usize::try_from(node.0).expect("a small number")
    }

    /// Reads until the session is served elsewhere, without a hole.
    async fn leaves(&mut self, place: usize) {
        while self.place() == place {
            self.next().await;
        }
        let resumed = self.welcomes[1..].iter().all(|(mode, _)| *mode == Mode::Replayed);
        assert!(resumed, "{:?}", self.welcomes);
        let dense = (1..=self.seen.len() as u64).collect::<Vec<_>>();
        assert_eq!(self.seen, dense, "nothing is missing");
    }
}

async fn site(nodes: &Nodes) -> SiteId {
    let api = nodes.admin(1);
    let (_, site) = tenant_and_site(&api, "acme", json!({"name": "north"})).await;
    for agent in ["ag_1", "ag_2"] {
        let profile = json!({"name": {"text": "Lin"}});
        done(&api, Method::PUT, &format!("/v1/sites/{site}/agents/{agent}"), profile).await;
    }
    site.parse().expect("an id")
}

/// `rotary node`, asked of a node counted from 1.
fn node(nodes: &Nodes, asked: usize, args: &[&str]) -> Output {
    let url = nodes.gateways[asked - 1].to_string();
    let mut command = rotary();
    command.arg("node").args(args).args(["--url", &url, "--token", &nodes.token]);
    command.output().expect("it runs")
}

/// What a node says of whether it is ready; nothing if it cannot be reached.
fn readyz(gateway: &Gateway) -> Option<String> {
    let mut socket = TcpStream::connect(gateway.authority()).ok()?;
    socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_emptied_stays_so_over_a_restart_and_serves_again() {
    let mut nodes = Nodes::init(3, 4);
    nodes.start_all().await;
    let site = site(&nodes).await;
    let mut agent = Agent::start(&nodes, site, 1, &[1, 2, 3]).await;
    let here = agent.place();
    let (other, name) = (here % 3 + 1, format!("nd_{here}"));

    let drained = said(&node(&nodes, other, &["drain", &name, "--wait"]));
    let told = format!("{name} is empty, and may be stopped");
    assert!(drained.0 == Some(0) && drained.1.contains(&told), "{drained:?}");
    agent.leaves(here).await;
    agent.declare(Declared::SignedOut).await;
    agent.declare(Declared::Ready).await;
    let emptied = nodes.gateways[here - 1].clone();
    let why = readyz(&emptied).expect("it answers");
    assert!(why.contains("503") && why.ends_with("this node drains\n"), "{why}");
    let cluster: Value = nodes.admin(here).read("/v1/cluster").await.expect("it answers as before");
    let shards = cluster["shards"].as_array().expect("a list");
    assert!(shards.iter().all(|shard| shard["leader"] != name.as_str()), "{shards:?}");
    let status = rotary()
        .args(["cluster", "status", "--url", &emptied.to_string(), "--token", &nodes.token])
        .output()
        .expect("it runs");
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains(&format!("{name} drains: it is empty")), "{status}");
    // Nobody begins there: whoever tries it first is elsewhere.
    let second = Agent::start(&nodes, site, 2, &[here, other]).await;
    assert!(second.welcomes.iter().all(|(_, node)| node.to_string() != name), "it drains");

    assert!(nodes.stop(here).success());
    nodes.start(here);
    eventually("it drains as before", async || {
        readyz(&emptied).filter(|why| why.ends_with("\r\n\r\nthis node drains\n"))
    })
    .await;
    assert_eq!(node(&nodes, other, &["undrain", &name]).status.code(), Some(0));
    nodes.ready(&emptied).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_is_emptied_too_and_never_every_core_node() {
    let mut nodes = Nodes::init_before(3, 1, 1);
    nodes.start_all().await;
    let site = site(&nodes).await;
    let mut agent = Agent::start(&nodes, site, 1, &[GATEWAY, 2]).await;
    assert_eq!(agent.place(), GATEWAY);
    eventually("the gateway is known", async || {
        let listed = node(&nodes, 2, &["list"]);
        String::from_utf8_lossy(&listed.stdout).contains("nd_4  gateway").then_some(())
    })
    .await;
    let drained = said(&node(&nodes, 2, &["drain", "nd_4", "--wait"]));
    assert!(drained.0 == Some(0) && drained.1.contains("nd_4 is empty"), "{drained:?}");
    agent.leaves(GATEWAY).await;
    agent.declare(Declared::SignedOut).await;

    assert_eq!(node(&nodes, 2, &["drain", "1"]).status.code(), Some(0));
    assert_eq!(node(&nodes, 2, &["drain", "3"]).status.code(), Some(0));
    let last = said(&node(&nodes, 2, &["drain", "2"]));
    assert!(last.0 == Some(4) && last.1.contains("undrain another one first"), "{last:?}");
    let without = node(&nodes, 2, &["decommission", "2", "--dry-run"]);
    let told = String::from_utf8_lossy(&without.stdout).into_owned();
    assert!(without.status.success() && told.contains("sh_1: nd_1 nd_3 decide"), "{told}");
    nodes.kill(3);
    eventually("it is seen that it would not do", async || {
        let without = node(&nodes, 2, &["decommission", "2", "--dry-run"]);
        let told = String::from_utf8_lossy(&without.stdout).into_owned();
        let seen = told.contains("sh_1: no majority: nd_3 silent");
        assert!(!seen || without.status.code() == Some(10), "{without:?}");
        seen.then_some(())
    })
    .await;
}
