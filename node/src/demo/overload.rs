//! Five times what the cluster can do, and what became of everybody: the script of promise P13.

use std::collections::BTreeMap;
use std::time::Duration;

use super::args::DemoArgs;
use super::cluster::Cluster;
use super::view::View;
use crate::cli::output::Table;
use crate::load::{CONNECTIONS, Coming, Latency, Phase, Quantiles, Storm};

/// Contacts under way at a time when the peak is looked for: the better of them is the peak.
const UNDER_WAY: [usize; 2] = [64, CONNECTIONS];
/// How many times the peak is offered.
const TIMES: f64 = 5.0;
/// How long that lasts, unless `--seconds` says.
const SECONDS: u64 = 60;
/// How long the other phases last.
const BESIDE: Duration = Duration::from_secs(15);
/// How long it is looked for the end of the trouble.
const AFTER: Duration = Duration::from_secs(20);

/// Measures and prints; whether every budget was kept.
pub(super) async fn run(args: &DemoArgs, cluster: &Cluster) -> anyhow::Result<bool> {
    let doors = cluster.nodes().into_iter().map(|(node, gateway, _)| (node, gateway)).collect();
    let latency = Latency::prepare(&args.options(), doors, cluster.token()).await?;
    let measured = measure(args, cluster, &latency).await;
    latency.close().await;
    let kept = measured?;
    Ok(kept || !args.assert)
}

/// The phases of a run.
struct Run {
    floor: Vec<Duration>,
    peak: Phase,
    before: Phase,
    during: Phase,
    after: Phase,
    elections: u64,
}

async fn measure(args: &DemoArgs, cluster: &Cluster, latency: &Latency) -> anyhow::Result<bool> {
    let pids = cluster.nodes().into_iter().filter_map(|(_, _, pid)| pid).collect();
    let mut storm = Storm::gather(latency, pids).await?;
    let terms = View::of(&cluster.api()?, &latency.sites()).await?.terms;
    let floor = Latency::floor(cluster.folder(), Duration::from_secs(3)).await?;
    storm.phase(Coming::Closed(CONNECTIONS), Duration::from_secs(5)).await?;
    let mut peak = Phase::default();
    for under_way in UNDER_WAY {
        eprintln!("as many as it can for {} s, {under_way} at a time", BESIDE.as_secs());
        let phase = storm.phase(Coming::Closed(under_way), BESIDE).await?;
        if peak.seconds.is_empty() || phase.goodput() > peak.goodput() {
            peak = phase;
        }
    }
    let half = peak.goodput() / 2.0;
    eprintln!("{half:.0} a second, the half of it, for {} s", BESIDE.as_secs());
    let before = storm.phase(Coming::Open(half), BESIDE).await?;
    let (many, time) = (peak.goodput() * TIMES, args.seconds.unwrap_or(SECONDS));
    eprintln!("{many:.0} a second, {TIMES} times of it, for {time} s");
    let during = storm.phase(Coming::Open(many), Duration::from_secs(time)).await?;
    eprintln!("{half:.0} a second again for {} s", AFTER.as_secs());
    let after = storm.phase(Coming::Open(half), AFTER).await?;
    let later = View::of(&cluster.api()?, &latency.sites()).await?.terms;
    let raised = |(shard, term): (_, &u64)| term - terms.get(shard).unwrap_or(&0);
    let elections = later.iter().map(raised).sum();
    let run = Run { floor, peak, before, during, after, elections };
    Ok(run.tell())
}

impl Run {
    /// Prints everything; whether every budget was kept.
    fn tell(&self) -> bool {
        let mut table = Table::new([
            "PHASE",
            "ASKED/S",
            "TAKEN/S",
            "DONE/S",
            "OFFER P50",
            "P99",
            "MAX",
            "REFUSED P50",
            "P99",
            "MAX",
            "NODES' CPU",
            "CLIENT'S",
            "MIB",
            "MOST",
        ]);
        let phases = [&self.peak, &self.before, &self.during, &self.after];
        for (name, phase) in ["peak", "before", "overload", "after"].into_iter().zip(phases) {
            table.row(row(name, phase));
        }
        println!("times in ms; CPU in cores; memory of the largest node:\n\n{table}");
        if let Some(floor) = Quantiles::of(self.floor.clone()) {
            println!("floor: a lone durable write {} p50, {} p99", ms(floor.p50), ms(floor.p99));
        }
        for (name, phase) in ["peak", "before", "overload", "after"].into_iter().zip(phases) {
            if !phase.codes.is_empty() {
                println!("{name}: {}", codes(&phase.codes));
            }
        }
        self.judge().into_iter().fold(true, |all, (what, kept)| {
            println!("{what}: {}", if kept { "kept" } else { "missed" });
            all && kept
        })
    }

