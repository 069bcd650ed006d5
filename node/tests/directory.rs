//! The directory of a real cluster knows its nodes and its shards' replicas; whether a gateway-only
//! node lives is what the core nodes see.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use hyper::Method;
use nodes::{Nodes, done, eventually, rotary, said, text};
use serde_json::{Value, json};

/// The gateway-only node, counted from 1.
const GATEWAY: usize = 4;

async fn cluster(nodes: &Nodes, asked: usize) -> Option<Value> {
    nodes.admin(asked).read("/v1/cluster").await.ok()
}

/// The only gateway-only node that a node lists, once it is as wanted.
async fn gateway(nodes: &Nodes, asked: usize, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let cluster = cluster(nodes, asked).await?;
        let all = cluster["gateways"].as_array().expect("a list");
        assert!(all.len() <= 1, "{all:?}");
        all.first().filter(|row| is(row)).cloned()
    })
    .await
}

/// Waits until every core node hears it, and each node, itself included, says so.
async fn is_here(nodes: &Nodes) -> Value {
    let all = json!(["nd_1", "nd_2", "nd_3"]);
    for asked in 1..=GATEWAY {
        gateway(nodes, asked, "all see it", |row| row["seen_by"] == all).await;
    }
    gateway(nodes, 1, "it is here", |row| row["connected"] == true).await
}

async fn is_gone(nodes: &Nodes) -> Value {
    for asked in 2..=3 {
        gateway(nodes, asked, "nobody sees it", |row| row["seen_by"] == json!([])).await;
    }
    gateway(nodes, 1, "it is gone", |row| row["connected"] == false).await
}

/// Runs the command line against a node, counted from 1.
fn asked(nodes: &Nodes, node: usize, args: &[&str]) -> std::process::Output {
    let url = nodes.gateways[node - 1].to_string();
    let output = rotary().args(args).args(["--url", &url, "--token", &nodes.token]).output();
    output.expect("it runs")
}

