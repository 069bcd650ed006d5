//! Samples of ids, values, plans, views of a site and pending effects, which the others build on.

use std::collections::{BTreeMap, BTreeSet};

use rotary_proto::bot::{BotPlan, BotThen};
use rotary_proto::effect::{
    EffectOutcome, EffectStart, EffectTarget, PendingEffect, Repetition, View,
};
use rotary_proto::event::Topic;
use rotary_proto::plan::{RequiredSkill, WebhookPlan};
use rotary_proto::query::{
    AgentView, ConversationView, Link, Named, QueueView, Reasons, SessionView, SiteView, Stage,
    WebhookView,
};
use rotary_proto::values::Item;
use rotary_proto::*;

use crate::page::{Page, samples};

/// A UUIDv7 of no meaning.
pub(crate) const UNIQUE: u128 = 0x0190_163d_8694_739b_af5a_1e1b_57f0_2a01;

pub(crate) fn site() -> SiteId {
    SiteId::new(1, 2)
}

pub(crate) fn conversation() -> ConversationId {
    ConversationId::new(site(), UNIQUE)
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a sample's name is valid")
}

pub(crate) fn sealed(text: &str) -> Sealed {
    Sealed::plain(text).expect("a sample's text is short")
}

pub(crate) fn gateway() -> GatewayId {
    GatewayId { node: NodeId(3), run: 1_000_000_007 }
}

pub(crate) fn settings() -> SiteSettings {
    SiteSettings {
        name: name("North"),
        agent_grace_ms: 20_001,
        customer_grace_ms: 300_002,
        mail_from: Some(MailAddress::new("help@north.example").expect("valid")),
    }
}

pub(crate) fn required() -> RequiredSkill {
    RequiredSkill { skill: SkillId(4), level: 7 }
}

pub(crate) fn plan() -> QueuePlan {
    QueuePlan {
        name: name("Sales, north"),
        strategy: Strategy::MostSkilled,
        skills: vec![required()],
        priority: Priority::new(6).expect("valid"),
        offer_ms: 20_001,
        decline_delay_ms: 30_002,
        wait_max_ms: 3_600_003,
        idle_max_ms: 1_800_004,
        talk_max_ms: 14_400_005,
        hold_max_ms: 600_006,
        wrap_up_ms: 30_007,
        disposition_required: true,
        service_level_ms: 20_008,
    }
}

pub(crate) fn capacity() -> Capacity {
    Capacity { voice: true, chat: 2, email: 3, message: 4, task: 5, total: 6 }
}

pub(crate) fn profile() -> AgentProfile {
    AgentProfile {
        name: sealed("Ana 安娜"),
        skills: BTreeMap::from([(SkillId(4), 7), (SkillId(5), 10)]),
        capacity: capacity(),
    }
}

pub(crate) fn attachment() -> Attachment {
    Attachment {
        blob: BlobId(std::array::from_fn(|at| at as u8)),
        name: Some(sealed("receipt.png")),
        media_type: MediaType::new("image/png").expect("valid"),
        bytes: 123_456,
    }
}

pub(crate) fn body() -> Body {
    Body { text: sealed("Hello, 你好"), attachments: vec![attachment()] }
}

pub(crate) fn item() -> Item {
    Item { id: ItemId(UNIQUE + 1), body: body() }
}

pub(crate) fn attributes() -> Attributes {
    Attributes(BTreeMap::from([("tier".to_owned(), "gold".to_owned())]))
}

pub(crate) fn agent_view() -> AgentView {
    AgentView {
        agent: AgentId(9),
        version: 3,
        declared: Declared::Ready,
        link: Link::Up,
        routable: true,
        capacity: capacity(),
        load: [0, 1, 2, 3, 4],
        conversations: vec![conversation()],
    }
}

pub(crate) fn queue_view() -> QueueView {
    QueueView {
        queue: QueueId(8),
        version: 2,
        plan: plan(),
        bot: Some(bot_plan()),
        self_service: 3,
        waiting: 11,
        offered: 12,
        assigned: 13,
        wrap_up: 14,
        oldest_wait_ms: 15_000,
    }
}

