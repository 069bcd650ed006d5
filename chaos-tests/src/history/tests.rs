//! Histories are read as they were written, and nothing else passes for one.

use std::path::PathBuf;

use proptest::prelude::*;
use rotary_proto::event::{Author, EndReason, OfferEnd};
use rotary_proto::ids::{AgentId, ItemId, OfferId, QueueId, ShardId};
use rotary_proto::{Actor, Channel, Command, ConversationId, CustomerId, Position, SiteId, Stamp};

use super::export::{Form, export};
use super::*;

const SITE: SiteId = SiteId::new(3, 2);

fn head() -> Head {
    let (name, replay) = ("calm".to_owned(), "rotary-chaos run calm --seed 9".to_owned());
    Head { format: FORMAT, seed: 9, name, replay, nemeses: vec!["kill".to_owned()] }
}

fn fact(kind: u8, number: u128) -> Fact {
    let conversation = ConversationId::new(SITE, number);
    let (offer, agent) = (OfferId(number as u64), AgentId(number as u32));
    match kind % 5 {
        0 => Fact::Opened {
            conversation,
            channel: Channel::Email,
            customer: Some(CustomerId(number)),
        },
        1 => Fact::Offered {
            conversation,
            offer,
            agent,
            queue: QueueId(4),
            channel: Channel::Voice,
            until: Stamp(number as u64),
        },
        2 => Fact::OfferEnded { conversation, offer, agent, why: OfferEnd::AgentLost },
        3 => Fact::Ended { conversation, why: EndReason::Supervisor },
        _ => Fact::Other { conversation: None },
    }
}

fn record(kind: u8, number: u128, word: String) -> Record {
    let at_ms = number as u64 / 3;
    let conversation = ConversationId::new(SITE, number);
    let position = Some(Position { shard: ShardId(1), index: at_ms });
    match kind % 8 {
        0 => Record::Operation(Operation {
            process: at_ms,
            site: SITE,
            actor: Actor::Agent(AgentId(7)),
            origin: Origin::Key(word.clone()),
            command: Box::new(Command::Accept { conversation, offer: OfferId(at_ms) }),
            invoked_ms: at_ms,
            returned_ms: at_ms + 1,
            end: match kind / 8 % 3 {
                0 => End::Ok { position, repeated: true, reply: Reply::Accepted { leg: 2 } },
                1 => End::Fail { code: word, position },
                _ => End::Unknown { detail: word },
            },
        }),
        1 => {
            let (sequence, index, stamp) = (at_ms, at_ms, Stamp(at_ms));
            let (digest, fact) = (Digest(number as u64), fact(kind / 8, number));
            let event = Event { site: SITE, sequence, index, stamp, digest, fact };
            Record::Fed { at_ms, reader: 1, gateway: word, event }
        }
        2 => Record::Mark { at_ms, name: word },
        3 => Record::Fault {
            at_ms,
            name: word.clone(),
            target: word.clone(),
            edge: Edge::End,
            detail: word,
        },
        4 => Record::Bitten {
            at_ms,
            name: word.clone(),
            target: word,
            bitten: true,
            detail: "".into(),
        },
        5 => Record::Leader { at_ms, shard: ShardId(3), node: word },
        6 => {
            let items = vec![(1, ItemId(number), Author::Agent(AgentId(1)))];
            Record::Transcript { at_ms, gateway: word, conversation, closed: None, items }
        }
        _ => Record::Site { site: SITE, shard: ShardId(2) },
    }
}

fn written(records: impl IntoIterator<Item = Record>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    let recorder = Recorder::create(&path, head()).expect("a new file");
    records.into_iter().for_each(|record| assert!(recorder.record(record)));
    recorder.finish().expect("written");
    (folder, path)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(
        drawn in prop::collection::vec((any::<u8>(), any::<u128>(), ".{0,40}"), 0..60),
    ) {
        let records: Vec<Record> =
            drawn.into_iter().map(|(kind, number, word)| record(kind, number, word)).collect();
        let (_folder, path) = written(records.clone());
        let history = History::read(&path).expect("readable");
        let lines = records.len() as u64 + 1;
        let end = Record::End { lines, lost: 0 };
        let wanted = History::of(head(), records.into_iter().chain([end]));
        prop_assert_eq!(history, wanted);
    }
}

