//! The bytes of every kind of record, compared with a golden file, and a snapshot that has them.

use crate::bot::Bot;
use crate::conversation::MailThread;
use crate::moves::{Departure, Passed, Stay};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use rotary_proto::Outcome;
use rotary_proto::bot::BotPlan;
use rotary_proto::codec::{self, Limit};
use rotary_proto::command::Subject;
use rotary_proto::effect::{EffectStart, EffectTarget};
use rotary_proto::event::{OfferEnd, Topic};
use rotary_proto::ids::{CustomerId, EffectId, ItemId, NodeId, OfferId};
use rotary_proto::plan::{AgentProfile, Capacity, Declared, QueuePlan, RequiredSkill, WebhookPlan};
use rotary_proto::{
    Actor, Attributes, Channel, Command, ConversationId, Envelope, Origin, Priority, Sealed,
    Secret, ShardCommand, Wall, WebUrl,
};

use super::*;
use crate::Restore;
use crate::Shard;
use crate::agent::AgentLink;
use crate::queue::Counts as Stages;
use crate::session::SessionState;
use crate::window::SessionWindow;

const GATEWAY: GatewayId = GatewayId { node: NodeId(2), run: 5 };

fn name() -> Cow<'static, Name> {
    Cow::Owned(Name::new("name").expect("valid"))
}

fn answer() -> Answer {
    Answer { outcome: Outcome::OK, repeated: false, sequence: 9, index: 300 }
}

fn needs() -> Vec<RequiredSkill> {
    vec![RequiredSkill { skill: SkillId(3), level: 4 }]
}

fn head() -> Head {
    Head {
        id: SiteId::new(1, 2),
        settings: SiteSettings::named(name().into_owned()),
        frozen: true,
        sequence: 1_000,
        offers: 70,
        due: Some(Stamp(800)),
        shared_floor_ms: 5,
        digest: 1 << 100,
    }
}

fn class() -> Record<'static> {
    let requirement = Requirement { queue: QueueId(1), channel: Channel::Email, skills: needs() };
    Record::Class {
        slot: 6,
        requirement: Cow::Owned(requirement),
        strategy: Strategy::RoundRobin,
        stale: true,
        build: Some(Build { through: Some(SkillId(3)), after: Some(AgentId(4)) }),
    }
}

fn agent() -> Record<'static> {
    let mut agent = Agent::new(Capacity::default(), Stamp(40));
    agent.set_skills(&BTreeMap::from([(SkillId(3), 9)]));
    (agent.version, agent.declared) = (2, Declared::NotReady { reason: ReasonId(1) });
    agent.link = AgentLink::Lost { until: Stamp(90) };
    agent.sessions = vec![SessionId(11)];
    agent.debit(77, Channel::Chat);
    agent.idle_carried_us = 33;
    let skills = Cow::Owned(agent.skills.clone());
    Record::Agent {
        id: AgentId(4),
        agent: Cow::Owned(agent),
        skills,
        alarm: Some(Stamp(90)),
        free: true,
    }
}

fn session() -> Record<'static> {
    let mut window = SessionWindow::default();
    window.keep(1, answer());
    window.keep(2, answer());
    window.acknowledge(1);
    let state = SessionState::Ended { until: Stamp(500) };
    let subject = Subject::Customer(CustomerId(8));
    let session = Session { subject, gateway: GATEWAY, state, window, alarm: None };
    Record::Session { id: SessionId(11), session: Cow::Owned(session), alarm: Some(Stamp(500)) }
}

fn conversation() -> Record<'static> {
    let (agent, offer) = (AgentId(4), OfferId(70));
    let entity = Conversation {
        channel: Channel::Chat,
        customer: Some(CustomerId(8)),
        queue: QueueId(1),
        priority: Priority::new(7).expect("0 to 9"),
        skills: needs(),
        required: needs(),
        class: 6,
        opened: Stamp(10),
        since: Stamp(11),
        entered: Stamp(12),
        waited_us: 13,
        wait_until: Stamp(14),
        stage: Stage::Offered { offer, agent, until: Stamp(15), promised: Stamp(16) },
        legs: 1,
        items: 2,
        recent: vec![ItemId(17), ItemId(18)],
        answers: vec![(agent, 2)],
        declines: vec![(AgentId(5), Stamp(19))],
        last_offer: Some((OfferId(69), OfferEnd::Declined)),
        alarm: None,
        declines_alarm: None,
        mail: Some(MailThread { opened: 3, last: None }),
        turns: vec![effect().id],
    };
    Record::Conversation {
        unique: 77,
        conversation: Cow::Owned(entity),
        class: Some(6),
        alarm: Some(Stamp(14)),
        declines_alarm: Some(Stamp(19)),
    }
}

