//! Opens arbitrary bytes as the only segment of a log: a log or an error, never a panic. The input
//! is tried as it is and with headers and checksums put right, to get past those checks. A log that
//! opens can be read and written to, and opens again with what was written.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use crc32c::{crc32c, crc32c_append};
use libfuzzer_sys::fuzz_target;
use rotary_storage::{
    Drive, Fatal, LogStore, SegmentLog, SegmentLogError, SegmentLogOptions, SimulatedDisk,
};

const LOG_ID: u128 = 7;
const SEGMENT_HEADER_BYTES: usize = 512;
const BATCH_HEADER_BYTES: usize = 40;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&mended(bytes));
});

fn check(bytes: &[u8]) {
    let disk = SimulatedDisk::new(1);
    let process = disk.process();
    process.make_directory(Path::new("/log")).expect("a directory");
    let file = process.create(Path::new("/log/0000000001.segment")).expect("a file");
    file.write_at(0, bytes).expect("written");
    let Ok(log) = open(&disk) else { return };
    for group in 0..4 {
        let last = log.last(group);
        let all = log.read(group, 0..u64::MAX, 1 << 20);
        if let (Ok(Some(last)), Ok(all)) = (last, all) {
            assert!(all.iter().any(|entry| entry.index <= last.index));
        }
    }
    log.save_vote(1, b"vote".to_vec(), Box::new(|result| result.expect("durable")));
    while log.pump() {}
    drop(log);
    let log = open(&disk).expect("it opened before");
    assert_eq!(log.vote(1).expect("readable").as_deref(), Some(&b"vote"[..]));
}

fn open(disk: &SimulatedDisk) -> Result<SegmentLog, SegmentLogError> {
    let options = SegmentLogOptions {
        log_id: LOG_ID,
        segment_bytes: 1 << 20,
        step_bytes: 512,
        reserve_bytes: 0,
        fatal: Fatal::with(|_, reason| panic!("{reason}")),
        drive: Drive::Manual(Arc::new(|| {})),
        ..SegmentLogOptions::default()
    };
    SegmentLog::open(disk.process(), "/log", options)
}

/// The input as a segment whose batches have good headers, up to one that the input leaves bad.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(b"RotarySg");
    for number in [1_u32, 1] {
        file.extend(number.to_le_bytes());
    }
    file.extend(LOG_ID.to_le_bytes());
    file.extend(1_u64.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    file.resize(60, 0);
    file.extend(crc32c(&file).to_le_bytes());
    file.resize(SEGMENT_HEADER_BYTES, 0);
    let seed = crc32c_append(crc32c(&LOG_ID.to_le_bytes()), &1_u32.to_le_bytes());
    let (mut rest, mut sequence, mut previous) = (bytes, 1_u64, 0_u32);
    while let Some((&[wish, size], after)) = rest.split_first_chunk::<2>() {
        let size = (usize::from(size) * 8).min(after.len() / 8 * 8);
        let (body, after) = after.split_at(size);
        rest = after;
        let mut header = Vec::with_capacity(BATCH_HEADER_BYTES);
        header.extend(b"RBat");
        header.extend([1, 0, u8::from(wish == 1), 0]);
        header.extend(sequence.to_le_bytes());
        header.extend((size as u32).to_le_bytes());
        header.extend(0_u32.to_le_bytes());
        header.extend(1_u32.to_le_bytes());
        header.extend(previous.to_le_bytes());
        header.extend(crc32c(body).to_le_bytes());
        previous = crc32c_append(seed, &header);
        header.extend(previous.to_le_bytes());
        file.extend(&header);
        file.extend(body);
        sequence += 1;
        if wish == 2 {
            let last = file.len() - 1;
            file[last] ^= 1;
        }
    }
    file.resize(file.len().next_multiple_of(512) + 512, 0);
    file
}
