//! The page is whole, harmless and small, whatever the history says.

use rotary_proto::ids::{AgentId, ShardId};
use rotary_proto::{Actor, Command, ConversationId, Declared, SiteId};

use super::*;
use crate::checkers::{self, Check, Verdict};
use crate::history::{Edge, End, FORMAT, Head, Operation, Origin, Record, Reply};

const NASTY: &str = "</script><img src=x onerror=alert(1)>\"'&";

fn head(name: &str) -> Head {
    let (name, replay) = (name.to_owned(), format!("rotary-chaos run {name}"));
    Head { format: FORMAT, seed: 5, name, replay, nemeses: vec!["kill".to_owned()] }
}

fn operation(at_ms: u64, word: &str) -> Record {
    let ok = End::Ok { position: None, repeated: false, reply: Reply::Ok };
    let conversation = ConversationId::new(SiteId::new(1, 1), at_ms.into());
    Record::Operation(Operation {
        process: 1,
        site: SiteId::new(1, 1),
        actor: Actor::Agent(AgentId(1)),
        origin: Origin::Once,
        command: Box::new(match at_ms % 2 {
            0 => Command::Close { conversation },
            _ => Command::Declare { agent: AgentId(1), declared: Declared::Ready },
        }),
        invoked_ms: at_ms,
        returned_ms: at_ms + at_ms % 90,
        end: match at_ms % 7 {
            0 => End::Unknown { detail: word.to_owned() },
            1 => End::Fail { code: word.to_owned(), position: None },
            _ => ok,
        },
    })
}

fn fault(at_ms: u64, name: String, edge: Edge) -> Record {
    let (target, detail) = (NASTY.to_owned(), NASTY.to_owned());
    Record::Fault { at_ms, name, target, edge, detail }
}

/// A long and unkind history.
fn long() -> History {
    let mut records = Vec::new();
    for at_ms in (0..400_000).step_by(4) {
        records.push(operation(at_ms, NASTY));
    }
    for at in 0..5_000 {
        let name = format!("{NASTY}{}", at % 300);
        records.push(fault(at * 80, name.clone(), Edge::Begin));
        records.push(fault(at * 80 + 40, name, Edge::End));
        let (at_ms, node) = (at * 80, format!("nd_{}", at % 40));
        records.push(Record::Leader { at_ms, shard: ShardId((at % 64) as u32), node });
        records.push(Record::Mark { at_ms, name: NASTY.repeat(50) });
    }
    History::of(head(NASTY), records)
}

#[test]
fn the_page_is_small_and_harmless_however_long_the_history_is() {
    let history = long();
    let mut judgement = checkers::check(&history);
    let mut check = Check::new("replay", "facts and answers");
    for number in 2..2_000 {
        check.find(NASTY.repeat(100), [number, number + 1, number + 2, number + 3, number + 4]);
    }
    judgement.checks.push(check);
    let page = page(&history, &judgement);
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
    assert!(!page.contains("<img"), "nothing of a history is HTML");
    assert_eq!(page.matches("<script>").count(), 1);
    assert_eq!(page.matches("</script>").count(), 1);
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        let shown = page.replace("src=x", "").contains(outside);
        assert!(!shown, "{outside} would need the network");
    }
}

#[test]
fn the_page_has_its_parts_in_both_languages() {
    let records = [
        operation(30, "offer-gone"),
        fault(40, "kill".to_owned(), Edge::Begin),
        operation(700, "offer-gone"),
    ];
    let history = History::of(head("calm"), records);
    let judgement = checkers::check(&history);
    assert_eq!(judgement.verdict(), Verdict::Invalid, "it closed what nobody opened");
    let page = page(&history, &judgement);
    for part in ["verdict", "counts", "timeline", "faults", "findings", "figures"] {
        assert_eq!(page.matches(&format!("<h2 id=\"{part}\">")).count(), 1, "{part}");
    }
    for text in ["rotary-chaos run calm", "<main>", "<h1>", "lang=\"zh\">结论", "✗ <span", "<svg"]
    {
        assert!(page.contains(text), "{text}");
    }
    let english = page.matches("<span lang=\"en\">").count();
    assert_eq!(english, page.matches("<span lang=\"zh\">").count());
    assert_eq!(page.matches("<tr>").count(), page.matches("</tr>").count());
    let folder = tempfile::tempdir().expect("a folder");
    let path = write(&history, &judgement, &folder.path().join("new")).expect("written");
    assert_eq!(std::fs::read_to_string(path).expect("readable"), page);
}
