//! What happened in a run, as seen from outside: JSON lines that any judge can read.
//!
//! A history is written while a cluster is used and broken. It has what was asked and what came of
//! it ([`Operation`]), what sessions and readers of feeds were shown ([`Event`], with its
//! [`Fact`]), what was done to the cluster ([`Record::Fault`]) and when phases began
//! ([`Record::Mark`]). Nothing of the cluster's own counters is in it.
//!
//! ```text
//!   workload --Record--> Recorder --lines--> history.jsonl --> Reader --> History --> checkers
//!   nemesis  --Record-->                                             \--> report, export
//! ```
//!
//! * Every line is one JSON object with the field `record`; the first is the [`Head`] with the
//!   version of the format, the last says how many lines there are ([`Record::End`]).
//! * Times are milliseconds since the run began, of one monotonic clock.
//! * What an operation came to is `ok` (it took effect), `fail` (it certainly did not) or `unknown`
//!   (nobody knows). After an unknown one its process number is never used again, because it may
//!   take effect at any later time.
//! * A history that lost a record, or has no end, is never judged valid.

pub mod export;
mod fact;
mod reader;
mod record;
mod recorder;

pub use fact::{Digest, Event, Fact};
pub use reader::{History, HistoryError, LINE_BYTES_MAX, LINES_MAX, Line};
pub use record::{Edge, End, FORMAT, Head, Operation, Origin, Record, Reply};
pub use recorder::{Recorder, Written};

#[cfg(test)]
mod tests;
