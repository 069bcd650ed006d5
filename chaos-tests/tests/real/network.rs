//! Policies of the switch as sockets see them.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rotary_chaos::real::network::{CLIENTS, Network, address, back_door};
use rotary_chaos::real::switch::Policy;

/// Runs something on a thread that is in a node's network.
fn at_node<T: Send + 'static>(node: u8, run: impl FnOnce() -> T + Send + 'static) -> T {
    let inside = move || {
        let path = format!("/run/netns/node-{node}");
        let space: OwnedFd = std::fs::File::open(Path::new(&path)).expect("a namespace").into();
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&space), Some(kind))
            .expect("this is root");
        run()
    };
    std::thread::spawn(inside).join().expect("it ends well")
}

/// A socket of a node that sends back what it gets.
fn echo(node: u8) {
    let bind = move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7)).expect("a free port");
    let socket = at_node(node, bind);
    std::thread::spawn(move || {
        let mut buffer = [0; 2_000];
        while let Ok((bytes, from)) = socket.recv_from(&mut buffer) {
            drop(socket.send_to(&buffer[..bytes], from));
        }
    });
}

/// Sends numbered datagrams to a node and gives what came back within half a second of silence.
fn round(to: Ipv4Addr, count: u32) -> Vec<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("valid");
    for number in 0..count {
        socket.send_to(&number.to_be_bytes(), SocketAddrV4::new(to, 7)).expect("it is sent");
    }
    let mut came = Vec::new();
    let mut buffer = [0; 2_000];
    while let Ok(bytes) = socket.recv(&mut buffer) {
        came.push(buffer[..bytes].to_vec());
    }
    came
}

#[test]
fn policies_reach_sockets_and_the_back_door_stays_open() {
    if !super::inside("network::policies_reach_sockets_and_the_back_door_stays_open") {
        return;
    }
    let network = Network::start(2, 7).expect("a network");
    let (switch, node) = (network.switch(), address(1));
    echo(1);
    assert_eq!(round(node, 100).len(), 100);
    switch.set(CLIENTS, node, Policy { cut: true, ..Policy::default() });
    assert_eq!(round(node, 10).len(), 0);
    assert_eq!(switch.counts(CLIENTS, node).cut, 10);
    assert_eq!(round(back_door(1), 100).len(), 100, "no policy is there");
    let spoil = Policy { corrupt_permille: 1_000, mend_checksum: true, ..Policy::default() };
    switch.set(CLIENTS, node, spoil);
    let wrong = (0_u32..).zip(round(node, 50)).filter(|(n, came)| came[..] != n.to_be_bytes());
    assert_eq!(wrong.count(), 50, "spoilt datagrams reach the process");
    switch.change(CLIENTS, node, |policy| policy.mend_checksum = false);
    assert_eq!(round(node, 50).len(), 0, "the kernel drops them");
    switch.set(CLIENTS, node, Policy { delay_us: 60_000, ..Policy::default() });
    let began = Instant::now();
    assert_eq!(round(node, 1).len(), 1);
    assert!(began.elapsed() >= Duration::from_millis(60));
    switch.heal();
    assert_eq!(round(node, 10).len(), 10);
}

/// Not a promise, but what the switch costs: printed, with a floor that only a broken one misses.
#[test]
fn the_switch_carries_more_than_a_cluster_needs() {
    if !super::inside("network::the_switch_carries_more_than_a_cluster_needs") {
        return;
    }
    let network = Network::start(2, 7).expect("a network");
    echo(1);
    let mut trips: Vec<Duration> = (0..500)
        .map(|_| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("valid");
            let began = Instant::now();
            socket.send_to(b"x", SocketAddrV4::new(address(1), 7)).expect("it is sent");
            socket.recv(&mut [0; 10]).expect("it comes back");
            began.elapsed()
        })
        .collect();
    trips.sort();
    let bytes = 100 << 20;
    let listener = at_node(2, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9))).expect("a port");
    let sink = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("one comes");
        let mut buffer = vec![0; 1 << 16];
        let mut read = 0;
        while let Ok(more @ 1..) = stream.read(&mut buffer) {
            read += more;
        }
        read
    });
    let began = Instant::now();
    let mut stream = TcpStream::connect((address(2), 9)).expect("it listens");
    (0..bytes >> 16).for_each(|_| stream.write_all(&[7; 1 << 16]).expect("it reads"));
    drop(stream);
    assert_eq!(sink.join().expect("it ends well"), bytes);
    let megabits = bytes as f64 * 8.0 / 1e6 / began.elapsed().as_secs_f64();
    println!("round trip: median {:?}, 99 % {:?}", trips[250], trips[495]);
    println!("one TCP stream: {megabits:.0} Mbit/s; {} nodes", network.nodes());
    assert!(megabits > 10.0, "{megabits} Mbit/s");
}
