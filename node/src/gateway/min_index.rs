//! Reading one's own writes on any node: what a client has seen decided, it says in
//! `Rotary-Min-Index`, and a node answers once its own replica has applied as far.
//!
//! The value is that of `Rotary-Index`, which every acknowledged change carries, or several of them
//! with commas between. Nothing is asked of another node: the replica is waited for, not for long.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use rotary_proto::ShardId;
use rotary_proto::limits::MIN_INDEXES_MAX;
use rotary_proto::outcome::Position;
use tokio::time::Instant;

use crate::gateway::doors::Doors;
use crate::gateway::problem::Problem;

/// The header's name.
const HEADER: &str = "rotary-min-index";
/// How long a request waits for this node's replicas, all of them together.
const PATIENCE: Duration = Duration::from_secs(2);
/// When it may be worth asking this node again.
const RETRY_MS: u64 = 500;

/// Waits until this node has applied what a request names.
///
/// # Errors
/// `bad-value` for what is no such place; `behind` where this node has not come as far in time.
pub(crate) async fn reach(doors: &Doors, headers: &HeaderMap) -> Result<(), Problem> {
    let wanted = wanted(headers)?;
    if let Some(shard) = wanted.keys().find(|shard| !doors.replica.has(**shard)) {
        return Err(wrong(&format!("there is no shard {shard} here")));
    }
    let deadline = Instant::now() + PATIENCE;
    for (shard, index) in wanted {
        let patience = deadline.saturating_duration_since(Instant::now());
        if !doors.replica.reach(shard, index, patience).await {
            let detail = format!("this node has not applied {index} of {shard}; ask another node");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Err(Problem::new(status, "behind", detail).after(RETRY_MS));
        }
    }
    Ok(())
}

fn wrong(what: &str) -> Problem {
    Problem::bad_value(format!("Rotary-Min-Index: {what}; send values of Rotary-Index"))
}

/// The furthest place in each log that the headers name.
fn wanted(headers: &HeaderMap) -> Result<BTreeMap<ShardId, u64>, Problem> {
    let mut wanted = BTreeMap::new();
    let mut count = 0;
    for value in headers.get_all(HEADER) {
        let text = value.to_str().map_err(|_| wrong("a text is expected"))?;
        for place in text.split(',').map(str::trim) {
            count += 1;
            if count > MIN_INDEXES_MAX {
                return Err(wrong(&format!("at most {MIN_INDEXES_MAX} places")));
            }
            let place: Position = place.parse().map_err(|error| wrong(&format!("{error}")))?;
            let index = wanted.entry(place.shard).or_insert(0);
            *index = place.index.max(*index);
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Vec<(u32, u64)>, String> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(HEADER, text.parse().expect("a header"));
        }
        let wanted = wanted(&headers).map_err(|problem| problem.code.to_owned())?;
        Ok(wanted.into_iter().map(|(shard, index)| (shard.0, index)).collect())
    }

    #[test]
    fn of_each_log_the_furthest_place_counts() {
        assert_eq!(read(&[]), Ok(vec![]));
        assert_eq!(read(&["sh_3:1042"]), Ok(vec![(3, 1042)]));
        let several = ["sh_3:7, sh_0:1,sh_3:9", "sh_3:8"];
        assert_eq!(read(&several), Ok(vec![(0, 1), (3, 9)]));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        let many = vec!["sh_1:1"; MIN_INDEXES_MAX + 1].join(",");
        for text in ["", "1", "sh_1", "sh_1:", "sh_1:-1", "sh_1:01", "qu_1:1", "sh_1:1,", &many] {
            assert_eq!(read(&[text]), Err("bad-value".to_owned()), "{text}");
        }
    }
}
