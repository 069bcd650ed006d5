//! Boards on real nodes: figures of several sites, on whichever node, and not too often.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod wire;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::SinkExt;
use hyper::Method;
use nodes::{Nodes, done, eventually, tenant_and_site};
use rotary_client::Gateway;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use wire::{Socket, connect_to, frame};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A wallboard, and what it would show.
struct Board {
    gateways: Vec<Gateway>,
    socket: Socket,
    resume_token: String,
    seq: u64,
    cursors: BTreeMap<String, u64>,
    /// Figures by site and queue.
    figures: BTreeMap<(String, String), Value>,
    agents: BTreeMap<String, Value>,
    frames: usize,
    /// Sites of which nothing has come on this socket.
    fresh: Vec<String>,
}

impl Board {
    async fn start(gateways: &[Gateway], token: &Value) -> Self {
        let first = json!({"type": "start", "token": token});
        let (socket, welcome) = begin(&gateways[0], &first).await;
        assert_eq!((&welcome["mode"], &welcome["seq"]), (&json!("new"), &json!(0)));
        let (seq, frames) = (0, 0);
        let (cursors, figures, agents) = Default::default();
        let (resume_token, fresh) = read(&welcome);
        let gateways = gateways.to_vec();
        Self { gateways, socket, resume_token, seq, cursors, figures, agents, frames, fresh }
    }

    /// Goes on at whichever of its gateways can.
    async fn go_on(&mut self) {
        let cursors = self.cursors.iter().map(|(site, at)| json!({"site": site, "sequence": at}));
        let cursors: Vec<Value> = cursors.collect();
        let resume = json!({"type": "resume", "resume_token": self.resume_token,
            "cursors": cursors, "seq": self.seq});
        let mut gateways = self.gateways.iter().cycle();
        let (socket, welcome) = eventually("a node that can", async || {
            let gateway = gateways.next().expect("there are some");
            tokio::net::TcpStream::connect(gateway.authority()).await.ok()?;
            let (socket, first) = begin(gateway, &resume).await;
            (first["code"] != "behind").then_some((socket, first))
        })
        .await;
        assert_eq!((&welcome["mode"], &welcome["seq"]), (&json!("replayed"), &json!(self.seq)));
        self.socket = socket;
        (self.resume_token, self.fresh) = read(&welcome);
    }

    /// Takes figures until they are so.
    async fn until(&mut self, so: impl Fn(&Self) -> bool) {
        let came = tokio::time::timeout(nodes::LIMIT, self.take_until(so)).await;
        came.expect("figures in time");
    }

    async fn take_until(&mut self, so: impl Fn(&Self) -> bool) {
        while !so(self) {
            let ping = json!({"type": "ping", "t": 1});
            self.socket.send(Message::text(ping.to_string())).await.expect("open");
            let frame = frame(&mut self.socket).await;
            match frame["type"].as_str() {
                Some("pong") => tokio::time::sleep(PAUSE).await,
                Some("board") => self.take(&frame),
                // A leader was lost, and this node has not heard of the next.
                Some("bye") if frame["code"] == "behind" => self.go_on().await,
                _ => panic!("{frame}"),
            }
        }
    }

    fn take(&mut self, frame: &Value) {
        self.seq += 1;
        self.frames += 1;
        assert_eq!(frame["seq"], self.seq, "{frame}");
        let site = frame["cursor"]["site"].as_str().expect("a site").to_owned();
        let at = frame["cursor"]["sequence"].as_u64().expect("a number");
        let before = self.cursors.insert(site.clone(), at).unwrap_or(0);
        assert!(at >= before, "figures of {at} after those of {before}");
        let first = self.fresh.contains(&site);
        assert!(frame["whole"] == true || !first, "{frame}");
        self.fresh.retain(|other| *other != site);
        self.agents.insert(site.clone(), frame["agents"].clone());
        for queue in frame["queues"].as_array().expect("a list") {
            let id = queue["queue"].as_str().expect("an id").to_owned();
            self.figures.insert((site.clone(), id), queue.clone());
        }
    }

