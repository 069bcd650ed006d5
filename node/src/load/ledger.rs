//! The load's own evidence of what it was promised, and the proof that it was kept.
//!
//! A load that only counts answers proves nothing about what a cluster keeps. So every command is
//! written here *before* it is sent, and its outcome after; every event that a session receives is
//! written with its numbers. At the end the state is read back from every node, and [`mod@check`]
//! compares the two. Nothing of the cluster's own counters is used.
//!
//! ```text
//!   people --Record--> Ledger --> ledger.jsonl --+
//!                                                +--> History --+
//!   nodes --feeds--> Readings --> feeds/*.jsonl -+              +--> check --> Verdict
//!                                                +--> Readings -+
//! ```
//!
//! A line is handed to the operating system before the command goes out. That is enough, because
//! the load's own process is not the one that is killed.
//!
//! `check` and everything below it is a pure function of the two: a saved run can be judged again,
//! anywhere, and the judge itself is tested against evidence that was tampered with.

mod check;
mod check_assignments;
mod check_capacity;
mod check_messages;
mod check_outcomes;
mod check_replicas;
mod check_streams;
mod effects;
mod history;
mod readings;
mod record;
mod verdict;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rotary_proto::Event;

pub(crate) use check::check;
pub(crate) use effects::{Effects, settle};
pub(crate) use history::{History, OpEnd};
pub(crate) use readings::{FeedEvent, NodeReading, Readings};
pub(crate) use record::{Record, Run};
pub(crate) use verdict::Verdict;

/// The file of a ledger's lines, within its folder.
pub(crate) const LINES: &str = "ledger.jsonl";

/// An event as one number, equal for equal events.
pub(crate) fn digest(event: &Event) -> u64 {
    // An event is plain data, so it always has a JSON form; an empty one would only make two
    // unreadable events equal.
    let json = serde_json::to_vec(event).unwrap_or_default();
    xxhash_rust::xxh3::xxh3_64(&json)
}

/// A ledger being written.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: Mutex<File>,
    ops: AtomicU64,
    streams: AtomicU64,
}

impl Ledger {
    /// A new ledger in `folder`, which is made if need be.
    ///
    /// # Errors
    /// What the file system said; an existing ledger is not written over.
    pub(crate) fn create(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let file = File::create_new(folder.join(LINES))?;
        let (ops, streams) = (AtomicU64::new(1), AtomicU64::new(1));
        Ok(Self { file: Mutex::new(file), ops, streams })
    }

    /// Takes a ledger away in which nothing was written, with its folder if that is empty then.
    pub(crate) fn discard(folder: &Path) {
        let path = folder.join(LINES);
        if std::fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
            let _ = std::fs::remove_file(path);
            let _ = std::fs::remove_dir(folder);
        }
    }

    /// A number for a command.
    pub(crate) fn op(&self) -> u64 {
        self.ops.fetch_add(1, Ordering::Relaxed)
    }

    /// A number for a stream.
    pub(crate) fn stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes a line, and returns when the operating system has it.
    ///
    /// # Errors
    /// What the file system said. A load that cannot write its evidence must not go on.
    pub(crate) fn write(&self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rotary_proto::{Actor, AgentId, Command, Declared, SiteId};

    #[test]
    fn a_ledger_is_read_as_it_was_written_up_to_a_torn_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::create(folder.path()).expect("a new ledger");
        let (site, agent) = (SiteId::new(1, 1), AgentId(1));
        for end in [None, Some("ok"), Some("refused"), Some("unknown")] {
            let command = Box::new(Command::Declare { agent, declared: Declared::Ready });
            let (op, actor) = (ledger.op(), Actor::Agent(agent));
            ledger.write(&Record::Invoke { op, site, actor, command }).expect("written");
            let record = match end {
                None => continue,
                Some("ok") => Record::Ok { op, position: None, repeated: false, done: None },
                Some("refused") => Record::Refused { op, code: "offer-gone".to_owned() },
                Some(_) => Record::Unknown { op, detail: "?".to_owned() },
            };
            ledger.write(&record).expect("written");
        }
        let path = folder.path().join(LINES);
        let mut file = File::options().append(true).open(&path).expect("there");
        file.write_all(b"{\"record\":\"ok\",\"op\":1").expect("written");
        let history = History::read(&path).expect("readable");
        let ends: Vec<OpEnd> = history.ops.into_values().map(|op| op.end).collect();
        assert_eq!(
            ends,
            [
                OpEnd::Pending,
                OpEnd::Ok { position: None, done: None },
                OpEnd::Refused("offer-gone".to_owned()),
                OpEnd::Unknown("?".to_owned()),
            ]
        );
        assert!(Ledger::create(folder.path()).is_err(), "an old ledger is not written over");
        Ledger::discard(folder.path());
        assert!(path.exists(), "nor taken away");
        let fresh = folder.path().join("fresh");
        Ledger::create(&fresh).expect("a new ledger");
        Ledger::discard(&fresh);
        assert!(!fresh.exists(), "an empty one is");
    }
}
