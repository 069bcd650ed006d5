//! What the journal promises: at once readable, gap-free, whole appends, forgotten by name.

use proptest::prelude::*;

use super::*;
use crate::disk::FileDisk;
use crate::fatal::EXIT_STORAGE;
use crate::simulated_disk::SimulatedDisk;

pub(crate) const GROUP: u32 = 3;
pub(crate) const STREAM: u64 = 1 << 32 | 7;

pub(crate) fn record(stream: u64, sequence: u64, index: u64, ordinal: u32) -> JournalRecord {
    let bytes = format!("{stream}/{sequence}").into_bytes();
    JournalRecord { stream, sequence, index, ordinal, bytes }
}

/// Index `n` makes records `2n - 1` and `2n` of the stream.
pub(crate) fn pair(index: u64) -> Vec<JournalRecord> {
    vec![record(STREAM, 2 * index - 1, index, 0), record(STREAM, 2 * index, index, 1)]
}

pub(crate) fn pairs(indexes: std::ops::RangeInclusive<u64>) -> Vec<JournalRecord> {
    indexes.flat_map(pair).collect()
}

/// Small segments, driven by hand, on a process that may be dead.
pub(crate) fn small() -> JournalOptions {
    JournalOptions {
        segment_bytes_max: 700,
        recent_bytes_max: 100,
        sync_interval: Duration::from_millis(1),
        mark_interval: 8,
        drive: Drive::Manual(Arc::new(|| ())),
        fatal: Fatal::with(|_, _| {}),
        ..JournalOptions::default()
    }
}

pub(crate) fn try_open(disk: &SimulatedDisk) -> Result<Journal, JournalError> {
    Journal::open(disk.process(), Path::new("/journal"), small())
}

pub(crate) fn open(disk: &SimulatedDisk) -> Journal {
    try_open(disk).expect("opens")
}

pub(crate) fn filled(disk: &SimulatedDisk, indexes: std::ops::RangeInclusive<u64>) -> Journal {
    let journal = open(disk);
    for index in indexes {
        journal.append(GROUP, pair(index)).expect("in sequence");
        journal.pump().expect("written");
    }
    journal
}

pub(crate) fn read_all(journal: &Journal) -> Vec<JournalRecord> {
    let first = journal.first_sequence(GROUP, STREAM);
    journal.read(GROUP, STREAM, first, usize::MAX, usize::MAX).expect("readable")
}

pub(crate) fn segments(disk: &SimulatedDisk) -> Vec<PathBuf> {
    disk.files().into_iter().map(|(path, _)| path).collect()
}

#[test]
fn records_are_readable_at_once_and_from_any_place() {
    let journal = open(&SimulatedDisk::new(1));
    for index in 1..=50 {
        journal.append(GROUP, pair(index)).expect("in sequence");
        let newest = journal.read(GROUP, STREAM, 2 * index, 10, 1 << 20).expect("readable");
        assert_eq!(newest, [record(STREAM, 2 * index, index, 1)]);
        assert_eq!(journal.last_index(GROUP), index);
        if index % 3 == 0 {
            journal.pump().expect("written");
        }
    }
    for _ in 0..2 {
        assert_eq!(read_all(&journal), pairs(1..=50));
        let some = journal.read(GROUP, STREAM, 7, 3, 1 << 20).expect("readable");
        assert_eq!(some, pairs(4..=5)[..3]);
        assert_eq!(journal.read(GROUP, STREAM, 7, 3, 0).expect("readable").len(), 1);
        assert_eq!(journal.read(GROUP, STREAM, 101, 3, 1 << 20).expect("readable"), []);
        assert_eq!(journal.read(GROUP, 99, 1, 3, 1 << 20).expect("readable"), []);
        journal.flush().expect("flushes");
    }
}

#[test]
fn a_thread_on_real_files_writes_what_a_reopening_finds() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = JournalOptions { drive: Drive::Thread, pending_bytes_max: 64, ..small() };
    let open = || Journal::open(Arc::new(FileDisk), dir.path(), options.clone()).expect("opens");
    let journal = open();
    for index in 1..=200 {
        journal.append(GROUP, pair(index)).expect("in sequence");
    }
    journal.advance(GROUP, 203).expect("advances");
    journal.flush().expect("flushes");
    assert_eq!((journal.durable_index(GROUP), journal.last_index(GROUP)), (203, 203));
    assert!(read_all(&journal) == pairs(1..=200));
    let head = journal.head(GROUP);
    drop(journal);
    let journal = open();
    assert_eq!(journal.head(GROUP), head);
    assert!(read_all(&journal) == pairs(1..=200));
    journal.scrub(GROUP).expect("undamaged");
}