fn webhook_view() -> WebhookView {
    WebhookView { webhook: WebhookId(11), version: 4, plan: webhook_plan(), pending: 17 }
}

pub(crate) fn conversation_view() -> ConversationView {
    ConversationView {
        conversation: conversation(),
        stage: Stage::Assigned { agent: AgentId(9), held: true },
        queue: Some(QueueId(8)),
        channel: Some(Channel::Email),
        priority: Some(Priority::default()),
        customer: Some(CustomerId(UNIQUE + 3)),
        items: 21,
        legs: 2,
        waited_ms: 23_000,
    }
}

pub(crate) fn webhook_plan() -> WebhookPlan {
    WebhookPlan {
        name: name("CRM"),
        url: WebUrl::new("https://crm.example.com/hook?from=rotary").expect("valid"),
        topics: BTreeSet::from([Topic::Opened, Topic::Closed]),
        give_up_ms: 3_600_009,
        enabled: true,
    }
}

pub(crate) fn secret() -> Secret {
    Secret::new((0..32).collect()).expect("32 bytes")
}

pub(crate) fn effect_id() -> EffectId {
    EffectId { shard: ShardId(5), index: 600, ordinal: 1 }
}

pub(crate) fn bot_plan() -> BotPlan {
    BotPlan { url: WebUrl::new("https://bot.example.com/turn").expect("valid"), turn_ms: 20_001 }
}

pub(crate) fn effect_start() -> EffectStart {
    EffectStart { owner: NodeId(3), run: 1_700_000_000_000, epoch: 4 }
}

pub(crate) fn mail_party() -> MailParty {
    MailParty {
        address: sealed("ana@example.com"),
        subject: sealed("Where is it? 你好"),
        message_id: Some(sealed("<1@example.com>")),
    }
}

fn effect() -> PendingEffect {
    PendingEffect {
        id: effect_id(),
        conversation: conversation(),
        target: EffectTarget::Webhook(WebhookId(11)),
        sequence: 77,
        until: Stamp(88_000_000),
        started: Some(effect_start()),
    }
}

#[test]
fn ids() {
    let mut page = Page::new("ids");
    page.add("NodeId", &NodeId(1));
    page.add("ShardId", &ShardId(2));
    page.add("TenantId", &TenantId(3));
    page.add("QueueId", &QueueId(4));
    page.add("AgentId", &AgentId(5));
    page.add("SkillId", &SkillId(6));
    page.add("ReasonId", &ReasonId(7));
    page.add("DispositionId", &DispositionId(8));
    page.add("OfferId", &OfferId(9));
    page.add("PrincipalId", &PrincipalId(10));
    page.add("ItemId", &ItemId(UNIQUE));
    page.add("SessionId", &SessionId(UNIQUE));
    page.add("RequestId", &RequestId(UNIQUE));
    page.add("CustomerId", &CustomerId(UNIQUE));
    page.add("SiteId", &site());
    page.add("ConversationId", &conversation());
    page.add("GatewayId", &gateway());
    page.add("ApiKeyId", &ApiKeyId(11));
    page.add("UserId", &UserId(12));
    page.add("JoinTokenId", &JoinTokenId(12));
    page.add("largest NodeId", &NodeId(u64::MAX));
    page.add("largest ItemId", &ItemId(u128::MAX));
    page.settle();
}

#[test]
fn values() {
    let mut page = Page::new("values");
    page.add_all(
        "Channel",
        samples!(Channel {
            Voice => Channel::Voice,
            Chat => Channel::Chat,
            Email => Channel::Email,
            Message => Channel::Message,
            Task => Channel::Task,
        }),
    );
    page.add("Priority", &Priority::default());
    page.add("Name", &name("Sales, north"));
    page.add("Sealed plain", &sealed("Hello, 你好"));
    page.add("Sealed under a key", &Sealed { format: 0, key: 7, bytes: vec![0xff, 1] });
    page.add("Attachment", &attachment());
    page.add("Body", &body());
    page.add("Item", &item());
    page.add("Attributes", &attributes());
    page.add("Stamp", &Stamp(1_234_567));
    page.add("LogicVersions", &LogicVersions { oldest: 1, newest: 2 });
    page.add("Wall", &Wall(1_700_000_000_000));
    page.settle();
}

