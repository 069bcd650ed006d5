//! What earlier releases wrote is read by this build as what it was.
//!
//! `proto/golden/released/<version>/` holds the golden files of each released version, put there by
//! `scripts/release-formats` and never edited. For each of their lines there must be a sample of
//! that name today, and the line must read as that sample: so variants are appended and never
//! moved or removed, fields never change, and a sample that has been released stays as it is. What
//! the newest release wrote must also be what is written today, because a cluster in the middle of
//! an upgrade speaks the older version's formats; JSON may have gained fields since.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rotary_proto::codec::{self, Limit};
use serde_json::Value;

use crate::page::Golden;

/// Whether a text of a release is the value that it was.
type Reads = dyn Fn(&str) -> Result<(), String>;

/// A released version: its three numbers.
pub(crate) type Version = [u64; 3];

/// One line of a golden file: how it is written today, and whether a release's line is the same
/// value.
pub(crate) struct Sample {
    name: String,
    today: String,
    reads: Box<Reads>,
    is_json: bool,
}

impl Sample {
    /// A value in the codec's bytes, shown in hex.
    pub(crate) fn bytes<T: Golden>(name: &str, today: &[u8]) -> Self {
        let own = today.to_vec();
        let reads = move |released: &str| {
            let read = |bytes: &[u8]| codec::decode::<T>(bytes, Limit::Entry);
            let then = read(&from_hex(released)?).map_err(|error| error.to_string())?;
            same(&then, &read(&own).map_err(|error| error.to_string())?)
        };
        Self { name: name.to_owned(), today: hex(today), reads: Box::new(reads), is_json: false }
    }

    /// Bytes that something else than the codec made: they stay what they are.
    pub(crate) fn raw(name: &str, today: &[u8]) -> Self {
        let (today, own) = (hex(today), hex(today));
        let reads = move |released: &str| same(&released, &own.as_str());
        Self { name: name.to_owned(), today, reads: Box::new(reads), is_json: false }
    }

    /// A value as doors speak it.
    pub(crate) fn json<T: Golden>(name: &str, today: &str) -> Self {
        let own = today.to_owned();
        let reads = move |released: &str| {
            let read = |text: &str| serde_json::from_str::<T>(text).map_err(|e| e.to_string());
            same(&read(released)?, &read(&own)?)
        };
        let (name, today) = (name.to_owned(), today.to_owned());
        Self { name, today, reads: Box::new(reads), is_json: true }
    }

    /// What is wrong with a release's line of this name; `newest` if no later release is known.
    fn check(&self, released: &str, newest: bool) -> Result<(), String> {
        (self.reads)(released)?;
        let is_written = match self.is_json {
            true => holds(&parsed(&self.today)?, &parsed(released)?),
            false => self.today == released,
        };
        if newest && !is_written {
            return Err(format!("is written {} today; nodes of that release cannot", self.today));
        }
        Ok(())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(then: &T, today: &T) -> Result<(), String> {
    if then == today { Ok(()) } else { Err(format!("reads as {then:?}, and is {today:?} today")) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2).unwrap_or_default(), 16);
    let bytes: Result<Vec<u8>, _> = (0..text.len()).step_by(2).map(pair).collect();
    bytes.map_err(|error| format!("is no hex: {error}"))
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

/// The lines of a released file that are not what they were.
fn breaches(lines: &str, samples: &[Sample], newest: bool) -> Vec<String> {
    let found = lines.lines().zip(1..).filter_map(|(line, number)| {
        let (name, released) = line.split_once(": ").unwrap_or((line, ""));
        let sample = samples.iter().find(|sample| sample.name == name);
        let checked = match sample {
            Some(sample) => sample.check(released, newest),
            None => Err("has no sample; put the variant or type back".to_owned()),
        };
        checked.err().map(|what| format!("{number}: {name}: {released} {what}"))
    });
    found.collect()
}

/// The versions below a folder, oldest first, each with its own folder.
pub(crate) fn versions(root: &Path) -> BTreeMap<Version, PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().map(|entry| entry.expect("readable"));
    let folders = entries.filter(|entry| entry.path().is_dir()).map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let version = version(&name).unwrap_or_else(|| panic!("{name} is no version like 1.2.3"));
        (version, entry.path())
    });
    folders.collect()
}

fn version(text: &str) -> Option<Version> {
    let numbers: Option<Vec<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
    numbers?.try_into().ok()
}

/// Everything in a file of that name, in every version below a folder, that is not what it was.
pub(crate) fn check(root: &Path, file: &str, samples: &[Sample]) -> Vec<String> {
    let versions = versions(root);
    let newest = versions.keys().last().copied();
    let mut found = Vec::new();
    for (version, folder) in &versions {
        let path = folder.join(file);
        let Ok(lines) = fs::read_to_string(&path) else { continue };
        let wrong = breaches(&lines, samples, newest == Some(*version));
        found.extend(wrong.into_iter().map(|what| format!("{}:{what}", path.display())));
    }
    found
}

/// Files that other crates' tests compare.
const ELSEWHERE: [&str; 2] = ["snapshot_directory.txt", "snapshot_distributor.txt"];

#[test]
fn every_released_file_is_compared_with_one_of_today() {
    let golden = crate::page::folder();
    for (_, folder) in versions(&golden.join("released")) {
        for entry in fs::read_dir(&folder).expect("readable") {
            let name = entry.expect("readable").file_name().to_string_lossy().into_owned();
            let known = ELSEWHERE.contains(&name.as_str()) || golden.join(&name).exists();
            assert!(known, "{}/{name} has no samples today; put them back", folder.display());
        }
    }
}

/// Releases that were never made, to see that a breach is found.
mod made_up {
    use serde::{Deserialize, Serialize};

    use super::*;

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
        let old = Sample {
            name: "Signal::Stop".to_owned(),
            today: "0201".to_owned(),
            reads: Box::new(|_| Ok(())),
            is_json: false,
        };
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
