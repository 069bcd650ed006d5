//! The last log lines of this process, kept in memory for whoever looks for a fault, without what
//! they may say of anybody.
//!
//! What is kept is named, not what is left out. Of a line: when, how grave, where it is from, and
//! its code. Of its fields: those in [`FIELDS`], if their value is a number, a switch or an id. The
//! text of a message is kept where it is this project's own, which says what happened in words
//! that are in the sources (a test sees to that) and to whom in fields. Everything else is there by
//! name, and empty.
//!
//! Both the number of lines and their bytes are bounded; the oldest goes first.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rotary_proto::{EffectId, NodeId, QueueId, ShardId, SiteId, TenantId, WebhookId};
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::gateway::token::unix_ms;
use crate::runbook;

/// Lines that are kept.
const LINES_MAX: usize = 2_000;
/// Bytes of their texts.
const BYTES_MAX: usize = 512 * 1024;
/// Bytes of a message that are kept.
const MESSAGE_BYTES_MAX: usize = 240;
/// Bytes that a value has at most, to be kept.
const VALUE_BYTES_MAX: usize = 48;
/// Fields of a line that are kept.
const FIELDS_MAX: usize = 12;

/// Fields whose values may be kept: ids of the cluster's parts, indexes, counts and times.
const FIELDS: [&str; 34] = [
    "after", "attempts", "before", "blob", "bytes", "code", "effect", "entries", "epoch", "files",
    "first", "from", "gateway", "group", "index", "key", "last", "leader", "ms", "node", "of",
    "offset", "peer", "queue", "records", "segments", "shard", "site", "status", "stream", "term",
    "through", "to", "webhook",
];

/// A line as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    unix_ms: u64,
    level: &'static str,
    /// The module that said it.
    from: &'static str,
    /// Where in the sources.
    place: String,
    code: Option<&'static str>,
    /// Nothing where it is not this project's.
    message: Option<String>,
    /// Nothing where a value is not kept.
    fields: BTreeMap<&'static str, Option<String>>,
}

impl Line {
    fn bytes(&self) -> usize {
        let fields = self.fields.values().flatten().map(String::len).sum::<usize>();
        self.message.as_ref().map_or(0, String::len) + self.place.len() + fields + 64
    }
}

/// How often a code of the runbook was said, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Said {
    count: u64,
    first_unix_ms: u64,
    last_unix_ms: u64,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Line>,
    bytes: usize,
    /// By code: as many as the runbook has at most.
    codes: BTreeMap<&'static str, Said>,
}

impl Kept {
    fn add(&mut self, line: Line) {
        if let Some(code) = line.code {
            let now = line.unix_ms;
            let new = Said { count: 0, first_unix_ms: now, last_unix_ms: now };
            let said = self.codes.entry(code).or_insert(new);
            (said.count, said.last_unix_ms) = (said.count + 1, now);
        }
        self.bytes += line.bytes();
        self.lines.push_back(line);
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let oldest = self.lines.pop_front().expect("there are lines while they have bytes");
            self.bytes -= oldest.bytes();
        }
    }
}

static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

fn kept() -> MutexGuard<'static, Option<Kept>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lines that are kept, oldest first.
pub(crate) fn lines() -> Vec<Line> {
    kept().iter().flat_map(|kept| &kept.lines).cloned().collect()
}

/// The codes that were said since the start.
pub(crate) fn codes() -> BTreeMap<&'static str, Said> {
    kept().as_ref().map(|kept| kept.codes.clone()).unwrap_or_default()
}

/// Keeps what is said from `info` up.
pub(crate) struct Recent;

impl<S: Subscriber> Layer<S> for Recent {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= Level::INFO {
            let line = read(event);
            kept().get_or_insert_default().add(line);
        }
    }
}

fn read(event: &Event<'_>) -> Line {
    let about = event.metadata();
    let target = about.target();
    let ours =
        target == "rotary" || target.starts_with("rotary::") || target.starts_with("rotary_");
    let mut reader = Reader { ours, ..Reader::default() };
    event.record(&mut reader);
    let file = about.file().and_then(|file| file.rsplit_once('/')).map_or("", |(_, name)| name);
    Line {
        unix_ms: unix_ms(),
        level: about.level().as_str(),
        from: if ours { about.target() } else { target.split("::").next().unwrap_or_default() },
        place: format!("{file}:{}", about.line().unwrap_or(0)),
        code: reader.code,
        message: reader.message,
        fields: reader.fields,
    }
}

/// Reads what may be kept of an event.
#[derive(Default)]
struct Reader {
    ours: bool,
    code: Option<&'static str>,
    message: Option<String>,
    fields: BTreeMap<&'static str, Option<String>>,
}

