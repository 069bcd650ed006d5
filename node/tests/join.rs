//! New nodes whose folders get to their machines by tokens, and machines that die on the way.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use hyper::Method;
use nodes::{Nodes, done, eventually, free_base, rotary, said};
use serde_json::{Value, json};

/// `rotary` as an administrator of the cluster.
fn asked(nodes: &Nodes, args: &[&str]) -> Output {
    let url = nodes.gateways[0].to_string();
    let mut asked = rotary();
    asked.args(args).args(["--url", &url, "--token", &nodes.token]);
    asked.output().expect("it runs")
}

fn must(output: &Output) -> String {
    assert!(output.status.success(), "{:?}", said(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The token of the command that was printed.
fn token_in(told: &str) -> String {
    let line = told.lines().find(|line| line.contains("rotary node join rj1_"));
    let line = line.unwrap_or_else(|| panic!("no command: {told}"));
    line.split_whitespace().find(|word| word.starts_with("rj1_")).expect("a token").to_owned()
}

/// Has a folder wait for a new node, and gives its number, its base port and the token.
fn prepare(nodes: &mut Nodes, kind: &str, more: &[&str]) -> (usize, u16, String) {
    let base = free_base(1);
    let (public, peer) = (format!("127.0.0.1:{base}"), format!("127.0.0.1:{}", base + 2));
    let dir = nodes.dir.path().display().to_string();
    let add = ["cluster", kind, "--public", &public, "--peer", &peer, "--dir", &dir];
    let told = must(&asked(nodes, &[&add[..], &["--join-token"], more].concat()));
    nodes.admit(format!("http://{public}").parse().expect("an address"));
    let number = nodes.gateways.len();
    assert!(told.contains(&format!("--dir node-{number}")), "{told}");
    assert!(!nodes.dir.path().join(format!("node-{number}/data")).exists(), "it is no node here");
    (number, base, token_in(&told))
}

fn join(token: &str, dir: &Path) -> Output {
    rotary().args(["node", "join", token, "--dir"]).arg(dir).output().expect("it runs")
}

/// The rows of `rotary cluster tokens list`.
fn tokens(nodes: &Nodes) -> Vec<Value> {
    let listed = must(&asked(nodes, &["cluster", "tokens", "list", "-o", "json"]));
    serde_json::from_str::<Value>(&listed).expect("JSON").as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_node_joins_however_often_it_is_killed() {
    let mut nodes = Nodes::init(1, 1);
    nodes.start_all().await;
    let (number, base, token) = prepare(&mut nodes, "add-node", &["--zone", "a"]);
    let machine = tempfile::tempdir().expect("a directory");
    let dir = machine.path().join("node");
    let mut done = 0;
    for pause_ms in [0, 1, 2, 4, 8, 16, 32, 64, 128] {
        let mut child = rotary()
            .args(["node", "join", &token, "--dir"])
            .arg(&dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let _ = child.kill();
        child.wait().expect("it ends");
        let note = dir.join("joining.json").exists();
        done += usize::from(!note && dir.join("rotary.toml").exists());
    }
    // Whatever was left, one more attempt ends it; and if one had, nothing is done again.
    let joined = join(&token, &dir);
    if done == 0 {
        let told = must(&joined);
        let add = format!("rotary node add {number} --peer 127.0.0.1:{} --public", base + 2);
        assert!(told.contains("is here. Start it") && told.contains(&add), "{told}");
    }
    let again = said(&join(&token, &dir));
    let there = format!("is the folder of nd_{number} of cluster");
    assert!(again.0 == Some(4) && again.1.contains(&there), "{again:?}");

    // Another machine does not get it, and what it has is not lost by asking.
    let other = said(&join(&token, &machine.path().join("other")));
    assert!(other.0 == Some(4) && other.1.contains("join-token-taken"), "{other:?}");
    let rows = tokens(&nodes);
    assert_eq!((rows.len(), &rows[0]["node"]), (1, &json!(format!("nd_{number}"))));
    assert!(rows[0]["taken"].is_u64() && rows[0]["taken_from"] == "127.0.0.1", "{rows:?}");

    // It is a node like any other.
    let home = nodes.dir.path().join(format!("node-{number}"));
    std::fs::remove_dir_all(&home).expect("it was made");
    std::fs::rename(&dir, &home).expect("it is moved as a whole");
    nodes.start(number);
    let (peer, url) = (format!("127.0.0.1:{}", base + 2), format!("http://127.0.0.1:{base}"));
    let number_text = number.to_string();
    let add = ["node", "add", &number_text, "--peer", &peer, "--public", &url, "--wait"];
    must(&asked(&nodes, &add));
    nodes.ready(&nodes.gateways[number - 1].clone()).await;

    let audit: Value = nodes.admin(1).read("/v1/audit?limit=1000").await.expect("readable");
    let rows = audit["data"].as_array().expect("a list").clone();
    let of = |action: &str, outcome: &str| {
        let fits = |row: &&Value| row["action"] == action && row["outcome"] == outcome;
        rows.iter().find(fits).unwrap_or_else(|| panic!("{action} {outcome}: {rows:?}"))
    };
    let id = format!("nd_{number}");
    assert_eq!(of("create_join_token", "done")["target"], id);
    assert_eq!(of("take_join_token", "done")["credential"], "jt_1");
    assert_eq!(of("take_join_token", "done")["address"], "127.0.0.1");
    assert_eq!(of("take_join_token", "join-token-taken")["target"], id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_joins_through_any_node_that_is_left() {
    let mut nodes = Nodes::init_before(3, 1, 1);
    nodes.start_all().await;
    eventually("every node is known, and connected", async || {
        let cluster: Value = nodes.admin(1).read("/v1/cluster").await.ok()?;
        let is_here = |row: &Value| row["connected"] == true && row["build"].is_string();
        let all = |key: &str| cluster[key].as_array().is_some_and(|rows| rows.iter().all(is_here));
        (all("nodes") && all("gateways") && !cluster["gateways"].as_array()?.is_empty())
            .then_some(())
    })
    .await;
    let (number, _, token) = prepare(&mut nodes, "add-gateway", &[]);
    nodes.kill(1);
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("node");
    let told = must(&join(&token, &dir));
    assert!(!told.contains("rotary node add"), "{told}");
    assert!(!dir.join("token.secret").exists() && !dir.join("data").exists());
    let home = nodes.dir.path().join(format!("node-{number}"));
    std::fs::remove_dir_all(&home).expect("it was made");
    std::fs::rename(&dir, &home).expect("it is moved as a whole");
    nodes.start(number);
    nodes.ready(&nodes.gateways[number - 1].clone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_over_used_or_wrong_say_so() {
    let mut nodes = Nodes::init_before(1, 1, 1);
    nodes.start_all().await;
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("node");
    let refused = |token: &str| said(&join(token, &dir));

    let (number, _, token) = prepare(&mut nodes, "add-node", &["--ttl-s", "1"]);
    eventually("it has ended", async || {
        // Only a directory that applies something knows how late it is.
        done(&nodes.admin(1), Method::POST, "/v1/tenants", json!({"name": "t"})).await;
        tokens(&nodes).is_empty().then_some(())
    })
    .await;
    let over = refused(&token);
    assert!(over.0 == Some(1) && over.1.contains("join-token-over"), "{over:?}");

    // Another one for the same folder; and through a gateway-only node.
    let (number, cluster) = (number.to_string(), nodes.dir.path().display().to_string());
    let create = ["cluster", "tokens", "create", &number, "--dir", &cluster];
    let first = token_in(&must(&asked(&nodes, &create)));
    let second = token_in(&must(&asked(&nodes, &create)));
    assert!(refused(&first).1.contains("join-token-over"), "the newer one is good alone");
    let relay = nodes.gateways[1].to_string();
    let joined = rotary()
        .args(["node", "join", &second, "--url", &relay, "--dir"])
        .arg(&dir)
        .output()
        .expect("it runs");
    must(&joined);
    let taken = said(&asked(&nodes, &create));
    assert!(
        taken.0 == Some(4) && taken.1.contains("a machine has the folder of nd_3"),
        "{taken:?}"
    );
    must(&asked(&nodes, &["cluster", "tokens", "revoke", "jt_3"]));
    assert_eq!(tokens(&nodes), [] as [Value; 0]);
    let unknown = said(&asked(&nodes, &["cluster", "tokens", "revoke", "jt_9"]));
    assert_eq!(unknown.0, Some(3), "{unknown:?}");

    let cut = said(&join(&second[..second.len() - 3], &home.path().join("cut")));
    assert!(cut.0 == Some(2) && cut.1.contains("copy all of it"), "{cut:?}");
    let used = asked(&nodes, &["cluster", "tokens", "create", "1", "--dir", &cluster]);
    let used = said(&used);
    assert!(used.0 == Some(2) && used.1.contains("has a data directory"), "{used:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_is_told_when_the_first_ones_token_ends() {
    let mut nodes = Nodes::init(1, 1);
    nodes.start_all().await;
    let (api, key) = (nodes.admin(1), rotary_client::Api::key());
    let ask = async |ttl_s: u64| {
        let body = json!({"node": "nd_9", "kind": "core", "proof": "A".repeat(43),
            "sealed": "c2VhbGVk", "ttl_s": ttl_s});
        let made = api.change_as(key, Method::POST, "/v1/join-tokens", &body).await;
        made.acknowledged().expect("made").read::<Value>().expect("JSON")
    };
    let first = ask(60).await;
    assert_eq!(first["expires_at"], tokens(&nodes)[0]["expires_at"]);
    // Whoever sends the same key again gets the same token, whatever else they say.
    assert_eq!(ask(u64::MAX).await, first);
}
