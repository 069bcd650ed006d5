//! A scenario: which cluster, which load, which faults, how fast. A TOML file, or one by its name.

use std::path::Path;
use std::time::Duration;

use figment::Figment;
use figment::providers::{Format as _, Toml};
use serde::{Deserialize, Serialize};

use super::load;
use super::nemesis::{Kind, Pace};
use crate::checkers::liveness::SERVE_MS;

/// The scenarios that come with the harness.
const BUILT_IN: [(&str, &str); 9] = [
    ("calm", include_str!("../../scenarios/calm.toml")),
    ("clocks", include_str!("../../scenarios/clocks.toml")),
    ("disk", include_str!("../../scenarios/disk.toml")),
    ("failpoints", include_str!("../../scenarios/failpoints.toml")),
    ("failover", include_str!("../../scenarios/failover.toml")),
    ("kill-leader", include_str!("../../scenarios/kill-leader.toml")),
    ("partition", include_str!("../../scenarios/partition.toml")),
    ("power-cut", include_str!("../../scenarios/power-cut.toml")),
    ("storm", include_str!("../../scenarios/storm.toml")),
];
/// Bytes of a scenario's file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Nodes, 1 to 9.
    pub nodes: u8,
    /// Data shards.
    pub shards: u32,
    /// The faults, by name.
    pub nemesis: Vec<String>,
    /// How long they go on.
    pub minutes: u64,
    /// How long nothing is broken before.
    pub calm_s: u64,
    /// How long people go on once everything is healed.
    pub serve_s: u64,
    /// A fault begins this often.
    pub every_ms: u64,
    /// A fault lasts at least this long.
    pub lasts_min_ms: u64,
    /// A fault lasts at most this long.
    pub lasts_max_ms: u64,
    /// The size of each node's file system.
    pub volume_mib: u64,
    /// Who uses the cluster.
    pub load: load::Kind,
    /// Of people: customers who come in a minute.
    pub customers_per_minute: u32,
    /// Of people: agents of each of the two sites.
    pub agents: u32,
    /// Of the bank: thousandths of its customers.
    pub share_permille: u64,
    /// Keys of the nodes' configuration, `section.key=value`.
    pub set: Vec<String>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            nodes: 3,
            shards: 4,
            nemesis: Vec::new(),
            minutes: 2,
            calm_s: 5,
            serve_s: SERVE_MS / 1_000,
            every_ms: 15_000,
            lasts_min_ms: 2_000,
            lasts_max_ms: 8_000,
            volume_mib: 768,
            load: load::Kind::People,
            customers_per_minute: 180,
            agents: 6,
            share_permille: 200,
            set: Vec::new(),
        }
    }
}

/// A scenario that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("scenario {name}: {why}")]
pub struct ScenarioError {
    name: String,
    why: String,
}

impl Scenario {
    /// The built-in one of that name, or that of a file.
    ///
    /// # Errors
    /// There is none, it is not a scenario, or its numbers do not fit.
    pub fn find(name: &str) -> Result<Self, ScenarioError> {
        let wrong = |why: String| ScenarioError { name: name.to_owned(), why };
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        let text = match built_in {
            Some((_, text)) => (*text).to_owned(),
            None => read(Path::new(name)).map_err(|error| {
                let names = BUILT_IN.map(|(name, _)| name).join(", ");
                wrong(format!("{error}; name a file, or one of {names}"))
            })?,
        };
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let scenario: Self =
            Figment::from(Toml::string(text)).extract().map_err(|error| error.to_string())?;
        scenario.kinds()?;
        let fits = (1..=9).contains(&scenario.nodes)
            && (1..=1_024).contains(&scenario.shards)
            && (1..=1_440).contains(&scenario.minutes)
            && (100..=3_600_000).contains(&scenario.every_ms)
            && (100..=scenario.lasts_max_ms).contains(&scenario.lasts_min_ms)
            && scenario.lasts_max_ms <= 600_000
            && scenario.calm_s.max(scenario.serve_s) <= 3_600
            && (192..=65_536).contains(&scenario.volume_mib)
            && (1..=60_000).contains(&scenario.customers_per_minute)
            && (1..=1_000).contains(&scenario.agents)
            && (1..=100_000).contains(&scenario.share_permille);
        fits.then_some(scenario).ok_or_else(|| {
            "nodes are 1 to 9, shards 1 to 1024, minutes 1 to 1440, every_ms 100 to 3600000, \
             lasts_min_ms 100 to lasts_max_ms, which is at most 600000, \
             calm_s and serve_s at most 3600, volume_mib 192 to 65536, \
             customers_per_minute 1 to 60000, agents 1 to 1000, share_permille 1 to 100000"
                .to_owned()
        })
    }

    /// The faults.
    ///
    /// # Errors
    /// A name that no kind has.
    pub fn kinds(&self) -> Result<Vec<Kind>, String> {
        let kind = |name: &String| name.parse::<Kind>().map_err(|error| error.to_string());
        self.nemesis.iter().map(kind).collect()
    }

    /// How fast they come.
    pub fn pace(&self) -> Pace {
        Pace {
            every: Duration::from_millis(self.every_ms),
            lasts_min: Duration::from_millis(self.lasts_min_ms),
            lasts_max: Duration::from_millis(self.lasts_max_ms),
        }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_can_be_used() {
        for (name, _) in BUILT_IN {
            let scenario = Scenario::find(name).expect(name);
            assert_eq!(scenario.nemesis.is_empty(), name == "calm", "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, names) in [
            ("nodez = 3", "nodez"),
            ("nemesis = [\"kil\"]", "\"kil\" is no nemesis"),
            ("nodes = 10", "nodes are 1 to 9"),
            ("lasts_min_ms = 9000", "lasts_min_ms 100 to lasts_max_ms"),
            ("nodes = \"x\"", "nodes"),
        ] {
            let wrong = Scenario::parse(text).expect_err(text);
            assert!(wrong.contains(names), "{text}: {wrong}");
        }
        let absent = Scenario::find("no-such").expect_err("there is none").to_string();
        assert!(absent.contains("one of calm, clocks"), "{absent}");
    }
}
