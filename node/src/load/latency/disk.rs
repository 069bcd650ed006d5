//! The floor: how long a lone durable write takes here and now.
//!
//! Every 50 ms a thread appends a record of 4 KiB to a file of its own and waits for `fdatasync`,
//! so the file grows by 80 KiB a second, and the disk is asked little more than it is anyway.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Bytes of a record.
const RECORD_BYTES: usize = 4_096;
/// Between two records.
const EVERY: Duration = Duration::from_millis(50);

/// A thread that samples.
pub(super) struct Disk {
    path: PathBuf,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Vec<Duration>>>,
}

impl Disk {
    /// Samples in a new file of `folder` until [`Disk::end`].
    ///
    /// # Errors
    /// A file that cannot be made.
    pub(super) fn sample(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("floor");
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        let ending = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&ending);
        let thread = std::thread::spawn(move || append(file, &ends));
        Ok(Self { path, ending, thread })
    }

    /// The times, at least one.
    ///
    /// # Errors
    /// A write or sync that failed.
    pub(super) fn end(self) -> anyhow::Result<Vec<Duration>> {
        self.ending.store(true, Ordering::Relaxed);
        let times = self.thread.join().map_err(|_| io::Error::other("the thread panicked"));
        let times = times.flatten().with_context(|| self.path.display().to_string())?;
        std::fs::remove_file(&self.path)?;
        Ok(times)
    }
}

fn append(mut file: File, ends: &AtomicBool) -> io::Result<Vec<Duration>> {
    let mut times = Vec::new();
    loop {
        let begun = Instant::now();
        file.write_all(&[0x5a; RECORD_BYTES])?;
        file.sync_data()?;
        times.push(begun.elapsed());
        if ends.load(Ordering::Relaxed) {
            return Ok(times);
        }
        std::thread::sleep(EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_one_write_is_timed_and_the_file_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let times = Disk::sample(folder.path()).expect("begun").end().expect("ended");
        assert!(!times.is_empty() && times.iter().all(|time| *time > Duration::ZERO));
        assert!(!folder.path().join("floor").exists());
        assert!(Disk::sample(&folder.path().join("absent")).is_err());
    }
}
