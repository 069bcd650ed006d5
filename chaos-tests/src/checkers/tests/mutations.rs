//! What a broken cluster could show.

use std::collections::BTreeSet;

use rotary_proto::effect::EffectOutcome;
use rotary_proto::event::{OfferEnd, QueuedWhy};
use rotary_proto::ids::{AgentId, EffectId};
use rotary_proto::{Channel, Command, Declared, Stamp};

use crate::history::{Digest, Edge, End, Event, Fact, History, Operation, Record, Reply};

type Mutation = fn(&mut History);

/// Each with the checkers that must find it.
pub(super) const ALL: &[(&str, &[&str], Mutation)] = &[
    ("an acknowledged opening is lost", &["replay", "total_queue"], lose_opened),
    ("an acknowledged message is lost", &["replay", "total_queue"], lose_posted),
    ("a message is told twice", &["replay", "total_queue"], double_posted),
    ("a message appears from nowhere", &["replay"], phantom_posted),
    ("a conversation appears from nowhere", &["total_queue"], phantom_opened),
    ("a message has another place than was said", &["replay", "total_queue"], wrong_ordinal),
    ("an assignment has another leg than was said", &["replay"], wrong_leg),
    ("an acknowledgement names another index", &["replay"], wrong_index),
    ("a conversation goes to two agents", &["replay", "interval_overlap"], double_assignment),
    ("an offer is taken after its deadline", &["replay", "exactly_once_terminal"], late_accept),
    ("an offer runs out too soon", &["replay", "exactly_once_terminal"], early_expiry),
    ("an offer ends twice", &["replay", "exactly_once_terminal"], double_end),
    ("an offer number is used twice", &["replay"], same_offer),
    ("a place in line is lost", &["replay"], lose_place),
    ("an offer goes to somebody who is away", &["replay", "no_overtake"], offer_to_away),
    ("a refused message is there", &["replay"], refused_is_there),
    ("a standing offer is called gone", &["replay"], gone_but_stands),
    ("a retry is answered otherwise", &["replay"], other_answer),
    ("an agent is over capacity", &["conservation", "no_overtake"], over_capacity),
    ("a slot is leaked", &["conservation"], leak),
    ("somebody is overtaken", &["no_overtake"], overtake),
    ("somebody waits beside a free agent", &["no_overtake"], idle),
    ("time runs backwards", &["replay"], backwards),
    ("an event is skipped for a session", &["dense_prefix"], skip_received),
    ("a session gets an event twice", &["dense_prefix"], repeat_received),
    ("two readers are told different things", &["dense_prefix"], tell_otherwise),
    ("a reader misses an event", &["dense_prefix"], skip_fed),
    ("a transcript has a hole", &["dense_prefix", "total_queue"], transcript_hole),
    ("the log's order is not that of time", &["real_time"], swap_in_time),
    ("a conversation never closes", &["total_queue"], never_closed),
    ("a webhook is never told", &["webhooks"], never_told),
    ("a message has no end", &["webhooks"], endless),
    ("a message is called sent before it was taken", &["webhooks"], sent_too_soon),
    ("a message is called sent though nobody took it", &["webhooks"], never_taken),
    ("a message is given up though there is time", &["webhooks"], given_up),
    ("a message comes again under another id", &["webhooks"], renamed),
    ("two messages have one id", &["webhooks"], one_id),
    ("a message tells something else", &["webhooks"], told_otherwise),
    ("a message is not signed", &["webhooks"], unsigned),
    ("a webhook is told what it does not want", &["webhooks"], unwanted),
    ("a message ends twice", &["webhooks"], ended_twice),
    ("an offer stands long after its time", &["exactly_once_terminal"], stands),
    ("nobody is served after the heal", &["liveness"], not_served),
    ("a new key is called forgotten", &["replay"], new_key_forgotten),
];

