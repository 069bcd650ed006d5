//! The one place that turns values into bytes and back.
//!
//! Bytes are a format version followed by the bincode form (2.0, standard configuration: variable
//! length integers, little endian). Decoding always has a limit, because a length prefix of nine
//! bytes can otherwise ask for terabytes, and always demands that every byte is used, because a
//! longer value cut short would otherwise pass for a shorter one.

use std::cell::RefCell;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits;

/// The version byte of everything this build writes.
pub const FORMAT: u8 = 1;

/// Why bytes are not a value, or a value does not fit its limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// There were no bytes at all.
    #[error("empty input: a format version byte is expected first")]
    Empty,
    /// The first byte names a format that this build does not read.
    #[error("format version {found} is not known here (this build reads {FORMAT}); upgrade it")]
    Format {
        /// The version byte found.
        found: u8,
    },
    /// The bytes, or the value they describe, are larger than the caller allows.
    #[error("{size} bytes exceed the limit of {limit}")]
    TooLarge {
        /// Bytes given or produced.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The bytes do not have the form of the value.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A value was read and bytes were left over.
    #[error("{extra} bytes follow the value")]
    Trailing {
        /// How many bytes were left.
        extra: usize,
    },
}

/// How many bytes a decode may be given, by what the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// One command, event or answer.
    Entry,
    /// One frame between nodes.
    Wire,
}

impl Limit {
    /// The limit in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Entry => limits::ENTRY_BYTES_MAX,
            Self::Wire => limits::WIRE_FRAME_BYTES_MAX,
        }
    }
}

/// Appends the bytes of `value` to `out`, and says how many they are.
///
/// # Errors
/// `TooLarge` where they are more than `limit` allows; `out` is then as it was.
pub fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    limit: Limit,
    out: &mut Vec<u8>,
) -> Result<usize, CodecError> {
    let start = out.len();
    out.push(FORMAT);
    append_plain(value, out)?;
    let size = out.len() - start;
    if size > limit.bytes() {
        out.truncate(start);
        return Err(CodecError::TooLarge { size, limit: limit.bytes() });
    }
    Ok(size)
}

/// What the buffer below keeps of its size.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    /// Where values grow before their bytes are copied, once their number is known.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The bytes of `value`, as many as they need.
///
/// # Errors
/// `TooLarge` where they are more than `limit` allows.
pub fn encode<T: Serialize + ?Sized>(value: &T, limit: Limit) -> Result<Vec<u8>, CodecError> {
    let mut scratch = SCRATCH.take();
    scratch.clear();
    encode_into(value, limit, &mut scratch)?;
    let bytes = scratch.as_slice().to_vec();
    scratch.shrink_to(SCRATCH_BYTES_MAX);
    SCRATCH.set(scratch);
    Ok(bytes)
}

/// Reads a value that takes up all of `bytes`.
///
/// # Errors
/// Every variant of [`CodecError`]; never a panic. What a length prefix claims is checked against
/// `limit` before it is allocated.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: Limit) -> Result<T, CodecError> {
    if bytes.len() > limit.bytes() {
        return Err(CodecError::TooLarge { size: bytes.len(), limit: limit.bytes() });
    }
    let (format, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if *format != FORMAT {
        return Err(CodecError::Format { found: *format });
    }
    let (value, used) = match limit {
        Limit::Entry => read::<T, { limits::ENTRY_BYTES_MAX }>(body)?,
        Limit::Wire => read::<T, { limits::WIRE_FRAME_BYTES_MAX }>(body)?,
    };
    if used != body.len() {
        return Err(CodecError::Trailing { extra: body.len() - used });
    }
    Ok(value)
}

/// Appends the bytes of `value` without version byte or limit: what digests are made of. Nothing
/// ever reads them back.
///
/// # Errors
/// `Malformed` for a value whose serialisation fails, which no type of this crate does.
pub fn append_plain<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    bincode::serde::encode_into_std_write(value, out, bincode::config::standard())
        .map(drop)
        .map_err(|error| CodecError::Malformed(error.to_string()))
}

fn read<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<(T, usize), CodecError> {
    bincode::serde::decode_from_slice(bytes, bincode::config::standard().with_limit::<LIMIT>())
        .map_err(|error| CodecError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_the_round_trip() {
        let bytes = encode(&("hello", 7u64, vec![1u8, 2]), Limit::Entry).expect("small");
        assert_eq!(bytes.first(), Some(&FORMAT));
        let back: (String, u64, Vec<u8>) = decode(&bytes, Limit::Entry).expect("round trip");
        assert_eq!(back, ("hello".to_owned(), 7, vec![1, 2]));
    }

    #[test]
    fn a_claimed_length_beyond_the_limit_is_an_error_not_an_allocation() {
        let claim = [FORMAT, 253, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0];
        let error = decode::<Vec<u8>>(&claim, Limit::Entry).expect_err("a terabyte");
        assert!(matches!(error, CodecError::Malformed(_)), "{error}");
    }

    #[test]
    fn each_way_of_being_wrong_has_its_name() {
        let bytes = encode(&5u64, Limit::Entry).expect("small");
        assert_eq!(decode::<u64>(&[], Limit::Entry), Err(CodecError::Empty));
        assert_eq!(decode::<u64>(&[9, 5], Limit::Entry), Err(CodecError::Format { found: 9 }));
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(decode::<u64>(&longer, Limit::Entry), Err(CodecError::Trailing { extra: 1 }));
        let (size, limit) = (limits::ENTRY_BYTES_MAX + 1, limits::ENTRY_BYTES_MAX);
        let large = CodecError::TooLarge { size, limit };
        assert_eq!(decode::<u64>(&vec![FORMAT; size], Limit::Entry), Err(large));
    }

    #[test]
    fn a_value_too_large_leaves_the_buffer_as_it_was() {
        let mut out = vec![42];
        let error = encode_into(&vec![0u8; limits::ENTRY_BYTES_MAX], Limit::Entry, &mut out);
        assert!(matches!(error, Err(CodecError::TooLarge { .. })));
        assert_eq!(out, [42]);
    }
}
