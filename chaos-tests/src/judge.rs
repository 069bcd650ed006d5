//! What the command line does with histories: judge them, show them, and hand them to others.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Subcommand;
use rotary_proto::ids::ShardId;

use crate::checkers::log_agreement::{self, NodeLog};
use crate::checkers::{self, Evidence, Verdict};
use crate::history::History;
use crate::history::export::{Form, export};
use crate::report;
use crate::totals::Totals;

/// What can be asked about histories.
#[derive(Debug, Subcommand)]
pub enum Asked {
    /// Judges histories: 0 if all are valid, 1 if a promise was broken, 2 if that is not known.
    Check {
        /// The files.
        #[arg(required = true)]
        histories: Vec<PathBuf>,
        /// Say it as JSON, one line for each history.
        #[arg(long)]
        json: bool,
        /// Data directories of the cluster's nodes, which must not run: their logs are compared
        /// with each other and with the history. Given for each node.
        #[arg(long)]
        data: Vec<PathBuf>,
    },
    /// Makes a page of a history: `index.html`, which needs no other file.
    Report {
        /// The file.
        history: PathBuf,
        /// The folder that the page goes into.
        #[arg(long)]
        out: PathBuf,
    },
    /// Sums up what soaks left: the folders below are those of `run --report`, the files `*.json`
    /// those of `simulate --sums`.
    Totals {
        /// The folder of the soak.
        folder: PathBuf,
        /// One line only, as a row of a table.
        #[arg(long)]
        row: bool,
    },
    /// Writes a history as EDN to standard output, for other checkers.
    Export {
        /// For whom.
        #[arg(long = "as", value_enum)]
        form: Form,
        /// The file.
        history: PathBuf,
    },
}

impl Asked {
    /// Does it. Whether everything is valid.
    ///
    /// # Errors
    /// What could not be read, or found out.
    pub fn run(self) -> Result<bool, String> {
        match self {
            Self::Check { histories, json, data } => check(&histories, json, &data),
            Self::Report { history, out } => {
                let history = History::read(&history).map_err(|error| error.to_string())?;
                let judgement = checkers::check(&history);
                let path = report::write(&history, &judgement, &out);
                println!("{}", path.map_err(|error| error.to_string())?.display());
                said(judgement.verdict())
            }
            Self::Totals { folder, row } => {
                let totals = Totals::of(&folder)?;
                print!("{}", if row { totals.row() } else { totals.to_string() });
                Ok(true)
            }
            Self::Export { form, history } => {
                let history = History::read(&history).map_err(|error| error.to_string())?;
                let mut out = std::io::BufWriter::new(std::io::stdout().lock());
                export(&history, form, &mut out).map_err(|error| error.to_string())?;
                std::io::Write::flush(&mut out).map_err(|error| error.to_string())?;
                Ok(true)
            }
        }
    }
}

fn check(histories: &[PathBuf], json: bool, data: &[PathBuf]) -> Result<bool, String> {
    let mut worst = Verdict::Valid;
    for path in histories {
        let history = History::read(path).map_err(|error| error.to_string())?;
        let mut judgement = checkers::check(&history);
        if !data.is_empty() {
            let evidence = Evidence::of(&history);
            let shards: BTreeSet<ShardId> = evidence.shards.values().copied().collect();
            let read = |data: &PathBuf| {
                let read = NodeLog::read(data, shards.iter().copied().chain([ShardId(0)]));
                read.map_err(|error| format!("{}: {error}", data.display()))
            };
            let nodes = data.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            judgement.checks.push(log_agreement::check(&evidence, &nodes));
        }
        if json {
            let line = serde_json::to_string(&judgement).map_err(|error| error.to_string())?;
            println!("{line}");
        } else {
            println!("{}: {}\n{judgement}", path.display(), history.head.name);
        }
        worst = worst.max(judgement.verdict());
    }
    said(worst)
}

/// A verdict as the command line says it.
fn said(verdict: Verdict) -> Result<bool, String> {
    match verdict {
        Verdict::Valid => Ok(true),
        Verdict::Invalid => Ok(false),
        Verdict::Unknown => Err("not everything could be found out; see above".to_owned()),
    }
}