/// What leaves a run unknown.
pub(super) const DOUBTS: &[(&str, Mutation)] = &[
    ("the history has no end", |history| {
        history.lines.pop();
    }),
    ("a record was lost", |history| {
        if let Some(Record::End { lost, .. }) = history.lines.last_mut().map(|l| &mut l.record) {
            *lost = 1;
        }
    }),
    ("a fault that was asked for never bit", |history| {
        history.head.nemeses.push("kill".to_owned());
        let (name, target, detail) = ("kill".to_owned(), "nd_1".to_owned(), String::new());
        let record = Record::Fault { at_ms: 1, name, target, edge: Edge::Begin, detail };
        history.lines[0].record = match &history.lines[0].record {
            Record::Site { .. } => record,
            other => other.clone(),
        };
    }),
    ("the feed was not read to its end", |history| {
        let read = |record: &Record| matches!(record, Record::FedThrough { .. });
        let at = history.lines.iter().position(|line| read(&line.record)).expect("read back");
        let at_ms = 1;
        history.lines[at].record = Record::Mark { at_ms, name: "nothing".to_owned() };
    }),
    ("nearly everything failed", |history| {
        for line in &mut history.lines {
            if let Record::Operation(operation) = &mut line.record
                && !matches!(operation.end, End::Ok { .. })
            {
                operation.end = End::Unknown { detail: String::new() };
            }
        }
        let template = operation(history, |_| true);
        let Record::Operation(template) = history.lines[template].record.clone() else { return };
        let detail = String::new();
        let many = template_unknown(template, detail);
        let last = history.lines.len() - 1;
        let end = history.lines.remove(last);
        for _ in 0..last {
            let record = Record::Operation(many.clone());
            history.lines.push(crate::history::Line { number: 0, record });
        }
        history.lines.push(end);
        let lines = history.lines.len() as u64;
        for (number, line) in (2..).zip(&mut history.lines) {
            line.number = number;
            if let Record::End { lines: said, .. } = &mut line.record {
                *said = lines;
            }
        }
    }),
];

fn template_unknown(mut operation: Operation, detail: String) -> Operation {
    operation.end = End::Unknown { detail };
    operation.origin = crate::history::Origin::Once;
    operation
}

/// The place of the first operation like that.
fn operation(history: &History, like: impl Fn(&Operation) -> bool) -> usize {
    let found = |record: &Record| matches!(record, Record::Operation(it) if like(it));
    history.lines.iter().position(|line| found(&line.record)).expect("the shift has one")
}

fn is_ok(operation: &Operation) -> bool {
    matches!(operation.end, End::Ok { repeated: false, .. })
}

fn operation_mut(history: &mut History, at: usize) -> &mut Operation {
    match &mut history.lines[at].record {
        Record::Operation(operation) => operation,
        other => panic!("{other:?}"),
    }
}

/// Changes every telling of the first event like that, which then has another digest.
fn change(history: &mut History, like: impl Fn(&Event) -> bool, change: impl Fn(&mut Event)) {
    let fed = first(history, like);
    for line in &mut history.lines {
        if let Record::Fed { event, .. } | Record::Received { event, .. } = &mut line.record
            && event.sequence == fed
        {
            change(event);
            event.digest = Digest(event.digest.0 ^ 1);
        }
    }
}

/// The sequence of the first event like that.
fn first(history: &History, like: impl Fn(&Event) -> bool) -> u64 {
    let found = history.lines.iter().find_map(|line| match &line.record {
        Record::Fed { event, .. } if like(event) => Some(event.sequence),
        _ => None,
    });
    found.expect("the shift has one")
}

/// An event that says nothing in place of another, so that sequences stay dense.
fn silence(event: &mut Event) {
    event.fact = Fact::Other { conversation: None };
}

fn lose_opened(history: &mut History) {
    change(history, |event| matches!(event.fact, Fact::Opened { .. }), silence);
}

fn lose_posted(history: &mut History) {
    change(history, |event| matches!(event.fact, Fact::Posted { .. }), silence);
}

fn double_posted(history: &mut History) {
    let mut items = Vec::new();
    for line in &history.lines {
        if let Record::Fed { event, .. } = &line.record
            && let Fact::Posted { .. } = event.fact
        {
            items.push(event.clone());
        }
    }
    let (one, two) = (items[0].clone(), items[1].sequence);
    change(history, |event| event.sequence == two, |event| event.fact = one.fact.clone());
}

fn phantom_posted(history: &mut History) {
    change(
        history,
        |event| matches!(event.fact, Fact::Posted { .. }),
        |event| {
            if let Fact::Posted { item, .. } = &mut event.fact {
                item.0 ^= 1;
            }
        },
    );
}

