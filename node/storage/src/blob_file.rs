//! The bytes of one blob on disk: a header, and blocks that each carry a checksum.
//!
//! ```text
//! 0   magic "RBLB"    format(1)  zero(3)  key(8)  scope(8)  digest(32)  bytes(8)  sum(4)
//! 68  touched(8) sum(4)
//! 80  block 0  sum(4)  block 1  sum(4) ...
//! ```
//!
//! A block has [`BLOCK_BYTES`], the last one what is left; its CRC32C covers its number too, so
//! that two blocks cannot change places. So any part of a blob can be read and checked without the
//! rest. `key` says which key sealed the blocks; 0, the only one so far, is none. `touched` is the
//! wall time at which somebody last said that the blob is about to be named; it is rewritten in
//! place, and one that is torn counts as the present, which only keeps the blob longer.

use crc32c::{crc32c, crc32c_append};

use crate::blob_error::BlobError;

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 64 * 1024;
/// Bytes of everything before the first block.
pub(crate) const HEADER_BYTES: usize = 80;
/// Where the time of the last touch stands.
pub(crate) const TOUCHED_AT: u64 = 68;
/// Bytes of a block's checksum.
pub(crate) const SUM_BYTES: usize = 4;
const MAGIC: [u8; 4] = *b"RBLB";
const FORMAT: u8 = 1;

/// What a blob is found by: whose it is, and a digest over that and its bytes ([`blob_digest`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobName {
    /// Whose it is, as a number.
    pub scope: u64,
    /// The digest.
    pub digest: [u8; 32],
}

/// The digest of a blob in a scope: SHA-256 over a label, the scope and the bytes. The same bytes
/// have another digest in another scope.
pub fn blob_digest(scope: u64, bytes: &[u8]) -> [u8; 32] {
    let mut digest = BlobDigest::new(scope);
    digest.update(bytes);
    digest.finish()
}

/// [`blob_digest`] of bytes that come in pieces.
#[derive(Clone)]
pub struct BlobDigest(ring::digest::Context);

impl std::fmt::Debug for BlobDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobDigest").finish_non_exhaustive()
    }
}

impl BlobDigest {
    /// Of no bytes yet, in that scope.
    pub fn new(scope: u64) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(b"rotary blob 1");
        context.update(&scope.to_be_bytes());
        Self(context)
    }

    /// Goes on with these.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    pub fn finish(self) -> [u8; 32] {
        self.0.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// What a blob's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlobHeader {
    pub(crate) name: BlobName,
    /// Which key sealed the blocks; 0 is none.
    pub(crate) key: u64,
    /// How many bytes the blob has.
    pub(crate) bytes: u64,
}

impl BlobHeader {
    pub(crate) fn encode(&self, touched_ms: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend(MAGIC);
        out.extend([FORMAT, 0, 0, 0]);
        out.extend(self.key.to_le_bytes());
        out.extend(self.name.scope.to_le_bytes());
        out.extend(self.name.digest);
        out.extend(self.bytes.to_le_bytes());
        out.extend(crc32c(&out).to_le_bytes());
        out.extend(encode_touched(touched_ms));
        debug_assert_eq!(out.len(), HEADER_BYTES);
        out
    }

    /// What a whole header says that this build does not know.
    pub(crate) fn newer(bytes: &[u8]) -> Option<String> {
        let (head, rest) = bytes.split_first_chunk::<64>()?;
        let sum = u32::from_le_bytes(*rest.first_chunk::<4>()?);
        if sum != crc32c(head) || head[..4] != MAGIC {
            return None;
        }
        let key = u64::from_le_bytes(*head[8..].first_chunk::<8>()?);
        match (head[4] != FORMAT, key != 0) {
            (true, _) => Some(format!("format {} is not known to this build", head[4])),
            (false, true) => Some(format!("key {key} is not known to this build")),
            (false, false) => None,
        }
    }

    /// Reads a header, and when the blob was last touched, if that is whole. `file_bytes` is the
    /// length of the file that it stands in.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub(crate) fn decode(bytes: &[u8], file_bytes: u64) -> Result<(Self, Option<u64>), String> {
        let Some((head, rest)) = bytes.split_first_chunk::<64>() else {
            return Err("it is shorter than its header".to_owned());
        };
        let Some((sum, touched)) = rest.split_first_chunk::<4>() else {
            return Err("it is shorter than its header".to_owned());
        };
        if u32::from_le_bytes(*sum) != crc32c(head) {
            return Err("the header's checksum is wrong".to_owned());
        }
        if head[..4] != MAGIC {
            return Err("it is not a blob".to_owned());
        }
        if head[4] != FORMAT {
            return Err(format!("format {} is not known to this build", head[4]));
        }
        let number = |at: usize| {
            u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes of a fixed header"))
        };
        let digest = head[24..56].try_into().expect("32 bytes of a fixed header");
        let name = BlobName { scope: number(16), digest };
        let header = Self { name, key: number(8), bytes: number(56) };
        if header.key != 0 {
            return Err(format!("key {} is not known to this build", header.key));
        }
        if file_length(header.bytes) != Some(file_bytes) {
            let bytes = header.bytes;
            return Err(format!("a blob of {bytes} bytes does not fit its {file_bytes}"));
        }
        Ok((header, decode_touched(touched)))
    }
}

