//! Whether a history keeps the promises: one file per question.
//!
//! Each checker takes the [`Evidence`] of a history and gives a [`Check`]: how much it looked at,
//! what is wrong with the lines that prove it, and what kept it from finding out. They are pure,
//! need no cluster, and none costs more than n log n; `lin_small` is bounded by steps instead.
//!
//! | checker | promise | question |
//! |---|---|---|
//! | [`replay`] | P1, P2, P7 | do facts and answers follow from a model of conversations? |
//! | [`real_time`] | P1 | does the order of the log agree with who waited for whom? |
//! | [`total_queue`] | P1 | does everything acknowledged end once, and nothing else appear? |
//! | [`conservation`] | P3 | is every agent within capacity, and free after the drain? |
//! | [`interval_overlap`] | P2 | do assignments of one conversation overlap? |
//! | [`no_overtake`] | P4 | is anybody overtaken, or kept waiting beside a free agent? |
//! | [`exactly_once_terminal`] | P5 | does every offer end once, and not before its time? |
//! | [`dense_prefix`] | P8 | did every reader see one order without hole or repetition? |
//! | [`webhooks`] | P5, P10 | are webhooks told of every event, under one id each? |
//! | [`lin_small`] | P1, P7 | does any order of a conversation's operations explain them? |
//! | [`liveness`] | P5, P6 | is there service after the heal, and how soon after a fault? |
//! | [`coverage`] | - | did every fault that was asked for bite, and is the history whole? |
//! | [`success_floor`] | - | did enough succeed for the rest to mean anything? |
//!
//! [`log_agreement`] is apart: it reads the data directories of stopped nodes.

pub mod conservation;
pub mod coverage;
pub mod dense_prefix;
mod evidence;
pub mod exactly_once_terminal;
pub mod interval_overlap;
pub mod lin_small;
pub mod liveness;
pub mod log_agreement;
mod model;
mod model_replies;
pub mod no_overtake;
pub mod real_time;
pub mod replay;
pub mod success_floor;
pub mod total_queue;
mod verdict;
pub mod webhooks;

pub use evidence::{Evidence, Placed};
pub use verdict::{Check, FINDINGS_MAX, Finding, Judgement, Percentiles, Verdict};

use crate::history::History;

/// Asks every question of a history.
pub fn check(history: &History) -> Judgement {
    let evidence = Evidence::of(history);
    Judgement {
        checks: vec![
            replay::check(&evidence),
            real_time::check(&evidence),
            total_queue::check(&evidence),
            conservation::check(&evidence),
            interval_overlap::check(&evidence),
            no_overtake::check(&evidence),
            exactly_once_terminal::check(&evidence),
            dense_prefix::check(&evidence),
            webhooks::check(&evidence),
            lin_small::check(&evidence),
            liveness::check(&evidence),
            coverage::check(&evidence),
            success_floor::check(&evidence),
        ],
    }
}

#[cfg(test)]
mod tests;
