//! Outcomes, events and views as lines that a person reads.

use rotary_distributor::Applied;
use rotary_proto::command::Subject;
use rotary_proto::effect::EffectTarget;
use rotary_proto::event::Author;
use rotary_proto::ids::*;
use rotary_proto::query::{ConversationView, Stage};
use rotary_proto::{Audience, Declared, Done, Event, EventRecord, Outcome, Stamp, Strategy};

use crate::floor::Floor;

/// Every command, event, refusal and reason that some script must show.
pub(crate) const EVERYTHING: &[&str] = &[
    // Commands.
    "put_site",
    "put_skill",
    "put_reason",
    "put_disposition",
    "put_queue",
    "put_agent",
    "put_webhook",
    "put_bot",
    "end_turn",
    "hand_over",
    "start_effect",
    "end_effect",
    "attach",
    "detach",
    "declare",
    "open",
    "accept",
    "decline",
    "post",
    "hold",
    "retrieve",
    "requeue",
    "close",
    "abandon",
    "wrap_up",
    // Events.
    "SiteSet",
    "SkillSet",
    "ReasonSet",
    "DispositionSet",
    "QueueSet",
    "AgentSet",
    "WebhookSet",
    "BotSet",
    "EffectEnded",
    "SessionAttached",
    "SessionLost",
    "SessionEnded",
    "AgentDeclared",
    "Opened",
    "SelfServiceStarted",
    "Queued",
    "Offered",
    "OfferEnded",
    "Assigned",
    "Held",
    "Retrieved",
    "Posted",
    "Released",
    "Ended",
    "WrapUpStarted",
    "Closed",
    // Refusals. No command gives `agent-signed-out`; nothing freezes a site from outside.
    "malformed",
    "site-unknown",
    "outcome-forgotten",
    "window-full",
    "session-unknown",
    "not-allowed",
    "bad-value",
    "wrong-site",
    "queue-unknown",
    "agent-unknown",
    "skill-unknown",
    "reason-unknown",
    "disposition-unknown",
    "session-taken",
    "conversation-exists",
    "conversation-closed",
    "conversation-unknown",
    "offer-gone",
    "not-yours",
    "agent-away",
    "not-assigned",
    "already-held",
    "not-held",
    "not-in-wrap-up",
    "disposition-required",
    "item-exists",
    "answer-unseen",
    "seen-to-required",
    "not-in-self-service",
    "effect-fenced",
    "limit-reached",
    // Reasons inside events.
    "end Abandoned",
    "end Customer",
    "end Agent",
    "end Supervisor",
    "end Bot",
    "end WaitExpired",
    "end Idle",
    "end TooLong",
    "end CustomerLost",
    "offer Declined",
    "offer Expired",
    "offer AgentNotReady",
    "offer AgentLost",
    "offer CustomerLeft",
    "offer Withdrawn",
    "effect Performed",
    "effect Expired",
    "effect Overflow",
    "effect Withdrawn",
    "queued Opened",
    "queued Requeued",
    "queued HandedOver",
    "queued AgentLost",
    "queued AgentSignedOut",
];

/// Adds what an entry gave to the trace. A tick says nothing of itself, and when it happened.
pub(crate) fn tell(floor: &mut Floor, applied: &Applied, tick: bool) {
    let stamp = floor.shard.last_stamp();
    let prefix = if tick { format!("{}: ", time(stamp)) } else { String::new() };
    let repeated = if applied.answer.repeated { " (repeated)" } else { "" };
    match &applied.answer.outcome {
        Outcome::Refused(refusal) => {
            floor.said.insert(refusal.word().to_owned());
            floor.say(format!("refused {}: {refusal}{repeated}", refusal.word()));
        }
        Outcome::Done(Done::Ok) if applied.events.is_empty() && !tick => {
            floor.say(format!("ok{repeated}"));
        }
        Outcome::Done(Done::Ok) => {}
        Outcome::Done(Done::Posted { ordinal }) => floor.say(format!("posted {ordinal}{repeated}")),
        Outcome::Done(Done::Accepted { offer, leg }) => {
            floor.say(format!("accepted {offer}, leg {leg}{repeated}"));
        }
        Outcome::Done(Done::Stored { version }) => {
            floor.say(format!("stored version {version}{repeated}"));
        }
    }
    for record in &applied.events {
        note_words(floor, &record.event);
        let line = format!("{prefix}{}", event(floor, record));
        let seen = if floor.audiences { audience(floor, &record.audience) } else { String::new() };
        floor.say(line + &seen);
    }
}

