//! One line of a history.

use rotary_proto::event::{Author, Viewer};
use rotary_proto::frame::Mode;
use rotary_proto::ids::{EffectId, ShardId, WebhookId};
use rotary_proto::outcome::Done;
use rotary_proto::{Actor, Command, ConversationId, ItemId, Position, SessionId, SiteId};
use serde::{Deserialize, Serialize};

use super::fact::Event;

/// The version of the format that this build writes and reads.
pub const FORMAT: u32 = 1;

/// What the whole history is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`FORMAT`] of the build that wrote it.
    pub format: u32,
    /// Of every draw.
    pub seed: u64,
    /// What was run: a scenario's name.
    pub name: String,
    /// The command that repeats it.
    pub replay: String,
    /// Nemeses that must bite, or the run shows nothing.
    pub nemeses: Vec<String>,
}

/// What makes a retry recognisable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Sent once.
    Once,
    /// A request under this key; every operation with this key is the same command.
    Key(String),
    /// A command of a session, which the client library sends again under its number.
    Session(SessionId),
}

/// What an acknowledgement said, where there is more to say than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Nothing more.
    Ok,
    /// An item took this place.
    Posted {
        /// Dense from 1.
        ordinal: u32,
    },
    /// An offer became an assignment.
    Accepted {
        /// Counts the conversation's assignments, from 1.
        leg: u32,
    },
    /// A plan or profile was stored.
    Stored {
        /// From 1.
        version: u32,
    },
}

impl From<Done> for Reply {
    fn from(done: Done) -> Self {
        match done {
            Done::Ok => Self::Ok,
            Done::Posted { ordinal } => Self::Posted { ordinal },
            Done::Accepted { leg, .. } => Self::Accepted { leg },
            Done::Stored { version } => Self::Stored { version },
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It took effect.
    Ok {
        /// Where in which log it was decided, where one decided it.
        position: Option<Position>,
        /// Whether this is the kept answer to an earlier attempt.
        repeated: bool,
        /// What was said.
        reply: Reply,
    },
    /// It certainly did not take effect.
    Fail {
        /// The stable word.
        code: String,
        /// Where it was refused, where a log refused it and said so.
        position: Option<Position>,
    },
    /// Nobody knows. It may take effect at any later time.
    Unknown {
        /// What is known.
        detail: String,
    },
}

/// What somebody asked for, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who asked: one thing at a time, and nothing more after an unknown end.
    pub process: u64,
    /// For which site.
    pub site: SiteId,
    /// As whom.
    pub actor: Actor,
    /// What makes a retry recognisable.
    pub origin: Origin,
    /// What was asked.
    pub command: Box<Command>,
    /// When it was sent first.
    pub invoked_ms: u64,
    /// When the answer came, or was given up.
    pub returned_ms: u64,
    /// What came of it.
    pub end: End,
}

/// Whether something begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// It begins.
    Begin,
    /// It ends.
    End,
}

