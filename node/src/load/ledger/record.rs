//! One line of a ledger.
//!
//! Each line is one JSON object. Lines are in the order in which the load did and saw things, so
//! that "acknowledged before the next was sent" can be read off them.

use rotary_proto::event::Viewer;
use rotary_proto::frame::Mode;
use rotary_proto::outcome::Done;
use rotary_proto::{Actor, Command, NodeId, Position, SessionId, SiteId};
use serde::{Deserialize, Serialize};

/// What was done or seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(crate) enum Record {
    /// The run begins.
    Run(Run),
    /// A command is about to be sent for the first time.
    Invoke {
        /// Counts the commands of the run.
        op: u64,
        /// For which site.
        site: SiteId,
        /// Who asks.
        actor: Actor,
        /// What is asked.
        command: Box<Command>,
    },
    /// It was acknowledged.
    Ok {
        /// Which command.
        op: u64,
        /// Where it was decided.
        position: Option<Position>,
        /// Whether this is the kept answer to an earlier attempt.
        repeated: bool,
        /// What it came to, where there is more to say than that.
        done: Option<Done>,
    },
    /// It was refused for good.
    Refused {
        /// Which command.
        op: u64,
        /// The stable word.
        code: String,
    },
    /// Its outcome is not known so far.
    Unknown {
        /// Which command.
        op: u64,
        /// What is known.
        detail: String,
    },
    /// Reading the state at the end told what became of an unknown one.
    Settled {
        /// Which command.
        op: u64,
        /// Whether it was done.
        happened: bool,
    },
    /// A session began: a stream of events.
    Attached {
        /// Counts the streams of the run.
        stream: u64,
        /// The session.
        session: SessionId,
        /// Whose events.
        viewer: Viewer,
        /// Of which site.
        site: SiteId,
        /// On which node.
        node: NodeId,
        /// The dense number after which events follow.
        seq: u64,
    },
    /// It goes on, on some node.
    Resumed {
        /// Which stream.
        stream: u64,
        /// On which node.
        node: NodeId,
        /// How it gets to the present.
        mode: Mode,
        /// The dense number after which events follow.
        seq: u64,
        /// How long nothing was heard.
        outage_ms: u64,
    },
    /// State replaced the events up to a place.
    Snapshot {
        /// Which stream.
        stream: u64,
        /// The place.
        sequence: u64,
    },
    /// An event was received.
    Event {
        /// Which stream.
        stream: u64,
        /// Its dense number.
        seq: u64,
        /// Its place in its site.
        cursor: u64,
        /// The log index of its entry.
        index: u64,
        /// What it said, by [`super::digest`].
        digest: u64,
        /// How long after the wall time of its entry it was read, in milliseconds: by two clocks,
        /// which differ where the leader is on another machine.
        #[serde(default)]
        after_ms: u64,
    },
    /// The client refused what a stream brought.
    Fault {
        /// Which stream.
        stream: u64,
        /// Why.
        detail: String,
    },
}

/// What a run was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The day replayed.
    pub day: String,
    /// How many times faster than life.
    pub speed: f64,
    /// Of every draw.
    pub seed: u64,
    /// The sites that were loaded.
    pub sites: Vec<SiteId>,
    /// Milliseconds since 1970 when the first customer could arrive.
    pub wall_ms: u64,
    /// The time of day that was then, in seconds since midnight.
    pub from_s: f64,
    /// An answer within this many seconds of the day counts for the service level.
    pub service_level_s: f64,
}
