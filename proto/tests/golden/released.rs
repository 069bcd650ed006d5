//! What earlier releases wrote is read by this build as what it was.
//!
//! `proto/golden/released/<version>/` holds the golden files of each released version, put there by
//! `scripts/release-formats` and never edited. For each of their lines there must be a sample of
//! that name today, and the line must read as that sample: so variants are appended and never
//! moved or removed, fields never change, and a sample that has been released stays as it is. What
//! the newest release wrote must also be what is written today, because a cluster in the middle of
//! an upgrade speaks the older version's formats; JSON may have gained fields since.

use std::fs;

use rotary_proto::codec::{self, Limit};
use serde_json::Value;

use crate::kept::{Sample, from_hex, hex, same, versions};
use crate::page::Golden;

impl Sample {
    /// A value in the codec's bytes, shown in hex.
    pub(crate) fn bytes<T: Golden>(name: &str, today: &[u8]) -> Self {
        let reads = |released: &str, today: &str| {
            let read = |text: &str| {
                codec::decode::<T>(&from_hex(text)?, Limit::Entry).map_err(|e| e.to_string())
            };
            same(&read(released)?, &read(today)?)
        };
        Self::new(name, hex(today), reads)
    }

    /// Bytes that something else than the codec made: they stay what they are.
    pub(crate) fn raw(name: &str, today: &[u8]) -> Self {
        Self::new(name, hex(today), |released, today| same(&released, &today))
    }

    /// A value as doors speak it, which may gain fields.
    pub(crate) fn json<T: Golden>(name: &str, today: &str) -> Self {
        let reads = |released: &str, today: &str| {
            let read = |text: &str| serde_json::from_str::<T>(text).map_err(|e| e.to_string());
            same(&read(released)?, &read(today)?)
        };
        let writes = |released: &str, today: &str| match holds(&parsed(today)?, &parsed(released)?)
        {
            true => Ok(()),
            false => Err(format!("is written {today} today; nodes of that release cannot")),
        };
        let sample = Self::new(name, today.to_owned(), reads);
        Self { writes: Box::new(writes), ..sample }
    }
}

fn parsed(json: &str) -> Result<Value, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// Whether a text of today has everything that one of a release had, with the same values.
fn holds(today: &Value, released: &Value) -> bool {
    match (today, released) {
        (Value::Object(today), Value::Object(released)) => released
            .iter()
            .all(|(key, value)| today.get(key).is_some_and(|today| holds(today, value))),
        (Value::Array(today), Value::Array(released)) => {
            let pairs = today.iter().zip(released);
            today.len() == released.len() && pairs.into_iter().all(|(one, two)| holds(one, two))
        }
        (today, released) => today == released,
    }
}

/// Files that other crates' tests compare.
const ELSEWHERE: [&str; 2] = ["snapshot_directory.txt", "snapshot_distributor.txt"];

/// Whether a crate beside this one compares a released file of that name with one of its own.
fn is_of_a_neighbour(name: &str) -> bool {
    let nodes = crate::page::folder().join("../../node");
    ["storage", "log", "directory"].into_iter().any(|neighbour| {
        let file = name.strip_prefix(neighbour).and_then(|name| name.strip_prefix('_'));
        file.is_some_and(|file| nodes.join(neighbour).join("golden").join(file).exists())
    })
}

#[test]
fn every_released_file_is_compared_with_one_of_today() {
    let golden = crate::page::folder();
    for (_, folder) in versions(&golden.join("released")) {
        for entry in fs::read_dir(&folder).expect("readable") {
            let name = entry.expect("readable").file_name().to_string_lossy().into_owned();
            let elsewhere = ELSEWHERE.contains(&name.as_str()) || is_of_a_neighbour(&name);
            let known = elsewhere || golden.join(&name).exists();
            assert!(known, "{}/{name} has no samples today; put them back", folder.display());
        }
    }
}

/// Releases that were never made, to see that a breach is found.
mod made_up {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::kept::{Version, check};