fn phantom_opened(history: &mut History) {
    let at = operation(history, |it| is_ok(it) && matches!(*it.command, Command::Open { .. }));
    let code = "queue-unknown".to_owned();
    let key = operation_mut(history, at).origin.clone();
    for line in &mut history.lines {
        if let Record::Operation(operation) = &mut line.record
            && operation.origin == key
        {
            operation.end = End::Fail { code: code.clone(), position: None };
        }
    }
}

pub(super) fn wrong_ordinal(history: &mut History) {
    let posted = |it: &Operation| matches!(it.end, End::Ok { reply: Reply::Posted { .. }, .. });
    let at = operation(history, posted);
    if let End::Ok { reply: Reply::Posted { ordinal }, .. } = &mut operation_mut(history, at).end {
        *ordinal += 7;
    }
}

pub(super) fn wrong_leg(history: &mut History) {
    let taken = |it: &Operation| matches!(it.end, End::Ok { reply: Reply::Accepted { .. }, .. });
    let at = operation(history, taken);
    if let End::Ok { reply: Reply::Accepted { leg }, .. } = &mut operation_mut(history, at).end {
        *leg += 1;
    }
}

/// A message that was acknowledged, and then called unknown: its conversation was never there.
pub(super) fn lost_then_told(history: &mut History) {
    let at = operation(history, |it| is_ok(it) && matches!(*it.command, Command::Post { .. }));
    let code = "conversation-unknown".to_owned();
    let operation = operation_mut(history, at);
    let position = super::super::replay::position(operation);
    operation.end = End::Fail { code, position };
}

fn wrong_index(history: &mut History) {
    let at = operation(history, |it| is_ok(it) && matches!(*it.command, Command::Accept { .. }));
    if let End::Ok { position: Some(position), .. } = &mut operation_mut(history, at).end {
        position.index += 1;
    }
}

fn double_assignment(history: &mut History) {
    let mut assigned = Vec::new();
    for line in &history.lines {
        if let Record::Fed { event, .. } = &line.record
            && let Fact::Assigned { .. } = event.fact
        {
            assigned.push(event.clone());
        }
    }
    let (one, two) = (assigned[0].clone(), assigned[0].sequence + 1);
    change(
        history,
        |event| event.sequence == two,
        |event| {
            event.fact = one.fact.clone();
            if let Fact::Assigned { agent, leg, .. } = &mut event.fact {
                (*agent, *leg) = (AgentId(agent.0 % 6 + 1), *leg + 1);
            }
        },
    );
}

/// The deadline is moved before the acceptance, in the offer itself.
fn late_accept(history: &mut History) {
    let accepted = history.lines.iter().find_map(|line| match &line.record {
        Record::Fed { event: Event { fact: Fact::Assigned { offer, .. }, .. }, .. } => Some(*offer),
        _ => None,
    });
    let wanted = accepted.expect("the shift has one");
    let is_it = move |event: &Event| match event.fact {
        Fact::Offered { offer, .. } => offer == wanted,
        _ => false,
    };
    change(history, is_it, |event| {
        let now = event.stamp;
        if let Fact::Offered { until, .. } = &mut event.fact {
            *until = now;
        }
    });
}

fn early_expiry(history: &mut History) {
    let is_it =
        |event: &Event| matches!(event.fact, Fact::OfferEnded { why: OfferEnd::Declined, .. });
    change(history, is_it, |event| {
        if let Fact::OfferEnded { why, .. } = &mut event.fact {
            *why = OfferEnd::Expired;
        }
    });
}

/// An offer that somebody declined had run out a minute before.
fn stands(history: &mut History) {
    let declined = first(history, |event| {
        matches!(event.fact, Fact::OfferEnded { why: OfferEnd::Declined, .. })
    });
    let told = history.lines.iter().find_map(|line| match &line.record {
        Record::Fed { event, .. } if event.sequence == declined => Some(event.clone()),
        _ => None,
    });
    let told = told.expect("just found");
    let Fact::OfferEnded { offer: gone, .. } = told.fact else { return };
    let is_it = |event: &Event| matches!(event.fact, Fact::Offered { offer, .. } if offer == gone);
    change(history, is_it, |event| {
        if let Fact::Offered { until, .. } = &mut event.fact {
            *until = Stamp(told.stamp.0.saturating_sub(60_000_000));
        }
    });
}

