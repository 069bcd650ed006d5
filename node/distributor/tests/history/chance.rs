//! Random histories: bytes become commands that are likely to matter in the present state.

use std::collections::BTreeMap;

use rotary_proto::bot::{BotAnswer, BotPlan, BotThen};
use rotary_proto::command::Subject;
use rotary_proto::effect::{EffectOutcome, EffectStart, EffectTarget, PendingEffect};
use rotary_proto::event::Topic;
use rotary_proto::ids::*;
use rotary_proto::plan::{AgentProfile, Capacity, RequiredSkill, WebhookPlan};
use rotary_proto::query::{ConversationView, Link, Stage};
use rotary_proto::values::Item;
use rotary_proto::{
    Actor, Attributes, Body, Channel, Command, Declared, Envelope, MailAddress, MailParty, Name,
    Origin, Priority, QueuePlan, Sealed, Secret, ShardCommand, SiteSettings, Strategy, WebUrl,
    limits,
};

use crate::driver::Driver;

/// One step of a random history.
pub(crate) type Step = [u8; 6];

pub(crate) const SITES: [SiteId; 2] = [SiteId::new(1, 1), SiteId::new(2, 1)];
const SYSTEM: Actor = Actor::System;

/// The floor before a history begins: two sites, three queues, four agents, three skills.
pub(crate) fn set_up(driver: &mut Driver, seed: Step) {
    let stamp = driver.now().plus_ms(1);
    for site in SITES {
        let settings = SiteSettings {
            agent_grace_ms: 5_000,
            customer_grace_ms: 8_000,
            mail_from: MailAddress::new("help@site.example").ok(),
            ..SiteSettings::named(name("site"))
        };
        driver.calm(stamp, ShardCommand::CreateSite { site, settings });
        for number in 1..=3 {
            let (skill, reason) = (SkillId(number), ReasonId(number as u16));
            let disposition = DispositionId(number as u16);
            inside(driver, site, Command::PutSkill { skill, name: name("skill") });
            inside(driver, site, Command::PutReason { reason, name: name("reason") });
            inside(driver, site, Command::PutDisposition { disposition, name: name("end") });
        }
        for number in 1..=3u8 {
            let shape = [seed[0].wrapping_add(number * 37), seed[1] / number, 0, 0, 0, number];
            let queue = QueueId(number.into());
            inside(driver, site, Command::PutQueue { queue, plan: plan(shape) });
            if seed[4] >> number & 1 == 1 {
                let bot = put_bot([0, 99, (number - 1) << 2, 0, 0, 0]);
                inside(driver, site, bot);
            }
        }
        for number in 1..=4u8 {
            let shape = [seed[2].wrapping_mul(number), seed[3] ^ number, seed[4], 0, 0, number];
            let agent = AgentId(number.into());
            inside(driver, site, Command::PutAgent { agent, profile: profile(shape) });
            let (subject, gateway) = (Subject::Agent(agent), gateway(1));
            let session = session_of(subject, false);
            inside(driver, site, Command::Attach { session, subject, gateway });
            if seed[5] >> number & 1 == 1 {
                inside(driver, site, Command::Declare { agent, declared: Declared::Ready });
            }
        }
    }
}

fn inside(driver: &mut Driver, site: SiteId, command: Command) {
    let envelope = Envelope { site, origin: Origin::Internal, actor: SYSTEM, command };
    driver.calm(driver.now(), ShardCommand::Site(envelope));
}

fn name(text: &str) -> Name {
    Name::new(text).expect("short")
}

fn skills(bits: u8, level: u8) -> Vec<RequiredSkill> {
    let wanted = (1..=3u32).filter(|skill| bits >> skill & 1 == 1);
    wanted.map(|skill| RequiredSkill { skill: SkillId(skill), level: level % 4 + 1 }).collect()
}

