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
use crate::gateway::session::pulse::Beat;
use crate::gateway::session::{End, farewell, reader};
use crate::gateway::token::{ResumeClaims, Role};
use crate::replica::ShardReplica;
use crate::telemetry::trace;

/// Frames of one request: as many as a session may have commands without results.
const FRAMES_MAX: usize = SESSION_WINDOW_COMMANDS_MAX;
/// How long a command waits for its session to have a connection that the log knows of.
const RETURN_PATIENCE: Duration = Duration::from_secs(2);
/// Pause before it is looked again, twice as long each time: every look may ask every other node.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The longest pause.
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(320);

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
    let heard = post.hear(&frames).await;
    let mut answers = Vec::new();
    let mut failed = None;
    for frame in frames {
        match frame {
            ClientFrame::Cmd { site, number, acknowledged, command, traceparent } => {
                let command = *command;
                let asked = Numbered { site, number, acknowledged, command, traceparent };
                let result = post.execute(asked, failed.as_ref(), heard).await?;
                if !matches!(result.result, CommandReply::Outcome(_)) {
                    failed.get_or_insert_with(|| result.result.clone());
                }
                answers.push(ServerFrame::Result(result));
            }
            ClientFrame::Signal { conversation, signal } => {
                let subject = claims.holder.subject();
                let reads = claims.sites.contains(&conversation.site);
                if let Some(subject) = subject.filter(|_| reads) {
                    reader::tell(&doors, subject, conversation, signal);
                }
            }
            ClientFrame::Ping { t } => match heard {
                Some(Beat { seq, .. }) => answers.push(ServerFrame::Pong { t, seq }),
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
        if claims.holder.role == Role::Board && matches!(frame, ClientFrame::Cmd { .. }) {
            return Err(protocol(reader::ONLY_LOOKS));
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
    /// Lets the node that has the connection know that the client lives. Who asks for something
    /// waits for what that node says.
    async fn hear(&self, frames: &[ClientFrame]) -> Option<Beat> {
        let asks = |frame: &ClientFrame| {
            matches!(frame, ClientFrame::Ping { .. } | ClientFrame::Cmd { .. })
        };
        if frames.iter().any(asks) {
            return self.ask_around().await;
        }
        let (doors, claims) = (self.doors.clone(), self.claims.clone());
        tokio::spawn(async move { Post { doors: &doors, claims: &claims }.ask_around().await });
        None
    }

    /// Who has the connection.
    async fn ask_around(&self) -> Option<Beat> {
        let (doors, session) = (self.doors, self.claims.session);
        if let Some(heard) = doors.sessions.hear(session) {
            return Some(heard);
        }
        let attached = self.views().next().map(|(_, view)| view.gateway.node);
        doors.hints.hear(session, attached).await
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
        heard: Option<Beat>,
    ) -> Result<CommandResult, Problem> {
        let Numbered { site, number, .. } = asked;
        if let Some(before) = failed {
            let (code, after_ms) = match before {
                CommandReply::NotApplied { code, after_ms, .. } if !before.is_about_command() => {
                    (code.clone(), *after_ms)
                }
                _ => ("unavailable".to_owned(), 0),
            };
            let detail = "not tried: a command before it was not applied".to_owned();
            let result = CommandReply::NotApplied { code, detail, after_ms };
            return Ok(CommandResult { site, number, repeated: false, position: None, result });
        }
        let actor = self.claims.holder.actor().ok_or_else(nobody)?;
        let shard = self.doors.shard_of(site).await?;
        if !self.may_execute(&shard, (site, number), heard).await {
            let detail = "the session has lost its connection; resume it first".to_owned();
            let (code, after_ms) = ("behind".to_owned(), 0);
            let result = CommandReply::NotApplied { code, detail, after_ms };
            return Ok(CommandResult { site, number, repeated: false, position: None, result });
        }
        let caller = asked.traceparent.clone();
        let asked = commands::submit(self.doors, self.claims.session, actor, asked);
        Ok(trace::within(caller.as_deref(), asked).await)
    }

    /// Waits, not for long, until the node that has the connection says that the log knows of it:
    /// until then, what is asked for might be refused for good because nobody seems to be there.
    /// What was done before is answered at any time, and so is whose session is over.
    async fn may_execute(
        &self,
        shard: &ShardReplica,
        (site, number): (SiteId, u64),
        mut heard: Option<Beat>,
    ) -> bool {
        let (session, deadline) = (self.claims.session, Instant::now() + RETURN_PATIENCE);
        let mut pause = LOOK_AGAIN;
        loop {
            let (view, done) = {
                let shard = shard.read();
                let done = shard.session_answers(site, session).any(|(done, _)| done == number);
                (shard.session_view(site, session), done)
            };
            let over = view.is_some_and(|view| view.link == Link::None);
            if done || over || heard.is_some_and(|heard| heard.told) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_AGAIN_MAX);
            heard = self.ask_around().await;
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
        if self.claims.holder.role == Role::Board {
            // The log knows nothing of it; its client closes the stream.
            return Ok(End::good_bye());
        }
        let actor = self.claims.holder.actor().ok_or_else(nobody)?;
        for site in &self.claims.sites {
            self.doors.shard_of(*site).await?;
            farewell::end(self.doors, *site, self.claims.session, actor).await?;
        }
        Ok(End::good_bye())
    }
}
