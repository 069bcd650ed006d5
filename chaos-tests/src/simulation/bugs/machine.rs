//! A machine that gets entries, or what comes of them, slightly wrong.

use rotary_directory::DirectoryEntry;
use rotary_distributor::Applied;
use rotary_proto::event::{Audience, Event, EventRecord};
use rotary_proto::{Actor, Command, Done, Origin, Outcome, Refusal, RequestId, ShardCommand};
use rotary_proto::{Stamp, Wall};
use rotary_storage::JournalRecord;

use super::Bug;

/// The replica that has the bugs of a single one.
const ODD_NODE: usize = 1;

/// Stands around a machine's apply.
#[derive(Clone, Copy)]
pub(crate) struct PlantedMachine {
    pub(crate) node: usize,
    pub(crate) bug: Option<Bug>,
}

impl PlantedMachine {
    /// Whether the entry is passed over.
    pub(crate) fn skips(&self, index: u64) -> bool {
        self.bug == Some(Bug::EntrySkipped) && self.node == ODD_NODE && index.is_multiple_of(61)
    }

    /// What the journal is told.
    pub(crate) fn records(
        &self,
        index: u64,
        mut records: Vec<JournalRecord>,
    ) -> Vec<JournalRecord> {
        let odd = self.node == ODD_NODE && index.is_multiple_of(61);
        match (self.bug, records.last_mut()) {
            (Some(Bug::JournalRecordSkipped), _) if odd => Vec::new(),
            (Some(Bug::JournalRecordAltered), Some(last)) if odd => {
                last.bytes.reverse();
                records
            }
            _ => records,
        }
    }

    /// Whether the state is told who the members are.
    pub(crate) fn tells_members(&self) -> bool {
        self.bug != Some(Bug::MembersUntold)
    }

    /// How far the log is told that the journal is durable.
    pub(crate) fn recorded(&self, durable: u64) -> u64 {
        if self.bug == Some(Bug::JournalMarkIgnored) { u64::MAX } else { durable }
    }

    /// The stamp that the machine is told.
    pub(crate) fn stamp(&self, index: u64, stamp: Stamp, wall: Wall) -> Stamp {
        match self.bug {
            Some(Bug::StampFromWall) => Stamp::from_ms(wall.0),
            Some(Bug::StateDrifts) if self.node == ODD_NODE && index.is_multiple_of(101) => {
                Stamp(stamp.0 + 1)
            }
            _ => stamp,
        }
    }

    /// The command that the machine is told.
    pub(crate) fn command(&self, index: u64, command: ShardCommand) -> ShardCommand {
        let ShardCommand::Site(mut envelope) = command else { return command };
        match (self.bug, &mut envelope.command, &mut envelope.origin) {
            (Some(Bug::CapacityMissed), Command::PutAgent { profile, .. }, _) => {
                profile.capacity.chat += 1;
                profile.capacity.total += 1;
            }
            (Some(Bug::RetryForgotten), _, Origin::Request { request, .. }) => {
                *request = RequestId(request.0 ^ u128::from(index));
            }
            _ => {}
        }
        ShardCommand::Site(envelope)
    }

    /// The entry that the directory is told.
    pub(crate) fn entry(&self, index: u64, mut entry: DirectoryEntry) -> DirectoryEntry {
        if let (Some(Bug::DirectoryForgets), Some((_, key))) = (self.bug, &mut entry.origin) {
            *key = RequestId(key.0 ^ u128::from(index));
        }
        entry
    }

    /// What came of it.
    pub(crate) fn outcome(&self, command: &ShardCommand, applied: Applied) -> Applied {
        let gone = Outcome::Refused(Refusal::OfferGone { why: None });
        let is_gone = std::mem::discriminant(&refusal(&gone))
            == std::mem::discriminant(&refusal(&applied.answer.outcome));
        match command {
            ShardCommand::Site(envelope) if self.bug == Some(Bug::GoneOfferAccepted) && is_gone => {
                accept(envelope.actor, &envelope.command, applied)
            }
            _ => applied,
        }
    }
}

fn refusal(outcome: &Outcome) -> Refusal {
    match outcome {
        Outcome::Refused(refusal) => refusal.clone(),
        Outcome::Done(_) => Refusal::Malformed,
    }
}

fn accept(actor: Actor, command: &Command, mut applied: Applied) -> Applied {
    let (Actor::Agent(agent), Command::Accept { conversation, offer }) = (actor, command) else {
        return applied;
    };
    let event =
        Event::Assigned { conversation: *conversation, offer: *offer, agent, leg: u32::MAX };
    applied.answer.outcome = Outcome::Done(Done::Accepted { offer: *offer, leg: u32::MAX });
    applied.events.push(EventRecord {
        site: conversation.site,
        sequence: applied.answer.sequence,
        index: applied.answer.index,
        stamp: Stamp::ZERO,
        wall: Wall(0),
        audience: Audience::default(),
        event,
    });
    applied
}