#[test]
fn reopened_it_holds_everything_and_skips_what_it_holds() {
    let disk = SimulatedDisk::new(1);
    drop(filled(&disk, 1..=30));
    assert!(segments(&disk).len() > 3);
    disk.kill();
    let journal = open(&disk);
    assert_eq!(journal.last_index(GROUP), 30);
    assert_eq!(journal.last_sequence(GROUP, STREAM), 60);
    for index in 1..=40 {
        journal.append(GROUP, pair(index)).expect("skipped or in sequence");
    }
    assert_eq!(read_all(&journal), pairs(1..=40));
    journal.flush().expect("flushes");
    disk.kill();
    assert_eq!(read_all(&open(&disk)), pairs(1..=40));
}

#[test]
fn a_gap_in_a_stream_or_a_falling_index_is_refused_and_changes_nothing() {
    let journal = open(&SimulatedDisk::new(1));
    journal.append(GROUP, pair(1)).expect("in sequence");
    let torn = vec![record(8, 1, 2, 0), record(STREAM, 4, 2, 1)];
    let error = journal.append(GROUP, torn).expect_err("3 is next");
    assert!(matches!(error, JournalError::OutOfSequence { expected: 3, found: 4, .. }));
    assert_eq!(journal.last_sequence(GROUP, 8), 0);
    journal.append(GROUP, pair(2)).expect("in sequence");
    journal.advance(GROUP, 4).expect("advances");
    let late = vec![record(8, 1, 4, 0)];
    let error = journal.append(GROUP, late).expect_err("4 was passed");
    assert!(matches!(error, JournalError::NotRising { last: 4, index: 4, .. }));
}

#[test]
fn an_index_without_records_is_known_after_a_reopening_once_it_is_durable() {
    let disk = SimulatedDisk::new(1);
    let journal = open(&disk);
    journal.append(GROUP, pair(1)).expect("in sequence");
    journal.pump().expect("written");
    journal.advance(GROUP, 5).expect("advances");
    assert!(!journal.pump().expect("nothing to do"), "an idle group costs no sync");
    assert_eq!((journal.last_index(GROUP), journal.durable_index(GROUP)), (5, 1));
    journal.advance(GROUP, 9).expect("advances");
    journal.pump().expect("written");
    assert_eq!(journal.durable_index(GROUP), 9, "many of them are written down");
    journal.advance(GROUP, 10).expect("advances");
    journal.flush().expect("written");
    assert_eq!(journal.durable_index(GROUP), 10, "and one with a flush");
    let head = journal.head(GROUP);
    disk.power_cut();
    let journal = open(&disk);
    assert_eq!((journal.last_index(GROUP), journal.head(GROUP)), (10, head));
}

#[test]
fn the_chain_is_a_function_of_the_records_alone() {
    let plain = open(&SimulatedDisk::new(1));
    let mut heads = vec![JournalHead::default()];
    for index in 1..=40 {
        plain.append(GROUP, pair(index)).expect("in sequence");
        heads.push(plain.head(GROUP));
    }
    let disk = SimulatedDisk::new(2);
    for last in [3, 11, 40] {
        let options = JournalOptions { segment_bytes_max: 100 * last, ..small() };
        let journal = Journal::open(disk.process(), Path::new("/journal"), options).expect("opens");
        for index in 1..=last {
            journal.append(GROUP, pair(index)).expect("skipped or in sequence");
            journal.flush().expect("written");
        }
        for index in 0..=last {
            let head = journal.head_at(GROUP, index).expect("passed");
            assert_eq!(head, heads[index as usize], "{index} of {last}");
        }
        disk.kill();
    }
    let other = open(&SimulatedDisk::new(3));
    other.append(GROUP, pair(1)).expect("in sequence");
    other
        .append(
            GROUP,
            pair(3).into_iter().map(|r| JournalRecord { sequence: r.sequence - 2, ..r }).collect(),
        )
        .expect("in sequence");
    assert_ne!(other.head(GROUP).hash, heads[2].hash);
}