/// The bytes of a file that holds a blob of so many, if a file can have that many.
pub(crate) fn file_length(bytes: u64) -> Option<u64> {
    let sums = bytes.div_ceil(BLOCK_BYTES as u64).checked_mul(SUM_BYTES as u64)?;
    bytes.checked_add(sums)?.checked_add(HEADER_BYTES as u64)
}

/// Where a block begins in its file.
pub(crate) fn block_at(number: u64) -> u64 {
    HEADER_BYTES as u64 + number * (BLOCK_BYTES + SUM_BYTES) as u64
}

/// A block as it stands in the file.
pub(crate) fn encode_block(number: u64, bytes: &[u8]) -> Vec<u8> {
    let sum = block_sum(number, bytes).to_le_bytes();
    [bytes, sum.as_slice()].concat()
}

/// Reads a block and checks it.
///
/// # Errors
/// `Damaged` without a path, which its caller knows.
pub(crate) fn decode_block(number: u64, mut bytes: Vec<u8>) -> Result<Vec<u8>, BlobError> {
    let damaged = |what: &str| BlobError::damaged(block_at(number), what);
    let Some(length) = bytes.len().checked_sub(SUM_BYTES) else {
        return Err(damaged("a block is cut"));
    };
    let sum = bytes.split_off(length);
    if sum != block_sum(number, &bytes).to_le_bytes() {
        return Err(damaged("a block's checksum is wrong"));
    }
    Ok(bytes)
}

fn block_sum(number: u64, bytes: &[u8]) -> u32 {
    crc32c_append(crc32c(&number.to_le_bytes()), bytes)
}

/// The time of a touch with its sum.
pub(crate) fn encode_touched(ms: u64) -> Vec<u8> {
    let ms = ms.to_le_bytes();
    [ms.as_slice(), &crc32c(&ms).to_le_bytes()].concat()
}

fn decode_touched(bytes: &[u8]) -> Option<u64> {
    let (ms, rest) = bytes.split_first_chunk::<8>()?;
    let sum = rest.first_chunk::<4>()?;
    (u32::from_le_bytes(*sum) == crc32c(ms)).then(|| u64::from_le_bytes(*ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(bytes: u64) -> BlobHeader {
        BlobHeader { name: BlobName { scope: 7, digest: [9; 32] }, key: 0, bytes }
    }

    #[test]
    fn the_same_bytes_have_other_names_elsewhere() {
        assert_eq!(blob_digest(1, b"a"), blob_digest(1, b"a"));
        assert_ne!(blob_digest(1, b"a"), blob_digest(2, b"a"));
        assert_ne!(blob_digest(1, b"a"), blob_digest(1, b"b"));
    }

    #[test]
    fn a_torn_touch_costs_nothing_else() {
        let mut bytes = header(5).encode(123);
        let length = file_length(5).expect("small");
        assert_eq!(BlobHeader::decode(&bytes, length), Ok((header(5), Some(123))));
        bytes[TOUCHED_AT as usize] ^= 1;
        assert_eq!(BlobHeader::decode(&bytes, length), Ok((header(5), None)));
    }

    #[test]
    fn a_key_that_this_build_has_not_is_named() {
        let sealed = BlobHeader { key: 4, ..header(5) };
        let error = BlobHeader::decode(&sealed.encode(1), file_length(5).expect("small"));
        assert_eq!(error, Err("key 4 is not known to this build".to_owned()));
        assert_eq!(BlobHeader::newer(&sealed.encode(1)), error.err());
        assert_eq!(BlobHeader::newer(&header(5).encode(1)), None);
        let mut torn = sealed.encode(1);
        torn[20] ^= 1;
        assert_eq!(BlobHeader::newer(&torn), None, "it is damaged");
    }

    proptest! {
        #[test]
        fn any_flipped_bit_of_a_header_is_seen(bit in 0..68 * 8_usize, bytes in 0..1_u64 << 40) {
            let mut encoded = header(bytes).encode(1);
            encoded[bit / 8] ^= 1 << (bit % 8);
            let length = file_length(bytes).expect("small");
            prop_assert!(BlobHeader::decode(&encoded, length).is_err());
        }

        #[test]
        fn nothing_that_is_no_header_passes(
            bytes in prop::collection::vec(any::<u8>(), 0..200), length in any::<u64>()
        ) {
            prop_assert!(BlobHeader::decode(&bytes, length).is_err());
        }

        #[test]
        fn a_block_knows_its_place(number in 0..1_000_u64, bytes in prop::collection::vec(
            any::<u8>(), 1..100)
        ) {
            let block = encode_block(number, &bytes);
            prop_assert_eq!(decode_block(number, block.clone()).ok(), Some(bytes));
            prop_assert!(decode_block(number + 1, block).is_err());
        }
    }
}
