//! Shard time, and wall time beside it.

use serde::{Deserialize, Serialize};

/// Shard time in microseconds: what deadlines run on.
///
/// The leader of a shard stamps an entry with the last applied stamp plus its own monotonic time
/// in office. Shard time stands still while there is no leader, and has no relation to the time of
/// day. Applying clamps it to be strictly rising, so a stamp also orders the entries of a shard.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Before every entry.
    pub const ZERO: Self = Self(0);

    /// That many milliseconds from the beginning of the shard.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// This stamp, `ms` milliseconds later; stays at the end of time instead of wrapping.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000)))
    }

    /// Microseconds from `earlier` to here, zero if it is not earlier.
    pub const fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole milliseconds from `earlier` to here, zero if it is not earlier.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.micros_since(earlier) / 1_000
    }

    /// The stamp that applying uses for an entry stamped `self` after one applied at `last`.
    #[must_use]
    pub const fn after(self, last: Self) -> Self {
        if self.0 > last.0 { self } else { Self(last.0.saturating_add(1)) }
    }
}

/// Milliseconds since 1970-01-01 UTC, for people and calendars. No promise depends on it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Wall(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applying_keeps_stamps_strictly_rising() {
        assert_eq!(Stamp(7).after(Stamp(3)), Stamp(7));
        assert_eq!(Stamp(7).after(Stamp(7)), Stamp(8));
        assert_eq!(Stamp(2).after(Stamp(7)), Stamp(8));
    }

    #[test]
    fn time_saturates_at_both_ends() {
        assert_eq!(Stamp(u64::MAX).plus_ms(1), Stamp(u64::MAX));
        assert_eq!(Stamp(1).micros_since(Stamp(2)), 0);
        assert_eq!(Stamp::from_ms(5).ms_since(Stamp::from_ms(2)), 3);
    }
}
