//! Having the outcome of an effect logged, and reading what an effect is about.

use std::time::Duration;

use rotary_proto::effect::{EffectOutcome, EffectStart};
use rotary_proto::outcome::Answer;
use rotary_proto::{Actor, Command, EffectId, EventRecord, Outcome as Said, Refusal, SiteId};

use crate::effects::performer::{Came, Job, is_owner};
use crate::gateway::doors::Doors;

/// The pause before a command is proposed again.
const PROPOSE_AGAIN: Duration = Duration::from_millis(500);

/// How an effect came out, as its performer knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) outcome: EffectOutcome,
    pub(super) attempts: u32,
    pub(super) status: Option<u16>,
    /// Under which beginning, for what is done *once*.
    pub(super) start: Option<EffectStart>,
}

/// Asks the cluster's own command of a site.
pub(super) async fn tell(doors: &Doors, site: SiteId, command: Command) -> Option<Answer> {
    let told = doors.submit_internal(site, Actor::System, command).await;
    told.ok().map(|placed| placed.answer)
}

/// Has an outcome logged, however long that takes while the effect is this node's; or, where this
/// node began it, whosever it is: nobody else knows.
pub(super) async fn settle(doors: &Doors, job: &Job, came: Outcome) -> Came {
    let (site, effect) = (job.site(), job.waiting.effect.id);
    let Outcome { outcome, attempts, status, start } = came;
    let command = Command::EndEffect { effect, outcome, attempts, status, start };
    loop {
        let told = tell(doors, site, command.clone()).await;
        let Some(shard) = doors.replica.shard_of(site) else { return Came::Postponed };
        let over = !shard.read().is_pending(site, effect);
        let said = told.map(|answer| answer.outcome);
        if over || matches!(said, Some(Said::Done(_))) {
            return Came::Over { took: outcome == EffectOutcome::Sent };
        }
        // Somebody began it meanwhile: it is looked at anew.
        if said == Some(Said::Refused(Refusal::EffectFenced)) {
            return Came::Postponed;
        }
        let mine = is_owner(shard.read().view(), &job.waiting.effect, doors.node);
        if !mine && start.is_none() {
            return Came::Postponed;
        }
        tokio::time::sleep(PROPOSE_AGAIN).await;
    }
}

/// What this node's journal has of an event.
pub(super) enum Read {
    Event(Box<EventRecord>),
    /// Retention has dropped it.
    Forgotten,
    /// It is not here, or not yet.
    Later,
}

/// Reads the event of that sequence, for an effect.
pub(super) async fn read(doors: &Doors, site: SiteId, id: EffectId, sequence: u64) -> Read {
    let (replica, after) = (doors.replica.clone(), sequence - 1);
    let read = move || replica.events(site, after, 1);
    match crate::blocking::run(read).await {
        Ok(Ok(mut events)) => events.pop().map_or(Read::Later, |event| Read::Event(event.into())),
        Ok(Err(error)) if error.is_forgotten() && is_whole(doors, site, sequence) => {
            Read::Forgotten
        }
        Ok(Err(error)) => {
            tracing::debug!(effect = %id, %error, "the event of an effect cannot be read");
            Read::Later
        }
        Err(_) => Read::Later,
    }
}

/// Whether nothing is being fetched of the shard in which an event of the site happened.
fn is_whole(doors: &Doors, site: SiteId, sequence: u64) -> bool {
    let stay = doors.replica.stay_at(site, sequence);
    stay.is_some_and(|stay| doors.replica.is_whole(stay.shard))
}
