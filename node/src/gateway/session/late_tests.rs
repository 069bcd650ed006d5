//! An attachment that takes too long: doors with real sockets, in front of a log that never
//! answers one. Who begins a session is sent elsewhere; who returns is served from what is there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, SinkExt, StreamExt};
use metrics_exporter_prometheus::PrometheusBuilder;
use rotary_directory::{DirectoryCommand, DirectoryEntry};
use rotary_log::Machine;
use rotary_proto::codec::{self, Limit};
use rotary_proto::command::Subject;
use rotary_proto::frame::{ClientFrame, Mode, PROTOCOL, ServerFrame};
use rotary_proto::outcome::Answer;
use rotary_proto::{
    Actor, AgentId, AgentProfile, Command, Cursor, Declared, Envelope, GatewayId, Name, NodeId,
    Origin, Outcome, PrincipalId, Sealed, SessionId, ShardCommand, ShardId, SiteId, SiteSettings,
    Stamp, Wall,
};
use rotary_storage::{Fatal, Journal, JournalOptions};
use rotary_transport::{Certificates, ClusterAuthority, Handler, Lane, Transport, TransportConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::behind::{self, Behind};
use super::{Sessions, strays};
use crate::actor::Registry;
use crate::admission::{Admission, Bounds};
use crate::blobs::Blobs;
use crate::config::Config;
use crate::debug::About;
use crate::gateway::audit::Notes;
use crate::gateway::doors::{Doors, Inner};
use crate::gateway::login::Logins;
use crate::gateway::password::Passwords;
use crate::gateway::router::router;
use crate::gateway::token::{Claims, ResumeClaims, Role, Tokens, unix_s};
use crate::hint::{Freshness, Hints};
use crate::machine::fence::Fences;
use crate::machine::site::SiteMachine;
use crate::nodes::roster::Roster;
use crate::replica::Replica;
use crate::spine::{Kept, ShardStatus, Spine, SpineError};

const SITE: SiteId = SiteId::new(1, 1);
const SESSION: SessionId = SessionId(7);
const HERE: GatewayId = GatewayId { node: NodeId(1), run: 1 };
const ELSEWHERE: GatewayId = GatewayId { node: NodeId(2), run: 1 };
/// Generous: a busy machine with one slow core must pass.
const LIMIT: Duration = Duration::from_secs(60);

/// What the log was asked.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Attach,
    /// Whoever asked for the attachment waits for it no more.
    Dropped,
    Detach,
}

/// A log without a leader as far as attachments go.
struct Leaderless {
    seen: mpsc::UnboundedSender<Seen>,
}

/// Tells when it is dropped.
struct Waiting(mpsc::UnboundedSender<Seen>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.send(Seen::Dropped);
    }
}

impl Spine for Leaderless {
    fn propose(
        &self,
        _: ShardId,
        payload: Vec<u8>,
        _: Duration,
        _: bool,
    ) -> BoxFuture<'static, Result<Vec<u8>, SpineError>> {
        let command = codec::decode::<ShardCommand>(&payload, Limit::Entry).expect("one of ours");
        let command = match command {
            ShardCommand::Site(envelope) => envelope.command,
            other => panic!("{other:?}"),
        };
        if matches!(command, Command::Attach { .. }) {
            let _ = self.seen.send(Seen::Attach);
            let waiting = Waiting(self.seen.clone());
            return async move {
                let _waiting = waiting;
                std::future::pending().await
            }
            .boxed();
        }
        assert!(matches!(command, Command::Detach { .. }), "{command:?}");
        let _ = self.seen.send(Seen::Detach);
        let answer = Answer { outcome: Outcome::OK, repeated: false, sequence: 0, index: 9 };
        let answer = codec::encode(&answer, Limit::Entry).expect("small");
        async move { Ok(answer) }.boxed()
    }

    fn read_index(
        &self,
        shard: ShardId,
        _: Duration,
    ) -> BoxFuture<'static, Result<(), SpineError>> {
        async move { Err(SpineError::NoLeader { shard }) }.boxed()
    }

    fn status(&self, _: ShardId) -> Option<ShardStatus> {
        let (leader, leads_here, term) = (None, false, 1);
        let (last, committed, applied) = (0, 0, 0);
        let (fresh, behind) = (true, false);
        let kept = Kept::default();
        Some(ShardStatus {
            leader,
            leads_here,
            term,
            last,
            committed,
            applied,
            fresh,
            behind,
            kept,
            reads: 0,
            read_rounds: 0,
        })
    }
}

/// Nobody else.
fn roster() -> Arc<Roster> {
    Roster::of(&crate::config::Config::default())
}

