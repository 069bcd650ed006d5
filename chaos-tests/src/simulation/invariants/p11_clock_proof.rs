//! P11: clock-proof.
//!
//! Deadlines run on shard time, which is no faster than time itself, whatever wall clocks say: no
//! stamp is ahead of the world's age, and no stretch of shard time is longer than the stretch of
//! time that it took. An offer therefore never ends before its time. (That wall clocks change no
//! decision at all is checked by running a seed again with still clocks: `meta`.)

use std::collections::BTreeMap;

use rotary_proto::event::OfferEnd;
use rotary_proto::{Event, OfferId, SiteId, Stamp};

use super::{Findings, Seen};
use crate::simulation::history::Ms;

/// The longest that an entry takes from its stamp to its first application, in which another may
/// be stamped later and applied at once. Milliseconds: a propose timeout and an election.
const COMMIT_MS_MAX: u64 = 60_000;

/// The slowest stamp of each shard, and when offers end.
pub(crate) struct ClockProof {
    last: Vec<(Stamp, Ms)>,
    offers: BTreeMap<(SiteId, OfferId), Stamp>,
}

impl ClockProof {
    pub(crate) fn new(shards: usize) -> Self {
        Self { last: vec![(Stamp::ZERO, 0); shards], offers: BTreeMap::new() }
    }

    pub(crate) fn applied(&mut self, seen: &Seen<'_>, found: &mut Findings) {
        let last = &mut self.last[seen.made.shard as usize];
        let (stamp, now_ms) = (seen.stamp, seen.now_ms);
        let (ran, took) = (stamp.ms_since(last.0), now_ms - last.1);
        if stamp <= last.0 {
            found.breach("P11", format!("index {}: {stamp:?} after {:?}", seen.made.index, last.0));
        }
        if stamp > Stamp::from_ms(now_ms + 1) || ran > took + COMMIT_MS_MAX {
            let age = format!("{ran} ms of shard time in {took} ms, {stamp:?} at {now_ms} ms");
            found.breach("P11", format!("index {}: {age}", seen.made.index));
        }
        *last = (stamp, now_ms);
        for record in seen.events {
            // A site that moved has a clock of its own.
            self.event(record.site, record.stamp, &record.event, found);
        }
    }

    fn event(&mut self, site: SiteId, now: Stamp, event: &Event, found: &mut Findings) {
        match event {
            Event::Offered { offer, until, .. } => {
                self.offers.insert((site, *offer), *until);
            }
            Event::OfferEnded { offer, why, .. } => {
                let until = self.offers.remove(&(site, *offer));
                if *why == OfferEnd::Expired && until.is_some_and(|until| now < until) {
                    found.breach("P11", format!("{offer} ended at {now:?}, before its time"));
                }
            }
            _ => {}
        }
    }
}
