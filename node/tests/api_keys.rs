//! API keys at the doors of real nodes: shown once, good on every node, and useless once revoked.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod wire;

use futures::SinkExt;
use hyper::Method;
use nodes::{Nodes, done, eventually, rotary, tenant_and_site};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use wire::{ask, connect_to, frame};

const SECRET: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
const OTHER: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";

/// Two nodes, and a tenant with a site.
struct House {
    nodes: Nodes,
    tenant: Value,
}

impl House {
    async fn open() -> Self {
        let mut nodes = Nodes::init(2, 1);
        nodes.start_all().await;
        let settings = json!({"name": "north"});
        let (tenant, _) = tenant_and_site(&nodes.admin(1), "acme", settings).await;
        Self { nodes, tenant }
    }

    /// Makes a key at the first node, and gives its id and its text.
    async fn key(&self, name: &str, more: Value) -> (String, String) {
        let mut body = json!({"name": name, "role": "administrator", "tenant": self.tenant});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
        let made = done(&self.nodes.admin(1), Method::POST, "/v1/api-keys", body).await;
        let text = |field: &str| made[field].as_str().expect("a text").to_owned();
        (text("api_key"), text("key"))
    }

    /// Status and code of a list of sites at a node, counted from 1.
    async fn sites(&self, node: usize, token: &str) -> (u16, String) {
        let gateway = &self.nodes.gateways[node - 1];
        let answer = ask(gateway, "GET", "/v1/sites", token, "", &json!({})).await;
        let code = if answer.status == 200 { String::new() } else { answer.code() };
        (answer.status, code)
    }

    async fn revoke(&self, id: &str) {
        let path = format!("/v1/api-keys/{id}");
        done(&self.nodes.admin(1), Method::DELETE, &path, json!({})).await;
    }
}

fn refused(code: &str) -> (u16, String) {
    (401, code.to_owned())
}

#[tokio::test]
async fn an_api_key_is_good_until_it_is_not() {
    let house = House::open().await;
    good_everywhere_at_once(&house).await;
    wrong_ones(&house).await;
    expired(&house).await;
    retried(&house).await;
    revoked(&house).await;
    by_command_line(&house).await;
}

/// The other node has not heard of the key when it is shown there.
async fn good_everywhere_at_once(house: &House) {
    for name in ["one", "two", "three"] {
        let (_, key) = house.key(name, json!({})).await;
        assert_eq!(house.sites(2, &key).await.0, 200);
        assert_eq!(house.sites(1, &key).await.0, 200);
    }
    let listed = house.nodes.admin(2).fetch("/v1/api-keys").await.expect("readable");
    let listed = String::from_utf8_lossy(&listed.body).into_owned();
    assert!(listed.contains("\"three\"") && !listed.contains("hash"), "{listed}");
}

/// Nobody learns from the answer whether there is a key of that number.
async fn wrong_ones(house: &House) {
    let (id, _) = house.key("right", json!({})).await;
    for wrong in [format!("{id}_{SECRET}"), format!("rk_4000_{SECRET}")] {
        assert_eq!(house.sites(1, &wrong).await, refused("token-forged"), "{wrong}");
    }
    for wrong in [id.clone(), format!("{id}_"), format!("{id}_{SECRET}x"), "rk_".to_owned()] {
        assert_eq!(house.sites(1, &wrong).await, refused("token-malformed"), "{wrong}");
    }
}

async fn expired(house: &House) {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    let past = json!({"name": "x", "role": "administrator", "expires_at": now - 1});
    let gateway = &house.nodes.gateways[0];
    let past = ask(gateway, "POST", "/v1/api-keys", &house.nodes.token, "", &past).await;
    assert_eq!((past.status, past.code().as_str()), (400, "bad-value"));
    let (_, key) = house.key("short", json!({"expires_at": now + 3})).await;
    eventually("it expires", async || {
        let (status, code) = house.sites(1, &key).await;
        (status != 200).then(|| assert_eq!(code, "token-expired"))
    })
    .await;
}

