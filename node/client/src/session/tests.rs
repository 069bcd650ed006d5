//! Sessions against gateways that the test plays by hand, frame by frame.

use futures::{SinkExt as _, StreamExt as _};
use rotary_proto::event::DeclaredWhy;
use rotary_proto::frame::{
    ClientFrame, CommandReply, CommandResult, EventFrame, Mode, Retry, ServerFrame,
};
use rotary_proto::{AgentId, Cursor, Declared, Event, Outcome, Stamp, Wall};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::*;

pub(super) const SITE: SiteId = SiteId::new(1, 1);

/// A gateway without a brain: the test accepts its sockets and plays them.
struct Fake {
    listener: TcpListener,
    gateway: Gateway,
}

impl Fake {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let gateway = format!("http://{address}").parse().expect("an address");
        Self { listener, gateway }
    }

    /// The next socket, `hello` said, and the client's first frame on it.
    async fn accept(&self) -> (Played, ClientFrame) {
        let (stream, _) = self.listener.accept().await.expect("a client");
        #[expect(clippy::result_large_err, reason = "the handshake's callback is shaped so")]
        let choose = |_: &Request, mut response: Response| {
            let protocol = HeaderValue::from_static("rotary.v1");
            response.headers_mut().insert("sec-websocket-protocol", protocol);
            Ok(response)
        };
        let socket =
            tokio_tungstenite::accept_hdr_async(stream, choose).await.expect("a handshake");
        let mut played = Played { socket };
        let (node, heartbeat_ms) = (NodeId(1), 1_000);
        let (protocol, build) = ("rotary.v1".to_owned(), "fake".to_owned());
        played.say(ServerFrame::Hello { node, protocol, heartbeat_ms, build }).await;
        let first = played.hear().await;
        (played, first)
    }

    /// The next socket, welcomed with nothing new.
    async fn welcome(&self, mode: Mode, seq: u64) -> (Played, ClientFrame) {
        let (mut played, first) = self.accept().await;
        played.say(welcome(mode, seq, &[])).await;
        (played, first)
    }
}

struct Played {
    socket: WebSocketStream<TcpStream>,
}

impl Played {
    async fn say(&mut self, frame: ServerFrame) {
        let text = serde_json::to_string(&frame).expect("plain");
        self.socket.send(Message::text(text)).await.expect("open");
    }

    /// The next frame that is not a ping (which is answered) or an acknowledgement.
    async fn hear(&mut self) -> ClientFrame {
        loop {
            let message = self.socket.next().await.expect("open").expect("sound");
            let Message::Text(text) = message else { continue };
            match serde_json::from_str(&text).expect("a frame") {
                ClientFrame::Ping { t } => self.say(ServerFrame::Pong { t, seq: 0 }).await,
                ClientFrame::Ack { .. } => {}
                frame => return frame,
            }
        }
    }
}

pub(super) fn welcome(mode: Mode, seq: u64, results: &[CommandResult]) -> ServerFrame {
    ServerFrame::Welcome {
        session: SessionId(7),
        subject: Subject::Agent(AgentId(1)),
        sites: vec![SITE],
        mode,
        seq,
        resume_token: format!("resume-{seq}"),
        gateways: Vec::new(),
        results: results.to_vec(),
    }
}

pub(super) fn event(seq: u64, sequence: u64) -> ServerFrame {
    let why = DeclaredWhy::Agent;
    let event = Event::AgentDeclared { agent: AgentId(1), declared: Declared::Ready, why };
    let cursor = Cursor { site: SITE, sequence };
    ServerFrame::Event(Box::new(EventFrame {
        seq,
        cursor,
        index: sequence,
        stamp: Stamp(1),
        wall: Wall(1),
        event,
    }))
}

pub(super) fn result(number: u64, repeated: bool, result: CommandReply) -> CommandResult {
    CommandResult { site: SITE, number, repeated, position: None, result }
}

pub(super) fn declare() -> Command {
    Command::Declare { agent: AgentId(1), declared: Declared::Ready }
}

fn start(gateways: &[&Fake]) -> Session {
    let gateways = gateways.iter().map(|fake| fake.gateway.clone()).collect();
    Session::start(SessionConfig::new(gateways, "token".to_owned())).expect("a gateway")
}

/// The next notice that is not the loss of a socket.
pub(super) async fn notice(session: &mut Session) -> Notice {
    loop {
        match session.next_event().await.expect("a notice") {
            Notice::Lost { .. } => {}
            notice => return notice,
        }
    }
}

pub(super) async fn welcomed(session: &mut Session) -> Welcomed {
    match notice(session).await {
        Notice::Welcome(welcomed) => *welcomed,
        other => panic!("{other:?} instead of a welcome"),
    }
}

