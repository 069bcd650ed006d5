//! The bytes of a journal's segments: a beginning, frames of records and marks, and an end.
//!
//! ```text
//!  0        4        8        9      10      14      18      26      30
//!  | length | crc32c | format | kind | since | group | index | count | rest ...
//!
//!  records  record ...             record: stream(8) sequence(8) ordinal(4) length(4) bytes
//!  mark     nothing
//!  begin    origin(1) hash(32) then count times stream(8) last(8)
//!  end      hash(32) then count times stream(8) first(8) places(4) place(4)...,
//!           then checkpoints(4) and as many of offset(4) index(8) hash(32), then start(4)
//! ```
//!
//! All numbers are little endian. `length` counts every byte after the checksum, which covers the
//! same bytes. A frame is whole or worthless, so a torn tail never leaves half of an entry's
//! records behind.
//!
//! `since` is the length that the segment was sure to have when the frame was written: everything
//! before it was synced. So a frame that cannot be read, followed by one that says that it was
//! durable, is damage; without such a witness it is a torn tail.
//!
//! What the hash chain covers of a frame of records is everything from `group` on, and that is
//! also the form in which frames travel ([`export`]): `length crc32c group index count record ...`.

use std::borrow::Borrow;

/// Bytes before what the checksum covers.
pub(crate) const FRAME_HEADER_BYTES: usize = 8;
/// The format byte of the frames this build writes.
const FORMAT: u8 = 2;
/// A frame claiming more is damaged: an entry's records never come near it.
pub(crate) const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Where the part begins, after the checksum, that the hash chain covers.
const CHAINED: usize = 1 + 1 + 4;
/// Group, index and count.
const FIXED_BYTES: usize = 4 + 8 + 4;
const RECORD_FIXED_BYTES: usize = 8 + 8 + 4 + 4;

/// One record of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRecord {
    /// Which of the group's streams it belongs to.
    pub stream: u64,
    /// Its place in the stream, from 1, without holes.
    pub sequence: u64,
    /// The log index that made it.
    pub index: u64,
    /// Its place among the records of that index.
    pub ordinal: u32,
    /// What the caller recorded.
    pub bytes: Vec<u8>,
}

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All records of one index.
    Records,
    /// Everything up to its index was applied.
    Mark,
    /// Where a segment begins.
    Begin,
    /// Where everything in a segment is; nothing follows it.
    End,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Records => 1,
            Self::Mark => 2,
            Self::Begin => 3,
            Self::End => 4,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Records, Self::Mark, Self::Begin, Self::End].into_iter().find(|k| k.byte() == byte)
    }
}

/// A frame whose checksum is right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) since: u32,
    pub(crate) index: u64,
    pub(crate) count: u32,
    /// What the hash chain covers.
    pub(crate) chained: &'a [u8],
}

impl<'a> Frame<'a> {
    /// What follows the count.
    pub(crate) fn rest(&self) -> Reader<'a> {
        Reader(&self.chained[FIXED_BYTES..])
    }

    /// The records of a frame of them.
    pub(crate) fn records(&self) -> Result<Vec<JournalRecord>, String> {
        records(self.index, self.count, self.rest())
    }
}

fn records(index: u64, count: u32, mut rest: Reader<'_>) -> Result<Vec<JournalRecord>, String> {
    let mut records = Vec::with_capacity((count as usize).min(rest.0.len() / RECORD_FIXED_BYTES));
    for _ in 0..count {
        let (stream, sequence, ordinal) = (rest.u64()?, rest.u64()?, rest.u32()?);
        let length = rest.u32()? as usize;
        let bytes = rest.bytes(length)?.to_vec();
        records.push(JournalRecord { stream, sequence, index, ordinal, bytes });
    }
    rest.end()?;
    Ok(records)
}

/// The chained part of a frame of records, all of one index.
pub(crate) fn chained(group: u32, records: &[impl Borrow<JournalRecord>]) -> Vec<u8> {
    let mut out = Vec::new();
    chain_into(group, records, &mut out);
    out
}

