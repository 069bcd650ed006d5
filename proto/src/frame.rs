//! Frames of the session protocol `rotary.v1`, as JSON texts on a WebSocket.
//!
//! A session outlives its sockets. The client says where it is, the gateway says how it will get
//! from there to the present: `replayed` (every event since follows) or `snapshot` (state, then
//! events after it), never something in between.
//!
//! A session may read several sites. Each site is a sub-stream with its own [`Cursor`]; over all
//! of them runs one dense `seq` per session, by which a client sees that nothing is missing. Both
//! go into a resume, so that any gateway can go on where another stopped.

use serde::{Deserialize, Serialize};

use crate::board::BoardFrame;
use crate::command::{Command, Subject};
use crate::event::{Cursor, Event};
use crate::ids::{AgentId, ConversationId, NodeId, SessionId, SiteId};
use crate::outcome::{Outcome, Position};
use crate::query::{AgentView, ConversationView, QueueView};
use crate::stamp::{Stamp, Wall};

/// The WebSocket sub-protocol name.
pub const PROTOCOL: &str = "rotary.v1";

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientFrame {
    /// Begins a session. The first frame, or [`ClientFrame::Resume`] is.
    Start {
        /// A bearer token; never in the URL.
        token: String,
        /// Where to begin reading each site; the present, after a snapshot, if absent.
        #[serde(default)]
        cursors: Vec<Cursor>,
    },
    /// Goes on with a session, on this or another gateway.
    Resume {
        /// From the last `welcome`.
        resume_token: String,
        /// The last place seen in each site.
        cursors: Vec<Cursor>,
        /// The last dense number seen.
        seq: u64,
        /// Numbers of commands whose results have not been seen, per site.
        #[serde(default)]
        unacknowledged: Vec<CommandNumber>,
    },
    /// Everything up to this dense number has been seen.
    Ack {
        /// The dense number.
        seq: u64,
    },
    /// Asks for something.
    Cmd {
        /// Which site it is for.
        site: SiteId,
        /// Dense from 1 within (session, site).
        number: u64,
        /// Results of commands up to this number, in that site, have been seen.
        #[serde(default)]
        acknowledged: u64,
        /// What is asked.
        command: Box<Command>,
        /// The client's own span, as the header of that name (W3C Trace Context).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traceparent: Option<String>,
    },
    /// Something others may like to know and may miss.
    Signal {
        /// Where.
        conversation: ConversationId,
        /// What.
        signal: Signal,
    },
    /// Is anybody there?
    Ping {
        /// Comes back in the pong.
        t: u64,
    },
    /// The session is over.
    Bye {},
}

/// A command's number within (session, site), dense from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CommandNumber {
    /// Which site it is for.
    pub site: SiteId,
    /// Dense from 1.
    pub number: u64,
}

/// What a gateway sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The first frame on every socket.
    Hello {
        /// Which node answers.
        node: NodeId,
        /// [`PROTOCOL`].
        protocol: String,
        /// Send a ping at least this often.
        heartbeat_ms: u64,
        /// The build, for diagnosis.
        build: String,
    },
    /// The session is on.
    Welcome {
        /// Which.
        session: SessionId,
        /// Whom it serves.
        subject: Subject,
        /// The sites it reads.
        sites: Vec<SiteId>,
        /// How it gets to the present.
        mode: Mode,
        /// The dense number after which events follow.
        seq: u64,
        /// For the next resume; the one before it is good for a while longer.
        resume_token: String,
        /// Where else it can resume.
        gateways: Vec<String>,
        /// Results of the commands that the resume named, where they are known.
        results: Vec<CommandResult>,
    },
    /// State as of a cursor; events after it follow.
    Snapshot {
        /// Where the state stands.
        cursor: Cursor,
        /// The state, as far as the subject may see it.
        state: Box<SnapshotState>,
    },
    /// Something happened.
    Event(Box<EventFrame>),
    /// Figures of a site, for a board.
    Board(Box<BoardFrame>),
    /// What a command came to.
    Result(CommandResult),
    /// Somebody does something that need not be kept.
    Signal {
        /// Where.
        conversation: ConversationId,
        /// Who: an agent, or else the customer.
        agent: Option<AgentId>,
        /// What.
        signal: Signal,
    },
    /// Yes.
    Pong {
        /// From the ping.
        t: u64,
        /// The last dense number sent.
        seq: u64,
    },
    /// Resume elsewhere before the deadline, then close here.
    Goaway {
        /// Why.
        reason: String,
        /// Wait at random up to this long first.
        reconnect_within_ms: u64,
    },
    /// The socket closes.
    Bye {
        /// A stable word: why.
        code: String,
        /// For people: what was wrong, and how to mend it.
        detail: String,
        /// What to do.
        retry: Retry,
        /// How long to wait before that, where the gateway can say, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
    },
}

