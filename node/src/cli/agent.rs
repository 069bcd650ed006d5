//! `rotary agent`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use rotary_client::Method;
use rotary_proto::{AgentId, ReasonId, SiteId};
use serde_json::{Value, json};

use crate::cli::Remote;
use crate::cli::client::{CliError, Listing, change, document, list, read_value, said};
use crate::cli::output::{Table, cell, fields, rows, show, variant};

/// `rotary agent`.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Lists the agents of a site.
    #[command(visible_alias = "list")]
    Ls {
        /// Which site, e.g. st_1.1.
        #[arg(long)]
        site: SiteId,
        /// Those who declared this only.
        #[arg(long, value_enum)]
        state: Option<State>,
        #[command(flatten)]
        listing: Listing,
        #[command(flatten)]
        remote: Remote,
    },
    /// Shows what an agent declared and holds.
    Show {
        /// Which one, e.g. ag_7.
        agent: AgentId,
        /// Their site.
        #[arg(long)]
        site: SiteId,
        #[command(flatten)]
        remote: Remote,
    },
    /// Makes an agent, or gives them another profile, whole.
    #[command(visible_alias = "create")]
    Put {
        /// Which one.
        agent: AgentId,
        /// Their site.
        #[arg(long)]
        site: SiteId,
        /// Their profile, JSON or TOML (by the name's end); - is standard input. The name may be a
        /// plain text.
        #[arg(short, long)]
        file: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
    /// Declares a state for an agent.
    SetState {
        /// Which one.
        agent: AgentId,
        /// What they are to be.
        #[arg(value_enum)]
        state: State,
        /// Why they are not ready, e.g. rs_1.
        #[arg(long, required_if_eq("state", "not-ready"))]
        reason: Option<ReasonId>,
        /// Their site.
        #[arg(long)]
        site: SiteId,
        #[command(flatten)]
        remote: Remote,
    },
}

/// What an agent can declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// Wants conversations.
    Ready,
    /// At work, and wants none for the present.
    NotReady,
    /// Not at work.
    SignedOut,
}

impl State {
    /// As the API says it.
    fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not_ready",
            Self::SignedOut => "signed_out",
        }
    }
}

/// `rotary agent`
pub(crate) async fn command(command: AgentCommand) -> Result<(), CliError> {
    match command {
        AgentCommand::Ls { site, state, listing, remote } => {
            let path = format!("/v1/sites/{site}/agents");
            let wanted = |agent: &Value| {
                state.is_none_or(|state| variant(&agent["declared"]).0 == state.word())
            };
            let agents = list(&remote, &path, &[], &listing, wanted).await?;
            show(remote.output, &agents, table);
            Ok(())
        }
        AgentCommand::Show { agent, site, remote } => {
            let view = read_value(&remote, &format!("/v1/sites/{site}/agents/{agent}")).await?;
            show(remote.output, &view, fields);
            Ok(())
        }
        AgentCommand::Put { agent, site, file, remote } => {
            let path = format!("/v1/sites/{site}/agents/{agent}");
            let answer = change(&remote, Method::PUT, &path, &profile(document(&file)?)).await?;
            said(&remote, &answer, &format!("{agent}: version {}", cell(&answer["version"])));
            Ok(())
        }
        AgentCommand::SetState { agent, state, reason, site, remote } => {
            let declared = match state {
                State::NotReady => json!({"not_ready": {"reason": reason}}),
                state => json!(state.word()),
            };
            let path = format!("/v1/sites/{site}/agents/{agent}/state");
            let body = json!({"declared": declared});
            let answer = change(&remote, Method::PUT, &path, &body).await?;
            said(&remote, &answer, &format!("{agent}: done"));
            Ok(())
        }
    }
}

/// A profile as the API takes it: a name that is a plain text is not sealed.
fn profile(mut document: Value) -> Value {
    if document["name"].is_string() {
        document["name"] = json!({"text": document["name"]});
    }
    document
}

fn table(agents: &Value) -> Table {
    let mut table = Table::new(["AGENT", "STATE", "REASON", "SESSION", "ROUTABLE", "HOLDS"]);
    for agent in rows(&agents["data"]) {
        let of = |key: &str| cell(&agent[key]);
        let (state, more) = variant(&agent["declared"]);
        let holds = rows(&agent["conversations"]).len().to_string();
        let reason = cell(&more["reason"]);
        let state = state.replace('_', "-");
        table.row([of("agent"), state, reason, of("link"), of("routable"), holds]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_shown_with_its_reason() {
        let agents = json!({"data": [
            {"agent": "ag_1", "declared": "ready", "link": "up", "routable": true,
             "conversations": ["cv_1"]},
            {"agent": "ag_2", "declared": {"not_ready": {"reason": "rs_1"}}, "link": "lost",
             "routable": false, "conversations": []},
        ]});
        let expected = "\
AGENT  STATE      REASON  SESSION  ROUTABLE  HOLDS
ag_1   ready      -       up       true      1
ag_2   not-ready  rs_1    lost     false     0
";
        assert_eq!(table(&agents).to_string(), expected);
    }
}
