//! What a gateway-only node keeps of a session, and what it makes of frames.

use rotary_proto::command::Subject;
use rotary_proto::frame::{CommandReply, CommandResult};
use rotary_proto::{AgentId, Command, Declared, Outcome};

use super::*;

const SITE: SiteId = SiteId::new(1, 1);
const SESSION: SessionId = SessionId(7);

fn line() -> Line {
    let first = ClientFrame::Start { token: "t".to_owned(), cursors: Vec::new() };
    Line::new(first, vec!["https://gateway".to_owned()])
}

fn welcome(mode: Mode, seq: u64, token: &str, results: Vec<CommandResult>) -> String {
    text_of(&ServerFrame::Welcome {
        session: SESSION,
        subject: Subject::Agent(AgentId(1)),
        sites: vec![SITE],
        mode,
        seq,
        resume_token: token.to_owned(),
        gateways: vec!["https://core".to_owned()],
        results,
    })
}

fn event(seq: u64, sequence: u64) -> String {
    format!(
        r#"{{"type":"event","seq":{seq},"cursor":{{"site":"st_1.1","sequence":{sequence}}},
        "index":1,"stamp":5,"wall":0,"event":{{"any":{{"type":"bye","seq":99}}}}}}"#
    )
}

fn command(number: u64) -> ClientFrame {
    let command = Command::Declare { agent: AgentId(1), declared: Declared::Ready };
    let (site, acknowledged, command) = (SITE, 0, Box::new(command));
    ClientFrame::Cmd { site, number, acknowledged, command, traceparent: None }
}

fn result(number: u64, repeated: bool) -> CommandResult {
    let (position, result) = (None, CommandReply::Outcome(Outcome::OK));
    CommandResult { site: SITE, number, repeated, position, result }
}

fn said(line: &mut Line, text: &str) -> Vec<String> {
    match line.said(text.to_owned()) {
        Ok(Step::Say(texts)) => texts,
        other => panic!("{text}: {other:?}"),
    }
}

/// A line that is on, after event 1, with commands 1 and 2 on their way.
fn on_its_way() -> Line {
    let mut line = line();
    said(&mut line, &welcome(Mode::New, 0, "r1", Vec::new()));
    said(&mut line, &event(1, 40));
    for number in [1, 2] {
        line.asked(&command(number)).expect("room");
    }
    line
}

#[test]
fn the_first_welcome_is_the_clients_with_the_gateways_own_addresses() {
    let mut line = line();
    assert_eq!(said(&mut line, r#"{"type":"hello","node":"nd_1"}"#), [""; 0]);
    assert!(!line.is_on());
    let told = said(&mut line, &welcome(Mode::New, 0, "r1", Vec::new()));
    assert_eq!(told, [welcome(Mode::New, 0, "r1", Vec::new()).replace("//core", "//gateway")]);
    assert!(line.is_on());
}

#[test]
fn what_passes_through_is_unchanged_and_what_a_resume_needs_is_kept() {
    let mut line = on_its_way();
    let snapshot =
        r#"{"type":"snapshot","cursor":{"site":"st_1.2","sequence":9},"state":{"seq":5}}"#;
    let settled = text_of(&ServerFrame::Result(result(1, false)));
    for text in [snapshot, &event(2, 41), &settled, r#"{"type":"signal","seq":8}"#] {
        assert_eq!(said(&mut line, text), [text]);
    }
    assert_eq!(said(&mut line, r#"{"type":"pong","t":1,"seq":2}"#), [""; 0]);
    let cursor = |number, sequence| Cursor { site: SiteId::new(1, number), sequence };
    let expected = ClientFrame::Resume {
        resume_token: "r1".to_owned(),
        cursors: vec![cursor(1, 41), cursor(2, 9)],
        seq: 2,
        unacknowledged: vec![CommandNumber { site: SITE, number: 2 }],
    };
    assert_eq!(line.first_frame(), expected);
}

#[test]
fn a_later_welcome_gives_results_and_keeps_what_is_to_be_sent_again() {
    let mut line = on_its_way();
    let again = result(1, true);
    let told = said(&mut line, &welcome(Mode::Replayed, 1, "r2", vec![again.clone()]));
    assert_eq!(told, [text_of(&ServerFrame::Result(again))]);
    let resent: Vec<&String> = line.again().collect();
    assert_eq!(resent, [&serde_json::to_string(&command(2)).expect("plain data")]);
    let ClientFrame::Resume { resume_token, .. } = line.first_frame() else { panic!("no resume") };
    assert_eq!(resume_token, "r2");
}

#[test]
fn what_would_leave_a_hole_ends_the_socket() {
    for text in [
        welcome(Mode::Snapshot, 1, "r2", Vec::new()),
        welcome(Mode::Replayed, 2, "r2", Vec::new()),
        welcome(Mode::Replayed, 1, "r2", Vec::new()).replace("0007", "0008"),
        event(1, 41),
        event(3, 41),
        "{".to_owned(),
        r#"{"type":"event"}"#.to_owned(),
    ] {
        let end = on_its_way().said(text.clone()).expect_err(&text);
        assert_eq!((end.code, end.retry), ("behind", Retry::Resume), "{text}");
    }
}

#[test]
fn who_is_sent_elsewhere_goes_there_and_every_other_good_bye_is_the_clients() {
    let bye = |code: &str, retry: &str| {
        format!(r#"{{"type":"bye","code":"{code}","detail":"d","retry":"{retry}"}}"#)
    };
    let mut line = on_its_way();
    for code in ELSEWHERE {
        let step = line.said(bye(code, "resume"));
        assert_eq!(step, Ok(Step::Leave(code.to_owned())));
    }
    let goaway = r#"{"type":"goaway","reason":"stopping","reconnect_within_ms":5}"#;
    assert_eq!(line.said(goaway.to_owned()), Ok(Step::Leave("goaway".to_owned())));
    for (code, retry) in [("slow", "resume"), ("taken-over", "never"), ("behind", "never")] {
        let text = bye(code, retry);
        assert_eq!(line.said(text.clone()), Ok(Step::Last(text)));
    }
}

#[test]
fn only_so_many_commands_wait_for_results() {
    let mut line = line();
    for number in 1..=PENDING_MAX as u64 {
        line.asked(&command(number)).expect("room");
        line.asked(&command(number)).expect("the same one again is the same one");
    }
    let end = line.asked(&command(0)).expect_err("one too many");
    assert_eq!(end.code, "protocol");
}
