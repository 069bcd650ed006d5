//! Restores a shard from arbitrary bytes as a snapshot's chunks: a shard or an error, and never a
//! panic.
//!
//! The input is tried as it is, and with its sums put right, to get past them; a byte 0xff and its
//! twin part one chunk from the next. What can be restored can be frozen and restored again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rotary_distributor::{Restore, RestoreError, Shard};
use rotary_proto::ShardId;
use rotary_proto::snapshot::mend;

fn restore(chunks: &[Vec<u8>]) -> Result<Shard, RestoreError> {
    let empty = Restore::new(ShardId(1));
    chunks.iter().try_fold(empty, |restore, chunk| restore.chunk(chunk))?.finish()
}

fuzz_target!(|bytes: &[u8]| {
    let mut chunks = vec![Vec::new()];
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        if rest.starts_with(&[0xff, 0xff]) {
            chunks.push(Vec::new());
            rest = &rest[2..];
        } else {
            chunks.last_mut().expect("there is one").push(*byte);
            rest = after;
        }
    }
    let _ = restore(&chunks);
    let mut sum = 0;
    for chunk in &mut chunks {
        sum = mend(sum, chunk);
    }
    if let Ok(mut shard) = restore(&chunks) {
        let again: Vec<_> = shard.freeze().chunks().collect();
        let twice = restore(&again).expect("what was restored can be restored");
        assert_eq!(twice.digest(), shard.digest());
    }
});
