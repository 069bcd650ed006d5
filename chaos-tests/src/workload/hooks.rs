//! Webhooks: administrators make them, change what they are told of, and switch them off for a
//! while; and at the drain all that waits is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;
use rotary_proto::event::Topic;
use rotary_proto::ids::WebhookId;
use rotary_proto::plan::WebhookPlan;
use rotary_proto::web::{Secret, WebUrl};
use rotary_proto::{Command, Name, SiteId};
use serde::Deserialize;
use tokio::sync::watch;

use super::desk::{Ask, Desk, Told};
use super::world::{ADMINISTRATOR, Site, World};
use super::{Phase, draining, stream};

/// Webhooks of each site.
const WEBHOOKS: u16 = 2;
/// How often something about them is changed, in milliseconds.
const EVERY_MS: std::ops::Range<u64> = 4_000..12_000;
/// How long a message is tried, in milliseconds.
const GIVE_UP_MS: u64 = 24 * 3_600 * 1_000;
/// How long everything that waits at the drain may take.
const SETTLE: Duration = Duration::from_secs(90);
/// Everything that a webhook can be told of.
const TOPICS: [Topic; 9] = [
    Topic::Opened,
    Topic::Queued,
    Topic::Offered,
    Topic::OfferEnded,
    Topic::Assigned,
    Topic::Released,
    Topic::Posted,
    Topic::Ended,
    Topic::Closed,
];

/// Whoever answers webhooks' messages: at `{base}/{site}/{webhook}`, knowing the secrets that
/// [`secret`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receivers {
    /// The beginning of their addresses, without a slash at its end.
    pub base: String,
    /// What secrets are made of.
    pub seed: u64,
}

/// What a webhook's messages are signed with.
pub fn secret(seed: u64, site: SiteId, webhook: WebhookId) -> Secret {
    let mut draw = stream(seed, site.key() ^ u64::from(webhook.0) << 48);
    Secret::new((0..32).map(|_| draw.random()).collect()).expect("32 bytes are enough")
}

/// A webhook's plan; what it is told of differs from one to another, and from time to time.
fn plan(receivers: &Receivers, site: SiteId, webhook: WebhookId, turn: usize) -> WebhookPlan {
    let at = usize::from(webhook.0) + turn;
    let topics: BTreeSet<Topic> = (0..3).map(|next| TOPICS[(at + next * 2) % 9]).collect();
    let url = format!("{}/{site}/{webhook}", receivers.base);
    WebhookPlan {
        name: Name::new("receiver").expect("a fixed name is valid"),
        url: WebUrl::new(url).expect("the base of receivers is an address"),
        topics,
        give_up_ms: GIVE_UP_MS,
        enabled: true,
    }
}

fn webhooks() -> impl Iterator<Item = WebhookId> {
    (1..=WEBHOOKS).map(WebhookId)
}

/// Commands that make a site's webhooks.
pub(super) fn first(receivers: &Receivers, site: SiteId) -> impl Iterator<Item = Command> {
    webhooks().map(move |webhook| {
        let plan = plan(receivers, site, webhook, 0);
        let secret = Some(secret(receivers.seed, site, webhook));
        Command::PutWebhook { webhook, plan, secret }
    })
}

/// Changes a site's webhooks until the drain, where there are any.
pub(super) async fn change(
    world: Arc<World>,
    desk: Arc<Desk>,
    site: SiteId,
    mut draw: StdRng,
    phase: watch::Receiver<Phase>,
) {
    let Some(receivers) = &world.receivers else { return };
    for turn in 1.. {
        let pause = Duration::from_millis(draw.random_range(EVERY_MS));
        tokio::select! {
            () = draining(phase.clone()) => return,
            () = tokio::time::sleep(pause) => {}
        }
        let webhook = WebhookId(draw.random_range(1..=WEBHOOKS));
        let mut plan = plan(receivers, site, webhook, turn);
        plan.enabled = draw.random_range(0..6) != 0;
        let command = Command::PutWebhook { webhook, plan, secret: None };
        desk.over_http(&world.api, Ask { site, actor: ADMINISTRATOR, command }).await;
    }
}

#[derive(Deserialize)]
struct Page {
    data: Vec<serde_json::Value>,
}

/// Has everything tried that waits, until nothing does or the time is over: what is left then is
/// for the judge.
pub(super) async fn settle(world: &World, desk: &Arc<Desk>) {
    let Some(receivers) = &world.receivers else { return };
    let begun = Instant::now();
    let mut left: Vec<&Site> = world.sites.iter().collect();
    for site in &left {
        for webhook in webhooks() {
            again(world, desk, receivers, site.site, webhook, begun).await;
        }
    }
    while !left.is_empty() && begun.elapsed() < SETTLE {
        let mut waiting = Vec::new();
        for site in left {
            let path = format!("/v1/sites/{}/effects?consistency=linearizable", site.site);
            match world.api.read::<Page>(&path).await {
                Ok(page) if page.data.is_empty() => {}
                _ => waiting.push(site),
            }
        }
        left = waiting;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Stores a webhook anew, which has everything tried at once that waits for it.
async fn again(
    world: &World,
    desk: &Arc<Desk>,
    receivers: &Receivers,
    site: SiteId,
    webhook: WebhookId,
    begun: Instant,
) {
    while begun.elapsed() < SETTLE {
        let plan = plan(receivers, site, webhook, 0);
        let command = Command::PutWebhook { webhook, plan, secret: None };
        let ask = Ask { site, actor: ADMINISTRATOR, command };
        if desk.over_http(&world.api, ask).await == Told::Done {
            return;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_have_secrets_and_topics_of_their_own() {
        let receivers = Receivers { base: "http://hooks.example".to_owned(), seed: 7 };
        let (here, there) = (SiteId::new(1, 1), SiteId::new(1, 2));
        let of = |site, number| secret(7, site, WebhookId(number));
        assert_eq!(of(here, 1), of(here, 1));
        assert!(of(here, 1) != of(here, 2) && of(here, 1) != of(there, 1));
        let mut told = BTreeSet::new();
        for turn in 0..9 {
            let plan = plan(&receivers, here, WebhookId(1), turn);
            plan.check().expect("within bounds");
            told.extend(plan.topics);
        }
        assert_eq!(told.len(), TOPICS.len());
    }
}
