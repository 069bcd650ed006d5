//! `rotary top`: nodes, shards, sites and queues, drawn again every second.
//!
//! One node is asked, and what it sees is shown: `rotary cluster status` at another one may differ.
//! While nobody answers, the last that was seen stays, under a line that says so.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, stdout};
use std::time::{Duration, Instant};

use clap::Args;
use futures::future::join_all;
use rotary_client::{Api, ApiError, Patience};
use rotary_proto::SiteId;
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::cli::Remote;
use crate::cli::client::{CliError, api};
use crate::cli::cluster::gateways;
use crate::cli::output::{Format, Table, cell, moment, rows, seconds};
use crate::gateway::token::unix_ms;
use crate::terminal::{Keys, Screen, Size, interrupted};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// A look must not hold up the next for long.
const PATIENCE: Patience =
    Patience { attempt: Duration::from_secs(2), total: Duration::from_millis(1) };
/// Sites whose queues are looked at; more would be read by nobody.
const SITES_MAX: usize = 32;

/// `rotary top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// One site; all that the token may see if absent.
    #[arg(long)]
    site: Option<SiteId>,
    /// Look once and end, as where the output is no terminal.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    remote: Remote,
}

/// What was seen at one look.
#[derive(Debug, Clone)]
struct Seen {
    at: Instant,
    cluster: Value,
    /// Each site's row of the list with its view and its queues, as far as they could be read.
    sites: Vec<Value>,
    /// Sites that were left out.
    more: usize,
}

/// `rotary top`
pub(crate) async fn top(args: &TopArgs) -> Result<(), CliError> {
    let api = api(&args.remote)?.patient(PATIENCE);
    if args.remote.output == Format::Json {
        let Seen { cluster, sites, .. } = Seen::look(&api, args.site).await?;
        println!("{:#}", json!({"cluster": cluster, "sites": sites}));
        return Ok(());
    }
    let seen = Seen::look(&api, args.site).await?;
    if args.once || !stdout().is_terminal() {
        print!("{}", seen.drawn(None));
        return Ok(());
    }
    live(&api, args.site, seen)
        .await
        .map_err(|error| CliError::Local(format!("the terminal is gone: {error}")))
}

/// Draws until somebody quits.
async fn live(api: &Api, site: Option<SiteId>, mut seen: Seen) -> std::io::Result<()> {
    let mut keys = Keys::listen();
    let mut screen = Screen::enter(stdout())?;
    let mut every = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut text = seen.drawn(None);
    loop {
        screen.draw(&text, Size::of_terminal())?;
        let look = async {
            every.tick().await;
            Seen::look(api, site).await
        };
        let looked = tokio::select! {
            biased;
            () = interrupted() => return Ok(()),
            () = quits(&mut keys) => return Ok(()),
            looked = look => looked,
        };
        text = match looked {
            Ok(next) => {
                let text = next.drawn(Some(&seen));
                seen = next;
                text
            }
            Err(error) => {
                let old_s = seen.at.elapsed().as_secs();
                format!("{error}; what follows is {old_s} s old\n{}", seen.drawn(None))
            }
        };
    }
}

async fn quits(keys: &mut Keys) {
    while keys.next().await != 'q' {}
}

impl Seen {
    async fn look(api: &Api, site: Option<SiteId>) -> Result<Self, ApiError> {
        let at = Instant::now();
        let (cluster, listed): (Value, Value) =
            tokio::try_join!(api.read("/v1/cluster"), api.read("/v1/sites"))?;
        let wanted = |row: &&Value| site.is_none_or(|site| row["site"] == json!(site));
        let listed: Vec<&Value> = rows(&listed["data"]).iter().filter(wanted).collect();
        let sites = join_all(listed.iter().take(SITES_MAX).map(|row| site_of(api, row))).await;
        Ok(Self { at, cluster, more: listed.len() - sites.len(), sites })
    }

