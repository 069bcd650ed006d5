//! What a durable log costs on this machine: files written by hand, and the two log stores.
//!
//! `cargo run --release -p rotary-storage --example floor -- [seconds] [directory]`
//!
//! One caller writes batches of 200-byte records and waits for each batch. Every figure is the
//! median of five rounds, in which the candidates take turns; the slowest batch is of all rounds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rotary_storage::{
    Disk, DiskFile, FileDisk, FjallLog, FjallLogOptions, LogEntry, LogStore, SegmentLog,
    SegmentLogOptions,
};

const RECORD_BYTES: usize = 200;
const ROUNDS: usize = 5;
const BATCHES: [u64; 3] = [1, 64, 1024];
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Something that makes records durable.
trait Candidate {
    /// Writes that many records and returns when they are durable.
    fn write(&mut self, records: u64) -> io::Result<()>;
}

/// A file that is written and synced, and nothing else.
struct ByHand {
    file: Arc<dyn DiskFile>,
    end: u64,
    zeroed: u64,
    /// How far ahead zeros are written; 0 for a file that grows.
    step: u64,
}

impl ByHand {
    fn make(path: &Path, step: u64) -> io::Result<Self> {
        Ok(Self { file: FileDisk.create(path)?, end: 0, zeroed: 0, step })
    }
}

impl Candidate for ByHand {
    fn write(&mut self, records: u64) -> io::Result<()> {
        let bytes = vec![7; RECORD_BYTES * records as usize];
        if self.end >= SEGMENT_BYTES {
            self.end = 0;
            self.file.set_len(0)?;
            self.zeroed = 0;
        }
        let end = self.end + bytes.len() as u64;
        if self.step > 0 && end > self.zeroed {
            let zeros = vec![0; (end.next_multiple_of(self.step) - self.zeroed) as usize];
            self.file.write_at(self.zeroed, &zeros)?;
            self.zeroed += zeros.len() as u64;
            self.file.sync()?;
        }
        self.file.write_at(self.end, &bytes)?;
        self.end = end;
        self.file.sync()
    }
}

/// A log store with one group, which is purged so that it stays small.
struct Store {
    log: Box<dyn LogStore>,
    next: u64,
    kept: u64,
}

impl Candidate for Store {
    fn write(&mut self, records: u64) -> io::Result<()> {
        let (sender, receiver) = channel();
        let left = Arc::new(AtomicU64::new(records));
        for index in self.next..self.next + records {
            let bytes = Arc::from([7_u8; RECORD_BYTES]);
            let (sender, left) = (sender.clone(), left.clone());
            let done = Box::new(move |result: io::Result<()>| {
                // The last one tells, and so does one that fails.
                if result.is_err() || left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    drop(sender.send(result));
                }
            });
            self.log.append(0, vec![LogEntry { index, bytes }], done);
        }
        drop(sender);
        self.next += records;
        if self.next / 100_000 > self.kept / 100_000 {
            self.log.purge(0, self.kept, Vec::new(), Box::new(|_| {}));
            self.kept = self.next;
        }
        receiver.iter().collect()
    }
}

fn segments(directory: &Path, step_bytes: u64) -> io::Result<SegmentLog> {
    let options = SegmentLogOptions { step_bytes, ..SegmentLogOptions::default() };
    Ok(SegmentLog::open(Arc::new(FileDisk), directory, options)?)
}

fn store(log: impl LogStore) -> Box<dyn Candidate> {
    Box::new(Store { log: Box::new(log), next: 1, kept: 1 })
}

type Named = (&'static str, Box<dyn Candidate>);

fn candidates(directory: &Path) -> io::Result<Vec<Named>> {
    let by_hand = |name: &str, step| -> io::Result<Box<dyn Candidate>> {
        Ok(Box::new(ByHand::make(&directory.join(name), step)?))
    };
    let mib = 1024 * 1024;
    let fjall = FjallLog::open(&directory.join("fjall"), FjallLogOptions::default())?;
    Ok(vec![
        ("file that grows", by_hand("grows", 0)?),
        ("file zeroed by 1 MiB", by_hand("zeroed", mib)?),
        ("file zeroed whole", by_hand("whole", SEGMENT_BYTES)?),
        ("SegmentLog, step 64 KiB", store(segments(&directory.join("s64k"), 64 * 1024)?)),
        ("SegmentLog, step 1 MiB", store(segments(&directory.join("s1m"), mib)?)),
        ("SegmentLog, step 8 MiB", store(segments(&directory.join("s8m"), 8 * mib)?)),
        ("FjallLog", store(fjall)),
    ])
}

/// One round of one candidate.
struct Round {
    batches_per_second: f64,
    cpu_us_per_record: f64,
    p50: Duration,
    p99: Duration,
    max: Duration,
}

/// CPU time of this process, in microseconds: `/proc` counts hundredths of a second.
fn cpu_us() -> io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(11).take(2);
    Ok(fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() * 10_000.0)
}

