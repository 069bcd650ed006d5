//! Whether this node lives, is ready, and how it is doing.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use metrics::{counter, gauge};
use rotary_proto::{NodeId, ShardId};

use crate::build;
use crate::gateway::doors::Doors;
use crate::gateway::problem::Problem;
use crate::gateway::token::unix_ms;
use crate::nodes::upgrade;
use crate::replica::{DIRECTORY, ShardReplica};
use crate::spine::ShardMembers;
use crate::telemetry::{measure_process, names};

/// The form of `/metrics`.
pub(crate) const METRICS_MEDIA: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Who answers.
pub(crate) const NODE_HEADER: &str = "rotary-node";
/// Which version it is.
pub(crate) const BUILD_HEADER: &str = "rotary-build";
/// Its wall clock, in milliseconds since 1970.
pub(crate) const WALL_HEADER: &str = "rotary-wall-ms";

/// `GET /livez`
pub(crate) async fn livez(State(doors): State<Doors>) -> impl IntoResponse {
    liveness(doors.node)
}

/// The answer of a node that lives.
pub(crate) fn liveness(node: NodeId) -> impl IntoResponse {
    let headers = [
        (NODE_HEADER, node.to_string()),
        (BUILD_HEADER, build::name().to_owned()),
        (WALL_HEADER, unix_ms().to_string()),
    ];
    (headers, "live\n")
}

/// `GET /readyz`
pub(crate) async fn readyz(State(doors): State<Doors>) -> (StatusCode, String) {
    let reasons = unready(&doors);
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
}

/// Why this node is not ready, one reason each; none if it is.
pub(crate) fn unready(doors: &Doors) -> Vec<String> {
    let mut reasons = Vec::new();
    reasons.extend(doors.sessions.leaving.reason().map(str::to_owned));
    let begins: BTreeSet<ShardId> = {
        let directory = doors.replica.directory();
        directory.founding().map(|(shard, _)| shard).collect()
    };
    // Nothing lives yet in one that begins.
    for shard in all_shards(doors).filter(|shard| !begins.contains(shard)) {
        match doors.spine.status(shard) {
            None => reasons.push(format!("{shard} has no replica here")),
            Some(status) if status.leader.is_none() => {
                reasons.push(format!("{shard} has no leader"));
            }
            Some(status) if !status.fresh => {
                reasons.push(format!("{shard} has not heard from its leader"));
            }
            Some(status) if status.applied < status.committed => {
                let (applied, committed) = (status.applied, status.committed);
                reasons.push(format!("{shard} has applied {applied} of {committed}"));
            }
            Some(_) => {}
        }
    }
    reasons.extend(doors.spine.short_of_space());
    let directory = doors.replica.directory();
    if directory.shards() == 0 {
        let why = "the directory is not founded, or does not know this node: rotary node add";
        reasons.push(why.to_owned());
    } else if !directory.keeps_replicas(doors.node) {
        reasons.push(format!("{} was let go: it keeps nothing, and may be stopped", doors.node));
    }
    reasons
}

/// The directory's shard and every data shard.
pub(crate) fn all_shards(doors: &Doors) -> impl Iterator<Item = ShardId> {
    std::iter::once(DIRECTORY).chain(doors.replica.shard_ids())
}

/// The answer where measures are not told to clients.
pub(crate) fn not_measured_here() -> Problem {
    Problem::not_found("measures are told at listen.admin: telemetry.metrics_public is false")
}

/// `GET /metrics`, for clients, if they are to see it.
pub(crate) async fn metrics(state: State<Doors>) -> Result<impl IntoResponse, Problem> {
    if !state.0.about.metrics_are_public() {
        return Err(not_measured_here());
    }
    Ok(measured(state).await)
}

