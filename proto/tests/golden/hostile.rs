//! Bytes from strangers: whatever they are, reading them ends in a value or an error.

use proptest::collection::vec;
use proptest::prelude::*;
use rotary_proto::codec::{self, FORMAT, Limit};
use rotary_proto::frame::ClientFrame;
use rotary_proto::outcome::Answer;
use rotary_proto::wire::{self, HEADER_BYTES, WIRE_VERSION};
use rotary_proto::{EventRecord, ShardCommand};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::commands::shard_commands;
use crate::events::{events, record};
use crate::frames::sum;

/// A value that was read has bytes, and they are read as the same value again.
fn read<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = codec::decode::<T>(bytes, Limit::Entry) {
        let again = codec::encode(&value, Limit::Entry).expect("it came from as many bytes");
        assert_eq!(codec::decode::<T>(&again, Limit::Entry), Ok(value));
    }
}

fn read_all(bytes: &[u8]) {
    read::<ShardCommand>(bytes);
    read::<EventRecord>(bytes);
    read::<Answer>(bytes);
}

/// Bytes of real values: what random bytes alone would hardly ever come near.
fn real() -> Vec<Vec<u8>> {
    let commands =
        shard_commands().into_iter().map(|(_, command)| codec::encode(&command, Limit::Entry));
    let events = events().into_iter().map(|(_, event)| codec::encode(&record(event), Limit::Entry));
    commands.chain(events).map(|bytes| bytes.expect("a sample fits an entry")).collect()
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..512)) {
        read_all(&bytes);
        read_all(&[&[FORMAT], bytes.as_slice()].concat());
    }

    #[test]
    fn real_bytes_with_damage_are_read_or_refused(
        which in any::<prop::sample::Index>(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = which.get(&real()).clone();
        for (place, byte) in damage {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        read_all(&bytes);
    }

    #[test]
    fn random_frames_are_parsed_or_refused(bytes in vec(any::<u8>(), 0..256)) {
        assert!(wire::parse_frame(&bytes, |_| 0).is_err() || bytes.len() >= HEADER_BYTES);
        let whole = wire_form(&bytes);
        let parsed = wire::parse_frame(&whole, sum);
        prop_assert!(parsed.is_ok() || bytes.first().is_none_or(|kind| !(1..=3).contains(kind)));
    }

    #[test]
    fn random_texts_are_frames_or_refused(text in "[ -~]{0,128}", tail in ".{0,64}") {
        let _ = serde_json::from_str::<ClientFrame>(&text);
        let _ = serde_json::from_str::<ClientFrame>(&format!("{{\"type\":\"cmd\",{tail}}}"));
    }
}

/// A frame whose length, checksum and version are right, so that the rest is looked at: its first
/// byte is the kind, the others are payload.
fn wire_form(bytes: &[u8]) -> Vec<u8> {
    let (kind, payload) = bytes.split_first().map_or((0, bytes), |(kind, rest)| (*kind, rest));
    let mut frame = ((HEADER_BYTES - 4 + payload.len()) as u32).to_le_bytes().to_vec();
    let rest = [&[WIRE_VERSION, kind, 7, 0], [9; 8].as_slice(), payload].concat();
    frame.extend_from_slice(&sum(&[&rest]).to_le_bytes());
    frame.extend_from_slice(&rest);
    frame
}
