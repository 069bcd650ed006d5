//! The half of a session that owns the socket.
//!
//! It connects, resumes, pings, and carries frames between the socket and the pure halves. Reading
//! has precedence: a socket is only called silent when nothing of it is left to read.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rotary_proto::SessionId;
use rotary_proto::frame::{ClientFrame, Retry, ServerFrame};
use tokio::sync::mpsc;

use super::dial::{self, DialError, Dialled, Line};
use super::stream::Stream;
use super::window::Window;
use super::{Ask, End, Notice, Over, SessionConfig, Welcomed};
use crate::backoff::Backoff;
use crate::gateway::Gateway;

/// Due commands, pings and silence are looked at no more often.
const TICK: Duration = Duration::from_millis(50);
/// How long after giving up on a gateway its late welcome may still take the session over.
const AFTERMATH: Duration = Duration::from_secs(15);
/// A socket that lived as long was a good one: the next loss is not the same trouble again. One
/// that is left sooner, however it was welcomed, leads to ever longer waits.
const STEADY: Duration = Duration::from_secs(2);
/// The longest that a gateway can make a session wait.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Events after which the gateway is told how far they were seen.
const ACK_EVERY: u64 = 64;

/// Why a socket was left.
enum Left {
    Lost(String),
    /// There is no room; come again no sooner than after this long.
    Refused(String, Duration),
    /// Asked to leave; wait at random up to this long.
    Goaway(Duration),
    Ended(End),
    /// Nobody reads any more.
    Unread,
}

/// Which session it is, once a gateway said so.
struct Identity {
    session: SessionId,
    resume_token: String,
}

