//! Makes or replaces a webhook.

use std::sync::Arc;

use rotary_proto::event::{Audience, Event};
use rotary_proto::plan::WebhookPlan;
use rotary_proto::web::Secret;
use rotary_proto::{Actor, Done, Refusal, WebhookId, limits};

use crate::authority;
use crate::effects::Webhook;
use crate::turn::Turn;

/// Stores a plan under the webhook's next version, with a new secret if one is given. What waits to
/// be told keeps its deadline, and goes to the new address under the new secret.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    id: WebhookId,
    plan: WebhookPlan,
    secret: Option<Secret>,
) -> Result<Done, Refusal> {
    authority::administrator(actor)?;
    plan.check()?;
    let known = turn.site.webhooks.get(&id);
    let Some(secret) = secret.or_else(|| known.map(|webhook| webhook.secret.clone())) else {
        let (field, rule) = ("secret".to_owned(), "a new webhook needs one".to_owned());
        return Err(Refusal::BadValue { field, rule });
    };
    if known.is_none() && turn.site.webhooks.len() >= limits::WEBHOOKS_PER_SITE_MAX {
        return Err(Refusal::LimitReached { limit: "webhooks_per_site_max".to_owned() });
    }
    let version = known.map_or(1, |webhook| webhook.version + 1);
    let webhook = Webhook { version, plan: plan.clone(), secret };
    Arc::make_mut(&mut turn.site.webhooks).insert(id, webhook);
    turn.emit(Audience::default(), Event::WebhookSet { webhook: id, version, plan });
    Ok(Done::Stored { version })
}
