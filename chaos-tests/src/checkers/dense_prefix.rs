//! Every reader sees one order without hole or repetition (P8).
//!
//! * Readers of a site's feed, whichever gateways they move between, are told 1, 2, 3, …, and all
//!   are told the same.
//! * A session's own numbers are dense, its places rise, and each event is the one that the feed
//!   has there. A resume goes on where it was (`replayed`) or from a snapshot no older; what names
//!   the session's agent or customer in between is received.
//! * Transcripts are dense, and every gateway shows a prefix of the same one.

use std::collections::BTreeMap;

use rotary_proto::event::Viewer;
use rotary_proto::frame::Mode;
use rotary_proto::ids::SessionId;
use rotary_proto::{ConversationId, CustomerId, ItemId, SiteId};

use super::evidence::Evidence;
use super::verdict::Check;
use crate::history::{Event, Fact, Record};

/// Which events of a site a viewer must be shown, by sequence.
type MustSee = BTreeMap<(SiteId, Viewer), Vec<u64>>;

/// Follows every reader.
pub fn check(evidence: &Evidence<'_>) -> Check {
    let mut check = Check::new("dense_prefix", "events as readers saw them");
    feeds(&mut check, evidence);
    let must_see = must_see(evidence);
    let mut sessions: BTreeMap<SessionId, Stream> = BTreeMap::new();
    for line in &evidence.history.lines {
        session_line(&mut check, evidence, &must_see, &mut sessions, line.number, &line.record);
    }
    transcripts(&mut check, evidence);
    check.figure("sessions", sessions.len());
    evidence.doubt_stories(&mut check);
    check.unless_empty()
}

/// Each reader in order, and every telling of an event against the first.
fn feeds(check: &mut Check, evidence: &Evidence<'_>) {
    let mut last: BTreeMap<(u64, SiteId), u64> = BTreeMap::new();
    for line in &evidence.history.lines {
        let Record::Fed { reader, event, gateway, .. } = &line.record else { continue };
        check.checked += 1;
        let seen = last.entry((*reader, event.site)).or_default();
        if event.sequence != *seen + 1 {
            let what =
                format!("reader {reader} of {}: {} came after {seen}", event.site, event.sequence);
            check.find(what, [line.number]);
        }
        *seen = event.sequence;
        differs(check, evidence, event, line.number, &format!("{gateway}, reader {reader}"));
    }
}

/// Whether an event is told otherwise than by its first reader, or was told by none.
fn differs(check: &mut Check, evidence: &Evidence<'_>, event: &Event, line: usize, who: &str) {
    let Some(story) = evidence.stories.get(&event.site) else { return };
    let found = story.events.binary_search_by_key(&event.sequence, |placed| placed.of.sequence);
    match found {
        Ok(at) if story.events[at].of == event => {}
        Ok(at) => {
            let what = format!("{who} was told another event {} of {}", event.sequence, event.site);
            check.find(what, [story.events[at].line, line]);
        }
        Err(_) if story.is_whole() => {
            let what =
                format!("{who} was told {} of {}, which is not there", event.sequence, event.site);
            check.find(what, [line]);
        }
        Err(_) => {}
    }
}

/// What names an agent, and what is for a customer's eyes.
fn must_see(evidence: &Evidence<'_>) -> MustSee {
    let mut must_see = MustSee::new();
    for (site, story) in &evidence.stories {
        let mut customers: BTreeMap<ConversationId, CustomerId> = BTreeMap::new();
        for event in &story.events {
            if let Fact::Opened { conversation, customer: Some(customer), .. } = event.of.fact {
                customers.insert(conversation, customer);
            }
            let agent = event.of.fact.agent().map(Viewer::Agent);
            let is_theirs = match event.of.fact {
                Fact::Posted { note, .. } => !note,
                Fact::Opened { .. }
                | Fact::Queued { .. }
                | Fact::Assigned { .. }
                | Fact::Released { .. }
                | Fact::Ended { .. } => true,
                _ => false,
            };
            let customer = event.of.fact.conversation().filter(|_| is_theirs);
            let customer =
                customer.and_then(|id| customers.get(&id)).copied().map(Viewer::Customer);
            for viewer in agent.into_iter().chain(customer).chain([Viewer::Supervisor]) {
                must_see.entry((*site, viewer)).or_default().push(event.of.sequence);
            }
        }
    }
    must_see
}

