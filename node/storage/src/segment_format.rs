//! The bytes of a segment: headers, batches, records. Pure: no file is touched here.
//!
//! ```text
//! segment  header block (512): magic(8) format(4) number(4) log(16) first batch(8) oldest(4)
//!                              allocated(4) previous(4) unused(8) crc(4), zeros
//!          batch, batch, ...   each at a multiple of 8; then zeros, or a seal and zeros
//! batch    header (40):        magic(4) format(2) flags(2) sequence(8) body bytes(4)
//!                              allocated(4) oldest(4) previous(4) body crc(4) crc(4)
//!          body:               record, record, ..., zeros to a multiple of 8
//! record   payload bytes(4) crc(4) kind(1) group(4) payload
//! ```
//!
//! Numbers are little endian, checksums CRC32C. A batch header's checksum starts from the log's id
//! and the segment's number, so a block of another log or another segment is no batch here; its
//! `previous` is the checksum of the batch before it, so neither is an older copy of this one.
//! `allocated` says how long the file was, durably, when the batch was written: a file that is
//! shorter has been cut by somebody else. `oldest` is the first segment that the log still needs.

use crc32c::{crc32c, crc32c_append};

use crate::log_store::Group;

/// The format that this build writes and reads.
pub(crate) const FORMAT: u16 = 1;
/// The block that a segment's header has to itself, so that no later write shares its sector.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 512;
/// The part of the block that means something.
const SEGMENT_HEADER_USED: usize = 64;
pub(crate) const BATCH_HEADER_BYTES: usize = 40;
/// Batches begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;
/// What a record has before its payload.
pub(crate) const RECORD_HEADER_BYTES: usize = 13;
/// What an entry's record has before the entry's bytes.
pub(crate) const ENTRY_HEADER_BYTES: usize = RECORD_HEADER_BYTES + 8;

const SEGMENT_MAGIC: [u8; 8] = *b"RotarySg";
const BATCH_MAGIC: [u8; 4] = *b"RBat";
const FLAG_SEAL: u16 = 1;

/// What the first block of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u32,
    pub(crate) log_id: u128,
    /// The sequence of the first batch in it.
    pub(crate) first_batch: u64,
    /// The first segment that the log needed when this one was made.
    pub(crate) oldest: u32,
    /// The file's durable length when it got its name.
    pub(crate) allocated: u32,
    /// The checksum of the last batch of the segment before.
    pub(crate) previous: u32,
}

/// Why a block is not a segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Too short, another magic, or a wrong checksum.
    Damaged,
    /// Whole, and of a format that this build does not know.
    Format(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        bytes.extend(SEGMENT_MAGIC);
        bytes.extend(u32::from(FORMAT).to_le_bytes());
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.log_id.to_le_bytes());
        bytes.extend(self.first_batch.to_le_bytes());
        bytes.extend(self.oldest.to_le_bytes());
        bytes.extend(self.allocated.to_le_bytes());
        bytes.extend(self.previous.to_le_bytes());
        bytes.resize(SEGMENT_HEADER_USED - 4, 0);
        bytes.extend(crc32c(&bytes).to_le_bytes());
        bytes.resize(SEGMENT_HEADER_BYTES, 0);
        bytes
    }

    /// Reads a header from the start of a file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let used = bytes.get(..SEGMENT_HEADER_USED).ok_or(HeaderFault::Damaged)?;
        let (content, crc) = used.split_at(SEGMENT_HEADER_USED - 4);
        let mut reader = Reader(content);
        if reader.array() != Some(SEGMENT_MAGIC) || crc != crc32c(content).to_le_bytes() {
            return Err(HeaderFault::Damaged);
        }
        let format = reader.u32().ok_or(HeaderFault::Damaged)?;
        if format != u32::from(FORMAT) {
            return Err(HeaderFault::Format(format));
        }
        let header = (|| {
            Some(Self {
                number: reader.u32()?,
                log_id: u128::from_le_bytes(reader.array()?),
                first_batch: reader.u64()?,
                oldest: reader.u32()?,
                allocated: reader.u32()?,
                previous: reader.u32()?,
            })
        })();
        header.ok_or(HeaderFault::Damaged)
    }
}