fn webhook() -> Webhook {
    let plan = WebhookPlan {
        name: name().into_owned(),
        url: WebUrl::new("https://example.com/hook").expect("valid"),
        topics: BTreeSet::from([Topic::Opened, Topic::Posted]),
        give_up_ms: 60_001,
        enabled: true,
    };
    let secret = Secret::new((0..32).collect()).expect("32 bytes");
    Webhook { version: 2, plan, secret }
}

fn expected() -> Expected {
    Expected { site: SiteId::new(1, 9), from: ShardId(2), departed: 5, attempt: 810, version: 2 }
}

fn bot() -> Bot {
    let url = WebUrl::new("https://example.com/bot").expect("valid");
    let secret = Secret::new((0..24).collect()).expect("24 bytes");
    Bot { version: 2, plan: Some(BotPlan { url, turn_ms: 20_001 }), secret }
}

fn effect() -> PendingEffect {
    PendingEffect {
        id: EffectId { shard: ShardId(1), index: 8, ordinal: 16 },
        conversation: ConversationId::new(SiteId::new(1, 2), 77),
        target: EffectTarget::Webhook(WebhookId(5)),
        sequence: 12,
        until: Stamp(600),
        started: Some(EffectStart { owner: NodeId(2), run: 9, epoch: 3 }),
    }
}

/// One of each kind, in order.
fn samples() -> Vec<Record<'static>> {
    let queue = Queue {
        version: 3,
        plan: QueuePlan::named(name().into_owned()),
        last_offered: Some(AgentId(4)),
        bot: Some(bot()),
        counts: Stages::default(),
    };
    let (principal, request) = (PrincipalId(6), RequestId(1 << 90));
    let mut counts = [0; Record::KINDS];
    (counts[6], counts[17]) = (1, 400);
    vec![
        Record::Shard {
            id: ShardId(1),
            last: Stamp(900),
            logic_version: 2,
            marks: Cow::Owned(BTreeMap::from([(NodeId(1), 299), (NodeId(2), 0)])),
            view: Cow::Owned(View { epoch: 3, replicas: vec![NodeId(1), NodeId(2)] }),
        },
        Record::Lease { gateway: GATEWAY, until: Stamp(950) },
        Record::Away(
            SiteId::new(1, 7),
            Away {
                to: ShardId(3),
                departed: Some(Departure { number: 2, index: 800, at: Stamp(880) }),
            },
        ),
        Record::Passed(SiteId::new(1, 8), Passed { departed: 4, taken: 3 }),
        Record::Arriving(expected()),
        Record::Part(Cow::Owned(SitePart {
            site: expected().site,
            attempt: 810,
            number: 1,
            ends_chunk: true,
            bytes: vec![1, 2, 250],
        })),
        Record::Site(Cow::Owned(head())),
        Record::Travel(Cow::Owned(Travel {
            stays: vec![
                Stay { shard: ShardId(2), first: 1 },
                Stay { shard: ShardId(1), first: 41 },
            ],
            clock_us: -700,
            arrived: Stamp(600),
            departures: 3,
            settled: true,
        })),
        Record::Skill(SkillId(3), name()),
        Record::Reason(ReasonId(1), name()),
        Record::Disposition(DispositionId(2), name()),
        Record::Webhook(WebhookId(5), Cow::Owned(webhook())),
        Record::Queue(QueueId(1), Cow::Owned(queue)),
        class(),
        agent(),
        Record::Admitted { agent: AgentId(4), slot: 6 },
        session(),
        conversation(),
        Record::Effect(Cow::Owned(effect())),
        Record::Tombstone(Tombstone { at: Stamp(700), index: 299, unique: 78 }),
        Record::Principal { principal, floor_ms: 44 },
        Record::Request { at: Stamp(701), principal, request, answer: Cow::Owned(answer()) },
        Record::Work(Work::MoveItems(6)),
        Record::LostGateway(GATEWAY),
        Record::LostSession { gateway: GATEWAY, session: SessionId(11) },
        Record::SiteEnd(counts),
        Record::End { sites: 1, digest: 1 << 101 },
    ]
}

fn hex(lines: &mut String, name: &str, bytes: &[u8]) {
    write!(lines, "{name}: ").expect("a string grows");
    bytes.iter().for_each(|byte| write!(lines, "{byte:02x}").expect("a string grows"));
    lines.push('\n');
}

#[test]
fn the_bytes_are_those_of_the_golden_file() {
    compare(&golden());
}

