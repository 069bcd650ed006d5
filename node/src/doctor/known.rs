//! What the cluster knows of its nodes, against what is there: gateway-only nodes that announced
//! themselves and are heard by nobody, and shards whose members are on their way.

use std::time::Duration;

use rotary_client::{Api, Gateway, Patience, Trust};
use rotary_proto::NodeId;
use serde_json::Value;

use crate::cli::output::{cell, rows};
use crate::config::Config;
use crate::doctor::{Finding, Grade};

/// Asks whichever core node answers, the own one first, and adds to what was found. What is wrong
/// with a node that `cluster.peers` names and the cluster has let go is not wrong.
pub(crate) async fn look(
    config: &Config,
    with: (&str, &Trust),
    patience: Duration,
    found: &mut Vec<Finding>,
) {
    match ask(config, with, patience).await {
        Ok(cluster) => {
            forgive(&cluster, found);
            found.extend(judge(&cluster));
        }
        Err(why) => found.push(Finding::warning("unavailable", "/v1/cluster", why)),
    }
}

/// Takes back what was found at nodes that keep nothing any more.
fn forgive(cluster: &Value, found: &mut [Finding]) {
    let keeps = |name: &str| {
        let mut known = rows(&cluster["nodes"]).iter().filter(|row| row["keeps"] != false);
        known.any(|row| row["node"] == *name)
    };
    for finding in found.iter_mut().filter(|finding| finding.of.parse::<NodeId>().is_ok()) {
        if finding.grade > Grade::Good && !keeps(&finding.of) {
            let why = "keeps nothing any more; cluster.peers still names it";
            *finding = Finding::good(&finding.of, why);
        }
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

fn judge(cluster: &Value) -> Vec<Finding> {
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
    for node in rows(&cluster["nodes"]).iter().chain(rows(&cluster["gateways"])) {
        if node["drains"] == Value::Bool(true) {
            let remains = node["remains"].as_str().unwrap_or("it is empty");
            let detail = format!("it drains ({remains}), until `rotary node undrain`");
            found.push(Finding::warning("draining", cell(&node["node"]), detail));
        }
    }
    for zone in rows(&cluster["overweight"]).iter().map(cell) {
        let of = format!("zone {zone}");
        let detail = "its loss leaves no majority of the votes: `rotary cluster rebalance` spreads \
                      them, where there are three zones";
        found.push(Finding::warning("zone-overweight", of, detail));
    }
    let (acts_by, wanted) = (&cluster["acts_by"], &cluster["wanted"]);
    let shards = rows(&cluster["shards"]).iter();
    let behind: Vec<String> = shards
        .filter(|shard| !shard["logic"].is_null() && shard["logic"] != *wanted)
        .map(|shard| cell(&shard["shard"]))
        .collect();
    if !behind.is_empty() {
        let behind = behind.join(" ");
        let (acts_by, wanted) = (cell(acts_by), cell(wanted));
        let detail = format!(
            "it acts by version {acts_by} of the logic and is to act by {wanted}; not yet: \
             {behind} (`rotary upgrade status`)"
        );
        found.push(Finding::warning("upgrade-unfinished", "cluster", detail));
    }
    for shard in rows(&cluster["shards"]) {
        if let Value::String(why) = &shard["waiting"] {
            let detail = format!("its members are not yet those that are wanted: {why}");
            found.push(Finding::warning("members-unsettled", cell(&shard["shard"]), detail));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_that_was_let_go_may_be_gone() {
        let node = |node: &str, keeps: bool| json!({"node": node, "keeps": keeps});
        let cluster = json!({"nodes": [node("nd_1", true), node("nd_2", false)]});
        let lost = |of: &str| Finding::failure("peer-unreachable", of, "nothing there");
        let mut found = vec![lost("nd_1"), lost("nd_2"), lost("nd_3"), lost("data")];
        forgive(&cluster, &mut found);
        let grades: Vec<Grade> = found.iter().map(|found| found.grade).collect();
        assert_eq!(grades, [Grade::Failure, Grade::Good, Grade::Good, Grade::Failure]);
        assert!(found[2].detail.contains("cluster.peers still names it"));
    }

    #[test]
    fn who_is_announced_and_not_here_and_what_is_on_its_way_is_found() {
        let gateway = |node: &str, connected: bool| {
            let seen_by = json!([]);
            json!({"node": node, "url": "http://x", "connected": connected, "seen_by": seen_by})
        };
        let cluster = json!({
            "gateways": [gateway("nd_4", true), gateway("nd_5", false)],
            "nodes": [{"node": "nd_1", "drains": false, "remains": null},
                      {"node": "nd_2", "drains": true, "remains": "3 sessions"}],
            "acts_by": 1, "wanted": 2,
            "shards": [{"shard": "sh_0", "waiting": null, "logic": 2},
                       {"shard": "sh_1", "waiting": "nd_3 does not answer", "logic": 1}],
            "overweight": ["a"],
        });
        let found = judge(&cluster);
        let told: Vec<_> =
            found.iter().map(|found| (found.grade, found.code, found.of.as_str())).collect();
        assert_eq!(
            told,
            [
                (Grade::Good, None, "nd_4"),
                (Grade::Warning, Some("gateway-silent"), "nd_5"),
                (Grade::Warning, Some("draining"), "nd_2"),
                (Grade::Warning, Some("zone-overweight"), "zone a"),
                (Grade::Warning, Some("upgrade-unfinished"), "cluster"),
                (Grade::Warning, Some("members-unsettled"), "sh_1"),
            ]
        );
        assert!(found[2].detail.contains("(3 sessions)"), "{}", found[2].detail);
        assert!(found[4].detail.contains("not yet: sh_1 ("), "{}", found[4].detail);
        assert!(found[5].detail.ends_with("wanted: nd_3 does not answer"));
    }
}
