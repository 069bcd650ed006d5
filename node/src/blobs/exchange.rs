//! Blobs on their way between replicas, on the bulk lane.
//!
//! Whoever has a blob asks others to keep it; who lacks it reads it from the asker in pieces,
//! checks that its bytes are what its name says, makes it durable, and says so. The same reading
//! completes a replica that was away. Nobody is sent what they did not ask for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;
use rotary_proto::codec::{self, Limit};
use rotary_proto::limits::BLOB_BYTES_MAX;
use rotary_proto::{BlobId, NodeId, SiteId};
use rotary_storage::{BlobReader, BlobUse, BlobWriter};
use rotary_transport::{Lane, Transport};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::blobs::{Blobs, Lack, on_disk, stored};
use crate::gateway::token::unix_ms;
use crate::telemetry::names;

/// The transport service that exchanges blobs.
pub(crate) const SERVICE_BLOB: u8 = 10;

/// Bytes of one piece, at most.
const PIECE_BYTES: usize = 512 * 1024;
/// What one piece may take.
const PIECE_TTL: Duration = Duration::from_secs(10);
/// Pause between attempts to have a blob kept.
const ASK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Request {
    /// Have that blob on your disk; the asker has it.
    Keep(SiteId, BlobId),
    /// What follows an offset.
    Read { site: SiteId, blob: BlobId, offset: u64 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Answer {
    /// It is on this disk.
    Kept,
    /// It is not here.
    Lacking,
    /// There is no room for it.
    Full(String),
    /// A piece of a blob of so many bytes.
    Piece { of: u64, bytes: Vec<u8> },
}

/// For whom a blob is fetched. None of them takes the places of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Another node, which acknowledges an upload with it.
    Keep,
    /// A command that names it. Those have places of their own before they come here.
    Name,
    /// A reader, or this node, which lacks it.
    Read,
}

/// Another replica has a blob on its disk.
#[derive(Debug)]
pub(crate) struct Kept;

/// Why another replica does not keep a blob.
#[derive(Debug)]
pub(crate) enum Lacking {
    /// It has no room.
    Full(String),
    /// It does not answer, or says what cannot be helped here.
    Silent(String),
}

/// Asks a node to keep a blob that is here, again and again within `patience`.
pub(super) async fn ask_to_keep(
    transport: &Transport,
    node: NodeId,
    (site, blob): (SiteId, BlobId),
    patience: Duration,
) -> Result<Kept, Lacking> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let why = match call(transport, node, &Request::Keep(site, blob), left).await {
            Ok(Answer::Kept) => return Ok(Kept),
            Ok(Answer::Full(text)) => return Err(Lacking::Full(format!("{node}: {text}"))),
            Ok(_) => format!("{node} cannot read it from here"),
            Err(error) => format!("{node}: {error}"),
        };
        if Instant::now() + ASK_AGAIN >= deadline {
            return Err(Lacking::Silent(why));
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn call(
    transport: &Transport,
    node: NodeId,
    request: &Request,
    ttl: Duration,
) -> Result<Answer, String> {
    let payload = codec::encode(request, Limit::Entry).map_err(|error| error.to_string())?;
    let answer = transport.call(node, Lane::Bulk, SERVICE_BLOB, payload, ttl).await;
    let answer = answer.map_err(|error| error.to_string())?;
    codec::decode(&answer, Limit::Wire).map_err(|error| error.to_string())
}

impl Blobs {
    /// Answers another node's request for [`SERVICE_BLOB`].
    ///
    /// # Errors
    /// A text for the caller's log.
    pub(crate) async fn answer(
        self: Arc<Self>,
        from: NodeId,
        payload: Bytes,
    ) -> Result<Vec<u8>, String> {
        let request = codec::decode(&payload, Limit::Entry).map_err(|error| error.to_string())?;
        let answer = match request {
            Request::Keep(site, blob) => self.keep_of(from, site, blob).await?,
            Request::Read { site, blob, offset } => self.piece(site, blob, offset).await?,
        };
        codec::encode(&answer, Limit::Wire).map_err(|error| error.to_string())
    }

    /// Keeps a blob that another node has.
    async fn keep_of(
        self: &Arc<Self>,
        from: NodeId,
        site: SiteId,
        blob: BlobId,
    ) -> Result<Answer, String> {
        let here = self.touch(site, blob).await.map_err(|lack| lack.to_string())?;
        if here.is_some() {
            return Ok(Answer::Kept);
        }
        match self.fetch(from, (site, blob), BlobUse::New, Errand::Keep).await {
            Ok(_) => Ok(Answer::Kept),
            Err(Lack::Unknown(_)) => Ok(Answer::Lacking),
            Err(Lack::Full(text)) => Ok(Answer::Full(text)),
            Err(lack) => Err(lack.to_string()),
        }
    }

    async fn piece(&self, site: SiteId, blob: BlobId, offset: u64) -> Result<Answer, String> {
        let store = self.store.clone();
        let read = move || {
            let lacking = (Answer::Lacking, false);
            let Some(reader) = store.find(stored(site, blob))? else { return Ok(lacking) };
            let bytes = read_piece(&reader, offset);
            match bytes {
                Ok(bytes) => Ok((Answer::Piece { of: reader.bytes(), bytes }, false)),
                Err(rotary_storage::BlobError::Damaged { .. }) => {
                    let aside = store.set_aside_damaged(stored(site, blob))?;
                    Ok((Answer::Lacking, aside))
                }
                Err(error) => Err(error),
            }
        };
        let (answer, aside) = on_disk(read).await.map_err(|lack| lack.to_string())?;
        if aside {
            self.found_damaged(site, blob);
        }
        Ok(answer)
    }

    /// Reads a blob from another node, and makes it durable here; gives its size.
    pub(super) async fn fetch(
        &self,
        node: NodeId,
        (site, blob): (SiteId, BlobId),
        why: BlobUse,
        errand: Errand,
    ) -> Result<u64, Lack> {
        let permits = match errand {
            Errand::Keep => Some(&self.kept),
            Errand::Name => None,
            Errand::Read => Some(&self.fetches),
        };
        let permit = match permits {
            Some(permits) => Some(permits.acquire().await.expect("a semaphore is never closed")),
            None => None,
        };
        // Somebody before this one may have fetched it.
        if let Some(bytes) = self.touch(site, blob).await? {
            return Ok(bytes);
        }
        let fetched = self.fetch_pieces(node, site, blob, why).await;
        drop(permit);
        let result = match &fetched {
            Ok(_) => "fetched",
            Err(Lack::Unknown(_)) => "lacking",
            Err(_) => "failed",
        };
        counter!(names::BLOBS_FETCHED, "result" => result).increment(1);
        fetched
    }

    async fn fetch_pieces(
        &self,
        node: NodeId,
        site: SiteId,
        blob: BlobId,
        why: BlobUse,
    ) -> Result<u64, Lack> {
        let mut writer: Option<(BlobWriter, u64)> = None;
        loop {
            let offset = writer.as_ref().map_or(0, |(writer, _)| writer.bytes());
            let request = Request::Read { site, blob, offset };
            let answer = call(&self.transport, node, &request, PIECE_TTL).await;
            let answer = answer.map_err(|text| Lack::Unreachable(format!("{node}: {text}")))?;
            let Answer::Piece { of, bytes } = answer else { return Err(Lack::Unknown(blob)) };
            let (mut begun, size) = match writer.take() {
                Some(begun) => begun,
                None => (self.begin_fetched(site, of, why).await?, of),
            };
            let after = offset.saturating_add(bytes.len() as u64);
            if size != of || bytes.is_empty() || after > size {
                let text = format!("{node} sends something else than {blob}");
                return Err(Lack::Unreachable(text));
            }
            if after == size {
                let finish = move || {
                    begun.append(&bytes)?;
                    begun.finish(Some(blob.0), unix_ms())
                };
                return on_disk(finish).await.map(|(_, bytes)| bytes);
            }
            let append = move || begun.append(&bytes).map(|()| begun);
            writer = Some((on_disk(append).await?, size));
        }
    }

    async fn begin_fetched(
        &self,
        site: SiteId,
        bytes: u64,
        why: BlobUse,
    ) -> Result<BlobWriter, Lack> {
        if !(1..=BLOB_BYTES_MAX).contains(&bytes) {
            return Err(Lack::Unreachable(format!("a blob of {bytes} bytes is none")));
        }
        let store = self.store.clone();
        on_disk(move || store.begin(site.key(), why, bytes)).await
    }
}

/// As many checked bytes from an offset on as one answer carries.
fn read_piece(reader: &BlobReader, offset: u64) -> Result<Vec<u8>, rotary_storage::BlobError> {
    let mut piece = Vec::new();
    while piece.len() < PIECE_BYTES {
        let more = reader.read(offset.saturating_add(piece.len() as u64))?;
        if more.is_empty() {
            break;
        }
        piece.extend(more);
    }
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_fit_their_frames_and_nothing_else_passes() {
        let (site, blob) = (SiteId::new(1, 2), BlobId([7; 32]));
        for request in [Request::Keep(site, blob), Request::Read { site, blob, offset: u64::MAX }] {
            let bytes = codec::encode(&request, Limit::Entry).expect("small");
            let back: Request = codec::decode(&bytes, Limit::Entry).expect("round trip");
            assert_eq!(back, request);
            for end in 0..bytes.len() {
                assert!(codec::decode::<Request>(&bytes[..end], Limit::Entry).is_err(), "{end}");
            }
        }
        // A piece ends with a block, so it may be almost one longer.
        let piece = Answer::Piece { of: u64::MAX, bytes: vec![7; PIECE_BYTES + 64 * 1024] };
        assert!(codec::encode(&piece, Limit::Wire).is_ok());
        let wild = [3, 255, 255, 255, 255, 255, 255, 255, 255, 255];
        assert!(codec::decode::<Answer>(&wild, Limit::Wire).is_err());
    }
}