fn plan(shape: Step) -> QueuePlan {
    let strategies =
        [Strategy::LongestIdle, Strategy::MostSkilled, Strategy::LeastLoaded, Strategy::RoundRobin];
    let bits = if shape[1] & 1 == 0 { 0 } else { shape[1] };
    QueuePlan {
        strategy: strategies[usize::from(shape[0] % 4)],
        skills: skills(bits & 0b100, shape[2]),
        offer_ms: 2_000,
        decline_delay_ms: 3_000,
        wait_max_ms: 20_000,
        idle_max_ms: 9_000,
        talk_max_ms: 25_000,
        hold_max_ms: 4_000,
        wrap_up_ms: if shape[5] == 1 { 0 } else { 3_000 },
        disposition_required: shape[5] == 2,
        ..QueuePlan::named(name("queue"))
    }
}

fn profile(shape: Step) -> AgentProfile {
    let known = (1..=3u8).filter(|skill| (shape[0] | 4) >> skill & 1 == 1);
    let skills: BTreeMap<_, _> =
        known.map(|skill| (SkillId(skill.into()), (shape[1] >> skill) % 9 + 1)).collect();
    let most = shape[2] % 4 + 1;
    let capacity =
        Capacity { voice: shape[2] & 64 == 0, chat: most, total: most + 1, ..Capacity::default() };
    AgentProfile { name: Sealed::plain("agent").expect("short"), skills, capacity }
}

/// The numbers of a history's sessions so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers {
    sequences: BTreeMap<(SiteId, SessionId), u64>,
    requests: u64,
    items: u128,
    conversations: u128,
    /// The last commands, for retries.
    recent: Vec<Envelope>,
}

/// What a step wants done.
pub(crate) enum Wish {
    /// Let that many milliseconds pass.
    Wait(u64),
    /// Apply a command when that many microseconds have passed, deadlines met or not.
    Late(u64, Box<ShardCommand>),
    /// Apply it when everything due is done.
    Calm(Box<ShardCommand>),
}

/// What a step means in the present state.
pub(crate) fn wish(driver: &Driver, numbers: &mut Numbers, step: Step) -> Wish {
    let site = SITES[usize::from(step[1] & 128 == 128)];
    let command = match step[0] % 64 {
        0..=3 => return Wish::Wait(u64::from(step[2]) * 3),
        4..=6 => return Wish::Wait(u64::from(step[2]) * 25),
        7 => ShardCommand::RenewLease { gateway: gateway(step[2]) },
        8 if step[3] % 4 == 3 => {
            let replicas = (1..=4).filter(|node| step[2] >> node & 1 == 1).map(NodeId).collect();
            ShardCommand::SetView { replicas }
        }
        8 => ShardCommand::Tick,
        9 if step[3] & 1 == 0 => ShardCommand::RaiseVersion { version: u32::from(step[2]) },
        9 => {
            let index = driver.index().saturating_sub(u64::from(step[2] / 8));
            ShardCommand::JournalMark { node: NodeId(u64::from(step[3] / 2 % 4)), index }
        }
        10..=12 => match numbers.recent.get(usize::from(step[2]) % 8).cloned() {
            Some(envelope) => ShardCommand::Site(envelope),
            None => ShardCommand::Tick,
        },
        _ => {
            let (actor, command) = ask(driver, site, numbers, step);
            let actor = if step[4] % 16 == 15 { anybody(step[5]) } else { actor };
            let origin = origin(driver, site, numbers, actor, step);
            let envelope = Envelope { site, origin, actor, command };
            numbers.recent.insert(0, envelope.clone());
            numbers.recent.truncate(8);
            ShardCommand::Site(envelope)
        }
    };
    match step[4] % 8 {
        0 if step[5] & 3 == 0 => Wish::Late(u64::from(step[5]) * 15_000, Box::new(command)),
        _ => Wish::Calm(Box::new(command)),
    }
}

fn gateway(byte: u8) -> GatewayId {
    let node = if byte.is_multiple_of(16) { 3 } else { u64::from(byte % 2) + 1 };
    GatewayId { node: NodeId(node), run: 1 }
}