fn not_served(history: &mut History) {
    let serve = history
        .lines
        .iter()
        .position(|line| matches!(&line.record, Record::Mark { name, .. } if name == "serve"));
    for line in &mut history.lines[serve.expect("it is marked")..] {
        if let Record::Received { at_ms, event, .. } = &line.record
            && let Fact::Offered { .. } = event.fact
        {
            line.record = Record::Mark { at_ms: *at_ms, name: "nothing".to_owned() };
        }
    }
}

fn new_key_forgotten(history: &mut History) {
    let at = operation(history, |operation| matches!(operation.end, End::Fail { .. }));
    let detail = "outcome-forgotten: it may have been done".to_owned();
    operation_mut(history, at).end = End::Unknown { detail };
}

fn double_end(history: &mut History) {
    let ended = first(history, |event| {
        matches!(event.fact, Fact::OfferEnded { why: OfferEnd::Declined, .. })
    });
    let fact = history.lines.iter().find_map(|line| match &line.record {
        Record::Fed { event, .. } if event.sequence == ended => Some(event.fact.clone()),
        _ => None,
    });
    let fact = fact.expect("just found");
    change(history, |event| event.sequence == ended + 1, |event| event.fact = fact.clone());
}

fn same_offer(history: &mut History) {
    let offered = |event: &Event| match event.fact {
        Fact::Offered { offer, .. } => offer.0 == 3,
        _ => false,
    };
    change(history, offered, |event| {
        if let Fact::Offered { offer, .. } = &mut event.fact {
            offer.0 = 2;
        }
    });
}

fn lose_place(history: &mut History) {
    let again =
        |event: &Event| matches!(event.fact, Fact::Queued { why, .. } if why != QueuedWhy::Opened);
    change(history, again, |event| {
        let now = event.stamp;
        if let Fact::Queued { since, .. } = &mut event.fact {
            *since = now.plus_ms(1);
        }
    });
}

fn offer_to_away(history: &mut History) {
    let offered = first(history, |event| matches!(event.fact, Fact::Offered { .. }));
    let agent = history.lines.iter().find_map(|line| match &line.record {
        Record::Fed { event, .. } if event.sequence == offered => event.fact.agent(),
        _ => None,
    });
    let ready = move |event: &Event| match event.fact {
        Fact::AgentDeclared { agent: who, declared: Declared::Ready, .. } => Some(who) == agent,
        _ => false,
    };
    change(history, ready, |event| {
        if let Fact::AgentDeclared { declared, .. } = &mut event.fact {
            *declared = Declared::NotReady { reason: rotary_proto::plan::NOT_RESPONDING };
        }
    });
}

fn refused_is_there(history: &mut History) {
    let at = operation(history, |it| is_ok(it) && matches!(*it.command, Command::Post { .. }));
    let key = operation_mut(history, at).origin.clone();
    for line in &mut history.lines {
        if let Record::Operation(operation) = &mut line.record
            && operation.origin == key
        {
            let position = super::super::replay::position(operation);
            operation.end = End::Fail { code: "not-assigned".to_owned(), position: None };
            let _ = position;
        }
    }
}

fn gone_but_stands(history: &mut History) {
    // The index of the offer itself, at which it certainly stands.
    let at = operation(history, |it| is_ok(it) && matches!(*it.command, Command::Accept { .. }));
    let Command::Accept { offer: wanted, .. } = *operation_mut(history, at).command else { return };
    let index = history.lines.iter().find_map(|line| match &line.record {
        Record::Fed { event, .. } => match event.fact {
            Fact::Offered { offer, .. } if offer == wanted => Some(event.index),
            _ => None,
        },
        _ => None,
    });
    let mut refused = operation_mut(history, at).clone();
    let position = super::super::replay::position(&refused);
    let position = position.map(|mut position| {
        position.index = index.expect("it was offered");
        position
    });
    refused.end = End::Fail { code: "offer-gone".to_owned(), position };
    refused.origin = crate::history::Origin::Once;
    let spare = operation(history, |it| matches!(*it.command, Command::PutSkill { .. }));
    history.lines[spare].record = Record::Operation(refused);
}

