//! The bytes of a journal: frames, each holding all records of one append at one index.
//!
//! ```text
//!  0        4       8        9        17       21
//!  | length | crc32 | format | index  | count  | record ...
//!  record: stream(8) sequence(8) ordinal(4) length(4) bytes
//! ```
//!
//! All numbers are little endian. `length` counts every byte after the checksum; the checksum
//! (CRC-32, IEEE) covers the same bytes. A frame is whole or worthless, so a torn tail never leaves
//! half of an entry's records behind.

/// Bytes before what the checksum covers.
pub(crate) const FRAME_HEADER_BYTES: usize = 8;
/// The format byte of the frames this build writes.
pub(crate) const FORMAT: u8 = 1;
/// A frame claiming more is damaged: an entry's records never come near it.
pub(crate) const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

const FIXED_BYTES: usize = 1 + 8 + 4;
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

/// Appends a frame with these records, all of one index, to `out`.
pub(crate) fn append(records: &[JournalRecord], out: &mut Vec<u8>) {
    let index = records.first().map_or(0, |record| record.index);
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    out.push(FORMAT);
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&(records.len() as u32).to_le_bytes());
    for record in records {
        assert_eq!(record.index, index, "a frame holds the records of one index");
        out.extend_from_slice(&record.stream.to_le_bytes());
        out.extend_from_slice(&record.sequence.to_le_bytes());
        out.extend_from_slice(&record.ordinal.to_le_bytes());
        out.extend_from_slice(&(record.bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(&record.bytes);
    }
    let body = start + FRAME_HEADER_BYTES;
    let (length, sum) = (out.len() - body, crc32fast::hash(&out[body..]));
    out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    out[start + 4..body].copy_from_slice(&sum.to_le_bytes());
}

/// Bytes that the records take up in a frame.
pub(crate) fn frame_bytes(records: &[JournalRecord]) -> usize {
    let records = records.iter().map(|record| RECORD_FIXED_BYTES + record.bytes.len());
    FRAME_HEADER_BYTES + FIXED_BYTES + records.sum::<usize>()
}

/// The length of the checked part and its checksum, if the header can be one.
pub(crate) fn header(bytes: [u8; FRAME_HEADER_BYTES]) -> Option<(usize, u32)> {
    let [l0, l1, l2, l3, c0, c1, c2, c3] = bytes;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let sum = u32::from_le_bytes([c0, c1, c2, c3]);
    (FIXED_BYTES..=FRAME_BYTES_MAX).contains(&length).then_some((length, sum))
}

/// The records in the checked part of a frame; an error says what is wrong with it.
pub(crate) fn parse(body: &[u8], sum: u32) -> Result<Vec<JournalRecord>, String> {
    let found = crc32fast::hash(body);
    if found != sum {
        return Err(format!("its checksum is {sum:08x}, its bytes give {found:08x}"));
    }
    let mut reader = Reader(body);
    let format = reader.bytes(1)?[0];
    if format != FORMAT {
        return Err(format!("its format is {format}, this build reads {FORMAT}"));
    }
    let (index, count) = (reader.u64()?, reader.u32()?);
    let mut records = Vec::with_capacity((count as usize).min(body.len() / RECORD_FIXED_BYTES));
    for _ in 0..count {
        let (stream, sequence, ordinal) = (reader.u64()?, reader.u64()?, reader.u32()?);
        let length = reader.u32()? as usize;
        let bytes = reader.bytes(length)?.to_vec();
        records.push(JournalRecord { stream, sequence, index, ordinal, bytes });
    }
    if reader.0.is_empty() { Ok(records) } else { Err("bytes follow its records".to_owned()) }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let short = || "its records are longer than the frame".to_owned();
        let (bytes, rest) = self.0.split_at_checked(count).ok_or_else(short)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.bytes(4)?);
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, String> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.bytes(8)?);
        Ok(u64::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<JournalRecord> {
        let record = |ordinal| JournalRecord {
            stream: 7,
            sequence: 40 + u64::from(ordinal),
            index: 99,
            ordinal,
            bytes: vec![ordinal as u8; 5],
        };
        vec![record(0), record(1)]
    }

    #[test]
    fn a_frame_survives_the_round_trip_and_no_flipped_bit_does() {
        let mut frame = Vec::new();
        append(&records(), &mut frame);
        assert_eq!(frame.len(), frame_bytes(&records()));
        for bit in 0..=frame.len() * 8 {
            let mut frame = frame.clone();
            if let Some(byte) = frame.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            let first = *frame.first_chunk().expect("a header");
            let read = header(first).and_then(|(length, sum)| {
                let body = frame.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length)?;
                parse(body, sum).ok()
            });
            assert_eq!(read.is_some(), bit == frame.len() * 8, "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_not_a_frame() {
        assert_eq!(header([0; FRAME_HEADER_BYTES]), None);
        assert!(parse(&[], 0).is_err());
    }
}
