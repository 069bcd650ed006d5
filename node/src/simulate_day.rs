//! `rotary simulate-day`: a contact centre's day in seconds, decided by the real distributor.
//!
//! The pure core is told the time, so it can be told any time: a simulated day hands it the
//! entries that a cluster's log would, one after the other, in virtual time. Every offer, expiry
//! and place in line is the distributor's own; only people are made up.
//!
//! ```text
//!   arrivals, handle times --> workload --> world <--> distributor
//!                                             |
//!                                          stories --> report: half hours, table, picture
//! ```
//!
//! * `workload`: who comes, and what they bring; every draw from one seed (`random`).
//! * `floor`: sites, queues, agents. `world`: what people do next, and the log.
//! * `calibration`: where queueing theory has exact values (`erlang`), the simulation must meet
//!   them; `docs/calibration.md` tells the result.
//!
//! What is left out: the cluster. There is no network, no disk and no failure; a command is applied
//! when it is sent, and its events are seen at once. Agents are all alike, stay all day, take no
//! breaks and accept every offer after the same time. Chats are one block of time without messages.

mod calibration;
mod erlang;
mod floor;
mod random;
mod seeds;
mod staffing;
mod tell;
mod theory;
mod workload;
mod world;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::bank::{self, Mix};
use crate::report::Report;
use calibration::{LOADS, Trial};
use floor::Floor;
use workload::{Customer, Day, HandleTimes, Laws, micros};

/// The service level that the agents are enough for, where no number is given.
const TARGET: f64 = 0.8;

/// `rotary simulate-day`. All times are in seconds.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SimulateDayArgs {
    /// The day of the arrivals file.
    #[arg(long, default_value = "2003-03-03")]
    day: String,
    /// Agents in all sites together; if absent, enough for 80 % within the service level's time.
    #[arg(long)]
    agents: Option<u32>,
    /// Weights of channels.
    #[arg(long, default_value = "voice=0.7,chat=0.3")]
    mix: Mix,
    /// Sites that share arrivals and agents.
    #[arg(long, default_value_t = 4)]
    sites: u32,
    /// Of every draw: equal seeds are equal days.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Counts per five minutes (`interval_start,calls`); a bank's, if absent.
    #[arg(long)]
    arrivals: Option<PathBuf>,
    /// Handle times (`seconds`); another bank's, if absent.
    #[arg(long)]
    handle_times: Option<PathBuf>,
    /// Mean patience of waiting customers; exponentially distributed.
    #[arg(long, default_value_t = 180.0)]
    patience_mean: f64,
    /// How long every agent takes to accept; less than the 20 s after which an offer ends.
    #[arg(long, default_value_t = 2.0)]
    accept_after: f64,
    /// How long every wrap-up takes; 0 for none.
    #[arg(long, default_value_t = 10.0)]
    wrap_up: f64,
    /// An answer within this time counts for the service level.
    #[arg(long, default_value_t = 20.0)]
    service_level: f64,
    /// What to print.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Where to draw the result, as SVG.
    #[arg(long)]
    picture: Option<PathBuf>,
    /// Compare constant loads with queueing theory instead of simulating a day.
    #[arg(long)]
    calibrate: bool,
    /// Put what queueing theory says of each half hour beside the day, at `--sites 1` and with one
    /// channel; agents accept at once and wrap nothing up.
    #[arg(long, conflicts_with = "calibrate")]
    theory: bool,
    /// How many seeds `--calibrate` and `--theory` take, from `--seed` on.
    #[arg(long, default_value_t = 100)]
    seeds: u32,
}

/// How to print a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

impl SimulateDayArgs {
    /// Whether everything is within its bounds.
    fn check(&self) -> anyhow::Result<()> {
        let hour = 0.0..=3_600.0;
        ensure!((1..=1_024).contains(&self.sites), "--sites is 1 to 1024");
        let agents = self.agents.unwrap_or(self.sites);
        ensure!((self.sites..=60_000).contains(&agents), "--agents is one per site to 60000");
        ensure!((0.0..20.0).contains(&self.accept_after), "--accept-after is 0 to less than 20");
        ensure!(hour.contains(&self.wrap_up), "--wrap-up is 0 to 3600");
        ensure!(hour.contains(&self.service_level), "--service-level is 0 to 3600");
        ensure!((1.0..=1e6).contains(&self.patience_mean), "--patience-mean is 1 to 1000000");
        ensure!((30..=100_000).contains(&self.seeds), "--seeds is 30 to 100000");
        Ok(())
    }

    fn floor(&self, agents: u32) -> Floor {
        let [accept_after_us, wrap_up_us] = [self.accept_after, self.wrap_up].map(micros);
        Floor { sites: self.sites, agents, accept_after_us, wrap_up_us }
    }
}

/// Runs `rotary simulate-day`; false if a calibration does not agree with theory.
///
/// # Errors
/// Names the option or file that cannot be used; or what the distributor did that it must not.
pub(crate) fn run(args: &SimulateDayArgs) -> anyhow::Result<bool> {
    args.check()?;
    match (args.calibrate, args.theory) {
        (true, _) => calibrate(args),
        (false, true) => compare(args).map(|()| true),
        (false, false) => simulate(args).map(|()| true),
    }
}