    /// As a text, with rates since an earlier look.
    fn drawn(&self, before: Option<&Self>) -> String {
        let nodes = rows(&self.cluster["nodes"]);
        let shards = rows(&self.cluster["shards"]);
        let connected = nodes.iter().filter(|node| node["connected"] == true).count();
        let led = shards.iter().filter(|shard| !shard["leader"].is_null()).count();
        let doors = rows(&self.cluster["gateways"]);
        let here = doors.iter().filter(|node| node["connected"] == true).count();
        let doors = match doors.len() {
            0 => String::new(),
            all => format!("   gateways {here} of {all} connected"),
        };
        let mut text = format!(
            "{}   nodes {connected} of {} connected{doors}   shards {led} of {} led   as {} sees \
             it   q quits\n",
            moment(&json!(unix_ms())),
            nodes.len(),
            shards.len(),
            cell(&self.cluster["node"]),
        );
        let tables = [self.sites(), self.queues(), self.shards(before)];
        for table in [self.nodes()].into_iter().chain(gateways(&self.cluster)).chain(tables) {
            write!(text, "\n{table}").expect("a text takes any text");
        }
        if self.more > 0 {
            writeln!(text, "\nand {} more sites: --site shows one", self.more).expect("a text");
        }
        text
    }

    fn nodes(&self) -> Table {
        let mut table = Table::new(["NODE", "URL", "CONNECTED", "LEADS"]);
        for node in rows(&self.cluster["nodes"]) {
            let of = |key: &str| cell(&node[key]);
            table.row([of("node"), of("url"), of("connected"), of("leads")]);
        }
        table
    }

    fn sites(&self) -> Table {
        let mut table =
            Table::new(["SITE", "NAME", "SHARD", "AGENTS", "READY", "LIVE", "SESSIONS"]);
        for site in &self.sites {
            let (row, view) = (&site["row"], &site["view"]);
            let counts =
                ["agents", "ready", "conversations", "sessions"].map(|key| cell(&view[key]));
            let [agents, ready, live, sessions] = counts;
            let [id, name, shard] = ["site", "name", "shard"].map(|key| cell(&row[key]));
            table.row([id, name, shard, agents, ready, live, sessions]);
        }
        table
    }

    /// Queues, the one whose conversation has waited longest first.
    fn queues(&self) -> Table {
        let heads =
            ["SITE", "QUEUE", "NAME", "WAITING", "OFFERED", "ASSIGNED", "WRAP-UP", "OLDEST"];
        let mut table = Table::new(heads);
        let mut all: Vec<(&Value, &Value)> = Vec::new();
        for site in &self.sites {
            all.extend(rows(&site["queues"]).iter().map(|queue| (&site["row"]["site"], queue)));
        }
        let waits = |queue: &Value| queue["oldest_wait_ms"].as_u64().unwrap_or(0);
        all.sort_by_key(|(_, queue)| std::cmp::Reverse(waits(queue)));
        for (site, queue) in all {
            let of = |key: &str| cell(&queue[key]);
            let counts = ["waiting", "offered", "assigned", "wrap_up"].map(of);
            let [waiting, offered, assigned, wrap_up] = counts;
            let (name, oldest) = (cell(&queue["plan"]["name"]), seconds(&queue["oldest_wait_ms"]));
            table.row([cell(site), of("queue"), name, waiting, offered, assigned, wrap_up, oldest]);
        }
        table
    }

    fn shards(&self, before: Option<&Self>) -> Table {
        let heads = ["SHARD", "LEADER", "TERM", "APPLIED", "BEHIND", "PER SECOND", "SITES"];
        let mut table = Table::new(heads);
        for shard in rows(&self.cluster["shards"]) {
            let of = |key: &str| cell(&shard[key]);
            let number = |key: &str| shard[key].as_u64().unwrap_or(0);
            let behind = number("last").saturating_sub(number("applied")).to_string();
            let rate = before.and_then(|before| self.rate(before, shard));
            let rate = rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
            let [id, leader, term, applied] = ["shard", "leader", "term", "applied"].map(of);
            table.row([id, leader, term, applied, behind, rate, of("sites")]);
        }
        table
    }

