//! A simulated agent: one session, and a head for several conversations.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rotary_client::{Commander, Notice, Session};
use rotary_proto::event::{DeclaredWhy, Viewer};
use rotary_proto::frame::SnapshotState;
use rotary_proto::query::Stage;
use rotary_proto::{
    Actor, AgentId, Channel, Command, ConversationId, Declared, Event, OfferId, SiteId,
};
use tokio::task::JoinSet;

use super::conduct::{Conduct, message};
use super::desk::Told;
use super::floor::Phase;
use super::pace::raised;
use super::plan::{exponential, stream};
use super::recorder::Recorder;
use super::world::{AgentSpec, DISPOSITIONS};

/// How long an agent stays away after missing an offer, in seconds of the day.
const AWAY_S: f64 = 20.0;
/// How long a conversation lasts that is none of the run's, in seconds of the day.
const STRANGER_S: f64 = 60.0;
/// Mean wrap-up, in seconds of the day.
const WRAP_UP_S: f64 = 15.0;
/// How long unfinished commands may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// What an agent's tasks act with.
#[derive(Clone)]
struct Hands {
    conduct: Arc<Conduct>,
    commander: Commander,
    site: SiteId,
    agent: AgentId,
}

impl Hands {
    async fn ask(&self, command: Command) -> Told {
        let actor = Actor::Agent(self.agent);
        self.conduct.desk.over_session(&self.commander, self.site, actor, command).await
    }
}

/// An agent at work.
pub(super) struct Agent {
    conduct: Arc<Conduct>,
    spec: AgentSpec,
    rng: StdRng,
    tasks: JoinSet<()>,
    /// Assignments that a task serves already.
    serving: BTreeSet<(ConversationId, u32)>,
    signed_in: bool,
}

impl Agent {
    pub(super) fn new(conduct: Arc<Conduct>, spec: AgentSpec, seed: u64) -> Self {
        let rng = stream(seed, 1_000 + spec.number as u64);
        let (tasks, serving) = (JoinSet::new(), BTreeSet::new());
        Self { conduct, spec, rng, tasks, serving, signed_in: false }
    }

