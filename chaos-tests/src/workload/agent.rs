//! Agents: one session each, and habits, not all of them good.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rotary_client::{Commander, Notice, Over, Session};
use rotary_proto::event::{DeclaredWhy, Viewer};
use rotary_proto::frame::SnapshotState;
use rotary_proto::ids::{AgentId, OfferId, SessionId};
use rotary_proto::query::Stage;
use rotary_proto::{Actor, Command, ConversationId, Declared, Event};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::customer::message;
use super::desk::{Ask, Desk, Told};
use super::scribe::Scribe;
use super::world::{Person, World};
use super::{Phase, left, stream};

/// How long, in milliseconds, an agent works before they sign out for a moment or lose a socket.
const RESTLESS_MS: std::ops::Range<u64> = 6_000..40_000;
/// How long unfinished requests may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// What an agent's tasks act with.
#[derive(Clone)]
struct Hands {
    desk: Arc<Desk>,
    me: Person<AgentId>,
    commander: Commander,
    session: SessionId,
}

impl Hands {
    fn asked(&self, command: Command) -> Ask {
        Ask { site: self.me.site, actor: Actor::Agent(self.me.id), command }
    }

    /// Over the session.
    async fn ask(&self, command: Command) -> Told {
        self.desk.over_session(&self.commander, self.session, self.asked(command)).await
    }

    /// Over HTTP, at any gateway.
    async fn ask_elsewhere(&self, command: Command) -> Told {
        self.desk.over_http(&self.me.api, self.asked(command)).await
    }

    async fn declare(&self, declared: Declared) -> Told {
        self.ask(Command::Declare { agent: self.me.id, declared }).await
    }
}

/// An agent at work.
pub(super) struct Agent {
    world: Arc<World>,
    desk: Arc<Desk>,
    me: Person<AgentId>,
    draw: StdRng,
    place: usize,
    tasks: JoinSet<()>,
}

/// Why a session was left.
enum Left {
    /// It ended, or its agent pulled the plug.
    Session,
    /// Everybody goes home.
    Work,
}

impl Agent {
    pub(super) fn new(
        world: &Arc<World>,
        desk: &Arc<Desk>,
        me: Person<AgentId>,
        seed: u64,
        number: u64,
    ) -> Self {
        let (world, desk) = (Arc::clone(world), Arc::clone(desk));
        let draw = stream(seed, 100_000 + number);
        Self { world, desk, me, draw, place: number as usize, tasks: JoinSet::new() }
    }

