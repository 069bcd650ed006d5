//! Reads arbitrary bytes as the file of a backup: frames, or an error, never a panic and never more
//! memory than a frame may have. The input is tried as it is, and as the payloads of whole frames,
//! which must come back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rotary_storage::{BACKUP_END, BackupFrames, backup_frame, backup_preamble};

fuzz_target!(|bytes: &[u8]| {
    let _ = read(bytes);
    let _ = read(&[backup_preamble(), bytes.to_vec()].concat());
    let mut written: Vec<(u8, Vec<u8>)> =
        bytes.chunks(7).map(|payload| (payload[0] | 1, payload.to_vec())).collect();
    written.push((BACKUP_END, bytes.to_vec()));
    let frames = written.iter().flat_map(|(kind, payload)| backup_frame(*kind, payload));
    let file: Vec<u8> = backup_preamble().into_iter().chain(frames).collect();
    assert_eq!(read(&file), Some(written));
});

fn read(bytes: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let (mut frames, mut found) = (BackupFrames::of(bytes), Vec::new());
    while let Some(frame) = frames.read().ok()? {
        found.push(frame);
    }
    Some(found)
}
