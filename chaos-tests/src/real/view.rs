//! Who leads what: the answers of all nodes to `GET /v1/cluster`, laid together.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// A node's number, as the harness counts them.
pub type NodeNumber = u8;

/// One shard, by the answer of the node that knows its highest term.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shard {
    /// Its leader, if one is known.
    pub leader: Option<NodeNumber>,
    /// The term of that.
    pub term: u64,
    /// Sites in it: without any it has no work.
    pub sites: usize,
    /// The nodes that keep a replica.
    pub replicas: BTreeSet<NodeNumber>,
    /// The nodes that have a vote, as its leader says.
    pub voters: BTreeSet<NodeNumber>,
}

/// All shards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    shards: BTreeMap<String, Shard>,
    /// Nodes that answered.
    pub answered: BTreeSet<NodeNumber>,
    /// Whether those that answered name the same leaders.
    pub agreed: bool,
    /// Whether every shard has the members that are wanted, as far as those that answered know.
    pub settled: bool,
    /// Nodes that lead shards or have sessions, by any answer.
    busy: BTreeSet<NodeNumber>,
    /// Nodes that drain and have nothing left, by any answer.
    emptied: BTreeSet<NodeNumber>,
}

#[derive(Deserialize)]
struct Answer {
    shards: Vec<Row>,
    #[serde(default)]
    nodes: Vec<NodeRow>,
}

#[derive(Deserialize)]
struct NodeRow {
    node: String,
    #[serde(default)]
    leads: usize,
    #[serde(default)]
    sessions: Option<u32>,
    #[serde(default)]
    drains: bool,
    #[serde(default)]
    remains: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    shard: String,
    leader: Option<String>,
    term: u64,
    sites: usize,
    replicas: Vec<String>,
    #[serde(default)]
    voters: Vec<String>,
    #[serde(default)]
    waiting: Option<String>,
}

impl View {
    /// Lays answers together; what is no answer is left out.
    pub fn of<'a>(answers: impl IntoIterator<Item = (NodeNumber, &'a str)>) -> Self {
        let mut view = Self { agreed: true, settled: true, ..Self::default() };
        for (node, text) in answers {
            if let Ok(answer) = serde_json::from_str::<Answer>(text) {
                let first = view.answered.is_empty();
                view.answered.insert(node);
                answer.shards.into_iter().for_each(|row| view.add(row, first));
                answer.nodes.iter().for_each(|row| view.add_node(row));
            }
        }
        view.agreed &= !view.answered.is_empty();
        view
    }

    fn add(&mut self, row: Row, first: bool) {
        let leader = row.leader.as_deref().and_then(number);
        let known = self.shards.entry(row.shard).or_default();
        self.agreed &= leader.is_some() && (first || known.leader == leader);
        known.sites = known.sites.max(row.sites);
        known.replicas.extend(row.replicas.iter().filter_map(|name| number(name)));
        self.settled &= row.waiting.is_none();
        if (row.term, leader.is_some()) >= (known.term, known.leader.is_some()) {
            (known.term, known.leader) = (row.term, leader);
            known.voters = row.voters.iter().filter_map(|name| number(name)).collect();
        }
    }

    fn add_node(&mut self, row: &NodeRow) {
        let Some(node) = number(&row.node) else { return };
        if row.leads > 0 || row.sessions.is_some_and(|sessions| sessions > 0) {
            self.busy.insert(node);
        }
        // Who does not answer may have anything.
        if row.drains && row.remains.is_none() && row.sessions.is_some() {
            self.emptied.insert(node);
        }
    }

    /// The names of the shards that sites are in.
    pub fn data_shards(&self) -> impl Iterator<Item = &str> {
        self.shards.keys().map(String::as_str).filter(|shard| *shard != "sh_0")
    }

    /// Whether a node leads a shard, or has sessions.
    pub fn is_busy(&self, node: NodeNumber) -> bool {
        self.busy.contains(&node)
    }

    /// Whether a node drains, and has nothing left.
    pub fn is_emptied(&self, node: NodeNumber) -> bool {
        self.emptied.contains(&node)
    }

    /// Whether a node leads a shard that has sites.
    pub fn leads_work(&self, node: NodeNumber) -> bool {
        self.working().any(|shard| shard.leader == Some(node))
    }

    /// Whether a node has a replica of a shard that has sites.
    pub fn has_work(&self, node: NodeNumber) -> bool {
        self.working().any(|shard| shard.replicas.contains(&node))
    }

    /// In how many shards that have sites a node has no vote.
    pub fn without_vote(&self, node: NodeNumber) -> usize {
        let known = self.working().filter(|shard| !shard.voters.is_empty());
        known.filter(|shard| !shard.voters.contains(&node)).count()
    }

    /// Those who lead shards that have sites, without repetition.
    pub fn leaders(&self) -> BTreeSet<NodeNumber> {
        self.working().filter_map(|shard| shard.leader).collect()
    }

    fn working(&self) -> impl Iterator<Item = &Shard> {
        self.shards.values().filter(|shard| shard.sites > 0)
    }
}

