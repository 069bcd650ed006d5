//! Raft's messages on their way out: every group of this node, over the shared connections.
//!
//! A message is one request: its kind, its group, and openraft's own message in the house codec.
//! The answer is openraft's response in the same codec.
//!
//! What carries entries takes the raft lane. Votes, and appends without entries, which is what a
//! heartbeat is, take the heartbeat lane: behind a megabyte of another shard's entries they would
//! cost a leader that is well its office. They may so overtake an append, which is safe. Each
//! message is a request of its own, and requests were never promised to arrive in order. A
//! heartbeat refers to the last entry that its follower is *known* to have, not to one on its way,
//! so nothing is missing where it arrives; it says how far the leader has committed, which the
//! follower takes no further than what it has accepted from that leader, and never back; and it
//! has nothing that could replace an entry. One from a leader of before is refused for its vote.

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
        (target, lane): (u64, Lane),
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
        match self.transport.call(NodeId(target), lane, SERVICE_RAFT, request, ttl).await {
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
        let (lane, ttl) = if request.entries.is_empty() {
            (Lane::Heartbeat, option.soft_ttl())
        } else {
            (Lane::Raft, APPEND_TTL)
        };
        let bytes = request.entries.iter().map(entry_bytes).sum::<usize>() + MESSAGE_BYTES;
        self.call((target, lane), group, Kind::Append, &request, (ttl, bytes)).await
    }

    async fn vote(
        &self,
        target: u64,
        group: u32,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let to = (target, Lane::Heartbeat);
        self.call(to, group, Kind::Vote, &request, short(&option)).await
    }

    async fn pre_vote(
        &self,
        target: u64,
        group: u32,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let to = (target, Lane::Heartbeat);
        self.call(to, group, Kind::PreVote, &request, short(&option)).await
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
        // Behind the appends: whoever takes over must have them.
        let to = (target, Lane::Raft);
        self.call(to, group, Kind::Transfer, &request, short(&option)).await
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt;
    use futures::future::BoxFuture;
    use openraft::EntryPayload;
    use openraft::impls::leader_id_adv::LeaderId;
    use openraft::vote::RaftLeaderId;
    use rotary_transport::{Certificates, ClusterAuthority, Handler, TransportConfig};

    use super::*;
    use crate::inbound::split_raft;
    use crate::types::{Entry, LogId, encode};

    const GROUP: u32 = 5;
    const TTL: Duration = Duration::from_secs(60);

    /// A node that agrees to everything, and remembers what came on which lane.
    #[derive(Default)]
    struct Listener(Mutex<Vec<(Kind, Lane)>>);

    impl Handler for Listener {
        fn handle(
            &self,
            _: NodeId,
            lane: Lane,
            _: u8,
            payload: Bytes,
        ) -> BoxFuture<'static, Result<Vec<u8>, String>> {
            let (kind, _, _) = split_raft(&payload).expect("a raft message");
            self.0.lock().expect("nobody panics").push((kind, lane));
            let answer = match kind {
                Kind::Append => encode(&AppendEntriesResponse::<Types>::Success),
                Kind::Vote | Kind::PreVote => encode(&vote_response()),
                Kind::Transfer => encode(&TransferLeaderResponse::<Types>::Ok(())),
            };
            async move { Ok(answer.expect("small")) }.boxed()
        }
    }

    fn vote_response() -> VoteResponse<Types> {
        VoteResponse::new(Vote::new(3, 1), None, true)
    }

    fn start(authority: &ClusterAuthority, node: u64, handler: Arc<Listener>) -> Transport {
        let pem = authority.issue(NodeId(node)).expect("signs");
        let ca = authority.certificate_pem();
        let certificates = Certificates::from_pem(ca, &pem.certificate, &pem.key).expect("fits");
        let (listen, peers) = (([127, 0, 0, 1], 0).into(), Default::default());
        let config = TransportConfig { node: NodeId(node), listen, peers, certificates };
        Transport::start(config, handler).expect("starts")
    }

    fn append(entries: Vec<Entry>) -> AppendEntriesRequest<Types> {
        AppendEntriesRequest {
            vote: Vote::new(3, 1),
            prev_log_id: None,
            entries,
            leader_commit: None,
        }
    }

    #[tokio::test]
    async fn heartbeats_and_votes_pass_the_lane_of_entries() {
        let authority = ClusterAuthority::create("blue").expect("made");
        let heard = Arc::new(Listener::default());
        let (one, two) =
            (start(&authority, 1, Arc::default()), start(&authority, 2, heard.clone()));
        one.set_peer(NodeId(2), two.local_address().expect("bound"));
        let router = Router { transport: Arc::new(one), snapshot_bytes_per_second: 1 };
        let option = || RPCOption::new(TTL);
        let log_id = LogId::new(LeaderId::new(3, 1), 7);
        let entry = Entry { log_id, payload: EntryPayload::Blank };
        let vote = || VoteRequest::new(Vote::new(3, 1), Some(log_id));
        let transfer = TransferLeaderRequest::new(Vote::new(3, 1), 2, Some(log_id));

        let connected = async { while router.vote(2, GROUP, vote(), option()).await.is_err() {} };
        tokio::time::timeout(TTL, connected).await.expect("they connect");
        heard.0.lock().expect("nobody panics").clear();
        router.append_entries(2, GROUP, append(vec![]), option()).await.expect("answered");
        router.append_entries(2, GROUP, append(vec![entry]), option()).await.expect("answered");
        router.vote(2, GROUP, vote(), option()).await.expect("answered");
        router.pre_vote(2, GROUP, vote(), option()).await.expect("answered");
        router.transfer_leader(2, GROUP, transfer, option()).await.expect("answered").expect("ok");
        let expected = [
            (Kind::Append, Lane::Heartbeat),
            (Kind::Append, Lane::Raft),
            (Kind::Vote, Lane::Heartbeat),
            (Kind::PreVote, Lane::Heartbeat),
            (Kind::Transfer, Lane::Raft),
        ];
        assert_eq!(*heard.0.lock().expect("nobody panics"), expected);
    }
}
