//! Core nodes that come, go, and take each other's place, while the cluster serves.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::process::Output;

use hyper::Method;
use nodes::{Nodes, done, eventually, free_base, rotary, said, tenant_and_site};
use rotary_client::Api;
use serde_json::{Value, json};

/// Prepares a core node, and gives its number and the arguments that say where it is.
fn prepare(nodes: &mut Nodes) -> (usize, [String; 4]) {
    let base = free_base(1);
    let (public, peer) = (format!("127.0.0.1:{base}"), format!("127.0.0.1:{}", base + 2));
    let added = rotary()
        .args(["cluster", "add-node", "--public", &public, "--peer", &peer, "--dir"])
        .arg(nodes.dir.path())
        .output()
        .expect("it runs");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let url = format!("http://{public}");
    nodes.admit(url.parse().expect("an address"));
    let number = nodes.gateways.len();
    let told = String::from_utf8_lossy(&added.stdout).into_owned();
    let add = format!("rotary node add {number} --peer {peer} --public {url} --wait");
    assert!(told.contains(&format!("node-{number}/rotary.toml")) && told.contains(&add), "{told}");
    (number, ["--peer".to_owned(), peer, "--public".to_owned(), url])
}

/// What a node, counted from 1, answers, whatever its status.
fn get(nodes: &Nodes, node: usize, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut socket = std::net::TcpStream::connect(nodes.gateways[node - 1].authority()).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// `rotary node` on the first node.
fn node(nodes: &Nodes, args: &[&str]) -> Output {
    let url = nodes.gateways[0].to_string();
    let mut asked = rotary();
    asked.arg("node").args(args).args(["--url", &url, "--token", &nodes.token]);
    asked.output().expect("it runs")
}

fn must(output: &Output) -> String {
    assert!(output.status.success(), "{:?}", said(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Who votes in each shard and who follows without, as a node sees it.
async fn members(api: &Api) -> Vec<(Value, Value)> {
    let cluster: Value = api.read("/v1/cluster").await.expect("it answers");
    let shards = cluster["shards"].as_array().expect("a list");
    shards.iter().map(|shard| (shard["voters"].clone(), shard["learners"].clone())).collect()
}

/// Makes a conversation, and gives its id.
async fn open(api: &Api, site: &str) -> String {
    let body = json!({"queue": "qu_1", "channel": "chat"});
    let path = format!("/v1/sites/{site}/conversations");
    let made = done(api, Method::POST, &path, body).await;
    made["conversation"].as_str().expect("a text").to_owned()
}

async fn site_with_a_queue(api: &Api) -> String {
    let (_, site) = tenant_and_site(api, "t", json!({"name": "s"})).await;
    let queue = json!({"name": "q"});
    done(api, Method::PUT, &format!("/v1/sites/{site}/queues/qu_1"), queue).await;
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_takes_the_place_of_one_whose_disk_is_lost() {
    let mut nodes = Nodes::init_before(3, 1, 2);
    nodes.start_all().await;
    let api = nodes.admin(1);
    let site = site_with_a_queue(&api).await;
    let before = open(&api, &site).await;
    eventually("every node has said who it is", async || {
        let cluster: Value = api.read("/v1/cluster").await.ok()?;
        cluster["nodes"].as_array()?.iter().all(|row| row["build"].is_string()).then_some(())
    })
    .await;

    nodes.kill(3);
    std::fs::remove_dir_all(nodes.dir.path().join("node-3/data")).expect("it was there");
    nodes.start(3);
    let log = async || nodes.log(3).contains("is not initialised").then_some(());
    eventually("a node without its disk does not start", log).await;

    let (new, place) = prepare(&mut nodes);
    nodes.start(new);
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    let replaced = node(&nodes, &[&["replace", "3", "5"], &place[..], &["--wait"]].concat());
    assert!(must(&replaced).contains("nd_5 is to keep every shard"), "{replaced:?}");
    nodes.ready(&nodes.gateways[new - 1].clone()).await;
    for asked in [1, 2, new] {
        eventually("all know", async || {
            let all = members(&nodes.admin(asked)).await;
            all.iter().all(|of| *of == (json!(["nd_1", "nd_2", "nd_5"]), json!([]))).then_some(())
        })
        .await;
    }
    let listed = must(&node(&nodes, &["list"]));
    assert!(listed.contains("nd_3  leaving") && listed.contains("nd_5  core"), "{listed}");
    assert_eq!(node(&nodes, &["forget", "3"]).status.code(), Some(0));
    assert!(!must(&node(&nodes, &["list"])).contains("nd_3"));

    let learns = async || nodes.log(4).contains("nd_1, nd_2, nd_5\"").then_some(());
    eventually("a gateway-only node learns who the core nodes are", learns).await;

    // What was before is there, and its vote counts: without another one, the cluster goes on.
    nodes.kill(1);
    open(&nodes.admin(4), &site).await;
    let api = nodes.admin(new);
    let after = open(&api, &site).await;
    for conversation in [before, after] {
        let path = format!("/v1/conversations/{conversation}/trace");
        let trace: Value = api.read(&path).await.expect("it is there");
        assert!(trace["data"][0]["event"]["opened"].is_object(), "{trace}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_added_loses_its_vote_and_another_is_let_go() {
    let mut nodes = Nodes::init(3, 2);
    nodes.start_all().await;
    let api = nodes.admin(1);
    let site = site_with_a_queue(&api).await;
    let (new, place) = prepare(&mut nodes);
    let place: Vec<&str> = place.iter().map(String::as_str).collect();

    // It is said what is waited for, and that goes on when nobody waits any more.
    let add = |rest: &[&str]| node(&nodes, &[&["add", "4"], &place[..], rest].concat());
    let waited = said(&add(&["--wait", "--timeout-s", "2"]));
    assert_eq!(waited.0, Some(10), "{waited:?}");
    assert!(waited.1.contains("sh_2 (nd_4 does not"), "{waited:?}");
    let again = said(&add(&[]));
    assert!(again.0 == Some(4) && again.1.contains("take nd_5"), "{again:?}");
    nodes.start(new);
    nodes.ready(&nodes.gateways[new - 1].clone()).await;
    let are = async |voters: &[&str], learners: &[&str]| {
        let due = (json!(voters), json!(learners));
        eventually("the members are these", async || {
            members(&nodes.admin(1)).await.iter().all(|of| *of == due).then_some(())
        })
        .await;
    };
    are(&["nd_1", "nd_2", "nd_3", "nd_4"], &[]).await;

    must(&node(&nodes, &["demote", "2", "--wait"]));
    are(&["nd_1", "nd_3", "nd_4"], &["nd_2"]).await;
    assert!(must(&node(&nodes, &["list"])).contains("nd_2  no vote"));
    must(&node(&nodes, &["decommission", "3", "--wait"]));
    are(&["nd_1", "nd_4"], &["nd_2"]).await;
    must(&node(&nodes, &["promote", "2", "--wait"]));
    are(&["nd_1", "nd_2", "nd_4"], &[]).await;

    // Who was let go says so, takes nobody in, and may go.
    let told = async || get(&nodes, 3, "/readyz")?.contains("nd_3 was let go").then_some(());
    eventually("it is not ready", told).await;
    assert!(nodes.stop(3).success());
    open(&api, &site).await;
    let last = said(&node(&nodes, &["decommission", "3"]));
    assert!(last.0 == Some(4) && last.1.contains("nd_3 keeps no replicas"), "{last:?}");
}
