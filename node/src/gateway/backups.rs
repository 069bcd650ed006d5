//! Backups of shards, for administrators of the whole cluster.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use rotary_directory::AuditTarget;
use rotary_proto::ShardId;

use crate::backup::source::{Origin, Source};
use crate::gateway::audit;
use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Ids};
use crate::gateway::health::all_shards;
use crate::gateway::problem::Problem;

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
    if !all_shards(&doors).any(|known| known == shard) {
        return Err(Problem::not_found(format!("there is no {shard}")));
    }
    let origin = Origin {
        node: doors.node,
        cluster: doors.cluster.clone(),
        shards: doors.replica.directory().shards(),
        replica: doors.replica.clone(),
        blobs: doors.blobs.store().clone(),
    };
    let source = Source::of(origin, shard, doors.spine.snapshot(shard)).await;
    let source = source.map_err(Problem::unavailable)?;
    audit::note(&doors, &claims, ("back_up", AuditTarget::Shard(shard)), "done");
    Ok(Backup(source))
}
