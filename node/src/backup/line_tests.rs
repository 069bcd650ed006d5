//! Lines of runs: what leads where, by examples and against a count of every index.

use proptest::prelude::*;

use super::*;

fn run(number: u64) -> RunName {
    format!("main_20261123T1930{number:02}.000Z_hand").parse().expect("a name")
}

/// A run with entries in (after, through], then a snapshot at an index; times are ten an index.
fn link(number: u64, (after, through): (u64, u64), index: u64) -> Link {
    let (latest, made) = (Wall(through * 10), Wall(index * 10 + 5));
    let latest = if after == through { Wall(0) } else { latest };
    let until = Wall(through * 10 + 1);
    Link { run: run(number), index, made, after, through, latest, until }
}

/// Three runs without a hole, and one behind a hole.
fn line() -> Line {
    Line::of(vec![
        link(1, (10, 10), 12),
        link(2, (10, 20), 23),
        link(3, (20, 30), 30),
        link(4, (50, 50), 52),
    ])
}

#[test]
fn an_index_is_reached_from_the_newest_snapshot_below_it() {
    let cut = |index| line().cut(index).expect("it leads there");
    let of = |index, base, base_index, runs: &[u64]| Cut {
        index,
        base: run(base),
        base_index,
        runs: runs.iter().map(|number| run(*number)).collect(),
    };
    assert_eq!(cut(12), of(12, 1, 12, &[]));
    assert_eq!(cut(13), of(13, 1, 12, &[2]));
    assert_eq!(cut(20), of(20, 1, 12, &[2]));
    assert_eq!(cut(22), of(22, 1, 12, &[2, 3]));
    assert_eq!(cut(23), of(23, 2, 23, &[]));
    assert_eq!(cut(29), of(29, 2, 23, &[3]));
    assert_eq!(cut(52), of(52, 4, 52, &[]));
}

#[test]
fn what_nothing_leads_to_is_refused_with_what_is_nearest() {
    let refused = |index| line().cut(index).expect_err("nothing leads there");
    assert_eq!(
        refused(11),
        "nothing kept leads to index 11: the nearest indexes are, after it 12 to 30 (after \
         1970-01-01T00:00:00.125Z, up to 1970-01-01T00:00:00.301Z)"
    );
    assert_eq!(
        refused(40),
        "nothing kept leads to index 40: the nearest indexes are, before it 12 to 30 (after \
         1970-01-01T00:00:00.125Z, up to 1970-01-01T00:00:00.301Z); after it 52 (as of \
         1970-01-01T00:00:00.525Z)"
    );
    assert!(refused(53).ends_with("before it 52 (as of 1970-01-01T00:00:00.525Z)"));
}

#[test]
fn a_moment_is_in_the_first_run_that_goes_beyond_it() {
    let moment = |at| line().moment(Wall(at));
    assert_eq!(moment(126), Ok(Place::Within(run(2))));
    assert_eq!(moment(200), Ok(Place::Within(run(2))));
    assert_eq!(moment(201), Ok(Place::Within(run(3))));
    assert_eq!(moment(301), Ok(Place::Behind(30)));
    for at in [0, 125, 302, 520, 525, 900] {
        let refused = moment(at).expect_err("nothing leads there");
        assert!(refused.contains("the nearest indexes"), "{at}: {refused}");
    }
}

#[test]
fn a_shard_in_which_nothing_happens_has_one_index_for_many_moments() {
    let mut links = vec![link(1, (2, 2), 2), link(2, (2, 2), 2)];
    links[1].until = Wall(90);
    let line = Line::of(links);
    assert_eq!(line.points().len(), 1);
    assert_eq!(line.moment(Wall(90)), Ok(Place::Behind(2)));
    assert_eq!(line.cut(2).map(|cut| cut.runs), Ok(Vec::new()));
    assert!(line.moment(Wall(91)).is_err() && line.moment(Wall(25)).is_err());
}

#[test]
fn a_node_that_lagged_makes_no_hole_and_no_points() {
    // The entries were read where more was applied than where the snapshot was taken.
    let line = Line::of(vec![link(1, (10, 10), 8), link(2, (10, 20), 15)]);
    let points: Vec<_> = line.points().into_iter().map(|points| points.indexes).collect();
    assert_eq!(points, [8..=8, 15..=20]);
    assert!(line.cut(12).is_err() && line.cut(9).is_err());
}

proptest! {
    /// A cut is given exactly where a snapshot and entries without a hole lead, by a count of
    /// every entry; and whatever it names suffices.
    #[test]
    fn a_cut_is_given_exactly_where_something_leads(
        runs in proptest::collection::vec((0_u64..4, 0_u64..6, 0_u64..6, 0_u64..3), 1..8),
    ) {
        let (mut links, mut through) = (Vec::<Link>::new(), 5);
        for (number, (hole, entries, ahead, behind)) in (0..).zip(runs) {
            let after = if hole == 3 || number == 0 { through + entries } else { through };
            let end = if after == through { through + entries } else { after };
            links.push(link(number, (after, end), (end + ahead).saturating_sub(behind)));
            through = end;
        }
        let line = Line::of(links.clone());
        let points = line.points();
        for index in 0..60 {
            // Whether some snapshot leads there with one entry of some run after the other, all of
            // them on one side of each hole.
            let leads = links.chunk_by(|one, next| next.after <= one.through).any(|links| {
                let of = |entry, link: &Link| link.after < entry && entry <= link.through;
                let has = |entry| links.iter().any(|link| of(entry, link));
                let snapshot = |link: &Link| link.index <= index;
                links.iter().any(|link| snapshot(link) && (link.index + 1..=index).all(has))
            });
            let cut = line.cut(index);
            prop_assert_eq!(cut.is_ok(), leads, "{} in {:?}", index, links);
            let is_point = points.iter().any(|points| points.indexes.contains(&index));
            prop_assert_eq!(is_point, leads, "{} in {:?}", index, points);
            let Ok(cut) = cut else { continue };
            prop_assert!(cut.base_index <= index);
            let named: Vec<_> = links.iter().filter(|link| cut.runs.contains(&link.run)).collect();
            for entry in cut.base_index + 1..=index {
                prop_assert!(named.iter().any(|link| link.after < entry && entry <= link.through));
            }
        }
    }
}
