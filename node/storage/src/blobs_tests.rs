//! Blobs that are whole or not there: torn files, wrong bytes, crashes, full disks.

use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::blob_file::blob_digest;
use crate::simulated_disk::SimulatedDisk;

const ROOM: BlobRoom =
    BlobRoom { bytes_max: 1 << 30, owner_bytes_max: u64::MAX, free_bytes_min: 0 };

fn open(disk: &SimulatedDisk) -> Arc<Blobs> {
    open_with(disk, ROOM, Fatal::with(|_, reason| panic!("{reason}")))
}

fn open_with(disk: &SimulatedDisk, room: BlobRoom, fatal: Fatal) -> Arc<Blobs> {
    Arc::new(Blobs::open(disk.process(), Path::new("/blobs"), room, fatal).expect("opens"))
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 31 % 251) as u8).collect()
}

fn put(blobs: &Arc<Blobs>, scope: u64, bytes: &[u8], now_ms: u64) -> Result<BlobName, BlobError> {
    let mut writer = blobs.begin(scope, BlobUse::New, bytes.len() as u64)?;
    for piece in bytes.chunks(10_007) {
        writer.append(piece)?;
    }
    writer.finish(None, now_ms).map(|(name, _)| name)
}

fn read_all(reader: &BlobReader) -> Result<Vec<u8>, BlobError> {
    let mut all = Vec::new();
    while (all.len() as u64) < reader.bytes() {
        all.extend(reader.read(all.len() as u64)?);
    }
    Ok(all)
}

fn path_of(blobs: &Blobs, name: BlobName) -> PathBuf {
    blobs.path(name)
}

#[test]
fn what_is_put_is_found_by_what_it_is() {
    let disk = SimulatedDisk::new(1);
    let blobs = open(&disk);
    for bytes in [1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES + 7] {
        let content = content(bytes);
        let name = put(&blobs, 7, &content, 1).expect("room");
        assert_eq!(name, BlobName { scope: 7, digest: blob_digest(7, &content) });
        let reader = blobs.find(name).expect("readable").expect("there");
        assert_eq!(read_all(&reader).expect("whole"), content, "{bytes}");
        assert!(reader.read(bytes as u64).expect("the end").is_empty());
        reader.check(0, u64::MAX).expect("whole");
        assert!(blobs.find(BlobName { scope: 8, ..name }).expect("readable").is_none());
    }
    assert_eq!(
        (blobs.scopes().expect("listed"), blobs.list(7).expect("listed").len()),
        (vec![7], 5)
    );
}

#[test]
fn the_same_bytes_twice_are_one_blob() {
    let disk = SimulatedDisk::new(1);
    let blobs = open(&disk);
    let first = put(&blobs, 7, b"hello", 1).expect("room");
    let used = blobs.used_bytes();
    assert_eq!(put(&blobs, 7, b"hello", 2).expect("room"), first);
    assert_eq!((blobs.used_bytes(), blobs.list(7).expect("listed")), (used, vec![first]));
    assert_eq!(open(&disk).used_bytes(), used, "it is counted alike after a restart");
    assert_eq!(disk.used_bytes(), used);
}

#[test]
fn bytes_that_are_not_what_was_expected_are_not_kept() {
    let disk = SimulatedDisk::new(1);
    let blobs = open(&disk);
    let mut writer = blobs.begin(7, BlobUse::Promised, 3).expect("room");
    writer.append(b"abc").expect("room");
    let wrong = writer.finish(Some(blob_digest(7, b"abd")), 1);
    assert!(matches!(wrong, Err(BlobError::Damaged { .. })), "{wrong:?}");
    assert_eq!((disk.files(), blobs.used_bytes()), (vec![], 0));
}

#[test]
fn a_damaged_blob_counts_as_not_there() {
    let disk = SimulatedDisk::new(1);
    let blobs = open(&disk);
    let (small, large) = (content(10), content(3 * BLOCK_BYTES));
    let (head, block) = (put(&blobs, 7, &small, 1), put(&blobs, 7, &large, 1));
    let (head, block) = (head.expect("room"), block.expect("room"));
    disk.flip_bit(&path_of(&blobs, head), 30 * 8);
    assert!(blobs.find(head).expect("readable").is_none());
    assert!(!blobs.list(7).expect("listed").contains(&head), "it makes room for a whole one");
    disk.flip_bit(&path_of(&blobs, block), (block_at(1) + 5) * 8);
    let reader = blobs.find(block).expect("readable").expect("its header is whole");
    assert_eq!(reader.read(0).expect("whole"), large[..BLOCK_BYTES]);
    let torn = reader.check(0, u64::MAX);
    assert!(matches!(torn, Err(BlobError::Damaged { .. })), "{torn:?}");
    assert_eq!(put(&blobs, 7, &large, 2).expect("room"), block);
    let reader = blobs.find(block).expect("readable").expect("there");
    assert_eq!(read_all(&reader).expect("it was replaced"), large);
}

