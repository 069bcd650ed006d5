//! Telling a webhook: an attempt that may be repeated, because it carries the effect's id.

use metrics::counter;
use rotary_proto::WebhookId;
use rotary_proto::effect::EffectOutcome;
use rotary_proto::planted::{self, Planted};

use crate::effects::endpoint::{Endpoint, Said};
use crate::effects::message::Message;
use crate::effects::performer::{Came, Job};
use crate::effects::settle::{Outcome, Read, read, settle};
use crate::gateway::doors::Doors;
use crate::telemetry::names;

/// The attempt at one message whose failure somebody should hear of: the endpoint has failed for
/// some five minutes.
const FAILING: u32 = 3;

/// Tries to tell a webhook once.
pub(super) async fn perform(
    doors: &Doors,
    endpoint: &Endpoint,
    webhook: WebhookId,
    job: &Job,
) -> Came {
    let (effect, attempts) = (&job.waiting.effect, job.waiting.attempts);
    let over = |outcome, attempts, status| {
        settle(doors, job, Outcome { outcome, attempts, status, start: None })
    };
    let given_up = || over(EffectOutcome::NotSent, attempts, job.waiting.status);
    let Some(shard) = doors.replica.shard_of(job.site()) else { return Came::Postponed };
    let known = shard.read().webhook(job.site(), webhook).map(|(_, p, s)| (p.clone(), s.clone()));
    let Some((plan, secret)) = known.filter(|(plan, _)| plan.enabled) else {
        return given_up().await;
    };
    let message = match read(doors, job.site(), effect.id, effect.sequence).await {
        Read::Event(event) => Message::of(effect.id, *event),
        Read::Later => return Came::Postponed,
        // It can be told no more, by nobody.
        Read::Forgotten => return given_up().await,
    };
    let Some(mut message) = message else { return Came::Postponed };
    if planted::is(Planted::MessageRenamed) {
        message.id.ordinal += attempts;
    }
    let mut said = endpoint.post(&plan.url, &message, &secret).await;
    if planted::is(Planted::SilenceTaken) && matches!(said, Said::Failed { status: None, .. }) {
        said = Said::Took { status: 200 };
    }
    let attempts = attempts + 1;
    counter!(names::WEBHOOK_ATTEMPTS, "result" => word(said)).increment(1);
    match said {
        Said::Took { status } => over(EffectOutcome::Sent, attempts, Some(status)).await,
        Said::Gone { status } => over(EffectOutcome::NotSent, attempts, Some(status)).await,
        Said::Failed { status, after } if job.has_time(attempts, after) => {
            if attempts == FAILING {
                tracing::warn!(
                    code = "endpoint-failing", site = %job.site(), %webhook, attempts, status,
                    "a webhook does not take its messages"
                );
            }
            Came::Failed { status, after }
        }
        Said::Failed { status, .. } => over(EffectOutcome::NotSent, attempts, status).await,
    }
}

const fn word(said: Said) -> &'static str {
    match said {
        Said::Took { .. } => "taken",
        Said::Gone { .. } => "gone",
        Said::Failed { status: Some(_), .. } => "refused",
        Said::Failed { status: None, .. } => "unanswered",
    }
}
