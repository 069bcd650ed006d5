//! What was written, so that it is there to be read through any gateway.

use std::sync::{Arc, Mutex, PoisonError};

use rotary_proto::Position;
use rotary_proto::limits::MIN_INDEXES_MAX;

/// The furthest place in each log that was acknowledged, the latest written last. At most as many
/// as a request may name; the one that was written longest ago gives way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<Position>>>);

impl Written {
    /// A change was acknowledged there.
    pub(crate) fn note(&self, position: Position) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = places.iter().position(|place| place.shard == position.shard);
        let before = before.map(|at| places.remove(at));
        if places.len() == MIN_INDEXES_MAX {
            places.remove(0);
        }
        let index = before.map_or(0, |place| place.index).max(position.index);
        places.push(Position { index, ..position });
    }

    /// The value of `Rotary-Min-Index`, if anything was written.
    pub(crate) fn text(&self) -> Option<String> {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let texts: Vec<String> = places.iter().map(Position::to_string).collect();
        (!texts.is_empty()).then(|| texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use rotary_proto::ShardId;

    use super::*;

    fn after(written: &Written, shard: u32, index: u64) -> Option<String> {
        written.note(Position { shard: ShardId(shard), index });
        written.text()
    }

    #[test]
    fn of_each_log_the_furthest_place_is_kept() {
        let written = Written::default();
        assert_eq!(written.text(), None);
        assert_eq!(after(&written, 1, 7).as_deref(), Some("sh_1:7"));
        assert_eq!(after(&written, 2, 3).as_deref(), Some("sh_1:7,sh_2:3"));
        // A repeated request is answered with its first place.
        assert_eq!(after(&written.clone(), 1, 5).as_deref(), Some("sh_2:3,sh_1:7"));
    }

    #[test]
    fn what_was_written_longest_ago_gives_way() {
        let written = Written::default();
        for shard in 0..=MIN_INDEXES_MAX as u32 {
            after(&written, shard, 1);
        }
        let text = written.text().expect("places");
        assert!(text.starts_with("sh_1:1,") && text.ends_with(&format!("sh_{MIN_INDEXES_MAX}:1")));
    }
}
