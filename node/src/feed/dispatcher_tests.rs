//! Whom an event goes to, and that a hand-over that was full leaves no hole.

use rotary_proto::codec::{self, Limit};
use rotary_proto::{
    AgentId, Audience, CustomerId, Event, GatewayId, Name, SessionId, SkillId, Stamp, Wall,
};
use rotary_storage::{Fatal, FileDisk, Journal, JournalOptions, JournalRecord, Lookup};

use super::*;
use crate::actor::link::{Delivery, Inbox, Standing};

const SITE: SiteId = SiteId::new(1, 1);

fn record(sequence: u64, audience: Audience, event: Event) -> EventRecord {
    let (index, stamp, wall) = (sequence, Stamp(sequence), Wall(1));
    EventRecord { site: SITE, sequence, index, stamp, wall, audience, event }
}

#[test]
fn an_event_goes_to_its_audience_and_to_whose_session_it_is_about_once_each() {
    let audience = Audience {
        agents: vec![AgentId(2), AgentId(1), AgentId(2)],
        customer: Some(CustomerId(9)),
        queue: None,
    };
    let (session, subject) = (SessionId(1), Subject::Agent(AgentId(1)));
    let event = Event::SessionAttached { session, subject, gateway: GatewayId::default() };
    let expected = [
        Viewer::Supervisor,
        Viewer::Agent(AgentId(1)),
        Viewer::Agent(AgentId(2)),
        Viewer::Customer(CustomerId(9)),
    ];
    assert_eq!(concerned(&record(1, audience, event)), expected);
}

#[tokio::test]
async fn what_was_not_handed_over_is_read_from_the_journal_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    // The journal's writer may outlive the directory.
    let options = JournalOptions { fatal: Fatal::with(|_, _| {}), ..JournalOptions::default() };
    let journal = Journal::open(Arc::new(FileDisk), dir.path(), options).expect("an empty one");
    let replica =
        Arc::new(Replica::new([rotary_proto::ShardId(1)], Arc::new(journal), Lookup::in_memory()));
    let registry = Registry::start(replica.clone()).await.expect("it starts");
    let shard = replica.shards().first().cloned().expect("one shard");
    let (entry, source) = entry();
    start(replica.clone(), shard, registry.clone(), source);

    let mut inbox = Inbox::new();
    let link = || inbox.link(SessionId(1), GatewayId::default(), Standing::unknown());
    registry.join(SITE, Viewer::Supervisor, link).await.expect("it starts");
    for sequence in 1..=20 {
        let event = Event::SkillSet { skill: SkillId(1), name: Name::new("x").expect("valid") };
        let record = record(sequence, Audience::default(), event);
        let bytes = codec::encode(&record, Limit::Entry).expect("small");
        let (stream, index) = (SITE.key(), sequence);
        let kept = JournalRecord { stream, sequence, index, ordinal: 0, bytes };
        replica.journal().append(1, vec![kept]).expect("in sequence");
        // Some are handed over in time; the last ones never are.
        if sequence % 3 == 0 && sequence < 16 {
            entry.hand_over(vec![record]);
        }
    }
    for expected in 1..=20 {
        match inbox.deliveries.recv().await {
            Some(Delivery::Event(record)) => assert_eq!(record.sequence, expected),
            other => panic!("{other:?}"),
        }
    }
}