#[test]
fn damage_is_named_with_its_line_and_a_torn_end_is_left_out() {
    let (_folder, path) = written((0..3).map(|at| record(2, at, "phase".to_owned())));
    let text = std::fs::read_to_string(&path).expect("readable");
    let lines: Vec<&str> = text.lines().collect();
    let read = |text: String| {
        std::fs::write(&path, text).expect("writable");
        History::read(&path)
    };
    let torn = read(text[..text.len() - 3].to_owned()).expect("the rest is whole");
    assert_eq!(torn.lines.len(), 3, "without its end");
    let damaged = read(text.replacen("\"mark\"", "\"bark\"", 1)).expect_err("no record");
    assert!(damaged.to_string().contains(":2: unknown variant `bark`"), "{damaged}");
    let headless = read(format!("{}\n", lines[1..].join("\n"))).expect_err("no head");
    assert!(headless.to_string().contains("the first line must be one"), "{headless}");
    let newer = read(text.replacen("\"format\":1", "\"format\":2", 1)).expect_err("newer");
    assert!(newer.to_string().contains("format 2 instead of 1"), "{newer}");
    let long = format!("{}\n{}\n", lines[0], "x".repeat(LINE_BYTES_MAX + 1));
    assert!(read(long).expect_err("too long").to_string().contains("more than 4194304 bytes"));
    assert!(read(String::new()).expect_err("empty").to_string().contains("there is no head"));
}

#[test]
fn a_history_is_not_written_over_and_says_what_it_lost() {
    let (_folder, path) = written([]);
    assert!(Recorder::create(&path, head()).is_err());
    let other = path.with_extension("two");
    let recorder = Recorder::create(&other, head()).expect("a new file");
    recorder.mark("calm");
    let written = recorder.finish().expect("written");
    assert_eq!(written, Written { lines: 2, lost: 0 });
    assert!(!recorder.record(record(2, 1, "late".to_owned())), "nothing is taken after the end");
    assert!(recorder.finish().is_err());
}

#[test]
fn exports_have_both_halves_in_order() {
    let conversation = ConversationId::new(SITE, 5);
    let operation = |process, agent, invoked_ms, end| {
        Record::Operation(Operation {
            process,
            site: SITE,
            actor: Actor::Agent(AgentId(agent)),
            origin: Origin::Once,
            command: Box::new(Command::Accept { conversation, offer: OfferId(2) }),
            invoked_ms,
            returned_ms: invoked_ms + 5,
            end,
        })
    };
    let ok = End::Ok { position: None, repeated: false, reply: Reply::Accepted { leg: 1 } };
    let unknown = End::Unknown { detail: String::new() };
    let items = vec![(1, ItemId(9), Author::Customer)];
    let (at_ms, gateway, closed) = (30, "g".to_owned(), Some(true));
    let history = History::of(
        head(),
        [
            operation(1, 4, 10, ok),
            operation(2, 5, 12, unknown),
            Record::Transcript { at_ms, gateway, conversation, closed, items },
        ],
    );
    let mut text = Vec::new();
    assert_eq!(export(&history, Form::Knossos, &mut text).expect("memory"), 2);
    let text = String::from_utf8(text).expect("text");
    let wanted = [
        "{:index 0, :time 10000000, :type :invoke, :process 1, :f :cas, :value [1 [0 4]]}",
        "{:index 1, :time 12000000, :type :invoke, :process 2, :f :cas, :value [1 [0 5]]}",
        "{:index 2, :time 15000000, :type :ok, :process 1, :f :cas, :value [1 [0 4]]}",
        "{:index 3, :time 17000000, :type :info, :process 2, :f :cas, :value [1 [0 5]]}",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), wanted);
    let mut text = Vec::new();
    assert_eq!(export(&history, Form::Elle, &mut text).expect("memory"), 1);
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains(":type :ok, :process 9223372036854775807, :f :txn"), "{text}");
    assert!(text.contains(":value [[:r 1 nil]]") && text.contains(":value [[:r 1 [1]]]"), "{text}");
}
