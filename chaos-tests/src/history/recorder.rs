//! Writing a history while things happen.
//!
//! Whoever sees something hands it over and goes on; one thread writes. Where that thread is behind
//! by 65 536 records, whoever comes next waits a little, and then the record is lost and
//! counted: the workload must not stand still because a disk does. A history that lost something
//! says so in its last line, and is never judged valid.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rotary_proto::ids::ShardId;

use super::record::{Edge, Head, Record};

/// Records that wait for the writer.
const WAITING_MAX: usize = 65_536;
/// How long a full buffer is waited for before a record is lost.
const PATIENCE: Duration = Duration::from_millis(50);

/// What became of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Lines before the last one.
    pub lines: u64,
    /// Records that found no room.
    pub lost: u64,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<Record>,
    lost: u64,
    closed: bool,
    phase: String,
}

struct Shared {
    begun: Instant,
    waiting: Mutex<Waiting>,
    filled: Condvar,
    drained: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes what is seen. Clones write into the same history.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Option<JoinHandle<io::Result<Written>>>>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("now_ms", &self.now_ms()).finish_non_exhaustive()
    }
}

/// What became of a record.
enum Pushed {
    Taken,
    Full(Record),
    Over,
}

impl Recorder {
    /// Begins a history in that file, which must not be there. The run's clock starts here.
    ///
    /// # Errors
    /// What the file system said.
    pub fn create(path: &Path, head: Head) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create_new(path)?);
        write(&mut file, &Record::Head(head))?;
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            waiting: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("history".to_owned());
        let writer = thread.spawn(move || drain(&theirs, file))?;
        Ok(Self { shared, writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// Milliseconds since the run began.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.shared.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes a record. Waits at most 50 ms; whether it found room.
    pub fn record(&self, record: Record) -> bool {
        let pushed = self.push(record);
        if !matches!(pushed, Pushed::Taken) {
            self.shared.lock().lost += 1;
        }
        matches!(pushed, Pushed::Taken)
    }

    /// Takes a record, or gives it back if it finds no room within 50 ms. Once the history is over
    /// it gives none back, and each counts as lost.
    pub fn try_record(&self, record: Record) -> Option<Record> {
        match self.push(record) {
            Pushed::Taken => None,
            Pushed::Full(record) => Some(record),
            Pushed::Over => {
                self.shared.lock().lost += 1;
                None
            }
        }
    }

    fn push(&self, record: Record) -> Pushed {
        let mut waiting = self.shared.lock();
        if waiting.records.len() >= WAITING_MAX {
            let full = |waiting: &mut Waiting| waiting.records.len() >= WAITING_MAX;
            let waited = self.shared.drained.wait_timeout_while(waiting, PATIENCE, full);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if waiting.closed {
            return Pushed::Over;
        }
        if waiting.records.len() >= WAITING_MAX {
            return Pushed::Full(record);
        }
        waiting.records.push_back(record);
        self.shared.filled.notify_one();
        Pushed::Taken
    }

    /// A fault begins or ends.
    pub fn fault(&self, name: &str, target: &str, edge: Edge, detail: &str) {
        let (at_ms, detail) = (self.now_ms(), detail.to_owned());
        let (name, target) = (name.to_owned(), target.to_owned());
        self.record(Record::Fault { at_ms, name, target, edge, detail });
    }

    /// Whether a fault did what it is for, once that is known.
    pub fn bitten(&self, name: &str, target: &str, bitten: bool, detail: &str) {
        let (at_ms, detail) = (self.now_ms(), detail.to_owned());
        let (name, target) = (name.to_owned(), target.to_owned());
        self.record(Record::Bitten { at_ms, name, target, bitten, detail });
    }

    /// Who leads a shard, as seen from outside; `node` is empty where nobody does.
    pub fn leader(&self, shard: ShardId, node: &str) {
        self.record(Record::Leader { at_ms: self.now_ms(), shard, node: node.to_owned() });
    }

    /// The phase that began last; none at first.
    pub fn phase(&self) -> String {
        self.shared.lock().phase.clone()
    }

    /// A phase begins.
    pub fn mark(&self, name: &str) {
        name.clone_into(&mut self.shared.lock().phase);
        self.record(Record::Mark { at_ms: self.now_ms(), name: name.to_owned() });
    }

    /// Writes what waits and the last line. What is recorded later, by any clone, is lost.
    ///
    /// # Errors
    /// What the file system said at any time, or that the history was ended already.
    pub fn finish(&self) -> io::Result<Written> {
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writer = writer.ok_or_else(|| io::Error::other("the history was ended already"))?;
        writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))
    }
}

fn write(file: &mut BufWriter<File>, record: &Record) -> io::Result<()> {
    serde_json::to_writer(&mut *file, record)?;
    file.write_all(b"\n")
}

/// Writes until the history is closed. A failed write loses what follows, and `finish` says so.
fn drain(shared: &Shared, mut file: BufWriter<File>) -> io::Result<Written> {
    let mut lines = 1;
    let result = loop {
        let (records, closed) = take(shared);
        let done = records.iter().try_for_each(|record| write(&mut file, record));
        lines += records.len() as u64;
        if let Err(error) = done.and_then(|()| file.flush()) {
            break Err(error);
        }
        if closed {
            break Ok(());
        }
    };
    let lost = {
        let mut waiting = shared.lock();
        waiting.closed = true;
        waiting.lost
    };
    result?;
    write(&mut file, &Record::End { lines, lost })?;
    file.flush()?;
    Ok(Written { lines, lost })
}

/// Waits for records, and whether they are the last.
fn take(shared: &Shared) -> (VecDeque<Record>, bool) {
    let empty = |waiting: &mut Waiting| waiting.records.is_empty() && !waiting.closed;
    let waited = shared.filled.wait_while(shared.lock(), empty);
    let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
    let taken = (std::mem::take(&mut waiting.records), waiting.closed);
    shared.drained.notify_all();
    taken
}
