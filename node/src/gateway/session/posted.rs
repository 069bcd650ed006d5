//! What a session's client says in requests of its own: `POST /v1/session/frames`, on any node.
//!
//! The resume token says which session it is. Frames are dealt with in their order, commands under
//! the numbers that make them happen once, wherever the session's connection is. That the client
//! was heard is told to the node that has the connection, and a ping is answered with what that
//! node says: whoever hears that nobody has it resumes.

use std::time::Duration;

use axum::Json as AxumJson;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use rotary_proto::SiteId;
use rotary_proto::frame::{ClientFrame, CommandReply, CommandResult, ServerFrame};
use rotary_proto::limits::SESSION_WINDOW_COMMANDS_MAX;
use rotary_proto::query::{Link, SessionView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::gateway::doors::Doors;
use crate::gateway::extract::{Json, bearer};
use crate::gateway::identity::expect_unrevoked;
use crate::gateway::min_index;
use crate::gateway::problem::Problem;
use crate::gateway::session::commands::{self, Numbered};
use crate::gateway::session::{End, farewell, reader};
use crate::gateway::token::ResumeClaims;
use crate::replica::ShardReplica;
use crate::telemetry::trace;

/// Frames of one request: as many as a session may have commands without results.
const FRAMES_MAX: usize = SESSION_WINDOW_COMMANDS_MAX;
/// How long a command waits for its session to come back.
const RETURN_PATIENCE: Duration = Duration::from_secs(2);
/// Pause before it is looked again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Whose session it is, by its resume token.
pub(crate) struct Holder(ResumeClaims);

impl FromRequestParts<Doors> for Holder {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, doors: &Doors) -> Result<Self, Problem> {
        let claims = doors.tokens.check_resume(bearer(&parts.headers)?)?;
        expect_unrevoked(doors, &claims.holder)?;
        min_index::reach(doors, &parts.headers).await?;
        Ok(Self(claims))
    }
}

/// What a client says.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Posted {
    /// At most 64, dealt with in this order: `cmd`, `signal`, `ack`, `ping` and `bye`.
    frames: Vec<ClientFrame>,
}

/// What a client is answered.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Answered {
    /// A `result` for each command, a `pong` for each ping, and a `bye` where the session is not
    /// to go on as it is.
    frames: Vec<ServerFrame>,
}

/// `POST /v1/session/frames`
pub(crate) async fn post(
    State(doors): State<Doors>,
    Holder(claims): Holder,
    Json(Posted { frames }): Json<Posted>,
) -> Result<AxumJson<Answered>, Problem> {
    check(&claims, &frames)?;
    let post = Post { doors: &doors, claims: &claims };
    let seq = post.hear(&frames).await;
    let mut answers = Vec::new();
    let mut failed = None;
    for frame in frames {
        match frame {
            ClientFrame::Cmd { site, number, acknowledged, command, traceparent } => {
                let command = *command;
                let asked = Numbered { site, number, acknowledged, command, traceparent };
                let result = post.execute(asked, failed.as_ref()).await?;
                if !matches!(result.result, CommandReply::Outcome(_)) {
                    failed.get_or_insert_with(|| result.result.clone());
                }
                answers.push(ServerFrame::Result(result));
            }
            ClientFrame::Signal { conversation, signal } => {
                let subject = claims.holder.subject().ok_or_else(nobody)?;
                if claims.sites.contains(&conversation.site) {
                    reader::tell(&doors, subject, conversation, signal);
                }
            }
            ClientFrame::Ping { t } => match seq {
                Some(seq) => answers.push(ServerFrame::Pong { t, seq }),
                None => {
                    answers.push(post.unserved().frame());
                    break;
                }
            },
            ClientFrame::Bye {} => {
                answers.push(post.end().await?.frame());
                break;
            }
            ClientFrame::Ack { .. } | ClientFrame::Start { .. } | ClientFrame::Resume { .. } => {}
        }
    }
    Ok(AxumJson(Answered { frames: answers }))
}