#[test]
fn plans() {
    let mut page = Page::new("plans");
    page.add("SiteSettings", &settings());
    page.add_all(
        "Strategy",
        samples!(Strategy {
            LongestIdle => Strategy::LongestIdle,
            MostSkilled => Strategy::MostSkilled,
            LeastLoaded => Strategy::LeastLoaded,
            RoundRobin => Strategy::RoundRobin,
        }),
    );
    page.add("RequiredSkill", &required());
    let (queue, channel) = (QueueId(8), Channel::Voice);
    page.add("Requirement", &Requirement { queue, channel, skills: vec![required()] });
    page.add("QueuePlan", &plan());
    page.add("WebhookPlan", &webhook_plan());
    page.add("BotPlan", &bot_plan());
    page.add_all(
        "BotThen",
        samples!(BotThen {
            Wait => BotThen::Wait,
            HandOver => BotThen::HandOver { queue: Some(QueueId(4)) },
            Close => BotThen::Close,
        }),
    );
    page.add("Secret", &secret());
    page.add("MailParty", &mail_party());
    page.add("Capacity", &capacity());
    page.add("AgentProfile", &profile());
    page.add_all(
        "Declared",
        samples!(Declared {
            SignedOut => Declared::SignedOut,
            NotReady => Declared::NotReady { reason: ReasonId(7) },
            Ready => Declared::Ready,
        }),
    );
    page.settle();
}

#[test]
fn effects() {
    let mut page = Page::new("effects");
    page.add("EffectId", &effect().id);
    page.add_all(
        "Repetition",
        samples!(Repetition {
            Repeatable => Repetition::Repeatable,
            Once => Repetition::Once,
        }),
    );
    page.add_all(
        "EffectTarget",
        samples!(EffectTarget {
            Webhook => EffectTarget::Webhook(WebhookId(11)),
            Turn => EffectTarget::Turn(QueueId(8)),
            Mail => EffectTarget::Mail {
                opened: 70,
                after: Some(effect_id()),
                author: AgentId(9),
            },
        }),
    );
    page.add("PendingEffect", &effect());
    page.add("EffectStart", &effect_start());
    page.add_all(
        "EffectOutcome",
        samples!(EffectOutcome {
            Sent => EffectOutcome::Sent,
            NotSent => EffectOutcome::NotSent,
            Unknown => EffectOutcome::Unknown,
        }),
    );
    page.add("View", &View { epoch: 4, replicas: vec![NodeId(1), NodeId(3)] });
    page.settle();
}

fn stages() -> Vec<(&'static str, Stage)> {
    let agent = AgentId(9);
    samples!(Stage {
        SelfService => Stage::SelfService,
        Waiting => Stage::Waiting,
        Offered => Stage::Offered { offer: OfferId(31), agent, remaining_ms: 5_000 },
        Assigned => Stage::Assigned { agent, held: false },
        WrapUp => Stage::WrapUp { agent, remaining_ms: 6_000 },
        Closed => Stage::Closed,
    })
}

#[test]
fn queries() {
    let mut page = Page::new("queries");
    page.add("QueueView", &queue_view());
    page.add("WebhookView", &webhook_view());
    page.add("AgentView", &agent_view());
    page.add_all("Link", samples!(Link { None => Link::None, Up => Link::Up, Lost => Link::Lost }));
    page.add_all("Stage", stages());
    page.add("ConversationView", &conversation_view());
    let site = SiteView {
        settings: settings(),
        sequence: 101,
        frozen: true,
        queues: 102,
        agents: 103,
        ready: 104,
        conversations: 105,
        sessions: 106,
    };
    page.add("SiteView", &site);
    let (session, subject) = (SessionId(UNIQUE), command::Subject::Agent(AgentId(9)));
    let (link, gateway) = (Link::Lost, gateway());
    page.add("SessionView", &SessionView { session, subject, link, gateway });
    let lunch: Reasons = vec![Named { id: ReasonId(7), name: "Lunch".to_owned() }];
    page.add("Named", &lunch);
    page.settle();
}
