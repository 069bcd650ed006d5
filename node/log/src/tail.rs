//! A replica whose log lost its tail neither votes nor follows as if it had lost nothing.
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
//!   lost, and an alarm says so. Where nobody has any entry, there was nothing to lose: a shard
//!   that never began.
//!
//! A replica whose whole log was lost is no different, once that is noted ([`doubt_note`]).
//!
//! The vote that it lost may have made a leader, and an older one that it followed instead could
//! have a majority with it for what the new one never sees. So it takes nothing from a leader
//! before so many others have said in which term they are that no majority could have been made
//! with its vote behind their backs, and then only from a leader of the highest of these terms or
//! a later one.
//!
//! While a member is absent and those that were not cut are no majority, the shard waits, and says
//! for whom.
//!
//! Who the members are is in the log, too, and so may be what was lost. So the others say whom
//! they take for members, and it is asked of all of these ([`Electorates`]): of the newest that
//! somebody knows to be committed, and of any that came later. Those before count no more, because
//! whoever took in the newer ones is in no earlier term than a leader that the lost vote made among
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) term: u64,
    pub(crate) leads: bool,
    /// Whether it lost its tail, too, so that its term may be one that it has forgotten.
    pub(crate) cut: bool,
    pub(crate) last: Option<LogId>,
    /// The highest index that it knows to have been committed.
    pub(crate) committed: u64,
    /// The newest members that its log has.
    pub(crate) electorate: Electorate,
}

impl Report {
    /// Whether there is no entry, nor anything that stands for one.
    fn is_empty(&self) -> bool {
        self.last.is_none() && self.committed == 0
    }
}

/// Whose votes count, as an entry of the log says: a majority of each set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Electorate {
    since: Option<LogId>,
    sets: Vec<BTreeSet<u64>>,
}

impl Electorate {
    fn of(shard: &Shard) -> Self {
        let metrics = shard.raft.metrics();
        let metrics = metrics.borrow_watched();
        let stored = &metrics.membership_config;
        Self { since: *stored.log_id(), sets: stored.membership().get_joint_config().clone() }
    }

    /// Whether no majority can have been made with that node's vote, or can have gone on to other
    /// members, behind the backs of these, of whom it is said whether they may have forgotten a
    /// vote, too.
    fn is_covered(&self, node: NodeId, said: &BTreeMap<NodeId, bool>) -> bool {
        self.sets.iter().all(|set| {
            let others = set.iter().map(|member| NodeId(*member)).filter(|other| *other != node);
            let heard: Vec<Option<bool>> = others.map(|other| said.get(&other).copied()).collect();
            let certain = heard.iter().filter(|cut| **cut == Some(false)).count();
            let minority = set.len() - (set.len() / 2 + 1);
            certain > minority || heard.iter().all(Option::is_some)
        })
    }
}

/// Those whose votes may count, as far as a replica can find out that has lost a part of its log.
#[derive(Debug)]
pub(crate) struct Electorates {
    by_entry: BTreeMap<Option<LogId>, Electorate>,
    /// The newest that are known to be committed.
    settled: Option<LogId>,
}

impl Electorates {
    /// Everybody, as long as nothing is known.
    fn everybody(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let by_entry = BTreeMap::from([(None, Electorate::default())]);
        let mut everybody = Self { by_entry, settled: None };
        everybody.are(nodes);
        everybody
    }

    /// Takes in who is there, where nothing else is known: nodes come and go meanwhile.
    fn are(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        if let Some(everybody) = self.by_entry.get_mut(&None) {
            everybody.sets = vec![nodes.into_iter().map(|node| node.0).collect()];
        }
    }

    /// Takes in one that somebody's log has, who knows entries up to there to be committed.
    fn add(&mut self, electorate: &Electorate, committed: u64) {
        let Some(since) = electorate.since else { return };
        self.by_entry.entry(Some(since)).or_insert_with(|| electorate.clone());
        if since.index <= committed {
            self.settled = self.settled.max(Some(since));
        }
        let settled = self.settled;
        self.by_entry.retain(|entry, _| *entry >= settled);
    }