fn note_words(floor: &mut Floor, event: &Event) {
    let debug = format!("{event:?}");
    let word = debug.split([' ', '{']).next().unwrap_or_default();
    floor.said.insert(word.to_owned());
    floor.said.extend(match event {
        Event::Ended { why, .. } => Some(format!("end {why:?}")),
        Event::OfferEnded { why, .. } => Some(format!("offer {why:?}")),
        Event::Queued { why, .. } => Some(format!("queued {why:?}")),
        Event::EffectEnded { why, .. } => Some(format!("effect {why:?}")),
        _ => None,
    });
}

/// A stamp in seconds, or in the largest unit that divides it.
pub(crate) fn time(stamp: Stamp) -> String {
    duration(stamp.0 / 1_000)
}

fn duration(ms: u64) -> String {
    let (seconds, rest) = (ms / 1_000, ms % 1_000);
    match rest {
        0 => format!("{seconds}s"),
        rest => format!("{seconds}.{}s", format!("{rest:03}").trim_end_matches('0')),
    }
}

fn event(floor: &Floor, record: &EventRecord) -> String {
    let of = |id: ConversationId| conversation_name(floor, id);
    let who = |id: AgentId| floor.names.agents.name(id.0.into(), "ag_");
    match &record.event {
        Event::Queued { conversation, queue, priority, since, until, why } => format!(
            "{} waiting in {}, priority {}, since {}, until {}, {why:?}",
            of(*conversation),
            queue_name(floor, *queue),
            priority.level(),
            time(*since),
            time(*until)
        ),
        Event::Offered { conversation, offer, agent, until, decision, .. } => {
            let idle = Stamp(decision.key[1].unsigned_abs());
            let key = match decision.strategy {
                Strategy::RoundRobin => format!("[{}, {}]", decision.key[0], decision.key[1]),
                _ => format!("[{}, {}]", decision.key[0], time(idle)),
            };
            format!(
                "{} -> {} offer {offer} until {}, {:?} {key}, {} candidate{}, {:?}, plan {}, \
                 waited {}",
                of(*conversation),
                who(*agent),
                time(*until),
                decision.strategy,
                decision.candidates,
                if decision.candidates == 1 { "" } else { "s" },
                decision.trigger,
                decision.plan_version,
                duration(decision.waited_ms)
            )
        }
        Event::OfferEnded { conversation, offer, agent, why } => {
            format!("{} offer {offer} to {} ended: {why:?}", of(*conversation), who(*agent))
        }
        Event::Assigned { conversation, offer, agent, leg } => {
            format!("{} assigned to {} by {offer}, leg {leg}", of(*conversation), who(*agent))
        }
        Event::Held { conversation, agent } => {
            format!("{} held by {}", of(*conversation), who(*agent))
        }
        other => event_of_service(floor, other),
    }
}

fn event_of_service(floor: &Floor, event: &Event) -> String {
    let of = |id: ConversationId| conversation_name(floor, id);
    let who = |id: AgentId| floor.names.agents.name(id.0.into(), "ag_");
    match event {
        Event::Retrieved { conversation, agent, expired } => {
            let how = if *expired { "hold ran out" } else { "retrieved" };
            format!("{} {how} with {}", of(*conversation), who(*agent))
        }
        Event::Released { conversation, agent, why } => {
            format!("{} released by {}: {why:?}", of(*conversation), who(*agent))
        }
        Event::WrapUpStarted { conversation, agent, until } => {
            format!("{} wrap-up of {} until {}", of(*conversation), who(*agent), time(*until))
        }
        Event::Ended { conversation, why } => format!("{} ended: {why:?}", of(*conversation)),
        other => event_of_words(floor, other),
    }
}

