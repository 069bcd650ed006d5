//! Case files: what a failing run leaves, and what a replay starts from.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::simulation::bugs::Bug;
use crate::simulation::report::Report;
use crate::simulation::world::Parameters;

/// Everything that makes a run, and what it came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Case {
    version: String,
    seed: u64,
    fault_ms: u64,
    still_clocks: bool,
    keep_all: bool,
    #[serde(default)]
    whole: bool,
    bug: Option<String>,
    pub(crate) trace_hash: String,
    trace_lines: u64,
    violations: Vec<String>,
    faults: Vec<String>,
    trace_tail: Vec<String>,
}

impl Case {
    pub(crate) fn new(parameters: &Parameters, report: &Report) -> Self {
        let violation = |broken: &crate::simulation::invariants::Violation| {
            format!("{}: {}", broken.promise, broken.detail)
        };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: parameters.seed,
            fault_ms: parameters.fault_ms,
            still_clocks: parameters.still_clocks,
            keep_all: parameters.keep_all,
            whole: parameters.whole,
            bug: parameters.bug.map(bug_name),
            trace_hash: format!("{:016x}", report.trace.0),
            trace_lines: report.trace.1,
            violations: report.violations.iter().map(violation).collect(),
            faults: report.fault_log.clone(),
            trace_tail: report.tail.clone(),
        }
    }

    /// The run that it is of.
    ///
    /// # Errors
    /// If it names a bug that this build does not know.
    pub(crate) fn parameters(&self) -> Result<Parameters, String> {
        let bug = self.bug.as_deref().map(|name| Bug::from_str(name, false)).transpose()?;
        Ok(Parameters {
            seed: self.seed,
            fault_ms: self.fault_ms,
            still_clocks: self.still_clocks,
            keep_all: self.keep_all,
            whole: self.whole,
            bug,
            trace: None,
        })
    }

    /// Writes it into a directory; returns where.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn write(&self, directory: &Path) -> Result<PathBuf, String> {
        fs::create_dir_all(directory).map_err(|error| error.to_string())?;
        let bug = self.bug.as_ref().map(|bug| format!("-{bug}")).unwrap_or_default();
        let whole = if self.whole { "-whole" } else { "" };
        let path = directory.join(format!("seed-{}{whole}{bug}.json", self.seed));
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        fs::write(&path, text).map_err(|error| error.to_string())?;
        Ok(path)
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        serde_json::from_str(&text)
            .map_err(|error| format!("{} is no case: {error}", path.display()))
    }
}

/// The name by which the command line knows it.
pub(crate) fn bug_name(bug: Bug) -> String {
    bug.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
