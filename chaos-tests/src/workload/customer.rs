//! Customers: they come, write, wait as long as they have patience, and go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rotary_client::{Commander, Notice, Session};
use rotary_proto::event::Viewer;
use rotary_proto::ids::{CustomerId, ItemId, QueueId, SessionId, SkillId};
use rotary_proto::plan::RequiredSkill;
use rotary_proto::values::Item;
use rotary_proto::{Actor, Attributes, Body, Channel, Command, ConversationId, Event, Priority};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::desk::{Ask, Desk, Told};
use super::scribe::Scribe;
use super::world::{Person, QUEUES, Site, World};
use super::{Config, Phase, draining, stream};

/// One customer in so many has a session instead of HTTP alone.
const SESSION_ONE_IN: u32 = 5;

/// Lets customers come until the drain; those who are there then.
pub(super) async fn arrive(
    config: &Config,
    world: &Arc<World>,
    desk: &Arc<Desk>,
    phase: watch::Receiver<Phase>,
) -> JoinSet<()> {
    let (mut draw, mut there, mut number) = (stream(config.seed, 3), JoinSet::new(), 0_u64);
    let rate = config.rate.clamp(0.001, 10_000.0);
    loop {
        let pause = -(1.0 - draw.random::<f64>()).ln() / rate;
        tokio::select! {
            biased;
            () = draining(phase.clone()) => return there,
            () = tokio::time::sleep(Duration::from_secs_f64(pause.min(60.0))) => {}
        }
        while there.try_join_next().is_some() {}
        if there.len() >= config.customers_max || world.sites.is_empty() {
            continue;
        }
        number += 1;
        desk.customers.fetch_add(1, Ordering::Relaxed);
        let site = world.sites[draw.random_range(0..world.sites.len())].clone();
        let draw = stream(config.seed, 1_000_000 + number);
        let visit = Visit::new(Arc::clone(world), Arc::clone(desk), site, draw);
        there.spawn(visit.live());
    }
}

/// One customer's visit.
struct Visit {
    world: Arc<World>,
    desk: Arc<Desk>,
    site: Site,
    me: Person<CustomerId>,
    conversation: ConversationId,
    draw: StdRng,
}

impl Visit {
    fn new(world: Arc<World>, desk: Arc<Desk>, site: Site, mut draw: StdRng) -> Self {
        let me = site.customers[draw.random_range(0..site.customers.len())].clone();
        let conversation = ConversationId::new(site.site, rotary_client::unique());
        Self { world, desk, site, me, conversation, draw }
    }

    /// From arrival to departure.
    async fn live(mut self) {
        if self.draw.random_range(0..SESSION_ONE_IN) > 0 {
            return self.visit(None, &mut None).await;
        }
        let place = self.draw.random_range(0..64);
        let config = self.world.session(&self.me.token, place);
        let Ok(mut session) = Session::start(config) else { return };
        let commander = session.commander();
        let viewer = Viewer::Customer(self.me.id);
        let mut scribe = Scribe::new(self.desk.recorder().clone(), viewer, self.site.site);
        let (tell, told) = mpsc::channel(1);
        let (conversation, mut welcomed) = (self.conversation, Some(tell));
        let (over, mut is_over) = watch::channel(false);
        let reading = tokio::spawn(async move {
            while let Some(notice) = session.next_event().await {
                scribe.take(&notice);
                if let (Notice::Welcome(_), Some(tell)) = (&notice, welcomed.take()) {
                    let _ = tell.try_send(scribe.session());
                }
                if let Notice::Event(frame) = &notice
                    && let Event::Ended { conversation: ended, .. } = frame.event
                    && ended == conversation
                {
                    let _ = over.send(true);
                }
            }
        });
        let mut told = Some(told);
        let visit = self.visit(Some(&commander), &mut told);
        tokio::select! {
            () = visit => {}
            _ = is_over.wait_for(|over| *over) => {}
        }
        commander.bye().await;
        let _ = tokio::time::timeout(Duration::from_secs(10), reading).await;
    }

    async fn visit(
        &mut self,
        commander: Option<&Commander>,
        welcome: &mut Option<mpsc::Receiver<SessionId>>,
    ) {
        let session = match welcome {
            Some(told) => {
                let told = tokio::time::timeout(Duration::from_secs(15), told.recv()).await;
                let Ok(Some(session)) = told else { return };
                Some(session)
            }
            None => None,
        };
        let line = commander.zip(session);
        let open = self.open();
        if self.ask(line, open).await == Told::Refused {
            return;
        }
        let messages = self.draw.random_range(0..3);
        for _ in 0..messages {
            self.pause(200..3_000).await;
            let (conversation, item) = (self.conversation, message());
            let post = Command::Post { conversation, item, note: false, seen_to: None };
            if self.ask(line, post).await == Told::Refused {
                return;
            }
        }
        self.pause(500..9_000).await;
        if self.draw.random_bool(0.35) {
            let conversation = self.conversation;
            self.ask(line, Command::Abandon { conversation }).await;
        }
    }

    async fn ask(&self, line: Option<(&Commander, SessionId)>, command: Command) -> Told {
        let (site, actor) = (self.site.site, Actor::Customer(self.me.id));
        let ask = Ask { site, actor, command };
        match line {
            Some((commander, session)) => self.desk.over_session(commander, session, ask).await,
            None => self.desk.over_http(&self.me.api, ask).await,
        }
    }

    async fn pause(&mut self, ms: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.draw.random_range(ms))).await;
    }

    fn open(&mut self) -> Command {
        let draw = &mut self.draw;
        let channel = if draw.random_bool(0.15) { Channel::Voice } else { Channel::Chat };
        let priority = draw.random_bool(0.3).then(|| Priority::new(draw.random_range(3..=7)));
        let skill = SkillId(draw.random_range(1..=QUEUES));
        let extra = draw.random_bool(0.2).then_some(RequiredSkill { skill, level: 4 });
        Command::Open {
            conversation: self.conversation,
            queue: QueueId(draw.random_range(1..=QUEUES)),
            channel,
            priority: priority.and_then(Result::ok),
            skills: extra.into_iter().collect(),
            customer: Some(self.me.id),
            attributes: Attributes::default(),
            item: draw.random_bool(0.5).then(message),
            mail: None,
        }
    }
}

/// A message like any other, with an id of its own.
pub(super) fn message() -> Item {
    let body = Body::plain("a word or two").expect("a short text is within its bounds");
    Item { id: ItemId(rotary_client::unique()), body }
}
