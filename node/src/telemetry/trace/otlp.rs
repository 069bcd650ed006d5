//! Spans on their way to a collector: OTLP/HTTP in its JSON encoding.

use std::time::Duration;

use metrics::counter;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url, redirect};
use rotary_proto::NodeId;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Link, Span};
use crate::telemetry::names;

/// Spans that one message has at most.
const BATCH_MAX: usize = 512;
/// How long spans are gathered.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a failure goes on before it is said again.
const SAY_AGAIN: u32 = 120;

/// Begins to send what comes to a collector.
///
/// # Errors
/// A text that names the key to correct.
pub(super) fn start(base: &str, node: NodeId, waiting: mpsc::Receiver<Span>) -> Result<(), String> {
    let wrong = |what: &str| format!("telemetry.otlp {base:?}: {what}");
    let url = format!("{}/v1/traces", base.trim_end_matches('/'));
    let url: Url = url.parse().map_err(|_| wrong("an address like http://127.0.0.1:4318"))?;
    if !["http", "https"].contains(&url.scheme()) || url.host().is_none() {
        return Err(wrong("an address that begins with http:// or https://"));
    }
    let client = Client::builder().timeout(PATIENCE).redirect(redirect::Policy::none()).build();
    let client = client.map_err(|error| wrong(&error.to_string()))?;
    tokio::spawn(run(client, url, node, waiting));
    Ok(())
}

async fn run(client: Client, url: Url, node: NodeId, mut waiting: mpsc::Receiver<Span>) {
    let mut failures = 0;
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let spans: Vec<Value> = batch.drain(..).map(span).collect();
        let count = spans.len() as u64;
        let body = message(node, spans).to_string();
        let request = client.post(url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        let sent = request.send().await.and_then(reqwest::Response::error_for_status);
        match sent {
            Ok(_) => {
                failures = 0;
                counter!(names::SPANS, "result" => "sent").increment(count);
            }
            Err(error) => {
                if failures % SAY_AGAIN == 0 {
                    tracing::warn!(%error, "the collector of traces takes none");
                }
                failures += 1;
                counter!(names::SPANS, "result" => "dropped").increment(count);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn message(node: NodeId, spans: Vec<Value>) -> Value {
    let resource = [
        ("service.name", "rotary".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", node.to_string()),
    ];
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource.map(attribute) },
        "scopeSpans": [{ "scope": { "name": "rotary" }, "spans": spans }],
    }] })
}

fn attribute((key, value): (&'static str, String)) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// A span in OTLP's JSON: ids in hexadecimal, long numbers as texts.
fn span(span: Span) -> Value {
    let Span { trace, id, parent, name, from_ns, to_ns, link, said } = span;
    let link = link.map(|Link { trace, span }| {
        json!({ "traceId": format!("{trace:032x}"), "spanId": format!("{span:016x}") })
    });
    json!({
        "traceId": format!("{trace:032x}"),
        "spanId": format!("{id:016x}"),
        "parentSpanId": parent.map_or(String::new(), |parent| format!("{parent:016x}")),
        "name": name,
        // Internal.
        "kind": 1,
        "startTimeUnixNano": from_ns.to_string(),
        "endTimeUnixNano": to_ns.to_string(),
        "attributes": said.into_iter().map(attribute).collect::<Vec<_>>(),
        "links": link.into_iter().collect::<Vec<_>>(),
        "status": {},
    })
}
