//! The bytes of everything that a node keeps on disk, compared with golden files.
//!
//! A line of `node/storage/golden/` is a directory ([`golden_image`](image)) as this build writes
//! it. What a release wrote is laid out and opened by the same code that opens a node's own, and
//! must hold what today's holds (`proto/golden/README.md`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contract::{append, durably, entry};
use super::segment_format::{BatchHeader, Record, SEGMENT_HEADER_BYTES, records, seed};
use super::*;
use crate::journal_frame::Kind;

#[path = "golden_image.rs"]
mod image;
#[path = "../../../proto/tests/golden/kept.rs"]
mod kept;

use image::{Image, short};
use kept::{Sample, check, same, settle};

/// A format on disk: how a sample of it is made, and what is found when it is opened.
#[derive(Clone, Copy)]
struct Format {
    name: &'static str,
    write: fn(&Path),
    read: fn(&Path) -> Result<String, String>,
}

const LOG: Format = Format { name: "log", write: write_log, read: read_log };
const JOURNAL: Format = Format { name: "journal", write: write_journal, read: read_journal };
const CHUNK: Format = Format { name: "chunk", write: write_chunk, read: read_chunk };
const SNAPSHOTS: Format =
    Format { name: "snapshots", write: write_snapshots, read: read_snapshots };
const NOTES: Format = Format { name: "notes", write: write_notes, read: read_notes };
const IDENTITY: Format = Format { name: "identity", write: write_id, read: read_id };

impl Format {
    fn image(self) -> Image {
        let dir = tempfile::tempdir().expect("a directory");
        (self.write)(dir.path());
        Image::of(dir.path())
    }

    /// What is found in the files of such a text.
    fn found(self, text: &str) -> Result<String, String> {
        let dir = tempfile::tempdir().expect("a directory");
        Image::parse(text)?.lay(dir.path());
        (self.read)(dir.path())
    }

    fn sample(self) -> Sample {
        let today = self.image().text();
        let found = self.found(&today).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let reads = move |then: &str, _: &str| same(&self.found(then)?, &found);
        Sample::new(self.name, today, reads)
    }
}

fn golden(file: &str, formats: &[Format]) {
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let released = crates.join("../../proto/golden/released");
    let samples: Vec<Sample> = formats.iter().map(|format| format.sample()).collect();
    let path = crates.join("golden").join(file);
    settle(&path, (&released, &format!("storage_{file}")), &samples);
}

#[test]
fn the_log_on_disk_is_that_of_the_golden_file() {
    golden("log.txt", &[LOG]);
}

#[test]
fn the_journal_on_disk_is_that_of_the_golden_file() {
    golden("journal.txt", &[JOURNAL, CHUNK]);
}

#[test]
fn snapshots_on_disk_are_those_of_the_golden_file() {
    golden("snapshots.txt", &[SNAPSHOTS]);
}

#[test]
fn the_data_directory_is_that_of_the_golden_file() {
    golden("directory.txt", &[IDENTITY, NOTES]);
}

/// Whatever byte of a release's file is changed, somebody notices.
#[test]
fn a_golden_file_that_was_doctored_is_found() {
    for format in [LOG, JOURNAL, CHUNK, SNAPSHOTS, NOTES, IDENTITY] {
        let (image, samples) = (format.image(), [format.sample()]);
        let bytes: usize = image.0.values().map(Vec::len).sum();
        let step = (bytes / 40).max(1) | 1;
        for (path, content) in &image.0 {
            let mut doctored = image.clone();
            doctored.0.remove(path);
            let found = in_an_older_release(format.name, &doctored, &samples);
            assert_eq!(found.len(), 1, "{}: {path} is gone", format.name);
            for at in (0..content.len()).step_by(step).filter(|at| content[*at] != 0) {
                let mut doctored = image.clone();
                doctored.0.get_mut(path).expect("it is there")[at] ^= 1;
                let found = in_an_older_release(format.name, &doctored, &samples);
                assert_eq!(found.len(), 1, "{}: {path} at {at}", format.name);
            }
        }
        assert!(in_an_older_release(format.name, &image, &samples).is_empty());
    }
}

