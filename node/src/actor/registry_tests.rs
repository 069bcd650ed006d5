//! What a viewer's actor does for its sessions, and what its failure does to them.

use rotary_proto::limits::SESSION_BACKLOG_EVENTS_MAX;
use rotary_proto::{
    AgentId, Audience, Event, GatewayId, Name, NodeId, SessionId, SkillId, Stamp, Wall,
    command::Subject,
};
use rotary_storage::{Fatal, FileDisk, Journal, JournalOptions, Lookup};

use super::*;
use crate::actor::link::{Delivery, Inbox, Standing, Why};

const SITE: SiteId = SiteId::new(1, 1);
const AGENT: Viewer = Viewer::Agent(AgentId(1));
const HERE: GatewayId = GatewayId { node: NodeId(1), run: 1 };
const ELSEWHERE: GatewayId = GatewayId { node: NodeId(2), run: 1 };

async fn registry(dir: &tempfile::TempDir) -> Arc<Registry> {
    // The journal's writer may outlive the directory.
    let options = JournalOptions { fatal: Fatal::with(|_, _| {}), ..JournalOptions::default() };
    let journal = Journal::open(Arc::new(FileDisk), dir.path(), options).expect("an empty one");
    let replica =
        Arc::new(Replica::new([rotary_proto::ShardId(1)], Arc::new(journal), Lookup::in_memory()));
    Registry::start(replica).await.expect("it starts")
}

async fn join(registry: &Arc<Registry>, session: u128) -> Inbox {
    let inbox = Inbox::new();
    let standing = Standing::unknown();
    standing.attached_at(0);
    join_with(registry, session, &standing, &inbox).await;
    inbox
}

async fn join_with(registry: &Arc<Registry>, session: u128, standing: &Standing, inbox: &Inbox) {
    let link = || inbox.link(SessionId(session), HERE, standing.clone());
    registry.join(SITE, AGENT, link).await.expect("it starts");
}

fn record(sequence: u64, agent: u32, event: Event) -> Arc<EventRecord> {
    let audience = Audience { agents: vec![AgentId(agent)], ..Audience::default() };
    let (index, stamp, wall) = (10 + sequence, Stamp(sequence), Wall(0));
    Arc::new(EventRecord { site: SITE, sequence, index, stamp, wall, audience, event })
}

fn named() -> Event {
    Event::SkillSet { skill: SkillId(1), name: Name::new("french").expect("valid") }
}

fn attached(session: u128, gateway: GatewayId) -> Event {
    let subject = Subject::Agent(AgentId(1));
    Event::SessionAttached { session: SessionId(session), subject, gateway }
}

async fn why(inbox: &mut Inbox) -> Why {
    let why = inbox.end.wait_for(Option::is_some).await.expect("the inbox holds the fuse");
    why.expect("just seen")
}

async fn sequence(inbox: &mut Inbox) -> u64 {
    match inbox.deliveries.recv().await {
        Some(Delivery::Event(record)) => record.sequence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_session_is_handed_what_its_viewer_may_see() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = registry(&dir).await;
    assert!(!registry.serves(SITE));
    let (mut one, mut two) = (join(&registry, 1).await, join(&registry, 2).await);
    assert!(registry.serves(SITE) && !registry.serves(SiteId::new(1, 2)));
    for (sequence, agent) in [(1, 1), (2, 7), (3, 1)] {
        registry.deliver(SITE, AGENT, &record(sequence, agent, named()));
    }
    for inbox in [&mut one, &mut two] {
        assert_eq!((sequence(inbox).await, sequence(inbox).await), (1, 3));
    }
}

#[tokio::test]
async fn a_session_that_does_not_take_its_events_is_slow_and_the_others_go_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = registry(&dir).await;
    let (mut slow, mut quick) = (join(&registry, 1).await, join(&registry, 2).await);
    for n in 1..=SESSION_BACKLOG_EVENTS_MAX as u64 + 1 {
        registry.deliver(SITE, AGENT, &record(n, 1, named()));
        assert_eq!(sequence(&mut quick).await, n);
    }
    assert_eq!(why(&mut slow).await, Why::Slow);
    assert_eq!(*quick.end.borrow(), None);
}

#[tokio::test]
async fn what_the_log_says_of_a_session_ends_its_link() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = registry(&dir).await;
    let (mut one, mut two) = (join(&registry, 1).await, join(&registry, 2).await);
    registry.deliver(SITE, AGENT, &record(1, 1, attached(1, HERE)));
    assert_eq!((sequence(&mut one).await, sequence(&mut two).await), (1, 1));
    registry.deliver(SITE, AGENT, &record(2, 1, attached(1, ELSEWHERE)));
    assert_eq!(why(&mut one).await, Why::TakenOver);
    let (session, subject) = (SessionId(2), Subject::Agent(AgentId(1)));
    let ended = Event::SessionEnded { session, subject };
    registry.deliver(SITE, AGENT, &record(3, 1, ended));
    assert_eq!(why(&mut two).await, Why::Ended);
    let (mut three, standing) = (Inbox::new(), Standing::unknown());
    standing.attached_at(4);
    join_with(&registry, 3, &standing, &three).await;
    registry.deliver(SITE, AGENT, &record(4, 1, attached(3, ELSEWHERE)));
    assert_eq!(sequence(&mut three).await, 4);
}

#[tokio::test]
async fn nothing_ends_a_link_before_the_log_knows_of_its_socket() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = registry(&dir).await;
    let (mut inbox, standing) = (Inbox::new(), Standing::unknown());
    join_with(&registry, 1, &standing, &inbox).await;
    registry.deliver(SITE, AGENT, &record(1, 1, attached(1, ELSEWHERE)));
    assert_eq!(sequence(&mut inbox).await, 1);
    standing.attached_at(1);
    registry.deliver(SITE, AGENT, &record(2, 1, attached(1, ELSEWHERE)));
    assert_eq!(why(&mut inbox).await, Why::TakenOver);
}

#[tokio::test]
async fn a_second_socket_of_a_session_takes_it_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = registry(&dir).await;
    let mut first = join(&registry, 1).await;
    let second = join(&registry, 1).await;
    assert_eq!(why(&mut first).await, Why::TakenOver);
    assert_eq!(*second.end.borrow(), None);
}

#[tokio::test]
async fn a_panic_in_an_actor_ends_its_sessions_links_and_the_next_join_finds_a_new_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = registry(&dir).await;
    let mut before = join(&registry, 1).await;
    registry.break_viewer(SITE, AGENT);
    assert_eq!(why(&mut before).await, Why::Broken);
    let mut after = join(&registry, 1).await;
    registry.deliver(SITE, AGENT, &record(1, 1, named()));
    assert_eq!(sequence(&mut after).await, 1);
}

#[tokio::test]
async fn everybody_hears_that_a_site_has_moved() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = registry(&dir).await;
    let mut inbox = join(&registry, 1).await;
    let (from, to) = (rotary_proto::ShardId(1), rotary_proto::ShardId(2));
    registry.deliver_to_all(SITE, &record(1, 9, Event::SiteMoved { from, to }));
    assert_eq!(why(&mut inbox).await, Why::Moved);
}
