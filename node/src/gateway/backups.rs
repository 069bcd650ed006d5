//! Backups of shards, and how those are doing that nodes make by themselves, for administrators of
//! the whole cluster.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use rotary_directory::AuditTarget;
use rotary_proto::{NodeId, ShardId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup::entries::{Entries, Known, LogOrigin};
use crate::backup::schedule::Seen;
use crate::backup::source::{Origin, Source};
use crate::gateway::audit;
use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids, Query};
use crate::gateway::health::all_shards;
use crate::gateway::problem::Problem;
use crate::replica::DIRECTORY;

/// Everything that a shard is, as it is read.
pub(crate) struct Backup(Source);

impl IntoResponse for Backup {
    fn into_response(self) -> Response {
        let name = format!("attachment; filename=\"{}\"", self.0.file_name());
        let headers = [
            (CONTENT_TYPE, "application/octet-stream".to_owned()),
            (CONTENT_DISPOSITION, name),
            (CACHE_CONTROL, "no-store".to_owned()),
        ];
        (headers, Body::from_stream(self.0.stream())).into_response()
    }
}

/// `GET /v1/shards/{shard}/backup`
pub(crate) async fn show(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(shard): Ids<ShardId>,
) -> Result<Backup, Problem> {
    permit(&claims, Action::BackUp)?;
    is_there(&doors, shard)?;
    let source = source(&doors, shard).await.map_err(Problem::unavailable)?;
    audit::note(&doors, &claims, ("back_up", AuditTarget::Shard(shard)), "done");
    Ok(Backup(source))
}

/// Refuses a shard that there is nothing of.
fn is_there(doors: &Doors, shard: ShardId) -> Result<(), Problem> {
    if !all_shards(doors).any(|known| known == shard) {
        return Err(Problem::not_found(format!("there is no {shard}")));
    }
    if doors.replica.directory().founding().any(|(begins, _)| begins == shard) {
        let detail = format!("{shard} is being made: there is nothing in it to back up");
        return Err(Problem::unavailable(detail).after(1_000));
    }
    Ok(())
}

/// A shard on its way out of this node's replica.
///
/// # Errors
/// As [`Source::of`].
pub(crate) async fn source(doors: &Doors, shard: ShardId) -> Result<Source, String> {
    let origin = Origin {
        node: doors.node,
        cluster: doors.cluster.clone(),
        shards: doors.replica.directory().shards(),
        replica: doors.replica.clone(),
        blobs: doors.blobs.store().clone(),
    };
    Source::of(origin, shard, doors.spine.snapshot(shard)).await
}

/// Entries of a shard's log, as they are read.
pub(crate) struct LogEntries(Entries);

impl IntoResponse for LogEntries {
    fn into_response(self) -> Response {
        let name = format!("attachment; filename=\"{}\"", self.0.file_name());
        let headers = [
            (CONTENT_TYPE, "application/octet-stream".to_owned()),
            (CONTENT_DISPOSITION, name),
            (CACHE_CONTROL, "no-store".to_owned()),
        ];
        (headers, Body::from_stream(self.0.stream())).into_response()
    }
}

/// The last entry that is known: all three, or none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntriesQuery {
    /// Its index: those that follow it are wanted.
    after: Option<u64>,
    /// Its term.
    term: Option<u64>,
    /// The sum of its bytes; 0 where only its term is known.
    sum: Option<u64>,
}

/// `GET /v1/shards/{shard}/entries`
pub(crate) async fn entries(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(shard): Ids<ShardId>,
    Query(EntriesQuery { after, term, sum }): Query<EntriesQuery>,
) -> Result<LogEntries, Problem> {
    permit(&claims, Action::BackUp)?;
    let known = match (after, term, sum) {
        (None, None, None) => None,
        (Some(after), Some(term), Some(sum)) => Some(Known { after, term, sum }),
        _ => {
            let what = "after, term and sum come together: the last entry that is known";
            return Err(Problem::bad_value(what));
        }
    };
    is_there(&doors, shard)?;
    let found = entries_of(&doors, shard, known).await.map_err(Problem::unavailable)?;
    audit::note(&doors, &claims, ("back_up", AuditTarget::Shard(shard)), "done");
    Ok(LogEntries(found))
}

/// The entries of a shard that this node has applied and somebody does not have.
///
/// # Errors
/// In words, what the disk says, and where this node keeps no replica.
pub(crate) async fn entries_of(
    doors: &Doors,
    shard: ShardId,
    known: Option<Known>,
) -> Result<Entries, String> {
    let none = || format!("{shard} has no log here: ask another node");
    let log = doors.spine.entries().ok_or_else(none)?;
    let applied = doors.spine.status(shard).ok_or_else(none)?.applied;
    let origin = LogOrigin { node: doors.node, cluster: doors.cluster.clone(), log, applied };
    let read = crate::blocking::run(move || Entries::of(origin, shard, known)).await;
    read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// How the backups are doing that nodes make by themselves.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Backups")]
pub(crate) struct BackupsJson {
    /// Who answers.
    node: NodeId,
    /// Who makes them: the node that leads the directory; null while nobody does.
    made_by: Option<NodeId>,
    /// The store; null where none are made.
    to: Option<String>,
    every_ms: Option<u64>,
    /// How many finished ones stay.
    keep: Option<usize>,
    /// Since the newest finished one was begun; since this node started, where there is none.
    age_ms: Option<u64>,
    /// The newest finished one.
    last: Option<RunJson>,
    /// The one that this node makes.
    running: Option<RunningJson>,
    /// Why this node's last attempt, or its last look at the store, failed.
    failed: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BackupRun")]
struct RunJson {
    run: String,
    begun_unix_ms: u64,
    /// How long it took, until all of it was read back.
    ms: u64,
    bytes: u64,
    /// The directory included.
    shards: usize,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BackupRunning")]
struct RunningJson {
    run: String,
    /// The shard that it is at.
    shard: ShardId,
}

/// `GET /v1/backups`
pub(crate) async fn standing(
    State(doors): State<Doors>,
    Caller(claims): Caller,
) -> Result<Json<BackupsJson>, Problem> {
    permit(&claims, Action::BackUp)?;
    let plan = doors.backups.plan.as_ref();
    let Seen { last, running, failed } = doors.backups.seen();
    let last = last.map(|(name, manifest)| RunJson {
        run: name.to_string(),
        begun_unix_ms: name.wall.0,
        ms: manifest.ms,
        bytes: manifest.bytes(),
        shards: manifest.shards.len(),
    });
    let running = running.map(|(name, shard)| RunningJson { run: name.to_string(), shard });
    Ok(Json(BackupsJson {
        node: doors.node,
        made_by: doors.spine.status(DIRECTORY).and_then(|status| status.leader),
        to: plan.map(|plan| plan.to.clone()),
        every_ms: plan.map(|plan| plan.every.as_millis() as u64),
        keep: plan.map(|plan| plan.keep),
        age_ms: plan.map(|_| doors.backups.age().as_millis() as u64),
        last,
        running,
        failed,
    }))
}
