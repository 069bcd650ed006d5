//! Supervisors: they read along, move what waits, change what agents may hold, and see to it that
//! everything comes to its end at the drain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;
use rotary_client::Session;
use rotary_proto::event::Viewer;
use rotary_proto::ids::{AgentId, QueueId};
use rotary_proto::query::{ConversationView, Stage};
use rotary_proto::{Command, ConversationId, Priority, SiteId};
use serde::Deserialize;
use tokio::sync::watch;

use super::desk::{Ask, Desk};
use super::scribe::Scribe;
use super::world::{ADMINISTRATOR, QUEUES, SUPERVISOR, Site, World, profile};
use super::{Phase, draining, left};

/// How often a supervisor does something, in milliseconds.
const EVERY_MS: std::ops::Range<u64> = 700..2_500;
/// How long something may be left at the drain before a supervisor ends it.
const LEFT: Duration = Duration::from_secs(4);

#[derive(Deserialize)]
struct Page {
    data: Vec<ConversationView>,
}

/// What is live in a site; nothing where nobody answers.
async fn live(site: &Site, fresh: bool) -> Option<Vec<ConversationView>> {
    let how = if fresh { "&consistency=linearizable" } else { "" };
    let path = format!("/v1/sites/{}/conversations?limit=1000{how}", site.site);
    site.supervisor.api.read::<Page>(&path).await.ok().map(|page| page.data)
}

/// Moves what waits, and changes what agents may hold, until the drain.
pub(super) async fn oversee(
    world: Arc<World>,
    desk: Arc<Desk>,
    site: Site,
    mut draw: StdRng,
    phase: watch::Receiver<Phase>,
) {
    for edition in 1.. {
        let pause = Duration::from_millis(draw.random_range(EVERY_MS));
        tokio::select! {
            () = draining(phase.clone()) => return,
            () = tokio::time::sleep(pause) => {}
        }
        if draw.random_range(0..4) == 0 {
            let agent = AgentId(draw.random_range(1..=site.agents));
            let Ok(profile) = profile(draw.random(), site.site, agent, edition) else { return };
            let command = Command::PutAgent { agent, profile };
            let ask = Ask { site: site.site, actor: ADMINISTRATOR, command };
            desk.over_http(&world.api, ask).await;
            continue;
        }
        let waiting = live(&site, false).await.unwrap_or_default();
        let waiting: Vec<ConversationId> = waiting
            .into_iter()
            .filter(|view| matches!(view.stage, Stage::Waiting | Stage::Offered { .. }))
            .map(|view| view.conversation)
            .collect();
        if waiting.is_empty() {
            continue;
        }
        let conversation = waiting[draw.random_range(0..waiting.len())];
        let queue = Some(QueueId(draw.random_range(1..=QUEUES)));
        let priority = draw.random_bool(0.3).then(|| Priority::new(draw.random_range(3..=7)));
        let priority = priority.and_then(Result::ok);
        let command = Command::Requeue { conversation, queue, priority };
        let ask = Ask { site: site.site, actor: SUPERVISOR, command };
        desk.over_http(&site.supervisor.api, ask).await;
    }
}

/// Reads everything of a site in a session, until everybody goes home.
pub(super) async fn read_along(
    world: Arc<World>,
    desk: Arc<Desk>,
    site: Site,
    leaving: watch::Receiver<bool>,
) {
    let mut place = site.site.number as usize;
    while !*leaving.borrow() {
        place += 1;
        let config = world.session(&site.supervisor.token, place);
        let Ok(mut session) = Session::start(config) else { return };
        let mut scribe = Scribe::new(desk.recorder().clone(), Viewer::Supervisor, site.site);
        let commander = session.commander();
        let reading = async {
            while let Some(notice) = session.next_event().await {
                scribe.take(&notice);
            }
        };
        tokio::select! {
            () = reading => tokio::time::sleep(Duration::from_millis(200)).await,
            () = left(leaving.clone()) => return commander.bye().await,
        }
    }
}

/// Ends whatever does not end by itself. Whether everything was over in time.
pub(super) async fn drain(world: &World, desk: &Arc<Desk>, drain_max: Duration) -> bool {
    let begun = Instant::now();
    let mut since: BTreeMap<ConversationId, Instant> = BTreeMap::new();
    let mut quiet: BTreeMap<SiteId, bool> = BTreeMap::new();
    while begun.elapsed() < drain_max {
        for site in &world.sites {
            let Some(views) = live(site, true).await else {
                quiet.insert(site.site, false);
                continue;
            };
            quiet.insert(site.site, views.is_empty());
            for view in views {
                let conversation = view.conversation;
                let first = since.entry(conversation).or_insert_with(Instant::now);
                let ending = matches!(view.stage, Stage::WrapUp { .. } | Stage::Closed);
                if first.elapsed() < LEFT || ending {
                    continue;
                }
                *first = Instant::now();
                let command = Command::Close { conversation };
                let ask = Ask { site: site.site, actor: SUPERVISOR, command };
                desk.over_http(&site.supervisor.api, ask).await;
            }
        }
        if quiet.values().all(|quiet| *quiet) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    false
}
