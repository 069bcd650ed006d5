//! Reading one's own writes on another node: what was acknowledged by one is seen by the next, as
//! soon as the question names it.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod wire;

use hyper::Method;
use nodes::{Nodes, done, eventually, tenant_and_site};
use rotary_client::Gateway;
use serde_json::{Value, json};
use wire::{Answer, ask};

/// Enough that a read without the header would be early now and then.
const ROUNDS: usize = 60;

async fn reading(gateway: &Gateway, path: &str, token: &str, place: &str) -> Answer {
    ask(gateway, "GET", path, token, &format!("\r\nrotary-min-index: {place}"), &json!({})).await
}

fn place_of(answer: &Answer) -> String {
    let place = answer.head.lines().find_map(|line| line.strip_prefix("rotary-index: "));
    place.unwrap_or_else(|| panic!("no place in {}", answer.head)).to_owned()
}

/// Writes through one node and reads through the next, with what the answer said.
async fn every_write_is_read(nodes: &Nodes, site: &str) {
    let path = format!("/v1/sites/{site}/queues/qu_1");
    for round in 0..ROUNDS {
        let [writer, reader] = [round, round + 1].map(|node| &nodes.gateways[node % 3]);
        let name = format!("Sales {round}");
        let written = ask(writer, "PUT", &path, &nodes.token, "", &json!({"name": name})).await;
        assert_eq!(written.status, 200, "{}", written.body);
        let read = reading(reader, &path, &nodes.token, &place_of(&written)).await;
        assert_eq!(read.status, 200, "{}", read.body);
        let view: Value = serde_json::from_str(&read.body).expect("JSON");
        assert_eq!(view["plan"]["name"], name, "round {round}");
    }
}

/// The same for what the directory decides.
async fn every_tenant_is_listed(nodes: &Nodes) {
    for round in 0..ROUNDS / 4 {
        let [writer, reader] = [round, round + 1].map(|node| &nodes.gateways[node % 3]);
        let name = format!("Tenant {round}");
        let made =
            ask(writer, "POST", "/v1/tenants", &nodes.token, "", &json!({"name": name})).await;
        let place = place_of(&made);
        assert!(place.starts_with("sh_0:"), "{place}");
        let list = reading(reader, "/v1/tenants", &nodes.token, &place).await;
        assert!(list.body.contains(&format!("\"{name}\"")), "round {round}: {}", list.body);
    }
}

/// The client library sends along what it has seen acknowledged, by whichever gateway.
async fn the_library_remembers(nodes: &Nodes, site: &str) {
    let all = nodes.api(&nodes.token);
    let path = format!("/v1/sites/{site}/queues/qu_2");
    for round in 0..ROUNDS {
        let [writer, reader] = [round, round + 1].map(|node| all.only(&nodes.gateways[node % 3]));
        let name = format!("Support {round}");
        done(&writer, Method::PUT, &path, json!({"name": name})).await;
        let view: Value = reader.read(&path).await.expect("readable");
        assert_eq!(view["plan"]["name"], name, "round {round}");
    }
}

async fn what_is_no_place_is_refused(nodes: &Nodes) {
    let gateway = &nodes.gateways[0];
    for (place, code, status) in [
        ("soon", "bad-value", 400),
        ("sh_1", "bad-value", 400),
        ("sh_1:1,", "bad-value", 400),
        ("sh_77:1", "bad-value", 400),
        ("sh_1:18446744073709551615", "behind", 503),
    ] {
        let answer = reading(gateway, "/v1/sites", &nodes.token, place).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{place}");
        let waits = answer.head.contains("retry-after: ");
        assert_eq!(waits, status == 503, "{}", answer.head);
        assert!(answer.body.contains("sh_1") || answer.body.contains("Rotary-Index"));
    }
    // Who is nobody is told nothing of logs, and waits for nothing.
    let answer = reading(gateway, "/v1/sites", "", "sh_77:1").await;
    assert_eq!(answer.status, 401, "{}", answer.body);
}

/// A node that the others have left behind says so, and is waited for by the library elsewhere.
async fn a_node_alone_is_behind(nodes: &mut Nodes, site: &str) {
    let path = format!("/v1/sites/{site}/queues/qu_1");
    let plan = json!({"name": "Last"});
    let written = ask(&nodes.gateways[0], "PUT", &path, &nodes.token, "", &plan).await;
    let place = place_of(&written);
    let (shard, index) = place.split_once(':').expect("a shard and an index");
    let next = format!("{shard}:{}", index.parse::<u64>().expect("a number") + 1_000_000);
    nodes.kill(2);
    nodes.kill(3);
    // It has no leader any more, and still reads what it has.
    let read = reading(&nodes.gateways[0], &path, &nodes.token, &place).await;
    assert_eq!(read.status, 200, "{}", read.body);
    let read = reading(&nodes.gateways[0], &path, &nodes.token, &next).await;
    assert_eq!(read.code(), "behind");
}

#[tokio::test]
async fn what_one_node_acknowledged_another_shows() {
    let mut nodes = Nodes::init(3, 2);
    nodes.start_all().await;
    let (_, site) = tenant_and_site(&nodes.admin(1), "Blue", json!({"name": "Lobby"})).await;
    eventually("every node knows the site", async || {
        for node in 1..=3 {
            nodes.admin(node).fetch(&format!("/v1/sites/{site}")).await.ok()?;
        }
        Some(())
    })
    .await;
    every_write_is_read(&nodes, &site).await;
    every_tenant_is_listed(&nodes).await;
    the_library_remembers(&nodes, &site).await;
    what_is_no_place_is_refused(&nodes).await;
    a_node_alone_is_behind(&mut nodes, &site).await;
}