/// What is found of a line that an older release than the newest one left.
fn in_an_older_release(name: &str, image: &Image, samples: &[Sample]) -> Vec<String> {
    let root = tempfile::tempdir().expect("a directory");
    for (version, text) in [("1.0.0", image.text()), ("1.1.0", samples[0].today.clone())] {
        let folder = root.path().join(version);
        std::fs::create_dir_all(&folder).expect("writable");
        std::fs::write(folder.join("it.txt"), format!("{name}: {text}\n")).expect("writable");
    }
    check(root.path(), "it.txt", samples)
}

fn open_log(path: &Path) -> Result<SegmentLog, String> {
    let options = SegmentLogOptions {
        log_id: 42,
        segment_bytes: 4096,
        step_bytes: 1024,
        reserve_bytes: 0,
        free_bytes_min: 0,
        fatal: Fatal::with(|_, _| {}),
        ..SegmentLogOptions::default()
    };
    SegmentLog::open(Arc::new(FileDisk), path, options).map_err(|error| error.to_string())
}

/// The groups of the log's sample.
const GROUPS: std::ops::Range<Group> = 1..5;

/// A log with several segments, whose newest has a record of each kind.
fn write_log(path: &Path) {
    let log = open_log(path).expect("opens");
    append(&log, 4, 1..3, "idle");
    let large = |index| LogEntry { index, bytes: vec![b'x'; 1_500].into() };
    for index in 1..=11 {
        durably(|done| log.append(1, vec![large(index)], done));
        let mark = format!("through {}", index - 1).into_bytes();
        durably(|done| log.purge(1, index - 1, mark, done));
    }
    durably(|done| log.save_vote(2, b"vote".to_vec(), done));
    append(&log, 2, 1..5, "two");
    log.save_lazily(2, "committed", b"3".to_vec());
    durably(|done| log.truncate_after(2, Some(3), done));
    durably(|done| log.save_vote(3, b"torn".to_vec(), done));
    drop(log);
    tear(path);
    let log = open_log(path).expect("a torn tail is cut");
    durably(|done| log.clear_cut(1, done));
    append(&log, 2, 4..6, "again");
    log.flush().expect("flushes");
}

/// Changes the last byte of the last batch.
fn tear(directory: &Path) {
    let mut image = Image::of(directory);
    let mut last = image.0.last_entry().expect("a segment");
    let at = last.get().iter().rposition(|byte| *byte != 0).expect("a batch");
    last.get_mut()[at] ^= 1;
    image.lay(directory);
}

fn read_log(path: &Path) -> Result<String, String> {
    let log = open_log(path)?;
    let text = |error: std::io::Error| error.to_string();
    let mut found = String::new();
    for group in GROUPS {
        let entries = log.read(group, 0..u64::MAX, usize::MAX).map_err(text)?;
        let entries =
            entries.iter().map(|entry| format!("{}:{}", entry.index, short(&entry.bytes)));
        let entries = entries.collect::<Vec<_>>();
        let (vote, purged) = (log.vote(group).map_err(text)?, log.purged(group).map_err(text)?);
        let saved = log.saved(group, "committed").map_err(text)?;
        let cut = log.was_cut(group).map_err(text)?;
        found += &format!("{group} {entries:?} {vote:?} {purged:?} {saved:?} {cut}; ");
    }
    Ok(found)
}

/// The kinds of records in a segment, and whether it has been sealed.
fn kinds(number: u32, bytes: &[u8]) -> (Vec<&'static str>, bool) {
    let (mut kinds, mut at) = (Vec::new(), SEGMENT_HEADER_BYTES);
    while let Some(header) = BatchHeader::parse(&bytes[at..], seed(42, number)) {
        if header.seal {
            return (kinds, true);
        }
        let body = &bytes[at + segment_format::BATCH_HEADER_BYTES..];
        let body = &body[..header.body_bytes as usize];
        kinds.extend(records(body).map(|found| kind(&found.expect("a record").record)));
        at += segment_format::BATCH_HEADER_BYTES + body.len();
    }
    (kinds, false)
}

