//! Raft's messages on their way out: every group of this node, over the shared connections.
//!
//! A message is one request on the raft lane: its kind, its group, and openraft's own message in
//! the house codec. The answer is openraft's response in the same codec.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft_multi::{GroupNetworkAdapter, GroupRouter};
use rotary_proto::NodeId;
use rotary_transport::{CallError, Lane, Transport};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::inbound::{Kind, SERVICE_RAFT, raft_header};
use crate::snapshot::SnapshotFile;
use crate::transfer;
use crate::types::{Snapshot, Types, Vote, decode, encode_after, entry_bytes};

/// An append with entries waits for a sync at the other end, which may stall; a lost connection
/// ends it sooner.
const APPEND_TTL: Duration = Duration::from_secs(2);

/// Bytes to begin with for a message without entries.
const MESSAGE_BYTES: usize = 128;

/// How long a message without entries may take, and about how large it is.
fn short(option: &RPCOption) -> (Duration, usize) {
    (option.soft_ttl(), MESSAGE_BYTES)
}

/// Sends the messages of all groups.
#[derive(Clone)]
pub(crate) struct Router {
    transport: Arc<Transport>,
    snapshot_bytes_per_second: u64,
}

impl Router {
    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        target: u64,
        group: u32,
        kind: Kind,
        message: &Q,
        (ttl, bytes): (Duration, usize),
    ) -> Result<A, RPCError<Types>> {
        let broken = |error: &dyn std::error::Error| {
            RPCError::Network(NetworkError::<Types>::from_string(error))
        };
        let mut request = Vec::with_capacity(bytes);
        request.extend_from_slice(&raft_header(kind, group));
        encode_after(message, &mut request).map_err(|error| broken(&error))?;
        let request = Bytes::from(request);
        match self.transport.call(NodeId(target), Lane::Raft, SERVICE_RAFT, request, ttl).await {
            Ok(answer) => decode(&answer).map_err(|error| broken(&error)),
            Err(error @ CallError::NotSent(_)) => {
                Err(RPCError::Unreachable(Unreachable::from_string(error)))
            }
            Err(error) => Err(broken(&error)),
        }
    }
}

impl GroupRouter<Types, u32> for Router {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &self,
        target: u64,
        group: u32,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let ttl = if request.entries.is_empty() { option.soft_ttl() } else { APPEND_TTL };
        let bytes = request.entries.iter().map(entry_bytes).sum::<usize>() + MESSAGE_BYTES;
        self.call(target, group, Kind::Append, &request, (ttl, bytes)).await
    }

    async fn vote(
        &self,
        target: u64,
        group: u32,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(target, group, Kind::Vote, &request, short(&option)).await
    }

    async fn pre_vote(
        &self,
        target: u64,
        group: u32,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(target, group, Kind::PreVote, &request, short(&option)).await
    }

    async fn full_snapshot(
        &self,
        target: u64,
        group: u32,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let rate = self.snapshot_bytes_per_second;
        let sent = transfer::send(&self.transport, target, group, vote, snapshot, rate);
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = sent => sent,
        }
    }

    async fn transfer_leader(
        &self,
        target: u64,
        group: u32,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.call(target, group, Kind::Transfer, &request, short(&option)).await
    }
}

/// Makes the clients of one group.
pub(crate) struct Network {
    router: Router,
    group: u32,
}

impl Network {
    pub(crate) fn new(
        transport: Arc<Transport>,
        group: u32,
        snapshot_bytes_per_second: u64,
    ) -> Self {
        Self { router: Router { transport, snapshot_bytes_per_second }, group }
    }
}

impl openraft::network::RaftNetworkFactory<Types> for Network {
    type Network = GroupNetworkAdapter<Types, u32, Router>;

    async fn new_client(&mut self, target: u64, (): &()) -> Self::Network {
        GroupNetworkAdapter::new(self.router.clone(), target, self.group)
    }
}