fn event_of_words(floor: &Floor, event: &Event) -> String {
    let who = |id: AgentId| floor.names.agents.name(id.0.into(), "ag_");
    match event {
        Event::Opened { conversation, channel, customer, attributes, mail } => {
            let name = |id: CustomerId| floor.names.customers.name(id.0 as u64, "cu_");
            let by = customer.map_or(String::new(), |id| format!(" by {}", name(id)));
            let facts: Vec<String> =
                attributes.0.iter().map(|(key, value)| format!(" {key}={value}")).collect();
            let of = conversation_name(floor, *conversation);
            let mails = if mail.is_some() { ", with mails" } else { "" };
            format!("{of} opened, {}{by}{}{mails}", channel.word(), facts.concat())
        }
        Event::Posted { conversation, ordinal, author, note, body, mail, .. } => {
            let of = conversation_name(floor, *conversation);
            let author = match author {
                Author::Agent(agent) => who(*agent),
                author => format!("{author:?}"),
            };
            let (kind, text) = (if *note { "note" } else { "item" }, body.text.text());
            let mail = mail.map_or(String::new(), |id| format!(", mailed as {id}"));
            format!("{of} {kind} {ordinal} by {author}: {:?}{mail}", text.unwrap_or_default())
        }
        Event::Closed { conversation, agent, disposition, note, expired } => {
            let of = conversation_name(floor, *conversation);
            let by = agent.map_or(String::new(), |agent| format!(" by {}", who(agent)));
            let as_what = disposition.map_or(String::new(), |id| {
                format!(" as {}", floor.names.dispositions.name(id.0.into(), "di_"))
            });
            let note = note.as_ref().and_then(|note| note.text());
            let note = note.map_or(String::new(), |text| format!(", noted {text:?}"));
            let late = if *expired { ", wrap-up ran out" } else { "" };
            format!("{of} closed{by}{as_what}{note}{late}")
        }
        other => event_of_setting(floor, other),
    }
}

fn event_of_setting(floor: &Floor, event: &Event) -> String {
    let who = |id: AgentId| floor.names.agents.name(id.0.into(), "ag_");
    match event {
        Event::AgentDeclared { agent, declared, why } => {
            format!("{} is {} ({why:?})", who(*agent), declared_word(floor, *declared))
        }
        Event::SessionAttached { session, subject, gateway } => {
            let of = session_name(floor, *session, *subject);
            format!("{of} attached at {gateway}")
        }
        Event::SessionLost { session, subject, why } => {
            format!("{} lost: {why:?}", session_name(floor, *session, *subject))
        }
        Event::SessionEnded { session, subject } => {
            format!("{} ended", session_name(floor, *session, *subject))
        }
        Event::SiteSet { settings } => format!(
            "site {}, agent grace {}, customer grace {}",
            settings.name,
            duration(settings.agent_grace_ms),
            duration(settings.customer_grace_ms)
        ),
        Event::SkillSet { skill, name } => format!("skill {skill} is {name}"),
        Event::ReasonSet { reason, name } => format!("reason {reason} is {name}"),
        Event::DispositionSet { disposition, name } => {
            format!("disposition {disposition} is {name}")
        }
        Event::QueueSet { queue, version, plan } => {
            let what = plan.strategy;
            format!("queue {} version {version}, {what:?}", queue_name(floor, *queue))
        }
        Event::WebhookSet { webhook, version, plan } => {
            let of: Vec<&str> = plan.topics.iter().map(|topic| topic.word()).collect();
            let silent = if plan.enabled { "" } else { ", silent" };
            format!("webhook {webhook} version {version} is told of {}{silent}", of.join(" "))
        }
        Event::EffectEnded { effect, target, outcome, why, attempts, status, .. } => {
            let said = status.map_or(String::new(), |status| format!(", status {status}"));
            let target = target_word(floor, *target);
            format!("{effect} for {target} is {outcome:?} ({why:?}), {attempts} attempts{said}")
        }
        Event::SelfServiceStarted { conversation, queue } => {
            format!(
                "{} in self-service of {}",
                conversation_name(floor, *conversation),
                queue_name(floor, *queue)
            )
        }
        Event::BotSet { queue, version, plan } => {
            let there = if plan.is_some() { "is there" } else { "is gone" };
            format!("bot of {} version {version} {there}", queue_name(floor, *queue))
        }
        Event::AgentSet { agent, version, .. } => {
            format!("agent {} version {version}", who(*agent))
        }
        other => format!("{other:?}"),
    }
}