fn anybody(byte: u8) -> Actor {
    match byte % 12 {
        0..=3 => Actor::Agent(AgentId(u32::from(byte % 4) + 1)),
        4..=6 => Actor::Customer(CustomerId(u128::from(byte % 3) + 1)),
        7 | 8 => Actor::Supervisor(PrincipalId(2)),
        9 => Actor::Administrator(PrincipalId(1)),
        _ => SYSTEM,
    }
}

/// A session of an agent or customer has the actor's number, or that plus 100.
fn session_of(subject: Subject, second: bool) -> SessionId {
    let base = match subject {
        Subject::Agent(agent) => u128::from(agent.0),
        Subject::Customer(customer) => 50 + customer.0,
        Subject::Principal(principal) => 90 + u128::from(principal.0),
    };
    SessionId(base + if second { 100 } else { 0 })
}

fn origin(
    driver: &Driver,
    site: SiteId,
    numbers: &mut Numbers,
    actor: Actor,
    step: Step,
) -> Origin {
    let subject = match actor {
        Actor::Agent(agent) => Subject::Agent(agent),
        Actor::Customer(customer) => Subject::Customer(customer),
        _ if step[5].is_multiple_of(2) => return Origin::Internal,
        _ => {
            numbers.requests += 1;
            let ms = driver.now().0 / 1_000 + u64::from(step[5]);
            let request = RequestId(u128::from(ms) << 80 | u128::from(numbers.requests));
            return Origin::Request { principal: PrincipalId(u32::from(step[5] % 3)), request };
        }
    };
    if step[5] % 16 == 9 {
        return Origin::Internal;
    }
    let mut sessions = driver.oracle.floors.get(&site).into_iter().flat_map(|b| &b.sessions);
    let attached = sessions.find(|(_, (of, ..))| *of == subject).map(|(id, _)| *id);
    let own = session_of(subject, step[5] % 5 == 4);
    let session = attached.filter(|_| step[5] % 16 != 7).unwrap_or(own);
    if driver.shard.session_view(site, session).is_none() && step[5] % 8 != 7 {
        return Origin::Internal;
    }
    let last = numbers.sequences.entry((site, session)).or_insert(0);
    *last += 1;
    let jump = if step[5] % 32 == 31 { u64::from(step[4]) } else { 0 };
    let acknowledged =
        if step[5] % 4 == 3 { last.saturating_sub(u64::from(step[4] % 8)) } else { 0 };
    Origin::Session { session, sequence: *last + jump, acknowledged: acknowledged.min(*last - 1) }
}

/// Some live conversation, or one that may not exist.
fn some(driver: &Driver, site: SiteId, byte: u8) -> (ConversationId, Option<ConversationView>) {
    let views = driver.shard.conversation_views(site, None, 64).unwrap_or_default();
    if views.is_empty() || byte > 250 {
        let site = if byte == 255 { SITES[1] } else { site };
        return (ConversationId::new(site, u128::from(byte)), None);
    }
    let busy = views.iter().filter(|view| view.stage != Stage::Waiting).collect::<Vec<_>>();
    let view = match usize::from(byte >> 1) {
        place if byte & 1 == 1 && !busy.is_empty() => busy[place % busy.len()].clone(),
        place => views[place % views.len()].clone(),
    };
    (view.conversation, Some(view))
}

