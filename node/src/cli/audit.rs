//! `rotary audit`: who did what to the cluster.

use std::time::Duration;

use clap::Args;
use rotary_proto::PrincipalId;
use serde_json::Value;

use crate::cli::Remote;
use crate::cli::client::{CliError, Listing, list};
use crate::cli::output::{Table, cell, moment, rows, show};
use crate::config::Keep;
use crate::gateway::token::unix_ms;

/// `rotary audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// What was done in that time: a number and one of s, min, h, d, w; or forever.
    #[arg(long, default_value = "1d", value_name = "TIME")]
    last: Keep,
    /// Only what that holder of a credential did, e.g. pr_3.
    #[arg(long)]
    principal: Option<PrincipalId>,
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    remote: Remote,
}

/// `rotary audit`
pub(crate) async fn audit(args: &AuditArgs) -> Result<(), CliError> {
    let mut asked = vec![("consistency", "linearizable".to_owned())];
    let back = args.last.0.unwrap_or(Duration::MAX).as_millis();
    let since = u128::from(unix_ms()).saturating_sub(back);
    asked.push(("since", since.to_string()));
    if let Some(principal) = args.principal {
        asked.push(("principal", principal.to_string()));
    }
    let found = list(&args.remote, "/v1/audit", &asked, &args.listing, |_| true).await?;
    show(args.remote.output, &found, table);
    Ok(())
}

fn table(found: &Value) -> Table {
    let heads = ["NUMBER", "WHEN", "WHO", "WITH", "FROM", "ACTION", "OF", "OUTCOME"];
    let mut table = Table::new(heads);
    for record in rows(&found["data"]) {
        let of = |key: &str| cell(&record[key]);
        let [number, who, with] = ["number", "principal", "credential"].map(of);
        let [from, action, target, outcome] = ["address", "action", "target", "outcome"].map(of);
        table.row([number, moment(&record["wall"]), who, with, from, action, target, outcome]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_a_row() {
        let record = json!({"number": 7, "wall": 1_795_392_000_000_u64, "principal": "pr_1",
            "credential": "us_1", "tenant": null, "address": "127.0.0.1", "node": "nd_1",
            "action": "drain_node", "target": "nd_3", "outcome": "done"});
        let text = table(&json!({"data": [record]})).to_string();
        let line = text.lines().nth(1).expect("a row");
        assert!(line.starts_with("7") && line.contains("pr_1"), "{text}");
        assert!(line.ends_with("drain_node  nd_3  done"), "{text}");
    }
}
