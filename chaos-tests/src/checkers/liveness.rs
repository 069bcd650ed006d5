//! The cluster serves again after the heal, and how soon after a fault it did (P5, P6).
//!
//! Once the cluster has converged after the heal (the mark `serve`), every site in which a
//! conversation is opened must show an agent an offer within [`SERVED_MS_MAX`]. Whoever drives the
//! run lets people go on for [`SERVE_MS`] before the drain, or there is nothing to look at. How
//! long it took from each fault to the first offer that any agent received, and how long sessions
//! were without a gateway, is reported.

use std::collections::BTreeMap;

use rotary_proto::{Command, SiteId};

use super::evidence::Evidence;
use super::verdict::{Check, Percentiles};
use crate::history::{Edge, Fact, Record};

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
    for (name, times) in after_faults(evidence, &offers) {
        check.figure(format!("{name}: first offer after"), Percentiles::of(times));
    }
    let outage = |record: &Record| match record {
        Record::Welcome { outage_ms, .. } if *outage_ms > 0 => Some(*outage_ms),
        _ => None,
    };
    let outages = evidence.history.lines.iter().filter_map(|line| outage(&line.record)).collect();
    check.figure("sessions without a gateway", Percentiles::of(outages));
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

/// For every kind of fault, how long after each beginning any session was shown an offer.
fn after_faults<'a>(
    evidence: &Evidence<'a>,
    offers: &BTreeMap<SiteId, Vec<u64>>,
) -> BTreeMap<&'a str, Vec<u64>> {
    let mut all: Vec<u64> = offers.values().flatten().copied().collect();
    all.sort_unstable();
    let mut after: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for line in &evidence.history.lines {
        if let Record::Fault { at_ms, name, edge: Edge::Begin, .. } = &line.record {
            let next = all.get(all.partition_point(|offer| offer < at_ms));
            after.entry(name).or_default().extend(next.map(|next| next - at_ms));
        }
    }
    after
}