fn other_answer(history: &mut History) {
    let repeated = |it: &Operation| matches!(it.end, End::Ok { repeated: true, .. });
    let at = operation(history, repeated);
    if let End::Ok { position: Some(position), .. } = &mut operation_mut(history, at).end {
        position.index += 1;
    }
}

fn over_capacity(history: &mut History) {
    for line in &mut history.lines {
        if let Record::Fed { event, .. } | Record::Received { event, .. } = &mut line.record
            && let Fact::AgentSet { capacity, .. } = &mut event.fact
        {
            (capacity.total, capacity.voice) = (0, false);
        }
    }
}

fn leak(history: &mut History) {
    let closed = |event: &Event| matches!(event.fact, Fact::Closed { agent: Some(_), .. });
    change(history, closed, |event| {
        if let Fact::Closed { agent, .. } = &mut event.fact {
            *agent = None;
        }
    });
}

/// Somebody came before everybody else.
fn overtake(history: &mut History) {
    for line in &mut history.lines {
        if let Record::Fed { event, .. } | Record::Received { event, .. } = &mut line.record
            && event.sequence % 2 == 0
            && let Fact::Queued { since, .. } = &mut event.fact
        {
            *since = Stamp(since.0 / 2);
        }
    }
}

/// An offer was not made, and what it led to did not happen.
fn idle(history: &mut History) {
    let offered = |event: &Event| matches!(event.fact, Fact::Offered { .. });
    let wanted = first(history, offered);
    let conversation = history.lines.iter().find_map(|line| match &line.record {
        Record::Fed { event, .. } if event.sequence == wanted => event.fact.conversation(),
        _ => None,
    });
    for line in &mut history.lines {
        if let Record::Fed { event, .. } | Record::Received { event, .. } = &mut line.record
            && event.sequence >= wanted
            && event.fact.conversation() == conversation
        {
            silence(event);
        }
    }
    let _ = Channel::Chat;
}

fn backwards(history: &mut History) {
    let mut count = 0;
    for line in &mut history.lines {
        if let Record::Fed { event, .. } = &mut line.record {
            count += 1;
            if count == 40 {
                event.stamp = Stamp(event.stamp.0 / 2);
            }
        }
    }
}

fn skip_received(history: &mut History) {
    let at = received(history, 12);
    history.lines.remove(at);
}

fn repeat_received(history: &mut History) {
    let at = received(history, 12);
    let line = history.lines[at].clone();
    history.lines.insert(at, line);
}

fn received(history: &History, nth: usize) -> usize {
    let is_one = |record: &Record| matches!(record, Record::Received { .. });
    let all = history.lines.iter().enumerate().filter(|(_, line)| is_one(&line.record));
    all.map(|(at, _)| at).nth(nth).expect("sessions received as many")
}

fn tell_otherwise(history: &mut History) {
    let at = received(history, 20);
    if let Record::Received { event, .. } = &mut history.lines[at].record {
        event.digest = Digest(event.digest.0 ^ 1);
    }
}

fn skip_fed(history: &mut History) {
    let last = history.lines.iter().rposition(|line| matches!(line.record, Record::Fed { .. }));
    let at = last.expect("there are events") - 3;
    history.lines.remove(at);
    let fed = |record: &Record| matches!(record, Record::Fed { .. });
    let before = history.lines[..at].iter().rposition(|line| fed(&line.record)).expect("more");
    history.lines.remove(before);
}

fn transcript_hole(history: &mut History) {
    for line in &mut history.lines {
        if let Record::Transcript { items, .. } = &mut line.record
            && items.len() > 1
        {
            items.remove(0);
            return;
        }
    }
}

/// What was told first stands last.
fn swap_in_time(history: &mut History) {
    let at = operation(history, |it| is_ok(it) && matches!(*it.command, Command::Open { .. }));
    if let End::Ok { position: Some(position), .. } = &mut operation_mut(history, at).end {
        position.index = 1_000_000;
    }
}

fn never_closed(history: &mut History) {
    let closed = |event: &Event| matches!(event.fact, Fact::Closed { agent: None, .. });
    change(history, closed, silence);
}

