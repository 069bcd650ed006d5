//! What is in a bundle for somebody who looks for a fault, and what is not.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use hyper::Method;
use nodes::{Nodes, done, eventually, rotary, said, tenant_and_site, text};
use serde_json::{Value, json};

/// What nobody may find, in no spelling: it is put wherever a person or a secret may be.
const PLANTED: &str = "zanzibar";

/// Unpacks a bundle, and gives its files.
fn unpacked(bundle: &Path, into: &Path) -> BTreeMap<String, String> {
    std::fs::create_dir_all(into).expect("writable");
    let tar = Command::new("tar").arg("-xzf").arg(bundle).arg("-C").arg(into).status();
    assert!(tar.expect("tar is at hand").success());
    let (mut files, mut folders) = (BTreeMap::new(), vec![into.join("rotary-debug")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(into.join("rotary-debug")).expect("below");
                files.insert(name.display().to_string(), text(&path));
            }
        }
    }
    files
}

/// A tenant whose every name, message and address is planted, with an agent at work.
async fn plant(nodes: &Nodes) {
    let api = nodes.admin(1);
    let named = json!({"name": PLANTED});
    let (tenant, site) = tenant_and_site(&api, PLANTED, named.clone()).await;
    for (kind, id) in [("queues", "qu_1"), ("skills", "sk_1"), ("reasons", "nr_1")] {
        done(&api, Method::PUT, &format!("/v1/sites/{site}/{kind}/{id}"), named.clone()).await;
    }
    let agent = json!({"name": {"text": PLANTED}, "capacity": {"chat": 2}});
    done(&api, Method::PUT, &format!("/v1/sites/{site}/agents/ag_1"), agent).await;
    let user = json!({"login": format!("{PLANTED}@example.com"), "role": "administrator",
        "tenant": tenant, "password": format!("{PLANTED}-{PLANTED}")});
    done(&api, Method::POST, "/v1/users", user).await;
    let key = json!({"name": PLANTED, "role": "administrator", "tenant": tenant});
    done(&api, Method::POST, "/v1/api-keys", key).await;
    // Nobody is there: what fails is said in log lines.
    let plan = json!({"name": PLANTED, "url": format!("http://{PLANTED}.invalid/hook"),
        "topics": ["conversation.opened"]});
    let hook =
        json!({"plan": plan, "secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="});
    done(&api, Method::PUT, &format!("/v1/sites/{site}/webhooks/wh_1"), hook).await;
    let body = json!({"text": {"text": format!("I live in {PLANTED}")}});
    let item = json!({"id": format!("it_{:032x}", 1), "body": body});
    let open = json!({"queue": "qu_1", "channel": "chat", "item": item,
        "attributes": {"plan": PLANTED}});
    done(&api, Method::POST, &format!("/v1/sites/{site}/conversations"), open).await;
}

