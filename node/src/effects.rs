//! What must happen outside, performed: webhooks are told, mails are sent, bots
//! are asked.
//!
//! * `performer`: works off the effects of a shard that are this node's.
//! * `line`: what waits for one endpoint, and when it is tried.
//! * `webhook`: telling one; `message` is its message and signature, `endpoint` posts it.
//! * `bot`: having a bot answer a customer.
//! * `mail`: sending one, at most once.
//! * `relay`: where mails are handed over, as the configuration has it.
//! * `settle`: having an outcome logged.

mod bot;
mod endpoint;
mod line;
mod mail;
mod message;
mod performer;
mod relay;
mod settle;
mod webhook;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) use endpoint::Endpoint;
pub(crate) use relay::{RelayError, relay};
use rotary_channels::smtp::Relay;
use rotary_proto::EffectId;

use crate::effects::performer::Performer;
use crate::gateway::doors::Doors;
use crate::replica::ShardReplica;

/// What effects are performed with.
pub(crate) struct Tools {
    pub(crate) endpoint: Endpoint,
    /// Without one, no mail is sent.
    pub(crate) mailer: Option<Relay>,
    /// What this node is performing. The effects of a site that moved are looked at by the
    /// performer of another shard, while an attempt of the first one may be under way.
    running: Mutex<BTreeSet<EffectId>>,
}

impl Tools {
    /// Tools with which nothing is performed yet.
    pub(crate) fn new(endpoint: Endpoint, mailer: Option<Relay>) -> Self {
        Self { endpoint, mailer, running: Mutex::default() }
    }

    fn running(&self) -> MutexGuard<'_, BTreeSet<EffectId>> {
        self.running.lock().expect("nothing panics under this lock")
    }

    /// Begins to perform an effect, unless that is under way on this node.
    fn begin(&self, effect: EffectId) -> bool {
        self.running().insert(effect)
    }

    /// Performs it no more.
    fn end(&self, effect: EffectId) {
        self.running().remove(&effect);
    }
}

/// Performs the effects of a data shard, as long as the node runs.
pub(crate) fn start(doors: &Doors, shard: Arc<ShardReplica>, tools: &Arc<Tools>) {
    tokio::spawn(Performer::new(doors.clone(), shard, tools.clone()).run());
}
