//! What the command line offers for real processes.

use std::path::Path;

use clap::Subcommand;

use super::probe::{self, Mechanism};
use super::{cgroup, namespace, shell};

/// Where what needs no disk is kept: it goes with the namespace.
const SCRATCH: &str = "/tmp";

/// Acts on real processes.
#[derive(Debug, Subcommand)]
pub enum Act {
    /// Tries what faults are made with, and says what of it this machine lacks.
    Probe,
}

impl Act {
    /// Does it: true if all is well.
    ///
    /// # Errors
    /// What kept it from being found out.
    pub fn run(self) -> Result<bool, String> {
        if !namespace::is_inside() {
            let error = namespace::enter();
            return Err(format!("unshare: {error}; it comes with util-linux, and needs root"));
        }
        furnish().map_err(|error| error.to_string())?;
        match self {
            Self::Probe => Ok(probe_all()),
        }
    }
}

/// Makes the namespace ready, with a scratch folder in memory.
fn furnish() -> Result<(), shell::ShellError> {
    namespace::furnish()?;
    cgroup::sweep();
    shell::run(&format!("mount -t tmpfs rotary-chaos {SCRATCH}")).map(drop)
}

fn probe_all() -> bool {
    let findings = probe::probe(&Path::new(SCRATCH).join("probe"));
    print!("{}", probe::table(&findings));
    let works = findings.iter().filter(|finding| finding.missing.is_none()).count();
    println!("{works} of {} mechanisms work", Mechanism::ALL.len());
    works == Mechanism::ALL.len()
}
