//! What a session asks for, put into the log one command at a time.
//!
//! The numbers of a session's commands are dense, so the next one is proposed when the one before
//! has its answer, and the first one when the log knows of the socket. Everything is given to the
//! distributor, which refuses what the session's subject may not do: a number that never reached
//! the log would leave a hole that no later one can pass.

use rotary_proto::frame::{CommandReply, CommandResult, ServerFrame};
use rotary_proto::outcome::Position;
use rotary_proto::{Actor, Command, Envelope, Origin, SessionId, SiteId};
use tokio::sync::mpsc;

use crate::gateway::doors::{Doors, Placed};
use crate::gateway::problem::Problem;
use crate::gateway::session::End;
use crate::gateway::session::handshake::Attached;
use crate::gateway::session::serving::Outbox;
use crate::spine::SpineError;
use crate::telemetry::trace;

/// A command on its way from the reader.
pub(crate) struct Numbered {
    pub(crate) site: SiteId,
    pub(crate) number: u64,
    pub(crate) acknowledged: u64,
    pub(crate) command: Command,
    /// The client's own span (W3C Trace Context).
    pub(crate) traceparent: Option<String>,
}

/// Answers commands until the socket ends.
pub(crate) async fn run(
    doors: &Doors,
    attached: &Attached,
    mut queue: mpsc::Receiver<Numbered>,
    out: &Outbox,
) -> End {
    if let Err(end) = attached.telling.done().await {
        return end;
    }
    while let Some(numbered) = queue.recv().await {
        let caller = numbered.traceparent.clone();
        let done = trace::within(caller.as_deref(), execute(doors, attached, numbered)).await;
        let result = match done {
            Ok(result) => result,
            Err(end) => return end,
        };
        if out.send(&ServerFrame::Result(result)).await.is_err() {
            return End::gone();
        }
    }
    End::gone()
}

async fn execute(
    doors: &Doors,
    attached: &Attached,
    numbered: Numbered,
) -> Result<CommandResult, End> {
    let site = numbered.site;
    if !attached.places.iter().any(|place| place.site == site) {
        return Err(End::never("protocol", not_read(site)));
    }
    if is_gateways_own(&numbered.command) {
        return Err(End::never("protocol", GATEWAYS_OWN));
    }
    let session = attached.served.session;
    Ok(submit(doors, session, attached.actor, numbered).await)
}

/// Why a session's client may not ask for that.
pub(super) const GATEWAYS_OWN: &str = "sessions are attached and detached by gateways alone";

/// Whether gateways alone ask for that.
pub(super) const fn is_gateways_own(command: &Command) -> bool {
    matches!(command, Command::Attach { .. } | Command::Detach { .. })
}

/// Why a session's client may not ask anything of a site.
pub(super) fn not_read(site: SiteId) -> String {
    format!("this session does not read {site}; start one with a cursor of that site")
}

/// Puts a command of a session into a shard's log, under its number.
pub(super) async fn submit(
    doors: &Doors,
    session: SessionId,
    actor: Actor,
    numbered: Numbered,
) -> CommandResult {
    let Numbered { site, number, acknowledged, command, .. } = numbered;
    let origin = Origin::Session { session, sequence: number, acknowledged };
    match doors.submit(Envelope { site, origin, actor, command }).await {
        Ok(Placed { shard, answer }) => CommandResult {
            site,
            number,
            repeated: answer.repeated,
            position: Some(Position { shard, index: answer.index }),
            result: CommandReply::Outcome(answer.outcome),
        },
        Err(error) => {
            let (repeated, position) = (false, None);
            CommandResult { site, number, repeated, position, result: reply(error) }
        }
    }
}

fn reply(error: SpineError) -> CommandReply {
    if let SpineError::Unknown(detail) = error {
        return CommandReply::Unknown { detail };
    }
    let Problem { code, detail, retry_after_ms, .. } = Problem::from(error);
    let after_ms = retry_after_ms.unwrap_or(0);
    CommandReply::NotApplied { code: code.to_owned(), detail, after_ms }
}
