//! A probe tells a node from silence, and from somebody else.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use rotary_proto::NodeId;
use rotary_transport::{
    Certificates, ClusterAuthority, Handler, Lane, ProbeError, Transport, TransportConfig, probe,
};

/// Generous: a machine five times slower must pass.
const LIMIT: Duration = Duration::from_secs(30);
/// How long silence is listened to.
const SILENCE: Duration = Duration::from_millis(300);

struct Nobody;

impl Handler for Nobody {
    fn handle(
        &self,
        _: NodeId,
        _: Lane,
        _: u8,
        _: Bytes,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        async { Err("nothing is served".to_owned()) }.boxed()
    }
}

fn certificates(authority: &ClusterAuthority, node: u64) -> Certificates {
    let pem = authority.issue(NodeId(node)).expect("signs");
    Certificates::from_pem(authority.certificate_pem(), &pem.certificate, &pem.key).expect("fits")
}

#[tokio::test]
async fn a_probe_reaches_the_node_it_means_and_no_other() {
    let blue = ClusterAuthority::create("blue").expect("a good id");
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let certificates_of_two = certificates(&blue, 2);
    let config = TransportConfig {
        node: NodeId(2),
        listen,
        peers: BTreeMap::new(),
        certificates: certificates_of_two,
    };
    let transport = Transport::start(config, Arc::new(Nobody)).expect("a free port");
    let there = transport.local_address().expect("bound");
    let ours = certificates(&blue, 1);
    probe(&ours, NodeId(2), there, LIMIT).await.expect("it listens");
    let other = probe(&ours, NodeId(3), there, LIMIT).await.expect_err("it is node 2");
    assert!(matches!(other, ProbeError::Refused { .. }), "{other}");
    let red = ClusterAuthority::create("red").expect("a good id");
    let stranger = probe(&certificates(&red, 1), NodeId(2), there, LIMIT).await;
    assert!(matches!(stranger, Err(ProbeError::Refused { .. })), "{stranger:?}");
    let mute = UdpSocket::bind(listen).expect("a free port");
    let mute = mute.local_addr().expect("bound");
    let silent = probe(&ours, NodeId(2), mute, SILENCE).await.expect_err("nobody answers");
    assert!(matches!(silent, ProbeError::Silent { .. }), "{silent}");
    transport.close().await;
}

#[test]
fn a_certificate_says_until_when_it_is_good() {
    let blue = ClusterAuthority::create("blue").expect("a good id");
    let ours = certificates(&blue, 1);
    ours.check_at(1_800_000_000).expect("good in this century");
    assert_eq!(ours.ends_s(), Some(67_090_118_400), "it does not expire");
    let short = blue.issue_until(NodeId(1), Some(1_800_000_000)).expect("signs");
    let short = Certificates::from_pem(blue.certificate_pem(), &short.certificate, &short.key);
    let short = short.expect("fits");
    assert_eq!(short.ends_s(), Some(1_800_000_000));
    short.check_at(1_800_000_000).expect("the last second");
    short.check_at(1_800_000_001).expect_err("it has ended");
    let red = ClusterAuthority::create("red").expect("a good id");
    let pem = red.issue(NodeId(1)).expect("signs");
    let mixed = Certificates::from_pem(blue.certificate_pem(), &pem.certificate, &pem.key);
    let error = mixed.expect("parses").check_at(1_800_000_000).expect_err("another authority");
    assert!(error.contains("UnknownIssuer"), "{error}");
    ours.check_at(0).expect_err("it was not yet made");
}
