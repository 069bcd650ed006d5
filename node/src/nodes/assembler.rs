//! Puts sites together that are on their way to a shard, ahead of the entry that brings them to
//! life. What it makes follows from the parts alone, so nothing depends on whether it has come to
//! an end when that entry is applied, except how long that takes: a replica that has nothing then
//! does all of it, and the shard's other sites wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use rotary_distributor::Assembly;
use rotary_proto::ShardId;

use crate::blocking;
use crate::replica::{Replica, ShardReplica};

/// Parts that are read at a time; another attempt is noticed after as many.
const PARTS_AT_ONCE: usize = 16;

/// How far a shard's arrival is put together.
enum Stage {
    /// So far.
    Begun(Box<Assembly>),
    /// The one of that attempt is, or cannot be.
    Ended { attempt: u64, made: bool },
}

/// Puts together what comes, as long as the node runs.
pub(crate) async fn keep(replica: Arc<Replica>) {
    let mut stages: BTreeMap<ShardId, Stage> = BTreeMap::new();
    loop {
        replica.moved().await;
        for shard in replica.shards() {
            let stage = advance(&shard, stages.remove(&shard.id)).await;
            stages.extend(stage.map(|stage| (shard.id, stage)));
        }
    }
}

/// Goes on with a shard's arrival as far as parts have come; how far that is, if there is one.
async fn advance(shard: &Arc<ShardReplica>, stage: Option<Stage>) -> Option<Stage> {
    let fresh = shard.read().assembly()?;
    let attempt = fresh.attempt();
    let mut assembly = match stage {
        Some(Stage::Begun(begun)) if begun.attempt() == attempt => *begun,
        // A snapshot that was installed meanwhile has the parts, and nothing made of them.
        Some(Stage::Ended { attempt: ended, made })
            if ended == attempt && (!made || shard.read().is_assembled()) =>
        {
            return stage;
        }
        _ => fresh,
    };
    loop {
        let parts = shard.read().parts_for(&assembly, PARTS_AT_ONCE)?;
        if parts.is_empty() {
            return Some(Stage::Begun(Box::new(assembly)));
        }
        let ours = shard.clone();
        let read = blocking::run(move || {
            let read = parts.iter().try_fold(assembly, |read, part| read.take(part))?;
            if !read.is_whole() {
                return Ok(Some(read));
            }
            let assembled = read.finish()?;
            ours.write().put_assembled(assembled);
            Ok::<_, String>(None)
        });
        assembly = match read.await {
            Ok(Ok(Some(assembly))) => assembly,
            Ok(Ok(None)) => return Some(end(shard, attempt, true)),
            Ok(Err(why)) => {
                tracing::warn!(shard = %shard.id, why, "a site that comes cannot be read");
                return Some(end(shard, attempt, false));
            }
            // Applying the entry that needs it will meet the same.
            Err(error) => {
                tracing::warn!(shard = %shard.id, %error, "a site that comes cannot be read");
                return Some(end(shard, attempt, false));
            }
        };
    }
}

fn end(shard: &ShardReplica, attempt: u64, made: bool) -> Stage {
    shard.note_assembled(attempt);
    Stage::Ended { attempt, made }
}
