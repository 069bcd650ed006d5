//! Runs against a plain map, and what a replay without its first segments comes to.

use super::*;
use crate::dice::Dice;

fn at(segment: u32) -> Location {
    Location { segment, offset: 0, bytes: 1 }
}

fn all(runs: &Runs) -> Vec<(u64, Location)> {
    runs.range(0..u64::MAX).collect()
}

#[test]
fn runs_do_what_a_map_does() {
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let (mut runs, mut map) = (Runs::default(), BTreeMap::new());
        for step in 0..200 {
            let index = dice.roll(40);
            match dice.roll(8) {
                0 => {
                    let mut gone = 0;
                    runs.remove_from(index, |_| gone += 1);
                    assert_eq!(gone, map.split_off(&index).len());
                }
                1 => {
                    let kept = map.split_off(&(index + 1));
                    let mut gone = 0;
                    runs.remove_through(index, |_| gone += 1);
                    assert_eq!(gone, map.len());
                    map = kept;
                }
                _ => assert_eq!(runs.insert(index, at(step)), map.insert(index, at(step))),
            }
            assert_eq!(all(&runs), map.clone().into_iter().collect::<Vec<_>>(), "seed {seed}");
            assert_eq!(runs.first().zip(runs.last()), {
                let ends = map.first_key_value().zip(map.last_key_value());
                ends.map(|((first, _), (last, _))| (*first, *last))
            });
            let start = dice.roll(45);
            let some: Vec<_> = runs.range(start..start + 7).collect();
            let wanted: Vec<_> = map.range(start..start + 7).map(|(i, l)| (*i, *l)).collect();
            assert_eq!(some, wanted, "seed {seed}");
            assert_eq!(runs.at(start), map.get(&start).copied());
        }
    }
}

fn apply(index: &mut Index, segment: u32, group: Group, record: Record<'_>) {
    index.apply(&Found { offset: 0, group, record }, segment, 512).expect("fits");
}

#[test]
fn copies_fill_the_holes_that_dropped_segments_leave() {
    let mut index = Index::default();
    // Segments 1 and 2 held entries 1 to 4 and are gone.
    apply(&mut index, 3, 7, Record::Entry(5, b"e"));
    apply(&mut index, 4, 7, Record::Copy(2, b"b"));
    apply(&mut index, 4, 7, Record::Copy(1, b"a"));
    apply(&mut index, 4, 7, Record::Entry(6, b"f"));
    assert_eq!(index.check(), Err(Misfit("entry 3 of group 7 is missing".to_owned())));
    apply(&mut index, 5, 7, Record::Copy(4, b"d"));
    apply(&mut index, 5, 7, Record::Copy(3, b"c"));
    index.check().expect("dense");
    let segments: Vec<u32> = index.range(7, 0..9).map(|(_, at)| at.segment).collect();
    assert_eq!(segments, [4, 4, 5, 5, 3, 4]);
    assert_eq!(index.oldest_needed(6), 3);
    apply(&mut index, 5, 7, Record::Copy(5, b"e"));
    assert_eq!((index.segments[&3].live_entries, index.segments[&3].live_bytes), (0, 0));
    assert_eq!(index.oldest_needed(6), 4);
}

#[test]
fn an_entry_is_not_there_twice() {
    let mut index = Index::default();
    apply(&mut index, 1, 7, Record::Entry(5, b"e"));
    let twice = Found { offset: 0, group: 7, record: Record::Entry(5, b"f") };
    assert!(index.apply(&twice, 1, 600).is_err());
    apply(&mut index, 1, 7, Record::Truncate(5));
    index.apply(&twice, 1, 600).expect("fits again");
}

#[test]
fn a_checkpoint_says_everything_but_the_entries() {
    let mut index = Index::default();
    apply(&mut index, 1, 7, Record::Entry(5, b"e"));
    apply(&mut index, 1, 7, Record::Vote(b"v"));
    apply(&mut index, 1, 7, Record::Purge(5, b"m"));
    apply(&mut index, 1, 8, Record::Saved("committed", b"c"));
    apply(&mut index, 1, 0, Record::Cut);
    apply(&mut index, 1, 8, Record::CutCleared);
    let mut again = Index::default();
    index.checkpoint(|group, record| apply(&mut again, 2, group, record));
    let told = |index: &Index| {
        let groups = index.groups().map(|(group, _, values)| (group, values.clone()));
        (groups.collect::<Vec<_>>(), index.cut.clone())
    };
    assert_eq!(told(&again), told(&index));
    assert!(again.cut.concerns(7) && !again.cut.concerns(8) && again.cut.concerns(9));
}
