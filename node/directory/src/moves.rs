//! Sites that are to live in another shard.
//!
//! Where a site lives is said here, and where it is to live. How it gets there is a matter of the
//! two shards' logs; whoever brings that about tells how it came out. A move that comes to nothing
//! stays here with the reason, until it is asked for again or taken back.

use std::sync::Arc;

use rotary_proto::{ShardId, SiteId, limits};
use serde::{Deserialize, Serialize};

use crate::command::{DirectoryDone, DirectoryEvent, DirectoryRefusal};
use crate::nodes::bad;
use crate::state::Directory;

/// Sites that may be on their way, or wait for their turn, at a time.
pub(crate) const MOVES_MAX: usize = 128;
/// Bytes of a reason for which a site is where it was; longer ones are cut.
pub(crate) const REASON_BYTES_MAX: usize = 160;

/// A site that is to live elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteMoving {
    /// Where.
    pub to: ShardId,
    /// Counts the moves that were asked for, so that the first asked for is the first made.
    pub number: u64,
    /// Why it is not taken there, if it is not: it is to live where it was.
    pub failed: Option<String>,
}

impl SiteMoving {
    pub(crate) fn is_valid(&self) -> bool {
        self.failed.as_ref().is_none_or(|failed| failed.len() <= REASON_BYTES_MAX)
    }
}

type Done = Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal>;

impl Directory {
    /// Sites that are to live elsewhere, and what came of it, in the order of their ids.
    pub fn moving(&self) -> impl Iterator<Item = (SiteId, &SiteMoving)> {
        self.moving.iter().map(|(site, moving)| (*site, moving))
    }

    /// Whether a site is to live elsewhere, or did not get there.
    pub fn moving_of(&self, site: SiteId) -> Option<&SiteMoving> {
        self.moving.get(&site)
    }

    /// Has a site live in another shard.
    pub(crate) fn move_site(&mut self, site: SiteId, to: ShardId) -> Done {
        let from = self.shard_of(site).ok_or(DirectoryRefusal::SiteUnknown)?;
        if self.founding.contains_key(&to) {
            return Err(DirectoryRefusal::ShardNotFounded { shard: to });
        }
        let placed = self.placed.get(&to).copied();
        let placed = placed.ok_or(DirectoryRefusal::ShardUnknown { shards: self.shards })?;
        let wanted = self.moving.get(&site).filter(|moving| moving.failed.is_none());
        match wanted.map(|moving| moving.to) {
            Some(wanted) if wanted == to => return Ok((DirectoryDone::Ok, Vec::new())),
            Some(wanted) => return Err(DirectoryRefusal::SiteMoving { shard: wanted }),
            None if from == to => {
                Arc::make_mut(&mut self.moving).remove(&site);
                return Ok((DirectoryDone::Ok, Vec::new()));
            }
            None => {}
        }
        let coming = self.moving.values().filter(|moving| moving.to == to).count();
        if placed as usize + coming >= limits::SITES_PER_SHARD_MAX {
            return Err(DirectoryRefusal::LimitReached { limit: "sites_per_shard_max".to_owned() });
        }
        if self.moving.len() >= MOVES_MAX && !self.moving.contains_key(&site) {
            return Err(DirectoryRefusal::LimitReached { limit: "site_moves_max".to_owned() });
        }
        self.last_move += 1;
        let moving = SiteMoving { to, number: self.last_move, failed: None };
        Arc::make_mut(&mut self.moving).insert(site, moving);
        Ok((DirectoryDone::Ok, vec![DirectoryEvent::SiteToMove { site, from, to }]))
    }

    /// Takes a move back that failed, or that has not begun; one that is under way is told to fail.
    pub(crate) fn cancel_move(&mut self, site: SiteId) -> Done {
        if self.shard_of(site).is_none() {
            return Err(DirectoryRefusal::SiteUnknown);
        }
        match self.moving.get(&site).map(|moving| moving.failed.is_some()) {
            None => Ok((DirectoryDone::Ok, Vec::new())),
            Some(true) => {
                Arc::make_mut(&mut self.moving).remove(&site);
                Ok((DirectoryDone::Ok, Vec::new()))
            }
            Some(false) => self.fail(site, "it was taken back"),
        }
    }

    /// Notes that a site lives where it was to live.
    pub(crate) fn site_moved(&mut self, site: SiteId, to: ShardId) -> Done {
        let from = self.shard_of(site).ok_or(DirectoryRefusal::SiteUnknown)?;
        if !self.placed.contains_key(&to) {
            return Err(DirectoryRefusal::ShardUnknown { shards: self.shards });
        }
        if self.moving.get(&site).is_some_and(|moving| moving.to == to) {
            Arc::make_mut(&mut self.moving).remove(&site);
        }
        if from == to {
            return Ok((DirectoryDone::Ok, Vec::new()));
        }
        if let Some((shard, _)) = Arc::make_mut(&mut self.sites).get_mut(&site) {
            *shard = to;
        }
        self.placed.entry(from).and_modify(|count| *count -= 1);
        self.placed.entry(to).and_modify(|count| *count += 1);
        Ok((DirectoryDone::Ok, vec![DirectoryEvent::SiteMoved { site, from, to }]))
    }

    /// Has a site live where it was found: for a directory that is brought back beside shards that
    /// were not stopped at the same moment.
    ///
    /// # Errors
    /// `SiteUnknown`, `ShardUnknown`.
    pub fn rehouse(&mut self, site: SiteId, shard: ShardId) -> Result<(), DirectoryRefusal> {
        self.site_moved(site, shard).map(drop)
    }

    /// Notes that a site is to stay where it is, and why.
    pub(crate) fn move_failed(&mut self, site: SiteId, number: u64, why: &str) -> Done {
        match self.moving.get(&site) {
            Some(moving) if moving.failed.is_none() && moving.number == number => {
                self.fail(site, why)
            }
            Some(_) => Ok((DirectoryDone::Ok, Vec::new())),
            None => Err(bad("site", "it is not to move".to_owned())),
        }
    }

    fn fail(&mut self, site: SiteId, why: &str) -> Done {
        let end = (0..=REASON_BYTES_MAX.min(why.len())).rev().find(|at| why.is_char_boundary(*at));
        let why = why[..end.unwrap_or(0)].to_owned();
        if let Some(moving) = Arc::make_mut(&mut self.moving).get_mut(&site) {
            moving.failed = Some(why.clone());
        }
        Ok((DirectoryDone::Ok, vec![DirectoryEvent::SiteStays { site, why }]))
    }
}

#[cfg(test)]
#[path = "moves_tests.rs"]
mod tests;