/// Makes sure that every frame may be said here, so that none is dealt with if one may not.
fn check(claims: &ResumeClaims, frames: &[ClientFrame]) -> Result<(), Problem> {
    if frames.is_empty() || frames.len() > FRAMES_MAX {
        return Err(Problem::bad_value(format!("frames: 1 to {FRAMES_MAX} of them")));
    }
    for frame in frames {
        match frame {
            ClientFrame::Start { .. } | ClientFrame::Resume { .. } => {
                return Err(protocol("a session is begun and resumed at POST /v1/session/stream"));
            }
            ClientFrame::Cmd { site, command, .. } => {
                if !claims.sites.contains(site) {
                    return Err(protocol(&commands::not_read(*site)));
                }
                if commands::is_gateways_own(command) {
                    return Err(protocol(commands::GATEWAYS_OWN));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn protocol(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "protocol", detail)
}

fn nobody() -> Problem {
    Problem::not_allowed("who are you?")
}

/// A request of a session.
struct Post<'a> {
    doors: &'a Doors,
    claims: &'a ResumeClaims,
}

impl Post<'_> {
    /// Lets the node that has the connection know that the client lives. Only a ping waits for
    /// what it says: the number of the last event that it sent.
    async fn hear(&self, frames: &[ClientFrame]) -> Option<u64> {
        let (doors, session) = (self.doors, self.claims.session);
        if let Some(seq) = doors.sessions.hear(session) {
            return Some(seq);
        }
        let attached = self.views().next().map(|(_, view)| view.gateway.node);
        if frames.iter().any(|frame| matches!(frame, ClientFrame::Ping { .. })) {
            return doors.hints.hear(session, attached).await;
        }
        let doors = doors.clone();
        tokio::spawn(async move { doors.hints.hear(session, attached).await });
        None
    }

    /// What this node knows of the session, site by site.
    fn views(&self) -> impl Iterator<Item = (SiteId, SessionView)> {
        self.claims.sites.iter().filter_map(|site| {
            let shard = self.doors.replica.shard_of(*site)?;
            Some((*site, shard.read().session_view(*site, self.claims.session)?))
        })
    }

    /// Puts a command into the log, unless one before it was not put there.
    async fn execute(
        &self,
        asked: Numbered,
        failed: Option<&CommandReply>,
    ) -> Result<CommandResult, Problem> {
        let Numbered { site, number, .. } = asked;
        if let Some(before) = failed {
            let (code, after_ms) = match before {
                CommandReply::NotApplied { code, after_ms, .. } => (code.clone(), *after_ms),
                _ => ("unavailable".to_owned(), 0),
            };
            let detail = "not tried: a command before it was not applied".to_owned();
            let result = CommandReply::NotApplied { code, detail, after_ms };
            return Ok(CommandResult { site, number, repeated: false, position: None, result });
        }
        let actor = self.claims.holder.actor().ok_or_else(nobody)?;
        let shard = self.doors.shard_of(site).await?;
        if !self.may_execute(shard, site, number).await {
            let detail = "the session has lost its connection; resume it first".to_owned();
            let (code, after_ms) = ("behind".to_owned(), 0);
            let result = CommandReply::NotApplied { code, detail, after_ms };
            return Ok(CommandResult { site, number, repeated: false, position: None, result });
        }
        let caller = asked.traceparent.clone();
        let asked = commands::submit(self.doors, self.claims.session, actor, shard.id, asked);
        Ok(trace::within(caller.as_deref(), asked).await)
    }

    /// Waits, not for long, while the session has lost its connection: it may be coming back, and
    /// what it asks for would be refused for good until the log knows of that. What was done
    /// before is answered at any time.
    async fn may_execute(&self, shard: &ShardReplica, site: SiteId, number: u64) -> bool {
        let (session, deadline) = (self.claims.session, Instant::now() + RETURN_PATIENCE);
        loop {
            let lost = {
                let shard = shard.read();
                let view = shard.session_view(site, session);
                let lost = view.is_some_and(|view| view.link == Link::Lost);
                lost && !shard.session_answers(site, session).any(|(known, _)| known == number)
            };
            if !lost || Instant::now() >= deadline {
                return !lost;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Nobody has the connection of a session whose client lives.
    fn unserved(&self) -> End {
        let over = |(_, view): (SiteId, SessionView)| view.link == Link::None;
        if self.views().any(over) {
            return End::restart("session-ended", "the session is over; start a new one");
        }
        End::resume("behind", "no node serves this session; resume it")
    }

    /// Ends the session for good, everywhere.
    async fn end(&self) -> Result<End, Problem> {
        let actor = self.claims.holder.actor().ok_or_else(nobody)?;
        for site in &self.claims.sites {
            let shard = self.doors.shard_of(*site).await?.id;
            farewell::end(self.doors, shard, *site, self.claims.session, actor).await?;
        }
        Ok(End::good_bye())
    }
}