fn ask(driver: &Driver, site: SiteId, numbers: &mut Numbers, step: Step) -> (Actor, Command) {
    let agent = AgentId(u32::from(step[2] % 4) + 1);
    let customer = CustomerId(u128::from(step[2] % 3) + 1);
    match step[0] % 64 {
        13..=25 => open(site, numbers, step),
        26..=29 => attach(step, agent, customer),
        30..=31 => {
            let subject = subject(step, agent, customer);
            let session = session_of(subject, step[3] % 4 == 3);
            let gateway = gateway(step[3] >> 4);
            let ended = step[3] & 8 == 8;
            (SYSTEM, Command::Detach { session, gateway, ended })
        }
        32..=35 => {
            let view = driver.shard.agent_view(site, agent);
            if !step[3].is_multiple_of(16) && view.is_some_and(|view| view.link != Link::Up) {
                let subject = Subject::Agent(agent);
                let session = SessionId(1_000 + u128::from(step[3]));
                let gateway = gateway(step[3]);
                return (Actor::Agent(agent), Command::Attach { session, subject, gateway });
            }
            (Actor::Agent(agent), Command::Declare { agent, declared: Declared::Ready })
        }
        36 => {
            let declared = Declared::NotReady { reason: ReasonId(u16::from(step[3] % 5)) };
            (Actor::Agent(agent), Command::Declare { agent, declared })
        }
        37 => (Actor::Agent(agent), Command::Declare { agent, declared: Declared::SignedOut }),
        38 => {
            let queue = QueueId(u32::from(step[2] % 3) + 1);
            let skill = SkillId(9);
            let mut plan = plan(step);
            if step[3] == 200 {
                plan.skills.push(RequiredSkill { skill, level: 1 });
            }
            (Actor::Administrator(PrincipalId(1)), Command::PutQueue { queue, plan })
        }
        39 if step[3].is_multiple_of(3) => outside(driver, site, numbers, step),
        39 => {
            let shape = [step[3], step[1], step[5], 0, 0, 0];
            let profile = profile(shape);
            (Actor::Administrator(PrincipalId(1)), Command::PutAgent { agent, profile })
        }
        _ => about(driver, site, numbers, step),
    }
}

/// A webhook is set up, or something ends that waits for one.
fn outside(driver: &Driver, site: SiteId, numbers: &mut Numbers, step: Step) -> (Actor, Command) {
    let pending = driver.shard.effects(site, None, 64).unwrap_or_default();
    let picked = pending.get(usize::from(step[5]) % pending.len().max(1));
    if let Some(effect) = picked.filter(|_| step[2] & 1 == 0) {
        return (SYSTEM, perform(driver, effect, numbers, step));
    }
    if step[2] & 3 == 1 {
        return (Actor::Administrator(PrincipalId(1)), put_bot(step));
    }
    let all = [Topic::Opened, Topic::Queued, Topic::Offered, Topic::Assigned, Topic::Closed];
    let topics = (0..5).filter(|bit| step[5] >> bit & 1 == 1).map(|bit: usize| all[bit]);
    let plan = WebhookPlan {
        name: name("hook"),
        url: WebUrl::new("https://example.com").expect("valid"),
        topics: topics.collect(),
        give_up_ms: 1_000 + u64::from(step[1]) * 100,
        enabled: step[5] & 64 == 0,
    };
    let secret = Secret::new(vec![step[1]; limits::SECRET_BYTES_MIN]).expect("long enough");
    let secret = (step[5] & 32 == 0).then_some(secret);
    let webhook = WebhookId(u16::from(step[2] % 3) + 1);
    (Actor::Administrator(PrincipalId(1)), Command::PutWebhook { webhook, plan, secret })
}

/// An effect begins or ends, mostly as its owner would have it.
fn perform(driver: &Driver, found: &PendingEffect, numbers: &mut Numbers, step: Step) -> Command {
    if matches!(found.target, EffectTarget::Turn(_)) && step[2] & 2 == 2 {
        return answer(found.id, numbers, step);
    }
    let view = driver.shard.view();
    let owner = view.owner(found.conversation).unwrap_or(NodeId(1));
    let owner = if step[3] & 32 == 32 { NodeId(u64::from(step[3] >> 6)) } else { owner };
    let epoch = view.epoch - u64::from(step[3] & 16 == 16).min(view.epoch);
    let start = EffectStart { owner, run: u64::from(step[3] & 3), epoch };
    let effect = found.id;
    if found.started.is_none() && step[2] & 2 == 2 {
        return Command::StartEffect { effect, start };
    }
    let outcomes = [EffectOutcome::Sent, EffectOutcome::NotSent, EffectOutcome::Unknown];
    let outcome = outcomes[usize::from(step[2] >> 2) % 3];
    let start = found.started.filter(|_| step[3] & 8 == 0);
    Command::EndEffect { effect, outcome, attempts: 1, status: Some(200), start }
}