    fn waiting(&self, site: &str, queue: &str) -> Option<u64> {
        self.figures.get(&(site.to_owned(), queue.to_owned()))?["waiting"].as_u64()
    }
}

async fn begin(gateway: &Gateway, first: &Value) -> (Socket, Value) {
    let mut socket = connect_to(gateway).await;
    socket.send(Message::text(first.to_string())).await.expect("open");
    let answer = frame(&mut socket).await;
    (socket, answer)
}

fn read(welcome: &Value) -> (String, Vec<String>) {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let sites = welcome["sites"].as_array().expect("a list").iter().map(text).collect();
    (text(&welcome["resume_token"]), sites)
}

/// Two sites of a tenant with two queues each, and a board's token for the tenant.
async fn house(nodes: &Nodes) -> ([String; 2], Value) {
    let api = nodes.admin(1);
    let (tenant, north) = tenant_and_site(&api, "acme", json!({"name": "north"})).await;
    let body = json!({"tenant": tenant, "settings": {"name": "south"}});
    let south = done(&api, Method::POST, "/v1/sites", body).await;
    let sites = [north, south["site"].as_str().expect("a text").to_owned()];
    for site in &sites {
        for queue in ["qu_1", "qu_2"] {
            let path = format!("/v1/sites/{site}/queues/{queue}");
            done(&api, Method::PUT, &path, json!({"name": queue})).await;
        }
    }
    let body = json!({"role": "board", "tenant": tenant, "ttl_s": 3600});
    let token = done(&api, Method::POST, "/v1/tokens", body).await["token"].clone();
    (sites, token)
}

async fn open(nodes: &Nodes, node: usize, site: &str, queue: &str) {
    let path = format!("/v1/sites/{site}/conversations");
    let body = json!({"queue": queue, "channel": "chat"});
    done(&nodes.admin(node), Method::POST, &path, body).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_shows_a_tenant_and_goes_on_elsewhere() {
    let mut nodes = Nodes::init(3, 2);
    nodes.start_all().await;
    let ([north, south], token) = house(&nodes).await;
    let mut board = Board::start(&nodes.gateways, &token).await;
    board.until(|board| board.fresh.is_empty()).await;
    assert_eq!(board.figures.len(), 4, "{:?}", board.figures);
    let (begun, before) = (Instant::now(), board.frames);
    for _ in 0..20 {
        open(&nodes, 2, &north, "qu_1").await;
    }
    board.until(|board| board.waiting(&north, "qu_1") == Some(20)).await;
    // Once a second for each of the two sites, however much happens.
    let most = 2 * (begun.elapsed().as_secs() as usize + 2);
    assert!(board.frames - before <= most, "{} in {:?}", board.frames - before, begun.elapsed());
    assert_eq!(board.waiting(&south, "qu_1"), Some(0));
    nodes.kill(1);
    open(&nodes, 2, &south, "qu_2").await;
    board.go_on().await;
    board.until(|board| board.waiting(&south, "qu_2") == Some(1)).await;
    board.until(|board| board.fresh.is_empty()).await;
    assert_eq!(board.waiting(&north, "qu_1"), Some(20));
    let profile = json!({"name": {"text": "Lin"}});
    let path = format!("/v1/sites/{north}/agents/ag_1");
    done(&nodes.admin(2), Method::PUT, &path, profile).await;
    board.until(|board| board.agents[&north]["signed_out"] == 1).await;
}

/// The gateway-only node, counted from 1.
const GATEWAY: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_at_a_gateway_does_not_notice_which_core_node_counts() {
    let mut nodes = Nodes::init_before(3, 1, 1);
    nodes.start_all().await;
    let ([north, _], token) = house(&nodes).await;
    let mut board = Board::start(&nodes.gateways[GATEWAY - 1..], &token).await;
    board.until(|board| board.fresh.is_empty()).await;
    for dead in 1..=3 {
        nodes.kill(dead);
        open(&nodes, GATEWAY, &north, "qu_1").await;
        board.until(|board| board.waiting(&north, "qu_1") == Some(dead as u64)).await;
        nodes.start(dead);
        nodes.ready(&nodes.gateways[dead - 1].clone()).await;
    }
}
