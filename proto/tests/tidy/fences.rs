//! Who may name which library, who may import whom, and what must stay out of reach.
//!
//! A crate is a checkable claim, and this is where the claims about dependencies are checked, on
//! the graph that `cargo metadata` gives. `deny.toml` states the first table for cargo-deny.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::settle;
use crate::source::root;

/// Libraries (by the beginning of their names) that one crate alone may depend on, so that
/// replacing one stays the business of that crate. Development dependencies count too.
const NAMED_BY_ONE: [(&str, &str); 5] = [
    ("bincode", "rotary-proto"),
    ("fjall", "rotary-storage"),
    ("openraft", "rotary-log"),
    ("quinn", "rotary-transport"),
    ("ractor", "rotary"),
];

/// Crates whose claim is to be pure, and what must not be reachable from them at any distance.
const PURE: [&str; 3] = ["rotary-directory", "rotary-distributor", "rotary-proto"];
const OUT_OF_REACH: [&str; 4] = ["axum", "openraft", "quinn", "tokio"];

/// What describes the vocabulary, the feature that brings it, and who alone turns that on: the
/// crates that decide are built without it.
const DESCRIBED_BY: &str = "schemars";
const DESCRIBING: &str = "schema";
const DESCRIBED_FOR: &str = "rotary";

/// Which crates of this workspace each crate may import. Tests may import any.
const LAYERS: [(&str, &[&str]); 8] = [
    ("rotary-channels", &["rotary-proto"]),
    ("rotary-client", &["rotary-proto"]),
    ("rotary-directory", &["rotary-proto"]),
    ("rotary-distributor", &["rotary-proto"]),
    ("rotary-log", &["rotary-proto", "rotary-storage", "rotary-transport"]),
    ("rotary-proto", &[]),
    ("rotary-storage", &[]),
    ("rotary-transport", &["rotary-proto"]),
];

/// Crates that join the others, and may import all of them.
const JOINTS: [&str; 2] = ["rotary", "rotary-chaos-tests"];

/// A crate of the workspace with what its manifest names.
struct Member {
    name: String,
    manifest: String,
    named: Vec<Dependency>,
}

struct Dependency {
    name: String,
    for_tests: bool,
    optional: bool,
    features: Vec<String>,
}

struct Graph {
    members: Vec<Member>,
    /// Package names by package id.
    names: BTreeMap<String, String>,
    /// Ids that a package needs to be built, tests aside, by its id.
    needs: BTreeMap<String, Vec<String>>,
}