#[test]
fn retention_drops_whole_segments_and_readers_of_them_are_told() {
    let disk = SimulatedDisk::new(1);
    let journal = filled(&disk, 1..=60);
    let (head, before) = (journal.head(GROUP), segments(&disk).len());
    assert_eq!(journal.retain(GROUP, 0).expect("nothing to do"), 0);
    let dropped = journal.retain(GROUP, 31).expect("dropped");
    assert!(dropped > 2 && segments(&disk).len() == before - dropped);
    for reopened in [false, true] {
        let journal = if reopened {
            disk.power_cut();
            open(&disk)
        } else {
            filled(&disk, 1..=60)
        };
        let first = journal.first_sequence(GROUP, STREAM);
        assert!((40..=61).contains(&first), "{first}");
        assert_eq!(read_all(&journal)[..], pairs(1..=60)[first as usize - 1..]);
        let error = journal.read(GROUP, STREAM, first - 1, 1, 1).expect_err("forgotten");
        let told = matches!(error, JournalError::Forgotten { first: f, .. } if f == first);
        assert!(told, "{error}");
        let after = journal.base(GROUP).head.index;
        let page = journal.read_index(GROUP, after, usize::MAX, usize::MAX).expect("there");
        assert_eq!(page.records, read_all(&journal));
        assert!(journal.read_index(GROUP, after - 1, 1, 1).is_err());
        assert_eq!(journal.head(GROUP), head);
        journal.scrub(GROUP).expect("undamaged");
    }
    let journal = open(&disk);
    while journal.retain(GROUP, u64::MAX).expect("dropped") > 0 {}
    journal.append(GROUP, pair(61)).expect("in sequence");
    journal.flush().expect("written");
    disk.power_cut();
    assert_eq!(read_all(&open(&disk)).last(), pair(61).last());
}

#[test]
fn a_full_disk_ends_the_process_and_says_so() {
    let disk = SimulatedDisk::new(1);
    let said = Arc::new(Mutex::new(Vec::new()));
    let (sink, fatal) = (said.clone(), Fatal::with(|_, _| {}));
    drop(fatal);
    let fatal = Fatal::with(move |code, reason| {
        sink.lock().expect("whole").push((code, reason.to_owned()));
    });
    let options = JournalOptions { fatal, ..small() };
    let journal = Journal::open(disk.process(), Path::new("/journal"), options).expect("opens");
    disk.set_capacity(100);
    journal.append(GROUP, pair(1)).expect("in memory");
    assert!(matches!(journal.pump(), Err(JournalError::Failed(_))));
    assert!(matches!(journal.append(GROUP, pair(2)), Err(JournalError::Failed(_))));
    assert!(matches!(journal.flush(), Err(JournalError::Failed(_))));
    let said = said.lock().expect("whole");
    assert!(said.len() == 1 && said[0].0 == EXIT_STORAGE && said[0].1.contains("the disk is full"));
}

#[test]
fn memory_does_not_grow_with_history() {
    let journal = filled(&SimulatedDisk::new(1), 1..=400);
    let (recent, places, closed) = journal
        .shared
        .read_group(GROUP, |journal| {
            let places = journal.growing().map(|open| open.table.streams[&STREAM].offsets.len());
            (journal.recent.len(), places.sum::<usize>(), journal.closed.len())
        })
        .expect("there");
    assert!(recent < 20 && places < 20 && closed > 30, "{recent} {places} {closed}");
}

/// One thing that may happen to a journal.
#[derive(Debug, Clone)]
enum Deed {
    Append(Vec<u8>),
    Advance(u64),
    Pump,
    Flush,
    Reopen,
    Retain(u64),
    Read(u64, usize, usize),
    ReadIndex(u64, usize, usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => proptest::collection::vec(0u8..4, 1..6).prop_map(Deed::Append),
        1 => (1u64..20).prop_map(Deed::Advance),
        3 => Just(Deed::Pump),
        1 => Just(Deed::Flush),
        1 => Just(Deed::Reopen),
        1 => (0u64..100).prop_map(Deed::Retain),
        3 => (0u64..60, 1usize..20, 0usize..200).prop_map(|(f, r, b)| Deed::Read(f, r, b)),
        3 => (0u64..120, 1usize..20, 0usize..200).prop_map(|(f, r, b)| Deed::ReadIndex(f, r, b)),
    ]
}