/// Whom an effect is for.
pub(crate) fn target_word(floor: &Floor, target: EffectTarget) -> String {
    match target {
        EffectTarget::Mail { opened, after, author } => {
            let after = after.map_or(String::new(), |after| format!(" after {after}"));
            let author = floor.names.agents.name(author.0.into(), "ag_");
            format!("mail of event {opened}{after} by {author}")
        }
        EffectTarget::Turn(queue) => format!("turn of {}", queue_name(floor, queue)),
        webhook @ EffectTarget::Webhook(_) => format!("{webhook:?}"),
    }
}

fn declared_word(floor: &Floor, declared: Declared) -> String {
    match declared {
        Declared::Ready => "ready".to_owned(),
        Declared::SignedOut => "signed out".to_owned(),
        Declared::NotReady { reason: ReasonId(0) } => "not ready: not responding".to_owned(),
        Declared::NotReady { reason } => {
            format!("not ready: {}", floor.names.reasons.name(reason.0.into(), "nr_"))
        }
    }
}

pub(crate) fn conversation_name(floor: &Floor, id: ConversationId) -> String {
    let name = floor.names.conversations.name(id.unique as u64, "cv_");
    if id.site == floor.site { name } else { format!("{}/{name}", site_name(floor, id.site)) }
}

fn site_name(floor: &Floor, id: SiteId) -> String {
    floor.names.sites.name(id.number.into(), "st_")
}

fn queue_name(floor: &Floor, id: QueueId) -> String {
    floor.names.queues.name(id.0.into(), "qu_")
}

fn subject_name(floor: &Floor, subject: Subject) -> String {
    match subject {
        Subject::Agent(agent) => floor.names.agents.name(agent.0.into(), "ag_"),
        Subject::Customer(id) => floor.names.customers.name(id.0 as u64, "cu_"),
        Subject::Principal(principal) => principal.to_string(),
    }
}

fn session_name(floor: &Floor, id: SessionId, subject: Subject) -> String {
    let of = subject_name(floor, subject);
    let name = floor.names.sessions.name(id.0 as u64, "se_");
    if of == name { format!("session {of}") } else { format!("session {name} of {of}") }
}

fn audience(floor: &Floor, audience: &Audience) -> String {
    let agents = audience.agents.iter().map(|id| floor.names.agents.name(id.0.into(), "ag_"));
    let customer = audience.customer.map(|id| floor.names.customers.name(id.0 as u64, "cu_"));
    let board = audience.queue.map(|id| format!("board of {}", queue_name(floor, id)));
    let all: Vec<String> = agents.chain(customer).chain(board).collect();
    format!(" [{}]", all.join(", "))
}

/// A site at a glance.
pub(crate) fn site(floor: &Floor) -> String {
    let Some(view) = floor.shard.site_view(floor.site) else { return "no such site".to_owned() };
    format!(
        "site {}: {} queues, {} agents, {} ready, {} conversations, {} sessions",
        view.settings.name, view.queues, view.agents, view.ready, view.conversations, view.sessions
    )
}

/// When the shard is due.
pub(crate) fn next(floor: &Floor) -> String {
    floor.shard.next_deadline().map_or("nothing due".to_owned(), |at| format!("due {}", time(at)))
}

