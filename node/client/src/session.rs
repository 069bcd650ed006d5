//! A session: one signed-in connection that outlives its sockets.
//!
//! [`Session::start`] begins it and returns at once; what happens comes as [`Notice`]s, in order:
//! `Welcome`, perhaps snapshots, then events without a hole. When a socket dies the driver moves
//! to another gateway and resumes; the reader sees `Lost`, then `Welcome`, and the stream goes on
//! with the very next event. Commands are sent through a [`Commander`], which answers once the
//! outcome is known, however many sockets that takes.

mod dial;
mod driver;
mod events;
mod posts;
mod stream;
mod window;

use std::str::FromStr;
use std::time::Duration;

use rotary_proto::board::BoardFrame;
use rotary_proto::command::Subject;
use rotary_proto::event::Cursor;
use rotary_proto::frame::{CommandResult, EventFrame, Mode, Signal, SnapshotState};
use rotary_proto::limits::WELCOME_MS;
use rotary_proto::{Command, ConversationId, NodeId, SessionId, SiteId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::gateway::Gateway;
use crate::network::Network;
use crate::trust::Trust;
pub use stream::StreamFault;

/// Commands that wait for the driver before a caller waits.
const COMMANDS_WAITING_MAX: usize = 256;
/// Notices that wait for the reader before the socket is read no further.
const NOTICES_WAITING_MAX: usize = 4_096;

/// Frames that wait to be posted before a line without a socket is given up: a resume sends every
/// command without a result again, 64 of each of 64 sites.
const WAITING_POSTS_MAX: usize = 8_192;

/// What carries a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// A WebSocket.
    Socket,
    /// A stream of events, and requests: for proxies that break WebSockets.
    Stream,
    /// A WebSocket; once something answers in HTTP that it opens none, streams from then on.
    Either,
}

impl FromStr for Over {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "socket" => Ok(Self::Socket),
            "stream" => Ok(Self::Stream),
            "either" => Ok(Self::Either),
            _ => Err("socket, stream or either".to_owned()),
        }
    }
}

/// How a session is held.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// Where it can live, in the order of trying; the first one is tried first.
    pub gateways: Vec<Gateway>,
    /// The bearer token.
    pub token: String,
    /// Whom to believe, for gateways that are reached over TLS.
    pub trust: Trust,
    /// What connections are opened over.
    pub network: Network,
    /// Where to begin reading each site; the present, after a snapshot, if empty.
    pub cursors: Vec<Cursor>,
    /// What carries it.
    pub over: Over,
    /// How often to ask whether the gateway is there.
    pub ping: Duration,
    /// A socket that says nothing for this long is dead.
    pub silence: Duration,
    /// How long a connection and its `hello` may take.
    pub connect: Duration,
    /// How long a `welcome` may take: it waits for the log.
    pub welcome: Duration,
}

impl SessionConfig {
    /// Over those gateways with that token, and every default: dead sockets are left after 1 s.
    pub fn new(gateways: Vec<Gateway>, token: String) -> Self {
        Self {
            gateways,
            token,
            trust: Trust::default(),
            network: Network::Tcp,
            cursors: Vec::new(),
            over: Over::Either,
            ping: Duration::from_millis(300),
            silence: Duration::from_secs(1),
            connect: Duration::from_millis(500),
            welcome: Duration::from_millis(WELCOME_MS),
        }
    }
}

/// What a session tells its reader.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The session is on: new, or back on some gateway.
    Welcome(Box<Welcomed>),
    /// State as of a cursor; events after it follow.
    Snapshot {
        /// Where the state stands.
        cursor: Cursor,
        /// The state, as far as the subject may see it.
        state: Box<SnapshotState>,
    },
    /// Something happened: the next event, checked.
    Event(Box<EventFrame>),
    /// Figures of a site, for a board; checked as events are.
    Board(Box<BoardFrame>),
    /// Somebody does something that need not be kept.
    Signal {
        /// Where.
        conversation: ConversationId,
        /// What.
        signal: Signal,
    },
    /// The socket is gone; the session is being resumed.
    Lost {
        /// On which gateway it was.
        gateway: Gateway,
        /// What the socket said.
        why: String,
    },
    /// Nothing more will come.
    Ended(End),
}

