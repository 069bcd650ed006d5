//! Frames on a stream: the reading end cuts them out, the writing end packs what waits together.

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream, SendStream};
use rotary_proto::wire::{self, FrameHeader, HEADER_BYTES, WireError};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::stats::{Counters, count};

/// A frame on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) header: FrameHeader,
    pub(crate) payload: Bytes,
    /// What it holds until it is written: an answer, so that a peer that asks without reading stops
    /// being served; a request, so that no more wait than may.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Bytes that one write gathers at most, beyond its last frame.
const WRITE_BYTES: usize = 256 * 1024;
/// A payload up to this is copied beside its header.
const COPIED_BYTES_MAX: usize = 4 * 1024;
const READ_BYTES: usize = 64 * 1024;

/// Why a stream ended other than cleanly.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] quinn::WriteError),
    #[error("the stream ended within a frame")]
    Cut,
}

/// Reads whole, checked frames.
#[derive(Debug)]
pub(crate) struct FrameReader {
    stream: RecvStream,
    buffer: BytesMut,
}

impl FrameReader {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next frame, or `None` where the stream ends cleanly between two.
    pub(crate) async fn next(&mut self) -> Result<Option<(FrameHeader, Bytes)>, StreamError> {
        loop {
            if let Some(first) = self.buffer.first_chunk::<4>() {
                let length = wire::frame_length(*first)?;
                if self.buffer.len() >= length {
                    let frame = self.buffer.split_to(length).freeze();
                    let (header, _) = wire::parse_frame(&frame, checksum)?;
                    return Ok(Some((header, frame.slice(HEADER_BYTES..))));
                }
            }
            match self.stream.read_chunk(READ_BYTES, true).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk.bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(StreamError::Cut),
            }
        }
    }
}

/// Writes frames until the channel closes; whatever waits goes into one write.
pub(crate) async fn write_frames(
    mut frames: mpsc::UnboundedReceiver<Outgoing>,
    mut stream: SendStream,
    counters: &Counters,
) -> Result<(), StreamError> {
    let mut held = Vec::new();
    while let Some(first) = frames.recv().await {
        let (mut packed, mut next) = (Packed::default(), Some(first));
        let mut count_packed = 0;
        while let Some(frame) = next {
            packed.add(frame.header, frame.payload)?;
            held.push(frame.permit);
            count_packed += 1;
            next = if packed.bytes < WRITE_BYTES { frames.try_recv().ok() } else { None };
        }
        count(&counters.bytes_sent, packed.bytes as u64);
        stream.write_all_chunks(&mut packed.finish()).await?;
        held.clear();
        count(&counters.frames_sent, count_packed);
        count(&counters.writes, 1);
    }
    Ok(())
}

/// Frames of one write: what is short lies together, what is long is not copied.
#[derive(Default)]
struct Packed {
    chunks: Vec<Bytes>,
    short: BytesMut,
    bytes: usize,
}

impl Packed {
    fn add(&mut self, header: FrameHeader, payload: Bytes) -> Result<(), WireError> {
        self.short.extend_from_slice(&wire::frame_header(header, &payload, checksum)?);
        self.bytes += HEADER_BYTES + payload.len();
        if payload.len() <= COPIED_BYTES_MAX {
            self.short.extend_from_slice(&payload);
        } else {
            self.chunks.extend([self.short.split().freeze(), payload]);
        }
        Ok(())
    }

    fn finish(mut self) -> Vec<Bytes> {
        if !self.short.is_empty() {
            self.chunks.push(self.short.freeze());
        }
        self.chunks
    }
}

fn checksum(pieces: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    pieces.iter().for_each(|piece| hasher.update(piece));
    hasher.finalize()
}
