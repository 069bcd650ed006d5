//! A ledger's lines, put in order: every command with its end, every stream with its events.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use rotary_proto::event::Viewer;
use rotary_proto::frame::Mode;
use rotary_proto::outcome::Done;
use rotary_proto::{Actor, Command, Position, SiteId};

use super::record::{Record, Run};

/// How a command ended, as far as the client knows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OpEnd {
    /// There was no answer of any kind.
    Pending,
    /// Acknowledged.
    Ok { position: Option<Position>, done: Option<Done> },
    /// Refused for good.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
    /// Reading the state told whether it was done.
    Settled(bool),
}

/// A command of the run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Op {
    /// For which site.
    pub site: SiteId,
    /// Who asked.
    pub actor: Actor,
    /// What was asked.
    pub command: Box<Command>,
    /// How it ended.
    pub end: OpEnd,
    /// The line on which it was sent.
    pub sent_at: usize,
    /// The line on which it ended; the end of the ledger if it did not.
    pub ended_at: usize,
}

impl Op {
    /// Whether it may have taken effect, by what the client knows.
    pub(crate) const fn may_have_happened(&self) -> bool {
        !matches!(self.end, OpEnd::Refused(_) | OpEnd::Settled(false))
    }

    /// Whether it must have taken effect.
    pub(crate) const fn must_have_happened(&self) -> bool {
        matches!(self.end, OpEnd::Ok { .. } | OpEnd::Settled(true))
    }
}

/// An event as a session received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub seq: u64,
    pub cursor: u64,
    pub digest: u64,
}

/// A part of a stream without a snapshot in between.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Segment {
    /// Events after this place follow.
    pub after: u64,
    /// The dense number before the first of them.
    pub seq: u64,
    /// The events, in the order received.
    pub events: Vec<Seen>,
}

/// Everything that one session received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamLog {
    pub viewer: Viewer,
    pub site: SiteId,
    pub segments: Vec<Segment>,
    pub faults: Vec<String>,
    pub resumed: usize,
    pub snapshots: usize,
}

/// A whole ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub run: Option<Run>,
    pub ops: BTreeMap<u64, Op>,
    pub streams: BTreeMap<u64, StreamLog>,
}

impl History {
    /// Reads a ledger's file, which may still be written: a last line without an end is left out.
    ///
    /// # Errors
    /// What the file system said, or the line that cannot be read.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut history = Self::default();
        let mut file = BufReader::new(std::fs::File::open(path)?);
        let mut line = Vec::new();
        for number in 0.. {
            line.clear();
            file.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            let record = serde_json::from_slice(&line).map_err(|error| {
                io::Error::other(format!("{}:{}: {error}", path.display(), number + 1))
            })?;
            history.add(number, record);
        }
        Ok(history)
    }

    /// Takes the line of that number.
    pub(crate) fn add(&mut self, line: usize, record: Record) {
        match record {
            Record::Run(run) => self.run = Some(run),
            Record::Invoke { op, site, actor, command } => {
                let (end, sent_at, ended_at) = (OpEnd::Pending, line, usize::MAX);
                let begun = Op { site, actor, command, end, sent_at, ended_at };
                self.ops.insert(op, begun);
            }
            Record::Ok { op, position, repeated: _, done } => {
                self.end(op, line, OpEnd::Ok { position, done });
            }
            Record::Refused { op, code } => self.end(op, line, OpEnd::Refused(code)),
            Record::Unknown { op, detail } => self.end(op, line, OpEnd::Unknown(detail)),
            Record::Settled { op, happened } => self.end(op, line, OpEnd::Settled(happened)),
            other => self.add_to_stream(other),
        }
    }

    fn end(&mut self, op: u64, line: usize, end: OpEnd) {
        if let Some(op) = self.ops.get_mut(&op) {
            op.ended_at = if matches!(end, OpEnd::Unknown(_)) { usize::MAX } else { line };
            op.end = end;
        }
    }

    fn add_to_stream(&mut self, record: Record) {
        match record {
            Record::Attached { stream, viewer, site, seq, .. } => {
                let segments = vec![Segment { after: 0, seq, events: Vec::new() }];
                let (faults, resumed, snapshots) = (Vec::new(), 0, 0);
                let log = StreamLog { viewer, site, segments, faults, resumed, snapshots };
                self.streams.insert(stream, log);
            }
            Record::Resumed { stream, mode, seq, .. } => {
                let Some(log) = self.streams.get_mut(&stream) else { return };
                log.resumed += 1;
                if mode != Mode::Replayed {
                    log.snapshots += 1;
                    log.segments.push(Segment { after: u64::MAX, seq, events: Vec::new() });
                }
            }
            Record::Snapshot { stream, sequence } => {
                let last = self.streams.get_mut(&stream).and_then(|log| log.segments.last_mut());
                if let Some(segment) = last {
                    segment.after = sequence;
                }
            }
            Record::Event { stream, seq, cursor, digest, .. } => {
                let last = self.streams.get_mut(&stream).and_then(|log| log.segments.last_mut());
                if let Some(segment) = last {
                    segment.events.push(Seen { seq, cursor, digest });
                }
            }
            Record::Fault { stream, detail } => {
                if let Some(log) = self.streams.get_mut(&stream) {
                    log.faults.push(detail);
                }
            }
            _ => {}
        }
    }
}
