//! `rotary conversation`.

use clap::{Args, Subcommand};
use rotary_client::Method;
use rotary_proto::{AgentId, ConversationId, CustomerId, QueueId, SiteId};
use serde_json::{Value, json};

use crate::cli::Remote;
use crate::cli::client::{CliError, Listing, change, list, read_value, said};
use crate::cli::output::{Table, cell, fields, moment, rows, seconds, show, variant};

/// `rotary conversation`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConversationCommand {
    /// Lists the live conversations of a site, or those that are over.
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Shows where it is in its life.
    Show {
        /// Which one.
        id: ConversationId,
        #[command(flatten)]
        remote: Remote,
    },
    /// Tells its story, event by event.
    Trace {
        /// Which one.
        id: ConversationId,
        #[command(flatten)]
        remote: Remote,
    },
    /// Puts it back into its queue, or into another one.
    Requeue {
        /// Which one.
        id: ConversationId,
        /// Where to.
        #[arg(long)]
        queue: Option<QueueId>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Ends self-service: agents take over from the bot.
    HandOver {
        /// Which one.
        id: ConversationId,
        /// Where to.
        #[arg(long)]
        queue: Option<QueueId>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Ends it for the agent, who goes to wrap-up.
    Close {
        /// Which one.
        id: ConversationId,
        #[command(flatten)]
        remote: Remote,
    },
    /// Ends it for the customer.
    Abandon {
        /// Which one.
        id: ConversationId,
        #[command(flatten)]
        remote: Remote,
    },
}

/// `rotary conversation ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Which site, e.g. st_1.1.
    #[arg(long)]
    site: SiteId,
    /// Those that are over, instead of the live ones.
    #[arg(long)]
    closed: bool,
    /// Those that were in this queue only.
    #[arg(long, requires = "closed")]
    queue: Option<QueueId>,
    /// Those that this agent served only.
    #[arg(long, requires = "closed")]
    agent: Option<AgentId>,
    /// Those of this customer only.
    #[arg(long, requires = "closed")]
    customer: Option<CustomerId>,
    /// Closed at or after this, in milliseconds since 1970.
    #[arg(long, requires = "closed")]
    from: Option<u64>,
    /// Closed before this, in milliseconds since 1970.
    #[arg(long, requires = "closed")]
    to: Option<u64>,
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    remote: Remote,
}

/// `rotary conversation`
pub(crate) async fn command(command: ConversationCommand) -> Result<(), CliError> {
    match command {
        ConversationCommand::Ls(args) => ls(&args).await,
        ConversationCommand::Show { id, remote } => {
            let view = read_value(&remote, &format!("/v1/conversations/{id}")).await?;
            show(remote.output, &view, fields);
            Ok(())
        }
        ConversationCommand::Trace { id, remote } => {
            let story = read_value(&remote, &format!("/v1/conversations/{id}/trace")).await?;
            show(remote.output, &story, story_table);
            Ok(())
        }
        ConversationCommand::Requeue { id, queue, remote } => {
            let body = queue.map_or_else(|| json!({}), |queue| json!({"queue": queue}));
            act(&remote, id, "requeue", &body).await
        }
        ConversationCommand::HandOver { id, queue, remote } => {
            let body = queue.map_or_else(|| json!({}), |queue| json!({"queue": queue}));
            act(&remote, id, "hand-over", &body).await
        }
        ConversationCommand::Close { id, remote } => act(&remote, id, "close", &json!({})).await,
        ConversationCommand::Abandon { id, remote } => {
            act(&remote, id, "abandon", &json!({})).await
        }
    }
}

async fn act(
    remote: &Remote,
    id: ConversationId,
    verb: &str,
    body: &Value,
) -> Result<(), CliError> {
    let path = format!("/v1/conversations/{id}/{verb}");
    let answer = change(remote, Method::POST, &path, body).await?;
    said(remote, &answer, &format!("{id}: done"));
    Ok(())
}

