//! Proposals on their way from a node that does not lead the shard to the one that does.
//!
//! Whatever waits for the same shard goes in one request; while requests are on their way the next
//! one gathers. A request is waited for, though not for long once this node knows of another
//! leader: whoever can repeat the proposal should do so there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rotary_proto::NodeId;
use rotary_proto::codec::{self, Limit};
use rotary_transport::{Lane, Transport};
use tokio::sync::{Semaphore, mpsc};

use crate::inbound::SERVICE_PROPOSE;
use crate::propose::{self, ProposeError};
use crate::proposer::{Outcome, Proposal, gather};
use crate::shard::{LeaderView, Shard};

/// How long a replaced leader may take to answer what it was asked before.
const REPLACED_GRACE: Duration = Duration::from_millis(100);
/// Requests of one shard on their way at once.
const REQUESTS_IN_FLIGHT_MAX: usize = 8;

/// Hands proposals on until the shard stops.
pub(crate) async fn run(
    shard: Arc<Shard>,
    transport: Arc<Transport>,
    mut waiting: mpsc::Receiver<Proposal>,
    ttl: Duration,
) {
    let permits = Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT_MAX));
    let mut held = None;
    loop {
        let permit = permits.clone().acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let Some(batch) = gather(&mut waiting, &mut held).await else { return };
        let (shard, transport) = (shard.clone(), transport.clone());
        tokio::spawn(async move {
            let payloads: Vec<Bytes> =
                batch.iter().flat_map(|proposal| proposal.payloads.iter().cloned()).collect();
            let leader = shard.view.borrow().leader;
            let outcomes = match leader {
                Some(leader) => send(&shard, &transport, leader, payloads, ttl).await,
                None => vec![Err(ProposeError::NotLeader { leader: None }); payloads.len()],
            };
            let mut outcomes = outcomes.into_iter();
            for proposal in batch {
                let own = outcomes.by_ref().take(proposal.payloads.len()).collect();
                // A proposer that has given up is not there to be told.
                drop(proposal.outcomes.send(own));
            }
            drop(permit);
        });
    }
}

/// Asks a node to propose, and returns an outcome for each payload.
pub(crate) async fn send(
    shard: &Shard,
    transport: &Transport,
    leader: NodeId,
    payloads: Vec<Bytes>,
    ttl: Duration,
) -> Vec<Outcome> {
    let count = payloads.len();
    shard.applied.counters.forwarded.fetch_add(count as u64, Ordering::Relaxed);
    let request = propose::join(shard.id, &payloads);
    let answer = transport.call(leader, Lane::Live, SERVICE_PROPOSE, request, ttl);
    let mut view = shard.view.subscribe();
    let term = view.borrow().term;
    let replaced = async {
        let newer = |view: &LeaderView| {
            view.term > term && view.leader.is_some_and(|other| other != leader)
        };
        // An error means that the shard stops here, which is as good a reason.
        drop(view.wait_for(newer).await);
        tokio::time::sleep(REPLACED_GRACE).await;
    };
    let outcomes = tokio::select! {
        biased;
        answer = answer => match answer {
            Ok(answer) => codec::decode::<Vec<Outcome>>(&answer, Limit::Wire)
                .map_err(|error| ProposeError::Unknown(error.to_string())),
            Err(error) => Err(ProposeError::from_call(leader, error)),
        },
        () = replaced => Err(ProposeError::Unknown(format!("{leader} was replaced meanwhile"))),
    };
    match outcomes {
        Ok(outcomes) if outcomes.len() == count => outcomes,
        Ok(_) => vec![Err(ProposeError::Unknown("answers are missing".to_owned())); count],
        Err(error) => vec![Err(error); count],
    }
}