    /// A format as it is today: `Pause` was appended after the first release.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Signal {
        Ring { line: u32 },
        Stop,
        Pause,
    }

    fn samples() -> Vec<Sample> {
        let all = [("Ring", Signal::Ring { line: 300 }), ("Stop", Signal::Stop)];
        let all = all.into_iter().chain([("Pause", Signal::Pause)]);
        let samples = all.map(|(name, signal)| {
            let bytes = codec::encode(&signal, Limit::Entry).expect("small");
            Sample::bytes::<Signal>(&format!("Signal::{name}"), &bytes)
        });
        samples.collect()
    }

    /// A folder with one file for each of these versions.
    fn released(name: &str, versions: &[(&str, &str)]) -> PathBuf {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&root);
        for (version, lines) in versions {
            let folder = root.join(version);
            fs::create_dir_all(&folder).expect("writable");
            fs::write(folder.join("signals.txt"), lines).expect("writable");
        }
        root
    }

    const FIRST: &str = "Signal::Ring: 0100fb2c01\nSignal::Stop: 0101\n";

    #[test]
    fn appending_is_no_breach() {
        let second = format!("{FIRST}Signal::Pause: 0102\n");
        let root = released("appended", &[("0.9.0", FIRST), ("0.10.0", &second)]);
        assert_eq!(check(&root, "signals.txt", &samples()), Vec::<String>::new());
        assert_eq!(check(&root, "others.txt", &samples()), Vec::<String>::new());
        let versions: Vec<Version> = versions(&root).into_keys().collect();
        assert_eq!(versions, [[0, 9, 0], [0, 10, 0]], "numbers are not texts");
    }

    #[test]
    fn a_changed_byte_is_found() {
        let changed = FIRST.replace("2c01", "2d01");
        let root = released("changed", &[("1.0.0", &changed)]);
        let found = check(&root, "signals.txt", &samples());
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("signals.txt:1: Signal::Ring: 0100fb2d01 reads as"), "{found:?}");
        let cut = FIRST.replace("fb2c01", "fb2c");
        let root = released("cut", &[("1.0.0", &cut)]);
        assert_eq!(check(&root, "signals.txt", &samples()).len(), 1);
    }

    #[test]
    fn a_variant_that_was_removed_or_moved_is_found() {
        // In the release there was one before `Stop`, which had the number that `Stop` has today.
        let lines = "Signal::Ring: 0100fb2c01\nSignal::Hold: 0101\nSignal::Stop: 0102\n";
        let root = released("removed", &[("1.0.0", lines)]);
        let found = check(&root, "signals.txt", &samples());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains(":2: Signal::Hold: 0101 has no sample"), "{found:?}");
        assert!(found[1].contains(":3: Signal::Stop: 0102 reads as Pause, and is Stop today"));
    }

    #[test]
    fn only_the_newest_release_must_be_written_as_it_was() {
        // Another form of the same value, as a codec may read and no longer write it.
        let old = Sample::new("Signal::Stop", "0201".to_owned(), |_, _| Ok(()));
        let versions = [("1.0.0", "Signal::Stop: 0101\n"), ("1.1.0", "Signal::Stop: 0201\n")];
        let root = released("rewritten", &versions);
        assert_eq!(check(&root, "signals.txt", &[old]), Vec::<String>::new());
        let root = released("unwritten", &versions[..1]);
        let samples = [Sample::raw("Signal::Stop", &[2, 1])];
        assert_eq!(check(&root, "signals.txt", &samples).len(), 1);
    }

    #[test]
    fn json_may_gain_fields_and_lose_none() {
        let today = r#"{"ring":{"line":300}}"#;
        let sample = || [Sample::json::<Signal>("Signal::Ring", today)];
        let line = |json: &str| format!("Signal::Ring: {json}\n");
        let check = |json: &str| {
            let root = released("json", &[("1.0.0", &line(json))]);
            check(&root, "signals.txt", &sample()).len()
        };
        assert_eq!((check(today), check(r#"{"ring":{"line":301}}"#)), (0, 1));
        assert_eq!(check(r#"{"ring":{"line":300,"tone":1}}"#), 1, "a field is gone");
        let [with, without] = [r#"{"a":[1,{"b":2,"c":3}]}"#, r#"{"a":[1,{"b":2}]}"#];
        let [with, without] = [with, without].map(|text| parsed(text).expect("JSON"));
        assert!(holds(&with, &without) && !holds(&without, &with));
    }
}
