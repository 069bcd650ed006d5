//! Thousands of sockets at one gateway: what they cost, how fast a message is read, and what the
//! loss of the gateway, and then of a core node, is to them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rotary_client::Gateway;
use rotary_proto::{NodeId, SiteId};

use super::args::DemoArgs;
use super::cluster::Cluster;
use super::overload::ms;
use super::view::View;
use crate::cli::output::Table;
use crate::load::{Crowd, Quantiles, Seen, Usage, Writing};

/// Messages a second that are tried, one after another.
const RATES: [f64; 3] = [250.0, 500.0, 1_000.0];
/// Messages under way at a time when the most is looked for.
const UNDER_WAY: usize = 256;
/// How long each is tried, unless `--seconds` says.
const SECONDS: u64 = 15;
/// How long a rest is watched.
const REST: Duration = Duration::from_secs(10);
/// Chats that an agent has room for.
const CUSTOMERS_PER_AGENT_MAX: usize = 6;
/// How long customers write around a kill, and before it.
const AROUND: Duration = Duration::from_secs(8);
const BEFORE: Duration = Duration::from_secs(2);
/// Messages a second around a kill.
const AROUND_RATE: f64 = 400.0;

/// Measures and prints; an error is somebody who was not served.
pub(super) async fn run(args: &DemoArgs, cluster: &mut Cluster) -> anyhow::Result<bool> {
    let (customers, agents) = (args.customers, args.agents_of_sockets());
    anyhow::ensure!(
        customers <= CUSTOMERS_PER_AGENT_MAX * agents,
        "--customers {customers} is too many for --agents {agents}: up to six each"
    );
    let cores = cluster.cores();
    let doors: Vec<Gateway> = match args.more_gateways() {
        0 => cores.clone(),
        _ => cluster.gateways().into_iter().filter(|door| !cores.contains(door)).collect(),
    };
    let mut table = Costs::table();
    let nobody = Costs::rest(cluster).await?;
    nobody.tell("nobody", None, 0, &mut table);
    let mut crowd = Crowd::prepare(&args.options(), cores, doors.clone(), cluster.token()).await?;
    let before = Costs::at_once(cluster)?;
    let took = crowd.sign_in().await?;
    eprintln!("{} agents signed in within {} s", args.agents_of_sockets(), seconds(took));
    let agents = Costs::rest(cluster).await?;
    agents.tell("agents", Some(&before), args.agents_of_sockets(), &mut table);
    if args.customers > 0 {
        let took = crowd.arrive(args.customers).await?;
        eprintln!("{} customers came and were served within {} s", args.customers, seconds(took));
        let all = Costs::rest(cluster).await?;
        all.tell("and customers", Some(&agents), args.customers, &mut table);
    }
    println!("at rest; CPU in cores, memory in MiB, sockets each in KiB:\n\n{table}");
    if args.customers > 0 {
        messages(args, cluster, &crowd).await?;
    }
    storm(cluster, &crowd, &doors).await?;
    if args.customers > 0 {
        core_dies(cluster, &crowd, &doors).await?;
    }
    crowd.close().await;
    Ok(true)
}

impl DemoArgs {
    fn agents_of_sockets(&self) -> usize {
        self.options().agents
    }
}

/// What every node uses.
struct Costs {
    nodes: BTreeMap<NodeId, Usage>,
    /// Cores in use while it was watched.
    cores: BTreeMap<NodeId, f64>,
    /// Entries a second, over all shards.
    entries: f64,
}

impl Costs {
    fn table() -> Table {
        Table::new(["WHO", "NODE", "CPU", "MIB", "MOST", "A SOCKET", "ENTRIES/S"])
    }

    fn usage(cluster: &Cluster) -> BTreeMap<NodeId, Usage> {
        let nodes = cluster.nodes().into_iter();
        nodes.filter_map(|(node, _, pid)| Some((node, Usage::of(pid?)?))).collect()
    }

    /// As it is.
    fn at_once(cluster: &Cluster) -> anyhow::Result<Self> {
        let nodes = Self::usage(cluster);
        anyhow::ensure!(!nodes.is_empty(), "no node runs");
        Ok(Self { nodes, cores: BTreeMap::new(), entries: 0.0 })
    }

    /// While nobody does anything.
    async fn rest(cluster: &Cluster) -> anyhow::Result<Self> {
        let (before, entries) = (Self::usage(cluster), View::entries(&cluster.api()?).await?);
        let begun = Instant::now();
        tokio::time::sleep(REST).await;
        let (nodes, more) = (Self::usage(cluster), View::entries(&cluster.api()?).await?);
        let seconds = begun.elapsed().as_secs_f64();
        let cores = nodes.iter().filter_map(|(node, usage)| {
            let used = usage.cpu.saturating_sub(before.get(node)?.cpu);
            Some((*node, used.as_secs_f64() / seconds))
        });
        let cores = cores.collect();
        Ok(Self { nodes, cores, entries: more.saturating_sub(entries) as f64 / seconds })
    }

