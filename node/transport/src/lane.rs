//! The asking end of one lane's stream: requests out, answers back, paired by id.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use rotary_proto::limits::{LANE_BYTES_MAX, LANE_REQUESTS_MAX};
use rotary_proto::wire::{FrameHeader, FrameKind};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::framing::{FrameReader, Outgoing, StreamError, write_frames};
use crate::stats::{Counters, count};

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The peer cannot have seen the request.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The peer may or may not have acted on the request.
    #[error("unknown outcome: {0}")]
    Unknown(String),
    /// The peer answered that it failed; whether it acted is for its service to say.
    #[error("the peer failed: {0}")]
    Failed(String),
    /// The request exceeds what a frame may carry. It was not sent.
    #[error("a payload of {bytes} bytes exceeds the {bytes_max} that a frame may carry")]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
    /// Too many requests wait on this lane, or too many bytes to be written. It was not sent.
    #[error("this lane has all the requests that it can carry")]
    Busy,
}

type Answer = oneshot::Sender<Result<Bytes, CallError>>;

/// One open stream.
#[derive(Debug)]
pub(crate) struct Wire {
    outgoing: mpsc::UnboundedSender<Outgoing>,
    next: AtomicU64,
    pending: Mutex<Pending>,
    /// KiB that may yet wait to be written. A frame waits on when its caller has given up, so that
    /// the number of callers does not bound what waits for a peer that reads nothing.
    room: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Pending {
    /// In order of their ids, so that a broken lane ends its calls in one order only.
    answers: BTreeMap<u64, Answer>,
    /// Why the stream ended, once it has.
    broken: Option<String>,
}

impl Wire {
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Outgoing>) {
        let (outgoing, frames) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(LANE_BYTES_MAX / 1024));
        let (next, pending) = (AtomicU64::new(1), Mutex::default());
        (Arc::new(Self { outgoing, next, pending, room }), frames)
    }

    /// Serves the stream until it breaks, then ends every request that waits on it.
    pub(crate) async fn run(
        self: Arc<Self>,
        frames: mpsc::UnboundedReceiver<Outgoing>,
        (send, receive): (SendStream, RecvStream),
        counters: Arc<Counters>,
    ) {
        let reason = tokio::select! {
            biased;
            read = self.read(receive, &counters) => read,
            written = write_frames(frames, send, &counters) => written,
        };
        let reason = match reason {
            Ok(()) => "the peer closed the lane".to_owned(),
            Err(error) => error.to_string(),
        };
        self.end(&reason);
    }

    async fn read(&self, stream: RecvStream, counters: &Counters) -> Result<(), StreamError> {
        let mut reader = FrameReader::new(stream);
        while let Some((header, payload)) = reader.next().await? {
            count(&counters.frames_received, 1);
            let Some(answer) = self.lock().answers.remove(&header.request) else { continue };
            // A caller that has given up is not there to be told.
            drop(answer.send(match header.kind {
                FrameKind::Response => Ok(payload),
                FrameKind::Failure => {
                    Err(CallError::Failed(String::from_utf8_lossy(&payload).into_owned()))
                }
                FrameKind::Request => Err(CallError::Unknown("a request came back".to_owned())),
            }));
        }
        Ok(())
    }

    /// Ends the stream: every waiting request has an unknown outcome, and no other is taken.
    pub(crate) fn end(&self, reason: &str) {
        let answers = {
            let mut pending = self.lock();
            pending.broken.get_or_insert_with(|| reason.to_owned());
            std::mem::take(&mut pending.answers)
        };
        for answer in answers.into_values() {
            drop(answer.send(Err(CallError::Unknown(reason.to_owned()))));
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().broken.is_none()
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call(
        &self,
        service: u8,
        payload: Bytes,
        ttl: Duration,
    ) -> Result<Bytes, CallError> {
        let kibibytes = u32::try_from(payload.len().div_ceil(1024).max(1));
        let permit = self.room.clone().try_acquire_many_owned(kibibytes.unwrap_or(u32::MAX));
        let permit = permit.map_err(|_| CallError::Busy)?;
        let (answer, answered) = oneshot::channel();
        let request = self.next.fetch_add(1, Ordering::Relaxed);
        {
            let mut pending = self.lock();
            if let Some(reason) = &pending.broken {
                return Err(CallError::NotSent(reason.clone()));
            }
            if pending.answers.len() >= LANE_REQUESTS_MAX {
                return Err(CallError::Busy);
            }
            pending.answers.insert(request, answer);
        }
        let _forget = Forget { wire: self, request };
        let header = FrameHeader { kind: FrameKind::Request, service, request };
        if self.outgoing.send(Outgoing { header, payload, permit }).is_err() {
            return Err(CallError::NotSent("the lane has just broken".to_owned()));
        }
        match tokio::time::timeout(ttl, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CallError::Unknown("the transport closed".to_owned())),
            Err(_) => Err(CallError::Unknown(format!("no answer within {} ms", ttl.as_millis()))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().expect("no code panics while it holds this lock")
    }
}

/// Takes a request off the books when its caller stops waiting, for whatever reason.
struct Forget<'a> {
    wire: &'a Wire,
    request: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.wire.lock().answers.remove(&self.request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_of_callers_who_gave_up_still_count() {
        let (wire, mut frames) = Wire::new();
        let piece = Bytes::from(vec![0; 1024 * 1024]);
        let soon = Duration::from_millis(1);
        for _ in 0..LANE_BYTES_MAX / piece.len() {
            let late = wire.call(1, piece.clone(), soon).await;
            assert!(matches!(late, Err(CallError::Unknown(_))), "{late:?}");
        }
        assert_eq!(wire.call(1, piece.clone(), soon).await, Err(CallError::Busy));
        drop(frames.recv().await);
        let late = wire.call(1, piece, soon).await;
        assert!(matches!(late, Err(CallError::Unknown(_))), "what is written makes room: {late:?}");
    }
}