/// A session that is on.
#[derive(Debug, Clone, PartialEq)]
pub struct Welcomed {
    /// Which.
    pub session: SessionId,
    /// Whom it serves.
    pub subject: Subject,
    /// The sites it reads.
    pub sites: Vec<SiteId>,
    /// How it gets to the present.
    pub mode: Mode,
    /// The dense number after which events follow.
    pub seq: u64,
    /// Where it is now.
    pub gateway: Gateway,
    /// Which node answers there.
    pub node: NodeId,
    /// How long nothing was heard before; zero for a new session.
    pub outage: Duration,
    /// Commands sent again under their numbers.
    pub resent: usize,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// Its client said good-bye.
    Bye,
    /// A gateway ended it.
    Closed {
        /// A stable word: why.
        code: String,
        /// For people.
        detail: String,
        /// Whether a new session may be started.
        restart: bool,
    },
    /// The stream broke its promise.
    Fault(StreamFault),
}

/// Why a command has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It was never sent: the session was over.
    #[error("the session is over; the command was not sent")]
    NotSent,
    /// It was sent, and the session ended before its outcome was known.
    #[error("the session ended before the outcome was known")]
    Unknown,
}

/// Why a session cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// There is nowhere to go.
    #[error("the list of gateways is empty")]
    NoGateway,
}

/// What a caller asks of the driver.
#[derive(Debug)]
enum Ask {
    Command { site: SiteId, command: Box<Command>, reply: oneshot::Sender<CommandResult> },
    Signal { conversation: ConversationId, signal: Signal },
    Bye,
}

/// Sends commands. Clones send into the same session.
#[derive(Debug, Clone)]
pub struct Commander {
    asks: mpsc::Sender<Ask>,
}

impl Commander {
    /// Asks for something and waits until its outcome is known. The reply is an outcome, or
    /// `not_applied` for what is wrong with the command itself (a file that nobody has); errors of
    /// the world are retried under the same number and never returned.
    ///
    /// # Errors
    /// [`CommandError`] if the session ends first.
    pub async fn send(
        &self,
        site: SiteId,
        command: Command,
    ) -> Result<CommandResult, CommandError> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Command { site, command: Box::new(command), reply };
        self.asks.send(ask).await.map_err(|_| CommandError::NotSent)?;
        answer.await.map_err(|_| CommandError::Unknown)
    }

    /// Tells others something they may miss.
    pub async fn signal(&self, conversation: ConversationId, signal: Signal) {
        let _ = self.asks.send(Ask::Signal { conversation, signal }).await;
    }

    /// Ends the session for good. What is unanswered stays unknown.
    pub async fn bye(&self) {
        let _ = self.asks.send(Ask::Bye).await;
    }
}

/// A session and its stream.
#[derive(Debug)]
pub struct Session {
    commander: Commander,
    notices: mpsc::Receiver<Notice>,
    driver: JoinHandle<()>,
}

impl Session {
    /// Begins a session; the first notice is `Welcome`, or `Ended`.
    ///
    /// # Errors
    /// [`SessionError::NoGateway`] for an empty list.
    pub fn start(config: SessionConfig) -> Result<Self, SessionError> {
        if config.gateways.is_empty() {
            return Err(SessionError::NoGateway);
        }
        let (asks, asked) = mpsc::channel(COMMANDS_WAITING_MAX);
        let (tell, notices) = mpsc::channel(NOTICES_WAITING_MAX);
        let driver = tokio::spawn(driver::Driver::new(config, asked, tell).run());
        Ok(Self { commander: Commander { asks }, notices, driver })
    }

    /// For sending commands.
    pub fn commander(&self) -> Commander {
        self.commander.clone()
    }

    /// What happened next; nothing after the end.
    pub async fn next_event(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

#[cfg(test)]
mod posts_tests;
#[cfg(test)]
mod tests;