/// A queue's bot comes, changes or goes.
fn put_bot(step: Step) -> Command {
    let url = WebUrl::new("https://example.com/bot").expect("valid");
    let plan = BotPlan { url, turn_ms: 1_000 + u64::from(step[1]) * 20 };
    let plan = (step[5] & 3 != 3).then_some(plan);
    let secret = Secret::new(vec![step[1]; limits::SECRET_BYTES_MIN]).expect("long enough");
    let secret = (step[5] & 32 == 0).then_some(secret);
    Command::PutBot { queue: QueueId(u32::from(step[2] >> 2) % 4 + 1), plan, secret }
}

/// A bot answers, mostly the turn that is next.
fn answer(effect: EffectId, numbers: &mut Numbers, step: Step) -> Command {
    let count = usize::from(step[3] >> 4) % 10;
    let messages = (0..count).map(|_| item(numbers)).collect();
    let queue = (step[3] & 8 == 8).then(|| QueueId(u32::from(step[2] >> 4) % 4 + 1));
    let then = match step[3] % 4 {
        0 | 1 => BotThen::Wait,
        2 => BotThen::HandOver { queue },
        _ => BotThen::Close,
    };
    let answer = Box::new(BotAnswer { messages, then });
    Command::EndTurn { effect, attempts: 1, status: 200, answer }
}

fn subject(step: Step, agent: AgentId, customer: CustomerId) -> Subject {
    if step[3] & 2 == 0 { Subject::Agent(agent) } else { Subject::Customer(customer) }
}

fn attach(step: Step, agent: AgentId, customer: CustomerId) -> (Actor, Command) {
    let subject = subject(step, agent, customer);
    let actor = match subject {
        Subject::Agent(agent) => Actor::Agent(agent),
        _ => Actor::Customer(customer),
    };
    let whose = if step[5] == 7 { Subject::Agent(AgentId(1)) } else { subject };
    let session = session_of(whose, step[3] % 4 == 3);
    (actor, Command::Attach { session, subject, gateway: gateway(step[3] >> 4) })
}

fn open(site: SiteId, numbers: &mut Numbers, step: Step) -> (Actor, Command) {
    numbers.conversations += 1;
    // Some ids come again, and they do not come in order.
    let unique = (numbers.conversations * 7) % 61;
    let site = if step[5] == 255 { SITES[0] } else { site };
    let mailed = step[2] >> 4 & 3 == 3 && step[1] & 16 == 16;
    let channels = [Channel::Chat, Channel::Chat, Channel::Voice, Channel::Email, Channel::Message];
    let customer = CustomerId(u128::from(step[2] % 3) + 1);
    let customer = (step[2] & 8 == 0).then_some(customer);
    let command = Command::Open {
        conversation: ConversationId::new(site, unique),
        queue: QueueId(u32::from(step[3] % 3) + 1 + u32::from(step[3] == 255)),
        channel: channels[usize::from(step[2] >> 4) % 5],
        priority: (step[3] & 64 == 64).then(|| Priority::new(step[3] >> 4 & 7).expect("0 to 7")),
        skills: skills(if step[5].is_multiple_of(8) { step[5] >> 2 } else { 0 }, step[1] & 1),
        customer,
        attributes: Attributes::default(),
        item: (step[1] & 4 == 4).then(|| item(numbers)),
        mail: mailed.then(|| Box::new(party(step[5]))),
    };
    (customer.filter(|_| step[1] & 2 == 2).map_or(SYSTEM, Actor::Customer), command)
}

