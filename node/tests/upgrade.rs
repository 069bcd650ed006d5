//! Nodes of two builds in one cluster: there, back, and there for good, while it is used.
//!
//! One binary is both builds: a build for harnesses can apply the versions of the logic that its
//! environment names.
#![cfg(feature = "chaos")]

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use nodes::{Nodes, eventually, rotary, said, tenant_and_site};
use serde_json::{Value, json};

/// The variable that says which versions of the logic a build can apply.
const LOGIC: &str = "ROTARY_LOGIC";
const NEW: &[(&str, &str)] = &[(LOGIC, "1-2")];
const OLD: &[(&str, &str)] = &[];
/// What a node ends with whose build cannot apply what the cluster acts by.
const UNFIT: Option<i32> = Some(76);
/// The gateway-only node, counted from 1.
const GATEWAY: usize = 4;

/// `rotary`, asked of a node counted from 1.
fn ask(nodes: &Nodes, asked: usize, args: &[&str]) -> Output {
    let url = nodes.gateways[asked - 1].to_string();
    let mut command = rotary();
    command.args(args).args(["--url", &url, "--token", &nodes.token]);
    command.output().expect("it runs")
}

/// The same, which must be done; what it shows.
fn done(nodes: &Nodes, asked: usize, args: &[&str]) -> String {
    let output = ask(nodes, asked, args);
    assert!(output.status.success(), "{args:?}: {:?}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The same, which must be refused for what stands in the way.
fn refused(nodes: &Nodes, asked: usize, args: &[&str]) -> String {
    let (code, why) = said(&ask(nodes, asked, args));
    assert_eq!(code, Some(4), "{args:?}: {why}");
    why
}

/// Where the upgrade stands, as a node counted from 1 sees it.
async fn upgrade(nodes: &Nodes, asked: usize) -> Value {
    nodes.admin(asked).read("/v1/upgrade").await.expect("it answers")
}

/// The version that each shard acts by.
async fn versions(nodes: &Nodes, asked: usize) -> Vec<u64> {
    let upgrade = upgrade(nodes, asked).await;
    let shards = upgrade["shards"].as_array().expect("a list").iter();
    shards.map(|shard| shard["logic"].as_u64().expect("a number")).collect()
}

/// Restarts a node, counted from 1, as another build, as an operator does.
async fn roll(nodes: &mut Nodes, node: usize, build: &[(&str, &str)]) {
    let (other, name) = (node % 3 + 1, format!("nd_{node}"));
    eventually("it can be restarted", async || {
        let check = ask(nodes, other, &["upgrade", "check", "--node", &name]);
        check.status.success().then_some(())
    })
    .await;
    done(nodes, other, &["node", "drain", &name, "--wait"]);
    assert!(nodes.terminate(node).success());
    nodes.start_with(node, build);
    done(nodes, other, &["node", "undrain", &name]);
    let gateway = nodes.gateways[node - 1].clone();
    nodes.ready(&gateway).await;
}

/// Waits until every node is known to run a build that can apply a version, and answers.
async fn known(nodes: &Nodes, asked: usize, newest: u64) {
    eventually("all are known and answer", async || {
        let upgrade = upgrade(nodes, asked).await;
        let rows = upgrade["nodes"].as_array().expect("a list");
        let is = |row: &Value| row["logic"]["newest"] == newest && row["answers"] == json!(true);
        (rows.len() == nodes.gateways.len() && rows.iter().all(is)).then_some(())
    })
    .await;
}

/// What a new site calls an agent who did not answer: what the rehearsed version changes.
async fn silence(nodes: &Nodes) -> String {
    let api = nodes.admin(1);
    let (_, site) = tenant_and_site(&api, "acme", json!({"name": "north"})).await;
    let reasons: Value = api.read(&format!("/v1/sites/{site}/reasons")).await.expect("a list");
    reasons["data"][0]["name"].as_str().unwrap_or_else(|| panic!("{reasons}")).to_owned()
}

/// Customers and agents who use the cluster until they are told to stop, and write down what they
/// are promised.
struct Load {
    child: Option<Child>,
    ledger: PathBuf,
}

impl Load {
    fn begin(nodes: &Nodes) -> Self {
        let ledger = nodes.dir.path().join("ledger");
        // Each is read back at the end, and a gateway-only node answers as one of the others.
        let gateways: Vec<String> = nodes.gateways[..3].iter().map(ToString::to_string).collect();
        let log = std::fs::File::create(nodes.dir.path().join("load.log")).expect("writable");
        let child = rotary()
            .args(["load", "trace", "--speed", "20", "--share", "0.1", "--agents", "32"])
            .args(["--sites", "2", "--from", "09:00", "--to", "18:00", "--ledger"])
            .arg(&ledger)
            .args(["--gateway", &gateways.join(","), "--token", &nodes.token])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        Self { child: Some(child), ledger }
    }

    /// How often each agent had to sign in.
    fn sign_ins(&self) -> BTreeMap<String, usize> {
        let lines = std::fs::read_to_string(self.ledger.join("ledger.jsonl")).expect("written");
        let mut times = BTreeMap::new();
        for line in lines.lines() {
            let record: Value = serde_json::from_str(line).expect("JSON");
            if record["record"] == "attached" && !record["viewer"]["agent"].is_null() {
                let who = format!("{} {}", record["site"], record["viewer"]);
                *times.entry(who).or_default() += 1;
            }
        }
        times
    }

    /// Lets everybody finish what they began, and says what was kept of all promises.
    fn end(&mut self) -> Value {
        let mut child = self.child.take().expect("it runs");
        let told = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
        assert!(told.expect("kill is at hand").success());
        let ended = child.wait().expect("it ends");
        let log = std::fs::read_to_string(self.ledger.with_file_name("load.log"));
        let log = log.unwrap_or_default();
        assert!(ended.success(), "{ended}: {log}");
        let verdict = std::fs::read(self.ledger.join("verdict.json")).expect("written");
        serde_json::from_slice(&verdict).expect("JSON")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a node, counted from 1, as a build that must be refused; its exit code and what it says.
async fn unfit(nodes: &Nodes, node: usize) -> (Option<i32>, String) {
    let log = nodes.dir.path().join("unfit.log");
    let mut child = rotary()
        .args(["server", "--exit-with-stdin", "--config"])
        .arg(nodes.config(node))
        .stdin(Stdio::piped())
        .stderr(std::fs::File::create(&log).expect("writable"))
        .spawn()
        .expect("it starts");
    // While that is open, nobody tells it to stop.
    let open = child.stdin.take();
    let ended =
        eventually("it ends by itself", async || child.try_wait().expect("it is a child")).await;
    drop(open);
    (ended.code(), nodes::text(&log))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_rolled_there_and_back_and_there_for_good_while_it_is_used() {
    let mut nodes = Nodes::init_before(3, 1, 2);
    nodes.start_all().await;
    known(&nodes, 2, 1).await;
    let told = done(&nodes, 1, &["upgrade", "check"]);
    assert!(told.contains("no node's build can apply a newer one"), "{told}");
    let mut load = Load::begin(&nodes);

    roll(&mut nodes, 1, NEW).await;
    let why = refused(&nodes, 1, &["upgrade", "finalize"]);
    assert!(why.contains("upgrade nd_2, nd_3, nd_4") && why.contains("upgrade-blocked"), "{why}");
    let check = ask(&nodes, 1, &["upgrade", "check"]);
    let told = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(10), "{told}");
    assert!(told.contains("nd_3 runs") && told.contains("which can apply 1: upgrade it"), "{told}");
    roll(&mut nodes, 1, OLD).await;
    for node in [1, 2, 3, GATEWAY] {
        roll(&mut nodes, node, NEW).await;
    }
    known(&nodes, 2, 2).await;
    let told = done(&nodes, 2, &["upgrade", "check"]);
    assert!(told.contains("version 2 can be finalised"), "{told}");
    assert_eq!(versions(&nodes, 2).await, [1, 1, 1]);
    assert_eq!(silence(&nodes).await, "not responding", "the new build acts as the old one did");

    let told = done(&nodes, 2, &["upgrade", "finalize", "--wait"]);
    assert!(told.contains("is to act by version 2"), "{told}");
    eventually("every node has applied it", async || {
        let mut all = Vec::new();
        for node in 1..=3 {
            all.extend(versions(&nodes, node).await);
        }
        all.iter().all(|version| *version == 2).then_some(())
    })
    .await;
    assert_eq!(silence(&nodes).await, "no answer");
    let why = refused(&nodes, 3, &["upgrade", "abort"]);
    assert!(why.contains("there is no way back") && why.contains("upgrade-final"), "{why}");

    let verdict = load.end();
    let sign_ins = load.sign_ins();
    assert!(sign_ins.len() == 32 && sign_ins.values().all(|times| *times == 1), "{sign_ins:?}");
    let none = |list: &str| verdict[list].as_array().is_some_and(Vec::is_empty);
    assert!(["lost", "duplicated", "gaps", "double_assigned", "stuck"].into_iter().all(none));
    assert!(verdict["looked_at"]["resumed"].as_u64() > Some(0), "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_waits_for_who_is_away_and_an_old_build_is_refused_after_it() {
    let mut nodes = Nodes::init(3, 2);
    for node in 1..=3 {
        nodes.start_with(node, NEW);
    }
    for gateway in nodes.gateways.clone() {
        nodes.ready(&gateway).await;
    }
    known(&nodes, 1, 2).await;
    assert!(nodes.terminate(3).success());
    for node in [1, 2] {
        eventually("it is seen that the third is away", async || {
            let upgrade = upgrade(&nodes, node).await;
            (upgrade["nodes"][2]["answers"] == json!(false)).then_some(())
        })
        .await;
    }
    done(&nodes, 1, &["upgrade", "finalize"]);
    eventually("it waits for the third", async || {
        let status = done(&nodes, 2, &["upgrade", "status"]);
        let waits = status.contains("sh_0   1      nd_3 does not answer");
        (waits && status.contains("is to act by 2")).then_some(())
    })
    .await;
    let check = ask(&nodes, 1, &["upgrade", "check", "--node", "2"]);
    let why = said(&check);
    assert!(why.0 == Some(10) && why.1.contains("no majority without it in sh_0"), "{why:?}");
    done(&nodes, 2, &["upgrade", "abort"]);
    assert_eq!(versions(&nodes, 1).await, [1, 1, 1]);
    // The way back is open.
    nodes.start_with(3, OLD);
    let third = nodes.gateways[2].clone();
    nodes.ready(&third).await;
    eventually("it is known to have gone back", async || {
        let (code, why) = said(&ask(&nodes, 1, &["upgrade", "finalize"]));
        (code == Some(4) && why.contains("upgrade nd_3")).then_some(())
    })
    .await;
    assert!(nodes.terminate(3).success());
    nodes.start_with(3, NEW);
    nodes.ready(&third).await;
    known(&nodes, 1, 2).await;
    done(&nodes, 1, &["upgrade", "finalize", "--wait"]);
    eventually("the third has applied it", async || {
        (versions(&nodes, 3).await == [2, 2, 2]).then_some(())
    })
    .await;

    assert!(nodes.terminate(3).success());
    let (code, why) = unfit(&nodes, 3).await;
    assert_eq!(code, UNFIT, "{why}");
    assert!(why.contains("a newer build is needed") && why.contains("build-unfit"), "{why}");
    // Where nothing was noted, it meets the entry or the snapshot, and stops there.
    let notes = nodes.dir.path().join("node-3/data/notes");
    for note in std::fs::read_dir(&notes).expect("there") {
        let note = note.expect("listed").path();
        let name = note.file_name().expect("named").to_string_lossy().into_owned();
        if name.starts_with("logic-") {
            std::fs::remove_file(note).expect("writable");
        }
    }
    let (code, why) = unfit(&nodes, 3).await;
    assert_eq!(code, UNFIT, "{why}");
    assert!(why.contains("cannot go on with this build"), "{why}");
    let (code, why) = unfit(&nodes, 3).await;
    assert!(code == UNFIT && why.contains("was seen here before"), "it is noted: {why}");
    nodes.start_with(3, NEW);
    nodes.ready(&third).await;
    assert_eq!(versions(&nodes, 3).await, [2, 2, 2]);
}
