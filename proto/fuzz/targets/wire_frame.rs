//! Parses a frame between nodes from arbitrary bytes: header and payload or an error, never a
//! panic. The input is tried as it is and with its checksum put right, to get past that check.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rotary_proto::wire::{frame_header, parse_frame};

fn checksum(pieces: &[&[u8]]) -> u32 {
    crc32fast::hash(&pieces.concat())
}

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_frame(bytes, checksum);
    let mut mended = bytes.to_vec();
    if let Some((head, rest)) = mended.split_at_mut_checked(8) {
        head[4..].copy_from_slice(&crc32fast::hash(rest).to_le_bytes());
    }
    if let Ok((header, payload)) = parse_frame(&mended, checksum) {
        let front = frame_header(header, payload, checksum).expect("it was a frame");
        assert_eq!([front.as_slice(), payload].concat(), mended);
    }
});