/// Where a session is.
struct Stream {
    viewer: Viewer,
    seq: u64,
    /// The last place seen, once it is known.
    at: Option<u64>,
}

fn session_line(
    check: &mut Check,
    evidence: &Evidence<'_>,
    must_see: &MustSee,
    sessions: &mut BTreeMap<SessionId, Stream>,
    line: usize,
    record: &Record,
) {
    match record {
        Record::Welcome { session, viewer, mode, seq, .. } => {
            let fresh = Stream { viewer: *viewer, seq: *seq, at: None };
            let stream = sessions.entry(*session).or_insert(fresh);
            if *mode == Mode::Replayed && *seq != stream.seq {
                let what = format!("{session} was replayed from {seq} instead of {}", stream.seq);
                check.find(what, [line]);
            }
            stream.seq = *seq;
        }
        Record::Snapshot { session, sequence, .. } => {
            let Some(stream) = sessions.get_mut(session) else { return };
            if stream.at.is_some_and(|at| *sequence < at) {
                check.find(format!("{session} got a snapshot of the past, {sequence}"), [line]);
            }
            stream.at = Some(*sequence);
        }
        Record::Received { session, seq, event, .. } => {
            check.checked += 1;
            let Some(stream) = sessions.get_mut(session) else {
                return check.find(format!("{session} received before it was welcome"), [line]);
            };
            received(check, must_see, stream, *session, *seq, event, line);
            differs(check, evidence, event, line, &session.to_string());
        }
        Record::SessionOver { session, fault: true, detail, .. } => {
            check.find(format!("{session} refused what came: {detail}"), [line]);
        }
        _ => {}
    }
}

fn received(
    check: &mut Check,
    must_see: &MustSee,
    stream: &mut Stream,
    session: SessionId,
    seq: u64,
    event: &Event,
    line: usize,
) {
    if seq != stream.seq + 1 {
        check.find(format!("{session}: number {seq} came after {}", stream.seq), [line]);
    }
    if let Some(at) = stream.at {
        if event.sequence <= at {
            check.find(format!("{session}: event {} came after {at}", event.sequence), [line]);
        }
        let due = must_see.get(&(event.site, stream.viewer)).map_or(&[][..], Vec::as_slice);
        let missed = due.get(due.partition_point(|sequence| *sequence <= at));
        if let Some(missed) = missed.filter(|missed| **missed < event.sequence) {
            check.find(format!("{session}: event {missed} never came"), [line]);
        }
    }
    (stream.seq, stream.at) = (seq, Some(event.sequence));
}

/// Dense, and of one order.
fn transcripts(check: &mut Check, evidence: &Evidence<'_>) {
    type Shown = (usize, Vec<ItemId>);
    let mut longest: BTreeMap<ConversationId, Shown> = BTreeMap::new();
    for line in &evidence.history.lines {
        let Record::Transcript { conversation, items, gateway, .. } = &line.record else {
            continue;
        };
        check.checked += 1;
        if let Some(at) = (1..).zip(items).position(|(due, (ordinal, ..))| due != *ordinal) {
            let what = format!("{gateway}: item {} of {conversation} is not there", at + 1);
            check.find(what, [line.number]);
        }
        let items: Vec<ItemId> = items.iter().map(|(_, item, _)| *item).collect();
        let (first, known) =
            longest.entry(*conversation).or_insert_with(|| (line.number, items.clone()));
        let common = known.len().min(items.len());
        if known[..common] != items[..common] {
            let what = format!("{gateway} shows {conversation} in another order");
            check.find(what, [*first, line.number]);
        }
        if items.len() > known.len() {
            (*first, *known) = (line.number, items);
        }
    }
}
