//! Every offer ends exactly once, and none before its time (P5).
//!
//! An offer becomes an assignment, or ends for one reason. One that ran out did so at its deadline
//! or after; how long after, in shard time, is reported. None stands long after its deadline,
//! whatever ends it then. An assignment is never made at or after the deadline.

use std::collections::BTreeMap;

use rotary_proto::event::OfferEnd;
use rotary_proto::ids::{AgentId, OfferId};
use rotary_proto::{SiteId, Stamp};

use super::evidence::{Evidence, Story};
use super::verdict::{Check, Percentiles};
use crate::history::Fact;

/// How long after its deadline an offer, a wait or a wrap-up may stand, in milliseconds of shard
/// time.
pub const LATE_MS_MAX: u64 = 3_000;

/// An offer as it was made.
struct Offer {
    agent: AgentId,
    until: Stamp,
    line: usize,
    ended: Option<usize>,
}

/// Follows every offer.
pub fn check(evidence: &Evidence<'_>) -> Check {
    let mut check = Check::new("exactly_once_terminal", "offers");
    let mut late_ms = Vec::new();
    for (site, story) in &evidence.stories {
        offers(&mut check, *site, story, evidence.is_drained(), &mut late_ms);
    }
    check.figure("ran out after their deadline by", Percentiles::of(late_ms));
    evidence.doubt_stories(&mut check);
    if !evidence.is_drained() {
        check.doubt("the run was not drained, so what stands is not known to be stuck");
    }
    check.unless_empty()
}

fn offers(
    check: &mut Check,
    site: SiteId,
    story: &Story<'_>,
    drained: bool,
    late_ms: &mut Vec<u64>,
) {
    let mut offers: BTreeMap<OfferId, Offer> = BTreeMap::new();
    for event in &story.events {
        let (line, now) = (event.line, event.of.stamp);
        let (offer, agent, why) = match event.of.fact {
            Fact::Offered { offer, agent, until, .. } => {
                check.checked += 1;
                let made = Offer { agent, until, line, ended: None };
                if let Some(before) = offers.insert(offer, made) {
                    check.find(format!("{site}: {offer} was made twice"), [before.line, line]);
                }
                continue;
            }
            Fact::OfferEnded { offer, agent, why, .. } => (offer, agent, Some(why)),
            Fact::Assigned { offer, agent, .. } => (offer, agent, None),
            _ => continue,
        };
        let Some(made) = offers.get_mut(&offer) else {
            check.find(format!("{site}: {offer} ended, and was never made"), [line]);
            continue;
        };
        let lines = [made.line, made.ended.unwrap_or_default(), line];
        if made.ended.replace(line).is_some() {
            check.find(format!("{site}: {offer} ended twice"), lines);
        } else if made.agent != agent {
            check.find(format!("{site}: {offer} was for {}, not for {agent}", made.agent), lines);
        }
        match ended(made.until, now, why) {
            Ok(late) => late_ms.extend(late),
            Err(what) => check.find(format!("{site}: {offer} {what}"), lines),
        }
    }
    for (offer, made) in offers.iter().filter(|(_, made)| drained && made.ended.is_none()) {
        check.find(format!("{site}: {offer} never ended"), [made.line]);
    }
}

/// How late an offer ran out, if it did, or what is wrong with the time of its end.
fn ended(until: Stamp, now: Stamp, why: Option<OfferEnd>) -> Result<Option<u64>, String> {
    let late_ms = now.ms_since(until);
    match why {
        None if now >= until => Err(format!("was taken {late_ms} ms after its deadline")),
        Some(OfferEnd::Expired) if now < until => {
            Err(format!("ran out {} ms before its deadline", until.ms_since(now)))
        }
        // Whatever ended it, it should have run out long before.
        Some(_) if late_ms > LATE_MS_MAX => Err(format!("stood {late_ms} ms after its deadline")),
        Some(OfferEnd::Expired) => Ok(Some(late_ms)),
        _ => Ok(None),
    }
}
