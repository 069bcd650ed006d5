//! Failures of the disk on demand, at named places, for builds that test the product.
//!
//! A [`FailingDisk`] stands between the product and its disk. What it does is said in a text, close
//! to that of the `fail` crate:
//!
//! ```text
//! PLACE=TASK->TASK...;PLACE=...
//! PLACE  OPERATION[:FOLDER][:after]    sync:log, write, rename:snapshots:after
//! TASK   [COUNT*]ACTION                20*off, abort, error(EIO), 3*sleep(50)
//! ```
//!
//! `sync:log=20*off->abort` ends the process at the 21st sync of a file in `log`, before it is
//! done; with `:after`, once it is. A task that has no count goes on for ever, and after the last
//! counted one nothing happens any more. Counts are of a process: they begin anew with each.
//!
//! * Operations: `create`, `open`, `remove`, `rename`, `sync-directory` of names; `read`, `write`,
//!   `sync`, `resize` of an open file. Folders are those of the data directory; without one, every
//!   file is meant.
//! * Actions: `off`; `abort`, the end of the process without a further instruction, as `kill -9`
//!   makes it; `error(EIO)` and `error(ENOSPC)`; `sleep(MS)`.
//!
//! The first time that a task does something it says so on standard error.
//!
//! Deliberately absent: chance. Who wants it draws the text.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::disk::{Disk, DiskFile};

/// Bytes of a text.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// Places of a text.
const POINTS_MAX: usize = 16;
/// Tasks of a place.
const TASKS_MAX: usize = 16;
/// The longest sleep, in milliseconds.
const SLEEP_MS_MAX: u64 = 60_000;

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Create,
    Open,
    Remove,
    Rename,
    SyncDirectory,
    Read,
    Write,
    Sync,
    Resize,
}

const OPERATIONS: [(&str, Operation); 9] = [
    ("create", Operation::Create),
    ("open", Operation::Open),
    ("remove", Operation::Remove),
    ("rename", Operation::Rename),
    ("sync-directory", Operation::SyncDirectory),
    ("read", Operation::Read),
    ("write", Operation::Write),
    ("sync", Operation::Sync),
    ("resize", Operation::Resize),
];

/// The folders of a data directory that go through [`Disk`].
const FOLDERS: [&str; 5] = ["log", "journal", "snapshots", "notes", "blobs"];

/// What happens at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Off,
    Abort,
    Error(rustix::io::Errno),
    Sleep(Duration),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Abort => f.write_str("abort"),
            Self::Error(errno) => write!(f, "error({})", io::Error::from(*errno)),
            Self::Sleep(time) => write!(f, "sleep({})", time.as_millis()),
        }
    }
}

/// An action, so many times; for ever without a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Task {
    count: Option<u32>,
    action: Action,
}

/// A place with what happens there.
#[derive(Debug)]
struct Point {
    text: String,
    operation: Operation,
    folder: Option<&'static str>,
    after: bool,
    tasks: Vec<Task>,
    /// The task that is next, and how often it was done.
    done: Mutex<(usize, u32)>,
}

impl Point {
    /// What happens this time, and whether for the first time.
    fn strike(&self) -> (Action, bool) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (at, times) = *done;
            let Some(task) = self.tasks.get(at) else { return (Action::Off, false) };
            if task.count.is_some_and(|count| times >= count) {
                *done = (at + 1, 0);
                continue;
            }
            done.1 = times.saturating_add(1);
            return (task.action, times == 0);
        }
    }
}

/// A text that does not name failures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?}: {what}; write OPERATION[:FOLDER][:after]=TASK->TASK, e.g. sync:log=20*off->abort"
)]
pub struct FailpointError {
    text: String,
    what: String,
}

impl FailpointError {
    fn new(text: &str, what: impl Into<String>) -> Self {
        Self { text: text.chars().take(80).collect(), what: what.into() }
    }
}

/// Which failures happen where in this process.
#[derive(Debug, Clone, Default)]
pub struct Failpoints(Arc<[Point]>);

impl FromStr for Failpoints {
    type Err = FailpointError;

    fn from_str(text: &str) -> Result<Self, FailpointError> {
        if text.len() > TEXT_BYTES_MAX {
            let what = format!("{} bytes; {TEXT_BYTES_MAX} are the most", text.len());
            return Err(FailpointError::new(text, what));
        }
        let points = text.split(';').map(str::trim).filter(|point| !point.is_empty());
        let points = points.map(point).collect::<Result<Vec<_>, _>>()?;
        if points.is_empty() || points.len() > POINTS_MAX {
            let what = format!("{} places; 1 to {POINTS_MAX}", points.len());
            return Err(FailpointError::new(text, what));
        }
        Ok(Self(points.into()))
    }
}

fn point(text: &str) -> Result<Point, FailpointError> {
    let wrong = |what: String| FailpointError::new(text, what);
    let (place, tasks) = text.split_once('=').ok_or_else(|| wrong("it has no `=`".into()))?;
    let mut words = place.trim().split(':');
    let name = words.next().unwrap_or_default();
    let operation = OPERATIONS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        let known = OPERATIONS.map(|(known, _)| known).join(", ");
        wrong(format!("{name:?} is no operation; choose among {known}"))
    })?;
    let (mut folder, mut after) = (None, None);
    for word in words {
        let known = FOLDERS.into_iter().find(|known| *known == word);
        match (word, known) {
            ("before" | "after", _) if after.is_none() => after = Some(word == "after"),
            (_, Some(known)) if folder.is_none() && after.is_none() => folder = Some(known),
            _ => {
                let known = FOLDERS.join(", ");
                return Err(wrong(format!("{word:?} is not one of {known}, then before or after")));
            }
        }
    }
    let tasks = tasks.split("->").map(|task| read_task(task.trim()).map_err(wrong));
    let tasks = tasks.collect::<Result<Vec<_>, _>>()?;
    if tasks.len() > TASKS_MAX {
        return Err(wrong(format!("{} tasks; {TASKS_MAX} are the most", tasks.len())));
    }
    let (operation, after, done) = (operation.1, after.unwrap_or(false), Mutex::default());
    Ok(Point { text: text.to_owned(), operation, folder, after, tasks, done })
}

