//! The answering end: accepts connections of other nodes and runs the handler on their requests.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream, VarInt};
use rotary_proto::NodeId;
use rotary_proto::limits::LANE_REQUESTS_MAX;
use rotary_proto::wire::{FrameHeader, FrameKind, Lane};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::certificates::peer_of;
use crate::framing::{FrameReader, Outgoing, StreamError, write_frames};
use crate::peer::{lane_of, priority};
use crate::stats::{Counters, count};
use crate::transport::{Handler, PAYLOAD_BYTES_MAX};
use crate::tunnel::{self, TUNNEL_BYTE, Tunnel};

/// What answering needs.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) cluster: String,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) counters: Arc<Counters>,
}

impl Server {
    /// Serves every connection that comes in. Ending the task ends them all.
    pub(crate) async fn run(self, endpoint: Endpoint) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => drop(connections.spawn(self.clone().accept(incoming))),
                    None => return,
                }
            }
        }
    }

    async fn accept(self, incoming: Incoming) {
        let address = incoming.remote_address();
        let connection = match incoming.await {
            Ok(connection) => connection,
            Err(error) => {
                count(&self.counters.refused, 1);
                tracing::debug!(%address, %error, "a handshake failed");
                return;
            }
        };
        match peer_of(&connection) {
            Some((cluster, node)) if cluster == self.cluster => {
                self.serve(connection, node).await;
            }
            found => {
                count(&self.counters.refused, 1);
                tracing::warn!(
                    code = "caller-refused",
                    %address, ?found,
                    "a caller of another cluster was refused"
                );
                connection.close(VarInt::from_u32(2), b"not a node of this cluster");
            }
        }
    }

    async fn serve(self, connection: Connection, from: NodeId) {
        let mut streams = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                Some(_) = streams.join_next(), if !streams.is_empty() => continue,
                accepted = connection.accept_bi() => accepted,
            };
            let Ok(stream) = accepted else { return };
            let (server, connection) = (self.clone(), connection.clone());
            streams.spawn(async move {
                if let Err(error) = server.serve_stream(&connection, stream, from).await {
                    tracing::debug!(peer = %from, %error, "a lane broke");
                    connection.close(VarInt::from_u32(3), b"a lane broke");
                }
            });
        }
    }

    async fn serve_stream(
        self,
        connection: &Connection,
        (send, mut receive): (SendStream, RecvStream),
        from: NodeId,
    ) -> Result<(), StreamError> {
        let mut first = [0];
        receive.read_exact(&mut first).await.map_err(|_| StreamError::Cut)?;
        if first[0] == TUNNEL_BYTE {
            tunnel::allow(connection);
            self.handler.tunnel(from, Tunnel::new(send, receive));
            return Ok(());
        }
        let Some(lane) = lane_of(first[0]) else { return Err(StreamError::Cut) };
        // An error here is an error of the stream, which its first use reports.
        drop(send.set_priority(priority(lane)));
        let (outgoing, frames) = mpsc::unbounded_channel();
        let counters = self.counters.clone();
        tokio::select! {
            biased;
            read = self.read_lane(FrameReader::new(receive), lane, from, outgoing) => read,
            written = write_frames(frames, send, &counters) => written,
        }
    }

    /// Starts a task per request; reads no more while too many run.
    async fn read_lane(
        &self,
        mut reader: FrameReader,
        lane: Lane,
        from: NodeId,
        outgoing: mpsc::UnboundedSender<Outgoing>,
    ) -> Result<(), StreamError> {
        let permits = Arc::new(Semaphore::new(LANE_REQUESTS_MAX));
        while let Some((header, payload)) = reader.next().await? {
            count(&self.counters.frames_received, 1);
            if header.kind != FrameKind::Request {
                continue;
            }
            let permit = permits.clone().acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            let (server, outgoing) = (self.clone(), outgoing.clone());
            tokio::spawn(async move {
                let answer = server.answer(from, lane, header.service, payload).await;
                let (kind, payload) = match answer {
                    Ok(payload) => (FrameKind::Response, payload),
                    Err(reason) => (FrameKind::Failure, Bytes::from(reason)),
                };
                let header = FrameHeader { kind, ..header };
                // A lane that has gone takes no answer; its caller has been told.
                drop(outgoing.send(Outgoing { header, payload, permit }));
            });
        }
        Ok(())
    }

    /// Runs the handler; a panic in it is an answer like any failure.
    pub(crate) async fn answer(
        &self,
        from: NodeId,
        lane: Lane,
        service: u8,
        payload: Bytes,
    ) -> Result<Bytes, String> {
        let handled = async { self.handler.handle(from, lane, service, payload).await };
        match AssertUnwindSafe(handled).catch_unwind().await {
            Ok(Ok(answer)) if answer.len() > PAYLOAD_BYTES_MAX => {
                Err(format!("the answer has {} bytes, too many for a frame", answer.len()))
            }
            Ok(answer) => answer.map(Bytes::from),
            Err(_) => {
                count(&self.counters.handler_panics, 1);
                Err(format!("the handler of service {service} panicked"))
            }
        }
    }
}
