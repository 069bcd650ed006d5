//! Opens arbitrary bytes as the file of a blob: a blob, or none, never a panic. The input is tried
//! as it is and behind a header that fits it, to get past that. What is found can be read to its
//! end or is damaged, and then it is removed and makes room for a whole one.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc32c::crc32c;
use libfuzzer_sys::fuzz_target;
use rotary_storage::{BlobName, BlobRoom, BlobUse, Blobs, Fatal, SimulatedDisk, blob_digest};

const SCOPE: u64 = 7;
const CONTENT: &[u8] = b"what the name says";
const SUMMED_BYTES: usize = 64;
const HEADER_BYTES: u64 = 80;
const BLOCK_BYTES: u64 = 64 * 1024;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&mended(bytes));
});

fn check(bytes: &[u8]) {
    let disk = SimulatedDisk::new(1);
    let name = BlobName { scope: SCOPE, digest: blob_digest(SCOPE, CONTENT) };
    let process = disk.process();
    let path = path_of(name);
    process.make_directory(path.parent().expect("a folder")).expect("a directory");
    let file = process.create(&path).expect("a file");
    file.write_at(0, bytes).expect("written");
    let room = BlobRoom { bytes_max: 1 << 40, owner_bytes_max: u64::MAX, free_bytes_min: 0 };
    let blobs = Blobs::open(process, Path::new("/blobs"), room, Fatal::with(|_, _| {}));
    let blobs = Arc::new(blobs.expect("a directory with one file"));
    if let Some(reader) = blobs.find(name).expect("readable") {
        assert!(reader.bytes() <= bytes.len() as u64, "more than there is");
        let whole = reader.check(0, u64::MAX).is_ok();
        assert_eq!(blobs.set_aside_damaged(name).expect("movable"), !whole);
    }
    let mut writer = blobs.begin(SCOPE, BlobUse::New, 0).expect("room");
    writer.append(CONTENT).expect("room");
    writer.finish(Some(name.digest), 1).expect("it takes the place");
    let reader = blobs.find(name).expect("readable").expect("there");
    assert_eq!(reader.read(0).expect("whole"), CONTENT);
    assert_eq!(blobs.used_bytes(), disk.used_bytes());
}

fn path_of(name: BlobName) -> PathBuf {
    let digits: String = name.digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new("/blobs").join(format!("{SCOPE:016x}")).join(digits)
}

/// The input behind a header of the right name that says as many bytes as would fit.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::from(*b"RBLB");
    out.extend([1, 0, 0, 0]);
    out.extend(0_u64.to_le_bytes());
    out.extend(SCOPE.to_le_bytes());
    out.extend(blob_digest(SCOPE, CONTENT));
    let length = bytes.len() as u64;
    let sums = length.div_ceil(BLOCK_BYTES + 4) * 4;
    out.extend(length.saturating_sub(sums).to_le_bytes());
    assert_eq!(out.len(), SUMMED_BYTES);
    out.extend(crc32c(&out).to_le_bytes());
    out.resize(HEADER_BYTES as usize, 0);
    out.extend(bytes);
    out
}