impl Reader {
    fn take(&mut self, field: &Field, value: &str) {
        let name = field.name();
        if name == "message" {
            let cut = value.floor_char_boundary(MESSAGE_BYTES_MAX);
            self.message = self.ours.then(|| value[..cut].to_owned());
        } else if name == "code" && self.ours {
            self.code = runbook::find(value).map(|page| page.code);
        } else if self.fields.len() < FIELDS_MAX {
            let keep = self.ours && FIELDS.contains(&name) && is_plain(value);
            self.fields.insert(name, keep.then(|| value.to_owned()));
        }
    }
}

impl Visit for Reader {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value);
    }
}

/// Whether a value is a number, a switch, or an id of a part of the cluster: nothing that a person
/// could have written or could be found by.
pub(crate) fn is_plain(value: &str) -> bool {
    let number = || !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let part = || is::<NodeId>(value) || is::<ShardId>(value) || is::<EffectId>(value);
    let place = || is::<TenantId>(value) || is::<SiteId>(value) || is::<QueueId>(value);
    value.len() <= VALUE_BYTES_MAX
        && (matches!(value, "true" | "false")
            || number()
            || part()
            || place()
            || is::<WebhookId>(value))
}

fn is<T: std::str::FromStr>(value: &str) -> bool {
    value.parse::<T>().is_ok()
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What is kept of what `say` says.
    fn kept_of(say: impl FnOnce()) -> Vec<Line> {
        *kept() = None;
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Recent), say);
        lines()
    }

    /// One test, as what is kept is the process's.
    #[test]
    fn what_is_not_named_is_not_kept() {
        let lines = kept_of(|| {
            tracing::warn!(
                code = "disk-slow",
                node = "nd_3",
                site = "st_1.2",
                index = 7,
                shard = "Lin Planted",
                error = "planted@example.com",
                name = "Lin Planted",
                "a disk is slow"
            );
            tracing::info!(target: "somebody::else", node = "nd_3", "planted");
            tracing::debug!("planted");
            tracing::warn!(code = "planted", "no such code");
        });
        let text = serde_json::to_string(&lines).expect("plain data");
        assert!(!text.to_lowercase().contains("planted"), "{text}");
        assert_eq!(lines.len(), 3);
        let first = &lines[0];
        assert_eq!(
            (first.code, first.message.as_deref()),
            (Some("disk-slow"), Some("a disk is slow"))
        );
        let of = |name: &str| first.fields[name].as_deref();
        assert_eq!(
            [of("node"), of("site"), of("index")],
            [Some("nd_3"), Some("st_1.2"), Some("7")]
        );
        assert_eq!([of("shard"), of("error"), of("name")], [None; 3]);
        assert_eq!((lines[1].from, &lines[1].message), ("somebody", &None));
        assert_eq!(codes()["disk-slow"].count, 1);

        let many = kept_of(|| {
            for at in 0..LINES_MAX + 10 {
                tracing::info!(index = at, "one of many");
            }
        });
        assert_eq!(many.len(), LINES_MAX);
        assert_eq!(many[0].fields["index"].as_deref(), Some("10"), "the oldest goes first");
    }

    #[test]
    fn plain_is_what_nobody_wrote() {
        for plain in ["1", "true", "nd_4", "sh_0", "st_1.2", "qu_7", "tn_1"] {
            assert!(is_plain(plain), "{plain}");
        }
        for other in ["", "Lin", "+4915112345678", "a@example.com", "nd_x", "10.0.0.1", "tr\u{fc}e"]
        {
            assert!(!is_plain(other), "{other}");
        }
        assert!(!is_plain(&"1".repeat(VALUE_BYTES_MAX + 1)));
    }

    /// The arguments of a call, from behind its parenthesis on.
    fn arguments(text: &str) -> &str {
        let mut depth = 1;
        let end = text.find(|letter| {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            depth == 0
        });
        &text[..end.unwrap_or(text.len())]
    }

    /// What a message says is in the sources: nothing is put into it when it is said.
    #[test]
    fn messages_are_what_the_sources_say() {
        let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))];
        let mut said = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder of sources") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let levels = ["info", "warn", "error"].map(|level| format!("tracing::{level}!("));
                for call in levels.iter().flat_map(|level| text.split(level.as_str()).skip(1)) {
                    // The message comes last, and every second part is within quotes.
                    let call = arguments(call);
                    let message = call.split('"').skip(1).step_by(2).last().unwrap_or_default();
                    assert!(!message.contains('{'), "{}: {call}", path.display());
                    said += 1;
                }
            }
        }
        assert!(said > 50, "the sources were found: {said}");
    }
}
