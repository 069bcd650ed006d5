//! What a session asks for, put into the log one command at a time.
//!
//! The numbers of a session's commands are dense, so the next one is proposed when the one before
//! has its answer, and the first one when the log knows of the socket. Everything is given to the
//! distributor, which refuses what the session's subject may not do: a number that never reached
//! the log would leave a hole that no later one can pass.

use rotary_proto::frame::{CommandReply, CommandResult, Retry, ServerFrame};
use rotary_proto::outcome::Position;
use rotary_proto::{Command, Envelope, Origin, SiteId};
use tokio::sync::mpsc;

use crate::gateway::doors::Doors;
use crate::gateway::problem::Problem;
use crate::gateway::session::End;
use crate::gateway::session::handshake::Attached;
use crate::gateway::session::socket::Outbox;
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
    let Numbered { site, number, acknowledged, command, .. } = numbered;
    let place = attached.places.iter().find(|place| place.site == site).ok_or_else(|| {
        End::new(
            "protocol",
            Retry::Never,
            format!("this session does not read {site}; start one with a cursor of that site"),
        )
    })?;
    if matches!(command, Command::Attach { .. } | Command::Detach { .. }) {
        let detail = "sessions are attached and detached by gateways alone";
        return Err(End::never("protocol", detail));
    }
    let session = attached.served.session;
    let origin = Origin::Session { session, sequence: number, acknowledged };
    let envelope = Envelope { site, origin, actor: attached.actor, command };
    let answer = doors.submit(place.shard, envelope).await;
    Ok(match answer {
        Ok(answer) => CommandResult {
            site,
            number,
            repeated: answer.repeated,
            position: Some(Position { shard: place.shard, index: answer.index }),
            result: CommandReply::Outcome(answer.outcome),
        },
        Err(error) => {
            let (repeated, position) = (false, None);
            CommandResult { site, number, repeated, position, result: reply(error) }
        }
    })
}

fn reply(error: SpineError) -> CommandReply {
    if let SpineError::Unknown(detail) = error {
        return CommandReply::Unknown { detail };
    }
    let Problem { code, detail, retry_after_ms, .. } = Problem::from(error);
    let after_ms = retry_after_ms.unwrap_or(0);
    CommandReply::NotApplied { code: code.to_owned(), detail, after_ms }
}