/// A retry shows the key again to whoever brought its secret, and to nobody else.
async fn retried(house: &House) {
    let under = format!("\r\nidempotency-key: {}", uuid::Uuid::now_v7());
    let gateway = &house.nodes.gateways[0];
    let make = async |under: &str, secret: Option<&str>| {
        let body = json!({"name": "once", "role": "administrator", "tenant": house.tenant,
            "secret": secret});
        let answer = ask(gateway, "POST", "/v1/api-keys", &house.nodes.token, under, &body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        serde_json::from_str::<Value>(&answer.body).expect("JSON")
    };
    let first = make(&under, Some(SECRET)).await;
    assert_eq!(make(&under, Some(SECRET)).await, first);
    assert!(first["key"].as_str().expect("shown").ends_with(SECRET), "{first}");
    for secret in [None, Some(OTHER)] {
        let other = make(&under, secret).await;
        assert_eq!(other, json!({"api_key": first["api_key"], "key": null}));
    }
    let under = format!("\r\nidempotency-key: {}", uuid::Uuid::now_v7());
    let made = make(&under, None).await;
    assert!(made["key"].is_string(), "{made}");
    assert_eq!(make(&under, None).await, json!({"api_key": made["api_key"], "key": null}));
}

/// With a key go the sessions that were begun with it, and the tokens that it made.
async fn revoked(house: &House) {
    let (id, key) = house.key("wallboard", json!({})).await;
    let gateway = &house.nodes.gateways[1];
    let child = json!({"role": "supervisor", "tenant": house.tenant, "ttl_s": 600});
    let child = ask(gateway, "POST", "/v1/tokens", &key, "", &child).await;
    let child: Value = serde_json::from_str(&child.body).expect("JSON");
    let child = child["token"].as_str().expect("a text");
    assert_eq!(house.sites(2, child).await.0, 200);
    let mut socket = connect_to(gateway).await;
    let start = json!({"type": "start", "token": key}).to_string();
    socket.send(Message::text(start)).await.expect("writable");
    let welcome = frame(&mut socket).await;
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    house.revoke(&id).await;
    let bye = loop {
        let frame = frame(&mut socket).await;
        if frame["type"] == "bye" {
            break frame;
        }
    };
    assert_eq!((&bye["code"], &bye["retry"]), (&json!("token-revoked"), &json!("never")));
    for (node, token) in [(1, key.as_str()), (2, &key), (1, child), (2, child)] {
        assert_eq!(house.sites(node, token).await, refused("token-revoked"), "node {node}");
    }
    let mut back = connect_to(gateway).await;
    let resume = json!({"type": "resume", "resume_token": welcome["resume_token"], "seq": 0,
        "cursors": []});
    back.send(Message::text(resume.to_string())).await.expect("writable");
    assert_eq!(frame(&mut back).await["code"], "token-revoked");
}

/// The command line makes, lists and revokes them.
async fn by_command_line(house: &House) {
    let run = async |args: &[&str]| {
        let ran = rotary()
            .args(["apikey"])
            .args(args)
            .env("ROTARY_URL", house.nodes.gateways[0].url(""))
            .env("ROTARY_TOKEN", &house.nodes.token)
            .output()
            .expect("it runs");
        assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("a text").trim().to_owned()
    };
    let tenant = house.tenant.as_str().expect("a text");
    let role = ["--role", "supervisor", "--tenant", tenant];
    let key = run(&[["create", "--name", "report"].as_slice(), &role].concat()).await;
    assert_eq!(house.sites(1, &key).await.0, 200);
    // The secret may have the separator in it.
    let number = key.split('_').nth(1).expect("a key has three parts");
    let id = format!("rk_{number}");
    run(&["revoke", &id]).await;
    assert_eq!(house.sites(1, &key).await, refused("token-revoked"));
    let listed = run(&["list"]).await;
    let row = listed.lines().find(|line| line.starts_with(&format!("{id} "))).expect("listed");
    assert!(row.contains("report") && row.ends_with("true"), "{listed}");
}
