//! The budgets of one shard on one gateway. Pure: the time is given.

use std::collections::HashMap;
use std::time::Duration;

use rotary_proto::limits::{
    ADMISSION_INTERVAL_MS, PROPOSAL_BYTES_PER_CALLER_MAX, PROPOSALS_IN_FLIGHT_MAX,
    RETRY_AFTER_MAX_MS,
};

use super::limit::Limit;
use super::shares::Shares;
use super::{Asker, Bounds, Budget, Caller, Class};

/// Tenants whose wants are counted before they have anything on its way.
const TENANTS_WATCHED_MAX: usize = PROPOSALS_IN_FLIGHT_MAX;

/// What somebody asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) class: Class,
    /// `None` is the cluster itself.
    pub(super) asker: Option<Asker>,
    pub(super) bytes: usize,
}

/// How a gate is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) limit: usize,
    pub(super) in_flight: usize,
    pub(super) wait: Duration,
}

/// What is on its way to a shard.
#[derive(Debug)]
pub(super) struct Gate {
    bounds: Bounds,
    limit: Limit,
    shares: Shares,
    callers: HashMap<Caller, Held>,
    in_flight: usize,
    bytes: usize,
    /// The most that was on its way in this interval, what was let through and what was refused.
    most: usize,
    admitted: u64,
    refused: u64,
    /// What those who are refused are asked to wait.
    pause_ms: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Held {
    in_flight: usize,
    bytes: usize,
}

impl Gate {
    pub(super) fn new(bounds: Bounds) -> Self {
        let limit = Limit::new(bounds.target, bounds.shard_max);
        let shares = Shares::new(limit.value());
        Self {
            bounds,
            limit,
            shares,
            callers: HashMap::new(),
            in_flight: 0,
            bytes: 0,
            most: 0,
            admitted: 0,
            refused: 0,
            pause_ms: ADMISSION_INTERVAL_MS,
        }
    }

    /// Takes a place, or says which budget is spent and how long to wait.
    pub(super) fn take(&mut self, asked: Asked, now: Duration) -> Result<(), (Budget, u64)> {
        if self.limit.is_due(now) {
            self.end_interval(now);
        }
        if let Some(budget) = self.spent(asked) {
            let Asked { class, asker, .. } = asked;
            if budget == Budget::Caller {
                return Err((budget, ADMISSION_INTERVAL_MS));
            }
            self.refused += 1;
            if let Some(asker) = asker.filter(|_| class.is_shared_out()) {
                self.shares.refuse(asker.tenant, TENANTS_WATCHED_MAX);
            }
            return Err((budget, self.pause_ms));
        }
        self.admitted += 1;
        self.in_flight += 1;
        self.bytes += asked.bytes;
        self.most = self.most.max(self.in_flight);
        if let Some(Asker { tenant, caller }) = asked.asker {
            self.shares.take(tenant, asked.bytes);
            let held = self.callers.entry(caller).or_default();
            held.in_flight += 1;
            held.bytes += asked.bytes;
        }
        Ok(())
    }

    /// The first budget that has no room, the narrowest first.
    fn spent(&self, asked: Asked) -> Option<Budget> {
        let Asked { class, asker, bytes } = asked;
        let room = class.room(self.limit.value());
        if let Some(Asker { tenant, caller }) = asker {
            let held = self.callers.get(&caller).copied().unwrap_or_default();
            let parts = |whole: usize| (whole * class.quarters() / 4).max(1);
            if held.in_flight >= parts(self.bounds.caller_max)
                || held.bytes + bytes > parts(PROPOSAL_BYTES_PER_CALLER_MAX)
            {
                return Some(Budget::Caller);
            }
            let (in_flight, held) = self.shares.of(tenant);
            // In bytes nobody has more than half of what there is for that kind of work.
            let spent = held + bytes > class.bytes() / 2;
            let contended = self.shares.is_contended();
            let level = match class.is_shared_out() {
                true => class.room(self.shares.level()),
                false if contended => room / 2,
                false => room,
            };
            if spent || in_flight >= level {
                return Some(if contended { Budget::Tenant } else { Budget::Shard });
            }
        }
        // Who is below the level finds room until those above it have given theirs back.
        let more = if class.is_shared_out() { room / 2 } else { 0 };
        let full = self.in_flight >= room + more;
        (full || self.bytes + bytes > class.bytes()).then_some(Budget::Shard)
    }

    /// Gives a place back; `took` is how long a commit took.
    pub(super) fn give_back(&mut self, asked: Asked, took: Option<Duration>) {
        self.in_flight -= 1;
        self.bytes -= asked.bytes;
        if let Some(took) = took {
            self.limit.note(took);
        }
        let Some(Asker { tenant, caller }) = asked.asker else { return };
        self.shares.give_back(tenant, asked.bytes);
        let held = self.callers.get_mut(&caller).expect("what is given back was taken");
        held.in_flight -= 1;
        held.bytes -= asked.bytes;
        if held.in_flight == 0 {
            self.callers.remove(&caller);
        }
    }

    fn end_interval(&mut self, now: Duration) {
        let used = self.refused > 0 || self.most >= self.limit.value() * 3 / 4;
        self.limit.end_interval(now, used);
        self.shares.end_interval(self.limit.value());
        // If all who were refused came again within this time, they would be as many as were let
        // through.
        let times = 1 + self.refused / self.admitted.max(1);
        self.pause_ms = (ADMISSION_INTERVAL_MS * times).min(RETRY_AFTER_MAX_MS * 2 / 3);
        (self.most, self.admitted, self.refused) = (self.in_flight, 0, 0);
    }

    pub(super) fn figures(&self) -> Figures {
        let (limit, in_flight) = (self.limit.value(), self.in_flight);
        Figures { limit, in_flight, wait: self.limit.wait() }
    }
}
