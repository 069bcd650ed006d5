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

/// `rotary cluster set-shards` on the first node.
fn set_shards(nodes: &Nodes, args: &[&str]) -> Output {
    let url = nodes.gateways[0].to_string();
    let mut asked = rotary();
    asked.args(["cluster", "set-shards"]).args(args);
    asked.args(["--url", &url, "--token", &nodes.token]).output().expect("it runs")
}

/// What a shard waits for, as a node sees it; `None` as long as the shard is not there.
async fn waiting(api: &Api, shard: &str) -> Option<Value> {
    let cluster: Value = api.read("/v1/cluster").await.ok()?;
    let row = cluster["shards"].as_array()?.iter().find(|row| row["shard"] == shard)?;
    Some(row["waiting"].clone())
}

/// Makes a site in a shard, with a queue and a conversation; the conversation's id.
async fn live_in(api: &Api, tenant: &Value, shard: &str) -> String {
    let body = json!({"tenant": tenant, "shard": shard, "settings": {"name": shard}});
    let made = done(api, Method::POST, "/v1/sites", body).await;
    assert_eq!(made["shard"], shard);
    let site = made["site"].as_str().expect("a text");
    done(api, Method::PUT, &format!("/v1/sites/{site}/queues/qu_1"), json!({"name": "q"})).await;
    open(api, site).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_made_while_the_cluster_serves_whoever_dies_meanwhile() {
    let mut nodes = Nodes::init_before(3, 0, 2);
    nodes.start_all().await;
    let api = nodes.admin(1);
    let (tenant, _) = tenant_and_site(&api, "t", json!({"name": "s"})).await;
    let told = must(&set_shards(&nodes, &["3", "--wait"]));
    assert!(told.contains("there are to be 3 data shards"), "{told}");
    let mut kept = vec![live_in(&api, &tenant, "sh_3").await];
    let fewer = set_shards(&nodes, &["2"]);
    assert!(said(&fewer).1.contains("shards are never taken away"), "{fewer:?}");

    // The one that is to begin it is away, and comes back.
    nodes.kill(2);
    must(&set_shards(&nodes, &["4"]));
    let told = async || {
        let why = waiting(&nodes.admin(1), "sh_4").await?;
        (why == "it is being made, and begins on nd_2").then_some(())
    };
    eventually("it is said who is waited for", told).await;
    // Who wants to live there is asked to come again, and does.
    let early = live_in(&api, &tenant, "sh_4");
    let (early, ()) = tokio::join!(early, async {
        nodes.start(2);
        must(&set_shards(&nodes, &["4", "--wait"]));
    });
    kept.push(early);

    // The one that is to begin it never comes back.
    nodes.kill(3);
    must(&set_shards(&nodes, &["5"]));
    let (new, place) = prepare(&mut nodes);
    nodes.start(new);
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    must(&node(&nodes, &[&["replace", "3", "4"], &place[..], &["--wait"]].concat()));
    must(&set_shards(&nodes, &["5", "--wait"]));
    kept.push(live_in(&api, &tenant, "sh_5").await);

    for number in [1, 2, new] {
        nodes.kill(number);
    }
    for number in [1, 2, new] {
        nodes.start(number);
    }
    for number in [1, 2, new] {
        nodes.ready(&nodes.gateways[number - 1].clone()).await;
        for conversation in &kept {
            let path = format!("/v1/conversations/{conversation}");
            let api = nodes.admin(number);
            eventually("all is there", async || api.read::<Value>(&path).await.ok()).await;
        }
    }
}

/// Writes where a batch would be whose write was interrupted, behind the log of a stopped node.
fn tear_log(nodes: &Nodes, node: usize) {
    use std::os::unix::fs::FileExt as _;
    let log = nodes.dir.path().join(format!("node-{node}/data/log"));
    let mut paths: Vec<_> = std::fs::read_dir(log).expect("a log").flatten().collect();
    paths.sort_by_key(std::fs::DirEntry::path);
    let ends = paths.into_iter().filter_map(|entry| {
        let bytes = std::fs::read(entry.path()).expect("readable");
        let last = bytes.iter().rposition(|byte| *byte != 0)?;
        Some((entry.path(), last as u64))
    });
    let (path, at) = ends.last().expect("something is in it");
    let file = std::fs::File::options().write(true).open(path).expect("writable");
    file.write_all_at(&[0x5a; 100], at + 700).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_log_once_lost_its_tail_begins_new_shards() {
    let mut nodes = Nodes::init(3, 2);
    nodes.start_all().await;
    let (tenant, _) = tenant_and_site(&nodes.admin(2), "t", json!({"name": "s"})).await;
    nodes.kill(1);
    tear_log(&nodes, 1);
    nodes.start(1);
    let whole = async || nodes.log(1).contains("the log is whole again").then_some(());
    eventually("it has caught up", whole).await;
    nodes.ready(&nodes.gateways[0].clone()).await;
    // The third shard falls to node 1.
    must(&set_shards(&nodes, &["3", "--wait"]));
    live_in(&nodes.admin(1), &tenant, "sh_3").await;
}