async fn ls(args: &LsArgs) -> Result<(), CliError> {
    let LsArgs { site, closed, queue, agent, customer, from, to, listing, remote } = args;
    let path = match closed {
        true => "/v1/conversations".to_owned(),
        false => format!("/v1/sites/{site}/conversations"),
    };
    let given = [
        ("site", closed.then(|| site.to_string())),
        ("queue", queue.map(|queue| queue.to_string())),
        ("agent", agent.map(|agent| agent.to_string())),
        ("customer", customer.map(|customer| customer.to_string())),
        ("from", from.map(|from| from.to_string())),
        ("to", to.map(|to| to.to_string())),
    ];
    let asked: Vec<(&str, String)> =
        given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let found = list(remote, &path, &asked, listing, |_| true).await?;
    show(remote.output, &found, if *closed { closed_table } else { live_table });
    Ok(())
}

fn live_table(found: &Value) -> Table {
    let heads = ["CONVERSATION", "STAGE", "AGENT", "QUEUE", "CHANNEL", "WAITED", "ITEMS"];
    let mut table = Table::new(heads);
    for row in rows(&found["data"]) {
        let of = |key: &str| cell(&row[key]);
        let (stage, more) = variant(&row["stage"]);
        let (stage, agent) = (stage.replace('_', "-"), cell(&more["agent"]));
        let waited = seconds(&row["waited_ms"]);
        let (id, queue, channel) = (of("conversation"), of("queue"), of("channel"));
        table.row([id, stage, agent, queue, channel, waited, of("items")]);
    }
    table
}

fn closed_table(found: &Value) -> Table {
    let mut table = Table::new(["CONVERSATION", "CLOSED", "CUSTOMER", "LEGS", "WAITED", "ITEMS"]);
    for row in rows(&found["data"]) {
        let of = |key: &str| cell(&row[key]);
        let (closed, waited) = (moment(&row["closed"]), seconds(&row["waited_ms"]));
        table.row([of("conversation"), closed, of("customer"), of("legs"), waited, of("items")]);
    }
    table
}

fn story_table(story: &Value) -> Table {
    let events = rows(&story["data"]);
    let begin = events.first().and_then(|first| first["stamp"].as_u64()).unwrap_or(0);
    let mut table = Table::new(["AFTER", "INDEX", "EVENT", "WHAT"]);
    for record in events {
        let stamp = record["stamp"].as_u64().unwrap_or(begin);
        let after_s = stamp.saturating_sub(begin) as f64 / 1e6;
        let (name, what) = told(&record["event"]);
        table.row([format!("{after_s:.3} s"), cell(&record["index"]), name, what]);
    }
    table
}

/// An event's name, and what it says beside the conversation's id and people's words.
fn told(event: &Value) -> (String, String) {
    let (name, fields) = variant(event);
    let silent = ["conversation", "body", "note", "attributes"];
    let said = fields.as_object().into_iter().flatten();
    let said = said.filter(|(key, value)| !silent.contains(&key.as_str()) && !value.is_null());
    let said: Vec<String> = said.map(|(key, value)| format!("{key}={}", cell(value))).collect();
    (name, said.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_shows_decisions_and_no_words() {
        let posted = json!({"posted": {"conversation": "cv_1", "ordinal": 1, "body": "secret"}});
        assert_eq!(told(&posted), ("posted".to_owned(), "ordinal=1".to_owned()));
    }

    #[test]
    fn a_list_says_who_has_it_and_how_long_it_waited() {
        let stage = json!({"offered": {"offer": 1, "agent": "ag_7", "remaining_ms": 5}});
        let found = json!({"data": [
            {"conversation": "cv_1", "stage": stage, "queue": "qu_1", "channel": "chat",
             "waited_ms": 1_540, "items": 2},
        ]});
        let expected = "\
CONVERSATION  STAGE    AGENT  QUEUE  CHANNEL  WAITED  ITEMS
cv_1          offered  ag_7   qu_1   chat     1.5 s   2
";
        assert_eq!(live_table(&found).to_string(), expected);
    }
}
