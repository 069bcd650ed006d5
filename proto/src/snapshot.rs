//! Chunks: how a replica's frozen state becomes bytes, and how they are read again.
//!
//! ```text
//! snapshot = chunk*                          in order, the last one marked
//! chunk    = format u8, machine u8, last u8, number u32, sum u128, record*
//! record   = length u32, one value of the codec
//! ```
//!
//! Numbers are little endian, chunks are numbered from 0 and at most
//! [`limits::SNAPSHOT_CHUNK_BYTES_MAX`] long, records at most [`limits::ENTRY_BYTES_MAX`]. A
//! chunk's sum covers the sum of the chunk before it, its own header and its records. So a chunk
//! that is damaged, missing, out of order or of another snapshot is known by its own bytes, and a
//! reader keeps nothing but the last sum. The sum (xxh3) guards against faults, not against
//! forgery.
//!
//! What the records are is the business of the machine whose state it is. Writing takes one record
//! at a time, so no state is ever held as bytes as a whole.

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3;

use crate::codec::{self, CodecError, Limit};
use crate::limits;

/// The format byte of every chunk that this build writes.
pub const FORMAT: u8 = 1;

/// Bytes of a chunk before its records.
pub const HEADER_BYTES: usize = SUM_AT + 16;

const SUM_AT: usize = 7;
const LENGTH_BYTES: usize = 4;

/// Whose state a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// A shard's: who serves whom.
    Distributor = 1,
    /// The directory's: who exists, and where it lives.
    Directory = 2,
}

/// Why bytes are not the next chunk of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Fewer bytes than a header has.
    #[error("{bytes} bytes are no chunk: its header alone has {HEADER_BYTES}; send it whole")]
    Short {
        /// Bytes given.
        bytes: usize,
    },
    /// More bytes than a chunk may have.
    #[error("{bytes} bytes exceed the limit of {} a chunk", limits::SNAPSHOT_CHUNK_BYTES_MAX)]
    TooLarge {
        /// Bytes given.
        bytes: usize,
    },
    /// A format that this build does not read.
    #[error("snapshot format {found} is not known here (this build reads {FORMAT}); upgrade it")]
    Format {
        /// The format byte found.
        found: u8,
    },
    /// The state of another machine, or of none.
    #[error("machine {found} instead of {expected:?}: this snapshot is of another kind of shard")]
    Machine {
        /// Whose state is read.
        expected: Machine,
        /// The machine byte found.
        found: u8,
    },
    /// A chunk is missing, came twice, or came too early.
    #[error("chunk {found} instead of {expected}; send the snapshot anew, in order")]
    OutOfOrder {
        /// The number that is next.
        expected: u32,
        /// The number found.
        found: u32,
    },
    /// More chunks than a snapshot may have.
    #[error("more than {} chunks", limits::SNAPSHOT_CHUNKS_MAX)]
    TooMany,
    /// A chunk after the last.
    #[error("a chunk follows the last one")]
    AfterLast,
    /// The sum does not match: bytes were changed or lost, or it belongs to another snapshot.
    #[error(
        "chunk {number} does not match its sum: damaged, or of another snapshot; fetch it anew"
    )]
    Damaged {
        /// Which.
        number: u32,
    },
    /// A record is not a value of this build.
    #[error("a record of chunk {number} cannot be read: {error}")]
    Record {
        /// Which chunk.
        number: u32,
        /// What is wrong.
        error: CodecError,
    },
    /// A record's length goes beyond its chunk.
    #[error("a record of chunk {number} is cut off")]
    CutOff {
        /// Which chunk.
        number: u32,
    },
    /// The last chunk has not come.
    #[error("the snapshot ends after {chunks} chunks, before its last one; fetch the rest")]
    Truncated {
        /// How many came.
        chunks: u32,
    },
}

/// The chunks of a snapshot with these records, each made when it is asked for.
///
/// A record that exceeds [`limits::ENTRY_BYTES_MAX`], or more chunks than
/// [`limits::SNAPSHOT_CHUNKS_MAX`], is a fault of the machine and panics: its own bounds must keep
/// it from that.
pub fn chunks<R: Serialize>(
    machine: Machine,
    records: impl Iterator<Item = R>,
) -> impl Iterator<Item = Vec<u8>> {
    Writer { machine, records, pending: Vec::new(), number: 0, sum: 0, ended: false }
}

struct Writer<I> {
    machine: Machine,
    records: I,
    /// The record that did not fit the chunk before.
    pending: Vec<u8>,
    number: u32,
    sum: u128,
    ended: bool,
}