/// The places of attempts, in order.
fn delivered(history: &History) -> Vec<usize> {
    let is_one = |record: &Record| matches!(record, Record::Delivered { .. });
    let all = history.lines.iter().enumerate().filter(|(_, line)| is_one(&line.record));
    all.map(|(at, _)| at).collect()
}

/// The id of the message that came at that place.
fn effect_at(history: &History, at: usize) -> EffectId {
    match &history.lines[at].record {
        Record::Delivered { effect: Some(effect), .. } => *effect,
        other => panic!("{other:?}"),
    }
}

/// The place of the first attempt that came again.
fn came_again(history: &History) -> usize {
    let (places, mut seen) = (delivered(history), BTreeSet::new());
    let again = places.into_iter().find(|at| !seen.insert(effect_at(history, *at)));
    again.expect("the shift has one")
}

/// Changes the attempt at that place.
fn redeliver(history: &mut History, at: usize, change: impl Fn(&mut Option<EffectId>, &mut Event)) {
    if let Record::Delivered { effect, event: Some(event), .. } = &mut history.lines[at].record {
        change(effect, event);
    }
}

/// Nobody hears of the attempts at the first message.
fn untold(history: &mut History) -> EffectId {
    let first = effect_at(history, delivered(history)[0]);
    for at in delivered(history) {
        if effect_at(history, at) == first {
            let (at_ms, name) = (1, "nothing".to_owned());
            history.lines[at].record = Record::Mark { at_ms, name };
        }
    }
    first
}

fn is_end_of(event: &Event, wanted: EffectId) -> bool {
    matches!(event.fact, Fact::MessageEnded { effect, .. } if effect == wanted)
}

fn never_told(history: &mut History) {
    let first = untold(history);
    change(history, |event| is_end_of(event, first), silence);
}

fn endless(history: &mut History) {
    change(history, |event| matches!(event.fact, Fact::MessageEnded { .. }), silence);
}

/// The attempt is written down behind the end of its message.
fn sent_too_soon(history: &mut History) {
    let at = delivered(history)[0];
    let record = history.lines[at].record.clone();
    untold(history);
    let end = history.lines.len() - 1;
    history.lines.insert(end, crate::history::Line { number: end + 1, record });
}

fn never_taken(history: &mut History) {
    for at in delivered(history) {
        if let Record::Delivered { answer, .. } = &mut history.lines[at].record {
            *answer = answer.filter(|status| *status != 200);
        }
    }
}

fn given_up(history: &mut History) {
    let ended = |event: &Event| matches!(event.fact, Fact::MessageEnded { .. });
    change(history, ended, |event| {
        if let Fact::MessageEnded { outcome, .. } = &mut event.fact {
            *outcome = EffectOutcome::NotSent;
        }
    });
}

fn renamed(history: &mut History) {
    let at = came_again(history);
    redeliver(history, at, |effect, _| {
        if let Some(effect) = effect {
            effect.ordinal += 1_000;
        }
    });
}

fn one_id(history: &mut History) {
    let (one, other) = (delivered(history)[0], came_again(history));
    let first = effect_at(history, one);
    redeliver(history, other, |effect, _| *effect = Some(first));
}

fn told_otherwise(history: &mut History) {
    let at = delivered(history)[3];
    redeliver(history, at, |_, event| event.digest = Digest(event.digest.0 ^ 1));
}

fn unsigned(history: &mut History) {
    let at = delivered(history)[3];
    if let Record::Delivered { signed, .. } = &mut history.lines[at].record {
        *signed = false;
    }
}

fn unwanted(history: &mut History) {
    let at = came_again(history);
    if let Record::Delivered { webhook, .. } = &mut history.lines[at].record {
        webhook.0 += 7;
    }
}

fn ended_twice(history: &mut History) {
    let mut ends = Vec::new();
    for line in &history.lines {
        if let Record::Fed { event, .. } = &line.record
            && let Fact::MessageEnded { .. } = event.fact
        {
            ends.push(event.clone());
        }
    }
    let (one, two) = (ends[0].clone(), ends[1].sequence);
    change(history, |event| event.sequence == two, |event| event.fact = one.fact.clone());
}
