//! This crate's workload, on a runtime of its own, and what the checkers say of its history.

use std::io;
use std::path::PathBuf;

use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Judgement, Plan};
use crate::checkers::{self, Verdict};
use crate::history::{History, Recorder};
use crate::report;
use crate::workload::{Config, DriveError, Phase, Summary, drive};

/// The running workload. Its tasks end with it.
#[derive(Debug)]
pub struct People {
    runtime: Runtime,
    driven: Option<JoinHandle<Result<Summary, DriveError>>>,
    say: watch::Sender<Phase>,
    history: Recorder,
    report: PathBuf,
}

impl People {
    pub(super) fn start(plan: &Plan, history: &Recorder) -> io::Result<Self> {
        let gateways = plan.gateways.iter().map(|gateway| gateway.parse());
        let gateways = gateways.collect::<Result<_, _>>().map_err(io::Error::other)?;
        let mut config = Config::new(gateways, plan.token.clone(), plan.seed);
        config.network = plan.network.clone();
        config.trust = plan.trust.clone();
        config.agents = plan.agents;
        config.rate = f64::from(plan.customers_per_minute) / 60.0;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("people")
            .enable_all()
            .build()?;
        let (say, phase) = watch::channel(Phase::Run);
        let driven = Some(runtime.spawn(drive(config, history.clone(), phase)));
        let (history, report) = (history.clone(), plan.report.clone());
        Ok(Self { runtime, driven, say, history, report })
    }

    pub(super) fn has_ended(&self) -> bool {
        self.driven.as_ref().is_none_or(JoinHandle::is_finished)
    }

    pub(super) fn stop(&self) {
        // Where nobody listens it has ended.
        let _ended = self.say.send(Phase::Drain);
    }

    /// Ends the history, reads it again, asks the checkers, and shows it as a page.
    pub(super) fn judgement(&mut self) -> Judgement {
        if !self.has_ended() {
            return Judgement::Unknown("the workload did not end".into());
        }
        let Some(driven) = self.driven.take() else {
            return Judgement::Unknown("the workload was judged already".into());
        };
        match self.runtime.block_on(driven) {
            Ok(Ok(summary)) => println!("{summary:?}"),
            Ok(Err(error)) => return Judgement::Unknown(format!("the workload: {error}")),
            Err(error) => return Judgement::Unknown(format!("the workload: {error}")),
        }
        match self.judged() {
            Ok(judgement) => judgement,
            Err(why) => Judgement::Unknown(why),
        }
    }

    /// Ends the workload and its history where they stand, and asks the checkers.
    pub(super) fn cut_short(&mut self) -> Judgement {
        if let Some(driven) = self.driven.take() {
            driven.abort();
            let _aborted = self.runtime.block_on(driven);
        }
        self.judged().unwrap_or_else(Judgement::Unknown)
    }

    fn judged(&self) -> Result<Judgement, String> {
        self.history.finish().map_err(|error| format!("the history: {error}"))?;
        let path = self.report.join("history.jsonl");
        let history = History::read(&path).map_err(|error| error.to_string())?;
        let judgement = checkers::check(&history);
        let words = judgement.to_string();
        println!("{words}");
        std::fs::write(self.report.join("judgement.txt"), &words)
            .map_err(|error| format!("judgement.txt: {error}"))?;
        let path = self.report.join("judgement.json");
        let text = serde_json::to_string(&judgement).map_err(|error| error.to_string())?;
        std::fs::write(&path, text).map_err(|error| format!("judgement.json: {error}"))?;
        let page = report::write(&history, &judgement, &self.report);
        let page = page.map_err(|error| format!("the page: {error}"))?;
        println!("{}", page.display());
        Ok(match judgement.verdict() {
            Verdict::Valid => Judgement::Kept,
            Verdict::Invalid => Judgement::Broken("the checkers say so, see judgement.txt".into()),
            Verdict::Unknown => {
                Judgement::Unknown("the checkers do not know, see judgement.txt".into())
            }
        })
    }
}
