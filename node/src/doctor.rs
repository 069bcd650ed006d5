//! What can be wrong around a node, looked for before it hurts.
//!
//! `rotary doctor` looks on demand, and a node does at its start and from time to time
//! ([`watch()`]): at this machine ([`local`]) and at the other nodes ([`peers`]). What is found has
//! a code that `rotary explain` knows, whom it is about, and what was measured.
//!
//! With a token it also asks the cluster whom it knows ([`known`]).
//!
//! Deliberately absent: what else the state of the cluster tells (leaders, lag, marks) is in
//! `rotary cluster status`; and nothing is mended here.

pub(crate) mod known;
mod local;
mod peers;
mod watch;

use std::time::Duration;

use rotary_client::Trust;
use serde::Serialize;

use crate::config::Config;

pub(crate) use watch::watch;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grade {
    /// As it should be.
    Good,
    /// Works, and will not for long, or not well.
    Warning,
    /// Does not work.
    Failure,
}

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) grade: Grade,
    /// What `rotary explain` knows; nothing where all is good.
    pub(crate) code: Option<&'static str>,
    /// What was looked at: a node, a folder, a file.
    pub(crate) of: String,
    /// What was seen, with its measure.
    pub(crate) detail: String,
}

impl Finding {
    /// As it should be.
    fn good(of: impl ToString, detail: impl Into<String>) -> Self {
        Self { grade: Grade::Good, code: None, of: of.to_string(), detail: detail.into() }
    }

    /// Works, and will not for long, or not well.
    fn warning(code: &'static str, of: impl ToString, detail: impl Into<String>) -> Self {
        let (grade, code) = (Grade::Warning, Some(code));
        Self { grade, code, of: of.to_string(), detail: detail.into() }
    }

    /// Does not work.
    fn failure(code: &'static str, of: impl ToString, detail: impl Into<String>) -> Self {
        Self { grade: Grade::Failure, ..Self::warning(code, of, detail) }
    }
}

/// Looks at everything, waiting at most `patience` for each node; those that speak TLS must be whom
/// `trust` believes.
pub(crate) async fn examine(config: &Config, trust: &Trust, patience: Duration) -> Vec<Finding> {
    let here = config.clone();
    let found = tokio::task::spawn_blocking(move || local::look(&here)).await;
    let mut found = found.expect("looking at files does not panic");
    found.extend(peers::look(config, trust, patience).await);
    found
}