/// The journal as a list.
#[derive(Default)]
struct Oracle {
    records: Vec<JournalRecord>,
    last: u64,
}

impl Oracle {
    fn next(&mut self, streams: &[u8]) -> Vec<JournalRecord> {
        self.last += 1;
        let mut frame = Vec::new();
        for (ordinal, stream) in (0..).zip(streams) {
            let stream = u64::from(*stream);
            let all = self.records.iter().chain(&frame);
            let sequence = 1 + all.filter(|record| record.stream == stream).count() as u64;
            frame.push(record(stream, sequence, self.last, ordinal));
        }
        self.records.extend(frame.iter().cloned());
        frame
    }

    fn stream(&self, stream: u64, from: u64) -> Vec<JournalRecord> {
        let wanted = |r: &&JournalRecord| r.stream == stream && r.sequence >= from;
        self.records.iter().filter(wanted).cloned().collect()
    }
}

fn check_read(journal: &Journal, oracle: &Oracle, from: u64, records: usize, bytes: usize) {
    for stream in 0..4 {
        let first = journal.first_sequence(GROUP, stream);
        match journal.read(GROUP, stream, from, records, bytes) {
            Err(JournalError::Forgotten { first: told, .. }) => {
                assert!(told == first && from.max(1) < first);
            }
            Err(error) => panic!("{error}"),
            Ok(read) => {
                let all = oracle.stream(stream, from);
                assert_eq!(read, all[..read.len()]);
                assert!(read.len() <= records && (all.is_empty() || !read.is_empty()));
                let sum =
                    |read: &[JournalRecord]| read.iter().map(|r| r.bytes.len()).sum::<usize>();
                assert!(read.len() <= 1 || sum(&read) <= bytes);
                let more = all.len() > read.len() && read.len() < records;
                assert!(!more || sum(&all[..=read.len()]) > bytes, "it could have read more");
            }
        }
    }
}

fn check_index(journal: &Journal, oracle: &Oracle, after: u64, records: usize, bytes: usize) {
    let first = journal.base(GROUP).head.index;
    match journal.read_index(GROUP, after, records, bytes) {
        Err(JournalError::IndexForgotten { first: told, .. }) => {
            assert!(told == first && after < first);
        }
        Err(error) => panic!("{error}"),
        Ok(page) => {
            let wanted = |r: &&JournalRecord| r.index > after && r.index <= page.through;
            let all: Vec<_> = oracle.records.iter().filter(wanted).cloned().collect();
            assert_eq!(page.records, all);
            let left = oracle.records.iter().any(|record| record.index > after);
            assert!(!left || !all.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever is done to it, the journal reads as the list of what was appended.
    #[test]
    fn it_reads_as_a_list(deeds in proptest::collection::vec(deed(), 1..120)) {
        let disk = SimulatedDisk::new(7);
        let (mut journal, mut oracle) = (open(&disk), Oracle::default());
        for deed in deeds {
            match deed {
                Deed::Append(streams) => {
                    let frame = oracle.next(&streams);
                    journal.append(GROUP, frame).expect("in sequence");
                }
                Deed::Advance(by) => {
                    oracle.last += by;
                    journal.advance(GROUP, oracle.last).expect("advances");
                }
                Deed::Pump => {
                    journal.pump().expect("written");
                }
                Deed::Flush => journal.flush().expect("written"),
                Deed::Reopen => {
                    journal.flush().expect("written");
                    let head = journal.head(GROUP);
                    disk.power_cut();
                    journal = open(&disk);
                    prop_assert_eq!(journal.head(GROUP), head);
                }
                Deed::Retain(before) => {
                    journal.retain(GROUP, before).expect("dropped");
                }
                Deed::Read(from, records, bytes) => {
                    check_read(&journal, &oracle, from, records, bytes);
                }
                Deed::ReadIndex(after, records, bytes) => {
                    check_index(&journal, &oracle, after, records, bytes);
                }
            }
            prop_assert_eq!(journal.last_index(GROUP), oracle.last);
        }
        journal.scrub(GROUP).expect("undamaged");
        check_read(&journal, &oracle, 0, usize::MAX, usize::MAX);
    }
}
