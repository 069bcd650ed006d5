//! One golden file: gathers samples, checks each on its own, then compares or writes the file.

use std::fmt::Debug;
use std::path::PathBuf;

use rotary_proto::codec::{self, CodecError, Limit};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kept::{Sample, settle};
pub(crate) use crate::samples::samples;

/// A value that can be sampled.
pub(crate) trait Golden: Serialize + DeserializeOwned + PartialEq + Debug + 'static {}
impl<T: Serialize + DeserializeOwned + PartialEq + Debug + 'static> Golden for T {}

/// The lines of the two files of that name.
pub(crate) struct Page {
    name: &'static str,
    in_bytes: Vec<Sample>,
    in_json: Vec<Sample>,
}

/// The folder of all golden files.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

impl Page {
    /// An empty page; its files are `proto/golden/<name>.txt` and `<name>.json.txt`.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, in_bytes: Vec::new(), in_json: Vec::new() }
    }

    /// Adds a value that has both a form in bytes and one in JSON.
    pub(crate) fn add<T: Golden>(&mut self, name: &str, value: &T) {
        self.add_bytes(name, value);
        self.add_json(name, value);
    }

    /// Adds every sample of an enum.
    pub(crate) fn add_all<T: Golden>(&mut self, prefix: &str, samples: Vec<(&'static str, T)>) {
        for (variant, value) in samples {
            self.add(&format!("{prefix}::{variant}"), &value);
        }
    }

    /// Adds a value that log, journal or wire hold, and checks its bytes' way back.
    pub(crate) fn add_bytes<T: Golden>(&mut self, name: &str, value: &T) {
        let bytes = codec::encode(value, Limit::Entry).expect("a sample fits an entry");
        check_bytes(name, value, &bytes);
        self.in_bytes.push(Sample::bytes::<T>(name, &bytes));
    }

    /// Adds bytes that something else than the codec made.
    pub(crate) fn add_raw(&mut self, name: &str, bytes: &[u8]) {
        self.in_bytes.push(Sample::raw(name, bytes));
    }

    /// Adds a value that doors speak, and checks its text's way back.
    pub(crate) fn add_json<T: Golden>(&mut self, name: &str, value: &T) {
        let json = serde_json::to_string(value).expect("a sample has a JSON form");
        let back: T = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(&back, value, "{name} must survive the way through JSON");
        self.in_json.push(Sample::json::<T>(name, &json));
    }

    /// Compares with the files, or writes them where `ROTARY_BLESS` is 1; and with every release's.
    pub(crate) fn settle(self) {
        let released = folder().join("released");
        let pages = [("txt", self.in_bytes), ("json.txt", self.in_json)];
        for (kind, samples) in pages {
            let file = format!("{}.{kind}", self.name);
            settle(&folder().join(&file), (&released, &file), &samples);
        }
    }
}

/// The way back; and no other length of these bytes passes for a value.
fn check_bytes<T: Golden>(name: &str, value: &T, bytes: &[u8]) {
    let back: T = codec::decode(bytes, Limit::Entry).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(&back, value, "{name} must survive the way through bytes");
    for end in 0..bytes.len() {
        let cut = codec::decode::<T>(&bytes[..end], Limit::Entry);
        assert!(cut.is_err(), "{name} cut to {end} bytes must be an error, not {cut:?}");
    }
    let longer = [bytes, &[0]].concat();
    let error = codec::decode::<T>(&longer, Limit::Entry).expect_err("a byte follows the value");
    assert_eq!(error, CodecError::Trailing { extra: 1 }, "{name}");
}
