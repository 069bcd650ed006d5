//! What the journal promises: at once readable, gap-free, whole appends after a crash.

use super::*;

const GROUP: u32 = 3;
const STREAM: u64 = 1 << 32 | 7;

fn record(stream: u64, sequence: u64, index: u64, ordinal: u32) -> JournalRecord {
    let bytes = format!("{stream}/{sequence}").into_bytes();
    JournalRecord { stream, sequence, index, ordinal, bytes }
}

/// Index `n` makes records `2n - 1` and `2n` of the stream.
fn pair(index: u64) -> Vec<JournalRecord> {
    vec![record(STREAM, 2 * index - 1, index, 0), record(STREAM, 2 * index, index, 1)]
}

fn small() -> JournalOptions {
    JournalOptions {
        segment_bytes_max: 400,
        recent_bytes_max: 100,
        sync_interval: Duration::from_millis(1),
        ..JournalOptions::default()
    }
}

fn open(path: &Path) -> Journal {
    Journal::open(path, small()).expect("opens")
}

fn filled(path: &Path, indexes: u64) {
    let journal = open(path);
    for index in 1..=indexes {
        journal.append(GROUP, pair(index)).expect("in sequence");
    }
    journal.flush().expect("flushes");
    assert_eq!(journal.durable_index(GROUP), indexes);
}

fn read_all(journal: &Journal) -> Vec<JournalRecord> {
    journal.read(GROUP, STREAM, 1, usize::MAX, usize::MAX).expect("readable")
}

fn pairs(indexes: std::ops::RangeInclusive<u64>) -> Vec<JournalRecord> {
    indexes.flat_map(pair).collect()
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let directory = path.join(format!("group-{GROUP}"));
    let found = std::fs::read_dir(directory).expect("a directory");
    let mut paths: Vec<_> = found.map(|found| found.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn records_are_readable_at_once_and_from_any_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    for index in 1..=50 {
        journal.append(GROUP, pair(index)).expect("in sequence");
        let newest = journal.read(GROUP, STREAM, 2 * index, 10, 1 << 20).expect("readable");
        assert_eq!(newest, [record(STREAM, 2 * index, index, 1)]);
        assert_eq!(journal.last_index(GROUP), index);
    }
    journal.flush().expect("flushes");
    assert!(read_all(&journal) == pairs(1..=50));
    let some = journal.read(GROUP, STREAM, 7, 3, 1 << 20).expect("readable");
    assert_eq!(some, [record(STREAM, 7, 4, 0), record(STREAM, 8, 4, 1), record(STREAM, 9, 5, 0)]);
    assert_eq!(journal.read(GROUP, STREAM, 7, 3, 0).expect("readable").len(), 1);
    assert_eq!(journal.read(GROUP, STREAM, 101, 3, 1 << 20).expect("readable"), []);
    assert_eq!(journal.read(GROUP, 99, 1, 3, 1 << 20).expect("readable"), []);
}

#[test]
fn reopened_it_holds_everything_and_skips_what_it_holds() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path(), 30);
    assert!(segments(dir.path()).len() > 3);
    let journal = open(dir.path());
    assert_eq!(journal.last_index(GROUP), 30);
    assert_eq!(journal.last_sequence(GROUP, STREAM), 60);
    for index in 1..=40 {
        journal.append(GROUP, pair(index)).expect("skipped or in sequence");
    }
    assert_eq!(read_all(&journal), pairs(1..=40));
    journal.flush().expect("flushes");
    drop(journal);
    assert_eq!(read_all(&open(dir.path())), pairs(1..=40));
}

#[test]
fn a_torn_tail_cuts_whole_appends_and_is_made_again() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path(), 12);
    let last = segments(dir.path()).pop().expect("a segment");
    let length = std::fs::metadata(&last).expect("exists").len();
    let file = OpenOptions::new().write(true).open(&last).expect("opens");
    file.set_len(length - 1).expect("cuts");
    let journal = open(dir.path());
    assert_eq!((journal.last_index(GROUP), journal.last_sequence(GROUP, STREAM)), (11, 22));
    for index in 1..=13 {
        journal.append(GROUP, pair(index)).expect("skipped or in sequence");
    }
    assert_eq!(read_all(&journal), pairs(1..=13));
    drop(journal);
    let journal = open(dir.path());
    assert_eq!(journal.last_index(GROUP), 13);
    assert_eq!(read_all(&journal), pairs(1..=13));
}

#[test]
fn damage_before_the_last_segment_is_an_error_with_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path(), 30);
    let first = segments(dir.path()).swap_remove(0);
    let mut bytes = std::fs::read(&first).expect("readable");
    bytes[40] ^= 1;
    std::fs::write(&first, bytes).expect("writable");
    let error = Journal::open(dir.path(), small()).expect_err("damaged");
    assert!(matches!(&error, JournalError::Damaged { offset: 0, path, .. } if *path == first));
}

#[test]
fn a_gap_in_a_stream_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    journal.append(GROUP, pair(1)).expect("in sequence");
    let torn = vec![record(8, 1, 2, 0), record(STREAM, 4, 2, 1)];
    let error = journal.append(GROUP, torn).expect_err("3 is next");
    assert!(matches!(error, JournalError::OutOfSequence { expected: 3, found: 4, .. }));
    assert_eq!(journal.last_sequence(GROUP, 8), 0);
    journal.append(GROUP, pair(2)).expect("in sequence");
}

#[test]
fn an_index_without_records_advances_the_mark_without_a_write() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path());
    journal.advance(GROUP, 9).expect("advances");
    assert_eq!((journal.last_index(GROUP), journal.durable_index(GROUP)), (9, 9));
    journal.flush().expect("nothing to do");
    assert_eq!(journal.syncs(), 0);
}
