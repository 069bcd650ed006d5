//! Traces: what happened to a conversation, on every node that had a part in it, and how long each
//! part took.
//!
//! A conversation is a trace. Its id, and that of its first span, follow from the conversation's
//! own id, so nodes need not tell each other which trace something belongs to: neither the log nor
//! any frame between nodes carries one, and a follower's part is seen like a leader's. A caller
//! that has a trace of its own (`traceparent`, W3C Trace Context) finds it as a link of the span
//! that it caused. Which conversations are traced follows from their ids too, on every node alike.
//!
//! Spans are told to a collector as OTLP over HTTP, in JSON (`docs/decisions/0019`). Off unless
//! `telemetry.otlp` names one, and then each place in the code looks at one pointer. Spans that
//! nobody takes in time are dropped and counted; work never waits for them.

mod otlp;

use std::sync::OnceLock;

use metrics::counter;
use rotary_proto::{ConversationId, Event, EventRecord, NodeId, ShardId};
use tokio::sync::mpsc;

use crate::config::Telemetry;
use crate::gateway::token::unix_ns;
use crate::telemetry::names;

/// Spans that may wait to be sent.
const WAITING_MAX: usize = 8_192;
/// An entry that is older when it is applied is caught up on, and nothing is waiting for it.
const LATE_NS: u64 = 60_000_000_000;

static TRACER: OnceLock<Tracer> = OnceLock::new();

tokio::task_local! {
    /// The span of whoever asked for what this task does.
    static CALLER: Link;
}

struct Tracer {
    spans: mpsc::Sender<Span>,
    one_in: u64,
}

/// A span of another trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    trace: u128,
    span: u64,
}

/// One part of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    trace: u128,
    id: u64,
    parent: Option<u64>,
    name: &'static str,
    /// Nanoseconds since 1970, by the wall clock of whoever measured it.
    from_ns: u64,
    to_ns: u64,
    link: Option<Link>,
    said: Vec<(&'static str, String)>,
}

/// Begins to send spans, if there is a collector.
///
/// # Errors
/// A text that names the key to correct.
pub(crate) fn start(telemetry: &Telemetry, node: NodeId) -> Result<(), String> {
    if telemetry.otlp.is_empty() {
        return Ok(());
    }
    let (spans, waiting) = mpsc::channel(WAITING_MAX);
    otlp::start(&telemetry.otlp, node, waiting)?;
    let one_in = u64::from(telemetry.trace_one_in.max(1));
    // A process has one node, and starts it once.
    let _ = TRACER.set(Tracer { spans, one_in });
    Ok(())
}

impl Tracer {
    fn tell(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            counter!(names::SPANS, "result" => "dropped").increment(1);
        }
    }

    fn wants(&self, conversation: ConversationId) -> bool {
        root(conversation).is_multiple_of(self.one_in)
    }
}

/// The trace of a conversation: its own number, which is as good as random. Zero is none.
fn trace(conversation: ConversationId) -> u128 {
    conversation.unique.max(1)
}

/// The first span of a conversation, on any node.
fn root(conversation: ConversationId) -> u64 {
    let (site, unique) = (conversation.site.key(), conversation.unique);
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&site.to_le_bytes());
    bytes[8..].copy_from_slice(&unique.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes).max(1)
}

/// A command on its way from a door to its answer.
pub(crate) struct Step {
    tracer: &'static Tracer,
    conversation: ConversationId,
    id: u64,
    name: &'static str,
    from_ns: u64,
}

/// Begins a command's span, if its conversation is traced.
pub(crate) fn step(name: &'static str, conversation: Option<ConversationId>) -> Option<Step> {
    let (tracer, conversation) = (TRACER.get()?, conversation?);
    if !tracer.wants(conversation) {
        return None;
    }
    let id = if name == "open" { root(conversation) } else { fresh() };
    Some(Step { tracer, conversation, id, name, from_ns: unix_ns() })
}

impl Step {
    /// It has its answer. `leader` is who was asked, if not this node itself.
    pub(crate) fn end(self, shard: ShardId, leader: Option<NodeId>, result: &str) {
        let Self { tracer, conversation, id, name, from_ns } = self;
        let (trace, to_ns) = (trace(conversation), unix_ns());
        let to = leader.map(|leader| ("rotary.leader", leader.to_string()));
        let hop = if to.is_some() { "forward" } else { "propose" };
        let shard = ("rotary.shard", shard.to_string());
        let said = [shard.clone()].into_iter().chain(to).collect();
        let parent = Some(id);
        let link = CALLER.try_with(|caller| *caller).ok();
        let span = Span { trace, id: fresh(), parent, name: hop, from_ns, to_ns, link: None, said };
        tracer.tell(span);
        let result = ("rotary.result", result.to_owned());
        let said = vec![("rotary.conversation", conversation.to_string()), shard, result];
        let parent = (id != root(conversation)).then(|| root(conversation));
        tracer.tell(Span { trace, id, parent, name, from_ns, to_ns, link, said });
    }
}

