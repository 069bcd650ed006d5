//! Connections between nodes and everybody who is no node: bytes in order, or none at all.
//!
//! Clients dial nodes, and nodes dial the other ends of their effects (`receivers`). Whoever is no
//! node is on the street, and whatever happens between the street and a node happens to both.
//!
//! What TCP does, as far as its users can tell: bytes arrive late and in order, a writer waits for
//! a reader that takes none, a process that dies resets its connections, a machine without power
//! says nothing, and behind a cut nothing moves until it heals or somebody loses patience.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;
use rotary_client::network::{Dial, Wire};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::simulation::history::Ms;
use crate::simulation::random::Random;

/// Bytes that one direction holds before its writer waits.
const HELD_MAX: usize = 256 * 1024;
/// How long a dialler waits for a machine that says nothing, at most.
const DIAL_MS_MAX: Ms = 20_000;
/// How long the end of a machine stays unknown to those who only listen.
const SILENT_MS: Ms = 20_000;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Street,
    Node,
}

impl End {
    fn place(self) -> usize {
        usize::from(self == Self::Node)
    }

    fn other(self) -> Self {
        match self {
            Self::Street => Self::Node,
            Self::Node => Self::Street,
        }
    }
}

/// Where the bytes of one direction are.
#[derive(Default)]
struct Way {
    /// On their way, with the time of their arrival.
    flying: VecDeque<(Ms, Vec<u8>)>,
    arrived: VecDeque<u8>,
    held: usize,
    /// The writer is done: what has arrived is the end.
    ended: bool,
    /// The end has arrived.
    over: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Way {
    fn wake(&mut self) {
        [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
    }
}

struct Pipe {
    node: usize,
    /// Who dialled.
    dialled: End,
    /// From the street, and to it.
    ways: [Way; 2],
    /// Its other end is gone: when whoever is left hears of it.
    reset_ms: Option<Ms>,
    reset: bool,
    /// Whose ends are no more: the street's, the node's.
    dropped: [bool; 2],
}

impl Pipe {
    fn way(&mut self, from: End) -> &mut Way {
        &mut self.ways[from.place()]
    }

    fn break_off(&mut self) {
        self.reset = true;
        self.ways.iter_mut().for_each(Way::wake);
    }
}

struct Dialling {
    node: usize,
    by: End,
    due_ms: Ms,
    until_ms: Ms,
    answer: oneshot::Sender<io::Result<Box<dyn Wire>>>,
}

struct Inner {
    random: Random,
    /// The choices about connections that nodes dialled.
    outward: Random,
    now_ms: Ms,
    /// Whether the street reaches each node, and each node the street.
    cut: Vec<bool>,
    dialling: Vec<Dialling>,
    pipes: BTreeMap<u64, Pipe>,
    next: u64,
    /// Connections that were reset.
    resets: u64,
    /// How often a cut held bytes up, by node.
    stalled: Vec<u64>,
}

/// The network between the street and nodes; clones are the same.
#[derive(Clone)]
pub(crate) struct Wires(Arc<Mutex<Inner>>);

/// A connection that a node is to let in.
pub(crate) struct Guest {
    pub(crate) node: usize,
    pub(crate) stream: Box<dyn rotary::simulated::AnyStream>,
    pub(crate) address: SocketAddr,
}

/// Whom the doors are opened to.
#[derive(Default)]
pub(crate) struct Arrivals {
    /// Clients at nodes.
    pub(crate) guests: Vec<Guest>,
    /// Nodes at a receiver.
    pub(crate) callers: Vec<Box<dyn Wire>>,
}

/// Where clients come from.
fn street(number: u64) -> SocketAddr {
    let [.., third, fourth] = number.to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, 1, third, fourth), 40_000))
}

impl Wires {
    /// Between clients and so many nodes.
    pub(crate) fn new(seed: u64, nodes: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            random: Random::salted(seed, "wires"),
            outward: Random::salted(seed, "wires outward"),
            now_ms: 0,
            cut: vec![false; nodes],
            dialling: Vec::new(),
            pipes: BTreeMap::new(),
            next: 0,
            resets: 0,
            stalled: vec![0; nodes],
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no code panics while it holds this lock")
    }

    /// Clients reach a node, or not.
    pub(crate) fn cut(&self, node: usize, cut: bool) {
        self.lock().cut[node] = cut;
    }

    /// Every way to every node is whole.
    pub(crate) fn heal(&self) {
        self.lock().cut.fill(false);
    }

