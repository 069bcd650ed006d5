//! What a run shows.
//!
//! *Invalid*: a promise was broken. *Unknown*: it could not be found out, or a fault that was asked
//! for never bit, so that the run shows less than it claims. *Valid*: neither.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::campaign::Tally;
use super::cluster::ClusterError;
use super::load::Judgement;
use super::nemesis::Kind;
use super::view::NodeNumber;

/// What a run shows, with the reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Broken promises.
    pub broken: Vec<String>,
    /// What was not found out.
    pub unknown: Vec<String>,
}

impl Verdict {
    /// Adds what the clients' ledger says.
    pub fn ledger(&mut self, judgement: Judgement) {
        match judgement {
            Judgement::Kept => {}
            Judgement::Broken(why) => self.broken.push(why),
            Judgement::Unknown(why) => self.unknown.push(why),
        }
    }

    /// Adds what ended the faults early: a node that does not come back is a broken promise.
    ///
    /// # Errors
    /// What else it is: then the harness failed.
    pub fn lost_node(&mut self, error: ClusterError) -> Result<(), ClusterError> {
        match error {
            ClusterError::Node { .. } => {
                self.broken.push(format!("under the faults, {error}"));
                Ok(())
            }
            other => Err(other),
        }
    }

    /// Adds panics of servers, with their nodes.
    pub fn panics(&mut self, lines: &[(NodeNumber, String)]) {
        self.broken.extend(lines.iter().map(|(node, line)| format!("node {node}: {line}")));
    }

    /// Adds faults that never bit.
    pub fn coverage(&mut self, tallies: &BTreeMap<Kind, Tally>) {
        for (kind, tally) in tallies.iter().filter(|(_, tally)| tally.bitten == 0) {
            let Tally { begun, refused, .. } = tally;
            let why = format!("{kind} never bit: it began {begun} times, was put off {refused}");
            self.unknown.push(why);
        }
    }

    /// True if valid, false if invalid.
    ///
    /// # Errors
    /// Unknown, with the reasons.
    pub fn result(&self) -> Result<bool, String> {
        match (self.broken.is_empty(), self.unknown.is_empty()) {
            (false, _) => Ok(false),
            (true, true) => Ok(true),
            (true, false) => Err(self.to_string()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.broken.is_empty(), self.unknown.is_empty()) {
            (false, _) => "INVALID",
            (true, true) => "VALID",
            (true, false) => "UNKNOWN",
        })?;
        self.broken.iter().try_for_each(|why| write!(f, "\n  broken: {why}"))?;
        self.unknown.iter().try_for_each(|why| write!(f, "\n  unknown: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_does_not_come_back_is_a_broken_promise_and_a_failing_harness_is_not() {
        let mut verdict = Verdict::default();
        let (how, words) = ("ends before it serves".to_owned(), "damaged".to_owned());
        let lost = ClusterError::Node { node: 2, how, words };
        verdict.lost_node(lost).expect("it is a verdict");
        assert_eq!(verdict.result(), Ok(false));
        assert!(verdict.to_string().contains("node 2 ends before it serves"), "{verdict}");
        let source = std::io::ErrorKind::NotFound.into();
        let failed = ClusterError::Io { what: "a tool".to_owned(), source };
        assert!(verdict.lost_node(failed).is_err());
        assert_eq!(verdict.broken.len(), 1);
    }

    #[test]
    fn a_fault_that_never_bit_makes_it_unknown_and_a_broken_promise_invalid() {
        let mut verdict = Verdict::default();
        let bitten = Tally { begun: 2, bitten: 1, refused: 0 };
        verdict.coverage(&BTreeMap::from([(Kind::Kill, bitten)]));
        verdict.ledger(Judgement::Kept);
        assert_eq!(verdict.result(), Ok(true));
        let missed = Tally { begun: 2, bitten: 0, refused: 7 };
        verdict.coverage(&BTreeMap::from([(Kind::Loss, missed)]));
        let why = verdict.result().expect_err("unknown");
        assert!(why.contains("UNKNOWN") && why.contains("loss never bit"), "{why}");
        verdict.ledger(Judgement::Broken("one was lost".into()));
        assert_eq!(verdict.result(), Ok(false));
        assert!(verdict.to_string().starts_with("INVALID\n  broken: one was lost"));
    }
}