    /// A row for each node; `sockets` came since `before`.
    fn tell(&self, who: &str, before: Option<&Self>, sockets: usize, table: &mut Table) {
        for (node, usage) in &self.nodes {
            let grown = before.and_then(|before| {
                let grown = usage.bytes.saturating_sub(before.nodes.get(node)?.bytes);
                Some(format!("{:.1}", grown as f64 / 1_024.0 / sockets.max(1) as f64))
            });
            let mib = |bytes: u64| (bytes / 1024 / 1024).to_string();
            table.row([
                who.to_owned(),
                node.to_string(),
                self.cores.get(node).map_or("-".to_owned(), |cores| format!("{cores:.3}")),
                mib(usage.bytes),
                mib(usage.bytes_most),
                grown.unwrap_or_else(|| "-".to_owned()),
                format!("{:.1}", self.entries),
            ]);
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}

fn quantiles(times: Vec<Duration>) -> [String; 5] {
    match Quantiles::of(times) {
        Some(q) => [q.count.to_string(), ms(q.p50), ms(q.p90), ms(q.p99), ms(q.max)],
        None => [(); 5].map(|()| "-".to_owned()),
    }
}

/// From a customer's sending to their agent's reading, rate by rate.
async fn messages(args: &DemoArgs, cluster: &Cluster, crowd: &Crowd) -> anyhow::Result<()> {
    let time = Duration::from_secs(args.seconds.unwrap_or(SECONDS));
    let mut table = Table::new([
        "MESSAGES",
        "READ/S",
        "N",
        "P50",
        "P90",
        "P99",
        "MAX",
        "NODES' CPU",
        "CPU EACH",
    ]);
    let rates = RATES.map(|rate| (format!("{rate}/s"), Writing::Rate(rate)));
    let most = (format!("{UNDER_WAY} at a time"), Writing::Closed(UNDER_WAY));
    for (name, writing) in rates.into_iter().chain([most]) {
        let used = |before: &BTreeMap<NodeId, Usage>| -> f64 {
            let now = Costs::usage(cluster);
            let of = |(node, usage): (&NodeId, &Usage)| {
                let before = before.get(node).map_or(Duration::ZERO, |usage| usage.cpu);
                usage.cpu.saturating_sub(before).as_secs_f64()
            };
            now.iter().map(of).sum()
        };
        eprintln!("messages, {name}, for {} s", time.as_secs());
        let before = Costs::usage(cluster);
        let seen = crowd.talk(writing, time).await?;
        let (cpu, count) = (used(&before), seen.read.len());
        let took = seen.took.as_secs_f64();
        let [n, p50, p90, p99, max] = quantiles(times(&seen, |_, _| true));
        table.row([
            name,
            format!("{:.0}", count as f64 / took),
            n,
            p50,
            p90,
            p99,
            max,
            format!("{:.2}", cpu / took),
            format!("{:.3}", cpu * 1_000.0 / count.max(1) as f64),
        ]);
    }
    println!("from a customer's sending to the agent's reading, in ms; CPU in cores and ms:\n");
    println!("{table}");
    Ok(())
}

fn times(seen: &Seen, counts: impl Fn(SiteId, Instant) -> bool) -> Vec<Duration> {
    let read = seen.read.iter().filter(|(site, at, _)| counts(*site, *at));
    read.map(|(_, _, took)| *took).collect()
}

/// The gateway of all sockets is killed, and all of them come back through the next.
async fn storm(cluster: &mut Cluster, crowd: &Crowd, doors: &[Gateway]) -> anyhow::Result<()> {
    let nodes = cluster.nodes();
    let first = doors.first().context("there is a door")?;
    let (door, ..) = nodes.iter().find(|(_, gateway, _)| gateway == first).context("it runs")?;
    crowd.forget();
    let begun = Instant::now();
    cluster.kill(*door).await?;
    let outages = crowd.all_back(crowd.sessions()).await?;
    let took = begun.elapsed();
    let [n, p50, p90, p99, max] = quantiles(outages);
    println!(
        "kill -9 of {door}, where everybody was: {n} sessions resumed in {} s;",
        seconds(took)
    );
    println!("nothing heard for, in ms: p50 {p50}, p90 {p90}, p99 {p99}, max {max}");
    for (node, usage) in Costs::usage(cluster) {
        println!("{node}: {} MiB, most {}", usage.bytes >> 20, usage.bytes_most >> 20);
    }
    cluster.start_all().await?;
    cluster.wait_ready(REST * 6).await?;
    Ok(())
}

/// A core node is killed while customers write.
async fn core_dies(cluster: &mut Cluster, crowd: &Crowd, doors: &[Gateway]) -> anyhow::Result<()> {
    let view = View::of(&cluster.api()?, &crowd.sites()).await?;
    // Where everybody came back to stays, if that is a core node.
    let cores = cluster.cores();
    let nodes = cluster.nodes();
    let victim = nodes.iter().find(|(node, gateway, _)| {
        let spared = doors.get(1) == Some(gateway);
        cores.contains(gateway) && !spared && !view.led_sites(*node).is_empty()
    });
    let victim = victim.context("a core node leads a site")?.0;
    let led = view.led_sites(victim);
    eprintln!("{AROUND_RATE} messages a second, and kill -9 of {victim}");
    let begun = Instant::now();
    let killing = async {
        tokio::time::sleep(BEFORE).await;
        let at = Instant::now();
        cluster.kill(victim).await.map(|()| at)
    };
    let (seen, at) = tokio::join!(crowd.talk(Writing::Rate(AROUND_RATE), AROUND), killing);
    let (seen, at) = (seen?, at?);
    println!("kill -9 of {victim} after {} s of messages; ms to read one:\n", seconds(at - begun));
    let mut table = Table::new(["SENT", "SITES", "N", "P50", "P90", "P99", "MAX"]);
    let near = at - Duration::from_millis(100)..at + Duration::from_secs(3);
    for (sent, around) in [("before and after", false), ("within 3 s of it", true)] {
        for (whose, lost) in [("it led", true), ("led by others", false)] {
            let of = times(&seen, |site, at| {
                led.contains(&site) == lost && near.contains(&at) == around
            });
            let [n, p50, p90, p99, max] = quantiles(of);
            table.row([sent.to_owned(), whose.to_owned(), n, p50, p90, p99, max]);
        }
    }
    println!("{table}");
    Ok(())
}
