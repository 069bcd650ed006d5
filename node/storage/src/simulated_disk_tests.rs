//! What the simulated disk keeps, loses and refuses.

use super::*;
use crate::disk::{FileDisk, read_up_to};

const DIRECTORY: &str = "/data";

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

fn made(disk: &dyn Disk, name: &str) -> Arc<dyn DiskFile> {
    disk.make_directory(Path::new(DIRECTORY)).expect("a directory");
    disk.create(&path(name)).expect("a file")
}

fn content(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    read_up_to(&*disk.open(path).expect("there"), 0, usize::MAX).expect("readable")
}

#[test]
fn what_was_synced_survives_every_power_cut() {
    for seed in 0..200 {
        let disk = SimulatedDisk::new(seed);
        let before = disk.process();
        let file = made(&*before, "a");
        file.write_at(0, b"kept").expect("written");
        file.sync().expect("synced");
        before.sync_directory(Path::new(DIRECTORY)).expect("synced");
        file.write_at(4, &[7; 2000]).expect("written");
        disk.power_cut();
        let bytes = content(&*disk.process(), &path("a"));
        assert_eq!(bytes[..4], *b"kept", "seed {seed}");
        assert!(file.write_at(0, b"late").is_err() && before.list(Path::new("/")).is_err());
    }
}

#[test]
fn what_was_not_synced_is_kept_dropped_and_torn_by_turns() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimulatedDisk::new(seed);
        let process = disk.process();
        let file = made(&*process, "a");
        process.sync_directory(Path::new(DIRECTORY)).expect("synced");
        file.write_at(0, &[7; 1024]).expect("written");
        made(&*process, "b");
        disk.power_cut();
        let process = disk.process();
        let sevens = content(&*process, &path("a")).iter().filter(|byte| **byte == 7).count();
        outcomes.insert((sevens, process.open(&path("b")).is_ok()));
    }
    let wanted = [0, 512, 1024].map(|sevens| [(sevens, false), (sevens, true)]).concat();
    assert_eq!(outcomes, wanted.into_iter().collect());
}

#[test]
fn a_failed_sync_loses_what_a_reader_still_sees() {
    let lost = (0..50).filter(|seed| {
        let disk = SimulatedDisk::new(*seed);
        let process = disk.process();
        let file = made(&*process, "a");
        process.sync_directory(Path::new(DIRECTORY)).expect("synced");
        disk.fail_sync(0);
        file.write_at(0, b"gone").expect("written");
        assert!(file.sync().is_err());
        file.sync().expect("the repeated sync lies");
        assert_eq!(content(&*process, &path("a")), b"gone");
        disk.power_cut();
        content(&*disk.process(), &path("a")).is_empty()
    });
    assert!(lost.count() > 0, "some seed loses it");
}

#[test]
fn a_process_dies_where_it_is_told_to_and_another_goes_on() {
    let disk = SimulatedDisk::new(1);
    let first = disk.process();
    let file = made(&*first, "a");
    disk.die_after(1);
    file.write_at(0, b"last").expect("still alive");
    assert!(!disk.is_dead());
    assert!(file.sync().is_err() && disk.is_dead());
    assert!(file.len().is_err());
    disk.kill();
    assert!(file.len().is_err(), "a dead process stays dead");
    assert_eq!(content(&*disk.process(), &path("a")), b"last");
}

#[test]
fn space_runs_out_and_returns() {
    let disk = SimulatedDisk::new(1);
    disk.set_capacity(10);
    let process = disk.process();
    let file = made(&*process, "a");
    file.write_at(0, &[1; 10]).expect("fits");
    let error = file.write_at(10, &[1]).expect_err("full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(process.free_bytes(Path::new(DIRECTORY)).expect("known"), 0);
    file.set_len(3).expect("shorter");
    file.write_at(3, &[1; 7]).expect("fits again");
}

#[test]
fn a_flipped_bit_is_seen_and_kept() {
    let disk = SimulatedDisk::new(1);
    let process = disk.process();
    let file = made(&*process, "a");
    process.sync_directory(Path::new(DIRECTORY)).expect("synced");
    file.write_at(0, &[0, 0]).expect("written");
    file.sync().expect("synced");
    disk.flip_bit(&path("a"), 9);
    disk.power_cut();
    assert_eq!(content(&*disk.process(), &path("a")), [0, 2]);
}

/// The same calls on a real file system and on the simulated one give the same answers.
#[test]
fn the_two_disks_agree() {
    fn play(disk: &dyn Disk, root: &Path) -> Vec<String> {
        let directory = root.join("x").join("y");
        let (one, two) = (directory.join("one"), directory.join("two"));
        let mut told = Vec::new();
        told.push(format!("{:?}", disk.list(&directory).map_err(|error| error.kind())));
        disk.make_directory(&directory).expect("a directory");
        let file = disk.create(&one).expect("a file");
        file.write_at(3, b"abc").expect("written");
        file.set_len(8).expect("longer");
        told.push(format!("{:?}", read_up_to(&*file, 1, 100).expect("readable")));
        let again = disk.create(&one).map(|_| ()).map_err(|error| error.kind());
        told.push(format!("{again:?}"));
        disk.create(&two).expect("a file").sync().expect("synced");
        disk.rename(&one, &two).expect("renamed");
        disk.sync_directory(&directory).expect("synced");
        told.push(format!("{:?}", disk.list(&directory).expect("listed")));
        told.push(format!("{:?}", disk.open(&two).expect("there").len().expect("known")));
        told.push(format!("{:?}", disk.list(root).expect("listed")));
        disk.remove(&two).expect("removed");
        told.push(format!("{:?}", disk.open(&two).map(|_| ()).map_err(|error| error.kind())));
        told.push(format!("{:?}", file.len().expect("an open file stays")));
        told
    }
    let folder = tempfile::tempdir().expect("a folder");
    let real = play(&FileDisk, folder.path());
    let simulated = play(&*SimulatedDisk::new(1).process(), Path::new("/"));
    assert_eq!(real, simulated);
}
