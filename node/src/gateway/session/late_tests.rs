//! An attachment that takes too long: doors with real sockets, in front of a log that never
//! answers one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, SinkExt, StreamExt};
use metrics_exporter_prometheus::PrometheusBuilder;
use rotary_directory::{DirectoryCommand, DirectoryEntry};
use rotary_proto::codec::{self, Limit};
use rotary_proto::frame::{ClientFrame, PROTOCOL, ServerFrame};
use rotary_proto::outcome::Answer;
use rotary_proto::{
    AgentId, Command, GatewayId, Name, NodeId, Outcome, PrincipalId, ShardCommand, ShardId, SiteId,
    Stamp,
};
use rotary_storage::{Fatal, Journal, JournalOptions};
use rotary_transport::{Certificates, ClusterAuthority, Handler, Lane, Transport, TransportConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Sessions;
use crate::actor::Registry;
use crate::admission::{Admission, Bounds};
use crate::gateway::doors::{Doors, Inner};
use crate::gateway::login::Logins;
use crate::gateway::password::Passwords;
use crate::gateway::router::router;
use crate::gateway::token::{Claims, Role, Tokens, unix_s};
use crate::hint::Hints;
use crate::replica::Replica;
use crate::spine::{Kept, ShardStatus, Spine, SpineError};

const SITE: SiteId = SiteId::new(1, 1);
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

/// A node's doors before that log, and what it is asked.
pub(crate) struct House {
    _dir: tempfile::TempDir,
    pub(crate) address: SocketAddr,
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
        let replica =
            Arc::new(Replica::new(1, Arc::new(journal), rotary_storage::Lookup::in_memory()));
        found(&replica);
        let (asked, seen) = mpsc::unbounded_channel();
        let tokens = Tokens::new(b"secret");
        let token = tokens.sign(&agent());
        let doors = Doors::new(Inner {
            node: NodeId(1),
            gateway: GatewayId { node: NodeId(1), run: 1 },
            heartbeat_ms: 60_000,
            peers: Vec::new(),
            registry: Registry::start(replica.clone()).await.expect("it starts"),
            replica,
            spine: Arc::new(Leaderless { seen: asked }),
            admission: Admission::new(Bounds::default()),
            seats: Arc::default(),
            sessions: Sessions::new(),
            hints: Hints::new(Arc::new(transport()), Vec::new()),
            tokens,
            passwords: Passwords::new(),
            logins: Logins::new(),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, router(doors)).await });
        Self { _dir: dir, address, token, seen }
    }

    /// A socket that has asked for a session.
    async fn start(&self) -> WebSocketStream<TcpStream> {
        self.start_as(&self.token).await.expect("it upgrades")
    }

    /// The same as the holder of a token, unless nobody is heard from there.
    async fn start_as(&self, token: &str) -> Option<WebSocketStream<TcpStream>> {
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
        let start = ClientFrame::Start { token: token.to_owned(), cursors: Vec::new() };
        let start = serde_json::to_string(&start).expect("plain data");
        socket.send(Message::text(start)).await.expect("open");
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
        DirectoryCommand::Found { shards: 1 },
        DirectoryCommand::CreateTenant { name: name() },
        DirectoryCommand::CreateSite { tenant: SITE.tenant, name: name(), shard: None },
    ];
    for (at, command) in (1..).zip(commands) {
        let entry = DirectoryEntry { origin: None, command };
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
    let mut frames = Vec::new();
    while frames.len() < 2 {
        let message = tokio::time::timeout(LIMIT, socket.next()).await.expect("in time");
        let Message::Text(text) = message.expect("open").expect("sound") else { continue };
        frames.push(serde_json::from_str::<ServerFrame>(&text).expect("a frame"));
    }
    let ServerFrame::Bye { code, detail, .. } = &frames[1] else { panic!("{frames:?}") };
    assert_eq!(code, "behind", "{detail}");
    assert_eq!(house.seen().await, Seen::Dropped);
    assert_eq!(house.seen().await, Seen::Detach);
}

#[tokio::test]
async fn who_begins_sessions_with_bad_tokens_is_not_heard_for_long() {
    let house = House::open().await;
    for tried in 0..1_000 {
        let Some(mut socket) = house.start_as("nonsense").await else {
            assert!(tried >= 10, "some mistakes are granted");
            return;
        };
        // Until its bye, the socket's token was not looked at.
        while let Some(Ok(_)) = tokio::time::timeout(LIMIT, socket.next()).await.expect("a bye") {}
    }
    panic!("a thousand bad tokens were heard");
}
