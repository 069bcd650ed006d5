//! Judging a saved ledger again (`rotary verify`), or a run that goes on.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rotary_client::{Api, Gateway, Patience, Trust};
use rotary_proto::SiteId;

use super::args::VerifyArgs;
use super::ledger::{History, LINES, OpEnd, Readings, Verdict, check};
use super::readback::{self, Wanted};
use crate::cli::trust;

/// The evidence of a saved run.
fn evidence(folder: &Path) -> anyhow::Result<(History, Readings)> {
    let history = History::read(&folder.join(LINES)).with_context(|| lines_of(folder))?;
    let readings = Readings::load(folder).context("what was read back")?;
    Ok((history, readings))
}

fn lines_of(folder: &Path) -> String {
    format!("{}: no ledger of `rotary load` can be read there", folder.join(LINES).display())
}

/// Reads the nodes again, and replaces what was read back before.
async fn read_again(
    folder: &Path,
    gateways: &[Gateway],
    token: &str,
    trust: &Trust,
) -> anyhow::Result<()> {
    let history = History::read(&folder.join(LINES)).with_context(|| lines_of(folder))?;
    let sites = history.run.as_ref().map(|run| run.sites.clone());
    let wanted = Wanted::by(&history, sites.context("the ledger has no run")?);
    let api = Api::new(gateways.to_vec(), token, Patience::default())?.trusting(trust);
    Ok(readback::read(&api, &wanted).await?.save(folder)?)
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
    let VerifyArgs { ledger, json, gateways, token, ca } = args;
    if !gateways.is_empty() {
        let (token, trust) = (token.unwrap_or_default(), trust(ca.as_deref())?);
        read_again(&ledger, &gateways, &token, &trust).await?;
    }
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