/// Every lease.
pub(crate) fn leases(floor: &Floor) -> String {
    let all = floor.shard.leases().map(|(id, at)| format!("{id} until {}", time(at)));
    let all: Vec<String> = all.collect();
    if all.is_empty() { "no leases".to_owned() } else { all.join(", ") }
}

/// Every skill, reason and disposition.
pub(crate) fn names(floor: &Floor) -> String {
    let skills = floor.shard.skills(floor.site).unwrap_or_default();
    let reasons = floor.shard.reasons(floor.site).unwrap_or_default();
    let dispositions = floor.shard.dispositions(floor.site).unwrap_or_default();
    let all = skills.into_iter().map(|named| named.name);
    let all = all.chain(reasons.into_iter().map(|named| named.name));
    let all: Vec<String> = all.chain(dispositions.into_iter().map(|named| named.name)).collect();
    all.join(", ")
}

/// One queue.
pub(crate) fn queue(floor: &Floor, id: QueueId) -> String {
    let Some(view) = floor.shard.queue_view(floor.site, id) else {
        return "no such queue".to_owned();
    };
    format!(
        "queue {}: {} waiting, {} offered, {} assigned, {} in wrap-up, oldest waits {}",
        queue_name(floor, id),
        view.waiting,
        view.offered,
        view.assigned,
        view.wrap_up,
        duration(view.oldest_wait_ms)
    )
}

/// One agent.
pub(crate) fn agent(floor: &Floor, id: AgentId) -> String {
    let Some(view) = floor.shard.agent_view(floor.site, id) else {
        return "no such agent".to_owned();
    };
    let held: Vec<String> =
        view.conversations.iter().map(|id| conversation_name(floor, *id)).collect();
    format!(
        "agent {}: {}, link {:?}, {}, holds {:?} [{}]",
        floor.names.agents.name(id.0.into(), "ag_"),
        declared_word(floor, view.declared),
        view.link,
        if view.routable { "routable" } else { "not routable" },
        view.load,
        held.join(", ")
    )
}

/// One session.
pub(crate) fn session(floor: &Floor, id: SessionId) -> String {
    let view = floor.shard.session_view(floor.site, id);
    view.map_or("no such session".to_owned(), |view| {
        format!("{}: {:?}", session_name(floor, id, view.subject), view.link)
    })
}

/// One customer.
pub(crate) fn customer(floor: &Floor, id: CustomerId) -> String {
    let all = floor.shard.customer_conversations(floor.site, id);
    let all: Vec<String> =
        all.iter().map(|view| conversation_name(floor, view.conversation)).collect();
    format!("customer {}: [{}]", floor.names.customers.name(id.0 as u64, "cu_"), all.join(", "))
}

/// One conversation.
pub(crate) fn conversation(floor: &Floor, id: ConversationId) -> String {
    let view = floor.shard.conversation_view(id);
    view.map_or("no such conversation".to_owned(), |view| conversation_line(floor, &view))
}

fn conversation_line(floor: &Floor, view: &ConversationView) -> String {
    let who = |id: AgentId| floor.names.agents.name(id.0.into(), "ag_");
    let of = conversation_name(floor, view.conversation);
    let stage = match view.stage {
        Stage::SelfService => "in self-service".to_owned(),
        Stage::Waiting => "waiting".to_owned(),
        Stage::Offered { offer, agent, remaining_ms } => {
            format!("on offer {offer} to {}, {} left", who(agent), duration(remaining_ms))
        }
        Stage::Assigned { agent, held } => {
            format!("assigned to {}{}", who(agent), if held { ", held" } else { "" })
        }
        Stage::WrapUp { agent, remaining_ms } => {
            format!("in wrap-up of {}, {} left", who(agent), duration(remaining_ms))
        }
        Stage::Closed => return format!("{of}: closed"),
    };
    let queue = view.queue.map_or(String::new(), |id| queue_name(floor, id));
    format!(
        "{of}: {stage}, queue {queue}, {} items, {} legs, waited {}",
        view.items,
        view.legs,
        duration(view.waited_ms)
    )
}