fn run(candidate: &mut dyn Candidate, records: u64, time: Duration) -> io::Result<Round> {
    let (start, cpu) = (Instant::now(), cpu_us()?);
    let mut latencies = Vec::new();
    while start.elapsed() < time {
        let begun = Instant::now();
        candidate.write(records)?;
        latencies.push(begun.elapsed());
    }
    let count = latencies.len() as f64;
    latencies.sort_unstable();
    let at = |share: f64| latencies[((count - 1.0) * share) as usize];
    Ok(Round {
        batches_per_second: count / start.elapsed().as_secs_f64(),
        cpu_us_per_record: (cpu_us()? - cpu) / count / records as f64,
        p50: at(0.5),
        p99: at(0.99),
        max: at(1.0),
    })
}

fn median<T: PartialOrd>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.swap_remove(values.len() / 2)
}

/// Writes a log of that many records and times how long opening it takes.
fn recovery(directory: &Path, records: u64, at_once: u64) -> io::Result<()> {
    let path = directory.join(format!("recovery-{at_once}"));
    let mut writer = Store { log: Box::new(segments(&path, 1024 * 1024)?), next: 1, kept: 1 };
    for index in (1..=records).step_by(at_once as usize) {
        let (sender, receiver) = channel();
        let entries = (index..index + at_once)
            .map(|index| LogEntry { index, bytes: Arc::from([7_u8; RECORD_BYTES]) });
        writer.log.append(0, entries.collect(), Box::new(move |result| drop(sender.send(result))));
        receiver.recv().map_err(io::Error::other)??;
        writer.next = index + at_once;
    }
    drop(writer);
    let mut bytes = 0;
    for name in FileDisk.list(&path)? {
        if name.ends_with(".segment") {
            bytes += FileDisk.open(&path.join(name))?.len()?;
        }
    }
    let start = Instant::now();
    let log = segments(&path, 1024 * 1024)?;
    let opened = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let (mut read, mut next) = (0, 1);
    while let Some(last) = log.read(0, next..u64::MAX, 4 * 1024 * 1024)?.last() {
        read += last.index + 1 - next;
        next = last.index + 1;
    }
    let gib = bytes as f64 / f64::from(1 << 30);
    println!(
        "recovery, {at_once} records a batch: {:.2} GiB, {read} records: {:.2} s a GiB to open, \
         {:.2} s a GiB to read",
        gib,
        opened / gib,
        start.elapsed().as_secs_f64() / gib
    );
    drop(log);
    std::fs::remove_dir_all(path)
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = parent.join(format!("rotary-floor-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let mut candidates = candidates(&directory)?;
    println!(
        "| | records a batch | batches/s | records/s | CPU us a record | p50 | p99 | slowest |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for records in BATCHES {
        let mut rounds: Vec<Vec<Round>> = candidates.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for ((_, candidate), rounds) in candidates.iter_mut().zip(&mut rounds) {
                let time = Duration::from_secs_f64(seconds);
                rounds.push(run(&mut **candidate, records, time)?);
            }
        }
        for ((name, _), rounds) in candidates.iter().zip(&rounds) {
            let batches = median(rounds.iter().map(|round| round.batches_per_second));
            println!(
                "| {name} | {records} | {batches:.0} | {:.0} | {:.2} | {:.2?} | {:.2?} | {:.2?} |",
                batches * records as f64,
                median(rounds.iter().map(|round| round.cpu_us_per_record)),
                median(rounds.iter().map(|round| round.p50)),
                median(rounds.iter().map(|round| round.p99)),
                rounds.iter().map(|round| round.max).max().unwrap_or_default(),
            );
        }
    }
    drop(candidates);
    for (records, at_once) in [(1_000_000, 1024), (100_000, 16)] {
        recovery(&directory, records, at_once)?;
    }
    std::fs::remove_dir_all(directory)
}
