//! The logs of stopped nodes say the same, and what clients were told follows from them (P1, P9).
//!
//! The black box is judged by its history; this looks inside. It reads the data directories of
//! nodes that do not run, from a copy of their logs, so that nothing is changed there.
//!
//! * Below what any node knew to be committed, entries of equal index are equal, byte for byte.
//! * Whatever a client was told stands at an index that a majority of the nodes has, alike.
//! * The entries, replayed through the production distributor, give the answers that clients were
//!   told and the events that readers of the feed were told.
//!
//! A log whose beginning was forgotten, because a snapshot stands for it, cannot be replayed from
//! there; that leaves the answer unknown.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rotary_distributor::{Applied, Shard};
use rotary_log::{Fatal, OfflineEntry, OfflineLog, OfflinePayload};
use rotary_proto::codec::{self, Limit};
use rotary_proto::ids::ShardId;
use rotary_proto::outcome::Outcome;
use rotary_proto::{ShardCommand, Stamp};
use rotary_storage::{DataDir, Drive, FileDisk, SegmentLog, SegmentLogOptions};

use super::evidence::{Evidence, Placed};
use super::replay::position;
use super::verdict::Check;
use crate::history::{End, Event, Operation, Reply};

/// The most bytes of logs that are read of one node.
const BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;
/// Bytes that are read at once.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// One shard's log on one node.
#[derive(Debug, Clone, Default)]
pub struct ShardLog {
    /// The last index that was forgotten.
    pub forgotten: u64,
    /// Up to where the node knew it to be committed.
    pub committed: u64,
    /// The entries after that, by their indexes.
    pub entries: BTreeMap<u64, OfflineEntry>,
}

/// The logs of one node.
#[derive(Debug, Clone, Default)]
pub struct NodeLog {
    /// What it is called in findings.
    pub name: String,
    /// By shard.
    pub shards: BTreeMap<ShardId, ShardLog>,
}

impl NodeLog {
    /// Reads the logs of those shards in the data directory of a node that does not run. Its log is
    /// copied first, and the copy is opened.
    ///
    /// # Errors
    /// What the disk says, a directory that is none of a node's, a damaged log, or one too large.
    pub fn read(data: &Path, shards: impl IntoIterator<Item = ShardId>) -> io::Result<Self> {
        let identity = DataDir::identity_of(data).map_err(io::Error::other)?;
        let copy = Copy::of(&data.join("log"))?;
        let options = SegmentLogOptions {
            log_id: identity.log_id(),
            reserve_bytes: 0,
            free_bytes_min: 0,
            fatal: Fatal::with(|_, _| {}),
            drive: Drive::Manual(Arc::new(|| {})),
            ..SegmentLogOptions::default()
        };
        let store = SegmentLog::open(Arc::new(FileDisk), &copy.0, options);
        let log = OfflineLog::of(Arc::new(store.map_err(io::Error::other)?));
        let mut node = Self { name: format!("nd_{}", identity.node), shards: BTreeMap::new() };
        let mut bytes = 0;
        for shard in shards {
            let (forgotten, committed) = (log.forgotten(shard)?, log.committed(shard)?);
            let mut found = ShardLog { forgotten, committed, entries: BTreeMap::new() };
            let mut from = forgotten + 1;
            // Before anything was forgotten, a log begins at 0.
            if forgotten == 0 && !log.read(shard, 0, 1)?.is_empty() {
                from = 0;
            }
            loop {
                let read = log.read(shard, from, READ_BYTES)?;
                let Some(last) = read.last() else { break };
                from = last.index + 1;
                bytes += read.iter().map(|entry| entry.bytes.len()).sum::<usize>();
                if bytes > BYTES_MAX {
                    let what = format!("{}: more than {BYTES_MAX} bytes of log", data.display());
                    return Err(io::Error::other(what));
                }
                found.entries.extend(read.into_iter().map(|entry| (entry.index, entry)));
            }
            node.shards.insert(shard, found);
        }
        Ok(node)
    }
}

/// A copy of a folder of files, gone when it is dropped.
struct Copy(std::path::PathBuf);