/// Where the checksums of a segment's batch headers start from.
pub(crate) fn seed(log_id: u128, number: u32) -> u32 {
    crc32c_append(crc32c(&log_id.to_le_bytes()), &number.to_le_bytes())
}

/// What stands before a batch's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) format: u16,
    /// Whether it is no batch but the end of its segment: the next batch is in the next one.
    pub(crate) seal: bool,
    pub(crate) sequence: u64,
    pub(crate) body_bytes: u32,
    pub(crate) allocated: u32,
    pub(crate) oldest: u32,
    pub(crate) previous: u32,
    pub(crate) body_crc: u32,
    /// The header's own checksum.
    pub(crate) crc: u32,
}

impl BatchHeader {
    /// Reads a header, if there is one and its checksum is right.
    pub(crate) fn parse(bytes: &[u8], seed: u32) -> Option<Self> {
        let bytes: &[u8; BATCH_HEADER_BYTES] = bytes.first_chunk()?;
        if !bytes.starts_with(&BATCH_MAGIC) {
            return None;
        }
        let mut reader = Reader(&bytes[BATCH_MAGIC.len()..]);
        let (format, flags) = (reader.u16()?, reader.u16()?);
        let header = Self {
            format,
            seal: flags & FLAG_SEAL != 0,
            sequence: reader.u64()?,
            body_bytes: reader.u32()?,
            allocated: reader.u32()?,
            oldest: reader.u32()?,
            previous: reader.u32()?,
            body_crc: reader.u32()?,
            crc: reader.u32()?,
        };
        let crc = crc32c_append(seed, &bytes[..BATCH_HEADER_BYTES - 4]);
        (crc == header.crc).then_some(header)
    }

    /// Writes the header into its place at the start of a batch, and returns its checksum.
    fn encode(&self, seed: u32, into: &mut [u8]) -> u32 {
        let mut bytes = Vec::with_capacity(BATCH_HEADER_BYTES);
        bytes.extend(BATCH_MAGIC);
        bytes.extend(self.format.to_le_bytes());
        bytes.extend((if self.seal { FLAG_SEAL } else { 0 }).to_le_bytes());
        bytes.extend(self.sequence.to_le_bytes());
        bytes.extend(self.body_bytes.to_le_bytes());
        bytes.extend(self.allocated.to_le_bytes());
        bytes.extend(self.oldest.to_le_bytes());
        bytes.extend(self.previous.to_le_bytes());
        bytes.extend(self.body_crc.to_le_bytes());
        let crc = crc32c_append(seed, &bytes);
        bytes.extend(crc.to_le_bytes());
        into[..BATCH_HEADER_BYTES].copy_from_slice(&bytes);
        crc
    }
}

/// What a batch says about its place, beside its records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) seed: u32,
    pub(crate) sequence: u64,
    pub(crate) allocated: u32,
    pub(crate) oldest: u32,
    pub(crate) previous: u32,
}