fn simulate(args: &SimulateDayArgs) -> anyhow::Result<()> {
    let (day, customers) = read(args)?;
    let agents = match args.agents {
        Some(agents) => agents,
        None => staffing::enough(&args.floor(0), &customers, args.service_level, TARGET)?,
    };
    let floor = args.floor(agents);
    let begun = Instant::now();
    let run = world::run(floor, &customers, day.wall_ms(), None)?;
    let pace = tell::Pace { took: begun.elapsed(), simulated_us: run.until_us };
    let title = format!("{}: {agents} agents, {} sites, seed {}", args.day, args.sites, args.seed);
    let moments = tell::moments(&floor, &day, &customers, &run.stories);
    let report = Report::of(&title, args.service_level, moments);
    draw(args.picture.as_deref(), || report.picture())?;
    tell::print(&match args.output {
        Format::Table => report.to_string(),
        Format::Json => tell::json(&report, &floor, &day, &run),
    })?;
    tell::whisper(&pace.of(&run.entries));
    Ok(())
}

fn compare(args: &SimulateDayArgs) -> anyhow::Result<()> {
    theory::check(args)?;
    let (day, laws) = laws(args)?;
    let floor = |agents| Floor { accept_after_us: 0, wrap_up_us: 0, ..args.floor(agents) };
    let agents = match args.agents {
        Some(agents) => agents,
        None => {
            let customers = workload::customers(&day.intervals, &laws, args.seed);
            staffing::enough(&floor(0), &customers, args.service_level, TARGET)?
        }
    };
    let (within_s, seed, seeds) = (args.service_level, args.seed, args.seeds);
    let question = theory::Question { day, laws, agents, within_s, seed, seeds };
    let answer = question.answer(&args.day)?;
    draw(args.picture.as_deref(), || theory::picture(&answer))?;
    tell::print(&match args.output {
        Format::Table => theory::table(&answer),
        Format::Json => theory::json(&answer),
    })?;
    Ok(())
}

/// The day and the laws of who comes.
fn laws(args: &SimulateDayArgs) -> anyhow::Result<(Day, Laws)> {
    let day = Day::of(&bank::arrivals(args.arrivals.as_deref(), &args.day)?);
    let handle = HandleTimes::Measured(bank::handle_times(args.handle_times.as_deref())?);
    let laws = Laws { sites: args.sites, mix: args.mix, patience_s: args.patience_mean, handle };
    Ok((day, laws))
}

/// The day and everybody who comes.
fn read(args: &SimulateDayArgs) -> anyhow::Result<(Day, Vec<Customer>)> {
    let (day, laws) = laws(args)?;
    let customers = workload::customers(&day.intervals, &laws, args.seed);
    Ok((day, customers))
}

fn calibrate(args: &SimulateDayArgs) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let trials = LOADS.map(|(name, load)| (name, Trial::full(args.seed, args.seeds, load)));
    let mut comparisons = Vec::new();
    for (name, trial) in trials {
        comparisons.push((name, trial.run()?));
    }
    draw(args.picture.as_deref(), || calibration::picture(&comparisons))?;
    tell::print(&match args.output {
        Format::Table => calibration::table(&comparisons),
        Format::Json => calibration::json(&comparisons),
    })?;
    let counted: u64 = comparisons.iter().map(|(_, comparison)| comparison.counted).sum();
    let entries: u64 = comparisons.iter().map(|(_, comparison)| comparison.entries).sum();
    let took_s = begun.elapsed().as_secs_f64();
    tell::whisper(&format!("{counted} customers counted, {entries} entries in {took_s:.1} s"));
    Ok(comparisons.iter().all(|(_, comparison)| comparison.agrees()))
}

fn draw(path: Option<&Path>, picture: impl FnOnce() -> String) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, picture()).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: SimulateDayArgs,
    }

    fn args(options: &[&str]) -> SimulateDayArgs {
        let line = ["simulate-day"].iter().chain(options);
        Line::try_parse_from(line).expect("options that exist").args
    }

    #[test]
    fn a_default_day_is_read_from_what_comes_with_the_binary() {
        let args = args(&[]);
        args.check().expect("defaults are within their bounds");
        let (day, customers) = read(&args).expect("the files are whole");
        assert_eq!((day.opens_s, day.intervals.len()), (7 * 3_600, 169));
        assert!(customers.len().abs_diff(41_257) < 1_000, "{}", customers.len());
    }

    #[test]
    fn theory_is_asked_of_what_it_knows() {
        for (options, named) in
            [(&["--mix", "voice=1"][..], "--sites 1"), (&["--sites", "1"], "--mix voice=1")]
        {
            let error = theory::check(&args(options)).expect_err("no theory").to_string();
            assert!(error.contains(named), "{error}");
        }
        let one = args(&["--sites", "1", "--mix", "chat=1"]);
        theory::check(&one).expect("theory has an answer");
    }

    #[test]
    fn an_option_out_of_bounds_is_named() {
        let broken = [
            ("--sites", "0"),
            ("--agents", "3"),
            ("--accept-after", "20"),
            ("--wrap-up", "3601"),
            ("--service-level", "4000"),
            ("--patience-mean", "0"),
            ("--seeds", "29"),
        ];
        for (option, value) in broken {
            let error = args(&[option, value]).check().expect_err(option).to_string();
            assert!(error.starts_with(option), "{error}");
        }
    }
}
