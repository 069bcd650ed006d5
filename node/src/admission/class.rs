//! What kind of work a command is, and so how soon it is refused.

use rotary_proto::Command;
use rotary_proto::command::Subject;
use rotary_proto::limits::{
    PROPOSAL_BYTES_IN_FLIGHT_MAX, PROPOSALS_ENDING_MAX, PROPOSALS_IN_FLIGHT_MAX,
};

/// Kinds of work, in the order in which they are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Brings something that was not there.
    New,
    /// Something is said in what is there, or somebody comes to it.
    Talk,
    /// Goes on with what is there, or ends it.
    Ending,
    /// The cluster's own: without it, work is stuck.
    Upkeep,
}

impl Class {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 4] = [Self::New, Self::Talk, Self::Ending, Self::Upkeep];

    /// What kind of work a command of a site is.
    pub(crate) const fn of(command: &Command) -> Self {
        match command {
            Command::Open { .. }
            | Command::PutSite { .. }
            | Command::PutSkill { .. }
            | Command::PutReason { .. }
            | Command::PutDisposition { .. }
            | Command::PutQueue { .. }
            | Command::PutAgent { .. }
            | Command::PutWebhook { .. }
            | Command::PutBot { .. } => Self::New,
            Command::Post { .. } | Command::Attach { subject: Subject::Customer(_), .. } => {
                Self::Talk
            }
            Command::Attach { .. }
            | Command::Declare { .. }
            | Command::Accept { .. }
            | Command::Decline { .. }
            | Command::Hold { .. }
            | Command::Retrieve { .. }
            | Command::Requeue { .. }
            | Command::Close { .. }
            | Command::Abandon { .. }
            | Command::HandOver { .. }
            | Command::WrapUp { .. } => Self::Ending,
            Command::Detach { .. }
            | Command::StartEffect { .. }
            | Command::EndTurn { .. }
            | Command::EndEffect { .. } => Self::Upkeep,
        }
    }

    /// How much may be on its way to a shard, of all kinds, for one more of this kind to be let
    /// through, where `limit` is what new work may have.
    pub(super) const fn room(self, limit: usize) -> usize {
        match self {
            Self::New => limit,
            Self::Talk if limit * 3 > PROPOSALS_ENDING_MAX => PROPOSALS_ENDING_MAX * 2 / 3,
            Self::Talk => limit * 2,
            Self::Ending => PROPOSALS_ENDING_MAX,
            Self::Upkeep => PROPOSALS_IN_FLIGHT_MAX,
        }
    }

    /// The same in bytes.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::New => PROPOSAL_BYTES_IN_FLIGHT_MAX / 2,
            Self::Talk => PROPOSAL_BYTES_IN_FLIGHT_MAX / 8 * 5,
            Self::Ending => PROPOSAL_BYTES_IN_FLIGHT_MAX / 4 * 3,
            Self::Upkeep => PROPOSAL_BYTES_IN_FLIGHT_MAX,
        }
    }

    /// The part, in quarters, of its own bound that a caller may fill with this kind.
    pub(super) const fn quarters(self) -> usize {
        match self {
            Self::New => 3,
            Self::Talk | Self::Ending | Self::Upkeep => 4,
        }
    }

    /// Whether it is taken up or not as the shard is doing.
    pub(super) const fn is_shared_out(self) -> bool {
        matches!(self, Self::New | Self::Talk)
    }

    /// The word of metrics.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Talk => "talk",
            Self::Ending => "ending",
            Self::Upkeep => "upkeep",
        }
    }
}