impl<R: Serialize, I: Iterator<Item = R>> Iterator for Writer<I> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        let mut chunk = vec![0; HEADER_BYTES];
        chunk.append(&mut self.pending);
        loop {
            let Some(record) = self.records.next() else {
                self.ended = true;
                break;
            };
            append(&record, &mut self.pending);
            if chunk.len() + self.pending.len() > limits::SNAPSHOT_CHUNK_BYTES_MAX {
                break;
            }
            chunk.append(&mut self.pending);
        }
        assert!(self.number < limits::SNAPSHOT_CHUNKS_MAX, "limits relate chunks and entities");
        (chunk[0], chunk[1], chunk[2]) = (FORMAT, self.machine as u8, u8::from(self.ended));
        chunk[3..SUM_AT].copy_from_slice(&self.number.to_le_bytes());
        self.sum = sum_of(self.sum, &chunk);
        chunk[SUM_AT..HEADER_BYTES].copy_from_slice(&self.sum.to_le_bytes());
        self.number += 1;
        Some(chunk)
    }
}

fn append<R: Serialize>(record: &R, out: &mut Vec<u8>) {
    out.extend([0; LENGTH_BYTES]);
    let length = codec::encode_into(record, Limit::Entry, out);
    let length = length.expect("every entity's own bounds keep it within an entry") as u32;
    out[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// The sum of a chunk, by its header up to the sum and its records.
fn sum_of(before: u128, chunk: &[u8]) -> u128 {
    let mut sum = Xxh3::new();
    sum.update(&before.to_le_bytes());
    sum.update(&chunk[..SUM_AT]);
    sum.update(&chunk[HEADER_BYTES..]);
    sum.digest128()
}

/// Gives the bytes of a chunk the sum that they should have after a chunk with sum `before` (0 for
/// the first), and says which that is: for tests that look behind the sum.
pub fn mend(before: u128, chunk: &mut [u8]) -> u128 {
    if chunk.len() < HEADER_BYTES {
        return before;
    }
    let sum = sum_of(before, chunk);
    chunk[SUM_AT..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    sum
}

/// A digest of records in their order.
pub fn digest_of<R: Serialize>(records: impl Iterator<Item = R>) -> u128 {
    let (mut digest, mut bytes) = (Xxh3::new(), Vec::new());
    for record in records {
        bytes.clear();
        append(&record, &mut bytes);
        digest.update(&bytes);
    }
    digest.digest128()
}

/// Reads the chunks of one snapshot, in order.
#[derive(Debug, Clone)]
pub struct Reader {
    machine: Machine,
    number: u32,
    sum: u128,
    ended: bool,
}

impl Reader {
    /// A reader of a snapshot of that machine.
    pub const fn new(machine: Machine) -> Self {
        Self { machine, number: 0, sum: 0, ended: false }
    }

    /// Checks the next chunk and gives its records one by one. After an error the snapshot is of
    /// no use, and neither is this reader.
    ///
    /// # Errors
    /// [`ChunkError`], as the error type of `each`; or what `each` returned. Bytes never panic.
    pub fn read<R: DeserializeOwned, E: From<ChunkError>>(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(R) -> Result<(), E>,
    ) -> Result<(), E> {
        let number = self.number;
        let mut rest = self.check(chunk)?;
        while !rest.is_empty() {
            let (bytes, after) = record_of(rest).ok_or(ChunkError::CutOff { number })?;
            let record = codec::decode(bytes, Limit::Entry);
            each(record.map_err(|error| ChunkError::Record { number, error })?)?;
            rest = after;
        }
        Ok(())
    }

    /// The records' bytes of the next chunk.
    fn check<'a>(&mut self, chunk: &'a [u8]) -> Result<&'a [u8], ChunkError> {
        let bytes = chunk.len();
        let (header, records) =
            chunk.split_first_chunk::<HEADER_BYTES>().ok_or(ChunkError::Short { bytes })?;
        if bytes > limits::SNAPSHOT_CHUNK_BYTES_MAX {
            return Err(ChunkError::TooLarge { bytes });
        }
        let [format, machine, last, n0, n1, n2, n3, sum @ ..] = *header;
        let found = u32::from_le_bytes([n0, n1, n2, n3]);
        if format != FORMAT {
            return Err(ChunkError::Format { found: format });
        }
        if machine != self.machine as u8 {
            return Err(ChunkError::Machine { expected: self.machine, found: machine });
        }
        if self.ended {
            return Err(ChunkError::AfterLast);
        }
        if self.number >= limits::SNAPSHOT_CHUNKS_MAX {
            return Err(ChunkError::TooMany);
        }
        if found != self.number {
            return Err(ChunkError::OutOfOrder { expected: self.number, found });
        }
        let expected = sum_of(self.sum, chunk);
        if u128::from_le_bytes(sum) != expected || last > 1 {
            return Err(ChunkError::Damaged { number: found });
        }
        (self.sum, self.number, self.ended) = (expected, self.number + 1, last == 1);
        Ok(records)
    }

    /// Whether the last chunk has come.
    ///
    /// # Errors
    /// [`ChunkError::Truncated`] if not.
    pub const fn finish(&self) -> Result<(), ChunkError> {
        if self.ended { Ok(()) } else { Err(ChunkError::Truncated { chunks: self.number }) }
    }
}

fn record_of(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three chunks.
    fn sample() -> (Vec<String>, Vec<Vec<u8>>) {
        let records: Vec<String> = (0..50).map(|n| "x".repeat(n * 1_000)).collect();
        let chunks = chunks(Machine::Directory, records.iter()).collect();
        (records, chunks)
    }

    fn read(chunks: &[Vec<u8>]) -> Result<Vec<String>, ChunkError> {
        let (mut reader, mut records) = (Reader::new(Machine::Directory), Vec::new());
        for chunk in chunks {
            reader.read(chunk, |record: String| -> Result<(), ChunkError> {
                records.push(record);
                Ok(())
            })?;
        }
        reader.finish().map(|()| records)
    }

    #[test]
    fn records_survive_the_way_through_chunks() {
        let (records, chunks) = sample();
        assert_eq!(chunks.len(), 2);
        assert!(chunks.iter().all(|chunk| chunk.len() <= limits::SNAPSHOT_CHUNK_BYTES_MAX));
        assert_eq!(read(&chunks), Ok(records));
        let nothing: Vec<Vec<u8>> =
            super::chunks(Machine::Directory, std::iter::empty::<u8>()).collect();
        assert_eq!((nothing.len(), read(&nothing)), (1, Ok(Vec::new())));
    }

    #[test]
    fn each_way_of_being_wrong_has_its_name() {
        let (_, chunks) = sample();
        let [first, second] = chunks.as_slice() else { panic!("two chunks") };
        let one = |chunk: &[u8]| read(&[chunk.to_vec()]);
        assert_eq!(read(&chunks[..1]), Err(ChunkError::Truncated { chunks: 1 }));
        assert_eq!(one(second), Err(ChunkError::OutOfOrder { expected: 0, found: 1 }));
        let twice = [first.clone(), first.clone()];
        assert_eq!(read(&twice), Err(ChunkError::OutOfOrder { expected: 1, found: 0 }));
        let longer = [first.clone(), second.clone(), second.clone()];
        assert_eq!(read(&longer), Err(ChunkError::AfterLast));
        assert_eq!(one(&first[..9]), Err(ChunkError::Short { bytes: 9 }));
        let shorter = &first[..first.len() - 1];
        assert_eq!(one(shorter), Err(ChunkError::Damaged { number: 0 }));
        let bytes = limits::SNAPSHOT_CHUNK_BYTES_MAX + 1;
        assert_eq!(one(&vec![1; bytes]), Err(ChunkError::TooLarge { bytes }));
        let with = |at: usize, byte| [&first[..at], &[byte], &first[at + 1..]].concat();
        assert_eq!(one(&with(0, 9)), Err(ChunkError::Format { found: 9 }));
        let expected = Machine::Directory;
        assert_eq!(one(&with(1, 1)), Err(ChunkError::Machine { expected, found: 1 }));
        assert_eq!(one(&with(2, 1)), Err(ChunkError::Damaged { number: 0 }));
        assert_eq!(one(&with(900, 1)), Err(ChunkError::Damaged { number: 0 }));
    }

    #[test]
    fn a_chunk_of_another_snapshot_is_known() {
        let (records, chunks) = sample();
        let others = super::chunks(Machine::Directory, records.iter().skip(1)).collect::<Vec<_>>();
        let mixed = [others[0].clone(), chunks[1].clone()];
        assert_eq!(read(&mixed), Err(ChunkError::Damaged { number: 1 }));
    }

    #[test]
    fn what_is_wrong_behind_a_good_sum_is_an_error_too() {
        let mut chunk = chunks(Machine::Directory, ["word"].iter()).next().expect("one");
        chunk[HEADER_BYTES] = 200;
        mend(0, &mut chunk);
        assert_eq!(read(&[chunk.clone()]), Err(ChunkError::CutOff { number: 0 }));
        (chunk[HEADER_BYTES], chunk[HEADER_BYTES + LENGTH_BYTES]) = (6, 9);
        mend(0, &mut chunk);
        let error = CodecError::Format { found: 9 };
        assert_eq!(read(&[chunk]), Err(ChunkError::Record { number: 0, error }));
    }
}
