//! P9 as it can be seen from outside: every replica tells the same story, dense from 1.

use rotary_proto::{Event, NodeId, SiteId};

use super::history::History;
use super::readings::{FeedEvent, Readings};
use super::verdict::Verdict;

pub(super) fn check(history: &History, readings: &Readings, verdict: &mut Verdict) {
    let sites = history.run.as_ref().map_or(&[][..], |run| &run.sites);
    for site in sites {
        let mut reference: Option<(NodeId, &[FeedEvent])> = None;
        for (node, reading) in &readings.nodes {
            let Some(events) = reading.sites.get(site) else {
                verdict.differing.insert(format!("{node} has no feed of {site}"));
                continue;
            };
            dense(*node, *site, events, verdict);
            match reference {
                None => reference = Some((*node, events)),
                Some((other, expected)) => {
                    compare(*site, (other, expected), (*node, events), verdict);
                }
            }
        }
    }
}

/// Places are 1, 2, 3 ... and indexes never fall, but where the site goes on in another shard: from
/// there on they are of that one's log.
fn dense(node: NodeId, site: SiteId, events: &[FeedEvent], verdict: &mut Verdict) {
    let mut index = 0;
    for (due, record) in (1..).zip(events) {
        if record.sequence != due {
            let at = record.sequence;
            verdict.gaps.insert(format!("{site} on {node}: place {at} where {due} was due"));
            return;
        }
        let goes_on = matches!(record.event, Event::SiteMoved { .. });
        if record.index < index && !goes_on {
            let text = format!("{site} on {node}: index {} after {index}", record.index);
            verdict.gaps.insert(text);
        }
        index = record.index;
    }
}

fn compare(
    site: SiteId,
    (one, expected): (NodeId, &[FeedEvent]),
    (two, events): (NodeId, &[FeedEvent]),
    verdict: &mut Verdict,
) {
    let place = expected.iter().zip(events).position(|(a, b)| a != b);
    if let Some(place) = place {
        let at = expected[place].sequence;
        verdict.differing.insert(format!("{site}: {one} and {two} differ at place {at}"));
    } else if expected.len() != events.len() {
        let (a, b) = (expected.len(), events.len());
        verdict.differing.insert(format!("{site}: {one} has {a} events, {two} has {b}"));
    }
}
