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

use std::sync::Arc;

pub(crate) use endpoint::Endpoint;
pub(crate) use relay::{RelayError, relay};
use rotary_channels::smtp::Relay;

use crate::effects::performer::Performer;
use crate::gateway::doors::Doors;

/// What effects are performed with.
pub(crate) struct Tools {
    pub(crate) endpoint: Endpoint,
    /// Without one, no mail is sent.
    pub(crate) mailer: Option<Relay>,
}

/// Performs the effects of every data shard, as long as the node runs.
pub(crate) fn start(doors: &Doors, tools: Tools) {
    let tools = Arc::new(tools);
    for shard in doors.replica.shards() {
        let performer = Performer::new(doors.clone(), shard.clone(), tools.clone());
        tokio::spawn(performer.run());
    }
}