/// Whom mails go to; some address is none.
fn party(byte: u8) -> MailParty {
    let sealed = |text: &str| Sealed::plain(text).expect("short");
    let address = if byte == 77 { "nobody" } else { "ana@example.com" };
    MailParty { address: sealed(address), subject: sealed("Hello"), message_id: None }
}

fn item(numbers: &mut Numbers) -> Item {
    numbers.items += 1;
    let body = Body::plain("words").expect("short");
    Item { id: ItemId(numbers.items), body }
}

/// What suits a conversation in its stage, mostly.
fn about(driver: &Driver, site: SiteId, numbers: &mut Numbers, step: Step) -> (Actor, Command) {
    let (conversation, view) = some(driver, site, step[2]);
    let odd = AgentId(u32::from(step[3] % 4) + 1);
    let (agent, offer, stage) = match view.as_ref().map(|view| view.stage) {
        Some(Stage::Offered { offer, agent, .. }) => (agent, offer, 1),
        Some(Stage::Assigned { agent, .. }) => (agent, OfferId(1), 2),
        Some(Stage::WrapUp { agent, .. }) => (agent, OfferId(2), 3),
        _ => (odd, OfferId(u64::from(step[3] % 8)), 0),
    };
    let me = Actor::Agent(agent);
    let customer = view.and_then(|view| view.customer);
    let customer = Actor::Customer(customer.unwrap_or(CustomerId(u128::from(step[3] % 3) + 1)));
    let disposition = (step[3] & 4 == 4).then(|| DispositionId(u16::from(step[3] >> 6) + 1));
    let reason = (step[3] & 4 == 4).then(|| ReasonId(u16::from(step[3] >> 5)));
    let queue = (step[3] & 4 == 4).then(|| QueueId(u32::from(step[3] >> 6) + 1));
    let likely = if step[3].is_multiple_of(16) { 4 } else { stage };
    match (likely, step[0] % 64) {
        (1, 40..=52) => (me, Command::Accept { conversation, offer }),
        (1, 53..=58) => (me, Command::Decline { conversation, offer, reason }),
        (2, 40..=47) => (me, Command::Close { conversation }),
        (3, 40..=55) => (me, Command::WrapUp { conversation, disposition, note: None }),
        (_, 40) => (me, Command::Accept { conversation, offer }),
        (_, 41) => (me, Command::Decline { conversation, offer, reason }),
        (_, 42) => (me, Command::WrapUp { conversation, disposition, note: None }),
        (_, 43) => (Actor::Supervisor(PrincipalId(2)), Command::Close { conversation }),
        (_, 44..=46) => (customer, Command::Abandon { conversation }),
        (_, 48..=49) => {
            let supervisor = Actor::Supervisor(PrincipalId(2));
            let actor = if step[3] & 1 == 1 { supervisor } else { me };
            (actor, Command::Requeue { conversation, queue, priority: None })
        }
        (_, 50..=52) => (me, Command::Hold { conversation }),
        (_, 53) => (me, Command::Retrieve { conversation }),
        (_, 47) => {
            let queue = queue.filter(|_| step[3] & 8 == 8);
            let supervisor = Actor::Supervisor(PrincipalId(2));
            let actor = if step[3] & 1 == 1 { supervisor } else { customer };
            (actor, Command::HandOver { conversation, queue })
        }
        _ => {
            let item = item(numbers);
            let id = if step[3] % 8 == 7 { ItemId(item.id.0.saturating_sub(1)) } else { item.id };
            let item = Item { id, ..item };
            let seen_to = (step[3] & 32 == 32).then_some(u32::from(step[3] % 4));
            let note = step[3] & 16 == 16;
            let actor = if step[3] & 64 == 64 { customer } else { me };
            (actor, Command::Post { conversation, item, note, seen_to })
        }
    }
}