    /// Everybody in them but one.
    fn without(&self, node: NodeId) -> BTreeSet<NodeId> {
        let sets = self.by_entry.values().flat_map(|electorate| &electorate.sets);
        sets.flatten().copied().map(NodeId).filter(|other| *other != node).collect()
    }

    fn are_covered(&self, node: NodeId, reports: &Reports) -> bool {
        let said = reports.iter().map(|(node, report)| (*node, report.cut)).collect();
        self.by_entry.values().all(|electorate| electorate.is_covered(node, &said))
    }
}

/// What others said.
type Reports = BTreeMap<NodeId, Report>;

/// For whom a replica may vote, and whom it may follow.
#[derive(Debug, Default)]
pub(crate) struct TailState {
    cut: AtomicBool,
    /// Once every member has reported: a log that ends before this gets no vote.
    floor: Mutex<Option<LogId>>,
    /// Once enough members have reported: a leader of an earlier term is not followed.
    term: Mutex<Option<u64>>,
}

impl TailState {
    pub(crate) fn new(cut: bool) -> Self {
        Self { cut: AtomicBool::new(cut), floor: Mutex::default(), term: Mutex::default() }
    }

    /// Whether something may be missing from the log.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    fn floor(&self) -> std::sync::MutexGuard<'_, Option<LogId>> {
        self.floor.lock().expect("no code panics while it holds this lock")
    }

    /// The first term whose leader may be followed, once that is known.
    fn term(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.term.lock().expect("no code panics while it holds this lock")
    }

    /// Whether this replica may take anything from the leader of that term.
    pub(crate) fn may_follow(&self, term: u64) -> Result<(), String> {
        if !self.is_cut() {
            return Ok(());
        }
        match *self.term() {
            Some(first) if term >= first => Ok(()),
            Some(first) => Err(format!(
                "its log lost its tail; it follows no leader of term {term}, others are in {first}"
            )),
            None => Err("its log lost its tail; it asks the others for their terms".to_owned()),
        }
    }

    /// Takes in what the others said of those with a vote, among whom is `node`, this one.
    fn heard(&self, node: NodeId, own: u64, reports: &Reports, electorates: &Electorates) {
        if electorates.are_covered(node, reports) {
            let highest = reports.values().map(|report| report.term).fold(own, u64::max);
            let mut term = self.term();
            *term = (*term).max(Some(highest));
        }
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
    let last = shard.log.last_log_id()?;
    let electorate = Electorate::of(shard);
    let (term, leads, cut) = (view.term, view.is_self, shard.tail.is_cut());
    Ok(Report { term, leads, cut, last, committed, electorate })
}

/// The latest term that this replica and all of those nodes know of, where all of them say that
/// their replica of a shard has no entries.
pub(crate) async fn term_of_new(
    shard: &Shard,
    transport: &Transport,
    nodes: impl Iterator<Item = NodeId>,
) -> Option<u64> {
    let asked = nodes.map(|node| report_of(shard.id, transport, node));
    let reports = futures::future::join_all(asked).await.into_iter();
    let reports: Option<Vec<Report>> = reports.chain([report(shard).ok()]).collect();
    let reports = reports?;
    let are_new = reports.iter().all(|report| report.is_empty() && !report.cut);
    are_new.then(|| reports.iter().map(|report| report.term).max().unwrap_or(0))
}

/// What another node knows of its replica's log.
async fn report_of(shard: ShardId, transport: &Transport, node: NodeId) -> Option<Report> {
    let answer = transport.call(node, Lane::Live, SERVICE_TAIL, about(shard), ASK_TTL).await;
    decode::<Report>(&answer.ok()?).ok()
}