    /// How often a connection was reset.
    pub(crate) fn resets(&self) -> u64 {
        self.lock().resets
    }

    /// How often a cut held up bytes to or from a node that runs.
    pub(crate) fn stalled(&self, node: usize) -> u64 {
        self.lock().stalled[node]
    }

    /// A node's process is gone; if its machine lost power, nobody says so.
    pub(crate) fn close(&self, node: usize, silently: bool) {
        let inner = &mut *self.lock();
        let at = inner.now_ms + if silently { SILENT_MS } else { 1 };
        let pipes = inner.pipes.values_mut().filter(|pipe| pipe.node == node);
        pipes.for_each(|pipe| pipe.reset_ms = Some(pipe.reset_ms.map_or(at, |due| due.min(at))));
    }

    /// Resets connections to a node, so many of a thousand.
    pub(crate) fn reset_some(&self, node: usize, permille: u64) {
        let inner = &mut *self.lock();
        for pipe in inner.pipes.values_mut().filter(|pipe| pipe.node == node && !pipe.reset) {
            let random = match pipe.dialled {
                End::Street => &mut inner.random,
                End::Node => &mut inner.outward,
            };
            if random.permille(permille) {
                pipe.break_off();
                inner.resets += 1;
            }
        }
    }

    /// What a node reaches those over who are no nodes.
    pub(crate) fn outward(&self, node: usize) -> Arc<dyn Dial> {
        Arc::new(Outward { wires: self.clone(), node })
    }

    /// Moves time, and bytes; gives whom doors are to be opened to. `serves` says whose doors are
    /// open; those of receivers always are.
    pub(crate) fn deliver(&self, now_ms: Ms, serves: impl Fn(usize) -> Listening) -> Arrivals {
        let mut inner = self.lock();
        inner.now_ms = now_ms;
        inner.carry();
        let mut arrivals = Arrivals::default();
        for dialling in inner.due() {
            let Dialling { node, by, until_ms, .. } = dialling;
            if dialling.answer.is_closed() {
                continue;
            }
            let door = match by {
                _ if inner.cut[node] => Listening::Silent,
                End::Street => serves(node),
                End::Node => Listening::Open,
            };
            match door {
                Listening::Open => {
                    let number = inner.pipe(node, by);
                    // A caller that is gone drops its end, which closes it; so it must not be
                    // dropped under the lock.
                    drop(inner);
                    self.connect(number, dialling, &mut arrivals);
                    inner = self.lock();
                }
                Listening::Closed => {
                    drop(dialling.answer.send(Err(io::ErrorKind::ConnectionRefused.into())));
                }
                Listening::Silent if now_ms >= until_ms => {
                    drop(dialling.answer.send(Err(io::ErrorKind::TimedOut.into())));
                }
                Listening::Silent => inner.dialling.push(dialling),
            }
        }
        arrivals
    }

    /// Gives both ends of a new connection to whom they belong.
    fn connect(&self, number: u64, dialling: Dialling, arrivals: &mut Arrivals) {
        let Dialling { node, by, answer, .. } = dialling;
        let end = |end| Box::new(Stream { wires: self.clone(), number, end });
        drop(answer.send(Ok(end(by))));
        match by {
            End::Street => {
                let (stream, address) = (end(End::Node), street(number));
                arrivals.guests.push(Guest { node, stream, address });
            }
            End::Node => arrivals.callers.push(end(End::Street)),
        }
    }

    fn dial_by(&self, by: End, node: usize) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        let (answer, told) = oneshot::channel();
        let inner = &mut *self.lock();
        let due_ms = inner.now_ms + inner.random_of(by).between(1, 3);
        let until_ms = inner.now_ms + DIAL_MS_MAX;
        if node < inner.cut.len() {
            inner.dialling.push(Dialling { node, by, due_ms, until_ms, answer });
        }
        async move { told.await.unwrap_or_else(|_| Err(io::ErrorKind::HostUnreachable.into())) }
            .boxed()
    }
}

/// How a node answers somebody who dials it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listening {
    Open,
    /// The machine says that nobody listens.
    Closed,
    /// Nothing says anything.
    Silent,
}

impl Inner {
    fn pipe(&mut self, node: usize, dialled: End) -> u64 {
        self.next += 1;
        let ways = [Way::default(), Way::default()];
        self.pipes.insert(
            self.next,
            Pipe { node, dialled, ways, reset_ms: None, reset: false, dropped: [false; 2] },
        );
        self.next
    }