/// Blobs that nobody else has.
fn blobs(dir: &std::path::Path) -> Arc<Blobs> {
    let room = rotary_storage::BlobRoom {
        bytes_max: 1 << 20,
        owner_bytes_max: u64::MAX,
        free_bytes_min: 0,
    };
    let disk = Arc::new(rotary_storage::FileDisk);
    let fatal = Fatal::with(|_, _| {});
    let store = rotary_storage::Blobs::open(disk, &dir.join("blobs"), room, fatal);
    let nobody = Box::new(|_| std::collections::BTreeSet::new());
    Blobs::new(
        store.expect("an empty one"),
        Arc::new(transport()),
        roster(),
        nobody,
        Default::default(),
    )
}

/// A node's doors before that log, and what it is asked.
pub(crate) struct House {
    _dir: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    doors: Doors,
    token: String,
    seen: mpsc::UnboundedReceiver<Seen>,
}

impl House {
    /// A node that serves.
    pub(crate) async fn open() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let options = JournalOptions { fatal: Fatal::with(|_, _| {}), ..JournalOptions::default() };
        let journal = Journal::open(Arc::new(rotary_storage::FileDisk), dir.path(), options)
            .expect("an empty one");
        let replica = Arc::new(Replica::new(
            [rotary_proto::ShardId(1)],
            Arc::new(journal),
            rotary_storage::Lookup::in_memory(),
        ));
        found(&replica);
        let (asked, seen) = mpsc::unbounded_channel();
        let tokens = Tokens::new(b"secret");
        let token = tokens.sign(&agent());
        let sessions = Arc::new(Sessions::new());
        let freshness = Freshness::new(
            roster(),
            (replica.journal().clone(), sessions.clone()),
            rotary_distributor::LOGIC_VERSIONS,
        );
        let doors = Doors::new(Inner {
            node: NodeId(1),
            gateway: HERE,
            heartbeat_ms: 60_000,
            runs: crate::nodes::Runs::this_build(),
            cluster: "late".to_owned(),
            roster: roster(),
            registry: Registry::start(replica.clone()).await.expect("it starts"),
            replica,
            spine: Arc::new(Leaderless { seen: asked }),
            blobs: blobs(dir.path()),
            admission: Admission::new(Bounds::default()),
            seats: Arc::default(),
            sessions,
            behind: Behind::default(),
            gateways: Default::default(),
            hints: Hints::new(Arc::new(transport()), roster(), freshness),
            tokens,
            passwords: Passwords::new(),
            logins: Logins::new(),
            notes: Notes::new(),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            about: About::of(&Config::default()),
            backups: crate::backup::schedule::Standing::of(&Default::default()),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(behind::watch(doors.clone()));
        let served = router(doors.clone());
        tokio::spawn(async move { axum::serve(listener, served).await });
        Self { _dir: dir, address, doors, token, seen }
    }

    /// Applies, as if the log had said so, what makes an agent with a session whose socket is on a
    /// gateway, and a few events after that. Gives the site's last sequence.
    fn live(&self, gateway: GatewayId) -> u64 {
        let replica = self.doors.replica.clone();
        let shard = replica.shard_of(SITE).expect("founded").clone();
        let (feed, source) = crate::feed::entry();
        crate::feed::start(replica.clone(), shard.clone(), self.doors.registry.clone(), source);
        let disk = rotary_storage::SimulatedDisk::new(1).process();
        let notes = rotary_storage::Notes::open(disk, "/notes".as_ref()).expect("opens");
        let can = rotary_distributor::LOGIC_VERSIONS;
        let fence = Fences::new(can, notes, Fatal::exit()).of(shard.id);
        let mut machine = SiteMachine::new(replica.clone(), shard, feed, Fatal::exit(), fence);
        let named = |text: &str| Name::new(text).expect("valid");
        let declare = |declared| Command::Declare { agent: AgentId(1), declared };
        let settings = SiteSettings::named(named("north"));
        let (session, subject) = (SESSION, Subject::Agent(AgentId(1)));
        let profile = AgentProfile {
            name: Sealed::plain("Lin").expect("short"),
            skills: Default::default(),
            capacity: Default::default(),
        };
        let commands = [
            Command::PutAgent { agent: AgentId(1), profile },
            Command::Attach { session, subject, gateway },
            declare(Declared::Ready),
            declare(Declared::SignedOut),
        ];
        let entries = commands.map(|command| {
            let actor = match command {
                Command::Attach { .. } | Command::Declare { .. } => Actor::Agent(AgentId(1)),
                _ => Actor::Administrator(PrincipalId(1)),
            };
            let origin = Origin::Internal;
            ShardCommand::Site(Envelope { site: SITE, origin, actor, command })
        });
        let site = ShardCommand::CreateSite { site: SITE, settings };
        for (index, entry) in (1..).zip([site].into_iter().chain(entries)) {
            let entry = codec::encode(&entry, Limit::Entry).expect("small");
            let answer = machine.apply(index, Stamp(index), Wall(1), &entry);
            let answer: Answer = codec::decode(&answer, Limit::Entry).expect("one of ours");
            assert!(matches!(answer.outcome, Outcome::Done(_)), "{index}: {answer:?}");
            machine.applied(index);
        }
        replica.journal().last_sequence(1, SITE.key())
    }

    /// A socket that has asked for a session.
    async fn start(&self) -> WebSocketStream<TcpStream> {
        let token = self.token.clone();
        self.begin(ClientFrame::Start { token, cursors: Vec::new() }).await.expect("it upgrades")
    }

    /// A socket that has asked for a session that was on another node.
    async fn resume(&self, sequence: u64) -> WebSocketStream<TcpStream> {
        let holder = agent();
        let (session, sites, exp) = (SESSION, vec![SITE], holder.exp);
        let resume = ResumeClaims { session, sites, holder, exp };
        let resume_token = self.doors.tokens.sign_resume(&resume);
        let cursors = vec![Cursor { site: SITE, sequence }];
        let unacknowledged = Vec::new();
        self.begin(ClientFrame::Resume { resume_token, cursors, seq: 5, unacknowledged })
            .await
            .expect("it upgrades")
    }

    /// A socket with its first frame, unless nobody is heard from there.
    async fn begin(&self, first: ClientFrame) -> Option<WebSocketStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let url = format!("ws://{}/v1/session", self.address);
        let mut request = url.into_client_request().expect("a request");
        let protocol = PROTOCOL.parse().expect("a header");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let upgraded = tokio_tungstenite::client_async(request, stream).await;
        let (mut socket, _) = match upgraded {
            Err(Error::Http(refused)) if refused.status() == 429 => return None,
            upgraded => upgraded.expect("it upgrades"),
        };
        let first = serde_json::to_string(&first).expect("plain data");
        socket.send(Message::text(first)).await.expect("open");
        Some(socket)
    }