/// When something begins; nothing where nothing is traced.
pub(crate) fn clock() -> Option<u64> {
    TRACER.get().map(|_| unix_ns())
}

/// A replica has applied an entry: how long the log had it, and how long applying and recording
/// took.
pub(crate) fn applied(begun: Option<u64>, shard: ShardId, events: &[EventRecord]) {
    let (Some(tracer), Some(from_ns)) = (TRACER.get(), begun) else { return };
    let Some(first) = events.first() else { return };
    let proposed_ns = first.wall.0.saturating_mul(1_000_000);
    if from_ns.saturating_sub(proposed_ns) > LATE_NS {
        return;
    }
    let to_ns = unix_ns();
    let mut told: Vec<ConversationId> = Vec::new();
    for conversation in events.iter().filter_map(|record| record.event.conversation()) {
        if told.contains(&conversation) || !tracer.wants(conversation) {
            continue;
        }
        told.push(conversation);
        let of_it =
            events.iter().filter(|record| record.event.conversation() == Some(conversation));
        let words: Vec<&str> = of_it.filter_map(|record| word(&record.event)).collect();
        let said = vec![
            ("rotary.shard", shard.to_string()),
            ("rotary.index", first.index.to_string()),
            ("rotary.events", words.join(" ")),
        ];
        let (trace, parent) = (trace(conversation), Some(root(conversation)));
        let span = |name, from_ns: u64, to_ns, said| {
            let from_ns = from_ns.min(to_ns);
            Span { trace, id: fresh(), parent, name, from_ns, to_ns, link: None, said }
        };
        tracer.tell(span("commit", proposed_ns, from_ns, said.clone()));
        tracer.tell(span("apply", from_ns, to_ns, said));
    }
}

/// An event was written to a session's socket.
pub(crate) fn delivered(begun: Option<u64>, session: impl ToString, record: &EventRecord) {
    let (Some(tracer), Some(from_ns)) = (TRACER.get(), begun) else { return };
    let wanted = record.event.conversation().filter(|conversation| tracer.wants(*conversation));
    let (Some(conversation), Some(word)) = (wanted, word(&record.event)) else { return };
    let said = vec![
        ("rotary.session", session.to_string()),
        ("rotary.index", record.index.to_string()),
        ("rotary.events", word.to_owned()),
    ];
    let (trace, parent) = (trace(conversation), Some(root(conversation)));
    let (id, to_ns, link) = (fresh(), unix_ns(), None);
    tracer.tell(Span { trace, id, parent, name: "deliver", from_ns, to_ns, link, said });
}

fn word(event: &Event) -> Option<&'static str> {
    event.topic().map(|(topic, _)| topic.word().trim_start_matches("conversation."))
}

/// An id that no other span has.
fn fresh() -> u64 {
    rand::random::<u64>().max(1)
}

/// Does something on behalf of a caller with a trace of its own, if it has one that can be read.
pub(crate) async fn within<T>(traceparent: Option<&str>, work: impl Future<Output = T>) -> T {
    let caller = TRACER.get().and(traceparent).and_then(read_traceparent);
    match caller {
        Some(caller) => CALLER.scope(caller, work).await,
        None => work.await,
    }
}

/// Reads `00-<32 hex>-<16 hex>-<2 hex>`; what is anything else is ignored, as the standard has it.
fn read_traceparent(text: &str) -> Option<Link> {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags, ..] = parts[..] else { return None };
    let hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let known = hex(version, 2) && version != "ff" && (version != "00" || parts.len() == 4);
    if !(known && hex(trace, 32) && hex(span, 16) && hex(flags, 2)) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace > 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|span| *span > 0)?;
    Some(Link { trace, span })
}

#[cfg(test)]
mod tests {
    use rotary_proto::SiteId;

    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_standard_has_it() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let link =
            Link { trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, span: 0x00f0_67aa_0ba9_02b7 };
        assert_eq!(read_traceparent(good), Some(link));
        // A later version may have more to say.
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-else";
        assert_eq!(read_traceparent(later), Some(link));
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(read_traceparent(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_conversation_has_one_trace_and_one_first_span_on_every_node() {
        let [one, other] = [1, 2].map(|site| ConversationId::new(SiteId::new(1, site), 7));
        assert_eq!((trace(one), root(one)), (7, root(one)));
        assert_ne!(root(one), root(other));
        assert_eq!(trace(ConversationId::default()), 1, "zero is no trace");
    }

    #[test]
    fn nothing_is_measured_where_nothing_is_traced() {
        assert!(step("open", Some(ConversationId::default())).is_none());
        assert_eq!(clock(), None);
    }
}