/// What was done or seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The first line.
    Head(Head),
    /// A site of the run, and the log that decides for it.
    Site {
        /// Which.
        site: SiteId,
        /// Its log.
        shard: ShardId,
    },
    /// An operation with its end.
    Operation(Operation),
    /// A session is on: new, or back on some gateway.
    Welcome {
        /// When.
        at_ms: u64,
        /// Which session.
        session: SessionId,
        /// Whose eyes it serves.
        viewer: Viewer,
        /// The site that it reads.
        site: SiteId,
        /// How it gets to the present.
        mode: Mode,
        /// The dense number after which events follow.
        seq: u64,
        /// Where it is.
        gateway: String,
        /// How long nothing was heard before, in milliseconds; 0 for a new session.
        outage_ms: u64,
    },
    /// State replaced the events of a session up to a place.
    Snapshot {
        /// When.
        at_ms: u64,
        /// Which session.
        session: SessionId,
        /// Of which site.
        site: SiteId,
        /// The place.
        sequence: u64,
    },
    /// A session received an event.
    Received {
        /// When.
        at_ms: u64,
        /// Which session.
        session: SessionId,
        /// Its dense number in the session.
        seq: u64,
        /// What it said.
        event: Event,
    },
    /// A session lost its connection, ended, or broke its promise.
    SessionOver {
        /// When.
        at_ms: u64,
        /// Which session.
        session: SessionId,
        /// Whether the client library refused what came: a broken promise.
        fault: bool,
        /// Why.
        detail: String,
    },
    /// A reader of a site's whole feed got an event.
    Fed {
        /// When.
        at_ms: u64,
        /// Counts the readers of the run.
        reader: u64,
        /// Which gateway answered.
        gateway: String,
        /// What it said.
        event: Event,
    },
    /// A reader of a whole feed has all up to there from one gateway, read from the beginning after
    /// the drain.
    FedThrough {
        /// When.
        at_ms: u64,
        /// Which reader.
        reader: u64,
        /// Which gateway answered.
        gateway: String,
        /// Of which site.
        site: SiteId,
        /// The place.
        sequence: u64,
    },
    /// A conversation as it was read back after the drain.
    Transcript {
        /// When.
        at_ms: u64,
        /// Which gateway answered.
        gateway: String,
        /// Which conversation.
        conversation: ConversationId,
        /// Whether it is over; `None` where the gateway knows nothing of it.
        closed: Option<bool>,
        /// Its items with their ordinals and authors, in the order shown.
        items: Vec<(u32, ItemId, Author)>,
    },
    /// A webhook's endpoint got a message, and did something about it.
    Delivered {
        /// When it did.
        at_ms: u64,
        /// Whose site.
        site: SiteId,
        /// Which webhook of it.
        webhook: WebhookId,
        /// The message's id; none that can be read.
        effect: Option<EffectId>,
        /// What it told; nothing that can be read.
        event: Option<Event>,
        /// Whether its signature is that of the webhook's secret.
        signed: bool,
        /// With what status it was answered; none if not at all.
        answer: Option<u16>,
    },
    /// Something is done to the cluster, or undone.
    Fault {
        /// When.
        at_ms: u64,
        /// Which kind of fault: the nemesis' name.
        name: String,
        /// To whom.
        target: String,
        /// Whether it begins or ends.
        edge: Edge,
        /// More about it, for people.
        detail: String,
    },
    /// Whether a fault did what it is for.
    Bitten {
        /// When that was known.
        at_ms: u64,
        /// Which kind of fault.
        name: String,
        /// To whom it was done.
        target: String,
        /// Whether it bit.
        bitten: bool,
        /// What says so.
        detail: String,
    },
    /// Who leads a shard, as seen from outside.
    Leader {
        /// When.
        at_ms: u64,
        /// Which shard.
        shard: ShardId,
        /// The node, as it names itself; empty for none.
        node: String,
    },
    /// A phase begins: `setup`, `calm`, `faults`, `heal`, `serve`, `drain`, `read-back`, or others.
    Mark {
        /// When.
        at_ms: u64,
        /// Which.
        name: String,
    },
    /// The last line.
    End {
        /// Lines before this one.
        lines: u64,
        /// Records that found no room.
        lost: u64,
    },
}

impl Record {
    /// When it was seen; an operation, when it ended.
    pub const fn at_ms(&self) -> Option<u64> {
        match self {
            Self::Head(_) | Self::Site { .. } | Self::End { .. } => None,
            Self::Operation(operation) => Some(operation.returned_ms),
            Self::Welcome { at_ms, .. }
            | Self::Snapshot { at_ms, .. }
            | Self::Received { at_ms, .. }
            | Self::SessionOver { at_ms, .. }
            | Self::Fed { at_ms, .. }
            | Self::FedThrough { at_ms, .. }
            | Self::Transcript { at_ms, .. }
            | Self::Delivered { at_ms, .. }
            | Self::Fault { at_ms, .. }
            | Self::Bitten { at_ms, .. }
            | Self::Leader { at_ms, .. }
            | Self::Mark { at_ms, .. } => Some(*at_ms),
        }
    }
}