/// How a session gets from where its client is to the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It begins here, with a snapshot unless the client said where to begin.
    New,
    /// Every event after the client's place follows.
    Replayed,
    /// The client's place is no longer known: a snapshot follows, then events.
    Snapshot,
}

/// What a client does after a `bye`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// Resume, here or elsewhere.
    Resume,
    /// Start anew: the session is over.
    Restart,
    /// Do not come back with this request.
    Never,
}

/// An event as its viewer gets it: without the audience, which would tell who else sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub struct EventFrame {
    /// Dense within the session, from 1.
    pub seq: u64,
    /// Its place in its site's sub-stream.
    pub cursor: Cursor,
    /// The log index of its entry, for diagnosis.
    pub index: u64,
    /// Shard time of its entry.
    pub stamp: Stamp,
    /// Wall time of its entry.
    pub wall: Wall,
    /// What happened.
    pub event: Event,
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub struct CommandResult {
    /// Which site it was for.
    pub site: SiteId,
    /// Its number within (session, site).
    pub number: u64,
    /// Whether this answers a retry.
    pub repeated: bool,
    /// Where it was applied; absent for an error.
    pub position: Option<Position>,
    /// Done, refused, or an error of the world.
    pub result: CommandReply,
}

/// Done, refused, or an error of the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CommandReply {
    /// It was applied; done or refused for good.
    Outcome(Outcome),
    /// It was certainly not applied; send it again under the same number.
    NotApplied {
        /// A stable word.
        code: String,
        /// For people.
        detail: String,
        /// How long to wait.
        after_ms: u64,
    },
    /// Nobody here knows whether it was applied; send it again under the same number.
    Unknown {
        /// For people.
        detail: String,
    },
}

impl CommandReply {
    /// Whether the command itself is what was not right, so that it would be told the same again
    /// and others would not: it names a file that nobody has, or another one than it says.
    pub fn is_about_command(&self) -> bool {
        match self {
            Self::NotApplied { code, .. } => matches!(code.as_str(), "blob-unknown" | "bad-value"),
            Self::Outcome(_) | Self::Unknown { .. } => false,
        }
    }
}

/// What may be missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Somebody is writing.
    Typing,
    /// Somebody stopped writing.
    Idle,
}

/// State as far as a subject may see it: at most `SNAPSHOT_ROWS_MAX` rows of each kind, in order of
/// ids. What is beyond can be read over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SnapshotState {
    /// The agent themselves, for an agent.
    pub agent: Option<AgentView>,
    /// The conversations that concern the subject.
    pub conversations: Vec<ConversationView>,
    /// The queues, for a supervisor.
    pub queues: Vec<QueueView>,
    /// The agents, for a supervisor.
    pub agents: Vec<AgentView>,
}

/// Why a text is not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than a frame may be.
    #[error(
        "a frame of {bytes} bytes; at most {} are allowed",
        crate::limits::SESSION_FRAME_BYTES_MAX
    )]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
}

impl ClientFrame {
    /// Whether a text is short enough to be parsed at all.
    ///
    /// # Errors
    /// `TooLarge` above [`crate::limits::SESSION_FRAME_BYTES_MAX`].
    pub const fn check_size(bytes: usize) -> Result<(), FrameError> {
        if bytes <= crate::limits::SESSION_FRAME_BYTES_MAX {
            Ok(())
        } else {
            Err(FrameError::TooLarge { bytes })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::OfferId;

    fn read(json: &str) -> Result<ClientFrame, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_reads_as_people_would_write_it() {
        let json = r#"{"type":"cmd","site":"st_1.1","number":4,"acknowledged":3,"command":
            {"accept":{"conversation":"cv_1.1.00000000000000000000000000000001","offer":"of_9"}}}"#;
        let site = SiteId::new(1, 1);
        let command =
            Command::Accept { conversation: ConversationId::new(site, 1), offer: OfferId(9) };
        let command = Box::new(command);
        let expected =
            ClientFrame::Cmd { site, number: 4, acknowledged: 3, command, traceparent: None };
        assert_eq!(read(json), Ok(expected));
    }

    #[test]
    fn unknown_types_and_fields_are_named() {
        assert!(read(r#"{"type":"login"}"#).expect_err("unknown").contains("`login`"));
        let nested = r#"{"type":"cmd","site":"st_1.1","number":1,"command":
            {"hold":{"conversation":"cv_1.1.00000000000000000000000000000001","for":1}}}"#;
        assert!(read(nested).expect_err("unknown").contains("unknown field `for`"));
        let error = read(r#"{"type":"ack","seq":1,"sequence":2}"#).expect_err("unknown");
        assert!(error.contains("unknown field `sequence`"), "{error}");
    }

    #[test]
    fn a_frame_too_long_is_not_parsed() {
        assert!(ClientFrame::check_size(131_072).is_ok());
        assert_eq!(ClientFrame::check_size(131_073), Err(FrameError::TooLarge { bytes: 131_073 }));
    }
}