#[test]
fn a_damaged_blob_is_set_aside_and_counted_as_long_as_it_is_there() {
    let disk = SimulatedDisk::new(1);
    let blobs = open(&disk);
    let whole = put(&blobs, 7, &content(3 * BLOCK_BYTES), 1).expect("room");
    assert!(!blobs.set_aside_damaged(whole).expect("it is whole"));
    for n in 1..=ASIDE_MAX + 2 {
        let name = put(&blobs, 7, &content(n), 1).expect("room");
        disk.flip_bit(&path_of(&blobs, name), block_at(0) * 8);
        assert!(blobs.set_aside_damaged(name).expect("moved"), "{n}");
        assert_eq!(blobs.list(7).expect("listed"), vec![whole]);
        let files = disk.files();
        let aside = files.iter().filter(|(path, _)| path.starts_with("/blobs/damaged"));
        assert_eq!(aside.count(), n.min(ASIDE_MAX));
        assert_eq!(blobs.used_bytes(), disk.used_bytes());
    }
    assert_eq!(open(&disk).used_bytes(), disk.used_bytes(), "it is counted alike later");
    // Blocks that are whole and another blob's bytes: no checksum says so, the name does.
    let (a, b) =
        (put(&blobs, 7, b"aaaa", 1).expect("room"), put(&blobs, 7, b"bbbb", 1).expect("room"));
    let from = disk.process();
    let file = from.open(&path_of(&blobs, b)).expect("there");
    let block = read_up_to(file.as_ref(), block_at(0), 8).expect("readable");
    let file = from.open(&path_of(&blobs, a)).expect("there");
    file.write_at(block_at(0), &block).expect("writable");
    assert_eq!(blobs.find(a).expect("readable").expect("there").read(0).expect("whole"), b"bbbb");
    let checked = blobs.find(a).expect("readable").expect("there").check_all().finish();
    assert!(matches!(checked, Err(BlobError::Damaged { .. })), "{checked:?}");
    assert!(blobs.set_aside_damaged(a).expect("removed"));
}

#[test]
fn only_what_is_old_and_untouched_is_removed() {
    let disk = SimulatedDisk::new(1);
    let blobs = open(&disk);
    let name = put(&blobs, 7, b"hello", 100).expect("room");
    assert!(!blobs.remove_older(name, 100).expect("looked"));
    assert_eq!(blobs.touch(name, 200).expect("touched"), Some(5));
    assert!(!blobs.remove_older(name, 200).expect("looked"));
    let reader = blobs.find(name).expect("readable").expect("there");
    assert!(blobs.remove_older(name, 201).expect("removed"));
    assert_eq!(reader.read(0).expect("open files stay readable"), b"hello");
    assert_eq!((blobs.touch(name, 300).expect("looked"), blobs.used_bytes()), (None, 0));
}

#[test]
fn a_blob_has_a_bound_and_leaves_room_for_others() {
    let disk = SimulatedDisk::new(1);
    let fatal = Fatal::with(|_, reason| panic!("{reason}"));
    let length = file_length(100).expect("small");
    let blobs = open_with(
        &disk,
        BlobRoom { bytes_max: length, owner_bytes_max: u64::MAX, free_bytes_min: 0 },
        fatal.clone(),
    );
    put(&blobs, 7, &content(100), 1).expect("room");
    let full = put(&blobs, 7, &content(1), 1);
    assert!(matches!(full, Err(BlobError::Full(_))), "{full:?}");
    let promised = blobs.begin(7, BlobUse::Promised, 1);
    assert!(promised.is_ok(), "what was promised is kept all the same");
    disk.set_capacity(10 * length);
    let room =
        BlobRoom { bytes_max: u64::MAX, owner_bytes_max: u64::MAX, free_bytes_min: 9 * length };
    let narrow = open_with(&disk, room, fatal);
    let full = narrow.begin(7, BlobUse::Promised, 100).map(|_| ());
    assert!(matches!(full, Err(BlobError::Full(_))), "{full:?}");
}

