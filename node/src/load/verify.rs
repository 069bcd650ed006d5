//! Judging a saved ledger again (`rotary verify`), or a run that goes on.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rotary_client::{Api, Gateway};
use rotary_proto::SiteId;

use super::args::VerifyArgs;
use super::ledger::{History, LINES, OpEnd, Readings, Verdict, check};
use super::readback::{self, Wanted};

/// The evidence of a saved run.
///
/// # Errors
/// A folder that is not a ledger's, or a line that cannot be read.
pub(super) fn evidence(folder: &Path) -> anyhow::Result<(History, Readings)> {
    let history = History::read(&folder.join(LINES)).context("the ledger's lines")?;
    let readings = Readings::load(folder).context("what was read back")?;
    Ok((history, readings))
}

/// Prints a verdict, for people or programs.
pub(super) fn print(verdict: &Verdict, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(verdict)?);
    } else {
        println!("{verdict}");
    }
    Ok(())
}

/// Runs `rotary verify`; whether every promise was kept.
///
/// # Errors
/// Evidence that cannot be read.
pub(crate) async fn verify(args: VerifyArgs) -> anyhow::Result<bool> {
    let VerifyArgs { ledger, json } = args;
    let judged = tokio::task::spawn_blocking(move || {
        let (history, readings) = evidence(&ledger)?;
        anyhow::Ok(check(&history, &readings))
    });
    let verdict = judged.await??;
    print(&verdict, json)?;
    Ok(verdict.passes())
}

/// Judges a run while it goes on.
pub(crate) struct Verifier {
    api: Api,
    sites: Vec<SiteId>,
    lines: PathBuf,
}

impl Verifier {
    pub(super) fn new(api: Api, sites: Vec<SiteId>, lines: PathBuf) -> Self {
        Self { api, sites, lines }
    }

    /// Judges what was acknowledged by now, against those gateways. The ledger is read before and
    /// after the nodes: what was acknowledged before must be there, and what is there must have
    /// been asked for after. What is still under way is nobody's fault.
    ///
    /// # Errors
    /// A ledger or node that cannot be read.
    pub(crate) async fn verify(&self, gateways: &[Gateway]) -> anyhow::Result<Verdict> {
        let before = History::read(&self.lines)?;
        let wanted = Wanted::by(&before, self.sites.clone());
        let api = self.api.among(|gateway| gateways.contains(gateway));
        let readings = readback::read(&api, &wanted).await?;
        let mut history = History::read(&self.lines)?;
        for (number, op) in &mut history.ops {
            match before.ops.get(number) {
                Some(known) => *op = known.clone(),
                None => op.end = OpEnd::Pending,
            }
        }
        history.streams = before.streams;
        let verdict = check(&history, &readings);
        Ok(Verdict { stuck: [].into(), unknown_unresolved: [].into(), ..verdict })
    }
}
