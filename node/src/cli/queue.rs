//! `rotary queue`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use rotary_client::Method;
use rotary_proto::{QueueId, SiteId};
use serde_json::Value;

use crate::cli::Remote;
use crate::cli::client::{CliError, change, document, read_value, said};
use crate::cli::output::{Table, cell, fields, rows, seconds, show};

/// `rotary queue`.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Lists the queues of a site.
    #[command(visible_alias = "list")]
    Ls {
        /// Which site, e.g. st_1.1.
        #[arg(long)]
        site: SiteId,
        #[command(flatten)]
        remote: Remote,
    },
    /// Shows a queue's plan and what is in it.
    Show {
        /// Which one, e.g. qu_1.
        queue: QueueId,
        /// Its site.
        #[arg(long)]
        site: SiteId,
        #[command(flatten)]
        remote: Remote,
    },
    /// Makes a queue, or gives it another plan, whole.
    #[command(visible_alias = "create")]
    Put {
        /// Which one.
        queue: QueueId,
        /// Its site.
        #[arg(long)]
        site: SiteId,
        /// Its plan, JSON or TOML (by the name's end); - is standard input.
        #[arg(short, long)]
        file: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
    /// Gives a queue a bot, or takes it away.
    Bot {
        /// Which one.
        queue: QueueId,
        /// Its site.
        #[arg(long)]
        site: SiteId,
        /// Its plan and secret, as in docs/api/bots.md; - is standard input.
        #[arg(short, long)]
        file: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
}

/// `rotary queue`
pub(crate) async fn command(command: QueueCommand) -> Result<(), CliError> {
    match command {
        QueueCommand::Ls { site, remote } => {
            let queues = read_value(&remote, &format!("/v1/sites/{site}/queues")).await?;
            show(remote.output, &queues, table);
            Ok(())
        }
        QueueCommand::Show { queue, site, remote } => {
            let view = read_value(&remote, &format!("/v1/sites/{site}/queues/{queue}")).await?;
            show(remote.output, &view, fields);
            Ok(())
        }
        QueueCommand::Put { queue, site, file, remote } => {
            let path = format!("/v1/sites/{site}/queues/{queue}");
            put(&remote, &path, &file, &queue.to_string()).await
        }
        QueueCommand::Bot { queue, site, file, remote } => {
            let path = format!("/v1/sites/{site}/queues/{queue}/bot");
            put(&remote, &path, &file, &format!("bot of {queue}")).await
        }
    }
}

/// Puts what a file has, and says which version of `what` it became.
async fn put(remote: &Remote, path: &str, file: &Path, what: &str) -> Result<(), CliError> {
    let answer = change(remote, Method::PUT, path, &document(file)?).await?;
    said(remote, &answer, &format!("{what}: version {}", cell(&answer["version"])));
    Ok(())
}

/// Queues at a glance.
pub(crate) fn table(queues: &Value) -> Table {
    let mut table =
        Table::new(["QUEUE", "NAME", "WAITING", "OFFERED", "ASSIGNED", "WRAP-UP", "OLDEST"]);
    for queue in rows(&queues["data"]) {
        let of = |key: &str| cell(&queue[key]);
        let (name, oldest) = (cell(&queue["plan"]["name"]), seconds(&queue["oldest_wait_ms"]));
        let counts = [of("waiting"), of("offered"), of("assigned"), of("wrap_up")];
        let [waiting, offered, assigned, wrap_up] = counts;
        table.row([of("queue"), name, waiting, offered, assigned, wrap_up, oldest]);
    }
    table
}
