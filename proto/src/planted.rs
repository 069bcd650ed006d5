//! Known-bad behaviours, for builds that test the tests.
//!
//! A harness that never fails proves nothing, so some builds have bugs on purpose: one is chosen
//! when the process starts, and the harness must catch it. They exist with the feature `planted`
//! alone, which no build that serves has; in every other build [`is`] is `false` and what hangs on
//! it is compiled out.

use std::str::FromStr;
#[cfg(feature = "planted")]
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// A behaviour that breaks a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Planted {
    /// What an agent gives up still counts.
    SlotLeaked = 1,
    /// What an agent gives back goes to the end of the line.
    RequeuedAtTail,
    /// What is back in line is found by nobody.
    RequeueForgotten,
    /// Snapshots have no answers of requests.
    WindowNotInSnapshot,
    /// Offers end only when somebody answers them.
    OfferNeverExpires,
    /// Agents are taken to have every skill.
    SkillsIgnored,
    /// All priorities are alike.
    PriorityIgnored,
    /// Which of several agents is chosen differs from replica to replica.
    HashOrder,
    /// A lost session keeps being offered work.
    LossIgnored,
    /// The key of a request is replaced by another one.
    KeyReplaced,
    /// A session is not shown an event now and then.
    EventSkipped,
    /// An endpoint that does not answer is taken to have taken its message.
    SilenceTaken,
    /// What was looked at under one view is not looked at again under the next.
    EffectsForgotten,
    /// Another attempt at a message has another id.
    MessageRenamed,
}

impl Planted {
    /// Every bug.
    pub const ALL: [Self; 14] = [
        Self::SlotLeaked,
        Self::RequeuedAtTail,
        Self::RequeueForgotten,
        Self::WindowNotInSnapshot,
        Self::OfferNeverExpires,
        Self::SkillsIgnored,
        Self::PriorityIgnored,
        Self::HashOrder,
        Self::LossIgnored,
        Self::KeyReplaced,
        Self::EventSkipped,
        Self::SilenceTaken,
        Self::EffectsForgotten,
        Self::MessageRenamed,
    ];

    /// What command lines call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlotLeaked => "slot-leaked",
            Self::RequeuedAtTail => "requeued-at-tail",
            Self::RequeueForgotten => "requeue-forgotten",
            Self::WindowNotInSnapshot => "window-not-in-snapshot",
            Self::OfferNeverExpires => "offer-never-expires",
            Self::SkillsIgnored => "skills-ignored",
            Self::PriorityIgnored => "priority-ignored",
            Self::HashOrder => "hash-order",
            Self::LossIgnored => "loss-ignored",
            Self::KeyReplaced => "key-replaced",
            Self::EventSkipped => "event-skipped",
            Self::SilenceTaken => "silence-taken",
            Self::EffectsForgotten => "effects-forgotten",
            Self::MessageRenamed => "message-renamed",
        }
    }
}

/// A name that no bug has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no planted bug; choose among {}", Planted::ALL.map(Planted::name).join(", "))]
pub struct UnknownBug {
    name: String,
}

impl FromStr for Planted {
    type Err = UnknownBug;

    fn from_str(text: &str) -> Result<Self, UnknownBug> {
        let found = Self::ALL.into_iter().find(|bug| bug.name() == text);
        found.ok_or_else(|| UnknownBug { name: text.chars().take(64).collect() })
    }
}

/// Whether this build has the version of the logic that upgrades are rehearsed with, beside those
/// that it serves with.
pub const REHEARSES: bool = cfg!(feature = "planted");

#[cfg(feature = "planted")]
static CHOSEN: AtomicU8 = AtomicU8::new(0);
#[cfg(feature = "planted")]
static ODD: AtomicU64 = AtomicU64::new(0);

/// Chooses the bug that this process has.
#[cfg(feature = "planted")]
pub fn plant(bug: Planted) {
    CHOSEN.store(bug as u8, Ordering::Relaxed);
}

/// Whether this process has that bug.
#[inline]
pub fn is(bug: Planted) -> bool {
    #[cfg(feature = "planted")]
    return CHOSEN.load(Ordering::Relaxed) == bug as u8;
    #[cfg(not(feature = "planted"))]
    {
        let _ = bug;
        false
    }
}

/// Something that no two replicas agree about.
#[inline]
pub fn odd() -> u64 {
    #[cfg(feature = "planted")]
    return ODD.fetch_add(1, Ordering::Relaxed);
    #[cfg(not(feature = "planted"))]
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        for (number, bug) in (1..).zip(Planted::ALL) {
            assert_eq!((bug as u8, bug.name().parse()), (number, Ok(bug)));
        }
        let wrong = "slot-leak".parse::<Planted>().expect_err("no such bug").to_string();
        assert!(
            wrong.starts_with("\"slot-leak\" is no planted bug; choose among slot-l"),
            "{wrong}"
        );
        let long = "x".repeat(10_000).parse::<Planted>().expect_err("no such bug");
        assert_eq!(long.name.len(), 64);
    }
}
