//! Replaces the site's settings.

use rotary_proto::event::{Audience, Event};
use rotary_proto::plan::SiteSettings;
use rotary_proto::{Actor, Done, Refusal};

use crate::authority;
use crate::turn::Turn;

/// Stores settings. A grace that has begun keeps its end.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    settings: SiteSettings,
) -> Result<Done, Refusal> {
    authority::administrator(actor)?;
    settings.check()?;
    turn.site.settings = settings.clone();
    turn.emit(Audience::default(), Event::SiteSet { settings });
    Ok(Done::Ok)
}
