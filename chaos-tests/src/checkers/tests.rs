//! Checkers against a good history and against what was done to it.
//!
//! The history is of a shift that the production distributor really decided (`shift`), so that the
//! model and the oracle are held against the real thing as well. Every mutation is a fault that a
//! broken cluster could show, and names the checkers that must find it.

mod mutations;
mod shift;

use super::{Evidence, Verdict, check, lin_small};
use crate::history::{Edge, History, Line, Record};
use shift::Shift;

/// A shift of that many steps.
fn good(seed: u64, steps: usize) -> History {
    let mut shift = Shift::begin(seed);
    (0..steps / 2).for_each(|_| shift.step());
    shift.mark("serve");
    (steps / 2..steps).for_each(|_| shift.step());
    shift.end()
}

#[test]
fn shifts_of_the_real_distributor_are_valid() {
    for seed in 0..12 {
        let history = good(seed, 400);
        let judgement = check(&history);
        assert_eq!(judgement.verdict(), Verdict::Valid, "seed {seed}\n{judgement}");
        let offers = judgement.of("no_overtake").expect("it was asked").checked;
        assert!(offers > 50, "seed {seed} has {offers} offers only");
    }
}

#[test]
fn every_mutation_is_found_by_the_checkers_that_it_names() {
    let (history, mut missed) = (good(7, 600), Vec::new());
    for (name, finders, mutate) in mutations::ALL {
        let mut mutated = history.clone();
        mutate(&mut mutated);
        assert_ne!(mutated, history, "{name} changes nothing");
        let judgement = check(&mutated);
        for finder in *finders {
            let found = judgement.of(finder).expect("it was asked");
            if found.verdict() != Verdict::Invalid || found.findings[0].lines.is_empty() {
                missed.push(format!("{name}: {finder}\n{judgement}"));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n\n"));
    let of_replay = mutations::ALL.iter().filter(|(_, finders, _)| finders.contains(&"replay"));
    assert!(of_replay.count() >= 15, "mutations for replay");
}

#[test]
fn what_cannot_be_known_is_not_valid() {
    let history = good(3, 200);
    for (name, mutate) in mutations::DOUBTS {
        let mut mutated = history.clone();
        mutate(&mut mutated);
        let judgement = check(&mutated);
        assert_eq!(judgement.verdict(), Verdict::Unknown, "{name}\n{judgement}");
    }
}

#[test]
fn the_search_agrees_with_replay_on_answers() {
    for seed in 20..26 {
        let history = good(seed, 200);
        let found = lin_small::check(&Evidence::of(&history));
        assert_eq!(found.verdict(), Verdict::Valid, "seed {seed}: {found:?}");
        for mutate in [mutations::wrong_ordinal, mutations::wrong_leg, mutations::lost_then_told] {
            let mut mutated = history.clone();
            mutate(&mut mutated);
            let evidence = Evidence::of(&mutated);
            assert!(lin_small::check(&evidence).found > 0, "seed {seed}: the search missed it");
            assert!(super::replay::check(&evidence).found > 0, "seed {seed}: replay missed it");
        }
    }
}

#[test]
fn how_soon_there_is_work_again_is_told_of_those_whose_leader_was_hit() {
    let told = |leader: &str| {
        let mut history = good(7, 400);
        let middle = history.lines.len() / 2;
        let at_ms = history.lines[middle..].iter().find_map(|line| match &line.record {
            Record::Operation(operation) => Some(operation.invoked_ms),
            _ => None,
        });
        let (at_ms, shard, node) = (at_ms.expect("people go on"), shift::SHARD, leader.to_owned());
        let (name, target, detail) = ("kill".to_owned(), "nd_1,nd_2".to_owned(), String::new());
        let fault = Record::Fault { at_ms, name, target, edge: Edge::Begin, detail };
        for record in [fault, Record::Leader { at_ms, shard, node }] {
            history.lines.insert(middle, Line { number: 0, record });
        }
        let judgement = check(&history);
        let figures = &judgement.of("liveness").expect("it was asked").figures;
        let of_kill = figures.iter().filter(|(name, _)| name.starts_with("kill: first"));
        of_kill.map(|(_, figure)| figure.clone()).collect::<Vec<_>>()
    };
    assert_eq!(told("nd_3"), Vec::<String>::new());
    let hit = told("nd_2");
    assert_eq!(hit.len(), 2, "{hit:?}");
    assert!(hit.iter().all(|figure| figure.ends_with("of 1")), "{hit:?}");
}

#[test]
fn an_empty_history_is_unknown() {
    let head = good(1, 1).head;
    assert_eq!(check(&History::of(head, [])).verdict(), Verdict::Unknown);
}
