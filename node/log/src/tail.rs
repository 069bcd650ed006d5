//! A replica whose log lost its tail does not vote until nothing can be missing.
//!
//! A torn last batch is cut when the log is opened. If its sync had never returned, nothing that
//! this replica promised was in it; but if the disk lied or rotted, entries or a vote that it had
//! acknowledged are gone, and with its vote a leader could be elected that does not have them
//! either. So it neither votes nor stands for election, until
//!
//! * it has applied everything that a leader, elected without it, had in its log; or
//! * nobody leads and *every* member has said what the last entry of its log is. Then the log with
//!   the highest of them, term first, has everything that any of them still has, and votes go to
//!   replicas with such a log only. If an entry beyond it is known to have been committed, it is
//!   lost, and an alarm says so.
//!
//! A replica whose whole log was lost is no different, once that is noted ([`doubt_note`]).
//!
//! While a member is absent and those that were not cut are no majority, the shard waits, and says
//! for whom.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rotary_proto::{NodeId, ShardId};
use rotary_transport::{Lane, Transport};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::door::about;
use crate::shard::Shard;
use crate::types::{LogId, VoteRequest, decode, encode};

/// The transport service that answers with what a replica knows of its log's end.
pub const SERVICE_TAIL: u8 = 7;

const ASK_TTL: Duration = Duration::from_secs(1);
const ASK_INTERVAL: Duration = Duration::from_millis(200);
/// Every so many rounds in vain a warning is logged.
const WARN_ROUNDS: u32 = 50;

/// The name of the note that a replica lost its log and began another: whoever sets a damaged log
/// aside writes it first, for every shard. It counts as if the log had lost its tail.
pub fn doubt_note(shard: ShardId) -> String {
    format!("doubt-{}", shard.0)
}

/// What a replica knows of the end of a log.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) term: u64,
    pub(crate) leads: bool,
    pub(crate) last: Option<LogId>,
    /// The highest index that it knows to have been committed.
    pub(crate) committed: u64,
}

/// Whether a replica may vote.
#[derive(Debug, Default)]
pub(crate) struct TailState {
    cut: AtomicBool,
    /// Once every member has reported: a log that ends before this gets no vote.
    floor: Mutex<Option<LogId>>,
}

impl TailState {
    pub(crate) fn new(cut: bool) -> Self {
        Self { cut: AtomicBool::new(cut), floor: Mutex::default() }
    }

    /// Whether something may be missing from the log.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    fn floor(&self) -> std::sync::MutexGuard<'_, Option<LogId>> {
        self.floor.lock().expect("no code panics while it holds this lock")
    }

    /// Whether this replica may answer a request for its vote.
    pub(crate) fn may_vote(&self, request: &VoteRequest) -> Result<(), String> {
        if !self.is_cut() {
            return Ok(());
        }
        match *self.floor() {
            Some(floor) if request.last_log_id.is_some_and(|last| last >= floor) => Ok(()),
            Some(_) => Err("its log lost its tail; only the longest log gets its vote".to_owned()),
            None => Err("its log lost its tail; it does not vote until caught up".to_owned()),
        }
    }
}

/// Answers with a report.
pub(crate) fn answer(shard: &Shard) -> Result<Vec<u8>, String> {
    let report = report(shard).map_err(|error| error.to_string())?;
    encode(&report).map_err(|error| error.to_string())
}

fn report(shard: &Shard) -> std::io::Result<Report> {
    let (view, status) = (*shard.view.borrow(), shard.status());
    let committed = shard.log.committed()?.map_or(0, |id| id.index).max(status.applied_index);
    Ok(Report { term: view.term, leads: view.is_self, last: shard.log.last_log_id()?, committed })
}