/// Every kind of record, and a snapshot.
fn golden() -> String {
    let mut lines = String::new();
    for (kind, record) in samples().iter().enumerate() {
        assert_eq!(record.kind(), kind, "there is a sample of each kind, in order");
        let bytes = codec::encode(record, Limit::Entry).expect("a sample fits an entry");
        let back: Record = codec::decode(&bytes, Limit::Entry).expect("it can be read");
        let again = codec::encode(&back, Limit::Entry).expect("a sample fits an entry");
        assert_eq!(again, bytes, "{record:?}");
        hex(&mut lines, &format!("Record {kind}"), &bytes);
    }
    for work in [
        Work::MatchAgent(AgentId(4)),
        Work::MatchItem(77),
        Work::BuildClass(6),
        Work::LoseGateway(GATEWAY),
    ] {
        let bytes = codec::encode(&Record::Work(work), Limit::Entry).expect("it fits an entry");
        hex(&mut lines, "Record::Work", &bytes);
    }
    assert_eq!(samples().len(), Record::KINDS);
    small().freeze().chunks().for_each(|chunk| hex(&mut lines, "chunk", &chunk));
    lines
}

/// Every record of every release is read as a record of today, and every snapshot is restored.
#[test]
fn released_snapshots_are_in_a_golden_form_that_is_read() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/golden/released");
    let versions = std::fs::read_dir(folder).into_iter().flatten();
    for path in versions.map(|version| version.expect("readable").path()) {
        let lines = std::fs::read_to_string(path.join("snapshot_distributor.txt"));
        reads(&lines.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    }
}

/// Makes sure that the lines of a golden file are read as what they are.
fn reads(lines: &str) {
    let mut restore = Restore::new(ShardId(1));
    for line in lines.lines() {
        let (name, text) = line.split_once(": ").expect("a name and bytes");
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
        let bytes: Vec<u8> = (0..text.len()).step_by(2).map(byte).collect();
        if name == "chunk" {
            restore = restore.chunk(&bytes).unwrap_or_else(|error| panic!("{line}: {error}"));
            continue;
        }
        let record: Record =
            codec::decode(&bytes, Limit::Entry).unwrap_or_else(|error| panic!("{line}: {error}"));
        if let Some(kind) = name.strip_prefix("Record ") {
            assert_eq!(record.kind().to_string(), kind, "{line}: read as {record:?}");
        }
        assert_eq!(codec::encode(&record, Limit::Entry).as_ref(), Ok(&bytes), "{line}");
    }
    restore.finish().expect("the snapshot is whole");
}

#[test]
fn a_golden_form_that_changed_is_not_read() {
    let lines = golden();
    reads(&lines);
    let of_kind = |kind: usize| lines.lines().nth(kind).expect("one of each kind").to_owned();
    let moved = of_kind(14).replace("Record 14", "Record 13");
    let changed = of_kind(8).replace("Record 8: 010803", "Record 8: 0108ff");
    for wrong in [moved, changed, "chunk: 01".into()] {
        let read = std::panic::catch_unwind(|| reads(&wrong));
        assert!(read.is_err(), "{wrong}");
    }
}

/// A shard with a queue, an agent with an offer, a conversation in line, and a webhook to be told.
pub(in crate::snapshot) fn small() -> Shard {
    let (mut shard, site) = (Shard::new(ShardId(1)), SiteId::new(1, 1));
    let settings = SiteSettings::named(name().into_owned());
    let (agent, session) = (AgentId(4), SessionId(11));
    let profile = AgentProfile {
        name: Sealed::plain("agent").expect("short"),
        skills: BTreeMap::new(),
        capacity: Capacity { chat: 1, total: 1, ..Capacity::default() },
    };
    let open = |unique| Command::Open {
        conversation: ConversationId::new(site, unique),
        queue: QueueId(1),
        channel: Channel::Chat,
        priority: None,
        skills: Vec::new(),
        customer: Some(CustomerId(unique)),
        attributes: Attributes::default(),
        item: None,
        mail: None,
    };
    let plan = QueuePlan::named(name().into_owned());
    let commands = [
        Command::PutQueue { queue: QueueId(1), plan },
        Command::PutAgent { agent, profile },
        Command::Attach { session, subject: Subject::Agent(agent), gateway: GATEWAY },
        Command::Declare { agent, declared: Declared::Ready },
        Command::PutWebhook {
            webhook: WebhookId(5),
            plan: webhook().plan,
            secret: Some(webhook().secret),
        },
        open(77),
        open(78),
    ];
    shard.apply(1, Stamp(1), Wall(0), ShardCommand::CreateSite { site, settings });
    for (index, command) in (2u64..).zip(commands) {
        let origin = Origin::Request {
            principal: PrincipalId(6),
            request: RequestId(u128::from(index) << 80),
        };
        let envelope = Envelope { site, origin, actor: Actor::System, command };
        let applied = shard.apply(index, Stamp(index), Wall(0), ShardCommand::Site(envelope));
        assert!(matches!(applied.answer.outcome, Outcome::Done(_)), "{applied:?}");
    }
    shard
}

fn compare(lines: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/snapshot.txt");
    if std::env::var_os("ROTARY_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, lines).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        lines,
        "{}: a format changed. Until the first tagged release: run with ROTARY_BLESS=1 and commit \
         the file with the change. From then on: append a variant.",
        path.display()
    );
}
