//! Reads arbitrary bytes as the manifest of a run of backups, as a run's name and as a moment: each
//! is taken or refused, never a panic; what is taken comes back as it was written.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../src/backup/manifest.rs"]
#[allow(dead_code, reason = "what runs are made with is not fuzzed")]
mod manifest;

use manifest::{Manifest, Moment, RunName};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(found) = Manifest::parse(bytes) {
        let _ = found.bytes();
        let written = serde_json::to_vec(&found).expect("what was read can be written");
        assert_eq!(Manifest::parse(&written), Ok(found));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = text.parse::<RunName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(moment) = text.parse::<Moment>() {
        assert_eq!(moment.to_string().parse(), Ok(moment));
    }
});