pub(super) async fn sequence(session: &mut Session) -> u64 {
    match notice(session).await {
        Notice::Event(frame) => frame.cursor.sequence,
        other => panic!("{other:?} instead of an event"),
    }
}

#[tokio::test]
async fn a_dead_gateway_is_left_for_another_with_both_places() {
    let (one, two) = (Fake::new().await, Fake::new().await);
    let mut session = start(&[&one, &two]);
    let (mut played, first) = one.welcome(Mode::New, 0).await;
    assert_eq!(first, ClientFrame::Start { token: "token".to_owned(), cursors: Vec::new() });
    played.say(event(1, 5)).await;
    played.say(event(2, 9)).await;
    assert!(welcomed(&mut session).await.outage.is_zero());
    assert_eq!([sequence(&mut session).await, sequence(&mut session).await], [5, 9]);
    drop(played);
    let (mut played, first) = two.welcome(Mode::Replayed, 2).await;
    let cursors = vec![Cursor { site: SITE, sequence: 9 }];
    let resume_token = "resume-0".to_owned();
    let resume = ClientFrame::Resume { resume_token, cursors, seq: 2, unacknowledged: vec![] };
    assert_eq!(first, resume);
    let again = welcomed(&mut session).await;
    assert_eq!((again.mode, again.gateway), (Mode::Replayed, two.gateway.clone()));
    played.say(event(3, 10)).await;
    assert_eq!(sequence(&mut session).await, 10);
}

#[tokio::test]
async fn a_silent_gateway_is_left_within_a_second_and_a_half() {
    let (one, two) = (Fake::new().await, Fake::new().await);
    let mut session = start(&[&one, &two]);
    let (silent, _) = one.welcome(Mode::New, 0).await;
    welcomed(&mut session).await;
    let begun = std::time::Instant::now();
    let (_played, _) = two.welcome(Mode::Replayed, 0).await;
    let again = welcomed(&mut session).await;
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    assert!(again.outage >= Duration::from_secs(1), "{:?}", again.outage);
    drop(silent);
}

#[tokio::test]
async fn an_unanswered_command_is_sent_again_under_its_number() {
    let (one, two) = (Fake::new().await, Fake::new().await);
    let mut session = start(&[&one, &two]);
    let (mut played, _) = one.welcome(Mode::New, 0).await;
    welcomed(&mut session).await;
    let commander = session.commander();
    let asked = tokio::spawn(async move { commander.send(SITE, declare()).await });
    let sent = played.hear().await;
    let command = Box::new(declare());
    assert_eq!(
        sent,
        ClientFrame::Cmd { site: SITE, number: 1, acknowledged: 0, command, traceparent: None }
    );
    drop(played);
    let (mut played, _) = two.welcome(Mode::Replayed, 0).await;
    assert_eq!(welcomed(&mut session).await.resent, 1);
    assert_eq!(played.hear().await, sent);
    let doubt = CommandReply::Unknown { detail: "no leader yet".to_owned() };
    played.say(ServerFrame::Result(result(1, false, doubt))).await;
    assert_eq!(played.hear().await, sent);
    let outcome = result(1, true, CommandReply::Outcome(Outcome::OK));
    played.say(ServerFrame::Result(outcome.clone())).await;
    assert_eq!(asked.await.expect("sound"), Ok(outcome));
}

#[tokio::test]
async fn a_welcome_may_bring_the_result_along() {
    let (one, two) = (Fake::new().await, Fake::new().await);
    let mut session = start(&[&one, &two]);
    let (mut played, _) = one.welcome(Mode::New, 0).await;
    let commander = session.commander();
    let asked = tokio::spawn(async move { commander.send(SITE, declare()).await });
    played.hear().await;
    drop(played);
    let (mut played, first) = two.accept().await;
    assert!(
        matches!(first, ClientFrame::Resume { unacknowledged, .. } if unacknowledged.len() == 1)
    );
    let outcome = result(1, true, CommandReply::Outcome(Outcome::OK));
    played.say(welcome(Mode::Replayed, 0, std::slice::from_ref(&outcome))).await;
    assert_eq!(asked.await.expect("sound"), Ok(outcome));
    welcomed(&mut session).await;
    assert_eq!(welcomed(&mut session).await.resent, 0);
}

#[tokio::test]
async fn a_gap_ends_the_session_loudly() {
    let one = Fake::new().await;
    let mut session = start(&[&one]);
    let (mut played, _) = one.welcome(Mode::New, 0).await;
    played.say(event(1, 5)).await;
    played.say(event(3, 7)).await;
    welcomed(&mut session).await;
    assert_eq!(sequence(&mut session).await, 5);
    let gap = StreamFault::Sequence { expected: 2, got: 3 };
    assert_eq!(notice(&mut session).await, Notice::Ended(End::Fault(gap)));
    assert_eq!(session.next_event().await, None);
}

