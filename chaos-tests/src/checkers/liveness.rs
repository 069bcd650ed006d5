//! The cluster serves again after the heal, and how soon after a fault it did (P5, P6).
//!
//! Once the cluster has converged after the heal (the mark `serve`), every site in which a
//! conversation is opened must show an agent an offer within [`SERVED_MS_MAX`]. Whoever drives the
//! run lets people go on for [`SERVE_MS`] before the drain, or there is nothing to look at.
//!
//! For every kind of fault it is reported how long it took from its beginning, at sites whose shard
//! a node that it hit was leading, to the first offer that an agent received, and to the first
//! acknowledged change that was asked for since; and how long sessions were without a gateway.

use std::collections::BTreeMap;

use rotary_proto::ids::ShardId;
use rotary_proto::{Command, SiteId};

use super::evidence::Evidence;
use super::verdict::Check;
use crate::history::{Edge, Fact, Operation, Record};

/// How soon after an opening there must be an offer, in milliseconds: longer than
/// [`crate::workload`]'s agents may all be busy.
pub const SERVED_MS_MAX: u64 = 30_000;
/// For how long people go on once the cluster has converged, in milliseconds.
pub const SERVE_MS: u64 = 40_000;

/// Looks at what came after faults.
pub fn check(evidence: &Evidence<'_>) -> Check {
    let mut check = Check::new("liveness", "offers received");
    let offers = offers(evidence);
    check.checked = offers.values().map(|times| times.len() as u64).sum();
    if let Some(serve) = evidence.marks.get("serve") {
        let mut served = 0;
        for (site, opened, line) in opened_after(evidence, *serve) {
            served += 1;
            let times = offers.get(&site).map_or(&[][..], Vec::as_slice);
            let next = times.get(times.partition_point(|at| *at < opened)).copied();
            if next.is_none_or(|at| at - opened > SERVED_MS_MAX) {
                let what = format!("{site}: opened at {opened} ms, and the next offer is {next:?}");
                check.find(what, [line]);
            }
        }
        check.figure("sites looked at after the heal", served);
    } else if !evidence.history.head.nemeses.is_empty() {
        check.doubt("there is no mark `serve` after the heal");
    }
    for (name, after) in after_faults(evidence, &offers) {
        check.times(format!("{name}: first offer after"), after.offer);
        check.times(format!("{name}: first change after"), after.change);
    }
    let outage = |record: &Record| match record {
        Record::Welcome { outage_ms, .. } if *outage_ms > 0 => Some(*outage_ms),
        _ => None,
    };
    let outages = evidence.history.lines.iter().filter_map(|line| outage(&line.record)).collect();
    check.times("sessions without a gateway", outages);
    check.unless_empty()
}

/// When sessions received offers, by site.
fn offers(evidence: &Evidence<'_>) -> BTreeMap<SiteId, Vec<u64>> {
    let mut offers: BTreeMap<SiteId, Vec<u64>> = BTreeMap::new();
    for line in &evidence.history.lines {
        if let Record::Received { at_ms, event, .. } = &line.record
            && let Fact::Offered { .. } = event.fact
        {
            offers.entry(event.site).or_default().push(*at_ms);
        }
    }
    offers.values_mut().for_each(|times| times.sort_unstable());
    offers
}

/// The first conversation that was opened in each site after then: site, when, line.
fn opened_after(evidence: &Evidence<'_>, serve: u64) -> Vec<(SiteId, u64, usize)> {
    let drain = evidence.marks.get("drain").copied().unwrap_or(u64::MAX);
    let mut first: BTreeMap<SiteId, (u64, usize)> = BTreeMap::new();
    for operation in evidence.operations.iter().filter(|operation| operation.of.is_ok()) {
        let Command::Open { .. } = &*operation.of.command else { continue };
        let at = operation.of.returned_ms;
        if operation.of.invoked_ms >= serve && at.saturating_add(SERVED_MS_MAX) < drain {
            first.entry(operation.of.site).or_insert((at, operation.line));
        }
    }
    first.into_iter().map(|(site, (at, line))| (site, at, line)).collect()
}

/// How long after each fault of a kind there was something again, in milliseconds.
#[derive(Default)]
struct After {
    offer: Vec<u64>,
    change: Vec<u64>,
}

/// For every kind of fault that hit leaders of sites, how long those sites did nothing.
fn after_faults<'a>(
    evidence: &Evidence<'a>,
    offers: &BTreeMap<SiteId, Vec<u64>>,
) -> BTreeMap<&'a str, After> {
    let changes = changes(evidence);
    let mut leaders: BTreeMap<ShardId, &str> = BTreeMap::new();
    let mut after: BTreeMap<&str, After> = BTreeMap::new();
    for line in &evidence.history.lines {
        match &line.record {
            Record::Leader { shard, node, .. } => {
                leaders.insert(*shard, node);
            }
            Record::Fault { at_ms, name, target, edge: Edge::Begin, .. } => {
                let led = |shard: &ShardId| {
                    leaders.get(shard).is_some_and(|leader| target.split(',').any(|t| t == *leader))
                };
                let hit = evidence.shards.iter().filter(|(_, shard)| led(shard));
                let hit: Vec<SiteId> = hit.map(|(site, _)| *site).collect();
                let offer = hit.iter().filter_map(|site| next(offers.get(site)?, *at_ms)).min();
                let change = hit.iter().filter_map(|site| changes.get(site)?.after(*at_ms)).min();
                let of = after.entry(name).or_default();
                of.offer.extend(offer);
                of.change.extend(change);
            }
            _ => {}
        }
    }
    after.retain(|_, after| !after.offer.is_empty() || !after.change.is_empty());
    after
}

/// How long after a time there is the next of some sorted times.
fn next(times: &[u64], at: u64) -> Option<u64> {
    Some(times.get(times.partition_point(|time| *time < at))? - at)
}

/// Acknowledged changes of a site by the time that they were asked for, with the first end of this
/// and all later ones.
#[derive(Default)]
struct Changes(Vec<(u64, u64)>);

impl Changes {
    /// How long after a time the first change was acknowledged that was asked for since.
    fn after(&self, at: u64) -> Option<u64> {
        Some(self.0.get(self.0.partition_point(|(asked, _)| *asked < at))?.1 - at)
    }
}

fn changes(evidence: &Evidence<'_>) -> BTreeMap<SiteId, Changes> {
    let mut changes: BTreeMap<SiteId, Changes> = BTreeMap::new();
    for operation in evidence.operations.iter().filter(|operation| operation.of.is_ok()) {
        let Operation { site, invoked_ms, returned_ms, .. } = operation.of;
        changes.entry(*site).or_default().0.push((*invoked_ms, *returned_ms));
    }
    for Changes(of) in changes.values_mut() {
        of.sort_unstable();
        let mut first = u64::MAX;
        for (_, end) in of.iter_mut().rev() {
            first = first.min(*end);
            *end = first;
        }
    }
    changes
}