/// The directory's term and last index at a node.
async fn directory_at(nodes: &Nodes, node: usize) -> (Value, Value) {
    let cluster = cluster(nodes, node).await.expect("it answers");
    let row = &cluster["shards"][0];
    assert_eq!(row["shard"], "sh_0");
    (row["term"].clone(), row["last"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_is_listed_while_it_lives_when_it_is_gone_and_until_it_is_forgotten() {
    let mut nodes = Nodes::init_before(3, 1, 2);
    nodes.start_all().await;
    let here = is_here(&nodes).await;
    assert_eq!(here["node"], "nd_4", "{here}");
    assert_eq!(here["url"], nodes.gateways[GATEWAY - 1].to_string(), "{here}");
    assert_eq!(here["build"], env!("CARGO_PKG_VERSION"), "{here}");
    assert_eq!((&here["sessions"], &here["logic"]["oldest"]), (&json!(0), &json!(1)), "{here}");
    replicas_are_shown(&nodes).await;

    // What is known already is not written down again.
    let before = directory_at(&nodes, 1).await;
    assert!(nodes.stop(GATEWAY).success());
    is_gone(&nodes).await;
    nodes.start(GATEWAY);
    is_here(&nodes).await;
    let after = directory_at(&nodes, 1).await;
    assert!(before.0 != after.0 || before.1 == after.1, "{before:?} {after:?}");

    nodes.kill(GATEWAY);
    let gone = is_gone(&nodes).await;
    assert!(gone["last_seen"].is_u64() && gone["since"].is_null(), "{gone}");
    let status = said(&asked(&nodes, 1, &["cluster", "status"]));
    assert!(status.0 == Some(10) && status.1.contains("not connected: nd_4"), "{status:?}");
    let log = |node| nodes.log(node);
    eventually("it is told", async || log(1).contains("gateway-silent").then_some(())).await;

    doctor_tells_who_is_not_here(&nodes);
    forget(&nodes).await;
    nodes.start(GATEWAY);
    is_here(&nodes).await;
    let listed = asked(&nodes, GATEWAY, &["node", "list"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("nd_3  core ") && listed.contains("nd_4  gateway "), "{listed}");
    assert_eq!(asked(&nodes, 2, &["cluster", "status"]).status.code(), Some(0));
}

/// It is told by a core node, with a token; without one, nobody is asked.
fn doctor_tells_who_is_not_here(nodes: &Nodes) {
    let found = |args: &[&str]| {
        let mut doctor = rotary();
        doctor.args(["doctor", "-o", "json", "--config"]).arg(nodes.config(2)).args(args);
        let output = doctor.output().expect("it runs");
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let rows = found["data"].as_array().expect("rows").clone();
        rows.into_iter().find(|row| row["of"] == "nd_4")
    };
    let told = found(&["--token", &nodes.token]).expect("it is announced");
    assert_eq!((&told["code"], &told["grade"]), (&json!("gateway-silent"), &json!("warning")));
    assert_eq!(found(&[]), None);
}

async fn replicas_are_shown(nodes: &Nodes) {
    let built = |row: &Value| row["build"] == env!("CARGO_PKG_VERSION");
    let shown = eventually("core nodes announce themselves", async || {
        let shown = cluster(nodes, 2).await?;
        shown["nodes"].as_array()?.iter().all(built).then_some(shown)
    })
    .await;
    let shards = shown["shards"].as_array().expect("a list");
    assert_eq!(shards.len(), 3, "{shown}");
    for shard in shards {
        assert_eq!(shard["replicas"], json!(["nd_1", "nd_2", "nd_3"]), "{shard}");
    }
}

/// Forgets the gateway-only node, which is gone; a core node is not forgotten.
async fn forget(nodes: &Nodes) {
    let status = |args: &[&str]| said(&asked(nodes, 2, args));
    assert_eq!(status(&["node", "forget", "4"]).0, Some(0));
    for node in 1..=3 {
        eventually("it is forgotten", async || {
            (cluster(nodes, node).await?["gateways"] == json!([])).then_some(())
        })
        .await;
    }
    let (code, told) = status(&["node", "forget", "nd_4"]);
    assert!(code != Some(0) && told.contains("there is no such node"), "{told}");
    let (code, told) = status(&["node", "forget", "1"]);
    assert!(code != Some(0) && told.contains("nd_1 keeps replicas"), "{told}");
}

/// Makes a node's folder anew from another's, with ports of its own, and starts it.
fn start_copy(nodes: &mut Nodes, from: usize, change: impl Fn(String) -> String) -> usize {
    let base = nodes::free_base(1);
    let to = nodes.gateways.len() + 1;
    let (from, folder) = (nodes.config(from), nodes.config(to).with_file_name("tls"));
    std::fs::create_dir_all(&folder).expect("writable");
    for file in ["ca.pem", "node.pem", "node.key"] {
        let file = |tls: std::path::PathBuf| tls.join(file);
        std::fs::copy(file(from.with_file_name("tls")), file(folder.clone())).expect("copied");
    }
    let listen = format!("public = \"127.0.0.1:{base}\"\npeer = \"127.0.0.1:{}\"\n", base + 2);
    let config = text(&from);
    let (head, rest) = config.split_once("[listen]\n").expect("where it listens");
    let (_, tail) = rest.split_once("\n\n").expect("the end of that");
    let config = change(format!("{head}[listen]\n{listen}\n{tail}"));
    std::fs::write(nodes.config(to), config).expect("writable");
    nodes.admit(format!("http://127.0.0.1:{base}").parse().expect("an address"));
    nodes.start(to);
    to
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claims_anothers_number_is_refused() {
    let mut nodes = Nodes::init_before(2, 1, 1);
    nodes.start_all().await;
    let here = |row: &Value| row["seen_by"] == json!(["nd_1", "nd_2"]);
    let first = gateway(&nodes, 1, "it is here", here).await;

    // The number and certificate of one that runs.
    let twin = start_copy(&mut nodes, 3, |config| config);
    let refused = |node, why: &'static str| {
        let log = nodes.log(node);
        log.lines().any(|line| line.contains("announce-refused") && line.contains(why))
    };
    let another = "another node runs as nd_3";
    eventually("the twin is told", async || refused(twin, another).then_some(())).await;
    let shown = gateway(&nodes, 1, "it is here", here).await;
    assert_eq!(shown["url"], first["url"], "the first stays");

    // A number of its own, and another's certificate.
    let liar = start_copy(&mut nodes, 3, |config| config.replacen("id = 3", "id = 9", 1));
    let log = |node| nodes.log(node);
    eventually("it does not start", async || {
        let told = log(liar);
        (told.contains("certificate-foreign") && told.contains("nd_9")).then_some(())
    })
    .await;

    // The number and certificate of a core node, which its own list does not have.
    let core = start_copy(&mut nodes, 1, |config| {
        let (own, rest) = config.split_once("[[cluster.peers]]").expect("the first is node 1");
        let (_, others) = rest.split_once("[[cluster.peers]]").expect("node 2 follows");
        let own = own.replacen("data_dir = \"data\"", "role = \"gateway\"", 1);
        format!("{own}[[cluster.peers]]{others}\n")
    });
    let refused = |node, why: &'static str| {
        let log = nodes.log(node);
        log.lines().any(|line| line.contains("announce-refused") && line.contains(why))
    };
    eventually("it is told", async || refused(core, "nd_1 is a core node").then_some(())).await;
    let shown = gateway(&nodes, 2, "it is here", here).await;
    assert_eq!(
        shown,
        json!({"since": shown["since"], "last_seen": shown["last_seen"],
        "node": "nd_3", "url": first["url"], "peer": first["peer"], "build": first["build"],
        "logic": first["logic"], "connected": true, "seen_by": ["nd_1", "nd_2"], "sessions": 0,
        "drains": false, "remains": null})
    );
}

#[tokio::test]
async fn a_configuration_that_the_cluster_was_not_founded_with_is_told() {
    let mut nodes = Nodes::init(1, 1);
    nodes.start_all().await;
    eventually("it is announced", async || {
        (cluster(&nodes, 1).await?["nodes"][0]["build"].is_string()).then_some(())
    })
    .await;
    assert!(!nodes.log(1).contains("members-differ"), "nothing differs");
    assert!(nodes.stop(1).success());
    let config = text(&nodes.config(1));
    assert!(config.contains("\nshards = 1\n"), "{config}");
    let config = config.replace("\nshards = 1\n", "\nshards = 2\n");
    std::fs::write(nodes.config(1), config).expect("writable");
    nodes.start(1);
    let log = || nodes.log(1);
    eventually("it is told", async || {
        let told = log();
        (told.contains("members-differ") && told.contains("cluster.shards is 2")).then_some(())
    })
    .await;
    // It serves all the same.
    let tenant = done(&nodes.admin(1), Method::POST, "/v1/tenants", json!({"name": "a"})).await;
    assert_eq!(tenant["tenant"], "tn_1");
}
