//! Samples of the session protocol's frames, and of the envelope between nodes.
//!
//! Session frames exist as JSON only, so their pages have no file of bytes.

use rotary_proto::board::{BoardAgents, BoardFrame, BoardQueue};
use rotary_proto::command::Subject;
use rotary_proto::frame::{
    ClientFrame, CommandNumber, CommandReply, CommandResult, EventFrame, Mode, PROTOCOL, Retry,
    ServerFrame, Signal, SnapshotState,
};
use rotary_proto::wire::{self, FrameHeader, FrameKind, Lane};
use rotary_proto::*;

use crate::page::{Golden, Page, samples};
use crate::shapes::{UNIQUE, agent_view, conversation, conversation_view, queue_view, site};

fn cursors() -> Vec<Cursor> {
    vec![Cursor { site: site(), sequence: 77 }]
}

fn event_frame() -> EventFrame {
    EventFrame {
        seq: 41,
        cursor: cursors()[0],
        index: 600,
        stamp: Stamp(7_000_000),
        wall: Wall(1_700_000_000_000),
        event: Event::Held { conversation: conversation(), agent: AgentId(9) },
    }
}

fn result(result: CommandReply) -> CommandResult {
    let position = Some(Position { shard: ShardId(5), index: 600 });
    CommandResult { site: site(), number: 12, repeated: true, position, result }
}

fn replies() -> Vec<(&'static str, CommandReply)> {
    let (code, detail) = ("no-leader".to_owned(), "the shard elects a leader".to_owned());
    samples!(CommandReply {
        Outcome => CommandReply::Outcome(Outcome::OK),
        NotApplied => CommandReply::NotApplied {
            code,
            detail: detail.clone(),
            after_ms: 250,
        },
        Unknown => CommandReply::Unknown { detail },
    })
}

fn client_frames() -> Vec<(&'static str, ClientFrame)> {
    let command = Command::Hold { conversation: conversation() };
    samples!(ClientFrame {
        Start => ClientFrame::Start { token: "secret".to_owned(), cursors: cursors() },
        Resume => ClientFrame::Resume {
            resume_token: "resume".to_owned(),
            cursors: cursors(),
            seq: 41,
            unacknowledged: vec![CommandNumber { site: site(), number: 12 }],
        },
        Ack => ClientFrame::Ack { seq: 41 },
        Cmd => ClientFrame::Cmd {
            site: site(),
            number: 12,
            acknowledged: 11,
            command: Box::new(command),
            traceparent: None,
        },
        Signal => ClientFrame::Signal { conversation: conversation(), signal: Signal::Typing },
        Ping => ClientFrame::Ping { t: 5 },
        Bye => ClientFrame::Bye {},
    })
}

fn snapshot() -> SnapshotState {
    SnapshotState {
        agent: Some(agent_view()),
        conversations: vec![conversation_view()],
        queues: vec![queue_view()],
        agents: vec![agent_view()],
    }
}

fn board_frame() -> BoardFrame {
    let queue = BoardQueue {
        queue: QueueId(4),
        name: Name::new("sales").expect("valid"),
        self_service: 1,
        waiting: 2,
        oldest_wait_ms: 61_000,
        offered: 3,
        assigned: 4,
        wrap_up: 5,
    };
    let agents = BoardAgents { idle: 6, busy: 7, not_ready: 8, away: 9, signed_out: 10 };
    BoardFrame { seq: 41, cursor: cursors()[0], whole: true, agents, queues: vec![queue] }
}