fn kind(record: &Record<'_>) -> &'static str {
    match record {
        Record::Entry(..) => "entry",
        Record::Copy(..) => "copy",
        Record::Vote(_) => "vote",
        Record::Saved(..) => "saved",
        Record::Truncate(_) => "truncate",
        Record::Purge(..) => "purge",
        Record::Mark(..) => "mark",
        Record::Cut => "cut",
        Record::CutCleared => "cut cleared",
    }
}

#[test]
fn the_log_sample_has_everything_that_a_log_may_have() {
    let image = LOG.image();
    let segments = image.0.iter().map(|(path, bytes)| {
        let number = path.split('.').next().and_then(|number| number.parse().ok());
        kinds(number.expect("a segment's name"), bytes)
    });
    let (mut found, mut sealed) = (Vec::new(), false);
    for (kinds, seal) in segments {
        found.extend(kinds);
        sealed |= seal;
    }
    found.sort_unstable();
    found.dedup();
    let all = ["copy", "cut", "cut cleared", "entry", "mark", "purge", "saved", "truncate", "vote"];
    assert_eq!((found.as_slice(), sealed), (all.as_slice(), true));
    let read = LOG.found(&image.text()).expect("opens");
    let last = entry(5, "again");
    let last = format!("{}:{}", last.index, short(&last.bytes));
    assert!(read.contains(&last), "what was written after the tear is there: {read}");
}

fn open_journal(path: &Path) -> Result<Journal, String> {
    let options = JournalOptions {
        segment_bytes_max: 700,
        mark_interval: 4,
        drive: Drive::Manual(Arc::new(|| ())),
        fatal: Fatal::with(|_, _| {}),
        ..JournalOptions::default()
    };
    Journal::open(Arc::new(FileDisk), path, options).map_err(|error| error.to_string())
}

/// A journal with closed segments and one that grows, with a mark of an index without records;
/// and one of a group that began at another replica's snapshot.
fn write_journal(path: &Path) {
    let journal = open_journal(path).expect("opens");
    for index in 1..=12 {
        let record = |ordinal: u32| JournalRecord {
            stream: 7,
            sequence: 2 * index - 1 + u64::from(ordinal),
            index,
            ordinal,
            bytes: format!("record {ordinal} of {index}").into_bytes(),
        };
        journal.append(3, vec![record(0), record(1)]).expect("in sequence");
        journal.pump().expect("written");
    }
    journal.advance(3, 17).expect("advances");
    journal.flush().expect("written");
    journal.rebase(4, journal.tip(3)).expect("a new group");
    let bytes = b"after the snapshot".to_vec();
    let next = JournalRecord { stream: 7, sequence: 25, index: 18, ordinal: 0, bytes };
    journal.append(4, vec![next]).expect("in sequence");
    journal.flush().expect("written");
}

fn read_journal(path: &Path) -> Result<String, String> {
    let journal = open_journal(path)?;
    let text = |error: JournalError| error.to_string();
    let mut found = String::new();
    for group in journal.groups() {
        journal.scrub(group).map_err(text)?;
        let after = journal.first_index(group);
        let page = journal.read_index(group, after, usize::MAX, usize::MAX).map_err(text)?;
        let place = (journal.base(group), journal.tip(group), journal.missing(group));
        found += &format!("{group} {place:?} {:?}; ", page.records);
    }
    Ok(found)
}

/// The kinds of frames in a segment of a group's journal.
fn frames(group: u32, bytes: &[u8]) -> Vec<Kind> {
    let (mut kinds, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let (frame, length) = journal_frame::frame_at(group, bytes, at).expect("a frame");
        kinds.push(frame.kind);
        at += length;
    }
    kinds
}

#[test]
fn the_journal_sample_has_every_kind_of_frame() {
    let image = JOURNAL.image();
    let of_group = image.0.iter().filter(|(path, _)| path.starts_with("group-3/"));
    let found: Vec<Kind> = of_group.flat_map(|(_, bytes)| frames(3, bytes)).collect();
    for kind in [Kind::Begin, Kind::Records, Kind::Mark, Kind::End] {
        assert!(found.contains(&kind), "{kind:?}");
    }
}

/// A journal on its way to another node: what the sample's group recorded after its third index.
fn write_chunk(path: &Path) {
    let dir = tempfile::tempdir().expect("a directory");
    write_journal(dir.path());
    let journal = open_journal(dir.path()).expect("opens");
    let chunk = journal.export(3, 3, 0, u64::MAX, CHUNK_BYTES_MAX).expect("there");
    std::fs::write(path.join("bytes"), chunk.bytes).expect("writable");
}

/// Takes the chunk in, as a node does that has the first three indexes.
fn read_chunk(path: &Path) -> Result<String, String> {
    let text = |error: JournalError| error.to_string();
    let (source, target) = (tempfile::tempdir(), tempfile::tempdir());
    let (source, target) = (source.expect("a directory"), target.expect("a directory"));
    write_journal(source.path());
    let source = open_journal(source.path())?;
    let target = open_journal(target.path())?;
    let known = source.read_index(3, 0, 6, usize::MAX).map_err(text)?;
    for records in known.records.chunk_by(|one, two| one.index == two.index) {
        target.append(3, records.to_vec()).map_err(text)?;
    }
    target.flush().map_err(text)?;
    target.rebase(3, source.tip(3)).map_err(text)?;
    let sent = source.export(3, 3, 0, u64::MAX, CHUNK_BYTES_MAX).map_err(text)?;
    let bytes = std::fs::read(path.join("bytes")).map_err(|error| error.to_string())?;
    let left = target.import(3, &JournalChunk { bytes, ..sent }).map_err(text)?;
    let page = target.read_index(3, 0, usize::MAX, usize::MAX).map_err(text)?;
    Ok(format!("{left:?} {:?}", page.records))
}

fn write_snapshots(path: &Path) {
    let snapshots = Snapshots::open(Arc::new(FileDisk), path, Fatal::exit()).expect("opens");
    let mut writer = snapshots.begin(6, 4_096, b"meta".to_vec()).expect("begins");
    writer.append(b"a chunk").expect("written");
    writer.append(&[7; 100]).expect("written");
    writer.finish().expect("written").publish().expect("named");
}

fn read_snapshots(path: &Path) -> Result<String, String> {
    let text = |error: SnapshotError| error.to_string();
    let snapshots = Snapshots::open(Arc::new(FileDisk), path, Fatal::exit()).map_err(text)?;
    let reader = snapshots.current(6).map_err(text)?.ok_or("there is none")?;
    let chunks = reader.chunks().collect::<Result<Vec<_>, _>>().map_err(text)?;
    Ok(format!("{:?} {:?} {chunks:?}", reader.id(), reader.meta()))
}

fn write_notes(path: &Path) {
    let notes = Notes::open(Arc::new(FileDisk), path).expect("opens");
    notes.put("poison-1-7", "panic: index out of bounds\npayload: 0102").expect("written");
}

fn read_notes(path: &Path) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let notes = Notes::open(Arc::new(FileDisk), path).map_err(text)?;
    let names = notes.names().map_err(text)?;
    let texts = names.iter().map(|name| notes.text(name)).collect::<Result<Vec<_>, _>>();
    Ok(format!("{names:?} {:?}", texts.map_err(text)?))
}

fn write_id(path: &Path) {
    let log = format!("{:032x}", 0x1234_5678_9abc_def0_u128);
    let identity = Identity { cluster: "blue".to_owned(), node: 3, format: 1, log, joins: false };
    data_dir::write_identity(path, &identity).expect("writable");
}

fn read_id(path: &Path) -> Result<String, String> {
    let open = DataDir::open(path, "blue", 3).map_err(|error| error.to_string())?;
    Ok(format!("{:?} {:x}", open.identity(), open.identity().log_id()))
}