#[test]
fn one_owner_leaves_room_for_others() {
    let disk = SimulatedDisk::new(1);
    let fatal = Fatal::with(|_, reason| panic!("{reason}"));
    let length = file_length(100).expect("small");
    let room = BlobRoom { owner_bytes_max: length, ..ROOM };
    let blobs = open_with(&disk, room, fatal.clone());
    let (first, second, other) = (1 << 32 | 1, 1 << 32 | 2, 2 << 32 | 1);
    let name = put(&blobs, first, &content(100), 1).expect("room");
    let open = |blobs: &Arc<Blobs>, scope| blobs.begin(scope, BlobUse::New, 1).map(drop);
    for blobs in [&blobs, &open_with(&disk, room, fatal)] {
        for scope in [first, second] {
            let full = open(blobs, scope);
            assert!(matches!(full, Err(BlobError::OwnerFull { .. })), "{scope:x}: {full:?}");
        }
        open(blobs, other).expect("others have their own");
        blobs.begin(first, BlobUse::Promised, 1).map(drop).expect("it is kept all the same");
    }
    let mut unsaid = blobs.begin(other, BlobUse::New, 0).expect("room");
    let written = unsaid.append(&content(2 * LOOK_BYTES as usize));
    assert!(matches!(written, Err(BlobError::OwnerFull { .. })), "{written:?}");
    drop(unsaid);
    assert!(blobs.remove_older(name, 2).expect("removed"));
    open(&blobs, second).expect("there is room again");
}

#[test]
fn a_disk_that_fills_up_under_a_blob_keeps_nothing_of_it() {
    let disk = SimulatedDisk::new(1);
    let blobs = open(&disk);
    let kept = put(&blobs, 7, &content(1_000), 1).expect("room");
    let used = disk.used_bytes();
    let mut writer = blobs.begin(7, BlobUse::New, 10).expect("room");
    disk.set_capacity(used + 2 * BLOCK_BYTES as u64);
    let written = writer.append(&content(8 * BLOCK_BYTES));
    assert!(matches!(written, Err(BlobError::Full(_))), "{written:?}");
    drop(writer);
    assert_eq!((disk.used_bytes(), blobs.used_bytes()), (used, used));
    assert!(blobs.find(kept).expect("readable").is_some());
}

#[test]
fn a_failed_sync_ends_the_process() {
    let disk = SimulatedDisk::new(1);
    let ended = Arc::new(AtomicBool::new(false));
    let seen = ended.clone();
    let fatal = Fatal::with(move |code, _| {
        assert_eq!(code, EXIT_STORAGE);
        seen.store(true, Ordering::Relaxed);
    });
    let blobs = open_with(&disk, ROOM, fatal);
    disk.fail_sync(0);
    assert!(put(&blobs, 7, b"hello", 1).is_err());
    assert!(ended.load(Ordering::Relaxed));
}

#[test]
fn what_has_its_name_counts_whatever_becomes_of_the_sync() {
    let disk = SimulatedDisk::new(1);
    let blobs = open_with(&disk, ROOM, Fatal::with(|_, _| {}));
    put(&blobs, 7, b"first", 1).expect("room");
    let mut writer = blobs.begin(7, BlobUse::New, 6).expect("room");
    writer.append(b"second").expect("room");
    // The block, the header, their sync and the new name are there; the sync of the folder is not.
    disk.die_after(4);
    assert!(writer.finish(None, 1).is_err());
    let name = BlobName { scope: 7, digest: blob_digest(7, b"second") };
    assert!(disk.files().iter().any(|(path, _)| *path == path_of(&blobs, name)), "it is named");
    assert_eq!(blobs.used_bytes(), disk.used_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// The power is cut at any moment of writing two blobs: what was said to be there is there and
    /// whole, and nothing is found that is not.
    #[test]
    fn what_was_acknowledged_survives_a_loss_of_power(
        seed in any::<u64>(), operations in 0..40_u64, first in 1..200_000_usize,
        second in 1..200_000_usize
    ) {
        let disk = SimulatedDisk::new(seed);
        let blobs = open_with(&disk, ROOM, Fatal::with(|_, _| {}));
        disk.die_after(operations);
        let contents = [content(first), content(second + 1)];
        let put: Vec<_> = contents.iter().map(|bytes| put(&blobs, 7, bytes, 1).ok()).collect();
        disk.power_cut();
        let blobs = open(&disk);
        for (content, put) in contents.iter().zip(put) {
            let name = BlobName { scope: 7, digest: blob_digest(7, content) };
            prop_assert!(put.is_none_or(|put| put == name));
            let found = blobs.find(name).expect("readable");
            prop_assert!(found.is_some() || put.is_none(), "an acknowledged blob is lost");
            if let Some(reader) = found {
                prop_assert_eq!(&read_all(&reader).expect("whole"), content);
            }
        }
        prop_assert!(disk.files().iter().all(|(path, _)| !path.starts_with("/blobs/new")));
        prop_assert_eq!(blobs.used_bytes(), disk.used_bytes());
    }
}