    async fn seen(&mut self) -> Seen {
        let seen = tokio::time::timeout(LIMIT, self.seen.recv()).await.expect("in time");
        seen.expect("the doors are open")
    }
}

/// A directory with one site.
fn found(replica: &Replica) {
    let name = || Name::new("north").expect("valid");
    let commands = [
        DirectoryCommand::Found { shards: 1, members: [NodeId(1)].into() },
        DirectoryCommand::CreateTenant { name: name() },
        DirectoryCommand::CreateSite { tenant: SITE.tenant, name: name(), shard: None },
    ];
    for (at, command) in (1..).zip(commands) {
        let entry = DirectoryEntry { origin: None, asked: None, command };
        replica.directory_mut().apply(at, Stamp(at), entry);
    }
    assert!(replica.directory().shard_of(SITE).is_some());
}

fn agent() -> Claims {
    Claims {
        role: Role::Agent,
        tenant: Some(SITE.tenant),
        site: Some(SITE),
        agent: Some(AgentId(1)),
        customer: None,
        principal: PrincipalId(1),
        by: None,
        exp: unix_s() + 3_600,
        address: None,
    }
}

/// Nobody calls.
struct Deaf;

impl Handler for Deaf {
    fn handle(
        &self,
        _: NodeId,
        _: Lane,
        _: u8,
        _: Bytes,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        async { Err("nobody is there".to_owned()) }.boxed()
    }
}

fn transport() -> Transport {
    let authority = ClusterAuthority::create("c-1").expect("keys");
    let pem = authority.issue(NodeId(1)).expect("signs");
    let ca = authority.certificate_pem();
    let certificates = Certificates::from_pem(ca, &pem.certificate, &pem.key).expect("fits");
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config =
        TransportConfig { node: NodeId(1), listen, peers: Default::default(), certificates };
    Transport::start(config, Arc::new(Deaf)).expect("it starts")
}

#[tokio::test]
async fn who_went_elsewhere_is_not_fetched_back() {
    let mut house = House::open().await;
    let socket = house.start().await;
    assert_eq!(house.seen().await, Seen::Attach);
    drop(socket);
    assert_eq!(house.seen().await, Seen::Dropped);
    assert_eq!(house.seen().await, Seen::Detach);
}

