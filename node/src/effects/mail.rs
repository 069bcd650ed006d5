//! Sending a mail: at most once, whoever dies.
//!
//! 1. The relay is connected to before anything is logged, so that a dead one begins nothing.
//! 2. `StartEffect` is logged. It gives the mail to this run of this node for good; a later owner,
//!    and this node after a restart, can only say that nobody knows (`abandoned`).
//! 3. Everything is handed over but the dot, which alone makes the relay take it. A failure up to
//!    here is certain: tried again later, or not sent.
//! 4. The shard's leader is asked for a read index, and the state there must still say that the
//!    mail is this run's. That answer counts for [`limits::FENCE_MS`] from the asking on.
//! 5. The dot. From here on only the relay's answer says what happened; without it, nobody can.
//!
//! A successor waits `FENCE_MS` and `FENCE_MARGIN_MS` after it saw the view that made it the owner:
//! whatever the owner before was about to do, it has done by then, or it has asked the leader again
//! and knows that the mail is its own no more.

use std::time::Duration;

use metrics::counter;
use rotary_channels::mail::Mail;
use rotary_channels::smtp::{Connection, Ended, Failed, Relay};
use rotary_proto::Outcome as Said;
use rotary_proto::effect::{EffectOutcome, EffectStart, EffectTarget};
use rotary_proto::{Command, EffectId, Event, EventRecord, MailAddress, Sealed, limits};
use tokio::time::Instant;

use crate::effects::performer::{Came, Job, is_owner};
use crate::effects::settle::{Outcome, Read, read, settle, tell};
use crate::gateway::doors::Doors;
use crate::telemetry::names;

/// How long the leader may take to say that the mail is still this run's.
const CONFIRM_MAX: Duration = Duration::from_millis(limits::FENCE_MS - limits::FENCE_MARGIN_MS);
/// How long the word of the leader counts, from the asking on.
const FENCE: Duration = Duration::from_millis(limits::FENCE_MS);
/// How long a successor waits.
const SUCCESSOR: Duration = Duration::from_millis(limits::FENCE_MS + limits::FENCE_MARGIN_MS);

/// The attempt at one mail whose failure somebody should hear of.
const FAILING: u32 = 3;

/// What is to be said to whom.
struct Draft {
    from: MailAddress,
    to: MailAddress,
    bytes: Vec<u8>,
}