    /// Entries of a shard that were applied in a second since an earlier look.
    fn rate(&self, before: &Self, shard: &Value) -> Option<f64> {
        let was = rows(&before.cluster["shards"]).iter().find(|was| was["shard"] == shard["shard"]);
        let applied = shard["applied"].as_u64()?.checked_sub(was?["applied"].as_u64()?)?;
        let passed_s = self.at.checked_duration_since(before.at)?.as_secs_f64();
        (passed_s > 0.0).then(|| applied as f64 / passed_s)
    }
}

/// A site's row with its view and its queues; without them where its shard does not answer.
async fn site_of(api: &Api, row: &Value) -> Value {
    let site = cell(&row["site"]);
    let (view, queues) = (format!("/v1/sites/{site}"), format!("/v1/sites/{site}/queues"));
    let (view, queues) = tokio::join!(api.read::<Value>(&view), api.read::<Value>(&queues));
    let queues = queues.map_or(Value::Null, |mut queues| queues["data"].take());
    json!({"row": row, "view": view.unwrap_or_default(), "queues": queues})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(at: Instant, applied: u64) -> Seen {
        let cluster = json!({
            "node": "nd_1",
            "nodes": [{"node": "nd_1", "url": "http://x:1", "connected": true, "leads": 1},
                      {"node": "nd_2", "url": "http://x:2", "connected": false, "leads": 0}],
            "gateways": [{"node": "nd_4", "url": "http://x:4", "connected": false, "seen_by": [],
                          "last_seen": null, "sessions": null, "build": "1.2"}],
            "shards": [{"shard": "sh_1", "leader": "nd_1", "term": 2, "last": applied + 3,
                        "applied": applied, "sites": 1},
                       {"shard": "sh_2", "leader": null, "term": 1, "last": 0, "applied": 0,
                        "sites": 0}],
        });
        let queue = |queue: &str, name: &str, oldest_wait_ms: u64| {
            json!({"queue": queue, "plan": {"name": name}, "waiting": 1, "offered": 0,
                   "assigned": 2, "wrap_up": 0, "oldest_wait_ms": oldest_wait_ms})
        };
        let site = json!({
            "row": {"site": "st_1.1", "name": "Lobby", "shard": "sh_1"},
            "view": {"agents": 4, "ready": 3, "conversations": 5, "sessions": 6},
            "queues": [queue("qu_1", "Sales", 500), queue("qu_2", "Care", 61_000)],
        });
        let gone = json!({"row": {"site": "st_2.1", "name": "Gone", "shard": "sh_2"},
                          "view": null, "queues": null});
        Seen { at, cluster, sites: vec![site, gone], more: 2 }
    }

    #[test]
    fn what_is_seen_is_drawn_with_rates_and_the_longest_wait_first() {
        let begun = Instant::now();
        let (before, after) = (seen(begun, 10), seen(begun + Duration::from_secs(2), 50));
        let text = after.drawn(Some(&before));
        let (head, tables) = text.split_once("\n\n").expect("a headline");
        assert!(
            head.contains("nodes 1 of 2 connected   gateways 0 of 1 connected   shards 1"),
            "{head}"
        );
        let expected = "\
NODE  URL         CONNECTED  LEADS
nd_1  http://x:1  true       1
nd_2  http://x:2  false      0

GATEWAY  URL         CONNECTED  SEEN BY  LAST SEEN  SESSIONS  VERSION
nd_4     http://x:4  false      -        -          -         1.2

SITE    NAME   SHARD  AGENTS  READY  LIVE  SESSIONS
st_1.1  Lobby  sh_1   4       3      5     6
st_2.1  Gone   sh_2   -       -      -     -

SITE    QUEUE  NAME   WAITING  OFFERED  ASSIGNED  WRAP-UP  OLDEST
st_1.1  qu_2   Care   1        0        2         0        61.0 s
st_1.1  qu_1   Sales  1        0        2         0        0.5 s

SHARD  LEADER  TERM  APPLIED  BEHIND  PER SECOND  SITES
sh_1   nd_1    2     50       3       20          1
sh_2   -       1     0        0       0           0

and 2 more sites: --site shows one
";
        assert_eq!(tables, expected);
    }
}
