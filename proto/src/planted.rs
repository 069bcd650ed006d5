//! Known-bad behaviours, for builds that test the tests.
//!
//! A harness that never fails proves nothing, so some builds have bugs on purpose: one is chosen
//! when the process starts, and the harness must catch it. They exist with the feature `planted`
//! alone, which no build that serves has; in every other build [`is`] is `false` and what hangs on
//! it is compiled out.

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
