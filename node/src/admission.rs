//! Who is let through to the log while there is more than it can take.
//!
//! Every command that a door proposes takes a [`Permit`] first and gives it back at its outcome.
//! Whoever gets none is told so at once, definitely, with the budget that was spent and a time to
//! come again; nothing waits here. Each gateway decides by itself, per shard, and what it decides
//! by is how long its commands wait ([`limit`]): what is taken up keeps its latency, and the rest
//! is refused while refusing is cheap.
//!
//! Four kinds of work, in the order of their going: the cluster's own, what ends work or goes on
//! with it, what is said in it, and what is new ([`Class`]). What comes later in this order is
//! refused sooner: an accept that is refused leaves a customer waiting and an agent idle, so it is
//! never refused where an open would be admitted.
//!
//! A full shard is shared out among the tenants who want it ([`shares`]), so that a greedy one
//! takes what others leave, and no more. One principal or session has a bound of its own beneath
//! that.

mod class;
mod gate;
mod limit;
mod seats;
mod shares;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use rand::RngExt as _;
use rotary_proto::limits::{
    ADMISSION_INTERVAL_MS, ADMISSION_TARGET_MS, PROPOSALS_NEW_MAX, PROPOSALS_PER_CALLER_MAX,
};
use rotary_proto::{Envelope, Origin, PrincipalId, SessionId, ShardId, TenantId};

use crate::telemetry::names;
pub(crate) use class::Class;
use gate::Gate;
pub(crate) use seats::{Seat, Seats};

/// Who asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Caller {
    /// Somebody with a credential, over HTTP.
    Principal(PrincipalId),
    /// A session.
    Session(SessionId),
}

/// On whose behalf, and who.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    /// Whose share it comes out of; none for administrators of the whole cluster.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) caller: Caller,
}

impl Asker {
    /// Who sent a command; `None` for the cluster itself.
    pub(crate) fn of(envelope: &Envelope) -> Option<Self> {
        let tenant = Some(envelope.site.tenant);
        let caller = match envelope.origin {
            Origin::Session { session, .. } => Caller::Session(session),
            Origin::Request { principal, .. } => Caller::Principal(principal),
            Origin::Internal => return None,
        };
        Some(Self { tenant, caller })
    }
}

/// A budget that is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    /// What the shard can take.
    Shard,
    /// The tenant's share of it.
    Tenant,
    /// What one principal or session may have on its way.
    Caller,
}

impl Budget {
    /// The word of metrics.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Shard => "shard",
            Self::Tenant => "tenant",
            Self::Caller => "caller",
        }
    }
}

/// No permit: the budget that is spent, and when to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) budget: Budget,
    pub(crate) after_ms: u64,
}

/// What an operator may set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How long commands may wait before less is taken up.
    pub(crate) target: Duration,
    /// New work of one shard on its way, at most.
    pub(crate) shard_max: usize,
    /// Commands of one caller on their way, at most.
    pub(crate) caller_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        let target = Duration::from_millis(ADMISSION_TARGET_MS);
        Self { target, shard_max: PROPOSALS_NEW_MAX, caller_max: PROPOSALS_PER_CALLER_MAX }
    }
}

/// The budgets of one gateway.
pub(crate) struct Admission {
    gates: Mutex<BTreeMap<ShardId, Arc<Mutex<Gate>>>>,
    bounds: Bounds,
    begun: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Admission {
    /// Within those bounds.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { gates: Mutex::default(), bounds, begun: Instant::now() }
    }

    /// One gate for each shard that this node proposes to; there is a bounded number of shards.
    fn gate(&self, shard: ShardId) -> Arc<Mutex<Gate>> {
        let mut gates = lock(&self.gates);
        let new = || Arc::new(Mutex::new(Gate::new(self.bounds)));
        gates.entry(shard).or_insert_with(new).clone()
    }

    /// Lets a command of so many bytes through, or says which budget is spent.
    pub(crate) fn admit(
        &self,
        shard: ShardId,
        class: Class,
        asker: Option<Asker>,
        bytes: usize,
    ) -> Result<Permit, Spent> {
        let gate = self.gate(shard);
        let now = self.begun.elapsed();
        let asked = gate::Asked { class, asker, bytes };
        let taken = lock(&gate).take(asked, now);
        let Err((budget, pause_ms)) = taken else {
            return Ok(Permit { gate, asked, begun: Instant::now(), took: None });
        };
        counter!(names::ADMISSION_REFUSED, "budget" => budget.word(), "class" => class.word())
            .increment(1);
        Err(Spent { budget, after_ms: spread(pause_ms) })
    }

    /// Sets the gauges of every shard.
    pub(crate) fn measure(&self) {
        let gates = lock(&self.gates).clone();
        for (shard, gate) in gates {
            let figures = lock(&gate).figures();
            let shard = shard.to_string();
            gauge!(names::ADMISSION_LIMIT, "shard" => shard.clone()).set(figures.limit as f64);
            gauge!(names::ADMISSION_IN_FLIGHT, "shard" => shard.clone())
                .set(figures.in_flight as f64);
            gauge!(names::ADMISSION_WAIT, "shard" => shard).set(figures.wait.as_secs_f64());
        }
    }
}

/// A time about that, so that those who were refused together do not come again together.
pub(crate) fn spread(pause_ms: u64) -> u64 {
    let pause_ms = pause_ms.max(ADMISSION_INTERVAL_MS);
    rand::rng().random_range(pause_ms / 2..=pause_ms + pause_ms / 2)
}

/// Leave to have a command on its way, until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Arc<Mutex<Gate>>,
    asked: gate::Asked,
    begun: Instant,
    took: Option<Duration>,
}

impl Permit {
    /// The command was committed and applied: how long that took says how long others would wait.
    pub(crate) fn committed(mut self) {
        self.took = Some(self.begun.elapsed());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.gate).give_back(self.asked, self.took);
    }
}
