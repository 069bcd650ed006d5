//! What must happen outside, performed: webhooks are told.
//!
//! * `performer`: works off the effects of a shard that are this node's.
//! * `line`: what waits for one endpoint, and when it is tried.
//! * `message`: a webhook's message and its signature.
//! * `endpoint`: posting it, and what the answer means.

mod endpoint;
mod line;
mod message;
mod performer;

use std::sync::Arc;

pub(crate) use endpoint::Endpoint;

use crate::effects::performer::Performer;
use crate::gateway::doors::Doors;

/// Performs the effects of every data shard, as long as the node runs.
pub(crate) fn start(doors: &Doors, endpoint: Endpoint) {
    let endpoint = Arc::new(endpoint);
    for shard in doors.replica.shards() {
        let performer = Performer::new(doors.clone(), shard.clone(), endpoint.clone());
        tokio::spawn(performer.run());
    }
}