fn read_task(text: &str) -> Result<Task, String> {
    let (count, action) = match text.split_once('*') {
        Some((count, action)) => {
            let count = count.trim().parse::<u32>();
            (Some(count.map_err(|_| format!("{text:?} begins with no count"))?), action.trim())
        }
        None => (None, text),
    };
    let (name, argument) = match action.split_once('(') {
        Some((name, rest)) => {
            let rest = rest.strip_suffix(')').ok_or_else(|| format!("{action:?} has no `)`"))?;
            (name, Some(rest.trim()))
        }
        None => (action, None),
    };
    let action = match (name, argument) {
        ("off", None) => Action::Off,
        ("abort", None) => Action::Abort,
        ("error", Some("EIO")) => Action::Error(rustix::io::Errno::IO),
        ("error", Some("ENOSPC")) => Action::Error(rustix::io::Errno::NOSPC),
        ("sleep", Some(ms)) => {
            let ms = ms.parse().ok().filter(|ms| *ms <= SLEEP_MS_MAX);
            let ms = ms.ok_or_else(|| format!("a sleep is of 0 to {SLEEP_MS_MAX} ms"))?;
            Action::Sleep(Duration::from_millis(ms))
        }
        _ => {
            let known = "off, abort, error(EIO), error(ENOSPC), sleep(MS)";
            return Err(format!("{action:?} is no action; choose among {known}"));
        }
    };
    Ok(Task { count, action })
}

/// What `abort` does.
type End = dyn Fn() + Send + Sync;

struct Shared {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    points: Failpoints,
    end: Box<End>,
}

impl Shared {
    /// Does what is to happen there.
    fn strike(&self, operation: Operation, path: &Path, after: bool) -> io::Result<()> {
        let folder = path.strip_prefix(&self.root).ok().and_then(|path| path.iter().next());
        let here = |point: &&Point| {
            let there = point.folder.is_none_or(|known| folder.is_some_and(|name| name == known));
            point.operation == operation && point.after == after && there
        };
        for point in self.points.0.iter().filter(here) {
            let (action, first) = point.strike();
            if first && action != Action::Off {
                let (text, path) = (&point.text, path.display());
                eprintln!("rotary: failpoint {text} strikes at {path}: {action}");
            }
            match action {
                Action::Off => {}
                Action::Sleep(time) => std::thread::sleep(time),
                Action::Error(errno) => return Err(errno.into()),
                Action::Abort => {
                    (self.end)();
                    return Err(io::ErrorKind::Other.into());
                }
            }
        }
        Ok(())
    }

    /// An operation between what happens before and after it.
    fn between<T>(
        &self,
        operation: Operation,
        path: &Path,
        run: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.strike(operation, path, false)?;
        let done = run()?;
        self.strike(operation, path, true)?;
        Ok(done)
    }
}

/// A disk that fails where it is told to.
#[derive(Clone)]
pub struct FailingDisk(Arc<Shared>);

impl FailingDisk {
    /// Stands between a product and the disk that has its data directory at `root`.
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf, points: Failpoints) -> Self {
        Self::ending(disk, root, points, || kill_self())
    }

    fn ending(
        disk: Arc<dyn Disk>,
        root: PathBuf,
        points: Failpoints,
        end: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared { disk, root, points, end: Box::new(end) }))
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FailingFile { shared: self.0.clone(), path: path.to_owned(), file })
    }
}

/// Ends the process as `kill -9` does.
fn kill_self() -> ! {
    let killed =
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // Where the kernel does not let a process kill itself, it ends at once all the same.
    if killed.is_err() {
        std::process::abort();
    }
    loop {
        std::thread::park();
    }
}

impl Disk for FailingDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let made = self.0.between(Operation::Create, path, || self.0.disk.create(path))?;
        Ok(self.file(path, made))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let opened = self.0.between(Operation::Open, path, || self.0.disk.open(path))?;
        Ok(self.file(path, opened))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.0.disk.list(directory)
    }

    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        self.0.disk.make_directory(directory)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.between(Operation::Remove, path, || self.0.disk.remove(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.between(Operation::Rename, to, || self.0.disk.rename(from, to))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let run = || self.0.disk.sync_directory(directory);
        self.0.between(Operation::SyncDirectory, directory, run)
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.0.disk.free_bytes(directory)
    }
}

struct FailingFile {
    shared: Arc<Shared>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl FailingFile {
    fn between<T>(
        &self,
        operation: Operation,
        run: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.shared.between(operation, &self.path, run)
    }
}

impl DiskFile for FailingFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.between(Operation::Read, || self.file.read_at(offset, into))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.between(Operation::Write, || self.file.write_at(offset, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.between(Operation::Sync, || self.file.sync())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.between(Operation::Resize, || self.file.set_len(bytes))
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

#[cfg(test)]
#[path = "failpoints_tests.rs"]
mod tests;