/// A batch being put together; its memory is used again and again.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; BATCH_HEADER_BYTES] }
    }

    /// Empties it, and gives memory back beyond `bytes_max`.
    pub(crate) fn clear(&mut self, bytes_max: usize) {
        self.bytes.truncate(BATCH_HEADER_BYTES);
        self.bytes.shrink_to(bytes_max);
    }

    pub(crate) fn push(&mut self, group: Group, record: Record<'_>) {
        let start = self.bytes.len();
        self.bytes.extend([0; 8]);
        self.bytes.push(record.kind());
        self.bytes.extend(group.to_le_bytes());
        record.append_payload(&mut self.bytes);
        let payload = self.bytes.len() - start - RECORD_HEADER_BYTES;
        let payload = u32::try_from(payload).expect("a call's bytes are bounded");
        let crc = crc32c(&self.bytes[start + 8..]);
        self.bytes[start..start + 4].copy_from_slice(&payload.to_le_bytes());
        self.bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// The length of the batch once it is finished.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len().next_multiple_of(ALIGNMENT)
    }

    /// Fills in the header and returns its checksum.
    pub(crate) fn finish(&mut self, place: Place) -> u32 {
        self.bytes.resize(self.len(), 0);
        let body = &self.bytes[BATCH_HEADER_BYTES..];
        let body_bytes = u32::try_from(body.len()).expect("a batch's bytes are bounded");
        let header = header_of(place, false, body_bytes, crc32c(body));
        header.encode(place.seed, &mut self.bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The mark that ends a segment.
pub(crate) fn seal(place: Place) -> [u8; BATCH_HEADER_BYTES] {
    let mut bytes = [0; BATCH_HEADER_BYTES];
    header_of(place, true, 0, crc32c(&[])).encode(place.seed, &mut bytes);
    bytes
}

fn header_of(place: Place, seal: bool, body_bytes: u32, body_crc: u32) -> BatchHeader {
    let Place { sequence, allocated, oldest, previous, .. } = place;
    let (format, crc) = (FORMAT, 0);
    BatchHeader { format, seal, sequence, body_bytes, allocated, oldest, previous, body_crc, crc }
}

/// One change of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// An entry that follows the group's last one.
    Entry(u64, &'a [u8]),
    /// An entry that is in an older segment too, and is to be read from here.
    Copy(u64, &'a [u8]),
    Vote(&'a [u8]),
    Saved(&'a str, &'a [u8]),
    /// Removes the entries from that index on.
    Truncate(u64),
    /// Removes the entries through that index and remembers the mark.
    Purge(u64, &'a [u8]),
    /// A mark that was given by a purge, without its removal.
    Mark(u64, &'a [u8]),
    /// The end of the log was cut off here, for all groups.
    Cut,
    /// The cut means nothing for this group any more.
    CutCleared,
}

impl<'a> Record<'a> {
    fn kind(&self) -> u8 {
        match self {
            Self::Entry(..) => 1,
            Self::Copy(..) => 2,
            Self::Vote(_) => 3,
            Self::Saved(..) => 4,
            Self::Truncate(_) => 5,
            Self::Purge(..) => 6,
            Self::Mark(..) => 7,
            Self::Cut => 8,
            Self::CutCleared => 9,
        }
    }

    fn append_payload(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Entry(number, rest)
            | Self::Copy(number, rest)
            | Self::Purge(number, rest)
            | Self::Mark(number, rest) => {
                bytes.extend(number.to_le_bytes());
                bytes.extend(*rest);
            }
            Self::Vote(vote) => bytes.extend(*vote),
            Self::Saved(name, value) => {
                bytes.push(u8::try_from(name.len()).expect("names are checked where they enter"));
                bytes.extend(name.as_bytes());
                bytes.extend(*value);
            }
            Self::Truncate(from) => bytes.extend(from.to_le_bytes()),
            Self::Cut | Self::CutCleared => {}
        }
    }

    fn parse(kind: u8, payload: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(payload);
        let record = match kind {
            1 => Self::Entry(reader.u64()?, reader.rest()),
            2 => Self::Copy(reader.u64()?, reader.rest()),
            3 => Self::Vote(reader.rest()),
            4 => {
                let [count] = reader.array()?;
                let name = std::str::from_utf8(reader.take(usize::from(count))?).ok()?;
                Self::Saved(name, reader.rest())
            }
            5 => Self::Truncate(reader.u64()?),
            6 => Self::Purge(reader.u64()?, reader.rest()),
            7 => Self::Mark(reader.u64()?, reader.rest()),
            8 => Self::Cut,
            9 => Self::CutCleared,
            _ => return None,
        };
        reader.0.is_empty().then_some(record)
    }
}

/// A record and its place in its batch's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub(crate) offset: usize,
    pub(crate) group: Group,
    pub(crate) record: Record<'a>,
}

/// The records of a body whose checksum was right; `None` for what is not one, and ends it.
pub(crate) fn records(body: &[u8]) -> impl Iterator<Item = Option<Found<'_>>> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let rest = body.get(offset..)?;
        if rest.len() < ALIGNMENT && rest.iter().all(|byte| *byte == 0) {
            return None;
        }
        let at = offset;
        let found = record_at(rest).map(|(group, record, length)| {
            offset += length;
            Found { offset: at, group, record }
        });
        if found.is_none() {
            offset = usize::MAX;
        }
        Some(found)
    })
}

fn record_at(bytes: &[u8]) -> Option<(Group, Record<'_>, usize)> {
    let mut reader = Reader(bytes);
    let (payload, _crc) = (reader.u32()? as usize, reader.u32()?);
    let [kind] = reader.array()?;
    let group = reader.u32()?;
    let record = Record::parse(kind, reader.take(payload)?)?;
    Some((group, record, RECORD_HEADER_BYTES + payload))
}

/// The bytes of one entry, if this is its record and its checksum is right.
pub(crate) fn entry_bytes(record: &[u8], group: Group, index: u64) -> Option<&[u8]> {
    let (found, content, length) = record_at(record)?;
    let crc = record.get(4..8)? == crc32c(record.get(8..length)?).to_le_bytes();
    match content {
        Record::Entry(at, bytes) | Record::Copy(at, bytes) => {
            (crc && found == group && at == index && length == record.len()).then_some(bytes)
        }
        _ => None,
    }
}

/// Takes little endian numbers from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place =
        Place { seed: 7, sequence: 9, allocated: 4096, oldest: 2, previous: 0xabcd };

    fn every_record() -> Vec<(Group, Record<'static>)> {
        vec![
            (1, Record::Entry(5, b"five")),
            (u32::MAX, Record::Copy(u64::MAX, b"")),
            (2, Record::Vote(b"vote")),
            (2, Record::Saved("committed", b"value")),
            (3, Record::Truncate(8)),
            (3, Record::Purge(4, b"mark")),
            (3, Record::Mark(4, b"mark")),
            (0, Record::Cut),
            (9, Record::CutCleared),
        ]
    }

    #[test]
    fn a_batch_gives_back_its_records() {
        let mut batch = Batch::new();
        for (group, record) in every_record() {
            batch.push(group, record);
        }
        let crc = batch.finish(PLACE);
        let header = BatchHeader::parse(batch.as_bytes(), 7).expect("its own header");
        assert_eq!((header.crc, header.sequence, header.seal), (crc, 9, false));
        let body = &batch.as_bytes()[BATCH_HEADER_BYTES..];
        assert_eq!((body.len() as u32, crc32c(body)), (header.body_bytes, header.body_crc));
        let found: Vec<_> = records(body).map(|found| found.expect("a record")).collect();
        let content: Vec<_> = found.iter().map(|found| (found.group, found.record)).collect();
        assert_eq!(content, every_record());
        let first = &body[..found[1].offset];
        assert_eq!(entry_bytes(first, 1, 5), Some(&b"five"[..]));
        assert_eq!((entry_bytes(first, 2, 5), entry_bytes(first, 1, 6)), (None, None));
    }

    #[test]
    fn a_header_of_another_place_is_none() {
        let mut batch = Batch::new();
        batch.push(1, Record::Vote(b"x"));
        batch.finish(PLACE);
        assert!(BatchHeader::parse(batch.as_bytes(), 8).is_none());
        assert!(BatchHeader::parse(&seal(PLACE), 7).is_some_and(|header| header.seal));
        assert_ne!(seed(1, 1), seed(1, 2));
        assert_ne!(seed(1, 1), seed(2, 1));
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_seen() {
        let header = SegmentHeader {
            number: 3,
            log_id: 77,
            first_batch: 12,
            oldest: 1,
            allocated: 1 << 20,
            previous: 5,
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::parse(&bytes), Ok(header));
        for bit in 0..SEGMENT_HEADER_USED * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::parse(&flipped), Err(HeaderFault::Damaged), "bit {bit}");
        }
        assert_eq!(SegmentHeader::parse(&bytes[..40]), Err(HeaderFault::Damaged));
    }

    #[test]
    fn arbitrary_bodies_never_panic_and_always_end() {
        let mut bytes = vec![0_u8; 64];
        for round in 0..20_000_u32 {
            let at = (round as usize * 7) % 64;
            bytes[at] = bytes[at].wrapping_mul(31).wrapping_add(round as u8);
            assert!(records(&bytes).count() <= 6);
            let _ = entry_bytes(&bytes, 1, 1);
        }
    }
}