    /// The choices about connections that were dialled from there.
    fn random_of(&mut self, by: End) -> &mut Random {
        match by {
            End::Street => &mut self.random,
            End::Node => &mut self.outward,
        }
    }

    fn due(&mut self) -> Vec<Dialling> {
        let now_ms = self.now_ms;
        self.dialling.extract_if(.., |dialling| dialling.due_ms <= now_ms).collect()
    }

    /// Moves bytes that are due.
    fn carry(&mut self) {
        for pipe in self.pipes.values_mut() {
            if pipe.reset {
                continue;
            }
            if pipe.reset_ms.is_some_and(|at| at <= self.now_ms) {
                pipe.break_off();
                self.resets += 1;
                continue;
            }
            if self.cut[pipe.node] || pipe.reset_ms.is_some() {
                let flying = pipe.ways.iter().any(|way| !way.flying.is_empty());
                self.stalled[pipe.node] += u64::from(flying && pipe.reset_ms.is_none());
                continue;
            }
            for way in &mut pipe.ways {
                let mut moved = false;
                while way.flying.front().is_some_and(|(at, _)| *at <= self.now_ms) {
                    let (_, bytes) = way.flying.pop_front().expect("it was looked at");
                    way.arrived.extend(bytes);
                    moved = true;
                }
                if way.ended && way.flying.is_empty() && !way.over {
                    (way.over, moved) = (true, true);
                }
                if moved && let Some(reader) = way.reader.take() {
                    reader.wake();
                }
            }
        }
    }
}

impl Dial for Wires {
    fn dial(&self, authority: &str) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        let number = authority.strip_prefix("node-").and_then(|rest| rest.split(':').next());
        let node = number.and_then(|number| number.parse::<usize>().ok()?.checked_sub(1));
        let Some(node) = node else {
            return async { Err(io::ErrorKind::HostUnreachable.into()) }.boxed();
        };
        self.dial_by(End::Street, node)
    }
}

/// A node's way to those who are no nodes: they are all at one receiver's.
struct Outward {
    wires: Wires,
    node: usize,
}

impl Dial for Outward {
    fn dial(&self, _: &str) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        self.wires.dial_by(End::Node, self.node)
    }
}

/// An end of a connection.
struct Stream {
    wires: Wires,
    number: u64,
    end: End,
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.wires.lock();
        let Some(pipe) = inner.pipes.get_mut(&self.number) else { return Poll::Ready(Ok(())) };
        let reset = pipe.reset;
        let way = pipe.way(self.end.other());
        if reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if way.arrived.is_empty() {
            if way.over {
                return Poll::Ready(Ok(()));
            }
            way.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = way.arrived.len().min(into.remaining());
        let bytes: Vec<u8> = way.arrived.drain(..count).collect();
        into.put_slice(&bytes);
        way.held -= count;
        if let Some(writer) = way.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *self.wires.lock();
        let broken = || Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        let dialled = inner.pipes.get(&self.number).map_or(End::Street, |pipe| pipe.dialled);
        let at = inner.now_ms + inner.random_of(dialled).below(2);
        let Some(pipe) = inner.pipes.get_mut(&self.number) else { return broken() };
        // A machine that lost its power says nothing: bytes go out to it and nothing comes back.
        let gone = pipe.dropped[self.end.other().place()] && pipe.reset_ms.is_none();
        if pipe.reset || gone {
            return broken();
        }
        let way = pipe.way(self.end);
        if way.ended {
            return broken();
        }
        let room = HELD_MAX - way.held;
        if room == 0 {
            way.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = bytes.len().min(room);
        let after = way.flying.back().map_or(at, |(last, _)| at.max(*last));
        way.flying.push_back((after, bytes[..count].to_vec()));
        way.held += count;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let end = self.end;
        if let Some(pipe) = self.wires.lock().pipes.get_mut(&self.number) {
            pipe.way(end).ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut inner = self.wires.lock();
        let Some(pipe) = inner.pipes.get_mut(&self.number) else { return };
        // Whoever is left reads what was written, and then the end.
        pipe.way(self.end).ended = true;
        pipe.dropped[self.end.place()] = true;
        if let Some(writer) = pipe.way(self.end.other()).writer.take() {
            writer.wake();
        }
        if pipe.dropped == [true; 2] {
            inner.pipes.remove(&self.number);
        }
    }
}
