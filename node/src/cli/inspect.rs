//! `rotary queue` and `rotary conversation`.

use rotary_proto::{ConversationId, SiteId};
use serde_json::Value;

use crate::cli::Remote;
use crate::cli::client::{CliError, read_value};
use crate::cli::output::{Table, cell, rows, show};

/// `rotary queue ls`
pub(crate) async fn queues(site: SiteId, remote: &Remote) -> Result<(), CliError> {
    let queues = read_value(remote, &format!("/v1/sites/{site}/queues")).await?;
    show(remote.output, &queues, |queues| {
        let mut table =
            Table::new(["QUEUE", "NAME", "WAITING", "OFFERED", "ASSIGNED", "WRAP-UP", "OLDEST"]);
        for queue in rows(&queues["data"]) {
            let of = |key: &str| cell(&queue[key]);
            let oldest_s = queue["oldest_wait_ms"].as_u64().unwrap_or(0) as f64 / 1_000.0;
            table.row([
                of("queue"),
                cell(&queue["plan"]["name"]),
                of("waiting"),
                of("offered"),
                of("assigned"),
                of("wrap_up"),
                format!("{oldest_s:.1} s"),
            ]);
        }
        table
    });
    Ok(())
}

/// `rotary conversation show`
pub(crate) async fn conversation(id: ConversationId, remote: &Remote) -> Result<(), CliError> {
    let view = read_value(remote, &format!("/v1/conversations/{id}")).await?;
    show(remote.output, &view, |view| {
        let mut table = Table::new(["FIELD", "VALUE"]);
        for (key, value) in view.as_object().into_iter().flatten() {
            table.row([key.clone(), cell(value)]);
        }
        table
    });
    Ok(())
}

/// `rotary conversation trace`
pub(crate) async fn trace(id: ConversationId, remote: &Remote) -> Result<(), CliError> {
    let story = read_value(remote, &format!("/v1/conversations/{id}/trace")).await?;
    show(remote.output, &story, |story| {
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
    });
    Ok(())
}

/// An event's name, and what it says beside the conversation's id and people's words.
fn told(event: &Value) -> (String, String) {
    let Some((name, fields)) = event.as_object().and_then(|event| event.iter().next()) else {
        return (cell(event), String::new());
    };
    let silent = ["conversation", "body", "note", "attributes"];
    let said = fields.as_object().into_iter().flatten();
    let said = said.filter(|(key, value)| !silent.contains(&key.as_str()) && !value.is_null());
    let said: Vec<String> = said.map(|(key, value)| format!("{key}={}", cell(value))).collect();
    (name.clone(), said.join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_trace_shows_decisions_and_no_words() {
        let posted = json!({"posted": {"conversation": "cv_1", "ordinal": 1, "body": "secret"}});
        assert_eq!(told(&posted), ("posted".to_owned(), "ordinal=1".to_owned()));
    }
}