/// Nothing that was planted is there, and no secret or address of the nodes.
fn nobody_is_in(files: &BTreeMap<String, String>, nodes: &Nodes) {
    let secret = text(&nodes.dir.path().join("node-2/token.secret"));
    let key = text(&nodes.dir.path().join("node-2/tls/node.key"));
    let key = key.lines().nth(1).expect("the key itself");
    let folder = nodes.dir.path().display().to_string();
    let port = nodes.gateways[0].authority().rsplit_once(':').expect("a port").1.to_owned();
    let hidden =
        [PLANTED, secret.trim(), key, &nodes.token, &folder, "whsec_", "argon2", "127.0.0.1"];
    for (name, text) in files {
        let text = text.to_lowercase();
        for hidden in hidden {
            assert!(!text.contains(&hidden.to_lowercase()), "{hidden} is in {name}");
        }
        assert!(!text.contains(&format!(":{port}\"")), "an address is in {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_has_what_helps_and_nobody() {
    let mut nodes = Nodes::init_before(2, 1, 2);
    for node in [1, 2] {
        let others = "[mail]\nrelay = \"zanzibar.invalid:25\"\n[log]\nfree_bytes_min = 1048576";
        nodes.configure(node, others);
    }
    nodes.start_all().await;
    plant(&nodes).await;
    let gateway_is_known = async || {
        let cluster: Value = nodes.admin(1).read("/v1/cluster").await.ok()?;
        (cluster["gateways"][0]["connected"] == true).then_some(())
    };
    eventually("the gateway is known", gateway_is_known).await;
    // A line with a code: the configuration is not one any more.
    std::fs::write(nodes.dir.path().join("node-1/tls/node.key"), PLANTED).expect("writable");
    nodes.signal(1, "HUP");
    eventually("it is told", async || nodes.log(1).contains("certificate-refused").then_some(()))
        .await;

    let bundle = nodes.dir.path().join("bundle.tar.gz");
    let mut asked = rotary();
    asked.args(["debug", "bundle", "--out"]).arg(&bundle);
    asked.args(["--url", &nodes.gateways[0].to_string(), "--token", &nodes.token]);
    let output = asked.output().expect("it runs");
    assert!(output.status.success(), "{:?}", said(&output));
    let progress = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        ["nd_1: ", "nd_2: ", "nd_3: "].iter().all(|node| progress.contains(node)),
        "{progress}"
    );
    let files = unpacked(&bundle, &nodes.dir.path().join("unpacked"));

    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let wanted = [
        "cluster.json",
        "manifest.json",
        "nd_1/metrics.txt",
        "nd_1/report.json",
        "nd_2/metrics.txt",
        "nd_2/report.json",
        "nd_3/metrics.txt",
    ];
    assert_eq!(names, wanted);
    let read = |name: &str| serde_json::from_str::<Value>(&files[name]).expect("JSON");
    let report = read("nd_1/report.json");
    assert_eq!(
        (&report["node"], &report["config"]["log.free_bytes_min"]),
        (&"nd_1".into(), &1_048_576.into())
    );
    assert_eq!(report["config"]["mail.relay"], "set");
    assert!(report["disk"]["folders"]["log"]["bytes"].as_u64() > Some(0), "{}", report["disk"]);
    assert!(report["codes"]["certificate-refused"]["count"].as_u64() > Some(0));
    let lines = report["lines"].as_array().expect("lines");
    let line = lines.iter().find(|line| line["code"] == "certificate-refused").expect("kept");
    assert_eq!((&line["fields"]["why"], &line["level"]), (&Value::Null, &"WARN".into()));
    let codes = report["doctor"].as_array().expect("findings").iter();
    let codes: Vec<&Value> = codes.map(|finding| &finding["code"]).collect();
    assert!(codes.contains(&&"certificate-unusable".into()), "{codes:?}");
    assert!(files["nd_2/metrics.txt"].contains("rotary_raft_leader{shard=\"sh_1\"}"));
    assert!(files["nd_3/metrics.txt"].contains("rotary_relay_cores"));
    assert_eq!(read("cluster.json")["shards"][0]["shard"], "sh_0");

    nobody_is_in(&files, &nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_answer_is_named() {
    let mut nodes = Nodes::init(3, 1);
    nodes.start_all().await;
    nodes.kill(3);
    let bundle = nodes.dir.path().join("bundle.tar.gz");
    let mut asked = rotary();
    asked.args(["debug", "bundle", "-o", "json", "--out"]).arg(&bundle);
    asked.args(["--url", &nodes.gateways[0].to_string(), "--token", &nodes.token]);
    let output = asked.output().expect("it runs");
    assert!(output.status.success(), "{:?}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["silent"], 1);
    let files = unpacked(&bundle, &nodes.dir.path().join("unpacked"));
    let manifest: Value = serde_json::from_str(&files["manifest.json"]).expect("JSON");
    assert_eq!(manifest["silent"], json!([{"node": "nd_3", "code": "unreachable"}]));
    assert!(files.contains_key("nd_2/report.json"));
}
