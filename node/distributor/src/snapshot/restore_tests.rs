//! Each way in which records under good sums are refused.

use std::borrow::Cow;

use std::collections::BTreeMap;

use rotary_proto::ids::{GatewayId, NodeId, PrincipalId, SessionId};
use rotary_proto::{ShardCommand, SitePart, Wall, snapshot};

use super::*;
use crate::moves::{Expected, Travel};
use crate::site::Work;
use crate::snapshot::record::tests::small;

/// What comes of the small shard's records when they are changed.
fn changed(change: impl FnOnce(&mut Vec<Record>)) -> Result<Shard, RestoreError> {
    let frozen = small().freeze();
    let mut records: Vec<Record> = frozen.records().collect();
    change(&mut records);
    let chunks: Vec<_> = snapshot::chunks(Machine::Distributor, records.into_iter()).collect();
    chunks
        .iter()
        .try_fold(Restore::new(ShardId(1)), |restore, chunk| restore.chunk(chunk))?
        .finish()
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Vec<Record>)) -> RestoreError {
    changed(change).map(|shard| shard.digest()).expect_err("it is refused")
}

/// The reason why the site's records contradict each other.
#[track_caller]
fn contradiction(change: impl FnOnce(&mut Vec<Record>)) -> String {
    match refused(change) {
        RestoreError::Inconsistent { detail, .. } => detail,
        other => panic!("{other}"),
    }
}

fn at(records: &[Record], kind: usize) -> usize {
    records.iter().position(|record| record.kind() == kind).expect("the small shard has one")
}

/// Leaves out the first record of a kind.
fn without(kind: usize) -> impl FnOnce(&mut Vec<Record>) {
    move |records| drop(records.remove(at(records, kind)))
}

/// Puts a record before the first one of its kind, or of the next kind that there is, and counts
/// it.
fn with(record: Record<'static>) -> impl FnOnce(&mut Vec<Record>) {
    move |records| {
        let place = records.iter().position(|other| other.kind() >= record.kind());
        let kind = record.kind();
        records.insert(place.expect("the end is the last kind"), record);
        for record in records {
            if let Record::SiteEnd(counts) = record {
                counts[kind] += 1;
            }
        }
    }
}

const CONVERSATION: usize = 17;
const EFFECT: usize = 18;

#[test]
fn records_as_they_were_are_restored() {
    assert_eq!(changed(|_| ()).expect("unchanged").digest(), small().digest());
}

#[test]
fn records_out_of_order_or_missing_are_refused() {
    assert_eq!(refused(without(SHARD)), RestoreError::OutOfOrder { kind: LEASE });
    assert_eq!(refused(without(SITE)), RestoreError::OutOfOrder { kind: 9 });
    assert_eq!(refused(without(SITE_END)), RestoreError::OutOfOrder { kind: END });
    assert_eq!(refused(without(END)), RestoreError::Count);
    assert_eq!(refused(without(CONVERSATION)), RestoreError::Count);
    assert_eq!(refused(|records| records.swap(3, 9)), RestoreError::OutOfOrder { kind: 11 });
    let more = |records: &mut Vec<Record>| records.push(Record::SiteEnd([0; Record::KINDS]));
    assert_eq!(refused(more), RestoreError::OutOfOrder { kind: SITE_END });
    let none =
        |records: &mut Vec<Record>| drop(records.drain(at(records, SITE)..=at(records, SITE_END)));
    assert_eq!(refused(none), RestoreError::Count);
}

#[test]
fn another_digest_is_refused() {
    let of_site = |records: &mut Vec<Record>| {
        let place = at(records, SITE);
        let Record::Site(head) = &mut records[place] else { panic!("it is the site's") };
        head.to_mut().offers += 1;
    };
    assert_eq!(refused(of_site), RestoreError::Digest { site: Some(SiteId::new(1, 1)) });
    let of_shard = |records: &mut Vec<Record>| {
        let marks = Cow::Owned(BTreeMap::new());
        let view = Cow::Owned(View::default());
        let (id, last, logic_version) = (ShardId(1), Stamp(99), 1);
        records[0] = Record::Shard { id, last, logic_version, marks, view };
    };
    assert_eq!(refused(of_shard), RestoreError::Digest { site: None });
}

#[test]
fn what_no_digest_covers_is_checked() {
    let conversation = |change: fn(&mut Option<u32>, &mut Option<Stamp>)| {
        move |records: &mut Vec<Record>| {
            for record in records {
                if let Record::Conversation { class, alarm, .. } = record {
                    change(class, alarm);
                }
            }
        }
    };
    assert!(contradiction(conversation(|class, _| *class = Some(7))).contains("class"));
    assert!(contradiction(conversation(|class, _| *class = None)).contains("class"));
    let silent = refused(conversation(|_, alarm| *alarm = None));
    assert!(matches!(&silent, RestoreError::Violation(found) if found.promise == "P5"), "{silent}");
    let early = changed(conversation(|_, alarm| *alarm = Some(Stamp(5))));
    assert_eq!(early.expect("an alarm may ring early").digest(), small().digest());
    let idle = |records: &mut Vec<Record>| {
        let place = at(records, SITE);
        let Record::Site(head) = &mut records[place] else { panic!("it is the site's") };
        head.to_mut().due = None;
    };
    assert!(contradiction(idle).contains("due"));
}

