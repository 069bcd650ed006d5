//! How much is let through to the log.

use std::time::Duration;

use rotary_proto::limits::{
    ADMISSION_TARGET_MS, PROPOSALS_IN_FLIGHT_MAX, PROPOSALS_NEW_MAX, PROPOSALS_PER_CALLER_MAX,
};
use serde::{Deserialize, Serialize};

use crate::admission::Bounds;

/// Budgets of this gateway, for each shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admission {
    pub(crate) target_ms: u64,
    pub(crate) shard_commands_max: usize,
    pub(crate) caller_commands_max: usize,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            target_ms: ADMISSION_TARGET_MS,
            shard_commands_max: PROPOSALS_NEW_MAX,
            caller_commands_max: PROPOSALS_PER_CALLER_MAX,
        }
    }
}

impl Admission {
    /// As the doors take it.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            target: Duration::from_millis(self.target_ms),
            shard_max: self.shard_commands_max,
            caller_max: self.caller_commands_max,
        }
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { target_ms, shard_commands_max, caller_commands_max } = *self;
        if !(1..=10_000).contains(&target_ms) {
            return Err(format!("admission.target_ms is {target_ms}; 1 to 10000"));
        }
        if !(1..=PROPOSALS_NEW_MAX).contains(&shard_commands_max) {
            return Err(format!(
                "admission.shard_commands_max is {shard_commands_max}; 1 to {PROPOSALS_NEW_MAX}"
            ));
        }
        if !(1..=PROPOSALS_IN_FLIGHT_MAX).contains(&caller_commands_max) {
            return Err(format!(
                "admission.caller_commands_max is {caller_commands_max}; 1 to \
                 {PROPOSALS_IN_FLIGHT_MAX}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_their_bounds_are_named() {
        let standard = Admission::default();
        assert_eq!(standard.check(), Ok(()));
        let wrong = |change: fn(&mut Admission)| {
            let mut admission = standard.clone();
            change(&mut admission);
            admission.check().expect_err("out of bounds")
        };
        assert!(wrong(|it| it.target_ms = 0).contains("admission.target_ms is 0"));
        assert!(wrong(|it| it.shard_commands_max = 2_049).contains("shard_commands_max is 2049"));
        assert!(wrong(|it| it.caller_commands_max = 0).contains("caller_commands_max is 0"));
    }
}