pub(super) struct Driver {
    config: SessionConfig,
    gateways: Vec<Gateway>,
    place: usize,
    /// How the next line is opened.
    over: Over,
    asks: mpsc::Receiver<Ask>,
    notices: mpsc::Sender<Notice>,
    identity: Option<Identity>,
    stream: Stream,
    window: Window,
    /// Asks that the window has no room for, in their order.
    held: VecDeque<Ask>,
    acked: u64,
    heard: Instant,
    pinged: Instant,
    ticked: Instant,
    /// From which place on, and since when, the gateway says that it has sent more than came.
    lagging: Option<(u64, Instant)>,
    /// When a gateway was last given up on that may yet take the session up.
    given_up: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        config: SessionConfig,
        asks: mpsc::Receiver<Ask>,
        notices: mpsc::Sender<Notice>,
    ) -> Self {
        let (gateways, stream) = (config.gateways.clone(), Stream::new(&config.cursors));
        let over = config.over;
        let now = Instant::now();
        Self {
            config,
            gateways,
            place: 0,
            over,
            asks,
            notices,
            identity: None,
            stream,
            window: Window::default(),
            held: VecDeque::new(),
            acked: 0,
            heard: now,
            pinged: now,
            ticked: now,
            lagging: None,
            given_up: None,
        }
    }

    /// Holds the session until it ends.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::standard();
        loop {
            let gateway = self.gateways[self.place % self.gateways.len()].clone();
            let dialled = dial::dial(&self.config, &gateway, self.over, &self.first_frame()).await;
            let left = match dialled {
                Ok(dialled) => {
                    let begun = Instant::now();
                    let left = self.serve(&gateway, dialled).await;
                    if begun.elapsed() >= STEADY {
                        backoff.reset();
                    }
                    left
                }
                Err(DialError::NoSocket(_)) if self.over == Over::Either => {
                    // Here, and from here on, since what is between may be the client's own.
                    self.over = Over::Stream;
                    continue;
                }
                Err(DialError::Failed(why) | DialError::NoSocket(why)) => {
                    self.given_up = Some(Instant::now());
                    Left::Lost(why)
                }
                Err(DialError::Bye { code, detail, retry, after_ms }) => {
                    farewell(code, detail, retry, after_ms)
                }
            };
            let left = self.unless_own_doing(left);
            self.place += 1;
            let mut wait = backoff.delay();
            if let Left::Refused(_, pause) = left {
                wait = wait.max(pause.min(PAUSE_MAX));
            }
            match left {
                Left::Lost(why) | Left::Refused(why, _) => {
                    if self.notices.send(Notice::Lost { gateway, why }).await.is_err() {
                        return;
                    }
                }
                Left::Goaway(within) => wait = within.mul_f64(rand::random::<f64>()),
                Left::Ended(end) => {
                    let _ = self.notices.send(Notice::Ended(end)).await;
                    return;
                }
                Left::Unread => return,
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// A session that is taken over by a gateway that this client gave up on is still its own.
    fn unless_own_doing(&self, left: Left) -> Left {
        let recent = self.given_up.is_some_and(|at| at.elapsed() < AFTERMATH);
        match left {
            Left::Ended(End::Closed { code, detail, .. }) if code == "taken-over" && recent => {
                Left::Lost(format!("{code}: {detail}"))
            }
            left => left,
        }
    }

    fn first_frame(&self) -> ClientFrame {
        match &self.identity {
            None => ClientFrame::Start {
                token: self.config.token.clone(),
                cursors: self.config.cursors.clone(),
            },
            Some(identity) => ClientFrame::Resume {
                resume_token: identity.resume_token.clone(),
                cursors: self.stream.cursors(),
                seq: self.stream.seq(),
                unacknowledged: self.window.unanswered(),
            },
        }
    }

    /// Carries frames until the socket is left.
    async fn serve(&mut self, gateway: &Gateway, dialled: Dialled) -> Left {
        let Dialled { mut line, node, welcome } = dialled;
        let welcomed = self.welcomed(gateway, node, welcome);
        let (notice, frames) = match welcomed {
            Ok(pair) => pair,
            Err(left) => return left,
        };
        if self.notices.send(notice).await.is_err() {
            return Left::Unread;
        }
        for frame in frames {
            if let Err(why) = line.write(&frame).await {
                return Left::Lost(why);
            }
        }
        loop {
            if let Err(left) = self.turn(&mut line).await {
                return left;
            }
        }
    }

    /// Takes a `welcome`: the notice for the reader, and the commands to send again.
    fn welcomed(
        &mut self,
        gateway: &Gateway,
        node: rotary_proto::NodeId,
        frame: ServerFrame,
    ) -> Result<(Notice, Vec<ClientFrame>), Left> {
        let ServerFrame::Welcome {
            session,
            subject,
            sites,
            mode,
            seq,
            resume_token,
            gateways,
            results,
        } = frame
        else {
            return Err(Left::Lost("no welcome".to_owned()));
        };
        let resumed = self.identity.is_some();
        let now = Instant::now();
        let outage = if resumed { now - self.heard } else { Duration::ZERO };
        if let Some(identity) = &self.identity
            && identity.session != session
        {
            return Err(Left::Lost(format!("welcomed as another session, {session}")));
        }
        self.identity = Some(Identity { session, resume_token });
        self.stream.welcomed(mode, seq).map_err(|fault| Left::Ended(End::Fault(fault)))?;
        self.learn(&gateways);
        (self.heard, self.pinged, self.acked) = (now, now, seq);
        self.lagging = None;
        for result in results {
            self.window.settle(result, now);
        }
        let frames = self.window.all();
        let resent = frames.len();
        let gateway = gateway.clone();
        let welcomed =
            Welcomed { session, subject, sites, mode, seq, gateway, node, outage, resent };
        Ok((Notice::Welcome(Box::new(welcomed)), frames))
    }

    /// Remembers gateways that a welcome named.
    fn learn(&mut self, gateways: &[String]) {
        let known = gateways.iter().filter_map(|text| text.parse::<Gateway>().ok());
        for gateway in known {
            if !self.gateways.contains(&gateway) && self.gateways.len() < 64 {
                self.gateways.push(gateway);
            }
        }
    }

    /// One thing: a frame read, an ask, or a look at the time.
    async fn turn(&mut self, line: &mut Line) -> Result<(), Left> {
        self.release(line).await?;
        let next = self.next_beat();
        if next.elapsed() > TICK {
            self.beat(line).await?;
        }
        let tick = tokio::time::sleep_until(self.next_beat().into());
        let listens = self.held.is_empty();
        tokio::select! {
            biased;
            frame = line.read() => {
                self.heard = Instant::now();
                let frame = frame.map_err(Left::Lost)?;
                self.receive(line, frame).await
            }
            ask = self.asks.recv(), if listens => match ask {
                Some(ask) => self.ask(line, ask).await,
                None => self.ask(line, Ask::Bye).await,
            },
            () = tick => {
                let silence = self.heard.elapsed();
                if silence > self.config.silence {
                    let why = format!("nothing was heard for {} ms", silence.as_millis());
                    return Err(Left::Lost(why));
                }
                self.beat(line).await
            }
        }
    }

    /// When something is due: a session in which nothing happens wakes for its pings only.
    fn next_beat(&self) -> Instant {
        let ping = self.pinged + self.config.ping;
        let silent = self.heard + self.config.silence;
        let due = self.window.next_due().unwrap_or(ping);
        ping.min(silent).min(due).max(self.ticked + TICK)
    }

    /// Sends what was held back, as far as there is room.
    async fn release(&mut self, line: &mut Line) -> Result<(), Left> {
        while let Some(ask) = self.held.pop_front() {
            let waits = matches!(&ask, Ask::Command { site, .. } if !self.window.has_room(*site));
            if waits {
                self.held.push_front(ask);
                return Ok(());
            }
            self.ask(line, ask).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, line: &mut Line, ask: Ask) -> Result<(), Left> {
        let frame = match ask {
            Ask::Command { site, .. } if !self.window.has_room(site) => {
                self.held.push_back(ask);
                return Ok(());
            }
            Ask::Command { site, command, reply } => self.window.admit(site, command, reply),
            Ask::Signal { conversation, signal } => {
                Some(ClientFrame::Signal { conversation, signal })
            }
            Ask::Bye => {
                let _ = line.write(&ClientFrame::Bye {}).await;
                line.close().await;
                return Err(Left::Ended(End::Bye));
            }
        };
        match frame {
            Some(frame) => line.write(&frame).await.map_err(Left::Lost),
            None => Ok(()),
        }
    }

    async fn receive(&mut self, line: &mut Line, frame: ServerFrame) -> Result<(), Left> {
        let faulty = |fault| Left::Ended(End::Fault(fault));
        let notice = match frame {
            ServerFrame::Event(event) => {
                self.stream.event(&event).map_err(faulty)?;
                Notice::Event(event)
            }
            ServerFrame::Snapshot { cursor, state } => {
                self.stream.snapshot(cursor).map_err(faulty)?;
                Notice::Snapshot { cursor, state }
            }
            ServerFrame::Result(result) => {
                self.window.settle(result, Instant::now());
                return Ok(());
            }
            ServerFrame::Signal { conversation, signal, .. } => {
                Notice::Signal { conversation, signal }
            }
            ServerFrame::Goaway { reconnect_within_ms, .. } => {
                return Err(Left::Goaway(Duration::from_millis(reconnect_within_ms)));
            }
            ServerFrame::Bye { code, detail, retry, after_ms } => {
                return Err(farewell(code, detail, retry, after_ms));
            }
            ServerFrame::Board(board) => {
                self.stream.board(&board).map_err(faulty)?;
                Notice::Board(board)
            }
            ServerFrame::Pong { seq, .. } => return self.expect_delivered(seq),
            ServerFrame::Hello { .. } => return Ok(()),
            ServerFrame::Welcome { .. } => {
                return Err(Left::Lost("a second welcome on one socket".to_owned()));
            }
        };
        self.notices.send(notice).await.map_err(|_| Left::Unread)?;
        if self.stream.seq() >= self.acked + ACK_EVERY {
            self.ack(line).await?;
        }
        Ok(())
    }

    /// The gateway has sent so much. Where pongs come another way than events, something between
    /// may hold the events back.
    fn expect_delivered(&mut self, sent: u64) -> Result<(), Left> {
        let came = self.stream.seq();
        let (from, since) = self.lagging.get_or_insert((came, Instant::now()));
        if sent <= came || came > *from {
            self.lagging = None;
        } else if since.elapsed() > self.config.silence {
            let why = format!("events up to {sent} were sent, and none came after {came}");
            return Err(Left::Lost(why));
        }
        Ok(())
    }

    async fn ack(&mut self, line: &mut Line) -> Result<(), Left> {
        self.acked = self.stream.seq();
        line.write(&ClientFrame::Ack { seq: self.acked }).await.map_err(Left::Lost)
    }

    /// Sends what is due by now: commands again, pings, acknowledgements.
    async fn beat(&mut self, line: &mut Line) -> Result<(), Left> {
        let now = Instant::now();
        self.ticked = now;
        for frame in self.window.due(now) {
            line.write(&frame).await.map_err(Left::Lost)?;
        }
        if now - self.pinged >= self.config.ping {
            self.pinged = now;
            let ping = ClientFrame::Ping { t: self.stream.seq() };
            line.write(&ping).await.map_err(Left::Lost)?;
            if self.stream.seq() > self.acked {
                self.ack(line).await?;
            }
        }
        Ok(())
    }
}

/// What a `bye` means for the session.
fn farewell(code: String, detail: String, retry: Retry, after_ms: Option<u64>) -> Left {
    match (retry, after_ms) {
        (Retry::Resume, Some(after_ms)) => {
            Left::Refused(format!("{code}: {detail}"), Duration::from_millis(after_ms))
        }
        (Retry::Resume, None) => Left::Lost(format!("{code}: {detail}")),
        (Retry::Restart, _) => Left::Ended(End::Closed { code, detail, restart: true }),
        (Retry::Never, _) => Left::Ended(End::Closed { code, detail, restart: false }),
    }
}