    /// Works until everybody goes home, over as many sessions as that takes.
    pub(super) async fn work(
        mut self,
        phase: watch::Receiver<Phase>,
        leaving: watch::Receiver<bool>,
    ) {
        while !*leaving.borrow() {
            let mut config = self.world.session(&self.me.token, self.place);
            config.over = if self.place % 4 == 3 { Over::Stream } else { Over::Socket };
            let Ok(session) = Session::start(config) else { return };
            if let Left::Work = self.hold(session, &phase, leaving.clone()).await {
                return;
            }
            self.place += 1;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// One session from its start to its end.
    async fn hold(
        &mut self,
        mut session: Session,
        phase: &watch::Receiver<Phase>,
        leaving: watch::Receiver<bool>,
    ) -> Left {
        let viewer = Viewer::Agent(self.me.id);
        let mut scribe = Scribe::new(self.desk.recorder().clone(), viewer, self.me.site);
        let commander = session.commander();
        let mut restless = self.restless();
        loop {
            let hands = Hands {
                desk: Arc::clone(&self.desk),
                me: self.me.clone(),
                commander: commander.clone(),
                session: scribe.session(),
            };
            tokio::select! {
                biased;
                notice = session.next_event() => {
                    let Some(notice) = notice else { return Left::Session };
                    scribe.take(&notice);
                    let calm = *phase.borrow() == Phase::Drain;
                    self.notice(&hands, notice, scribe.session(), calm);
                }
                () = left(leaving.clone()) => {
                    self.go_home(hands, &mut session, &mut scribe).await;
                    return Left::Work;
                }
                () = tokio::time::sleep_until(restless) => {
                    restless = self.restless();
                    if *phase.borrow() == Phase::Drain {
                        continue;
                    }
                    if self.draw.random_bool(0.5) {
                        // Without a good-bye: for the cluster, the socket is lost.
                        return Left::Session;
                    }
                    self.tasks.spawn(step_out(hands));
                }
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    fn restless(&mut self) -> tokio::time::Instant {
        let ms = self.draw.random_range(RESTLESS_MS);
        tokio::time::Instant::now() + Duration::from_millis(ms)
    }

    /// Finishes what was begun, signs out and says good-bye, reading along.
    async fn go_home(&mut self, hands: Hands, session: &mut Session, scribe: &mut Scribe) {
        let tasks = std::mem::take(&mut self.tasks);
        let last_words = tokio::spawn(async move {
            let _ = tokio::time::timeout(LAST_WORDS, tasks.join_all()).await;
            hands.declare(Declared::SignedOut).await;
            hands.commander.bye().await;
        });
        let reading = async {
            while let Some(notice) = session.next_event().await {
                scribe.take(&notice);
            }
        };
        let _ = tokio::time::timeout(3 * LAST_WORDS, reading).await;
        let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
    }

    fn notice(&mut self, hands: &Hands, notice: Notice, session: SessionId, calm: bool) {
        let hands = Hands { session, ..hands.clone() };
        match notice {
            Notice::Welcome(welcomed) if welcomed.outage.is_zero() => self.sign_in(hands, 0),
            Notice::Snapshot { state, .. } => self.catch_up(&hands, &state, calm),
            Notice::Event(frame) => self.event(hands, &frame.event, calm),
            _ => {}
        }
    }

    fn sign_in(&mut self, hands: Hands, after_ms: u64) {
        self.tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            hands.declare(Declared::Ready).await;
        });
    }

    fn event(&mut self, hands: Hands, event: &Event, calm: bool) {
        let me = self.me.id;
        match *event {
            Event::Offered { conversation, offer, agent, .. } if agent == me => {
                self.answer(hands, conversation, offer, calm);
            }
            Event::Assigned { conversation, agent, .. } if agent == me => {
                self.serve(hands, conversation, calm);
            }
            Event::WrapUpStarted { conversation, agent, .. } if agent == me => {
                self.wrap_up(hands, conversation);
            }
            Event::AgentDeclared { agent, declared, why } if agent == me => {
                let missed = matches!(why, DeclaredWhy::NotResponding | DeclaredWhy::SessionLost);
                if declared != Declared::Ready && missed {
                    self.sign_in(hands, 600);
                }
            }
            _ => {}
        }
    }

    /// Takes up what a snapshot shows and no event told.
    fn catch_up(&mut self, hands: &Hands, state: &SnapshotState, calm: bool) {
        let me = self.me.id;
        for view in &state.conversations {
            let (hands, conversation) = (hands.clone(), view.conversation);
            match view.stage {
                Stage::Offered { offer, agent, .. } if agent == me => {
                    self.answer(hands, conversation, offer, calm);
                }
                Stage::Assigned { agent, .. } if agent == me => {
                    self.serve(hands, conversation, calm);
                }
                Stage::WrapUp { agent, .. } if agent == me => self.wrap_up(hands, conversation),
                _ => {}
            }
        }
    }

    /// Most offers are accepted, some by two devices at once; some are declined, some ring out.
    fn answer(&mut self, hands: Hands, conversation: ConversationId, offer: OfferId, calm: bool) {
        let luck = if calm { 50 } else { self.draw.random_range(0..100) };
        let wait = Duration::from_millis(self.draw.random_range(20..700));
        let accept = Command::Accept { conversation, offer };
        self.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            match luck {
                0..7 => {}
                7..15 => {
                    hands.ask(Command::Decline { conversation, offer, reason: None }).await;
                }
                15..30 => {
                    let one = hands.ask(accept.clone());
                    let _ = tokio::join!(one, hands.ask_elsewhere(accept));
                }
                30..45 => {
                    hands.ask_elsewhere(accept).await;
                }
                _ => {
                    hands.ask(accept).await;
                }
            }
        });
    }

    /// Writes a little, and then ends it, gives it back, or leaves it to the customer.
    fn serve(&mut self, hands: Hands, conversation: ConversationId, calm: bool) {
        let messages = self.draw.random_range(0..4);
        let luck = if calm { 0 } else { self.draw.random_range(0..100) };
        let wait = Duration::from_millis(self.draw.random_range(100..900));
        let elsewhere = self.draw.random_bool(0.3);
        self.tasks.spawn(async move {
            for number in 0..messages {
                tokio::time::sleep(wait).await;
                let (item, note) = (message(), number == 2);
                let post = Command::Post { conversation, item, note, seen_to: None };
                let told = match elsewhere {
                    true => hands.ask_elsewhere(post).await,
                    false => hands.ask(post).await,
                };
                if told == Told::Refused {
                    return;
                }
            }
            tokio::time::sleep(wait).await;
            let (queue, priority) = (None, None);
            match luck {
                0..75 => {
                    hands.ask(Command::Close { conversation }).await;
                }
                75..90 => {
                    let command = Command::Requeue { conversation, queue, priority };
                    hands.ask_elsewhere(command).await;
                }
                90..95 => {
                    hands.ask(Command::Hold { conversation }).await;
                    tokio::time::sleep(wait).await;
                    hands.ask(Command::Retrieve { conversation }).await;
                    hands.ask(Command::Close { conversation }).await;
                }
                _ => {}
            }
        });
    }

    fn wrap_up(&mut self, hands: Hands, conversation: ConversationId) {
        let wait = Duration::from_millis(self.draw.random_range(50..600));
        if self.draw.random_bool(0.2) {
            return;
        }
        self.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            hands.ask(Command::WrapUp { conversation, disposition: None, note: None }).await;
        });
    }
}

/// Signs out, whatever is held, and comes back.
async fn step_out(hands: Hands) {
    if hands.declare(Declared::SignedOut).await == Told::Done {
        tokio::time::sleep(Duration::from_millis(800)).await;
    }
    hands.declare(Declared::Ready).await;
}
