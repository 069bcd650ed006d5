//! Who did what to the cluster, from where, and what was refused: recorded, kept, and read by those
//! whom it concerns.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use hyper::Method;
use nodes::{Nodes, done, eventually, rotary, said};
use rotary_client::Api;
use serde_json::{Value, json};

/// The records that somebody sees, oldest first.
async fn records(api: &Api, query: &str) -> Vec<Value> {
    let path = format!("/v1/audit?consistency=linearizable&limit=1000{query}");
    let page: Value = api.read(&path).await.expect("readable");
    page["data"].as_array().expect("a list").clone()
}

/// Action, target and outcome.
fn told(record: &Value) -> [&str; 3] {
    ["action", "target", "outcome"].map(|key| record[key].as_str().expect("a text"))
}

/// Waits until something is recorded, and gives that record.
async fn recorded(api: &Api, wanted: [&str; 3]) -> Value {
    eventually(&format!("{wanted:?} is recorded"), async || {
        records(api, "").await.into_iter().find(|record| told(record) == wanted)
    })
    .await
}

/// `rotary`, asked of a node counted from 1.
fn run(nodes: &Nodes, asked: usize, token: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let url = nodes.gateways[asked - 1].to_string();
    let output = rotary().args(args).args(["--url", &url, "--token", token]).output();
    let output = output.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A tenant with a site, and their ids.
async fn tenant_and_site(api: &Api, tenant: &str) -> (String, String) {
    let (tenant, site) = nodes::tenant_and_site(api, tenant, json!({"name": "north"})).await;
    (tenant.as_str().expect("an id").to_owned(), site)
}

/// An administrator of a tenant, who signed in; their token and id.
async fn administrator(nodes: &Nodes, tenant: &str, login: &str) -> (String, String) {
    let (api, password) = (nodes.admin(1), "long enough");
    let user = json!({"login": login, "password": password, "role": "administrator",
        "tenant": tenant});
    let user = done(&api, Method::POST, "/v1/users", user).await["user"].clone();
    let login = json!({"login": login, "password": password, "tenant": tenant});
    let signed = done(&api, Method::POST, "/v1/login", login).await;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (text(&signed["token"]), text(&user))
}

/// Who did something, and to what.
struct Acted {
    blue: String,
    red: String,
    ana: String,
    ana_id: String,
    zoe: String,
    key: String,
    supervisor: String,
}

/// People do things.
async fn act(nodes: &Nodes) -> Acted {
    let api = nodes.admin(1);
    let (blue, site) = tenant_and_site(&api, "blue").await;
    let (red, _) = tenant_and_site(&api, "red").await;
    let (ana, ana_id) = administrator(nodes, &blue, "ana").await;
    let (zoe, _) = administrator(nodes, &red, "zoe").await;
    // Through a gateway-only node, which is not where the client is.
    let drained = run(nodes, 3, &nodes.token, &["node", "drain", "2"]);
    assert_eq!(drained.0, Some(0), "{drained:?}");
    assert_eq!(run(nodes, 1, &nodes.token, &["node", "undrain", "2"]).0, Some(0));
    let nothing = run(nodes, 1, &nodes.token, &["node", "forget", "9"]);
    assert_ne!(nothing.0, Some(0), "{nothing:?}");
    // Somebody who may not, at the door.
    let refused = run(nodes, 1, &ana, &["node", "drain", "1"]);
    assert_eq!(refused.0, Some(5), "{refused:?}");
    let key = json!({"name": "crm", "role": "administrator", "tenant": blue});
    let key = done(&nodes.api(&ana), Method::POST, "/v1/api-keys", key).await["api_key"].clone();
    let folder = nodes.dir.path().join("backup").display().to_string();
    let backup = run(nodes, 1, &nodes.token, &["backup", "create", "--to", &folder]);
    assert_eq!(backup.0, Some(0), "{backup:?}");
    // A customer's token is made all day.
    let token = json!({"role": "agent", "site": site, "agent": "ag_1", "ttl_s": 60});
    done(&api, Method::POST, "/v1/tokens", token).await;
    let token = json!({"role": "supervisor", "tenant": blue, "ttl_s": 60});
    let supervisor = done(&api, Method::POST, "/v1/tokens", token).await;
    let supervisor = supervisor["token"].as_str().expect("a text").to_owned();
    let key = key.as_str().expect("a text").to_owned();
    Acted { blue, red, ana, ana_id, zoe, key, supervisor }
}

/// It is recorded; gives what was done to a node, and what was refused.
async fn all_is_recorded(api: &Api, acted: &Acted) -> [Value; 2] {
    let Acted { blue, ana_id, key, .. } = acted;
    let drain = recorded(api, ["drain_node", "nd_2", "done"]).await;
    assert_eq!(drain["address"], "127.0.0.1");
    assert_eq!((&drain["principal"], &drain["credential"]), (&"pr_1".into(), &"first_user".into()));
    recorded(api, ["undrain_node", "nd_2", "done"]).await;
    recorded(api, ["forget_node", "nd_9", "not-found"]).await;
    recorded(api, ["create_tenant", blue, "done"]).await;
    recorded(api, ["create_user", ana_id, "done"]).await;
    recorded(api, ["back_up", "sh_1", "done"]).await;
    let no = recorded(api, ["drain_node", "nd_1", "not-allowed"]).await;
    assert_eq!(
        (&no["tenant"], &no["credential"]),
        (&blue.as_str().into(), &ana_id.as_str().into())
    );
    recorded(api, ["sign_in", ana_id, "done"]).await;
    recorded(api, ["create_api_key", key, "done"]).await;
    let all = records(api, "").await;
    let tokens = all.iter().filter(|record| record["action"] == "create_token").count();
    assert_eq!(tokens, 1, "that of the supervisor: {all:#?}");
    [drain, no]
}

/// Each sees what those of their own tenant did.
async fn each_sees_their_own(nodes: &Nodes, acted: &Acted) {
    let Acted { blue, red, ana, zoe, key, supervisor, .. } = acted;
    let ours = records(&nodes.api(ana), "").await;
    let seen: Vec<[&str; 3]> = ours.iter().map(told).collect();
    assert!(seen.contains(&["create_api_key", key, "done"]), "{seen:?}");
    assert!(ours.iter().all(|record| record["tenant"] == blue.as_str()), "{ours:#?}");
    let theirs = records(&nodes.api(zoe), "").await;
    assert!(!theirs.is_empty() && theirs.iter().all(|record| record["tenant"] == red.as_str()));
    let refused = nodes.api(supervisor).fetch("/v1/audit").await.expect_err("not theirs");
    assert!(refused.to_string().contains("only administrators read"), "{refused}");
}

/// Records are found by who did what when, page by page.
async fn records_are_found(nodes: &Nodes, [drain, no]: &[Value; 2]) {
    let api = nodes.admin(1);
    let principal = no["principal"].as_str().expect("an id");
    let hers = records(&api, &format!("&principal={principal}")).await;
    assert!(hers.len() >= 3 && hers.iter().all(|record| record["principal"] == principal));
    let at = drain["wall"].as_u64().expect("a time");
    let since = records(&api, &format!("&since={at}&until={}", at + 1)).await;
    assert!(since.iter().any(|record| record["number"] == drain["number"]));
    assert!(since.iter().all(|record| record["wall"] == at));
    let first: Value = api.read("/v1/audit?limit=2").await.expect("readable");
    let next = first["next"].as_str().expect("there is more");
    let more: Value = api.read(&format!("/v1/audit?limit=2&after={next}")).await.expect("readable");
    assert_eq!(more["data"][0]["number"], first["data"][1]["number"].as_u64().expect("one") + 1);

    let shown = run(nodes, 2, &nodes.token, &["audit", "--last", "1h", "--principal", principal]);
    assert!(shown.1.contains("drain_node") && shown.1.contains("not-allowed"), "{shown:?}");
    assert!(!shown.1.contains("back_up"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_do_is_recorded_and_read_by_whom_it_concerns() {
    let mut nodes = Nodes::init_before(2, 1, 1);
    nodes.start_all().await;
    let (api, acted) = (nodes.admin(1), act(&nodes).await);
    let found = all_is_recorded(&api, &acted).await;
    each_sees_their_own(&nodes, &acted).await;
    records_are_found(&nodes, &found).await;

    // It is as durable as everything else.
    let before = records(&api, "").await;
    (1..=2).for_each(|node| nodes.kill(node));
    (1..=2).for_each(|node| nodes.start(node));
    for gateway in nodes.gateways.clone() {
        nodes.ready(&gateway).await;
    }
    let after = records(&nodes.admin(2), "").await;
    assert_eq!(after[..before.len()], before[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_glass_and_attempts_in_vain_are_recorded_within_bounds() {
    let mut nodes = Nodes::init(1, 1);
    nodes.start_all().await;
    let api = nodes.admin(1);
    let (blue, site) = tenant_and_site(&api, "blue").await;
    let made = rotary()
        .args(["cluster", "break-glass", "--data"])
        .arg(nodes.dir.path().join("node-1"))
        .output()
        .expect("it runs");
    assert!(made.status.success(), "{:?}", said(&made));
    let glass = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    for _ in 0..5 {
        nodes.api(&glass).fetch("/v1/cluster").await.expect("whoever has it sees everything");
    }
    let broken = recorded(&api, ["break_glass", "cluster", "done"]).await;
    assert_eq!((&broken["credential"], &broken["tenant"]), (&"break_glass".into(), &Value::Null));

    let (_, user) = administrator(&nodes, &blue, "ana").await;
    let wrong = json!({"login": "ana", "password": "another one", "tenant": blue});
    api.change(Method::POST, "/v1/login", &wrong).await.acknowledged().expect_err("it is wrong");
    recorded(&api, ["sign_in", &user, "login-failed"]).await;

    // An agent who tries without end is recorded a few times.
    let token = json!({"role": "agent", "site": site, "agent": "ag_1", "ttl_s": 600});
    let agent = done(&api, Method::POST, "/v1/tokens", token).await;
    let agent = nodes.api(agent["token"].as_str().expect("a text"));
    for _ in 0..60 {
        let refused = agent.change(Method::POST, "/v1/tenants", &json!({"name": "mine"})).await;
        refused.acknowledged().expect_err("not theirs");
    }
    recorded(&api, ["create_tenant", "cluster", "not-allowed"]).await;
    let all = records(&api, "").await;
    let broken = all.iter().filter(|record| record["action"] == "break_glass").count();
    let vain = all.iter().filter(|record| record["outcome"] == "not-allowed").count();
    assert!(broken == 1 && (1..=40).contains(&vain), "{broken} and {vain}");
}
