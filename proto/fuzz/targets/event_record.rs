//! Reads a record of a journal from arbitrary bytes: a value or an error, never a panic, and a
//! value's own bytes are read as that value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rotary_proto::EventRecord;
use rotary_proto::codec::{Limit, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = decode::<EventRecord>(bytes, Limit::Entry) else { return };
    let again = encode(&value, Limit::Entry).expect("a value read from an entry fits one");
    assert_eq!(decode::<EventRecord>(&again, Limit::Entry), Ok(value));
});