/// What there is to say.
enum Drafted {
    Mail(Box<Draft>),
    /// It cannot be said by anybody: why.
    Never(&'static str),
    Later,
}

/// Tries to send a mail, or says what can be said of one that somebody else began.
pub(super) async fn perform(doors: &Doors, relay: Option<&Relay>, job: &Job) -> Came {
    let effect = &job.waiting.effect;
    let run = (doors.node, doors.gateway.run);
    if effect.started.is_some_and(|start| (start.owner, start.run) != run) {
        return abandoned(doors, job).await;
    }
    let Some(relay) = relay else {
        return never(doors, job, effect.started, "mail.relay is not set on this node").await;
    };
    let draft = match draft(doors, job).await {
        Drafted::Mail(draft) => draft,
        Drafted::Never(why) => return never(doors, job, effect.started, why).await,
        Drafted::Later => return Came::Postponed,
    };
    let connection = match relay.connect().await {
        Ok(connection) => connection,
        Err(failed) => return again(doors, job, effect.started, &failed).await,
    };
    match start(doors, job).await {
        Some(start) => send(doors, job, start, connection, &draft).await,
        None => {
            connection.leave().await;
            Came::Postponed
        }
    }
}

/// Somebody else began it and is gone, or this node did before it was restarted.
async fn abandoned(doors: &Doors, job: &Job) -> Came {
    tokio::time::sleep_until(job.owner_since + SUCCESSOR).await;
    count("unknown");
    let (outcome, attempts) = (EffectOutcome::Unknown, job.waiting.attempts);
    settle(doors, job, Outcome { outcome, attempts, status: None, start: None }).await
}

/// It was not sent, and will not be.
async fn never(doors: &Doors, job: &Job, start: Option<EffectStart>, why: &str) -> Came {
    let effect = job.waiting.effect.id;
    tracing::warn!(code = "mail-not-sent", %effect, why, "a mail is not sent");
    count("not_sent");
    let (attempts, status) = (job.waiting.attempts, job.waiting.status);
    let outcome = EffectOutcome::NotSent;
    settle(doors, job, Outcome { outcome, attempts, status, start }).await
}

/// It was certainly not sent this time.
async fn again(doors: &Doors, job: &Job, start: Option<EffectStart>, failed: &Failed) -> Came {
    let (attempts, status) = (job.waiting.attempts + 1, failed.code());
    let effect = job.waiting.effect.id;
    tracing::debug!(%effect, error = %failed, "a mail is not sent yet");
    if attempts == FAILING {
        tracing::warn!(code = "relay-failing", %effect, attempts, error = %failed, "a mail waits");
    }
    // Before it began, a no is about this node, and somebody may mend it.
    let is_final = start.is_some() && failed.is_final();
    if !is_final && job.has_time(attempts, None) {
        count("failed");
        return Came::Failed { status, after: None };
    }
    count("not_sent");
    let outcome = EffectOutcome::NotSent;
    settle(doors, job, Outcome { outcome, attempts, status, start }).await
}

fn count(result: &'static str) {
    counter!(names::MAIL_ATTEMPTS, "result" => result).increment(1);
}

/// Has it logged that this run begins it, if it has not; `None` if it may not, or not yet.
async fn start(doors: &Doors, job: &Job) -> Option<EffectStart> {
    let effect = &job.waiting.effect;
    if effect.started.is_some() {
        return effect.started;
    }
    let shard = doors.replica.shard_of(job.site())?;
    let epoch = shard.read().view().epoch;
    let start = EffectStart { owner: doors.node, run: doors.gateway.run, epoch };
    let command = Command::StartEffect { effect: effect.id, start };
    let answer = tell(doors, job.site(), command).await?;
    matches!(answer.outcome, Said::Done(_)).then_some(start)
}

/// Hands it over.
async fn send(
    doors: &Doors,
    job: &Job,
    start: EffectStart,
    mut connection: Connection,
    draft: &Draft,
) -> Came {
    if let Err(failed) = connection.offer(&draft.from, &draft.to, &draft.bytes).await {
        return again(doors, job, Some(start), &failed).await;
    }
    let asked = Instant::now();
    let confirmed = is_confirmed(doors, job, start).await;
    if !confirmed || asked.elapsed() >= FENCE {
        // Without the dot, the relay throws it away.
        drop(connection);
        return Came::Postponed;
    }
    let (attempts, start) = (job.waiting.attempts + 1, Some(start));
    let (outcome, status) = match connection.finish().await {
        Ended::Answered(reply) if reply.is_yes() => (EffectOutcome::Sent, Some(reply.code)),
        Ended::Answered(reply) if reply.is_later() && job.has_time(attempts, None) => {
            count("failed");
            return Came::Failed { status: Some(reply.code), after: None };
        }
        Ended::Answered(reply) => (EffectOutcome::NotSent, Some(reply.code)),
        Ended::Unknown(failed) => {
            tracing::warn!(
                effect = %job.waiting.effect.id, error = %failed,
                "nobody can know whether the relay took a mail"
            );
            (EffectOutcome::Unknown, None)
        }
    };
    count(match outcome {
        EffectOutcome::Sent => "sent",
        EffectOutcome::NotSent => "not_sent",
        EffectOutcome::Unknown => "unknown",
    });
    settle(doors, job, Outcome { outcome, attempts, status, start }).await
}

/// Whether the shard's leader, asked after this call began, agrees that the mail is this run's.
async fn is_confirmed(doors: &Doors, job: &Job, start: EffectStart) -> bool {
    let effect = &job.waiting.effect;
    let Some(shard) = doors.replica.shard_of(job.site()) else { return false };
    if doors.spine.read_index(shard.id, CONFIRM_MAX).await.is_err() {
        return false;
    }
    let shard = shard.read();
    let owns = is_owner(shard.view(), effect, doors.node);
    let found = shard.effect(job.site(), effect.id).filter(|_| shard.has(job.site()));
    owns && found.is_some_and(|effect| effect.started == Some(start))
}

async fn draft(doors: &Doors, job: &Job) -> Drafted {
    let effect = &job.waiting.effect;
    let (site, id) = (job.site(), effect.id);
    let EffectTarget::Mail { opened, after, .. } = effect.target else {
        return Drafted::Never("it is no mail");
    };
    let from = doors.replica.shard_of(site).and_then(|shard| {
        let view = shard.read().site_view(site);
        view.and_then(|view| view.settings.mail_from)
    });
    let Some(from) = from else { return Drafted::Never("the site's settings have no mail_from") };
    let mut events = Vec::new();
    for sequence in [opened, effect.sequence] {
        match read(doors, site, id, sequence).await {
            Read::Event(event) => events.push(*event),
            Read::Later => return Drafted::Later,
            Read::Forgotten => return Drafted::Never("retention has dropped what it says"),
        }
    }
    let written = write(id, after, from, &events);
    written.map_or(Drafted::Never("what it says is under a key"), |draft| {
        Drafted::Mail(Box::new(draft))
    })
}

/// The mail, of the event that opened the conversation and the one that has its words; `None` if
/// either cannot be read.
fn write(
    id: EffectId,
    after: Option<EffectId>,
    from: MailAddress,
    events: &[EventRecord],
) -> Option<Draft> {
    let [opened, posted] = events else { return None };
    let Event::Opened { mail: Some(party), .. } = &opened.event else { return None };
    let Event::Posted { body, .. } = &posted.event else { return None };
    let to = MailAddress::new(party.address.text()?).ok()?;
    let own = |id: EffectId| format!("<{id}@{}>", from.domain());
    let first = party.message_id.as_ref().and_then(Sealed::text).map(str::to_owned);
    let mail = Mail {
        from: &from,
        to: &to,
        subject: party.subject.text()?,
        id: own(id),
        references: first.into_iter().chain(after.map(own)).collect(),
        date: posted.wall,
        text: body.text.text()?,
    };
    let bytes = mail.bytes();
    Some(Draft { from, to, bytes })
}
