//! What a run shows.
//!
//! *Invalid*: a promise was broken. *Unknown*: it could not be found out, or a fault that was asked
//! for never bit, so that the run shows less than it claims. *Valid*: neither.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::campaign::Tally;
use super::load::Judgement;
use super::nemesis::Kind;

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
