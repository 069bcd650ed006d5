//! The address of those who run a node: what it measures and says of itself, and nothing of the
//! API.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

#[path = "support/wire.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod wire;

use nodes::{Nodes, eventually, rotary, said, text};
use rotary_client::Gateway;
use serde_json::Value;
use wire::{Answer, send_to};

/// Gives a node, counted from 1, such an address: behind its others.
fn admin(nodes: &Nodes, node: usize, more: &str) -> Gateway {
    let public = nodes.gateways[node - 1].authority().to_owned();
    let (host, port) = public.rsplit_once(':').expect("a port");
    let address = format!("{host}:{}", port.parse::<u16>().expect("a number") + 4);
    let file = text(&nodes.config(node));
    let with = file.replacen("[listen]\n", &format!("[listen]\nadmin = \"{address}\"\n"), 1);
    std::fs::write(nodes.config(node), format!("{with}\n{more}\n")).expect("writable");
    format!("http://{address}").parse().expect("an address")
}

async fn get(gateway: &Gateway, path: &str) -> Answer {
    send_to(gateway, &format!("GET {path} HTTP/1.1"), b"").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measures_can_be_told_to_those_alone_who_run_the_node() {
    let mut nodes = Nodes::init_before(1, 1, 1);
    let closed = "[telemetry]\nmetrics_public = false";
    let doors = [admin(&nodes, 1, closed), admin(&nodes, 2, closed)];
    nodes.start_all().await;
    for (node, door) in doors.iter().enumerate() {
        for path in ["/livez", "/readyz"] {
            assert_eq!(get(door, path).await.status, 200, "{path}");
        }
        let measured = get(door, "/metrics").await;
        assert_eq!(measured.status, 200);
        assert!(measured.body.contains("rotary_build_info{node=\"nd_"), "{}", measured.body);
        assert!(measured.body.contains("process_start_time_seconds "), "{}", measured.body);
        let report: Value = serde_json::from_str(&get(door, "/debug").await.body).expect("JSON");
        assert_eq!(report["node"], format!("nd_{}", node + 1));
        assert_eq!(get(door, "/runbook/disk-slow").await.status, 200);
        for path in ["/v1/cluster", "/v1/openapi.json", "/", "/v1/session"] {
            assert_eq!(get(door, path).await.status, 404, "{path}");
        }
        let public = get(&nodes.gateways[node], "/metrics").await;
        assert_eq!((public.status, public.code().as_str()), (404, "not-found"));
        assert!(public.body.contains("listen.admin"), "{}", public.body);
        assert_eq!(get(&nodes.gateways[node], "/debug").await.status, 404);
        assert_eq!(get(&nodes.gateways[node], "/livez").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_taken_is_named_and_none_is_the_default() {
    let mut nodes = Nodes::init(1, 1);
    let door = admin(&nodes, 1, "");
    let taken = std::net::TcpListener::bind(door.authority()).expect("a free port");
    let mut command = rotary();
    command.args(["server", "--exit-with-stdin", "--config"]).arg(nodes.config(1));
    let refused = said(&command.stdin(std::process::Stdio::null()).output().expect("it runs"));
    assert_eq!(refused.0, Some(4), "{refused:?}");
    let named = ["listen.admin", door.authority()].iter().all(|what| refused.1.contains(what));
    assert!(named, "{refused:?}");
    drop(taken);
    nodes.start_all().await;
    // Both tell, unless they are told not to.
    for place in [&door, &nodes.gateways[0].clone()] {
        eventually("it measures", async || {
            (get(place, "/metrics").await.status == 200).then_some(())
        })
        .await;
    }
}