/// `GET /metrics`
pub(crate) async fn measured(State(doors): State<Doors>) -> impl IntoResponse {
    for shard in all_shards(&doors) {
        measure_log(&doors, shard);
        let logic = upgrade::acts_by(&doors.replica, shard);
        gauge!(names::SHARD_LOGIC, "shard" => shard.to_string()).set(f64::from(logic));
    }
    gauge!(names::BUILD_LOGIC).set(f64::from(doors.runs.logic.newest));
    for shard in doors.replica.shards() {
        measure_sites(&shard);
        measure_members(&doors, shard.id);
        measure_marks(&shard);
        measure_effects(&shard);
    }
    measure_members(&doors, DIRECTORY);
    if let Some(free) = doors.about.free_bytes() {
        gauge!(names::DISK_FREE).set(free as f64);
    }
    measure_process();
    doors.admission.measure();
    doors.blobs.measure();
    gauge!(names::DISK_FULL).set(f64::from(u8::from(doors.spine.short_of_space().is_some())));
    ([(CONTENT_TYPE, METRICS_MEDIA)], doors.metrics.render())
}

fn measure_log(doors: &Doors, shard: ShardId) {
    let set = |name: &'static str, value: u64| {
        gauge!(name, "shard" => shard.to_string()).set(value as f64);
    };
    if let Some(status) = doors.spine.status(shard) {
        set(names::RAFT_LEADER, u64::from(status.leads_here));
        set(names::RAFT_TERM, status.term);
        set(names::RAFT_LAST_INDEX, status.last);
        set(names::RAFT_APPLIED_INDEX, status.applied);
        set(names::RAFT_SNAPSHOT_INDEX, status.kept.snapshot);
        set(names::RAFT_FORGOTTEN_INDEX, status.kept.forgotten);
        set(names::RAFT_CUT, u64::from(status.kept.cut));
        set(names::RAFT_DOUBTFUL_INDEX, status.kept.doubtful);
        let count = |name: &'static str, value: u64| {
            counter!(name, "shard" => shard.to_string()).absolute(value);
        };
        count(names::RAFT_READS, status.reads);
        count(names::RAFT_READ_ROUNDS, status.read_rounds);
    }
    let journal = doors.replica.journal();
    set(names::JOURNAL_MISSING, u64::from(!doors.replica.is_whole(shard)));
    set(names::JOURNAL_APPENDED_INDEX, journal.last_index(shard.0));
    set(names::JOURNAL_DURABLE_INDEX, journal.durable_index(shard.0));
}

/// Whether the members of a shard are those that are wanted.
fn measure_members(doors: &Doors, shard: ShardId) {
    let ShardMembers { voters, learners, .. } = doors.spine.members(shard);
    let wanted = doors.replica.directory().seats(shard);
    let unsettled =
        wanted.is_some_and(|wanted| wanted.voters != voters || wanted.learners != learners);
    let unsettled = f64::from(u8::from(unsettled));
    gauge!(names::MEMBERS_UNSETTLED, "shard" => shard.to_string()).set(unsettled);
}

fn measure_marks(shard: &ShardReplica) {
    for (node, index) in shard.read().journal_marks() {
        let labels = [("shard", shard.id.to_string()), ("node", node.to_string())];
        gauge!(names::JOURNAL_MARKED_INDEX, &labels).set(*index as f64);
    }
}

fn measure_effects(shard: &ShardReplica) {
    let (id, shard) = (shard.id.to_string(), shard.read());
    gauge!(names::EFFECTS_PENDING, "shard" => id.clone()).set(shard.effects_pending() as f64);
    gauge!(names::VIEW_EPOCH, "shard" => id).set(shard.view().epoch as f64);
}

fn measure_sites(shard: &ShardReplica) {
    let (id, shard) = (shard.id, shard.read());
    let sites: Vec<_> = shard.sites().collect();
    let mut frozen = 0;
    for site in sites {
        let name = site.to_string();
        if let Some(view) = shard.site_view(site) {
            frozen += u32::from(view.frozen);
            gauge!(names::AGENTS_READY, "site" => name.clone()).set(view.ready as f64);
        }
        for queue in shard.queue_views(site).unwrap_or_default() {
            let labels = [("site", name.clone()), ("queue", queue.queue.to_string())];
            gauge!(names::QUEUE_WAITING, &labels).set(queue.waiting as f64);
            let oldest_s = queue.oldest_wait_ms as f64 / 1_000.0;
            gauge!(names::QUEUE_OLDEST_WAIT, &labels).set(oldest_s);
        }
    }
    gauge!(names::SITES_FROZEN, "shard" => id.to_string()).set(f64::from(frozen));
}