impl Graph {
    fn load() -> Self {
        let metadata = metadata();
        let names = list(&metadata["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"])));
        let needs = list(&metadata["resolve"]["nodes"]).iter().map(|n| (text(&n["id"]), built(n)));
        let ours: BTreeSet<String> =
            list(&metadata["workspace_members"]).iter().map(text).collect();
        let is_ours = |package: &&Value| ours.contains(&text(&package["id"]));
        let members = list(&metadata["packages"]).iter().filter(is_ours).map(member).collect();
        Self { members, names: names.collect(), needs: needs.collect() }
    }

    /// A shortest way from a member to a package of that name.
    fn way(&self, from: &str, to: &str) -> Option<String> {
        let (start, _) = self.names.iter().find(|(_, name)| *name == from)?;
        let mut ways = vec![vec![start.as_str()]];
        let mut seen = BTreeSet::from([start.as_str()]);
        let mut next = 0;
        while let Some(way) = ways.get(next).cloned() {
            next += 1;
            let last = way.last().expect("a way has a beginning");
            if self.names.get(*last).is_some_and(|name| name == to) {
                let names: Vec<&str> = way.iter().map(|id| self.names[*id].as_str()).collect();
                return Some(names.join(" -> "));
            }
            for id in self.needs.get(*last).into_iter().flatten() {
                if seen.insert(id) {
                    ways.push([way.as_slice(), &[id.as_str()]].concat());
                }
            }
        }
        None
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What a node of the graph needs beyond its tests.
fn built(node: &Value) -> Vec<String> {
    let for_build = |dep: &&Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
    list(&node["deps"]).iter().filter(for_build).map(|dep| text(&dep["pkg"])).collect()
}

fn member(package: &Value) -> Member {
    let dependency = |dep: &Value| Dependency {
        name: text(&dep["name"]),
        for_tests: dep["kind"] == "dev",
        optional: dep["optional"] == true,
        features: list(&dep["features"]).iter().map(text).collect(),
    };
    let manifest = text(&package["manifest_path"]);
    let within = root().to_string_lossy().into_owned();
    Member {
        name: text(&package["name"]),
        manifest: manifest.strip_prefix(&within).unwrap_or(&manifest).trim_matches('/').to_owned(),
        named: list(&package["dependencies"]).iter().map(dependency).collect(),
    }
}

/// Asks cargo, without the network if what it needs is at hand.
fn metadata() -> Value {
    let ask = |flags: &[&str]| {
        Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked"])
            .args(flags)
            .current_dir(root())
            .output()
            .expect("cargo runs: it is running this test")
    };
    let mut output = ask(&["--offline"]);
    if !output.status.success() {
        output = ask(&[]);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "Cargo.lock:1: cargo metadata fails; mend this: {said}");
    serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON")
}

/// Whether a package belongs to the family of that name: `quinn`, `quinn-proto`.
fn is_of(package: &str, family: &str) -> bool {
    let rest = package.strip_prefix(family);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
}

#[test]
fn some_libraries_are_named_by_one_crate_alone() {
    let mut breaches = Vec::new();
    for member in Graph::load().members {
        for Dependency { name, .. } in &member.named {
            let fence = NAMED_BY_ONE.iter().find(|(family, _)| is_of(name, family));
            if let Some((_, owner)) = fence.filter(|(_, owner)| *owner != member.name) {
                let manifest = &member.manifest;
                breaches.push(format!(
                    "{manifest}:1: names {name}, which only {owner} may; use what {owner} offers"
                ));
            }
        }
    }
    settle(breaches);
}

#[test]
fn nothing_impure_is_reachable_from_the_pure_crates() {
    let graph = Graph::load();
    let mut breaches = Vec::new();
    for member in graph.members.iter().filter(|member| PURE.contains(&member.name.as_str())) {
        for library in OUT_OF_REACH {
            if let Some(way) = graph.way(&member.name, library) {
                breaches.push(format!(
                    "{}:1: {library} is reachable ({way}); break the chain at its first link",
                    member.manifest
                ));
            }
        }
    }
    settle(breaches);
}

#[test]
fn no_layer_imports_upward() {
    let graph = Graph::load();
    let ours: BTreeSet<&str> = graph.members.iter().map(|member| member.name.as_str()).collect();
    let mut breaches = Vec::new();
    for member in graph.members.iter().filter(|member| !JOINTS.contains(&member.name.as_str())) {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == member.name) else {
            let Member { manifest, name, .. } = member;
            breaches.push(format!("{manifest}:1: {name} has no layer; give it one in LAYERS"));
            continue;
        };
        let imports = member.named.iter().filter(|dependency| !dependency.for_tests);
        for Dependency { name, .. } in imports.filter(|d| ours.contains(d.name.as_str())) {
            if !allowed.contains(&name.as_str()) {
                let (manifest, importer) = (&member.manifest, &member.name);
                breaches.push(format!(
                    "{manifest}:1: {importer} imports {name}; it may import {allowed:?} only: \
                     move the shared part down, or pass it in from {}",
                    JOINTS[0]
                ));
            }
        }
    }
    settle(breaches);
}

#[test]
fn only_the_gateway_has_the_vocabulary_described() {
    let mut breaches = Vec::new();
    for Member { name, manifest, named } in Graph::load().members {
        if name == DESCRIBED_FOR {
            continue;
        }
        for dependency in named {
            let brings = is_of(&dependency.name, DESCRIBED_BY) && !dependency.optional;
            let turns_on = dependency.features.iter().any(|feature| feature == DESCRIBING);
            if brings || turns_on {
                let what = dependency.name;
                breaches.push(format!(
                    "{manifest}:1: {name} has {what} with {DESCRIBED_BY}, which only \
                     {DESCRIBED_FOR} may: leave the feature {DESCRIBING} off"
                ));
            }
        }
    }
    settle(breaches);
}

#[test]
fn the_graph_is_read_rightly() {
    let graph = Graph::load();
    let way = graph.way("rotary-proto", "bincode");
    assert_eq!(way.as_deref(), Some("rotary-proto -> bincode"));
    assert!(graph.way("rotary-proto", "proptest").is_none(), "tests are not built into a crate");
    assert!(is_of("quinn-proto", "quinn") && is_of("quinn", "quinn") && !is_of("quinnx", "quinn"));
}