/// Ends the doubt; returns once the replica may vote.
pub(crate) async fn run(shard: &Shard, members: Vec<NodeId>, transport: &Transport) {
    if !shard.tail.is_cut() {
        return;
    }
    tracing::error!(shard = %shard.id, "the log lost its tail: no vote until it has caught up");
    let mut target = None;
    let mut round = 0;
    loop {
        if shard.view.borrow().is_self {
            break;
        }
        let absent = look(shard, &members, transport, &mut target).await;
        if target.is_some_and(|index| shard.status().applied_index >= index) {
            break;
        }
        round += 1;
        if round % WARN_ROUNDS == 0 {
            tracing::warn!(shard = %shard.id, ?absent, "still without a vote; waiting for these");
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    }
    let (done, cleared) = oneshot::channel();
    shard.log.clear_cut(Box::new(move |result| drop(done.send(result))));
    let noted = shard.applied.forget_doubt();
    if !matches!((cleared.await, noted), (Ok(Ok(())), Ok(()))) {
        return;
    }
    shard.tail.cut.store(false, Ordering::Release);
    shard.raft.runtime_config().elect(true);
    tracing::info!(shard = %shard.id, "the log is whole again");
}

/// Asks the others once. Finds the index to catch up to, if somebody leads; else the floor, if
/// everybody answered. Returns who did not.
async fn look(
    shard: &Shard,
    members: &[NodeId],
    transport: &Transport,
    target: &mut Option<u64>,
) -> Vec<NodeId> {
    let others = members.iter().copied().filter(|node| *node != transport.node());
    let asked = others.map(|node| async move {
        let group = about(shard.id);
        let answer = transport.call(node, Lane::Live, SERVICE_TAIL, group, ASK_TTL).await;
        (node, answer.ok().and_then(|answer| decode::<Report>(&answer).ok()))
    });
    let answers = futures::future::join_all(asked).await;
    let absent = answers.iter().filter(|(_, report)| report.is_none()).map(|(node, _)| *node);
    let absent: Vec<NodeId> = absent.collect();
    let mut reports: Vec<Report> = answers.iter().filter_map(|(_, report)| *report).collect();
    let term = shard.view.borrow().term;
    let leader = reports.iter().filter(|report| report.leads && report.term >= term);
    if let Some(leader) = leader.max_by_key(|report| report.term) {
        let last = leader.last.map_or(0, |id| id.index);
        target.get_or_insert(last);
    } else if absent.is_empty() {
        reports.extend(report(shard).ok());
        everybody_reported(shard, &reports);
    }
    absent
}

fn everybody_reported(shard: &Shard, reports: &[Report]) {
    let Some(highest) = reports.iter().filter_map(|report| report.last).max() else { return };
    if shard.tail.floor().replace(highest) == Some(highest) {
        return;
    }
    let committed = reports.iter().map(|report| report.committed).max().unwrap_or(0);
    if committed > highest.index {
        let (shard, last) = (shard.id, highest.index);
        tracing::error!(%shard, committed, last, "committed entries are on no replica any more");
    }
    let stands = shard.log.last_log_id().is_ok_and(|last| last == Some(highest));
    tracing::warn!(shard = %shard.id, %highest, stands, "every member has said what it has");
    shard.raft.runtime_config().elect(stands);
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId;

    use super::*;
    use crate::types::Vote;

    fn id(term: u64, index: u64) -> LogId {
        LogId::new(openraft::impls::leader_id_adv::LeaderId::new(term, 1), index)
    }

    fn request(last: Option<LogId>) -> VoteRequest {
        VoteRequest::new(Vote::new(9, 2), last)
    }

    #[test]
    fn a_cut_replica_votes_for_the_longest_log_only() {
        let whole = TailState::new(false);
        assert_eq!(whole.may_vote(&request(None)), Ok(()));
        let cut = TailState::new(true);
        assert!(cut.may_vote(&request(Some(id(8, 100)))).is_err(), "not everybody reported");
        *cut.floor() = Some(id(3, 40));
        assert!(cut.may_vote(&request(None)).is_err());
        assert!(cut.may_vote(&request(Some(id(2, 90)))).is_err(), "the term comes first");
        assert!(cut.may_vote(&request(Some(id(3, 39)))).is_err());
        assert_eq!(cut.may_vote(&request(Some(id(3, 40)))), Ok(()));
        assert_eq!(cut.may_vote(&request(Some(id(4, 2)))), Ok(()));
    }
}
