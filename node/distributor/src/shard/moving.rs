//! The steps of a site's way from one shard to another (`moves` says what they are for).

use std::sync::Arc;

use rotary_proto::event::{Audience, Event, EventRecord};
use rotary_proto::ids::{GatewayId, ShardId, SiteId};
use rotary_proto::{Done, Refusal, SiteMove, SitePart, Stamp, limits};

use super::{Entry, Shard, turn};
use crate::marks::Marks;
use crate::moves::{
    Arrival, Arrived, Assembled, Assembly, Away, Departure, Expected, Stay, Travel,
};
use crate::site::{Site, Work};
use crate::snapshot::Frozen;

impl Shard {
    /// Carries out a step. What was done already is done.
    pub(super) fn move_site(
        &mut self,
        entry: Entry,
        step: SiteMove,
        events: &mut Vec<EventRecord>,
    ) -> Result<Done, Refusal> {
        match step {
            SiteMove::Depart { site, to, departed } => self.depart(entry, site, to, departed)?,
            SiteMove::Return { site, departed } => self.bring_back(entry, site, departed)?,
            SiteMove::Forget { site, departed } => self.forget(site, departed)?,
            SiteMove::Expect { site, from, departed } => {
                let (attempt, version) = (entry.index, self.logic_version);
                self.expect(Expected { site, from, departed, attempt, version })?;
            }
            SiteMove::Take(part) => self.moves.take(part)?,
            SiteMove::Arrive { site, attempt, parts } => {
                let arrived = self.moves.arrive(site, attempt, parts)?;
                self.arrive(entry, arrived, events)?;
            }
            SiteMove::Decline { site, departed } => {
                self.absent(site)?;
                self.moves.decline(site, departed)?;
            }
            SiteMove::Settle { site, departed } => {
                let found = self.sites.get_mut(&site).ok_or(Refusal::SiteUnknown)?;
                match &mut found.travel {
                    Some(travel) if travel.departures == departed => travel.settled = true,
                    _ => return Err(other_departure()),
                }
                self.note_due(site);
            }
        }
        Ok(Done::Ok)
    }

    fn depart(
        &mut self,
        entry: Entry,
        id: SiteId,
        to: ShardId,
        number: u64,
    ) -> Result<(), Refusal> {
        if let Some(away) = self.moves.away.get(&id) {
            let there = Refusal::SiteAway { shard: away.to };
            return if away.to == to { Ok(()) } else { Err(there) };
        }
        if self.moves.away.len() >= limits::SITES_GONE_PER_SHARD_MAX {
            return Err(limit("sites_gone_per_shard_max"));
        }
        if to == self.id {
            let rule = "it lives in this shard".to_owned();
            return Err(Refusal::BadValue { field: "to".to_owned(), rule });
        }
        let shard = self.id;
        let site = self.sites.get_mut(&id).ok_or(Refusal::SiteUnknown)?;
        if site.frozen {
            return Err(Refusal::SiteFrozen);
        }
        let at = site.clock(entry.now);
        let (stays, before) =
            site.travel.as_ref().map_or((1, 0), |travel| (travel.stays.len(), travel.departures));
        if stays >= limits::SITE_STAYS_MAX {
            return Err(limit("site_stays_max"));
        }
        if before + 1 != number {
            return Err(other_departure());
        }
        let travel = site.travel.get_or_insert_with(|| Travel::none_yet(shard));
        travel.departures = number;
        let departed = Some(Departure { number, index: entry.index, at });
        self.moves.away.insert(id, Away { to, departed });
        self.note_due(id);
        Ok(())
    }

    /// A site that departed lives on here. Its clock goes on where it stood.
    fn bring_back(&mut self, entry: Entry, id: SiteId, number: u64) -> Result<(), Refusal> {
        let Some((_, departure)) = self.moves.departure(id) else {
            let away = self.moves.refusal(id).or_else(|| self.absent(id).ok().map(|()| UNKNOWN));
            return away.map_or(Ok(()), Err);
        };
        if departure.number != number {
            return Err(other_departure());
        }
        self.moves.away.remove(&id);
        let mut site = self.sites.remove(&id).expect("what has departed is here");
        let travel = site.travel.as_mut().expect("it was made when it departed");
        travel.clock_us = offset(departure.at, entry.now);
        self.settle_in(entry, site);
        Ok(())
    }

    /// Forgets a site that lives elsewhere by now.
    fn forget(&mut self, id: SiteId, number: u64) -> Result<(), Refusal> {
        let Some(away) = self.moves.away.get_mut(&id) else {
            let rule = "it has not departed".to_owned();
            return Err(Refusal::BadValue { field: "site".to_owned(), rule });
        };
        match away.departed {
            Some(departure) if departure.number != number => return Err(other_departure()),
            Some(_) => {
                away.departed = None;
                self.forgotten = LastForgotten(self.sites.remove(&id).map(Box::new));
                self.unsettled.retain(|site| *site != id);
            }
            None => {}
        }
        Ok(())
    }

    fn expect(&mut self, expected: Expected) -> Result<(), Refusal> {
        if self.sites.len() >= limits::SITES_PER_SHARD_MAX {
            return Err(limit("sites_per_shard_max"));
        }
        self.absent(expected.site)?;
        self.moves.expect(expected)
    }

    /// Refuses where the state of a site is here.
    fn absent(&self, id: SiteId) -> Result<(), Refusal> {
        if !self.sites.contains_key(&id) {
            return Ok(());
        }
        let rule = "it is in this shard".to_owned();
        Err(Refusal::BadValue { field: "site".to_owned(), rule })
    }