/// Ends the doubt; returns once the replica may vote.
pub(crate) async fn run(shard: &Shard, transport: &Transport) {
    if !shard.tail.is_cut() {
        return;
    }
    tracing::error!(
        code = "log-cut",
        shard = %shard.id,
        "the log lost its tail: no vote until it has caught up"
    );
    let everybody = || transport.peers().into_iter().chain([transport.node()]);
    let (mut target, mut electorates) = (None, Electorates::everybody(everybody()));
    let mut round = 0;
    loop {
        if shard.view.borrow().is_self {
            break;
        }
        electorates.are(everybody());
        let absent = look(shard, &mut electorates, transport, &mut target).await;
        let Some(absent) = absent else { break };
        if target.is_some_and(|index| shard.status().applied_index >= index) {
            break;
        }
        round += 1;
        if round % WARN_ROUNDS == 0 {
            tracing::warn!(
                code = "log-cut",
                shard = %shard.id, ?absent,
                "still without a vote; waiting for these"
            );
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
/// everybody answered. Returns who did not; `None` where everybody did, and nobody has anything.
async fn look(
    shard: &Shard,
    electorates: &mut Electorates,
    transport: &Transport,
    target: &mut Option<u64>,
) -> Option<Vec<NodeId>> {
    let this = transport.node();
    electorates.add(&Electorate::of(shard), shard.status().applied_index);
    let others = electorates.without(this);
    let asked = others
        .iter()
        .map(|node| async move { (*node, report_of(shard.id, transport, *node).await) });
    let answers = futures::future::join_all(asked).await;
    let reports: Reports =
        answers.into_iter().filter_map(|(node, report)| Some((node, report?))).collect();
    // Who is new among them is asked at the next look.
    reports.values().for_each(|report| electorates.add(&report.electorate, report.committed));
    let others = electorates.without(this);
    let absent: Vec<NodeId> =
        others.iter().filter(|node| !reports.contains_key(node)).copied().collect();
    shard.tail.heard(this, shard.view.borrow().term, &reports, electorates);
    let term = *shard.tail.term();
    let leader =
        reports.values().filter(|report| report.leads && term.is_some_and(|t| report.term >= t));
    if let Some(leader) = leader.max_by_key(|report| report.term) {
        let last = leader.last.map_or(0, |id| id.index);
        target.get_or_insert(last);
    } else if absent.is_empty() {
        let mut all: Vec<Report> = reports.into_values().collect();
        match report(shard) {
            Ok(own) => all.push(own),
            // Whoever cannot read its own log knows nothing.
            Err(_) => return Some(absent),
        }
        if all.iter().all(Report::is_empty) {
            return None;
        }
        everybody_reported(shard, &all);
    }
    Some(absent)
}

fn everybody_reported(shard: &Shard, reports: &[Report]) {
    let Some(highest) = reports.iter().filter_map(|report| report.last).max() else { return };
    if shard.tail.floor().replace(highest) == Some(highest) {
        return;
    }
    let committed = reports.iter().map(|report| report.committed).max().unwrap_or(0);
    if committed > highest.index {
        let (shard, last) = (shard.id, highest.index);
        tracing::error!(
            code = "entries-lost",
            %shard, committed, last,
            "committed entries are on no replica any more"
        );
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

    fn report(term: u64, cut: bool) -> Report {
        Report {
            term,
            leads: false,
            cut,
            last: None,
            committed: 0,
            electorate: Electorate::default(),
        }
    }

    fn electorate(sets: &[&[u64]]) -> Electorate {
        let sets = sets.iter().map(|set| set.iter().copied().collect());
        Electorate { since: Some(id(1, 1)), sets: sets.collect() }
    }

    /// The first term that a cut replica in term 4, the first of so many members, follows once the
    /// next of them have reported.
    fn follows(reports: &[Report], members: u64) -> Option<u64> {
        let all: Vec<u64> = (1..=members).collect();
        let reports = (2..).map(NodeId).zip(reports.iter().cloned()).collect();
        follows_in(&reports, &electorate(&[&all]))
    }

    fn follows_in(reports: &Reports, electorate: &Electorate) -> Option<u64> {
        let mut electorates = Electorates::everybody([NodeId(9)]);
        electorates.add(electorate, 1);
        let cut = TailState::new(true);
        assert!(cut.may_follow(u64::MAX).is_err(), "nobody has reported");
        cut.heard(NodeId(1), 4, reports, &electorates);
        (0..20).find(|term| cut.may_follow(*term).is_ok())
    }

    #[test]
    fn a_cut_replica_follows_nobody_whom_its_lost_vote_may_have_deposed() {
        assert_eq!(TailState::new(false).may_follow(0), Ok(()));
        assert_eq!(follows(&[report(4, false)], 3), None, "the other may lead in a later term");
        assert_eq!(follows(&[report(4, false), report(5, false)], 3), Some(5));
        assert_eq!(follows(&[report(2, false), report(3, false)], 3), Some(4), "its own term");
        let sure = [report(4, false), report(4, false), report(6, false)];
        assert_eq!(follows(&sure[..2], 5), None, "the other two and it are a majority");
        assert_eq!(follows(&sure, 5), Some(6));
        let forgetful = [report(4, false), report(6, true), report(5, false)];
        assert_eq!(follows(&forgetful, 5), None);
        assert_eq!(follows(&[report(7, true), report(5, true)], 3), Some(7), "all have spoken");
        assert_eq!(follows(&[], 1), Some(4));
    }

    #[test]
    fn while_voters_are_exchanged_both_sets_must_have_spoken() {
        let said = |nodes: &[u64]| -> Reports {
            nodes.iter().map(|node| (NodeId(*node), report(4 + node, false))).collect()
        };
        let both = electorate(&[&[1, 2, 3], &[1, 4, 5]]);
        assert_eq!(follows_in(&said(&[2, 3]), &both), None, "4 and it are a majority");
        assert_eq!(follows_in(&said(&[2, 3, 4]), &both), None);
        assert_eq!(follows_in(&said(&[2, 3, 4, 5]), &both), Some(9));
        let left = electorate(&[&[1, 2, 3], &[2, 3, 4]]);
        assert_eq!(follows_in(&said(&[2, 3]), &left), Some(7), "both are in both sets");
    }

    #[test]
    fn members_count_until_later_ones_are_known_to_be_committed() {
        let since =
            |index, sets: &[&[u64]]| Electorate { since: Some(id(1, index)), ..electorate(sets) };
        let mut known = Electorates::everybody([1, 2, 3].map(NodeId));
        let others = |known: &Electorates| -> Vec<u64> {
            known.without(NodeId(1)).into_iter().map(|node| node.0).collect()
        };
        assert_eq!(others(&known), [2, 3]);
        known.are([1, 2].map(NodeId));
        assert_eq!(others(&known), [2], "one was let go");
        known.are([1, 2, 3].map(NodeId));
        known.add(&since(5, &[&[1, 2, 4]]), 4);
        assert_eq!(others(&known), [2, 3, 4], "it may never be committed");
        known.add(&since(5, &[&[1, 2, 4]]), 5);
        assert_eq!(others(&known), [2, 4]);
        known.are([1, 9].map(NodeId));
        assert_eq!(others(&known), [2, 4], "the log knows better");
        known.add(&since(3, &[&[1, 2, 3]]), 3);
        assert_eq!(others(&known), [2, 4], "that was before");
        known.add(&since(8, &[&[5, 6, 7]]), 5);
        assert_eq!(others(&known), [2, 4, 5, 6, 7]);
        let said = |nodes: &[u64]| -> Reports {
            nodes.iter().map(|node| (NodeId(*node), report(9, false))).collect()
        };
        assert!(!known.are_covered(NodeId(1), &said(&[2, 4, 5])));
        assert!(known.are_covered(NodeId(1), &said(&[2, 4, 5, 6])), "though it has no vote there");
    }
}
