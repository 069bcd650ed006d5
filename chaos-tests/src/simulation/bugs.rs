//! Planted bugs: proof that the invariants can fail.
//!
//! Each is chosen at run time. Most are in the shell around the production code (a disk, a store, a
//! machine or a door that stands between), so that production code has no switch for them. Those
//! that cannot be are in the product's own code, compiled out of all builds but the harness's
//! ([`rotary_proto::planted`]). Every one must be caught within a bounded number of seeds: the
//! `bugs` command tries them all.

mod disk;
mod door;
mod machine;
mod store;

use clap::ValueEnum;
use rotary_proto::planted::Planted;
use serde::{Deserialize, Serialize};

use crate::simulation::faults::Kind;

pub(crate) use disk::PlantedDisk;
pub(crate) use door::PlantedDoor;
pub(crate) use machine::PlantedMachine;
pub(crate) use store::{PlantedPurge, PlantedStore};

/// What can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Bug {
    /// An append is acknowledged when it is asked for, not when it is on disk.
    AckBeforeSync,
    /// A vote is acknowledged and never written.
    VoteForgotten,
    /// Cutting a conflicting tail cuts one entry too many.
    TruncateTooMuch,
    /// A sync does nothing and says that it did.
    SyncIgnored,
    /// A failed sync is tried again, which reports success.
    FailedSyncRetried,
    /// A log that is damaged is begun anew.
    DamageBegunAnew,
    /// The end of the log is lost at every start, without a word.
    TailLost,
    /// One replica passes over some entries.
    EntrySkipped,
    /// One replica's state drifts by a microsecond now and then.
    StateDrifts,
    /// The retry window does not recognise requests.
    RetryForgotten,
    /// Shard time is taken from the wall clock.
    StampFromWall,
    /// The capacity of agents is misread by one.
    CapacityMissed,
    /// An offer that is gone can be accepted.
    GoneOfferAccepted,
    /// Now and then a forwarded command gets the answer to another one.
    AnswerOfAnother,
    /// A command whose outcome is unknown is called done.
    UnknownCalledDone,
    /// One replica's journal lacks some records.
    JournalRecordSkipped,
    /// One replica's journal says something else now and then.
    JournalRecordAltered,
    /// A sync of the journal does nothing and says that it did.
    JournalSyncIgnored,
    /// The log does not wait for the journal before it forgets.
    JournalMarkIgnored,
    /// The log forgets some entries that no snapshot stands for.
    PurgeTooMuch,
    /// What a replica lacks below its snapshot is never fetched.
    HistoryNotFetched,
    /// The directory's retry window does not recognise requests.
    DirectoryForgets,
    /// A log is set aside without a note that it was.
    RebuildUnnoted,
    /// Nodes mark what their journal has, and not what it has on disk.
    MarkAhead,
    /// States are not told who the members are.
    MembersUntold,
    /// Retention does not ask how far the snapshot is.
    RetentionUnbounded,
    /// What an agent gives up still counts.
    SlotLeaked,
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

impl Bug {
    /// The bug in the product's own code that it is, if it is not in the shell around it. It shows
    /// where nodes are whole.
    pub(crate) const fn planted(self) -> Option<Planted> {
        Some(match self {
            Self::SlotLeaked => Planted::SlotLeaked,
            Self::RequeuedAtTail => Planted::RequeuedAtTail,
            Self::RequeueForgotten => Planted::RequeueForgotten,
            Self::WindowNotInSnapshot => Planted::WindowNotInSnapshot,
            Self::OfferNeverExpires => Planted::OfferNeverExpires,
            Self::SkillsIgnored => Planted::SkillsIgnored,
            Self::PriorityIgnored => Planted::PriorityIgnored,
            Self::HashOrder => Planted::HashOrder,
            Self::LossIgnored => Planted::LossIgnored,
            Self::KeyReplaced => Planted::KeyReplaced,
            Self::EventSkipped => Planted::EventSkipped,
            Self::SilenceTaken => Planted::SilenceTaken,
            Self::EffectsForgotten => Planted::EffectsForgotten,
            Self::MessageRenamed => Planted::MessageRenamed,
            _ => return None,
        })
    }

    /// Whether it shows where sites have webhooks.
    pub(crate) const fn is_of_webhooks(self) -> bool {
        matches!(self, Self::SilenceTaken | Self::EffectsForgotten | Self::MessageRenamed)
    }

    /// The kind of fault that shows it, which is made more often where it is planted; none if any
    /// run shows it.
    pub(crate) const fn favours(self) -> Option<Kind> {
        match self {
            Self::DamageBegunAnew => Some(Kind::BitFlip),
            Self::AckBeforeSync
            | Self::SyncIgnored
            | Self::JournalSyncIgnored
            | Self::MarkAhead => Some(Kind::PowerCut),
            Self::FailedSyncRetried => Some(Kind::FailedSync),
            Self::TailLost => Some(Kind::Crash),
            Self::HistoryNotFetched | Self::RebuildUnnoted => Some(Kind::DiskLost),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_of_the_product_has_one_name_everywhere() {
        let named = |bug: &Bug| Some((bug.to_possible_value()?.get_name().to_owned(), *bug));
        let named: Vec<_> = Bug::value_variants().iter().filter_map(named).collect();
        for planted in Planted::ALL {
            let found = named.iter().find(|(_, bug)| bug.planted() == Some(planted));
            assert_eq!(found.map(|(name, _)| name.as_str()), Some(planted.name()));
        }
    }
}
