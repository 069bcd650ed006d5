//! A twin: a shard restored from a snapshot, which must go on exactly as the original does.
//!
//! The frozen view is held until the end, so that the original goes on beside it; it must then
//! still write the chunks that it wrote at first. And what both freeze to at the end must be the
//! same records, the things that no digest covers included.

use std::sync::Arc;

use rotary_distributor::{Applied, Counters, Frozen, Restore, RestoreError, Shard, invariants};
use rotary_proto::snapshot::HEADER_BYTES;
use rotary_proto::{ShardCommand, Stamp, Wall, limits};

/// A restored shard beside its original.
#[derive(Clone)]
pub(crate) struct Twin {
    shard: Shard,
    frozen: Arc<Frozen>,
    chunks: Vec<Vec<u8>>,
    /// Work of the original before they parted.
    before: Counters,
}

impl Twin {
    /// Freezes a shard and restores it.
    pub(crate) fn of(original: &mut Shard) -> Self {
        let digest = original.digest();
        let frozen = original.freeze();
        assert_eq!((frozen.digest(), original.digest()), (digest, digest), "freezing changes it");
        assert_eq!((frozen.id(), frozen.last_stamp()), (original.id(), original.last_stamp()));
        let chunks: Vec<Vec<u8>> = frozen.chunks().collect();
        let mut shard = restore(original, &chunks).expect("what was frozen can be restored");
        assert_eq!(shard.digest(), digest);
        assert_eq!(shard.next_deadline(), original.next_deadline());
        assert_eq!(invariants::check(&shard), []);
        assert!(shard.freeze().chunks().eq(chunks.iter().cloned()), "it freezes to the same");
        Self { shard, frozen: Arc::new(frozen), chunks, before: original.counters() }
    }

    /// Applies the entry that the original applied.
    pub(crate) fn follow(
        &mut self,
        original: &Shard,
        entry: (u64, Stamp, Wall),
        command: ShardCommand,
        applied: &Applied,
    ) {
        let (index, stamp, wall) = entry;
        let told = format!("entry {index}: {command:?}");
        let own = self.shard.apply(index, stamp, wall, command);
        assert_eq!(&own, applied, "a restored shard answers otherwise: {told}");
        assert_eq!(self.shard.digest(), original.digest(), "{told}");
        assert_eq!(self.shard.next_deadline(), original.next_deadline(), "{told}");
        let (own, all) = (self.shard.counters(), original.counters());
        let since = Counters {
            entries: all.entries - self.before.entries,
            classes: all.classes - self.before.classes,
            candidates: all.candidates - self.before.candidates,
            items: all.items - self.before.items,
            offers: all.offers - self.before.offers,
            alarms: all.alarms - self.before.alarms,
            steps_max: own.steps_max,
        };
        assert_eq!(own, since, "a restored shard takes other steps: {told}");
    }

    /// At the end: the view is what it was, and both are the same in everything that is kept.
    pub(crate) fn part(mut self, original: &mut Shard) {
        assert!(self.frozen.chunks().eq(self.chunks.iter().cloned()), "the frozen view changed");
        assert_eq!(invariants::check(&self.shard), []);
        assert_eq!(sorted(&self.shard.freeze()), sorted(&original.freeze()));
    }
}

/// Restores a shard of the original's number.
pub(crate) fn restore(original: &Shard, chunks: &[Vec<u8>]) -> Result<Shard, RestoreError> {
    let restored = chunks.iter().try_fold(Restore::new(original.id()), |restore, chunk| {
        assert!(chunk.len() <= limits::SNAPSHOT_CHUNK_BYTES_MAX);
        restore.chunk(chunk)
    });
    restored?.finish()
}

/// The records of a view, without the order of entities.
fn sorted(frozen: &Frozen) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for chunk in frozen.chunks() {
        let mut rest = &chunk[HEADER_BYTES..];
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (record, after) = after.split_at(u32::from_le_bytes(*length) as usize);
            records.push(record.to_vec());
            rest = after;
        }
    }
    records.sort_unstable();
    records
}
