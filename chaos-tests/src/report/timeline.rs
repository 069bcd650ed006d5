//! A history in columns: what happened in each stretch of time.

use std::collections::{BTreeMap, BTreeSet};

use rotary_proto::ids::ShardId;

use super::{BUCKETS_MAX, ROWS_MAX};
use crate::checkers::Percentiles;
use crate::history::{Edge, End, Fact, History, Record};

/// Bars or dots of one lane.
const MARKS_MAX: usize = 200;
/// Latencies that are kept of one column: a fair sample of all.
const SAMPLES_MAX: usize = 2_000;

/// One column.
#[derive(Debug, Clone, Default)]
pub(super) struct Bucket {
    pub(super) ok: u64,
    pub(super) fail: u64,
    pub(super) unknown: u64,
    /// How long operations took that were acknowledged, in milliseconds.
    pub(super) latency: Percentiles,
    samples: Vec<u64>,
    seen: u64,
}

/// A stretch in which something was so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
    pub(super) what: String,
}

/// One kind of fault.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    pub(super) done: u64,
    pub(super) bitten: u64,
    pub(super) missed: u64,
    pub(super) bars: Vec<Stretch>,
    /// How long after each beginning any session was shown an offer.
    pub(super) first_offers: Vec<u64>,
}

/// A run in columns.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    pub(super) end_ms: u64,
    pub(super) bucket_ms: u64,
    pub(super) buckets: Vec<Bucket>,
    pub(super) marks: Vec<(u64, String)>,
    pub(super) faults: BTreeMap<String, Faults>,
    pub(super) leaders: BTreeMap<ShardId, Vec<Stretch>>,
    /// When a fault began, and how long the first offer took.
    pub(super) first_offers: Vec<(u64, u64)>,
}

impl Timeline {
    /// Of a whole history.
    pub(super) fn of(history: &History) -> Self {
        let times = history.lines.iter().filter_map(|line| line.record.at_ms());
        let end_ms = times.max().unwrap_or(1).max(1);
        let bucket_ms = end_ms.div_ceil(BUCKETS_MAX as u64).max(250);
        let count = (end_ms / bucket_ms + 1) as usize;
        let buckets = vec![Bucket::default(); count];
        let mut timeline = Self { end_ms, bucket_ms, buckets, ..Self::default() };
        let mut open: BTreeMap<(String, String), u64> = BTreeMap::new();
        for line in &history.lines {
            timeline.add(&line.record, &mut open);
        }
        for ((name, target), from_ms) in open {
            timeline.bar(&name, Stretch { from_ms, to_ms: end_ms, what: target });
        }
        timeline.offers_after_faults(history);
        for bucket in &mut timeline.buckets {
            bucket.latency = Percentiles::of(std::mem::take(&mut bucket.samples));
        }
        timeline
    }

    fn add(&mut self, record: &Record, open: &mut BTreeMap<(String, String), u64>) {
        match record {
            Record::Operation(operation) => {
                let took = operation.returned_ms.saturating_sub(operation.invoked_ms);
                let at = (operation.returned_ms / self.bucket_ms) as usize;
                let Some(bucket) = self.buckets.get_mut(at) else { return };
                match operation.end {
                    End::Ok { .. } => {
                        bucket.ok += 1;
                        bucket.sample(took);
                    }
                    End::Fail { .. } => bucket.fail += 1,
                    End::Unknown { .. } => bucket.unknown += 1,
                }
            }
            Record::Mark { at_ms, name } if self.marks.len() < ROWS_MAX => {
                self.marks.push((*at_ms, name.clone()));
            }
            Record::Fault { at_ms, name, target, edge: Edge::Begin, .. } => {
                self.faults.entry(name.clone()).or_default().done += 1;
                open.insert((name.clone(), target.clone()), *at_ms);
            }
            Record::Fault { at_ms, name, target, edge: Edge::End, .. } => {
                if let Some(from_ms) = open.remove(&(name.clone(), target.clone())) {
                    let (to_ms, what) = (*at_ms, target.clone());
                    self.bar(name, Stretch { from_ms, to_ms, what });
                }
            }
            Record::Bitten { name, bitten, .. } => {
                let faults = self.faults.entry(name.clone()).or_default();
                faults.bitten += u64::from(*bitten);
                faults.missed += u64::from(!bitten);
            }
            Record::Leader { at_ms, shard, node } => {
                let (from_ms, to_ms) = (*at_ms, self.end_ms);
                let lane = self.leaders.entry(*shard).or_default();
                if lane.last().is_some_and(|last| last.what == *node) || lane.len() >= MARKS_MAX {
                    return;
                }
                if let Some(last) = lane.last_mut() {
                    last.to_ms = from_ms;
                }
                lane.push(Stretch { from_ms, to_ms, what: node.clone() });
            }
            _ => {}
        }
    }

    fn bar(&mut self, name: &str, stretch: Stretch) {
        let bars = &mut self.faults.entry(name.to_owned()).or_default().bars;
        if bars.len() < MARKS_MAX {
            bars.push(stretch);
        }
    }

    fn offers_after_faults(&mut self, history: &History) {
        let mut offers = BTreeSet::new();
        for line in &history.lines {
            if let Record::Received { at_ms, event, .. } = &line.record
                && let Fact::Offered { .. } = event.fact
            {
                offers.insert(*at_ms);
            }
        }
        for line in &history.lines {
            let Record::Fault { at_ms, name, edge: Edge::Begin, .. } = &line.record else {
                continue;
            };
            let Some(next) = offers.range(at_ms..).next() else { continue };
            self.faults.entry(name.clone()).or_default().first_offers.push(next - at_ms);
            if self.first_offers.len() < MARKS_MAX {
                self.first_offers.push((*at_ms, next - at_ms));
            }
        }
    }
}

impl Bucket {
    /// Keeps every so-manieth where there are too many.
    fn sample(&mut self, took: u64) {
        self.seen += 1;
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(took);
        } else {
            let at = (self.seen.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % self.seen;
            if let Some(kept) = self.samples.get_mut(at as usize) {
                *kept = took;
            }
        }
    }
}