#[tokio::test]
async fn an_event_seen_before_ends_the_session_loudly() {
    let (one, two) = (Fake::new().await, Fake::new().await);
    let mut session = start(&[&one, &two]);
    let (mut played, _) = one.welcome(Mode::New, 0).await;
    played.say(event(1, 5)).await;
    welcomed(&mut session).await;
    assert_eq!(sequence(&mut session).await, 5);
    drop(played);
    let (mut played, _) = two.welcome(Mode::Replayed, 1).await;
    played.say(event(2, 5)).await;
    welcomed(&mut session).await;
    let repeated = StreamFault::Repeated { site: SITE, seen: 5, got: 5 };
    assert_eq!(notice(&mut session).await, Notice::Ended(End::Fault(repeated)));
}

#[tokio::test]
async fn a_snapshot_replaces_what_led_to_it() {
    let (one, two) = (Fake::new().await, Fake::new().await);
    let mut session = start(&[&one, &two]);
    let (played, _) = one.welcome(Mode::New, 0).await;
    welcomed(&mut session).await;
    drop(played);
    let (mut played, _) = two.welcome(Mode::Snapshot, 40).await;
    let cursor = Cursor { site: SITE, sequence: 100 };
    let state = Box::<SnapshotState>::default();
    played.say(ServerFrame::Snapshot { cursor, state: state.clone() }).await;
    played.say(event(41, 101)).await;
    assert_eq!(welcomed(&mut session).await.mode, Mode::Snapshot);
    assert_eq!(notice(&mut session).await, Notice::Snapshot { cursor, state });
    assert_eq!(sequence(&mut session).await, 101);
}

#[tokio::test]
async fn a_bye_says_whether_to_come_back() {
    let (one, two) = (Fake::new().await, Fake::new().await);
    let mut session = start(&[&one, &two]);
    let (mut played, _) = one.welcome(Mode::New, 0).await;
    welcomed(&mut session).await;
    let bye = |code: &str, retry| {
        let (code, detail) = (code.to_owned(), String::new());
        ServerFrame::Bye { code, detail, retry, after_ms: None }
    };
    played.say(bye("behind", Retry::Resume)).await;
    let (mut played, _) = two.welcome(Mode::Replayed, 0).await;
    welcomed(&mut session).await;
    played.say(bye("session-ended", Retry::Restart)).await;
    let (code, detail) = ("session-ended".to_owned(), String::new());
    let end = End::Closed { code, detail, restart: true };
    assert_eq!(notice(&mut session).await, Notice::Ended(end));
    let unsent = session.commander().send(SITE, declare()).await;
    assert_eq!(unsent, Err(CommandError::NotSent));
}

#[tokio::test]
async fn a_late_welcome_of_a_gateway_given_up_on_does_not_end_the_session() {
    let (slow, good) = (Fake::new().await, Fake::new().await);
    let gateways = [&slow, &good].map(|fake| fake.gateway.clone()).to_vec();
    let mut config = SessionConfig::new(gateways, "token".to_owned());
    config.welcome = Duration::from_millis(50);
    let mut session = Session::start(config).expect("a gateway");
    let (_late, _) = slow.accept().await;
    let (mut played, _) = good.welcome(Mode::New, 0).await;
    welcomed(&mut session).await;
    let (code, detail) = ("taken-over".to_owned(), String::new());
    played.say(ServerFrame::Bye { code, detail, retry: Retry::Never, after_ms: None }).await;
    let (_played, first) = slow.welcome(Mode::Replayed, 0).await;
    assert!(matches!(first, ClientFrame::Resume { .. }), "{first:?}");
    assert_eq!(welcomed(&mut session).await.mode, Mode::Replayed);
}

#[tokio::test]
async fn a_good_bye_leaves_no_outcome_in_doubt_unsaid() {
    let one = Fake::new().await;
    let mut session = start(&[&one]);
    let (mut played, _) = one.welcome(Mode::New, 0).await;
    welcomed(&mut session).await;
    let commander = session.commander();
    let asked = tokio::spawn(async move { commander.send(SITE, declare()).await });
    played.hear().await;
    session.commander().bye().await;
    assert_eq!(played.hear().await, ClientFrame::Bye {});
    assert_eq!(notice(&mut session).await, Notice::Ended(End::Bye));
    assert_eq!(asked.await.expect("sound"), Err(CommandError::Unknown));
}
