//! What the cluster knows of its nodes, against what is there: gateway-only nodes that announced
//! themselves and are heard by nobody, and replicas on other nodes than the configuration has.

use std::collections::BTreeSet;
use std::time::Duration;

use rotary_client::{Api, Gateway, Patience, Trust};
use rotary_proto::NodeId;
use serde_json::Value;

use crate::cli::output::{cell, rows};
use crate::config::Config;
use crate::doctor::Finding;

/// Asks whichever core node answers, the own one first.
pub(crate) async fn look(
    config: &Config,
    with: (&str, &Trust),
    patience: Duration,
) -> Vec<Finding> {
    match ask(config, with, patience).await {
        Ok(cluster) => judge(config, &cluster),
        Err(why) => vec![Finding::warning("unavailable", "/v1/cluster", why)],
    }
}

async fn ask(
    config: &Config,
    (token, trust): (&str, &Trust),
    patience: Duration,
) -> Result<Value, String> {
    let mut peers: Vec<_> = config.cluster.peers.iter().collect();
    peers.sort_by_key(|peer| peer.id != config.node.id);
    let gateways: Result<Vec<Gateway>, _> = peers.iter().map(|peer| peer.public.parse()).collect();
    let gateways = gateways.map_err(|error| format!("{error}"))?;
    let patience = Patience { attempt: patience, total: patience };
    let api = Api::new(gateways, token, patience).map_err(|error| error.to_string())?;
    let api = api.trusting(trust);
    api.read("/v1/cluster").await.map_err(|error| error.to_string())
}

fn judge(config: &Config, cluster: &Value) -> Vec<Finding> {
    let mut found = Vec::new();
    for gateway in rows(&cluster["gateways"]) {
        let (of, url) = (cell(&gateway["node"]), cell(&gateway["url"]));
        if gateway["connected"] == true {
            let seen_by = rows(&gateway["seen_by"]).len();
            found.push(Finding::good(of, format!("a gateway at {url}, heard by {seen_by} nodes")));
        } else {
            let detail = format!(
                "a gateway announced at {url}, and no core node hears it: start it, or \
                 `rotary node forget {of}`"
            );
            found.push(Finding::warning("gateway-silent", of, detail));
        }
    }
    let named = config.cluster.peers.iter().map(|peer| NodeId(peer.id).to_string());
    let named: BTreeSet<String> = named.collect();
    for shard in rows(&cluster["shards"]) {
        let replicas: BTreeSet<String> = rows(&shard["replicas"]).iter().map(cell).collect();
        if !replicas.is_empty() && replicas != named {
            let list = |nodes: &BTreeSet<String>| nodes.iter().cloned().collect::<Vec<_>>();
            let (replicas, named) = (list(&replicas).join(", "), list(&named).join(", "));
            let detail = format!("its replicas are on {replicas}; cluster.peers names {named}");
            found.push(Finding::warning("members-differ", cell(&shard["shard"]), detail));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::PeerNode;
    use crate::doctor::Grade;

    fn config() -> Config {
        let mut config = Config::default();
        let peer = |id| {
            let public = format!("http://127.0.0.1:{}", 7_070 + 10 * id);
            PeerNode { id, peer: ([127, 0, 0, 1], 7_082).into(), public }
        };
        config.cluster.peers = vec![peer(1), peer(2)];
        config
    }

    #[test]
    fn who_is_announced_and_not_here_and_what_is_elsewhere_is_found() {
        let gateway = |node: &str, connected: bool| {
            let seen_by = json!([]);
            json!({"node": node, "url": "http://x", "connected": connected, "seen_by": seen_by})
        };
        let shard = |shard: &str, replicas: &[&str]| json!({"shard": shard, "replicas": replicas});
        let cluster = json!({
            "gateways": [gateway("nd_4", true), gateway("nd_5", false)],
            "shards": [shard("sh_0", &["nd_1", "nd_2"]), shard("sh_1", &["nd_1", "nd_3"]),
                       shard("sh_2", &[])],
        });
        let found = judge(&config(), &cluster);
        let told: Vec<_> =
            found.iter().map(|found| (found.grade, found.code, found.of.as_str())).collect();
        assert_eq!(
            told,
            [
                (Grade::Good, None, "nd_4"),
                (Grade::Warning, Some("gateway-silent"), "nd_5"),
                (Grade::Warning, Some("members-differ"), "sh_1"),
            ]
        );
        assert!(found[2].detail.contains("on nd_1, nd_3; cluster.peers names nd_1, nd_2"));
    }
}