    /// A site whose parts have come lives here from now on.
    fn arrive(
        &mut self,
        entry: Entry,
        arrived: Arrived,
        events: &mut Vec<EventRecord>,
    ) -> Result<(), Refusal> {
        let Arrived { expected, mut alone } = arrived;
        let (id, from) = (expected.site, expected.from);
        let mut site = alone.sites.remove(&id).expect("it was looked for");
        self.moves.note_taken(id, expected.departed)?;
        self.moves.away.remove(&id);
        let travel = site.travel.get_or_insert_with(|| Travel::none_yet(from));
        travel.stays.push(Stay { shard: self.id, first: site.sequence + 1 });
        travel.clock_us = offset(alone.last, entry.now);
        (travel.arrived, travel.settled) = (alone.last, false);
        site.recorded = self.marks.recorded();
        let mut turn = turn(&mut site, &self.view, entry, events, &mut self.effort);
        turn.emit(Audience::default(), Event::SiteMoved { from, to: entry.shard });
        self.settle_in(entry, site);
        Ok(())
    }

    /// Puts a site among those that are served. Its gateways have a lease to renew; whoever has
    /// none and finds no room for one loses its sessions.
    fn settle_in(&mut self, entry: Entry, mut site: Site) {
        let gateways: Vec<GatewayId> = site.by_gateway.keys().copied().collect();
        for gateway in gateways {
            // Also one that has a lease here: it may end before the gateway knows of the site.
            if self.renew_lease(gateway, entry.now).is_err() {
                lose(&mut site, gateway);
            }
        }
        let id = site.id;
        self.sites.insert(id, site);
        self.settle(id);
    }

    /// Freezes a site that has departed, as the only one of a shard, as it was when it did.
    pub(crate) fn freeze_alone(&mut self, id: SiteId) -> Option<Frozen> {
        let (_, Departure { at, .. }) = self.moves.departure(id)?;
        let site = self.sites.get_mut(&id)?;
        let mut head = Self::new(self.id);
        head.restore_head(at, self.logic_version, Marks::default(), self.view.clone());
        let lease = at.plus_ms(limits::LEASE_MS);
        head.leases = site.by_gateway.keys().map(|gateway| (*gateway, lease)).collect();
        // Nothing is known there of what this shard's replicas have on their disks.
        let recorded = std::mem::replace(&mut site.recorded, u64::MAX);
        let due = site.due(at);
        site.recorded = recorded;
        let mut frozen = head.freeze();
        frozen.add(site, due);
        Some(frozen)
    }

    /// Begins to put together the site that is being given to this shard, if there is one.
    pub fn assembly(&self) -> Option<Assembly> {
        self.moves.arriving.values().next().map(Arrival::assembly)
    }

    /// The next parts of a site that is being put together, at most `most`. `None` if it is not
    /// expected any more.
    pub fn parts_for(&self, assembly: &Assembly, most: usize) -> Option<Vec<Arc<SitePart>>> {
        let arrival = self.moves.arriving.get(&assembly.site())?;
        let is_same = arrival.attempt() == assembly.attempt();
        is_same.then(|| arrival.parts_from(assembly.parts()).take(most).cloned().collect())
    }

    /// Whether the site that is being given to this shard has been put together ahead.
    pub fn is_assembled(&self) -> bool {
        self.moves.arriving.values().next().is_some_and(Arrival::is_ready)
    }

    /// Takes a site that was put together ahead of the entry that brings it to life, which then
    /// takes less time and gives the same.
    pub fn put_assembled(&mut self, assembled: Assembled) {
        self.moves.put_ready(assembled);
    }

    /// The state of a site that was forgotten last, to be dropped where it delays nobody.
    pub fn take_forgotten(&mut self) -> Option<Forgotten> {
        self.forgotten.0.take().map(Forgotten)
    }
}

/// The state of a site that was forgotten. There is nothing to do with it but to drop it, which
/// takes as long as there is to free.
#[derive(Debug)]
pub struct Forgotten(#[allow(dead_code, reason = "it is here to be dropped")] Box<Site>);

/// The same, until somebody takes it or there is another. A copy of the shard goes without.
#[derive(Debug, Default)]
pub(super) struct LastForgotten(Option<Box<Site>>);

impl Clone for LastForgotten {
    fn clone(&self) -> Self {
        Self(None)
    }
}

fn other_departure() -> Refusal {
    let rule = "it is another departure".to_owned();
    Refusal::BadValue { field: "departed".to_owned(), rule }
}

const UNKNOWN: Refusal = Refusal::SiteUnknown;

fn limit(limit: &str) -> Refusal {
    Refusal::LimitReached { limit: limit.to_owned() }
}

/// What has to be added to shard time so that a site's clock, which stood still, goes on.
fn offset(stood: Stamp, now: Stamp) -> i64 {
    let (stood, now) = (i64::try_from(stood.0 + 1), i64::try_from(now.0));
    stood.unwrap_or(i64::MAX).saturating_sub(now.unwrap_or(i64::MAX))
}

/// Takes a gateway's sessions off a site's books: at once for matching, session by session for
/// everything else.
pub(super) fn lose(site: &mut Site, gateway: GatewayId) {
    if let Some(mut sessions) = site.by_gateway.remove(&gateway) {
        site.lost_gateways.entry(gateway).or_default().append(&mut sessions);
        site.work.push_back(Work::LoseGateway(gateway));
    }
}