    /// Each budget, and whether it was kept.
    fn judge(&self) -> [(String, bool); 5] {
        let refused = Quantiles::of(self.during.refused.clone()).map_or(Duration::ZERO, |q| q.p99);
        let share = self.during.goodput() / self.peak.goodput().max(1.0);
        let recovered = self.recovered();
        let (usual, grown) = (self.peak.grown() / 1_024.0, self.during.grown() / 1_024.0);
        let told = recovered.map_or("not in time".to_owned(), |second| format!("{second} s"));
        [
            (format!("refusals p99 {} ms (at most 100)", ms(refused)), refused.as_millis() <= 100),
            (format!("goodput {:.0} % of the peak (at least 90)", share * 100.0), share >= 0.9),
            (
                format!("back to normal after {told} (at most 10)"),
                recovered.is_some_and(|second| second <= 10),
            ),
            (format!("{} elections (none)", self.elections), self.elections == 0),
            (
                format!(
                    "memory grew {grown:.1} KiB a contact done, {usual:.1} at the peak (twice)"
                ),
                grown <= usual * 2.0,
            ),
        ]
    }

    /// The first second after the overload from which on the median is no longer than twice the one
    /// before it, or no longer than 10 ms.
    fn recovered(&self) -> Option<usize> {
        let usual = Quantiles::of(self.before.offered())?.p50;
        let most = (usual * 2).max(Duration::from_millis(10));
        let bad = self.after.seconds.iter().rposition(|second| {
            Quantiles::of(second.offered.clone()).is_none_or(|times| times.p50 > most)
        });
        let first = bad.map_or(0, |bad| bad + 1);
        (first < self.after.seconds.len()).then_some(first)
    }
}

pub(super) fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1_000.0)
}

fn codes(codes: &BTreeMap<String, u64>) -> String {
    codes.iter().map(|(code, count)| format!("{count} {code}")).collect::<Vec<_>>().join(", ")
}

fn row(name: &str, phase: &Phase) -> [String; 14] {
    let seconds = phase.took.as_secs_f64();
    let rate = |count: f64| format!("{:.0}", count / seconds);
    let times = |times: Vec<Duration>| match Quantiles::of(times) {
        Some(times) => [ms(times.p50), ms(times.p99), ms(times.max)],
        None => [(); 3].map(|()| "-".to_owned()),
    };
    let [offer_50, offer_99, offer_max] = times(phase.offered());
    let [refused_50, refused_99, refused_max] = times(phase.refused.clone());
    let cores = |cpu: Duration| format!("{:.2}", cpu.as_secs_f64() / seconds);
    let mib = |bytes: u64| (bytes / 1024 / 1024).to_string();
    [
        name.to_owned(),
        rate(phase.asked as f64),
        rate(phase.admitted as f64),
        format!("{:.0}", phase.goodput()),
        offer_50,
        offer_99,
        offer_max,
        refused_50,
        refused_99,
        refused_max,
        cores(phase.nodes_cpu),
        cores(phase.own_cpu),
        mib(phase.bytes),
        mib(phase.bytes_most),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Second;

    fn phase(offered_ms: &[u64], ended: usize) -> Phase {
        let second = |ms: &u64| Second { offered: vec![Duration::from_millis(*ms); 3], ended };
        let seconds: Vec<Second> = offered_ms.iter().map(second).collect();
        let took = Duration::from_secs(seconds.len() as u64);
        let bytes_most = ended as u64 * 1_000;
        Phase { took, seconds, bytes_most, ..Phase::default() }
    }

    fn run(after_ms: &[u64], ended: usize) -> Run {
        let (peak, before) = (phase(&[9; 4], 1_000), phase(&[20; 4], 500));
        let (during, after) = (phase(&[60; 4], ended), phase(after_ms, 500));
        Run { floor: Vec::new(), peak, before, during, after, elections: 0 }
    }

    #[test]
    fn recovery_is_from_the_last_second_that_was_not_as_usual() {
        assert_eq!(run(&[20, 40, 30], 1_000).recovered(), Some(0));
        assert_eq!(run(&[300, 40, 41, 30], 1_000).recovered(), Some(3));
        assert_eq!(run(&[30, 300], 1_000).recovered(), None);
    }

    #[test]
    fn each_budget_is_judged_by_itself() {
        let kept = |run: &Run| run.judge().map(|(_, kept)| kept);
        assert_eq!(kept(&run(&[20], 900)), [true; 5]);
        let mut bad = run(&[300; 20], 899);
        bad.during.refused = vec![Duration::from_millis(101)];
        (bad.elections, bad.during.bytes_most) = (1, 100_000_000);
        assert_eq!(kept(&bad), [false; 5]);
    }
}
