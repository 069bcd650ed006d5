//! The house rules that no compiler checks, as tests over the whole repository.
//!
//! Each test walks the tree, collects every breach as `file:line: what; cure`, and fails with the
//! list. The numbers are ratchets: lowering one is progress, raising one is a decision. They live
//! here, in one place; where a rule needs an exception, it is a comment beside the exception.
//!
//! * `fences`: who may name which library, who may import whom, what must stay unreachable.
//! * `house`: lengths of files, functions and lines; module docs; forms that are left out.
//! * `words`: one word one meaning, and nothing that ties a text to a place or a day.
//! * `bounds`: the form of `limits.rs`, and a golden sample for each type of the wire.
//! * `source`: reading Rust well enough for all that, without parsing it.

#[path = "tidy/bounds.rs"]
mod bounds;
#[path = "tidy/fences.rs"]
mod fences;
#[path = "tidy/house.rs"]
mod house;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

/// Lines of a file before its inline tests.
pub(crate) const FILE_LINES_MAX: usize = 1_000;
/// The same, for all but the longest twentieth of the files.
pub(crate) const FILE_LINES_P95_MAX: usize = 600;
/// Lines of a function, signature and closing brace included.
pub(crate) const FUNCTION_LINES_MAX: usize = 70;
/// Characters of a line of code.
pub(crate) const LINE_CHARS_MAX: usize = 100;

/// Fails with every breach, if there is one.
pub(crate) fn settle(breaches: Vec<String>) {
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}