    /// Works until the run closes, over as many sessions as that takes.
    pub(super) async fn work(mut self) {
        let mut number = self.spec.number;
        while !*self.conduct.closing.borrow() {
            let config = self.conduct.session(number, &self.spec.token);
            let Ok(session) = Session::start(config) else { return };
            self.hold(session).await;
            number += 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// One session from its start to its end.
    async fn hold(&mut self, mut session: Session) {
        let (desk, tally) = (Arc::clone(&self.conduct.desk), Arc::clone(&self.conduct.tally));
        let viewer = Viewer::Agent(self.spec.agent);
        let mut recorder = Recorder::new(desk, tally, viewer, self.spec.site);
        let hands = Hands {
            conduct: Arc::clone(&self.conduct),
            commander: session.commander(),
            site: self.spec.site,
            agent: self.spec.agent,
        };
        // What an earlier session began is taken up again from this one's snapshot.
        self.serving.clear();
        let closing = self.conduct.closing.clone();
        loop {
            tokio::select! {
                biased;
                notice = session.next_event() => {
                    let Some(notice) = notice else { break };
                    recorder.take(&notice);
                    self.notice(&hands, notice);
                }
                () = raised(closing.clone()) => {
                    self.leave(&hands, &mut session, &mut recorder).await;
                    return;
                }
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    /// Finishes what was begun, signs out and says good-bye.
    async fn leave(&mut self, hands: &Hands, session: &mut Session, recorder: &mut Recorder) {
        let tasks = std::mem::take(&mut self.tasks);
        let hands = hands.clone();
        let last_words = tokio::spawn(async move {
            let _ = tokio::time::timeout(LAST_WORDS, tasks.join_all()).await;
            let (agent, declared) = (hands.agent, Declared::SignedOut);
            hands.ask(Command::Declare { agent, declared }).await;
            hands.commander.bye().await;
        });
        while let Some(notice) = session.next_event().await {
            recorder.take(&notice);
        }
        let _ = last_words.await;
        if std::mem::take(&mut self.signed_in) {
            self.conduct.tally.signed_in.move_by(-1);
        }
    }

    fn notice(&mut self, hands: &Hands, notice: Notice) {
        match notice {
            Notice::Event(frame) => self.event(hands, &frame.event, frame.wall.0),
            Notice::Snapshot { state, .. } => self.catch_up(hands, &state),
            Notice::Welcome(welcomed) if welcomed.outage.is_zero() => {
                self.declare_ready(hands, 0.0)
            }
            _ => {}
        }
    }

    fn declare_ready(&mut self, hands: &Hands, after_s: f64) {
        let hands = hands.clone();
        self.tasks.spawn(async move {
            hands.conduct.pace.pause(after_s).await;
            let (agent, declared) = (hands.agent, Declared::Ready);
            hands.ask(Command::Declare { agent, declared }).await;
        });
    }

    fn event(&mut self, hands: &Hands, event: &Event, wall_ms: u64) {
        let me = self.spec.agent;
        match *event {
            Event::Offered { conversation, offer, agent, .. } if agent == me => {
                self.conduct.tally.offered(self.spec.site, wall_ms);
                self.answer(hands, conversation, offer);
            }
            Event::Assigned { conversation, agent, leg, .. } if agent == me => {
                self.serve(hands, conversation, leg);
            }
            Event::Released { conversation, agent, .. } if agent == me => {
                self.conduct.floor.learn(conversation, Phase::Waiting);
            }
            Event::Ended { conversation, .. } => {
                self.conduct.floor.learn(conversation, Phase::Over);
            }
            Event::WrapUpStarted { conversation, agent, .. } if agent == me => {
                self.wrap_up(hands, conversation);
            }
            Event::AgentDeclared { agent, declared, why } if agent == me => {
                self.declared(hands, declared, why);
            }
            _ => {}
        }
    }

    fn declared(&mut self, hands: &Hands, declared: Declared, why: DeclaredWhy) {
        let ready = declared == Declared::Ready;
        if ready != self.signed_in {
            self.signed_in = ready;
            self.conduct.tally.signed_in.move_by(if ready { 1 } else { -1 });
        }
        if !ready && matches!(why, DeclaredWhy::NotResponding | DeclaredWhy::SessionLost) {
            self.declare_ready(hands, AWAY_S);
        }
    }

    /// Takes up what a snapshot shows and no event told.
    fn catch_up(&mut self, hands: &Hands, state: &SnapshotState) {
        let me = self.spec.agent;
        for view in &state.conversations {
            match view.stage {
                Stage::Offered { offer, agent, .. } if agent == me => {
                    self.answer(hands, view.conversation, offer);
                }
                Stage::Assigned { agent, .. } if agent == me => {
                    self.serve(hands, view.conversation, view.legs);
                }
                Stage::WrapUp { agent, .. } if agent == me => {
                    self.conduct.floor.learn(view.conversation, Phase::Over);
                    self.wrap_up(hands, view.conversation);
                }
                _ => {}
            }
        }
    }

    /// Reacts to an offer: most are accepted, some declined, few missed.
    fn answer(&mut self, hands: &Hands, conversation: ConversationId, offer: OfferId) {
        let (luck, reaction_s) = (self.rng.random::<f64>(), self.rng.random_range(0.8..3.5));
        let Conduct { decline_share, lapse_share, .. } = *self.conduct;
        let command = if luck < lapse_share {
            return;
        } else if luck < lapse_share + decline_share {
            Command::Decline { conversation, offer, reason: None }
        } else {
            Command::Accept { conversation, offer }
        };
        let hands = hands.clone();
        self.tasks.spawn(async move {
            hands.conduct.pace.pause(reaction_s).await;
            hands.ask(command).await;
        });
    }

    fn serve(&mut self, hands: &Hands, conversation: ConversationId, leg: u32) {
        if !self.serving.insert((conversation, leg)) {
            return;
        }
        self.conduct.floor.learn(conversation, Phase::With(self.spec.agent, leg));
        let (hands, holds) = (hands.clone(), self.rng.random_bool(0.15));
        self.tasks.spawn(async move { serve(hands, conversation, leg, holds).await });
    }

    fn wrap_up(&mut self, hands: &Hands, conversation: ConversationId) {
        self.serving.retain(|(served, _)| *served != conversation);
        let misses = self.rng.random::<f64>() < self.conduct.lapse_share;
        let seconds = exponential(&mut self.rng, WRAP_UP_S);
        let disposition = Some(DISPOSITIONS[self.rng.random_range(0..DISPOSITIONS.len())]);
        if misses && !self.conduct.pace.hurries() {
            return;
        }
        let hands = hands.clone();
        self.tasks.spawn(async move {
            hands.conduct.pace.pause(seconds).await;
            hands.ask(Command::WrapUp { conversation, disposition, note: None }).await;
        });
    }
}

/// Serves one assignment to its end, or until the customer or the cluster ends it.
async fn serve(hands: Hands, conversation: ConversationId, leg: u32, holds: bool) {
    let contact = hands.conduct.floor.find(conversation);
    let Some(contact) = contact else {
        hands.conduct.pace.pause(STRANGER_S).await;
        hands.ask(Command::Close { conversation }).await;
        return;
    };
    let mine = Phase::With(hands.agent, leg);
    let arrival = &contact.arrival;
    let work = async {
        match arrival.channel {
            Channel::Voice => talk(&hands, conversation, arrival.handle_s, holds).await,
            _ => write(&hands, conversation, arrival.handle_s).await,
        }
    };
    tokio::select! {
        biased;
        () = work => {}
        _ = contact.leaves(mine) => return,
    }
    if !arrival.hangs_up || hands.conduct.pace.hurries() {
        hands.ask(Command::Close { conversation }).await;
    }
}

/// A call, with a hold in its midst now and then.
async fn talk(hands: &Hands, conversation: ConversationId, seconds: f64, holds: bool) {
    let pace = &hands.conduct.pace;
    if !holds {
        return pace.pause(seconds).await;
    }
    pace.pause(seconds * 0.5).await;
    let held = spawn_ask(hands, Command::Hold { conversation }).await;
    pace.pause((seconds * 0.2).min(60.0)).await;
    if matches!(held, Told::Done(_)) {
        spawn_ask(hands, Command::Retrieve { conversation }).await;
    }
    pace.pause(seconds * 0.3).await;
}

/// A chat: an answer every now and then.
async fn write(hands: &Hands, conversation: ConversationId, seconds: f64) {
    let rounds = rounds(seconds);
    for round in 1..=rounds {
        hands.conduct.pace.pause(seconds / f64::from(rounds)).await;
        let item = message(&format!("answer {round} of {rounds}"));
        let post = Command::Post { conversation, item, note: false, seen_to: None };
        if let Told::Done(_) = spawn_ask(hands, post).await {
            hands.conduct.tally.messages.add();
        }
    }
}

/// Asks in a task of its own, so that the answer is written down even if the caller is cut short.
async fn spawn_ask(hands: &Hands, command: Command) -> Told {
    let hands = hands.clone();
    let asked = tokio::spawn(async move { hands.ask(command).await });
    asked.await.unwrap_or(Told::Unknown)
}

/// How many messages each side writes in a chat of that length.
pub(super) fn rounds(seconds: f64) -> u32 {
    ((seconds / 40.0) as u32).clamp(1, 6)
}
