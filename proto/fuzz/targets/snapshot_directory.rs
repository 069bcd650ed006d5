//! Restores a directory from arbitrary bytes as a snapshot's only chunk: a directory or an error,
//! never a panic. The input is tried as it is, and with its sum put right. What can be restored can
//! be frozen and restored again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rotary_directory::{Directory, Restore, RestoreError};
use rotary_proto::snapshot::mend;

fn restore(chunks: &[Vec<u8>]) -> Result<Directory, RestoreError> {
    chunks.iter().try_fold(Restore::new(), |restore, chunk| restore.chunk(chunk))?.finish()
}

fuzz_target!(|bytes: &[u8]| {
    let mut chunk = bytes.to_vec();
    let _ = restore(std::slice::from_ref(&chunk));
    mend(0, &mut chunk);
    if let Ok(directory) = restore(&[chunk]) {
        let again: Vec<_> = directory.freeze().chunks().collect();
        assert_eq!(restore(&again), Ok(directory));
    }
});