#[test]
fn what_comes_twice_or_refers_to_nothing_is_refused() {
    for kind in [9, 11, 12, 13, 14, 16, CONVERSATION, EFFECT, 20, 21] {
        let twice = |records: &mut Vec<Record>| {
            let place = at(records, kind);
            let frozen = small().freeze();
            let again = frozen.records().nth(place).expect("the same place");
            let bytes = rotary_proto::codec::encode(&again, rotary_proto::codec::Limit::Entry);
            let again = rotary_proto::codec::decode(
                &bytes.expect("it fits"),
                rotary_proto::codec::Limit::Entry,
            );
            records.insert(place, again.expect("it can be read"));
        };
        assert!(contradiction(twice).contains("twice"), "kind {kind}");
    }
    let agent = AgentId(4);
    let admitted = contradiction(with(Record::Admitted { agent, slot: 0 }));
    assert!(admitted.contains("admitted"), "{admitted}");
    let principals = |records: &mut Vec<Record>| {
        records.retain(|record| !matches!(record, Record::Principal { .. }));
    };
    assert!(contradiction(principals).contains("principal"));
    let gateway = GatewayId { node: NodeId(9), run: 9 };
    let lost = contradiction(with(Record::LostSession { gateway, session: SessionId(11) }));
    assert!(lost.contains("gateway"), "{lost}");
    let floor = Record::Principal { principal: PrincipalId(77), floor_ms: 5 };
    let site = Some(SiteId::new(1, 1));
    assert_eq!(refused(with(floor)), RestoreError::Digest { site });
    let odd = changed(with(Record::Work(Work::MoveItems(9))));
    odd.expect("such a class may be gone").apply(99, Stamp(99), Wall(0), ShardCommand::Tick);
}

#[test]
fn more_than_there_may_be_is_refused() {
    let leases = |records: &mut Vec<Record>| {
        for run in 0..=limits::GATEWAYS_PER_SHARD_MAX as u64 {
            let gateway = GatewayId { node: NodeId(9), run };
            records.insert(1, Record::Lease { gateway, until: Stamp(5) });
        }
    };
    let limit = "gateways_per_shard_max";
    assert_eq!(refused(leases), RestoreError::LimitReached { limit });
    let reasons = |records: &mut Vec<Record>| {
        let name = Name::new("name").expect("valid");
        for reason in 1..=limits::REASONS_PER_SITE_MAX as u16 {
            let id = rotary_proto::ids::ReasonId(reason);
            with(Record::Reason(id, Cow::Owned(name.clone())))(records);
        }
    };
    let limit = "reasons_per_site_max";
    assert_eq!(refused(reasons), RestoreError::LimitReached { limit });
}

#[test]
fn sites_on_their_way_are_taken_in_their_order_and_bounds_only() {
    let site = SiteId::new(1, 7);
    let (from, departed, attempt) = (ShardId(2), 5, 90);
    let arriving = || Record::Arriving(Expected { site, from, departed, attempt, version: 1 });
    let (number, ends_chunk, bytes) = (0, true, vec![1]);
    let sample = SitePart { site, attempt, number, ends_chunk, bytes };
    let part = |change: fn(&mut SitePart)| {
        let mut part = sample.clone();
        change(&mut part);
        Record::Part(Cow::Owned(part))
    };
    let put = |more: Vec<Record<'static>>| {
        move |records: &mut Vec<Record>| drop(records.splice(2..2, more))
    };
    let alone = put(vec![part(|_| ())]);
    assert_eq!(refused(alone), RestoreError::OutOfOrder { kind: PART });
    let begun = part(|part| part.ends_chunk = false);
    let kept = refused(put(vec![arriving(), begun]));
    assert_eq!(kept, RestoreError::Digest { site: None }, "the digest covers it");
    let twice = refused(put(vec![arriving(), arriving()]));
    assert_eq!(twice, RestoreError::LimitReached { limit: "arrivals_max" });
    let unread = refused(put(vec![arriving(), part(|_| ())]));
    assert_eq!(
        unread,
        RestoreError::Digest { site: None },
        "what it makes is seen when it arrives"
    );
    let other = contradiction(put(vec![arriving(), part(|part| part.attempt = 91)]));
    assert!(other.contains("attempt 90"), "{other}");
    let travel = || {
        let mut travel = Travel::none_yet(ShardId(1));
        travel.stays.clear();
        Record::Travel(Cow::Owned(travel))
    };
    assert!(contradiction(with(travel())).contains("nowhere"));
    let mut on_its_way = Restore::alone(ShardId(1), LogicVersions { oldest: 1, newest: 1 });
    on_its_way.building.last = Some(SHARD);
    let refused = on_its_way.building.take(arriving());
    assert_eq!(refused, Err(RestoreError::OutOfOrder { kind: ARRIVING }), "a site brings none");
}
