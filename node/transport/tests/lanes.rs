//! Transports on the loopback interface, with real sockets and real TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use rotary_proto::NodeId;
use rotary_proto::limits::LANE_REQUESTS_MAX;
use rotary_transport::{
    BindError, CallError, Certificates, ClusterAuthority, Handler, Lane, PAYLOAD_BYTES_MAX,
    Transport, TransportConfig, Tunnel,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LIMIT: Duration = Duration::from_secs(60);
const ECHO: u8 = 1;
const SLOW: u8 = 2;
const PANIC: u8 = 3;
const REFUSE: u8 = 4;

struct Echo;

impl Handler for Echo {
    fn handle(
        &self,
        from: NodeId,
        lane: Lane,
        service: u8,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        Box::pin(async move {
            match service {
                ECHO => Ok([format!("{from} {lane:?} ").as_bytes(), &payload].concat()),
                SLOW => {
                    tokio::time::sleep(LIMIT).await;
                    Ok(Vec::new())
                }
                PANIC => panic!("expected by the test"),
                _ => Err("no such service".to_owned()),
            }
        })
    }

    fn tunnel(&self, from: NodeId, tunnel: Tunnel) {
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(tunnel);
            write.write_all(from.to_string().as_bytes()).await.expect("open");
            // It breaks, or ends with what comes.
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        });
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn start_at(authority: &ClusterAuthority, node: u64, listen: SocketAddr) -> Transport {
    let pem = authority.issue(NodeId(node)).expect("signs");
    let ca = authority.certificate_pem();
    let certificates = Certificates::from_pem(ca, &pem.certificate, &pem.key).expect("fits");
    let peers = Default::default();
    let config = TransportConfig { node: NodeId(node), listen, peers, certificates };
    Transport::start(config, Arc::new(Echo)).expect("starts")
}

fn start(authority: &ClusterAuthority, node: u64) -> Transport {
    start_at(authority, node, loopback())
}

fn introduce(transports: &[&Transport]) {
    for one in transports {
        for other in transports {
            one.set_peer(other.node(), other.local_address().expect("bound"));
        }
    }
}

fn authority() -> ClusterAuthority {
    ClusterAuthority::create("blue").expect("a good id")
}

async fn echo(from: &Transport, to: u64, lane: Lane, text: &str) -> Result<String, CallError> {
    let answer = from.call(NodeId(to), lane, ECHO, text.to_owned(), LIMIT).await?;
    Ok(String::from_utf8(answer.to_vec()).expect("text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_reaches_every_node_on_every_lane() {
    let authority = authority();
    let nodes = [start(&authority, 1), start(&authority, 2), start(&authority, 3)];
    introduce(&nodes.each_ref());
    for from in &nodes {
        for to in &nodes {
            for lane in Lane::ALL {
                let answer = echo(from, to.node().0, lane, "hello").await.expect("answers");
                assert_eq!(answer, format!("{} {lane:?} hello", from.node()));
            }
            assert!(from.peer_connected(to.node()));
        }
    }
    for node in nodes {
        node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_calls_are_paired_and_share_writes() {
    let authority = authority();
    let (one, two) = (start(&authority, 1), start(&authority, 2));
    introduce(&[&one, &two]);
    let texts: Vec<String> = (0..2000).map(|number| format!("call {number}")).collect();
    let calls = texts.iter().map(|text| echo(&one, 2, Lane::Live, text));
    let answers = futures::future::join_all(calls).await;
    for (text, answer) in texts.iter().zip(answers) {
        assert_eq!(answer.expect("answers"), format!("nd_1 Live {text}"));
    }
    let stats = one.stats();
    assert_eq!(stats.frames_sent, 2000);
    assert!(stats.writes < 1000, "{} writes for 2000 frames", stats.writes);
}

/// Calls that nobody waits for: they are sent, and answered after the test or never.
async fn call_and_leave(from: &Transport, to: u64, service: u8, bytes: usize, count: usize) {
    let call = |_| from.call(NodeId(to), Lane::Raft, service, vec![0; bytes], Duration::ZERO);
    for left in futures::future::join_all((0..count).map(call)).await {
        assert!(matches!(left, Err(CallError::Unknown(_))), "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_passes_a_raft_lane_that_is_full() {
    let authority = authority();
    let (one, two) = (start(&authority, 1), start(&authority, 2));
    introduce(&[&one, &two]);
    echo(&one, 2, Lane::Raft, "the lane is open").await.expect("answers");
    // As many requests as a lane serves at once, none of which is answered; the next one is read
    // and waits for its turn, and what is behind it stays in the stream.
    call_and_leave(&one, 2, SLOW, 0, LANE_REQUESTS_MAX).await;
    call_and_leave(&one, 2, ECHO, PAYLOAD_BYTES_MAX, 12).await;
    let read = 1 + LANE_REQUESTS_MAX as u64 + 1;
    let began = Instant::now();
    while two.stats().frames_received < read {
        assert!(began.elapsed() < LIMIT, "{:?}", two.stats());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer = echo(&one, 2, Lane::Heartbeat, "alive").await.expect("passes");
    assert_eq!(answer, "nd_1 Heartbeat alive");
    assert_eq!(two.stats().frames_received, read + 1, "it overtook eleven large frames");
    let ttl = Duration::from_millis(100);
    let behind = one.call(NodeId(2), Lane::Raft, ECHO, Vec::new(), ttl).await;
    assert!(matches!(behind, Err(CallError::Unknown(_))), "{behind:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_say_what_they_mean() {
    let authority = authority();
    let (one, two) = (start(&authority, 1), start(&authority, 2));
    introduce(&[&one, &two]);
    let call = |to, service, bytes| {
        let ttl = if service == SLOW { Duration::from_millis(100) } else { LIMIT };
        one.call(NodeId(to), Lane::Live, service, vec![0; bytes], ttl)
    };
    for to in [1, 2] {
        let error = call(to, PANIC, 0).await.expect_err("panics");
        assert_eq!(error, CallError::Failed("the handler of service 3 panicked".to_owned()));
        let error = call(to, REFUSE, 0).await.expect_err("refuses");
        assert_eq!(error, CallError::Failed("no such service".to_owned()));
        let error = call(to, SLOW, 0).await.expect_err("too slow");
        assert!(matches!(error, CallError::Unknown(_)), "{error}");
        let error = call(to, ECHO, PAYLOAD_BYTES_MAX + 1).await.expect_err("too large");
        assert!(matches!(error, CallError::TooLarge { .. }));
    }
    let error = call(2, ECHO, PAYLOAD_BYTES_MAX).await.expect_err("the answer is too large");
    assert!(matches!(error, CallError::Failed(_)), "{error}");
    let answer = call(2, ECHO, PAYLOAD_BYTES_MAX - 100).await.expect("fits");
    assert_eq!(answer.len(), "nd_1 Live ".len() + PAYLOAD_BYTES_MAX - 100);
    let error = call(9, ECHO, 0).await.expect_err("no such peer");
    assert_eq!(error, CallError::NotSent("nd_9 is not a known peer".to_owned()));
    assert_eq!(two.stats().handler_panics, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_peer_is_found_again_and_what_waited_is_unknown() {
    let authority = authority();
    let (one, two) = (start(&authority, 1), start(&authority, 2));
    introduce(&[&one, &two]);
    echo(&one, 2, Lane::Raft, "before").await.expect("answers");
    let address = two.local_address().expect("bound");
    let waiting = one.call(NodeId(2), Lane::Raft, SLOW, Vec::new(), LIMIT);
    let ends = async {
        while two.stats().frames_received < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        two.close().await;
        drop(two);
    };
    let (error, ()) = tokio::join!(waiting, ends);
    assert!(matches!(error, Err(CallError::Unknown(_))), "{error:?}");
    let gone = one.call(NodeId(2), Lane::Raft, ECHO, Vec::new(), Duration::from_millis(200)).await;
    assert!(matches!(gone, Err(CallError::NotSent(_))), "{gone:?}");
    let began = Instant::now();
    let _two = loop {
        let pem = authority.issue(NodeId(2)).expect("signs");
        let ca = authority.certificate_pem();
        let certificates = Certificates::from_pem(ca, &pem.certificate, &pem.key).expect("fits");
        let peers = Default::default();
        let config = TransportConfig { node: NodeId(2), listen: address, peers, certificates };
        match Transport::start(config, Arc::new(Echo)) {
            Ok(two) => break two,
            Err(error) => assert!(began.elapsed() < LIMIT, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let answer = echo(&one, 2, Lane::Raft, "after").await.expect("answers");
    assert_eq!(answer, "nd_1 Raft after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_is_refused() {
    let ours = start(&authority(), 1);
    let theirs = start(&authority(), 2);
    introduce(&[&ours, &theirs]);
    let ttl = Duration::from_millis(500);
    let error = theirs.call(NodeId(1), Lane::Live, ECHO, Vec::new(), ttl).await;
    assert!(matches!(error, Err(CallError::NotSent(_))), "{error:?}");
    let began = Instant::now();
    while ours.stats().refused == 0 || theirs.stats().connect_failures == 0 {
        assert!(began.elapsed() < LIMIT, "the handshake must fail on both sides");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ours.stats().frames_received, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_the_one_dialled_is_refused() {
    let authority = authority();
    let (one, three) = (start(&authority, 1), start(&authority, 3));
    one.set_peer(NodeId(2), three.local_address().expect("bound"));
    let ttl = Duration::from_millis(500);
    let error = one.call(NodeId(2), Lane::Live, ECHO, Vec::new(), ttl).await;
    assert!(matches!(error, Err(CallError::NotSent(_))), "{error:?}");
    assert!(!one.peer_connected(NodeId(2)));
    one.set_peer(NodeId(2), loopback());
    let two = start(&authority, 2);
    one.set_peer(NodeId(2), two.local_address().expect("bound"));
    let began = Instant::now();
    // A call waits for a connection only so long.
    while echo(&one, 2, Lane::Live, "at last").await.is_err() {
        assert!(began.elapsed() < LIMIT, "the node that was meant must answer");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_is_named_with_its_cure() {
    let authority = authority();
    let one = start(&authority, 1);
    let listen = one.local_address().expect("bound");
    let pem = authority.issue(NodeId(2)).expect("signs");
    let ca = authority.certificate_pem();
    let certificates = Certificates::from_pem(ca, &pem.certificate, &pem.key).expect("fits");
    let peers = Default::default();
    let config = TransportConfig { node: NodeId(2), listen, peers, certificates };
    let error = Transport::start(config, Arc::new(Echo)).expect_err("in use");
    assert!(matches!(error, BindError::InUse { .. }));
    assert!(error.to_string().starts_with(&format!("{listen} is in use: stop the process")));
}

/// More tunnels than streams are allowed before the first one, all open at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_carry_bytes_both_ways_until_they_end() {
    let authority = authority();
    let (one, two) = (start(&authority, 1), start(&authority, 2));
    introduce(&[&one, &two]);
    let opened = (0..200).map(|_| one.tunnel(NodeId(2), LIMIT));
    let tunnels = futures::future::try_join_all(opened).await.expect("open");
    for (number, tunnel) in tunnels.into_iter().enumerate() {
        let (mut read, mut write) = tokio::io::split(tunnel);
        let text = format!("client {number}");
        write.write_all(text.as_bytes()).await.expect("open");
        write.shutdown().await.expect("open");
        let mut said = String::new();
        read.read_to_string(&mut said).await.expect("it ends cleanly");
        assert_eq!(said, format!("nd_1{text}"));
    }
    assert_eq!(echo(&one, 2, Lane::Live, "still").await.expect("answers"), "nd_1 Live still");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_to_a_node_that_is_taken_for_lost_break_at_once() {
    let authority = authority();
    let (one, two) = (start(&authority, 1), start(&authority, 2));
    introduce(&[&one, &two]);
    let mut tunnel = one.tunnel(NodeId(2), LIMIT).await.expect("open");
    let mut greeting = [0; 4];
    tunnel.read_exact(&mut greeting).await.expect("open");
    one.break_tunnels(NodeId(2));
    let broken = tunnel.read(&mut greeting).await;
    assert!(broken.is_err(), "{broken:?}");
    let again = one.tunnel(NodeId(2), LIMIT).await;
    again.expect("another connection is made");
    let nobody = one.tunnel(NodeId(3), LIMIT).await;
    assert!(matches!(nobody, Err(CallError::NotSent(_))), "{nobody:?}");
}

/// The certificate of a node, and whom it believes.
fn shown(by: &ClusterAuthority, node: u64, believed: &[&ClusterAuthority]) -> Certificates {
    let pem = by.issue(NodeId(node)).expect("signs");
    let believed: String = believed.iter().map(|authority| authority.certificate_pem()).collect();
    Certificates::from_pem(&believed, &pem.certificate, &pem.key).expect("fits")
}

/// Asks until there is an answer: a call waits for a connection only so long.
async fn answered(from: &Transport, to: u64, lane: Lane) {
    let began = Instant::now();
    while let Err(error) = echo(from, to, lane, "still there?").await {
        assert!(began.elapsed() < LIMIT, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_is_exchanged_while_nodes_speak() {
    let (old, new) = (authority(), authority());
    let (one, two) = (start(&old, 1), start(&old, 2));
    introduce(&[&one, &two]);
    answered(&one, 2, Lane::Raft).await;
    answered(&two, 1, Lane::Raft).await;
    let connects = || (one.stats().connects, two.stats().connects);
    let before = connects();

    let refused = one.try_certificates(&shown(&new, 1, &[&new]), LIMIT).await;
    assert!(matches!(&refused[..], [(NodeId(2), _)]), "it would not believe: {refused:?}");
    let refused = one.try_certificates(&shown(&new, 1, &[&old, &new]), LIMIT).await;
    assert!(matches!(&refused[..], [(NodeId(2), _)]), "it is not believed: {refused:?}");
    for (node, transport) in [(1, &one), (2, &two)] {
        let both = shown(&old, node, &[&old, &new]);
        assert_eq!(transport.try_certificates(&both, LIMIT).await, []);
        transport.replace_certificates(&both).expect("usable");
    }
    for (node, transport) in [(1, &one), (2, &two)] {
        let renewed = shown(&new, node, &[&old, &new]);
        assert_eq!(transport.try_certificates(&renewed, LIMIT).await, []);
        transport.replace_certificates(&renewed).expect("usable");
    }
    for (node, transport) in [(1, &one), (2, &two)] {
        let last = shown(&new, node, &[&new]);
        assert_eq!(transport.try_certificates(&last, LIMIT).await, []);
        transport.replace_certificates(&last).expect("usable");
    }
    answered(&one, 2, Lane::Raft).await;
    assert_eq!(connects(), before, "no connection was lost over it");
    // The bulk lane's connection was not made yet.
    answered(&one, 2, Lane::Bulk).await;

    let (refused, began) = (two.stats().refused, Instant::now());
    let certificates = shown(&old, 3, &[&old, &new]);
    let peers = [(NodeId(2), two.local_address().expect("bound"))].into();
    let config = TransportConfig { node: NodeId(3), listen: loopback(), peers, certificates };
    let late = Transport::start(config, Arc::new(Echo)).expect("starts");
    echo(&late, 2, Lane::Raft, "late").await.expect_err("nobody believes its authority");
    while two.stats().refused == refused {
        assert!(began.elapsed() < LIMIT, "it is not refused");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for transport in [one, two, late] {
        transport.close().await;
    }
}
