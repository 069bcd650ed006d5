//! The leader's ticker: proposes a tick when shard time reaches the machine's next deadline.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::shard::Shard;

/// The clock is read at least this often while leading, so that a lapsed lease is noticed.
const READ_INTERVAL: Duration = Duration::from_millis(100);
/// The pause after a tick that was refused.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// Ticks while this node leads the shard. One tick is in flight at most.
pub(crate) async fn run(shard: Arc<Shard>) {
    let mut view = shard.view.subscribe();
    let mut deadline = shard.applied.deadline.subscribe();
    loop {
        if view.wait_for(|view| view.is_self).await.is_err() {
            return;
        }
        let (now, due) = (shard.time(Instant::now()), *deadline.borrow_and_update());
        let Some(due) = due else {
            tokio::select! {
                biased;
                _ = deadline.changed() => {}
                _ = tokio::time::sleep(READ_INTERVAL) => {}
            }
            continue;
        };
        if now < due {
            let left = Duration::from_micros(due.micros_since(now)).min(READ_INTERVAL);
            tokio::select! {
                biased;
                _ = deadline.changed() => {}
                _ = tokio::time::sleep(left) => {}
            }
            continue;
        }
        let tick = Bytes::from(shard.applied.tick());
        shard.applied.counters.ticks.fetch_add(1, Ordering::Relaxed);
        // Waits for the outcome however long it takes: a second tick would find the same work.
        if let Err(error) = shard.propose_tick(tick).await {
            tracing::debug!(shard = %shard.id, %error, "a tick was refused");
            tokio::time::sleep(REFUSED_PAUSE).await;
        }
    }
}
