//! Reads arbitrary text as a join token, also with a sum that fits: one within its bounds or an
//! error, never a panic. One that is read is read again from its own text as the same.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use rotary_proto::JoinText;
use xxhash_rust::xxh3::xxh3_64;

fuzz_target!(|bytes: &[u8]| {
    let summed = [bytes, &xxh3_64(bytes).to_le_bytes()[..4]].concat();
    let summed = format!("rj1_{}", URL_SAFE_NO_PAD.encode(summed));
    let plain = String::from_utf8_lossy(bytes).into_owned();
    for text in [plain, summed] {
        let Ok(read) = text.parse::<JoinText>() else { continue };
        assert_eq!(read.reveal().parse(), Ok(read));
    }
});
