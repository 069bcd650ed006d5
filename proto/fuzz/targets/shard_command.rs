//! Reads an entry of a shard's log from arbitrary bytes: a value or an error, never a panic, and
//! a value's own bytes are read as that value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rotary_proto::ShardCommand;
use rotary_proto::codec::{Limit, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = decode::<ShardCommand>(bytes, Limit::Entry) else { return };
    let again = encode(&value, Limit::Entry).expect("a value read from an entry fits one");
    assert_eq!(decode::<ShardCommand>(&again, Limit::Entry), Ok(value));
});