/// Appends the chained part of a frame of records, all of one index.
pub(crate) fn chain_into(group: u32, records: &[impl Borrow<JournalRecord>], out: &mut Vec<u8>) {
    let records = records.iter().map(Borrow::borrow);
    let index = records.clone().next().map_or(0, |record| record.index);
    let sizes = records.clone().map(|record| RECORD_FIXED_BYTES + record.bytes.len());
    out.reserve(FIXED_BYTES + sizes.sum::<usize>());
    fixed(group, index, records.len() as u32, out);
    for record in records {
        assert_eq!(record.index, index, "a frame holds the records of one index");
        out.extend_from_slice(&record.stream.to_le_bytes());
        out.extend_from_slice(&record.sequence.to_le_bytes());
        out.extend_from_slice(&record.ordinal.to_le_bytes());
        out.extend_from_slice(&(record.bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(&record.bytes);
    }
}

/// Group, index and count, with which the chained part of every frame begins.
pub(crate) fn fixed(group: u32, index: u64, count: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&group.to_le_bytes());
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
}

/// Bytes that a frame with that chained part takes up.
pub(crate) const fn frame_bytes(chained: usize) -> usize {
    FRAME_HEADER_BYTES + CHAINED + chained
}

/// Appends a frame to `out`.
pub(crate) fn append(kind: Kind, since: u32, chained: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    out.extend_from_slice(&[FORMAT, kind.byte()]);
    out.extend_from_slice(&since.to_le_bytes());
    out.extend_from_slice(chained);
    seal(start, out);
}

/// Fills in length and checksum of the frame that starts there.
fn seal(start: usize, out: &mut [u8]) {
    let body = start + FRAME_HEADER_BYTES;
    let (length, sum) = (out.len() - body, crc32c::crc32c(&out[body..]));
    assert!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes could not be read back");
    out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    out[start + 4..body].copy_from_slice(&sum.to_le_bytes());
}

/// The length of the checked part and its checksum, if the header can be one.
pub(crate) fn header(bytes: [u8; FRAME_HEADER_BYTES]) -> Option<(usize, u32)> {
    let [l0, l1, l2, l3, c0, c1, c2, c3] = bytes;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let sum = u32::from_le_bytes([c0, c1, c2, c3]);
    (FIXED_BYTES..=FRAME_BYTES_MAX).contains(&length).then_some((length, sum))
}

/// Reads the checked part of a frame; an error says what is wrong with it.
pub(crate) fn parse(group: u32, body: &[u8], sum: u32) -> Result<Frame<'_>, String> {
    check_sum(body, sum)?;
    let mut reader = Reader(body);
    let (format, kind, since) = (reader.bytes(1)?[0], reader.bytes(1)?[0], reader.u32()?);
    if format != FORMAT {
        return Err(format!("its format is {format}, this build reads {FORMAT}"));
    }
    let kind = Kind::of(kind).ok_or_else(|| format!("its kind is {kind}"))?;
    let chained = reader.0;
    let (found, index, count) = (reader.u32()?, reader.u64()?, reader.u32()?);
    if found != group {
        return Err(format!("it is of group {found}"));
    }
    Ok(Frame { kind, since, index, count, chained })
}

fn check_sum(body: &[u8], sum: u32) -> Result<(), String> {
    let found = crc32c::crc32c(body);
    if found == sum {
        return Ok(());
    }
    Err(format!("its checksum is {sum:08x}, its bytes give {found:08x}"))
}

/// The frame at an offset of a segment, and its length.
pub(crate) fn frame_at(
    group: u32,
    bytes: &[u8],
    offset: usize,
) -> Result<(Frame<'_>, usize), String> {
    let rest = bytes.get(offset..).unwrap_or_default();
    let head = rest.first_chunk::<FRAME_HEADER_BYTES>().ok_or("its header is incomplete")?;
    let (length, sum) = header(*head).ok_or("its length is impossible")?;
    let end = FRAME_HEADER_BYTES + length;
    let body = rest.get(FRAME_HEADER_BYTES..end).ok_or("it is incomplete")?;
    Ok((parse(group, body, sum)?, end))
}

