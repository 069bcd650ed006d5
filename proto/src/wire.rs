//! The envelope between nodes: a fixed header and a payload that transport never opens.
//!
//! ```text
//!  0        4        8       9      10      11      12             20
//!  | length | crc32  | ver   | kind | serv. | zero  | request id    | payload ...
//! ```
//!
//! All numbers are little endian. `length` counts every byte after itself and is checked against
//! [`WIRE_FRAME_BYTES_MAX`] before anything is allocated. The checksum (CRC-32, IEEE polynomial)
//! covers every byte after itself, because a dropped stream ends cleanly and half a frame must not
//! pass for one.

use serde::{Deserialize, Serialize};

use crate::limits::WIRE_FRAME_BYTES_MAX;

/// The version byte of a frame's header.
pub const WIRE_VERSION: u8 = 1;
/// Bytes of a frame before its payload, the length itself included.
pub const HEADER_BYTES: usize = 20;
/// The protocol name that two nodes agree on while they shake hands (ALPN).
pub const ALPN: &[u8] = b"rotary/1";

/// How urgent a frame is. Each lane between two nodes is a stream of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Appends, and what else shards agree by.
    Raft,
    /// Forwarded commands, feeds, hints.
    Live,
    /// Snapshots and journal segments.
    Bulk,
    /// Heartbeats and votes: a few bytes each, and a shard's leader depends on them.
    Heartbeat,
}

impl Lane {
    /// Every lane, most urgent first.
    pub const ALL: [Self; 4] = [Self::Heartbeat, Self::Raft, Self::Live, Self::Bulk];
}

/// What a frame is to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Asks for exactly one response with the same request id.
    Request = 1,
    /// The answer; the payload is the service's.
    Response = 2,
    /// The peer could not answer; the payload is a text for logs.
    Failure = 3,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Request, Self::Response, Self::Failure].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A parsed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Request, response or failure.
    pub kind: FrameKind,
    /// Which part of the node the payload is for; its numbers belong to the node.
    pub service: u8,
    /// Pairs a response with its request within one lane of one connection.
    pub request: u64,
}

/// Why bytes are not a frame. Any of these ends the lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The length is not one a frame can have.
    #[error("a frame of {length} bytes; {HEADER_BYTES} to {WIRE_FRAME_BYTES_MAX} are allowed")]
    Length {
        /// Bytes the frame claims, length field included.
        length: usize,
    },
    /// The checksum does not match.
    #[error("a frame's checksum is {found:08x}, its bytes give {computed:08x}")]
    Checksum {
        /// What the frame says.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// A version, kind or reserved byte that this build does not know.
    #[error("a frame header has {value} where {expected} is expected; are the versions alike?")]
    Header {
        /// What the field must be.
        expected: &'static str,
        /// What it is.
        value: u8,
    },
}

/// Reads a frame's total length from its first four bytes.
///
/// # Errors
/// `Length` outside of the allowed range.
pub fn frame_length(first: [u8; 4]) -> Result<usize, WireError> {
    let length = (u32::from_le_bytes(first) as usize).saturating_add(4);
    if (HEADER_BYTES..=WIRE_FRAME_BYTES_MAX).contains(&length) {
        Ok(length)
    } else {
        Err(WireError::Length { length })
    }
}

/// What precedes a payload in its frame. `checksum` is CRC-32 (IEEE) of the pieces that it is
/// given, one after another.
///
/// # Errors
/// `Length` for a payload too large.
pub fn frame_header(
    header: FrameHeader,
    payload: &[u8],
    checksum: fn(&[&[u8]]) -> u32,
) -> Result<[u8; HEADER_BYTES], WireError> {
    let length = HEADER_BYTES.saturating_add(payload.len());
    if length > WIRE_FRAME_BYTES_MAX {
        return Err(WireError::Length { length });
    }
    let mut out = [0; HEADER_BYTES];
    out[..4].copy_from_slice(&((length - 4) as u32).to_le_bytes());
    out[8..12].copy_from_slice(&[WIRE_VERSION, header.kind as u8, header.service, 0]);
    out[12..].copy_from_slice(&header.request.to_le_bytes());
    let sum = checksum(&[&out[8..], payload]);
    out[4..8].copy_from_slice(&sum.to_le_bytes());
    Ok(out)
}

/// Splits a whole frame (length field included) into its header and payload.
///
/// # Errors
/// Every variant of [`WireError`]; never a panic.
pub fn parse_frame(
    frame: &[u8],
    checksum: fn(&[&[u8]]) -> u32,
) -> Result<(FrameHeader, &[u8]), WireError> {
    let claimed = match frame.first_chunk::<4>() {
        Some(first) => frame_length(*first)?,
        None => return Err(WireError::Length { length: frame.len() }),
    };
    let (Some(header), true) = (frame.first_chunk::<HEADER_BYTES>(), claimed == frame.len()) else {
        return Err(WireError::Length { length: frame.len() });
    };
    let [_, _, _, _, c0, c1, c2, c3, version, kind, service, zero, id @ ..] = *header;
    let (found, computed) = (u32::from_le_bytes([c0, c1, c2, c3]), checksum(&[&frame[8..]]));
    if found != computed {
        return Err(WireError::Checksum { found, computed });
    }
    if version != WIRE_VERSION {
        return Err(WireError::Header { expected: "header version 1", value: version });
    }
    if zero != 0 {
        return Err(WireError::Header { expected: "a zero byte", value: zero });
    }
    let kind = FrameKind::from_byte(kind)
        .ok_or(WireError::Header { expected: "kind 1, 2 or 3", value: kind })?;
    let header = FrameHeader { kind, service, request: u64::from_le_bytes(id) };
    Ok((header, &frame[HEADER_BYTES..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not CRC-32, but a checksum all the same: these tests are about the form.
    fn sum(pieces: &[&[u8]]) -> u32 {
        let bytes = pieces.iter().copied().flatten();
        bytes.fold(17, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)))
    }

    fn frame() -> Vec<u8> {
        let header = FrameHeader { kind: FrameKind::Request, service: 3, request: 77 };
        let front = frame_header(header, b"payload", sum).expect("small");
        [front.as_slice(), b"payload"].concat()
    }

    #[test]
    fn a_frame_survives_the_round_trip() {
        let header = FrameHeader { kind: FrameKind::Request, service: 3, request: 77 };
        assert_eq!(parse_frame(&frame(), sum), Ok((header, b"payload".as_slice())));
    }

    #[test]
    fn every_single_flipped_bit_and_every_cut_is_noticed() {
        let whole = frame();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(parse_frame(&flipped, sum).is_err(), "bit {bit}");
        }
        for end in 0..whole.len() {
            assert!(parse_frame(&whole[..end], sum).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_length_is_checked_before_it_is_believed() {
        assert!(frame_length(u32::MAX.to_le_bytes()).is_err());
        assert!(frame_length(15u32.to_le_bytes()).is_err());
        assert_eq!(frame_length(16u32.to_le_bytes()), Ok(20));
        let payload = vec![0; WIRE_FRAME_BYTES_MAX];
        let header = FrameHeader { kind: FrameKind::Failure, service: 0, request: 0 };
        assert!(frame_header(header, &payload, sum).is_err());
    }
}