fn server_frames() -> Vec<(&'static str, ServerFrame)> {
    samples!(ServerFrame {
        Hello => ServerFrame::Hello {
            node: NodeId(3),
            protocol: PROTOCOL.to_owned(),
            heartbeat_ms: 15_000,
            build: "0.1.0".to_owned(),
        },
        Welcome => ServerFrame::Welcome {
            session: SessionId(UNIQUE),
            subject: Subject::Agent(AgentId(9)),
            sites: vec![site()],
            mode: Mode::Replayed,
            seq: 40,
            resume_token: "resume".to_owned(),
            gateways: vec!["wss://b.example/v1/session".to_owned()],
            results: vec![result(CommandReply::Outcome(Outcome::OK))],
        },
        Snapshot => ServerFrame::Snapshot { cursor: cursors()[0], state: Box::new(snapshot()) },
        Event => ServerFrame::Event(Box::new(event_frame())),
        Board => ServerFrame::Board(Box::new(board_frame())),
        Result => ServerFrame::Result(result(CommandReply::Outcome(Outcome::OK))),
        Signal => ServerFrame::Signal {
            conversation: conversation(),
            agent: Some(AgentId(9)),
            signal: Signal::Idle,
        },
        Pong => ServerFrame::Pong { t: 5, seq: 41 },
        Goaway => ServerFrame::Goaway { reason: "restart".to_owned(), reconnect_within_ms: 5_000 },
        Bye => ServerFrame::Bye {
            code: "token-expired".to_owned(),
            detail: "sign in again".to_owned(),
            retry: Retry::Restart,
            after_ms: Some(1_000),
        },
    })
}

fn add_json_all<T: Golden>(page: &mut Page, prefix: &str, samples: Vec<(&'static str, T)>) {
    for (variant, value) in samples {
        page.add_json(&format!("{prefix}::{variant}"), &value);
    }
}

#[test]
fn what_a_client_sends() {
    let mut page = Page::new("client_frames");
    add_json_all(&mut page, "ClientFrame", client_frames());
    for (word, command) in crate::commands::commands() {
        let command = Box::new(command);
        let frame = ClientFrame::Cmd {
            site: site(),
            number: 1,
            acknowledged: 0,
            command,
            traceparent: None,
        };
        page.add_json(&format!("ClientFrame::Cmd of {word}"), &frame);
    }
    page.settle();
}

#[test]
fn what_a_gateway_sends() {
    let mut page = Page::new("server_frames");
    add_json_all(&mut page, "ServerFrame", server_frames());
    for (word, event) in crate::events::events() {
        let frame = ServerFrame::Event(Box::new(EventFrame { event, ..event_frame() }));
        page.add_json(&format!("ServerFrame::Event of {word}"), &frame);
    }
    for (word, reply) in replies() {
        page.add_json(
            &format!("ServerFrame::Result of {word}"),
            &ServerFrame::Result(result(reply)),
        );
    }
    page.settle();
}

#[test]
fn parts_of_frames() {
    let mut page = Page::new("frame_parts");
    let modes = samples!(Mode {
        New => Mode::New,
        Replayed => Mode::Replayed,
        Snapshot => Mode::Snapshot,
    });
    add_json_all(&mut page, "Mode", modes);
    let retries = samples!(Retry {
        Resume => Retry::Resume,
        Restart => Retry::Restart,
        Never => Retry::Never,
    });
    add_json_all(&mut page, "Retry", retries);
    let signals = samples!(Signal { Typing => Signal::Typing, Idle => Signal::Idle });
    add_json_all(&mut page, "Signal", signals);
    add_json_all(&mut page, "CommandReply", replies());
    page.settle();
}

/// FNV-1a (Fowler, Noll and Vo), in place of the CRC-32 that the caller brings.
pub(crate) fn sum(pieces: &[&[u8]]) -> u32 {
    let step = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    pieces.iter().copied().flatten().fold(0x811c_9dc5, step)
}

fn wire_frame(kind: FrameKind) -> Vec<u8> {
    let header = FrameHeader { kind, service: 3, request: 0x0102_0304_0506_0708 };
    let front = wire::frame_header(header, b"payload", sum).expect("small");
    let frame = [front.as_slice(), b"payload"].concat();
    assert_eq!(wire::parse_frame(&frame, sum), Ok((header, b"payload".as_slice())));
    frame
}

#[test]
fn what_nodes_exchange() {
    let mut page = Page::new("wire");
    let kinds = samples!(FrameKind {
        Request => FrameKind::Request,
        Response => FrameKind::Response,
        Failure => FrameKind::Failure,
    });
    for (variant, kind) in kinds {
        page.add_raw(&format!("frame of kind {variant}, FNV-1a sum"), &wire_frame(kind));
    }
    let lanes = samples!(Lane {
        Raft => Lane::Raft,
        Live => Lane::Live,
        Bulk => Lane::Bulk,
        Heartbeat => Lane::Heartbeat,
    });
    for (variant, lane) in lanes {
        page.add_bytes(&format!("Lane::{variant}"), &lane);
    }
    page.settle();
}