/// Appends a frame of records in the form in which they travel.
pub(crate) fn export(chained: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    out.extend_from_slice(chained);
    seal(start, out);
}

/// The first travelling frame in `bytes`: its records, its chained part, and its length; `None`
/// if it is not all there.
#[expect(clippy::type_complexity, reason = "named where it is taken apart")]
pub(crate) fn imported(
    group: u32,
    bytes: &[u8],
) -> Result<Option<(Vec<JournalRecord>, &[u8], usize)>, String> {
    let Some(head) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
    let (length, sum) = header(*head).ok_or("its length is impossible")?;
    let end = FRAME_HEADER_BYTES + length;
    let Some(chained) = bytes.get(FRAME_HEADER_BYTES..end) else { return Ok(None) };
    check_sum(chained, sum)?;
    let mut reader = Reader(chained);
    let (found, index, count) = (reader.u32()?, reader.u64()?, reader.u32()?);
    if found != group || count == 0 {
        return Err(format!("it is of group {found} with {count} records"));
    }
    Ok(Some((records(index, count, reader)?, chained, end)))
}

/// Takes little-endian fields off the front of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let short = || "its fields are longer than the frame".to_owned();
        let (bytes, rest) = self.0.split_at_checked(count).ok_or_else(short)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, String> {
        Ok(self.bytes(1)?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn hash(&mut self) -> Result<[u8; 32], String> {
        self.array()
    }

    /// A count of things of so many bytes each, if the rest can hold them.
    pub(crate) fn count(&mut self, bytes_each: usize) -> Result<usize, String> {
        let count = self.u32()? as usize;
        let room = self.0.len() / bytes_each;
        if count <= room { Ok(count) } else { Err(format!("it claims {count} of {room} things")) }
    }

    pub(crate) fn end(&self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err("bytes follow its fields".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<JournalRecord> {
        let record = |ordinal| JournalRecord {
            stream: 7,
            sequence: 40 + u64::from(ordinal),
            index: 99,
            ordinal,
            bytes: vec![ordinal as u8; 5],
        };
        vec![record(0), record(1)]
    }

    fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        bytes
    }

    #[test]
    fn a_frame_survives_the_round_trip_and_no_flipped_bit_does() {
        let mut frame = Vec::new();
        append(Kind::Records, 17, &chained(3, &some()), &mut frame);
        assert_eq!(frame.len(), frame_bytes(chained(3, &some()).len()));
        for bit in 0..=frame.len() * 8 {
            let read = flipped(&frame, bit);
            let read = frame_at(3, &read, 0).and_then(|(frame, _)| {
                assert_eq!((frame.kind, frame.since, frame.index), (Kind::Records, 17, 99));
                frame.records()
            });
            assert_eq!(read.ok(), (bit == frame.len() * 8).then(some), "bit {bit}");
        }
        assert!(frame_at(4, &frame, 0).is_err());
    }

    #[test]
    fn a_travelling_frame_survives_the_trip_and_no_flipped_bit_does() {
        let mut frame = Vec::new();
        export(&chained(3, &some()), &mut frame);
        for bit in 0..=frame.len() * 8 {
            let read = flipped(&frame, bit);
            let read = imported(3, &read).ok().flatten().map(|(records, _, _)| records);
            assert_eq!(read, (bit == frame.len() * 8).then(some), "bit {bit}");
        }
        for length in 0..frame.len() {
            assert!(imported(3, &frame[..length]).is_ok_and(|frame| frame.is_none()));
        }
    }

    #[test]
    fn zeros_are_not_a_frame() {
        assert_eq!(header([0; FRAME_HEADER_BYTES]), None);
        assert!(parse(0, &[], 0).is_err());
    }
}