/// The number in a node's name, `nd_3`.
fn number(name: &str) -> Option<NodeNumber> {
    name.strip_prefix("nd_")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(shards: &[(&str, Option<&str>, u64, usize)]) -> String {
        let row = |(shard, leader, term, sites): &(&str, Option<&str>, u64, usize)| {
            serde_json::json!({
                "shard": shard, "leader": leader, "term": term, "sites": sites,
                "replicas": ["nd_1", "nd_2", "nd_3"], "last": 7, "recorded": null,
            })
        };
        serde_json::json!({ "node": "nd_1", "shards": shards.iter().map(row).collect::<Vec<_>>() })
            .to_string()
    }

    #[test]
    fn the_highest_term_names_the_leader() {
        let old = answer(&[("sh_0", Some("nd_1"), 3, 0), ("sh_1", Some("nd_1"), 3, 2)]);
        let new = answer(&[("sh_0", Some("nd_1"), 3, 0), ("sh_1", Some("nd_2"), 4, 1)]);
        let none = answer(&[("sh_0", None, 3, 0), ("sh_1", None, 4, 0)]);
        let view = View::of([(1, &*old), (2, &*new), (3, &*none), (4, "no answer")]);
        assert_eq!(view.answered, BTreeSet::from([1, 2, 3]));
        assert_eq!(view.leaders(), BTreeSet::from([2]));
        assert!(view.leads_work(2) && !view.leads_work(1) && view.has_work(3));
        assert!(!view.has_work(4) && !view.agreed);
        assert!(View::of([(1, &*new), (2, &*new)]).agreed);
        assert!(!View::of([(1, &*old), (2, &*new)]).agreed);
    }

    #[test]
    fn who_has_a_vote_and_what_is_waited_for_is_seen() {
        let shard = |voters: &[&str], waiting: Option<&str>| {
            serde_json::json!({"shards": [{
                "shard": "sh_1", "leader": "nd_1", "term": 3, "sites": 2, "replicas": [],
                "voters": voters, "waiting": waiting,
            }]})
            .to_string()
        };
        let two = shard(&["nd_1", "nd_2"], None);
        let view = View::of([(1, &*two)]);
        assert_eq!((view.without_vote(3), view.without_vote(2), view.settled), (1, 0, true));
        let waits = shard(&["nd_1", "nd_2"], Some("nd_3 does not answer"));
        assert!(!View::of([(1, &*two), (2, &*waits)]).settled);
        let old = answer(&[("sh_1", Some("nd_1"), 3, 1)]);
        assert_eq!(View::of([(1, &*old)]).without_vote(1), 0, "nothing is known");
    }

    #[test]
    fn who_has_something_and_who_was_emptied_is_seen() {
        let row = |node: &str, leads: u8, sessions: Option<u8>, remains: Option<&str>| {
            let drains = node != "nd_1";
            serde_json::json!({"node": node, "leads": leads, "sessions": sessions,
                "drains": drains, "remains": remains})
        };
        let nodes = [
            row("nd_1", 0, Some(3), None),
            row("nd_2", 1, Some(0), Some("leads sh_1")),
            row("nd_3", 0, Some(0), None),
            row("nd_4", 0, None, None),
        ];
        let view = View::of([(1, &*serde_json::json!({"shards": [], "nodes": nodes}).to_string())]);
        let of = |is: &dyn Fn(NodeNumber) -> bool| (1..=4).filter(|n| is(*n)).collect::<Vec<_>>();
        assert_eq!(of(&|node| view.is_busy(node)), [1, 2]);
        assert_eq!(of(&|node| view.is_emptied(node)), [3]);
    }
}
