//! What a node says of itself: log lines and measures.

pub(crate) mod names;
pub(crate) mod process;
pub(crate) mod recent;
pub(crate) mod timed_disk;
pub(crate) mod trace;

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::sync::Mutex;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use rotary_proto::NodeId;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, Role, Telemetry};
use crate::telemetry::names::Kind;
use crate::telemetry::process::Process;
use crate::telemetry::recent::Recent;

/// Upper bounds of the buckets of durations, in seconds: from a quick sync to a long failover.
const SECONDS: [f64; 14] =
    [0.001, 0.002, 0.004, 0.006, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5.0];

/// Libraries whose own account of a normal day is of no use to operators; the configured level may
/// name them again.
const QUIET: &str = "openraft=error,fjall=warn,lsm_tree=warn,quinn=warn,rustls=warn";

/// Begins to write log lines.
///
/// # Errors
/// A text that names the key to correct.
pub(crate) fn start_log(telemetry: &Telemetry) -> Result<LogLevel, String> {
    let filter = filter(&telemetry.log_level)?;
    if telemetry.log_file.as_os_str().is_empty() {
        let json = match telemetry.log_format {
            LogFormat::Auto => !std::io::stderr().is_terminal(),
            format => format == LogFormat::Json,
        };
        return install(filter, json, std::io::stderr);
    }
    let path = &telemetry.log_file;
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.map_err(|error| format!("telemetry.log_file {}: {error}", path.display()))?;
    install(filter, telemetry.log_format != LogFormat::Text, Mutex::new(file))
}

/// The level of log lines, which may change while a node runs.
pub(crate) struct LogLevel(Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>);

impl LogLevel {
    /// Writes lines of that level from here on.
    ///
    /// # Errors
    /// A text that names the key to correct.
    pub(crate) fn set(&self, level: &str) -> Result<(), String> {
        (self.0)(filter(level)?)
    }
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(format!("{QUIET},{level}"))
        .map_err(|error| format!("telemetry.log_level: {error}"))
}

fn install<W>(filter: EnvFilter, json: bool, writer: W) -> Result<LogLevel, String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    if json {
        let builder = builder.json().flatten_event(true).with_filter_reloading();
        let handle = builder.reload_handle();
        let lines = builder.finish().with(Recent);
        lines.try_init().map_err(|error| error.to_string())?;
        let set = move |filter| handle.reload(filter).map_err(|error| error.to_string());
        return Ok(LogLevel(Box::new(set)));
    }
    let builder = builder.with_ansi(false).with_filter_reloading();
    let handle = builder.reload_handle();
    let lines = builder.finish().with(Recent);
    lines.try_init().map_err(|error| error.to_string())?;
    Ok(LogLevel(Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))))
}

/// Begins to count.
///
/// # Errors
/// If something in this process counts already.
pub(crate) fn start_metrics(node: NodeId, role: Role) -> Result<PrometheusHandle, BuildError> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS)?;
    let handle = builder.install_recorder()?;
    for metric in names::METRICS {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help()),
            Kind::Gauge => describe_gauge!(metric.name, metric.help()),
            Kind::Histogram => describe_histogram!(metric.name, metric.help()),
        }
    }
    let labels = [("node", node.to_string()), ("version", crate::build::name().to_owned())];
    gauge!(names::BUILD_INFO, &labels).set(1.0);
    begin_at_zero(role);
    Ok(handle)
}

/// Counters of what is rare: each has its series from the start, so that the first time is a rise.
fn begin_at_zero(role: Role) {
    let zero = |name: &'static str, label: &'static str, values: &[&'static str]| {
        values.iter().for_each(|value| counter!(name, label => *value).absolute(0));
    };
    if role == Role::Gateway {
        counter!(names::RELAY_MOVES).absolute(0);
        zero(names::RELAY_REQUESTS, "result", &["answered", "unknown", "unavailable"]);
        return;
    }
    for name in [names::BLOBS_DAMAGED, names::BLOBS_FULL, names::BLOBS_REMOVED] {
        counter!(name).absolute(0);
    }
    for name in [names::COMMANDS_DEDUPLICATED, names::LEADERS_MOVED, names::SESSION_STRAYS] {
        counter!(name).absolute(0);
    }
    zero(names::ACTOR_FAILURES, "kind", &["viewer", "conversation"]);
    zero(names::MAILBOX_REFUSALS, "kind", &["viewer", "conversation"]);
    zero(names::BLOB_UPLOADS, "result", &["stored", "refused", "failed"]);
    zero(names::BLOBS_FETCHED, "result", &["fetched", "lacking", "failed"]);
    zero(names::BOT_TURNS, "result", &["answered", "handed_over", "failed"]);
    zero(names::MAIL_ATTEMPTS, "result", &["sent", "not_sent", "unknown", "failed"]);
    zero(names::WEBHOOK_ATTEMPTS, "result", &["taken", "gone", "refused", "unanswered"]);
    for budget in ["shard", "tenant", "caller"] {
        for class in ["new", "talk", "ending", "upkeep"] {
            let labels = [("budget", budget), ("class", class)];
            counter!(names::ADMISSION_REFUSED, &labels).absolute(0);
        }
    }
}

/// Measures what this process takes of its machine.
pub(crate) fn measure_process() {
    let ours = Process::look();
    let set = |name: &'static str, value: Option<f64>| {
        if let Some(value) = value {
            gauge!(name).set(value);
        }
    };
    if let Some(cpu_s) = ours.cpu_s {
        counter!(names::PROCESS_CPU).absolute(cpu_s as u64);
    }
    set(names::PROCESS_RESIDENT, ours.resident_bytes.map(|bytes| bytes as f64));
    set(names::PROCESS_OPEN, ours.open_files.map(|open| open as f64));
    set(names::PROCESS_OPEN_MAX, ours.open_files_max.map(|open| open as f64));
    set(names::PROCESS_STARTED, ours.started_s);
}
