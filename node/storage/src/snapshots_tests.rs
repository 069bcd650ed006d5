//! Snapshots survive power cuts whole or not at all, and no flipped bit passes.

use super::*;
use crate::simulated_disk::SimulatedDisk;

const GROUP: u32 = 7;

/// A process that outlives what would end it, so that it can be looked at.
fn quiet() -> Fatal {
    Fatal::with(|_, _| {})
}

fn root() -> &'static Path {
    Path::new("/snapshots")
}

fn write(disk: &SimulatedDisk, index: u64, chunks: &[&[u8]]) -> Result<SnapshotId, SnapshotError> {
    let snapshots = Snapshots::open(disk.process(), root(), quiet())?;
    let mut writer = snapshots.begin(GROUP, index, format!("meta {index}").into_bytes())?;
    for chunk in chunks {
        writer.append(chunk)?;
    }
    let finished = writer.finish()?;
    let id = finished.id();
    assert_eq!(finished.publish()?.id(), id);
    Ok(id)
}

/// Index, meta bytes, chunks.
type Content = (u64, Vec<u8>, Vec<Vec<u8>>);

fn read(disk: &SimulatedDisk) -> Result<Option<Content>, SnapshotError> {
    let snapshots = Snapshots::open(disk.process(), root(), quiet())?;
    let Some(current) = snapshots.current(GROUP)? else { return Ok(None) };
    let chunks = current.chunks().collect::<Result<Vec<_>, _>>()?;
    Ok(Some((current.id().index, current.meta().to_vec(), chunks)))
}

fn content(index: u64, chunks: &[&[u8]]) -> Option<Content> {
    let chunks = chunks.iter().map(|chunk| chunk.to_vec()).collect();
    Some((index, format!("meta {index}").into_bytes(), chunks))
}

const OLD: &[&[u8]] = &[b"old", &[3; 2000]];
const NEW: &[&[u8]] = &[b"new", b"", &[4; 1500]];

#[test]
fn the_newest_is_current_and_those_before_it_are_gone() {
    let disk = SimulatedDisk::new(1);
    assert_eq!(read(&disk).expect("readable"), None);
    write(&disk, 10, OLD).expect("written");
    write(&disk, 20, &[b"new"]).expect("written");
    assert_eq!(read(&disk).expect("readable"), content(20, &[b"new"]));
    assert_eq!(disk.files().len(), 1);
}

#[test]
fn an_empty_or_too_long_chunk_is_refused_and_leaves_nothing() {
    let disk = SimulatedDisk::new(1);
    assert!(write(&disk, 20, NEW).is_err());
    assert!(write(&disk, 20, &[&vec![0; SNAPSHOT_CHUNK_BYTES_MAX + 1]]).is_err());
    assert_eq!(disk.files(), []);
}

#[test]
fn a_reader_keeps_the_one_it_has_when_another_becomes_current() {
    let disk = SimulatedDisk::new(1);
    write(&disk, 10, OLD).expect("written");
    let snapshots = Snapshots::open(disk.process(), root(), quiet()).expect("opens");
    let old = snapshots.current(GROUP).expect("readable").expect("one");
    write(&disk, 20, &[b"new"]).expect("written");
    assert_eq!(old.chunk(0).expect("still there"), b"old");
    assert!(old.chunk(2).is_err(), "there are two");
}

/// After a death at any change, by kill or by power cut, what is current is the old or the new.
#[test]
fn every_crash_leaves_a_whole_one() {
    let new: &[&[u8]] = &[b"new", &[4; 1500]];
    let mut outcomes = std::collections::BTreeSet::new();
    for (operations, seed) in (0..20).flat_map(|at| (0..20).map(move |seed| (at, seed))) {
        let disk = SimulatedDisk::new(seed);
        write(&disk, 10, OLD).expect("written");
        disk.die_after(operations);
        let written = write(&disk, 20, new);
        if seed % 2 == 0 {
            disk.kill()
        } else {
            disk.power_cut()
        }
        let found = read(&disk).expect("whole");
        assert!(found == content(10, OLD) || found == content(20, new), "{operations} {seed}");
        if written.is_ok() {
            assert_eq!(found, content(20, new), "published is durable, {operations} {seed}");
        }
        outcomes.insert((written.is_ok(), found == content(20, new)));
    }
    assert_eq!(outcomes.len(), 3, "died before, died after, lived");
}

#[test]
fn no_flipped_bit_and_no_cut_passes() {
    let chunks: &[&[u8]] = &[b"one", &[9; 40]];
    let length = {
        let disk = SimulatedDisk::new(1);
        write(&disk, 10, chunks).expect("written");
        disk.files()[0].1
    };
    for bit in 0..length * 8 {
        let disk = SimulatedDisk::new(1);
        write(&disk, 10, chunks).expect("written");
        disk.flip_bit(&disk.files()[0].0, bit);
        let error = read(&disk).expect_err("a flipped bit is seen");
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
    }
    for cut in 0..length {
        let disk = SimulatedDisk::new(1);
        write(&disk, 10, chunks).expect("written");
        let file = disk.process().open(&disk.files()[0].0).expect("there");
        file.set_len(cut).expect("cut");
        assert!(read(&disk).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_failed_sync_is_the_end() {
    let disk = SimulatedDisk::new(5);
    assert!(write(&disk, 3, OLD).is_ok());
    let ends = Arc::new(Mutex::new(Vec::new()));
    let told = ends.clone();
    let fatal = Fatal::with(move |code, _| told.lock().expect("whole").push(code));
    let snapshots = Snapshots::open(disk.process(), root(), fatal).expect("opens");
    let mut writer = snapshots.begin(GROUP, 9, Vec::new()).expect("begins");
    writer.append(b"chunk").expect("written");
    disk.fail_sync(0);
    assert!(writer.finish().is_err());
    assert_eq!(*ends.lock().expect("whole"), [EXIT_STORAGE]);
    disk.power_cut();
    assert_eq!(read(&disk).expect("whole"), content(3, OLD));
}