impl Copy {
    fn of(folder: &Path) -> io::Result<Self> {
        let name = format!("rotary-chaos-{}-{:x}", std::process::id(), rotary_client::unique());
        let copy = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&copy.0)?;
        for file in std::fs::read_dir(folder)? {
            let file = file?;
            if file.file_type()?.is_file() {
                std::fs::copy(file.path(), copy.0.join(file.file_name()))?;
            }
        }
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Compares the logs of all nodes with each other and with a history.
pub fn check(evidence: &Evidence<'_>, nodes: &[NodeLog]) -> Check {
    let mut check = Check::new("log_agreement", "entries");
    let shards: std::collections::BTreeSet<ShardId> =
        nodes.iter().flat_map(|node| node.shards.keys().copied()).collect();
    for shard in shards {
        let logs: Vec<(&str, &ShardLog)> = nodes
            .iter()
            .filter_map(|node| Some((node.name.as_str(), node.shards.get(&shard)?)))
            .collect();
        alike(&mut check, shard, &logs);
        told(&mut check, evidence, shard, &logs);
        if shard != ShardId(0) {
            replay(&mut check, evidence, shard, &logs);
        }
    }
    check.unless_empty()
}

/// Below what anybody knew to be committed, equal indexes have equal bytes.
fn alike(check: &mut Check, shard: ShardId, logs: &[(&str, &ShardLog)]) {
    let committed = logs.iter().map(|(_, log)| log.committed).max().unwrap_or_default();
    let mut first: BTreeMap<u64, (&str, &OfflineEntry)> = BTreeMap::new();
    for (name, log) in logs {
        for (index, entry) in log.entries.range(..=committed) {
            check.checked += 1;
            let (other, same) = first.entry(*index).or_insert((name, entry));
            if same.bytes != entry.bytes {
                check.find(format!("{shard}:{index} differs between {other} and {name}"), []);
            }
        }
    }
}

/// What a client was told stands on a majority.
fn told(check: &mut Check, evidence: &Evidence<'_>, shard: ShardId, logs: &[(&str, &ShardLog)]) {
    for operation in &evidence.operations {
        let Some(at) = position(operation.of).filter(|at| at.shard == shard) else { continue };
        let mut alike: BTreeMap<&[u8], usize> = BTreeMap::new();
        let mut have = 0;
        for (_, log) in logs {
            match log.entries.get(&at.index) {
                Some(entry) => *alike.entry(&entry.bytes).or_default() += 1,
                None => have += usize::from(at.index <= log.forgotten),
            }
        }
        have += alike.values().max().copied().unwrap_or_default();
        if 2 * have <= logs.len() {
            let what = format!("{at} was told, and only {have} of {} nodes have it", logs.len());
            check.find(what, [operation.line]);
        }
    }
}

/// Answers of clients by index.
type Answers<'a> = BTreeMap<u64, Vec<Placed<'a, Operation>>>;

/// The entries through the production distributor, against answers and events.
fn replay(check: &mut Check, evidence: &Evidence<'_>, shard: ShardId, logs: &[(&str, &ShardLog)]) {
    let whole = logs.iter().filter(|(_, log)| log.forgotten == 0);
    let Some((name, log)) = whole.max_by_key(|(_, log)| log.committed) else {
        return check.doubt(format!("no node has the beginning of the log of {shard}"));
    };
    let mut answers = Answers::new();
    for operation in &evidence.operations {
        if let Some(at) = position(operation.of).filter(|at| at.shard == shard) {
            answers.entry(at.index).or_default().push(*operation);
        }
    }
    let last = answers.keys().next_back().copied().unwrap_or_default().max(log.committed);
    let (mut machine, mut stamp, mut differing) = (Shard::new(shard), Stamp::ZERO, 0);
    for (index, entry) in log.entries.range(..=last) {
        let applied = match &entry.payload {
            OfflinePayload::Blank => continue,
            OfflinePayload::Members(members) => {
                machine.set_members(members.iter().copied());
                continue;
            }
            OfflinePayload::Command { stamp: given, wall, payload } => {
                stamp = given.after(stamp);
                match codec::decode::<ShardCommand>(payload, Limit::Entry) {
                    Ok(command) => machine.apply(*index, stamp, *wall, command),
                    Err(_) => machine.refuse_malformed(*index, stamp),
                }
            }
        };
        let named = answers.get(index).map_or(&[][..], Vec::as_slice);
        for operation in named {
            check.checked += 1;
            if let Some(why) = differs(operation.of, &applied) {
                check.find(format!("{name} {shard}:{index}: {why}"), [operation.line]);
            }
        }
        differing += events(check, evidence, &applied);
    }
    let end = log.entries.keys().next_back().copied().unwrap_or_default();
    if end < last {
        check.doubt(format!("the log of {shard} at {name} ends at {end}, and {last} was told"));
    }
    check.figure(format!("{shard} replayed from {name}, up to"), last.min(end));
    if differing > 0 {
        check.figure(format!("{shard}: events that readers were told otherwise"), differing);
    }
}

/// Why an answer is not the one that the entry gives.
fn differs(operation: &Operation, applied: &Applied) -> Option<String> {
    // A retry that came later than its first is answered from there, where its own entry is none.
    match (&operation.end, &applied.answer.outcome) {
        (End::Ok { reply, .. }, Outcome::Done(done)) => {
            let due = Reply::from(*done);
            (*reply != due).then(|| format!("{reply:?} was told instead of {due:?}"))
        }
        (End::Fail { code, .. }, Outcome::Refused(refusal)) => {
            let due = refusal.word();
            (code != due).then(|| format!("{code} was told instead of {due}"))
        }
        (end, outcome) => Some(format!("{end:?} was told instead of {outcome:?}")),
    }
}

/// Readers were told the events of this entry, and no others. How many differ.
fn events(check: &mut Check, evidence: &Evidence<'_>, applied: &Applied) -> u64 {
    let mut differing = 0;
    for record in &applied.events {
        let Some(story) = evidence.stories.get(&record.site) else { continue };
        let found = story.events.binary_search_by_key(&record.sequence, |told| told.of.sequence);
        let due = Event::from(record);
        check.checked += 1;
        match found {
            Ok(at) if *story.events[at].of != due => {
                differing += 1;
                let what = format!("event {} of {} was told otherwise", due.sequence, due.site);
                check.find(what, [story.events[at].line]);
            }
            Ok(_) => {}
            Err(_) if story.through.is_some_and(|through| due.sequence <= through) => {
                differing += 1;
                check
                    .find(format!("event {} of {} was told to nobody", due.sequence, due.site), []);
            }
            // It happened after the feed was read to its end.
            Err(_) => {}
        }
    }
    differing
}
