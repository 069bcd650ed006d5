//! What a text asks for happens at its place, as often as it says, and nothing else does.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::SimulatedDisk;

const ROOT: &str = "/data";

/// A disk with the folders of a data directory, and how often the process was to end.
fn disk(text: &str) -> (FailingDisk, Arc<AtomicU32>) {
    let under = SimulatedDisk::new(1).process();
    for folder in FOLDERS {
        under.make_directory(&Path::new(ROOT).join(folder)).expect("a new disk");
    }
    let ended = Arc::new(AtomicU32::new(0));
    let count = ended.clone();
    let end = move || {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let points = text.parse().expect(text);
    (FailingDisk::ending(under, ROOT.into(), points, end), ended)
}

fn in_folder(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

#[test]
fn a_count_passes_before_the_next_task_has_its_turn() {
    let (disk, ended) = disk("sync:log=2*off->1*error(EIO)->1*error(ENOSPC)->abort");
    let file = disk.create(&in_folder("log/1")).expect("no failure of that");
    let other = disk.create(&in_folder("journal/1")).expect("no failure of that");
    assert_eq!((file.sync().is_ok(), file.sync().is_ok()), (true, true));
    assert_eq!(file.sync().expect_err("the third").raw_os_error(), Some(5));
    assert_eq!(file.sync().expect_err("the fourth").kind(), io::ErrorKind::StorageFull);
    assert_eq!(ended.load(Ordering::Relaxed), 0);
    for times in 1..3 {
        assert!(file.sync().is_err());
        assert_eq!(ended.load(Ordering::Relaxed), times, "the last task goes on for ever");
    }
    assert!(other.sync().is_ok(), "another folder");
    assert!(file.write_at(0, b"x").is_ok(), "another operation");
}

#[test]
fn before_leaves_it_undone_and_after_does_it() {
    let (path, to) = (in_folder("snapshots/a"), in_folder("snapshots/b"));
    let (before, ended) = disk("rename:snapshots:before=abort");
    before.create(&path).expect("created");
    assert!(before.rename(&path, &to).is_err());
    assert_eq!(before.list(&in_folder("snapshots")).expect("listed"), ["a"]);
    let (after, ended_after) = disk("rename:snapshots:after=abort");
    after.create(&path).expect("created");
    assert!(after.rename(&path, &to).is_err());
    assert_eq!(after.list(&in_folder("snapshots")).expect("listed"), ["b"]);
    assert_eq!((ended.load(Ordering::Relaxed), ended_after.load(Ordering::Relaxed)), (1, 1));
}

#[test]
fn without_a_folder_every_file_is_meant() {
    for (text, fails) in [
        ("create=error(EIO)", "create"),
        ("open=error(EIO)", "open"),
        ("remove=error(EIO)", "remove"),
        ("sync-directory=error(EIO)", "sync-directory"),
        ("read=error(EIO)", "read"),
        ("write=error(EIO)", "write"),
        ("resize=error(EIO)", "resize"),
    ] {
        let (disk, _) = disk(text);
        let path = in_folder("notes/n");
        let file = match disk.create(&path) {
            Ok(file) => file,
            Err(_) => {
                assert_eq!(fails, "create");
                continue;
            }
        };
        let done = [
            ("open", disk.open(&path).map(drop)),
            ("write", file.write_at(0, b"x")),
            ("read", file.read_at(0, &mut [0]).map(drop)),
            ("resize", file.set_len(4)),
            ("sync-directory", disk.sync_directory(&in_folder("notes"))),
            ("remove", disk.remove(&path)),
        ];
        let failed: Vec<_> = done.iter().filter(|(_, done)| done.is_err()).collect();
        assert_eq!(failed.len(), 1, "{text}: {failed:?}");
        assert_eq!(failed[0].0, fails);
    }
}

#[test]
fn several_places_count_apart_and_a_sleep_lasts() {
    let (disk, _) = disk(" write:log = 1*sleep(30) ; write:journal=1*off->error(EIO);");
    let log = disk.create(&in_folder("log/1")).expect("created");
    let journal = disk.create(&in_folder("journal/1")).expect("created");
    let began = Instant::now();
    assert!(log.write_at(0, b"x").is_ok() && began.elapsed() >= Duration::from_millis(30));
    assert!(journal.write_at(0, b"x").is_ok() && journal.write_at(0, b"x").is_err());
    assert!(log.write_at(0, b"x").is_ok(), "its one task is over");
}

#[test]
fn what_is_wrong_with_a_text_is_named() {
    for (text, names) in [
        ("", "0 places; 1 to 16"),
        (";", "0 places"),
        ("sync:log", "it has no `=`"),
        ("flush=abort", "\"flush\" is no operation; choose among create, open"),
        ("sync:logs=abort", "\"logs\" is not one of log, journal"),
        ("sync:after:log=abort", "\"log\" is not one of"),
        ("sync:log:journal=abort", "\"journal\" is not one of"),
        ("sync=", "\"\" is no action; choose among off, abort"),
        ("sync=x*abort", "\"x*abort\" begins with no count"),
        ("sync=99999999999*abort", "begins with no count"),
        ("sync=error(EPERM)", "\"error(EPERM)\" is no action"),
        ("sync=error(EIO", "\"error(EIO\" has no `)`"),
        ("sync=sleep(99999999)", "a sleep is of 0 to 60000 ms"),
        ("sync=abort(1)", "\"abort(1)\" is no action"),
    ] {
        let wrong = text.parse::<Failpoints>().expect_err(text).to_string();
        assert!(wrong.contains(names), "{text}: {wrong}");
    }
    let tasks = format!("sync={}abort", "1*off->".repeat(16)).parse::<Failpoints>();
    assert!(tasks.expect_err("too many").to_string().contains("17 tasks; 16 are the most"));
    let points = "sync=off;".repeat(17).parse::<Failpoints>();
    assert!(points.expect_err("too many").to_string().contains("17 places; 1 to 16"));
    let long = format!("sync={}", "é".repeat(TEXT_BYTES_MAX)).parse::<Failpoints>();
    let long = long.expect_err("too long").to_string();
    assert!(long.contains("2053 bytes; 1024 are the most") && long.len() < 400, "{long}");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z:=;>*()0-9EIO-]{0,200}") {
        // What matters is that it returns; an error repeats a part of the text at most.
        if let Err(error) = text.parse::<Failpoints>() {
            prop_assert!(error.to_string().len() < 600);
        }
    }
}