#[tokio::test]
async fn who_waits_too_long_is_told_to_go_elsewhere() {
    let mut house = House::open().await;
    let mut socket = house.start().await;
    assert_eq!(house.seen().await, Seen::Attach);
    let frames = next(&mut socket, 2).await;
    let ServerFrame::Bye { code, detail, .. } = &frames[1] else { panic!("{frames:?}") };
    assert_eq!(code, "behind", "{detail}");
    assert_eq!(house.seen().await, Seen::Dropped);
    assert_eq!(house.seen().await, Seen::Detach);
}

#[tokio::test]
async fn who_returns_is_served_before_the_log_knows_and_asks_for_nothing_until_then() {
    let mut house = House::open().await;
    let last = house.live(ELSEWHERE);
    let mut socket = house.resume(last - 2).await;
    let frames = next(&mut socket, 4).await;
    let ServerFrame::Welcome { session, mode, seq, .. } = &frames[1] else { panic!("{frames:?}") };
    assert_eq!((*session, *mode, *seq), (SESSION, Mode::Replayed, 5));
    let events = frames[2..].iter().map(|frame| match frame {
        ServerFrame::Event(event) => (event.seq, event.cursor.sequence),
        other => panic!("{other:?}"),
    });
    assert_eq!(events.collect::<Vec<_>>(), [(6, last - 1), (7, last)]);
    assert_eq!(house.seen().await, Seen::Attach);

    // The command waits for the attachment, so nothing is proposed before the socket goes.
    let command = Command::Declare { agent: AgentId(1), declared: Declared::SignedOut };
    let command = Box::new(command);
    let (site, number, acknowledged, traceparent) = (SITE, 1, 0, None);
    let cmd = ClientFrame::Cmd { site, number, acknowledged, command, traceparent };
    for frame in [cmd, ClientFrame::Ping { t: 1 }] {
        let text = serde_json::to_string(&frame).expect("plain data");
        socket.send(Message::text(text)).await.expect("open");
    }
    assert!(matches!(next(&mut socket, 1).await[0], ServerFrame::Pong { .. }));
    drop(socket);
    assert_eq!(house.seen().await, Seen::Dropped);
    assert_eq!(house.seen().await, Seen::Detach);
}

#[tokio::test]
async fn a_cursor_that_this_node_has_not_reached_waits_for_the_log() {
    let mut house = House::open().await;
    let last = house.live(ELSEWHERE);
    let mut socket = house.resume(last + 1).await;
    let frames = next(&mut socket, 2).await;
    let ServerFrame::Bye { code, .. } = &frames[1] else { panic!("{frames:?}") };
    assert_eq!(code, "behind");
    assert_eq!(house.seen().await, Seen::Attach);
}

#[tokio::test]
async fn a_session_without_a_socket_is_taken_back_and_one_elsewhere_is_not() {
    let house = House::open().await;
    house.live(ELSEWHERE);
    assert!(strays::strays(&house.doors).is_empty());

    let mut house = House::open().await;
    house.live(HERE);
    let found = strays::strays(&house.doors);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [(SITE, SESSION)]);
    let watching = tokio::spawn(strays::watch(house.doors.clone()));
    assert_eq!(house.seen().await, Seen::Detach);
    watching.abort();
    let served = house.doors.sessions.take(SESSION, vec![SITE]);
    assert!(strays::strays(&house.doors).is_empty());
    house.doors.sessions.release(&served);
}

/// The next frames of a socket.
async fn next(socket: &mut WebSocketStream<TcpStream>, count: usize) -> Vec<ServerFrame> {
    let mut frames = Vec::new();
    while frames.len() < count {
        let message = tokio::time::timeout(LIMIT, socket.next()).await.expect("in time");
        let Message::Text(text) = message.expect("open").expect("sound") else { continue };
        frames.push(serde_json::from_str::<ServerFrame>(&text).expect("a frame"));
    }
    frames
}

#[tokio::test]
async fn who_begins_sessions_with_bad_tokens_is_not_heard_for_long() {
    let house = House::open().await;
    for tried in 0..1_000 {
        let start = ClientFrame::Start { token: "nonsense".to_owned(), cursors: Vec::new() };
        let Some(mut socket) = house.begin(start).await else {
            assert!(tried >= 10, "some mistakes are granted");
            return;
        };
        // Until its bye, the socket's token was not looked at.
        while let Some(Ok(_)) = tokio::time::timeout(LIMIT, socket.next()).await.expect("a bye") {}
    }
    panic!("a thousand bad tokens were heard");
}
