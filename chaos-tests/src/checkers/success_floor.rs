//! Enough succeeded for the rest to mean anything.
//!
//! A run in which nearly everything failed passes every other check trivially. So at least half of
//! all operations, and nine of ten outside of the faults, must be definite: done, or refused by the
//! log as a part of its work. What a door turned away and what nobody knows counts against that.

use super::evidence::Evidence;
use super::replay::position;
use super::verdict::Check;
use crate::history::{End, Operation};

/// The least share of definite outcomes over the whole run, in percent.
pub const FLOOR_PERCENT: u64 = 50;
/// The same outside of faults.
pub const CALM_PERCENT: u64 = 90;

/// Counts outcomes.
pub fn check(evidence: &Evidence<'_>) -> Check {
    let mut check = Check::new("success_floor", "operations");
    let faults = evidence.marks.get("faults").copied();
    let heal = evidence.marks.get("heal").copied().unwrap_or(u64::MAX);
    let (mut all, mut calm) = (Share::default(), Share::default());
    let (mut ok, mut fail, mut unknown) = (0_u64, 0_u64, 0_u64);
    for operation in &evidence.operations {
        check.checked += 1;
        match operation.of.end {
            End::Ok { .. } => ok += 1,
            End::Fail { .. } => fail += 1,
            End::Unknown { .. } => unknown += 1,
        }
        let definite = is_definite(operation.of);
        all.count(definite);
        let before = faults.is_none_or(|faults| operation.of.returned_ms < faults);
        // What is asked in the first seconds after the heal may still meet what was broken.
        if before || operation.of.invoked_ms > heal.saturating_add(10_000) {
            calm.count(definite);
        }
    }
    check.figure("ok, fail, unknown", format!("{ok}, {fail}, {unknown}"));
    check.figure("definite", format!("{} %", all.percent()));
    check.figure("definite outside of faults", format!("{} %", calm.percent()));
    for (share, floor, when) in
        [(all, FLOOR_PERCENT, ""), (calm, CALM_PERCENT, " outside of faults")]
    {
        if share.of > 0 && share.percent() < floor {
            let percent = share.percent();
            check.doubt(format!("{percent} % definite{when}; less than {floor} % shows nothing"));
        }
    }
    check.unless_empty()
}

/// Done, or refused as a part of the work.
fn is_definite(operation: &Operation) -> bool {
    match &operation.end {
        End::Ok { .. } => true,
        End::Fail { .. } => position(operation).is_some(),
        End::Unknown { .. } => false,
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Share {
    definite: u64,
    of: u64,
}

impl Share {
    fn count(&mut self, definite: bool) {
        self.of += 1;
        self.definite += u64::from(definite);
    }

    fn percent(self) -> u64 {
        self.definite * 100 / self.of.max(1)
    }
}
